package api

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
)

// refusals is what has been refused in the world of the rig: one client of each tenant, and one of nobody knows whom.
func refusals(now func() time.Time) *refusal.Log {
	l := refusal.New(refusal.Config{Known: func(t core.TenantID) bool { return t == "acme" || t == "other" }, Now: now})
	crt := &x509.Certificate{
		Subject: pkix.Name{CommonName: "acme/pump-1"}, Issuer: pkix.Name{CommonName: "Some CA"}, SerialNumber: big.NewInt(0xabc), NotAfter: noon,
	}
	l.Add(core.Refusal{
		Stage: core.StageSignIn, Device: core.DeviceKey{Tenant: "acme", Dialect: "astarte", ID: "pump-1"}, Proven: true, Code: "CONNACK 5",
		Claim: core.Claim{Remote: netip.MustParseAddrPort("192.0.2.1:5"), ClientID: "c1", Version: 4, Certificate: crt, ServerName: "hub.example.org"},
		Err:   core.ErrDenied,
	})
	l.Add(core.Refusal{
		Stage: core.StageSignIn, Device: core.DeviceKey{Tenant: "other", Dialect: "astarte", ID: "pump-1"},
		Claim: core.Claim{Remote: netip.MustParseAddrPort("192.0.2.2:5"), Username: "lara", Password: []byte("hunter22")}, Err: core.ErrUnauthenticated,
	})
	l.Add(core.Refusal{Stage: core.StageTLS, Claim: core.Claim{Remote: netip.MustParseAddrPort("192.0.2.3:5")}, Err: errors.New("tls: client offered only unsupported versions: [301]")})
	return l
}

// clients are the clients of the rig's broker: one of a device, one whose session ends with its connection, one of another
// tenant, and a stored session without a connection in storage (see fill).
var clients = []core.Connection{
	{
		Key: core.SessionKey{Tenant: "acme", Dialect: "astarte", ClientID: "acme/pump-1"}, Device: 1, Stored: true, Version: 4, Transport: "tls", TLS: 0x304,
		Addr: netip.MustParseAddrPort("192.0.2.1:4711"), Since: noon, Heard: noon, KeepAlive: time.Minute, MessagesIn: 3, BytesOut: 99, InFlight: 2, Waiting: 1,
	},
	{
		Key:     core.SessionKey{Tenant: "acme", Dialect: "mqtt", ClientID: "clean"},
		Version: 5, Transport: "plain", Addr: netip.MustParseAddrPort("[2001:db8::1]:1"), Since: noon,
	},
	{Key: core.SessionKey{Tenant: "other", Dialect: "mqtt", ClientID: "clean"}, Version: 3, Transport: "websocket", Since: noon},
}

func (g *rig) Connections(q core.SessionQuery) (out []core.Connection) {
	for _, c := range clients {
		if q.Matches(c.Key, c.Device) && len(out) < q.Limit {
			out = append(out, c)
		}
	}
	return out
}

func (g *rig) Connection(k core.SessionKey) (core.Connection, bool) {
	for _, c := range clients {
		if c.Key == k {
			return c, true
		}
	}
	return core.Connection{}, false
}

func (g *rig) DisconnectClient(k core.SessionKey, reason string) bool {
	_, ok := g.Connection(k)
	if ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.disconnected = append(g.disconnected, k.ClientID+": "+reason)
	}
	return ok
}

func (g *rig) SessionStates(_ context.Context, keys []core.SessionKey) (map[core.SessionKey]core.SessionState, error) {
	out := map[core.SessionKey]core.SessionState{}
	for _, k := range keys {
		c, connected := g.Connection(k)
		out[k] = core.SessionState{Connected: connected, Stored: !connected || c.Stored, Subscriptions: 2, Queued: 7, QueuedBytes: 70}
	}
	return out, nil
}

func (g *rig) SessionFilters(context.Context, core.SessionKey) ([]string, error) {
	return []string{"a/#", "b"}, nil
}

func (g *rig) ForgetDevice(tx *commit.Tx, n core.DeviceNum, reason string) error {
	return g.DisconnectDevice(tx, n, reason)
}

func (g *rig) ForgetSession(tx *commit.Tx, k core.SessionKey) error {
	list, err := tx.FindSessions(core.SessionQuery{Tenant: k.Tenant, Dialect: k.Dialect, Prefix: k.ClientID, Limit: 1})
	if err != nil || len(list) == 0 || list[0].Key != k {
		return errors.Join(err, core.ErrNotFound)
	}
	return tx.DeleteSession(list[0].Num)
}

const clean = "/mqtt/acme/clean"

var mqttScenarios = []scenario{
	{name: "connections", do: "GET /v1/connections", want: []string{
		`"client_id": "acme/pump-1"`, `"device": "pump-1"`, `"address": "192.0.2.1:4711"`, `"version": "3.1.1"`, `"tls_version": "TLS 1.3"`,
		`"keep_alive_seconds": 60`, `"in_flight": 2`, `"queued": 5`, `"transport": "websocket"`, `"address": "[2001:db8::1]:1"`, `"version": "3.1"`,
	}, not: []string{"next"}},
	{name: "connections of one", do: "GET /v1/connections", token: readAcme, want: []string{"clean"}, not: []string{`"other"`}},
	{name: "connections of another's tenant", do: "GET /v1/connections?tenant=other", token: readAcme, code: 404},
	{name: "connections of a dialect", do: "GET /v1/connections?dialect=mqtt&tenant=acme", want: []string{"clean"}, not: []string{"pump"}},
	{name: "connections by prefix", do: "GET /v1/connections?prefix=acme/", want: []string{"pump-1"}, not: []string{"clean"}},
	{name: "connections by client", do: "GET /v1/connections?client=clean", want: []string{`"clean"`, `"other"`}, not: []string{"pump-1"}},
	{name: "connections by half a client", do: "GET /v1/connections?client=clea", want: []string{`"items": []`}},
	{name: "connections of a device", do: "GET /v1/connections?device=astarte/acme/pump-1", want: []string{"pump-1"}, not: []string{"clean"}},
	{name: "connections of another's device", do: "GET /v1/connections?device=astarte/other/pump-1", token: readAcme, code: 404},
	{name: "connections of no device", do: "GET /v1/connections?device=x", code: 400},
	{name: "a page of connections", do: "GET /v1/connections?limit=1", want: []string{"pump-1", "next"}, not: []string{"clean"}},
	{name: "connections behind one", do: "GET /v1/connections?cursor=" + must(cursorBehind(clients[0].Key)), want: []string{"clean", `"other"`}, not: []string{"pump"}},
	{name: "connections behind another's", do: "GET /v1/connections?cursor=" + must(cursorBehind(core.SessionKey{Tenant: "nobody"})), token: readAcme, want: []string{`"items": []`}},
	{name: "connection", do: "GET /v1/connections" + clean, want: []string{`"client_id": "clean"`, `"stored": false`}},
	{name: "connection with slashes", do: "GET /v1/connections/astarte/acme/acme%2Fpump-1", want: []string{`"pump-1"`}},
	{name: "another's connection", do: "GET /v1/connections/mqtt/other/clean", token: readAcme, code: 404},
	{name: "no connection", do: "GET /v1/connections/mqtt/acme/none", code: 404, want: []string{"mqtt/acme/none", "is connected"}},
	{name: "disconnect", do: "DELETE /v1/connections" + clean, token: writeAcme, code: 204, after: func(t *testing.T, g *rig) {
		if got := g.left(); len(got) != 1 || got[0] != "clean: disconnected by an operator" {
			t.Errorf("disconnected %v", got)
		}
	}},
	{name: "disconnect as reader", do: "DELETE /v1/connections" + clean, code: 403},
	{name: "disconnect another's", do: "DELETE /v1/connections/mqtt/other/clean", token: writeAcme, code: 404, after: func(t *testing.T, g *rig) {
		if got := g.left(); len(got) != 0 {
			t.Errorf("disconnected %v", got)
		}
	}},

	{name: "sessions", do: "GET /v1/sessions", want: []string{`"client_id": "acme/pump-1"`, `"client_id": "clean"`, `"client_id": "away"`, `"connected": false`, `"queued_bytes": 70`, `"expires": "2026-05-06T13:00:00Z"`}, not: []string{"next", "filters"}},
	{name: "sessions of one", do: "GET /v1/sessions", token: readAcme, want: []string{"clean", "away"}, not: []string{`"other"`}},
	{name: "sessions by client", do: "GET /v1/sessions?client=away", want: []string{`"away"`}, not: []string{"clean"}},
	{name: "a page of sessions", do: "GET /v1/sessions?limit=2&tenant=acme", want: []string{"acme/pump-1", `"away"`, "next"}, not: []string{"clean"}},
	{name: "sessions behind one", do: "GET /v1/sessions?tenant=acme&cursor=" + must(cursorBehind(core.SessionKey{Tenant: "acme", Dialect: "mqtt", ClientID: "away"})), want: []string{"clean"}, not: []string{"away"}},
	{name: "sessions behind another's", do: "GET /v1/sessions?cursor=" + must(cursorBehind(core.SessionKey{Tenant: "b"})), token: readAcme, want: []string{`"items": []`}},
	{name: "session", do: "GET /v1/sessions/mqtt/acme/away", want: []string{`"connected": false`, `"a/#"`}},
	{name: "session that ends with its connection", do: "GET /v1/sessions" + clean, want: []string{`"stored": false`}},
	{name: "another's session", do: "GET /v1/sessions/mqtt/other/clean", token: readAcme, code: 404},
	{name: "no session", do: "GET /v1/sessions/mqtt/acme/awa", code: 404, want: []string{"there is no session"}},
	{name: "forget", do: "DELETE /v1/sessions/mqtt/acme/away", token: writeAcme, code: 204, after: func(t *testing.T, g *rig) {
		if w := g.call("DELETE /v1/sessions/mqtt/acme/away", writeAcme, ""); w.Code != 404 {
			t.Errorf("again: got %d", w.Code)
		}
	}},
	{name: "forget as reader", do: "DELETE /v1/sessions/mqtt/acme/away", code: 403},
	{name: "forget another's", do: "DELETE /v1/sessions/mqtt/other/clean", token: writeAcme, code: 404},

	{name: "refusals", do: "GET /v1/refusals", want: []string{
		`"seq": 3`, `"reason": "denied"`, `"code": "CONNACK 5"`, `"subject": "CN=acme/pump-1"`, `"serial": "abc"`, `"mqtt_version": "3.1.1"`,
		`"reason": "credentials"`, `"username": "lara"`, `"reason": "tls_version"`, `"address": "192.0.2.3"`,
	}, not: []string{"hunter22"}},
	{name: "refusals of one", do: "GET /v1/refusals", token: readAcme, want: []string{`"seq": 1`}, not: []string{`"seq": 2`, `"seq": 3`}},
	{name: "refusals of another's tenant", do: "GET /v1/refusals?tenant=other", token: readAcme, code: 404},
	{name: "refusals behind another's", do: "GET /v1/refusals?cursor=" + must(makeCursor(3)), token: readAcme, want: []string{`"seq": 1`}, not: []string{`"seq": 2`}},
	{name: "refusals of a tenant", do: "GET /v1/refusals?tenant=other", want: []string{"lara"}, not: []string{"acme"}},
	{name: "refusals by name", do: "GET /v1/refusals?name=c1", want: []string{`"seq": 1`}, not: []string{"lara"}},
	{name: "refusals by address", do: "GET /v1/refusals?address=192.0.2.3", want: []string{`"seq": 3`}, not: []string{`"seq": 2`}},
	{name: "refusals of no address", do: "GET /v1/refusals?address=here", code: 400, want: []string{"IP address"}},
	{name: "refusals at a stage", do: "GET /v1/refusals?stage=tls&limit=1", want: []string{`"seq": 3`}, not: []string{"next"}},
	{name: "refusals at no stage", do: "GET /v1/refusals?stage=x", code: 400, want: []string{"sign-in"}},
	{name: "refusals since", do: "GET /v1/refusals?since=2026-05-06T12:00:01Z", want: []string{`"items": []`}},
	{name: "a page of refusals", do: "GET /v1/refusals?limit=2", want: []string{`"seq": 3`, `"seq": 2`, "next"}, not: []string{`"seq": 1`}},
}
