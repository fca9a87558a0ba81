package astarte

import (
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// FuzzReceive sends arbitrary messages. Whatever they are, each one is either stored and counted or refused with one of
// the platform's errors, never both and never half; and what is stored can be read.
func FuzzReceive(f *testing.F) {
	f.Add("/org.example.Temps/kitchen/temp", five)
	f.Add("/org.example.Temps/kitchen/at", []byte("\x17\x00\x00\x00\x10v\x00\x05\x00\x00\x00\x09t\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add("/org.example.Position/me", doc(map[string]any{"x": 1, "label": nil}))
	f.Add("/org.example.Config/a/mode", []byte{})
	f.Add("", []byte("org.example.Temps:1:0"))
	f.Add("/control/producer/properties", astartewire.AppendPurgeList(nil, []string{"org.example.Config/a/mode"}))
	f.Add("/control/emptyCache", []byte("1"))
	f.Add("/capabilities", []byte("\x05\x00\x00\x00\x00"))
	f.Add("/%{x}//+/#", []byte{0})
	for _, vec := range loadSeen(f, "bson.json") {
		f.Add("/org.example.Temps/kitchen/raw", vec.payload)
	}
	r := newRig(f)
	c := r.all()
	known := []string{"org.example.Temps:1:0", "org.example.Config:1:0", "org.example.Position:1:0", "org.example.Flat:1:0", "org.example.Target:1:0"}
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		r.TB = t
		c.declares(known...)
		faults, events, counts := len(c.faults()), len(c.events(core.DocumentChanged)), c.counts()
		if strings.HasPrefix(topic, "/control/producer/properties") {
			events = -1 // any number of properties may go
		}
		if err := c.send(packet{topic, payload}); err != nil {
			t.Fatalf("refused instead of handled: %v", err)
		}
		newFaults, newCounts := len(c.faults())-faults, c.counts()
		scopes := 0
		for s, n := range newCounts {
			if s != "" && n != counts[s] {
				scopes++
			}
		}
		if newFaults > 1 || scopes > 1 || newFaults+scopes > 1 {
			t.Errorf("%d errors, counted for %d interfaces", newFaults, scopes)
		}
		if newFaults == 1 && events >= 0 && len(c.events(core.DocumentChanged)) != events {
			t.Error("a refused message has changed a property")
		}
		c.readable()
		if c.link.(*link).kicked {
			c.disconnect()
			c = c.again("/org.example.Target/#")
		}
		c.forgetEvents()
	})
}

// forgetEvents keeps the database of a long run small.
func (c *client) forgetEvents() {
	c.Helper()
	c.do(func(tx *commit.Tx) error {
		_, err := tx.DropEvents(1 << 62)
		return err
	})
}

// readable fails if something that is stored cannot be read.
func (c *client) readable() {
	c.Helper()
	c.view(func(rd store.Reader) error {
		all, err := rd.Series(c.dev.Num, "")
		if err != nil {
			return err
		}
		for _, s := range all {
			for sample, err := range rd.Samples(s, core.Range{Limit: 10, Backwards: true}) {
				if err != nil {
					return err
				}
				if _, err := sample.Value.Decode(); err != nil {
					c.Errorf("%s: %v", s.Channel, err)
				}
			}
		}
		return nil
	})
	c.entries("org.example.Config:1", core.Reported)
	c.model()
}
