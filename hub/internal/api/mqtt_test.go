package api

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/netip"
	"time"

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

var mqttScenarios = []scenario{
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
