package astarte

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

const manyDef = `{"interface_name":"org.example.Many","version_major":1,"version_minor":0,"type":"properties","ownership":"device",
	"mappings":[{"endpoint":"/%{n}/value","type":"string","allow_unset":true}]}`

// BenchmarkPurge is a purge list that names none of very many properties: one transaction, for which all others wait.
func BenchmarkPurge(b *testing.B) {
	const many = 20_000
	r := newRig(b)
	r.realm("test", manyDef)
	c := r.online()
	c.declares("org.example.Many:1:0")
	for b.Loop() {
		b.StopTimer()
		for from := 0; from < many; from += 1000 {
			r.do(func(tx *commit.Tx) error {
				for i := from; i < from+1000; i++ {
					e := core.Entry{Path: fmt.Sprintf("/property-with-a-name-%08d/value", i), Value: core.AppendString(nil, "the value of it"), Changed: tx.Now()}
					if err := tx.PutEntry(core.DocumentKey{Device: c.dev.Num, Name: "org.example.Many:1"}, e); err != nil {
						return err
					}
				}
				return nil
			})
		}
		b.StartTimer()
		begun := time.Now()
		c.publish("/control/producer/properties", astartewire.AppendPurgeList(nil, nil))
		b.ReportMetric(float64(time.Since(begun).Microseconds())/many, "µs/row")
	}
}

// TestPurgeInSlices: a list that purges very many properties is done when it is acknowledged, tells of each, spares what is
// listed and what comes after it, and lets others in between.
func TestPurgeInSlices(t *testing.T) {
	const many = 5*purgeSlice + 7
	r := newRig(t)
	r.realm("test", manyDef)
	c := r.online()
	c.declares("org.example.Many:1:0")
	path := func(i int) string { return fmt.Sprintf("/n%05d/value", i) }
	r.do(func(tx *commit.Tx) error {
		for i := range many {
			e := core.Entry{Path: path(i), Value: core.AppendString(nil, "x"), Changed: tx.Now()}
			if err := tx.PutEntry(core.DocumentKey{Device: c.dev.Num, Name: "org.example.Many:1"}, e); err != nil {
				return err
			}
		}
		return nil
	})
	c.pipeline(
		packet{"/org.example.Many/before/value", v(t, astartewire.TypeString, "y")},
		packet{"/control/producer/properties", astartewire.AppendPurgeList(nil, []string{"org.example.Many" + path(3)})},
		packet{"/org.example.Many/after/value", v(t, astartewire.TypeString, "z")},
	)
	got := c.entries("org.example.Many:1", core.Reported)
	wantList(t, "left", got, "/after/value=z", path(3)+"=x")
	if n := len(c.events(core.DocumentChanged)); n != many-1+3 {
		t.Errorf("%d changes told, want %d", n, many-1+3)
	}
}
