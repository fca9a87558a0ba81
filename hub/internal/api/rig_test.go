package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/access"
	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// ownerToken is the token in the data folder, and the others are those of the world below.
const (
	ownerToken = "0123456789abcdefghij"
	readAll    = "read-all-token-000000"
	writeAll   = "write-all-token-00000"
	readAcme   = "read-acme-token-00000"
	writeAcme  = "write-acme-token-0000"
	adminAcme  = "admin-acme-token-0000"
	oldToken   = "expired-token-0000000"
)

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

// A rig is the API on SQLite with a small world in it.
type rig struct {
	testing.TB
	*Server
	store     store.Store
	committer *commit.Committer
	status    error
	ready     error

	mu           sync.Mutex
	now          time.Time
	disconnected []string
	published    []string
}

func newRig(t testing.TB, edit func(*Config)) *rig {
	t.Helper()
	g := &rig{TB: t, now: noon}
	var err error
	if g.store, err = sqlite.Open(context.Background(), sqlite.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	authority, err := ca.Open(ca.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	g.committer = commit.New(commit.Config{Store: g.store, Now: g.clock})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = g.committer.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		g.store.Close()
	})
	cfg := Config{
		Token: ownerToken, Ready: func() error { return g.ready },
		Status: func(context.Context) (admin.Status, error) {
			return admin.Status{Version: "v1.2.3", Started: noon, Dialects: []string{"astarte"}, Devices: admin.Devices{Total: 5}, Addresses: admin.Addresses{URL: "https://hub:8443", MQTT: "mqtts://hub:8883", MQTTWeb: "wss://hub:8443/mqtt"}}, g.status
		},
		Store: g.store, Committer: g.committer, Broker: g, CA: authority, Now: g.clock,
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fairlead_up 1\n") }),
		Served:  "the Astarte APIs below /pairing",

		Directors:  map[string]Director{"astarte": director{}},
		Describers: map[string]dialect.Describer{"astarte": describer{}},
		Curators:   map[string]dialect.Curator{"aws": curator{}},
	}
	cfg.Refusals = refusals(g.clock)
	sealed, err := seal.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Keys = accesskey.New(accesskey.Config{Store: g.store, Seal: sealed, Dialect: "aws", Permanent: "AKIA", Temporary: "ASIA"})
	if edit != nil {
		edit(&cfg)
	}
	g.Server = New(cfg)
	g.do(func(tx *commit.Tx) error { return fill(tx, authority.IssuerKeyID()) })
	return g
}

func (g *rig) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

// DisconnectDevice is the broker's side.
func (g *rig) DisconnectDevice(tx *commit.Tx, n core.DeviceNum, reason string) error {
	tx.After(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.disconnected = append(g.disconnected, fmt.Sprintf("%d: %s", n, reason))
	})
	return nil
}

// CloseTenant is the broker's side.
func (g *rig) CloseTenant(tx *commit.Tx, id core.TenantID) {
	tx.After(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.disconnected = append(g.disconnected, string(id)+": tenant deleted")
	})
}

// Publish is the broker's side.
func (g *rig) Publish(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) (int, error) {
	tx.After(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.published = append(g.published, fmt.Sprintf("%s/%s %s %q qos %d retain %v", dialect, t, m.Topic, m.Payload, m.QoS, m.Retain))
	})
	return 2, nil
}

// left returns which devices were disconnected, and why.
func (g *rig) left() []string {
	g.do(func(*commit.Tx) error { return nil }) // what comes after the commits before it has come
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.disconnected)
}

func (g *rig) do(f func(*commit.Tx) error) {
	g.Helper()
	if err := g.committer.Do(context.Background(), f); err != nil {
		g.Fatal(err)
	}
}

// fill makes the world: the tenants acme, with devices in two dialects, and other, with one of the same id.
func fill(tx *commit.Tx, issuer string) error {
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	for _, t := range []core.TenantID{"acme", "other"} {
		try(tx.InsertTenant(core.Tenant{ID: t, Created: noon.Add(-time.Hour)}))
	}
	for _, t := range []core.Token{
		{ID: "t-read", Hash: hashOf(readAll), Name: "read all", Scope: core.ScopeRead},
		{ID: "t-write", Hash: hashOf(writeAll), Name: "write all", Scope: core.ScopeWrite},
		{ID: "t-acme-read", Hash: hashOf(readAcme), Name: "read acme", Scope: core.ScopeRead, Tenant: "acme"},
		{ID: "t-acme-write", Hash: hashOf(writeAcme), Name: "write acme", Scope: core.ScopeWrite, Tenant: "acme"},
		{ID: "t-acme-admin", Hash: hashOf(adminAcme), Name: "admin acme", Scope: core.ScopeAdmin, Tenant: "acme"},
		{ID: "t-old", Hash: hashOf(oldToken), Name: "old", Scope: core.ScopeAdmin, Expires: noon},
	} {
		t.Created = noon.Add(-time.Hour)
		try(tx.InsertToken(t))
	}
	for i, k := range []core.DeviceKey{
		{Tenant: "acme", Dialect: "astarte", ID: "pump-1"},
		{Tenant: "acme", Dialect: "astarte", ID: "pump-2"},
		{Tenant: "acme", Dialect: "mqtt", ID: "lamp"},
		{Tenant: "other", Dialect: "astarte", ID: "pump-1"},
	} {
		d := core.Device{DeviceKey: k, Created: noon.Add(-time.Minute), Connected: i%2 == 0}
		if d.Connected {
			d.LastConnected, d.LastAddr = noon, "192.0.2.9"
		}
		try(tx.InsertDevice(&d))
		if k.Dialect == "astarte" {
			try(tx.PutEnrolment(core.Enrolment{Device: d.Num, SecretHash: []byte{1}, FirstRegistered: noon, LastCredentialsAddr: "192.0.2.7"}))
			for n := range 3 {
				try(tx.PutCertificate(core.Certificate{
					Serial: fmt.Sprintf("a%x%03x", i, n), Device: d.Num, SHA256: [32]byte{byte(i), byte(n)}, AuthorityKeyID: issuer,
					NotBefore: noon, NotAfter: noon.Add(time.Hour), State: map[bool]core.CertificateState{true: core.CertificateActive, false: core.CertificateSuperseded}[n == 2], Changed: noon,
				}))
			}
		}
		if k.Dialect == "mqtt" {
			try(fillPlain(tx, d.Num))
		}
		try(tx.AddCount(d.Num, core.Count{Messages: 3, Bytes: 300}))
		try(tx.AddCount(d.Num, core.Count{Scope: "org.example.Temps v1.0", Messages: 2, Bytes: 200}))
		try(fillData(tx, d.Num))
		try(tx.Emit(core.Event{Device: k, Num: d.Num, Kind: core.DeviceConnected, Data: []byte(`{"addr":"192.0.2.9"}`)}))
	}
	for _, x := range []core.Session{
		{Key: core.SessionKey{Tenant: "acme", Dialect: "mqtt", ClientID: "away"}, Expires: noon.Add(time.Hour)},
		{Key: core.SessionKey{Tenant: "acme", Dialect: "astarte", ClientID: "acme/pump-1"}, Device: 1},
	} {
		x.Created = noon
		try(tx.InsertSession(&x))
	}
	try(tx.Emit(core.Event{
		Device: core.DeviceKey{Tenant: "acme", Dialect: "astarte", ID: "pump-1"}, Kind: core.DocumentChanged,
		Data: must(json.Marshal(core.EntryChange{Document: "conf:1", Side: "desired", Path: "/limit", New: core.AppendInt(nil, 1<<60)})),
	}))
	try(tx.PutRecord("acme", "aws", "accesskey/AKIAACME", []byte(`{"name":"n","created":"2026-01-01T00:00:00Z"}`)))
	try(tx.PutRecord("acme", "aws", "greengrass/hall", []byte(`{"cores":[{"thing":"core1","ways":[{"id":"a","host":"192.0.2.1","port":8883}]}],"devices":["x"]}`)))
	try(tx.Emit(core.Event{Kind: core.TokenCreated, Data: []byte(`{"id":"x"}`)}))
	return errors.Join(errs...)
}

func fillData(tx *commit.Tx, n core.DeviceNum) error {
	var errs []error
	for _, c := range []string{"temps:1/a", "temps:1/b", "all:1"} {
		b := core.Block{Series: &core.Series{Device: n, Channel: c}}
		for i := range 5 {
			at := noon.Add(time.Duration(i/2) * time.Second).UnixMicro()
			v := core.AppendFloat(nil, float64(i)+0.5)
			if c == "all:1" {
				v = must(core.Append(nil, everything()[i]))
			}
			b.Add(at, at+1500, v)
		}
		errs = append(errs, tx.AppendBlock(&b))
	}
	for _, side := range []core.Side{core.Reported, core.Desired} {
		for _, name := range []string{"", "conf:1", "conf:2"} {
			for i, p := range []string{"", "/limit", "/name"} {
				e := core.Entry{Path: p, Value: core.AppendInt(nil, int64(i)<<59), Changed: noon}
				errs = append(errs, tx.PutEntry(core.DocumentKey{Device: n, Name: name, Side: side}, e))
			}
		}
	}
	return errors.Join(errs...)
}

// everything has values of every type in few samples.
func everything() []any {
	return []any{
		int64(1)<<53 - 1, int64(1) << 53,
		[]byte{0, 255},
		noon.Add(time.Microsecond),
		map[string]any{"ok": true, "list": []any{int64(1), int64(2)}, "mixed": []any{nil, "x"}},
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hashOf(text string) [32]byte { return access.Hash(text) }

// call sends a request and returns the answer. do is "METHOD /path".
func (g *rig) call(do, token, body string) *httptest.ResponseRecorder {
	g.Helper()
	method, target, _ := strings.Cut(do, " ")
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	ctx, cancel := context.WithTimeout(g.Context(), 30*time.Second) // where a stream begins that should be refused
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, target, content)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func jsonOf(v any) ([]byte, error) { return json.Marshal(v) }

// A director is a platform that takes objects, and makes an event of each.
type director struct{}

func (director) Direct(tx *commit.Tx, dev core.Device, document string, patch json.RawMessage) error {
	if !strings.HasPrefix(string(patch), "{") {
		return fmt.Errorf("%w: %s is no object", core.ErrInvalid, patch)
	}
	if document == "none" {
		return &core.HelpError{Text: "no document of that name", Help: "Make one.", Err: core.ErrNotFound}
	}
	return tx.Emit(core.Event{Kind: core.DocumentChanged, Device: dev.DeviceKey, Num: dev.Num, Data: patch})
}

// A describer is a platform that knows the name of each device.
type describer struct{}

func (describer) Describe(_ store.Reader, d core.Device) ([]dialect.Fact, error) {
	return []dialect.Fact{{Name: "nickname", Value: "little " + string(d.ID)}}, nil
}

// A curator is a platform that keeps items under their kinds, and refuses groups without cores.
type curator struct{}

func (curator) Items(rd store.Reader, t core.TenantID, kind string) (list []dialect.Item, err error) {
	for r, err := range rd.Records(t, "aws", kind+"/") {
		if err != nil {
			return nil, err
		}
		list = append(list, dialect.Item{ID: strings.TrimPrefix(r.Key, kind+"/"), Value: r.Value})
	}
	return list, nil
}

func (curator) SetItem(tx *commit.Tx, t core.TenantID, kind string, item dialect.Item) error {
	if strings.Contains(string(item.Value), `"cores":[]`) {
		return fmt.Errorf("%w: 0 cores: want 1 to 10", core.ErrInvalid)
	}
	return tx.PutRecord(t, "aws", kind+"/"+item.ID, item.Value)
}

func (curator) DeleteItem(tx *commit.Tx, t core.TenantID, kind, id string) error {
	if _, err := tx.Record(t, "aws", kind+"/"+id); err != nil {
		return err
	}
	return tx.DeleteRecord(t, "aws", kind+"/"+id)
}
