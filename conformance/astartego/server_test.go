package astartego

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
)

// sameGo compares values of Go, types included; an empty slice is nothing else than a nil one.
func sameGo(got, want any) bool {
	if reflect.DeepEqual(got, want) {
		return true
	}
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	return g.IsValid() && w.IsValid() && g.Type() == w.Type() && g.Kind() == reflect.Slice && g.Len() == 0 && w.Len() == 0
}

// want compares what was received.
func want(t *testing.T, d astarte.Data, short, path string, value any) {
	t.Helper()
	if d.Interface != prefix+short || d.Path != path || !sameGo(d.Value, value) {
		t.Errorf("got %s%s %#v, want %s%s %#v", d.Interface, d.Path, d.Value, prefix+short, path, value)
	}
}

var reliabilities = []string{"Unreliable", "Guaranteed", "Unique"}

// Datastreams of the server: each type with each reliability, typed.
func TestServerValues(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "ServerIndividualUnreliable", "ServerIndividualGuaranteed", "ServerIndividualUnique", "ServerParametric")
	for _, r := range reliabilities {
		short := "ServerIndividual" + r
		for _, k := range kinds {
			t.Run(short+" "+string(k), func(t *testing.T) {
				for _, v := range received[k] {
					p.write(t, g.ID(), short, "/"+endpoint(k), v.posted)
					want(t, g.received(), short, "/"+endpoint(k), v.got)
					equal(t, last(g.series(short, "/"+endpoint(k))), shown(v.got, false))
				}
			})
		}
	}
	t.Run("parametric", func(t *testing.T) {
		p.write(t, g.ID(), "ServerParametric", "/kitchen/command", "open")
		want(t, g.received(), "ServerParametric", "/kitchen/command", "open")
	})
	t.Run("order", func(t *testing.T) {
		for i := range 50 {
			p.write(t, g.ID(), "ServerIndividualUnique", "/integer_endpoint", i)
		}
		for i := range 50 {
			want(t, g.received(), "ServerIndividualUnique", "/integer_endpoint", int32(i))
		}
	})
	t.Run("large", func(t *testing.T) {
		text := strings.Repeat("ä", 30_000)
		p.write(t, g.ID(), "ServerIndividualUnique", "/string_endpoint", text)
		want(t, g.received(), "ServerIndividualUnique", "/string_endpoint", text)
	})
	if !g.Connected() || len(g.states) > 0 {
		t.Error("the connection was lost")
	}
}

// Objects of the server, whole and in part.
func TestServerObjects(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "ServerObjectUnreliable", "ServerObjectGuaranteed", "ServerObjectUnique")
	for _, r := range reliabilities {
		t.Run(r, func(t *testing.T) {
			for n := range 2 {
				posted, got := map[string]any{}, astarte.Object{}
				for _, k := range kinds {
					posted[endpoint(k)], got[endpoint(k)] = received[k][n].posted, received[k][n].got
				}
				p.write(t, g.ID(), "ServerObject"+r, "/s", posted)
				d := g.received()
				o, ok := d.Value.(astarte.Object)
				if !ok || len(o) != len(got) {
					t.Fatalf("got %#v", d.Value)
				}
				for k := range got {
					if !sameGo(o[k], got[k]) {
						t.Errorf("%s: got %#v, want %#v", k, o[k], got[k])
					}
				}
			}
			p.write(t, g.ID(), "ServerObject"+r, "/part", map[string]any{"integer_endpoint": 5, "string_endpoint": "part"})
			want(t, g.received(), "ServerObject"+r, "/part", astarte.Object{"integer_endpoint": int32(5), "string_endpoint": "part"})
		})
	}
}

// A session that stays takes reliable values while the device is away: they arrive in order, and once. That is where ours differs from the official SDK,
// whose sessions end with the connection, so that such values are refused.
func TestServerValuesWhileAway(t *testing.T) {
	p := shared(t)
	for _, r := range []string{"Guaranteed", "Unique"} {
		t.Run(r, func(t *testing.T) {
			short := "ServerIndividual" + r
			g := p.connected(t, short)
			g.halt()
			g.away()
			for i := range 3 {
				p.write(t, g.ID(), short, "/integer_endpoint", i)
			}
			g.connect()
			for i := range 3 {
				want(t, g.received(), short, "/integer_endpoint", int32(i))
			}
			equal(t, g.series(short, "/integer_endpoint"), []any{json.Number("0"), json.Number("1"), json.Number("2")})
			p.write(t, g.ID(), short, "/integer_endpoint", 3) // whatever came twice would come before
			want(t, g.received(), short, "/integer_endpoint", int32(3))

			g.halt()
			g.forgetSession()
			err := p.realm.Write(t.Context(), "POST", g.cfg.DeviceID, prefix+short, "/integer_endpoint", 4)
			if astarteapi.Status(err) != 503 {
				t.Errorf("without a session: got %v, want status 503", err)
			}
		})
	}
}

// A message is acknowledged when the program has handled it: one that was being handled when the device went comes again.
func TestServerValueIsAcknowledgedWhenHandled(t *testing.T) {
	p := shared(t)
	g := p.gadget(t, "ServerIndividualUnique")
	handle := make(chan struct{})
	seen := make(chan astarte.Data, 10)
	g.cfg.OnData = func(d astarte.Data) {
		seen <- d
		<-handle
	}
	g.connect()
	p.write(t, g.ID(), "ServerIndividualUnique", "/integer_endpoint", 1)
	<-seen
	ended := make(chan struct{})
	go func() { g.halt(); close(ended) }()
	g.away()
	close(handle) // too late to be acknowledged
	<-ended
	g.connect()
	select {
	case d := <-seen:
		want(t, d, "ServerIndividualUnique", "/integer_endpoint", int32(1))
	case <-time.After(patience):
		t.Fatal("it did not come again")
	}
}
