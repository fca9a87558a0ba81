package sqlite

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var update = flag.Bool("update", false, "write testdata/schemaN.db.gz of the current version where it is missing")

// The content of every fixture. What a later version adds gets a fill of its own; this one is never changed.
var (
	fixtureTime    = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)
	fixtureDevice  = core.DeviceKey{Tenant: "test", Dialect: "astarte", ID: "f0VMRgIBAQAAAAAAAAAAAA"}
	fixtureSeries  = core.Series{Device: 1, Channel: "org.example.Temps:1/room1/temp"}
	fixtureDoc     = core.DocumentKey{Device: 1, Name: "org.example.Config:1", Side: core.Desired}
	fixtureSession = core.SessionKey{Tenant: "test", Dialect: "astarte", ClientID: "test/f0VMRgIBAQAAAAAAAAAAAA"}
)

func fillVersion1(tx store.Tx) error {
	d := core.Device{DeviceKey: fixtureDevice, Created: fixtureTime, Connected: true, LastConnected: fixtureTime, LastAddr: "192.0.2.1"}
	x := core.Session{Key: fixtureSession, Device: 1, Created: fixtureTime, Expiry: core.Forever}
	b := core.Block{Series: &core.Series{Device: fixtureSeries.Device, Channel: fixtureSeries.Channel}}
	for i := range int64(5) {
		b.Add(fixtureTime.UnixMicro()+i*60_000_000, fixtureTime.UnixMicro(), core.AppendInt(nil, i))
	}
	return errors.Join(
		tx.InsertTenant(core.Tenant{ID: "test", Created: fixtureTime}), tx.InsertDevice(&d),
		tx.PutEnrolment(core.Enrolment{Device: 1, SecretHash: []byte{1, 2}, FirstRegistered: fixtureTime}),
		tx.PutCertificate(core.Certificate{Serial: "0a", Device: 1, SHA256: [32]byte{9}, NotBefore: fixtureTime}),
		tx.AddCount(1, core.Count{Scope: "s", Messages: 3, Bytes: 30}),
		tx.PutEntry(fixtureDoc, core.Entry{Path: "/on", Value: core.AppendBool(nil, true), Changed: fixtureTime}),
		tx.AppendBlock(&b), tx.PutRecord("test", "astarte", "interface/org.example.Temps/1", []byte("{}")),
		tx.AppendEvent(&core.Event{At: fixtureTime, Device: fixtureDevice, Kind: core.DeviceConnected, Data: []byte(`{"addr":"192.0.2.1"}`)}),
		tx.InsertSession(&x), tx.PutSubscription(core.Subscription{Session: 1, Filter: "#", QoS: 1}), tx.PutReceived(1, 77),
		tx.Enqueue(core.Queued{Session: 1, Seq: 5, ID: 6, Message: core.Message{Topic: "a/b", Payload: []byte("p"), QoS: 2}}),
	)
}

func fillVersion2(tx store.Tx) error {
	return tx.InsertToken(fixtureToken)
}

func fillVersion3(tx store.Tx) error {
	m := core.Message{
		Topic: "a/b", Payload: []byte("p"), QoS: 1, Retain: true, Properties: []byte{1, 1}, Expires: fixtureTime.Add(time.Hour),
	}
	s := core.Session{
		Key:    core.SessionKey{Tenant: "test", Dialect: "mqtt", ClientID: "pump-7/one"},
		Device: 1, Created: fixtureTime, Expiry: time.Hour, Expires: fixtureTime.Add(time.Hour),
	}
	w := core.Will{Session: s.Key, Device: 1, Delay: time.Minute, Due: fixtureTime, Lasts: core.Forever, Message: m}
	w.Expires = time.Time{}
	if err := tx.InsertSession(&s); err != nil {
		return err
	}
	return errors.Join(
		tx.PutSubscription(core.Subscription{
			Session: s.Num, Filter: "$share/g/a/#", QoS: 2, ID: 7, NoLocal: true, RetainAsPublished: true, RetainHandling: 1, RetainedFrom: "a/c",
		}),
		tx.Enqueue(core.Queued{Session: s.Num, Seq: 1, ID: 1, Message: m, SubscriptionIDs: []uint32{7, 200}, Share: "$share/g/a/#"}),
		tx.PutRetained("test", "mqtt", core.Retained{Message: m, Stored: fixtureTime, ClientID: "one"}),
		tx.InsertWill(&w),
	)
}

func fillVersion4(tx store.Tx) error {
	return errors.Join(tx.InsertTenant(core.Tenant{ID: "leaving", Created: fixtureTime}), tx.CloseTenant("leaving"))
}

func fillVersion5(tx store.Tx) error {
	return tx.InsertSession(&core.Session{
		Key:    core.SessionKey{Tenant: "test", Dialect: "aws", ClientID: "five"},
		Device: 1, Created: fixtureTime, Expiry: time.Hour, Expires: fixtureTime.Add(time.Hour), Version: 5,
	})
}

var fixtureToken = core.Token{
	ID: "abc", Hash: [32]byte{1, 31: 2}, Name: "grafana", Scope: core.ScopeRead, Tenant: "test", Created: fixtureTime, Expires: fixtureTime,
}

// fills are what was added in each version.
var fills = []func(store.Tx) error{fillVersion1, fillVersion2, fillVersion3, fillVersion4, fillVersion5}

// fillTo fills a database as one of that version was filled.
func fillTo(version int) func(store.Tx) error {
	return func(tx store.Tx) error {
		for _, fill := range fills[:version] {
			if err := fill(tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// dump prints what the interface gives of the fixture.
func dump(r store.Reader) string {
	var b strings.Builder
	line := func(v any, err error) { fmt.Fprintf(&b, "%+v %v\n", v, err) }
	one := func(v any, err error) { line(v, err) }
	one(r.Tenants())
	one(r.Tokens())
	one(r.Device(fixtureDevice))
	one(r.Enrolment(1))
	one(r.Certificate("0a"))
	one(r.Counts(1))
	one(r.Entries(fixtureDoc))
	one(r.Events(0, 10))
	one(r.Received(1))
	one(r.Queue(1, 0, 10))
	one(r.Queue(2, 0, 10))
	for v, err := range r.Samples(&fixtureSeries, core.Range{}) {
		line(v, err)
	}
	for v, err := range r.Records("test", "astarte", "") {
		line(v, err)
	}
	for v, err := range r.Sessions() {
		line(v, err)
	}
	for v, err := range r.Subscriptions() {
		line(v, err)
	}
	for v, err := range r.QueueSizes() {
		line(v, err)
	}
	for v, err := range r.Wills() {
		line(v, err)
	}
	for v, err := range r.RetainedFrom("test", "mqtt", "", "") {
		line(v, err)
	}
	return b.String()
}

func schema(t *testing.T, s *Store) (text string) {
	t.Helper()
	for r, err := range s.w.rows("SELECT type, name, sql FROM sqlite_schema ORDER BY name") {
		if err != nil {
			t.Fatal(err)
		}
		text += r.ColumnText(0) + " " + r.ColumnText(1) + "\n" + r.ColumnText(2) + "\n"
	}
	return text
}

// released is the newest version of the schema that databases out there can have.
const released = 5

// TestOldVersions opens a database of every version there has been. The files stay for ever; -update only adds.
func TestOldVersions(t *testing.T) {
	fresh := opened(t, Config{})
	for v := 1; v <= released; v++ {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			filled := opened(t, Config{})
			if err := filled.Update(fillTo(v)); err != nil {
				t.Fatal(err)
			}
			want := ""
			if err := filled.View(t.Context(), func(r store.Reader) error { want = dump(r); return nil }); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join("testdata", fmt.Sprintf("schema%d.db.gz", v))
			if _, err := os.Stat(name); err != nil && *update && v == len(migrations) {
				writeFixture(t, name)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatalf("%v (make it with -update, before the next migration is added)", err)
			}
			defer f.Close()
			z, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, dbFile), data, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // migrated, and then as it is
				s := open(t, Config{Dir: dir})
				intact(t, s)
				if d := cmp.Diff(schema(t, fresh), schema(t, s)); d != "" {
					t.Errorf("schema: -new +migrated\n%s", d)
				}
				got := ""
				if err := s.View(t.Context(), func(r store.Reader) error { got = dump(r); return nil }); err != nil {
					t.Error(err)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("content: -want +got\n%s", d)
				}
				put(t, s, "new", nil)
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func writeFixture(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	err := s.Update(fillTo(len(migrations)))
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, dbFile))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, err = z.Write(data)
	if err = errors.Join(err, z.Close(), os.MkdirAll("testdata", 0o755), os.WriteFile(name, b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// TestMigrate: steps run in order, each at once or not at all, and a step that failed is tried again.
func TestMigrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), dbFile)
	steps := []string{
		"CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1);",
		"INSERT INTO a VALUES (2); INSERT INTO missing VALUES (3);",
		"UPDATE a SET x = x * 10;",
	}
	run := func() (version int, sum int64, err error) {
		prepared(t, path)
		if version, err = inspect(path, len(steps)); err != nil {
			return version, 0, err
		}
		c, err := openWriter(path, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		err = migrate(t.Context(), c, version, steps)
		c.begin()
		version, verr := schemaVersion(c)
		_, serr := c.one(func(r row) { sum = r.ColumnInt64(0) }, "SELECT sum(x) FROM a")
		if err2 := errors.Join(verr, serr); err2 != nil {
			t.Fatal(err2)
		}
		return version, sum, err
	}
	if v, sum, err := run(); v != 1 || sum != 1 || err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("failing step: got version %d, sum %d, %v", v, sum, err)
	}
	steps[1] = "INSERT INTO a VALUES (2);"
	if v, sum, err := run(); v != 3 || sum != 30 || err != nil {
		t.Errorf("got version %d, sum %d, %v", v, sum, err)
	}
	if v, sum, err := run(); v != 3 || sum != 30 || err != nil {
		t.Errorf("nothing to do: got version %d, sum %d, %v", v, sum, err)
	}
	steps = steps[:2]
	if _, _, err := run(); !errors.Is(err, core.ErrConflict) || !strings.Contains(err.Error(), "version 3") || !strings.Contains(err.Error(), "up to 2") {
		t.Errorf("newer: got %v", err)
	}
}
