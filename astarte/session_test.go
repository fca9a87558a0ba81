package astarte

import (
	"encoding/binary"
	"log/slog"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// TestResume: a session that Astarte still has is not begun anew; one that it has lost is, with the properties and their list.
func TestResume(t *testing.T) {
	p := newPeer(t)
	in := capture(t)
	states := make(chan Connection, 100)
	cfg := p.config(t, in["org.example.capture.Props"], in["org.example.capture.ServerProps"])
	cfg.OnConnection = func(c Connection) { states <- c }
	d, _ := runDevice(t, cfg)
	p.handshake(t)
	await := func(present bool) {
		t.Helper()
		for c := range states {
			if c.State == Connected {
				if c.SessionPresent != present {
					t.Errorf("got %+v", c)
				}
				return
			}
		}
	}
	await(false)
	ctx := t.Context()
	set := func(path string, v any) {
		t.Helper()
		if err := d.SetProperty(ctx, "org.example.capture.Props", path, v); err != nil {
			t.Fatal(err)
		}
	}
	set("/integer_endpoint", 7)
	if topic, m := p.publish(t); topic != "/org.example.capture.Props/integer_endpoint" || len(m.Payload) != 12 {
		t.Errorf("got %s %x", topic, m.Payload)
	}
	if err := d.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.present = true
	p.mu.Unlock()
	p.hangUp()
	if _, ok := p.next(t).(*mqtt.Connect); !ok {
		t.Fatal("no CONNECT")
	}
	await(true)
	set("/boolean_endpoint", false)
	if topic, _ := p.publish(t); topic != "/org.example.capture.Props/boolean_endpoint" { // nothing else was sent
		t.Errorf("got %s", topic)
	}
	if err := d.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.present = false
	p.mu.Unlock()
	p.hangUp()
	published, order, filters, _ := p.handshake(t)
	if len(filters) != 2 || !slices.Equal(order, []string{
		"", "/control/emptyCache", "/org.example.capture.Props/boolean_endpoint", "/org.example.capture.Props/integer_endpoint", "/control/producer/properties",
	}) {
		t.Errorf("got %q, %q", filters, order)
	}
	list, err := astartewire.ParsePurgeList(published["/control/producer/properties"])
	if err != nil || !slices.Equal(list, []string{"org.example.capture.Props/boolean_endpoint", "org.example.capture.Props/integer_endpoint"}) {
		t.Errorf("got %q, %v", list, err)
	}
	if h := binary.BigEndian.Uint32(published["/control/producer/properties"]); int(h) != len(strings.Join(list, ";")) {
		t.Errorf("header: %d", h)
	}
}

// TestCertificates: a certificate is renewed in time, and when Astarte does not accept it any more; not for other reasons.
func TestCertificates(t *testing.T) {
	p := newPeer(t)
	cfg := p.config(t)
	if os.Getenv("ASTARTE_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	_, stop := runDevice(t, cfg)
	p.handshake(t)
	p.asked()
	serial := func() *big.Int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.serial
	}
	first := serial()
	p.hangUp()
	p.handshake(t)
	if got := p.asked(); len(got) != 0 || serial().Cmp(first) != 0 {
		t.Errorf("after a lost connection: asked %q, serial %v, %v", got, first, serial())
	}
	// Refused, though the certificate is good: Pairing is asked.
	p.mu.Lock()
	p.refuse = mqtt.ConnAckNotAuthorized
	p.mu.Unlock()
	p.hangUp()
	p.next(t) // CONNECT
	p.handshake(t)
	if got := p.asked(); !slices.Contains(got, "verify") || slices.Contains(got, "credentials") || serial().Cmp(first) != 0 {
		t.Errorf("after a refusal: asked %q", got)
	}
	// Refused, and it is bad. The next one lives short, so it is renewed at once; the sign that it is a renewal is DISCONNECT.
	p.mu.Lock()
	p.refuse, p.valid, p.life = mqtt.ConnAckNotAuthorized, false, 3*time.Second
	p.mu.Unlock()
	p.hangUp()
	p.next(t)
	p.handshake(t)
	if q, ok := p.next(t).(*mqtt.Disconnect); !ok {
		t.Errorf("got %#v, want DISCONNECT", q)
	}
	p.handshake(t)
	asked := slices.DeleteFunc(p.asked(), func(what string) bool { return what == device })
	if !slices.Equal(asked, []string{"verify", "credentials", "credentials"}) || serial().Cmp(first) == 0 {
		t.Errorf("after a bad certificate, and a renewal: asked %q", asked)
	}
	last := serial()
	stop()
	p.next(t)
	// The next process finds it.
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	id, err := d.creds.Load()
	if err != nil || id.Certificate().SerialNumber.Cmp(last) != 0 {
		t.Errorf("got %v", err)
	}
}
