package awsiot

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// A countingReader counts the records that are read.
type countingReader struct {
	store.RecordReader
	n int
}

func (r *countingReader) Records(t core.TenantID, dialect, prefix string) iter.Seq2[store.Record, error] {
	return r.RecordsFrom(t, dialect, prefix, prefix)
}

func (r *countingReader) RecordsFrom(t core.TenantID, dialect, prefix, from string) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for x, err := range r.RecordReader.RecordsFrom(t, dialect, prefix, from) {
			r.n++
			if !yield(x, err) {
				return
			}
		}
	}
}

// A request that names a group over and over is no more work than one that names it once: all others wait for it.
func TestTargetsNamedOverAndOver(t *testing.T) {
	const things = 20
	g := newServiceRig(t)
	g.do(func(tx *commit.Tx) error {
		for _, x := range []thingGroup{{Name: "root"}, {Name: "hall", Parent: "root"}} {
			if err := g.d.putThingGroup(tx, testTenant, x); err != nil {
				return err
			}
		}
		for i := range things {
			name := fmt.Sprintf("t%02d", i)
			if err := g.d.putThing(tx, testTenant, thing{Name: name}); err != nil {
				return err
			}
			if err := g.d.joinGroup(tx, testTenant, "hall", name); err != nil {
				return err
			}
		}
		return nil
	})
	var arns []string
	for range 100 {
		arns = append(arns, g.a.arn(groupResource+"root"), g.a.arn(groupResource+"hall"), g.a.arn(keyThing+"t00"))
	}
	err := g.store.View(t.Context(), func(rd store.Reader) error {
		counted := &countingReader{RecordReader: rd}
		targets, list, err := resolveTargets(counted, &g.a, arns)
		if len(targets) != 3 || len(list) > things+1 {
			t.Errorf("got %d targets and %d things", len(targets), len(list))
		}
		if counted.n > things+1 {
			t.Errorf("read %d records, want each once", counted.n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A large group is deleted in several transactions, and is gone in the end with all that it had.
func TestDeleteLargeGroup(t *testing.T) {
	g := newHTTPRig(t)
	g.do(func(tx *commit.Tx) error {
		if err := g.d.putThingGroup(tx, testTenant, thingGroup{Name: "hall", Version: 1}); err != nil {
			return err
		}
		for i := range 2*groupSlice + 1 {
			name := fmt.Sprintf("t%d", i)
			if err := g.d.putThing(tx, testTenant, thing{Name: name}); err != nil {
				return err
			}
			if err := g.d.joinGroup(tx, testTenant, "hall", name); err != nil {
				return err
			}
		}
		return nil
	})
	g.tell(step{do: "DELETE /thing-groups/hall?expectedVersion=7", want: versionConflict})
	before := g.c.Stats().Commits.Load()
	g.tell(step{do: "DELETE /thing-groups/hall"}, step{do: "GET /thing-groups/hall", want: notFound})
	if got := g.c.Stats().Commits.Load() - before; got < 3 {
		t.Errorf("deleted in %d transactions, want at least 3", got)
	}
	err := g.store.View(t.Context(), func(rd store.Reader) error {
		for r, err := range rd.Records(testTenant, Name, "") {
			if err != nil {
				return err
			}
			if strings.Contains(r.Key, "hall") {
				t.Errorf("left: %s", r.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Who is attached to very many things signs in as fast as others.
func TestThingOfAFleetCertificate(t *testing.T) {
	g := newServiceRig(t)
	const principal = certResource + "c"
	g.do(func(tx *commit.Tx) error {
		for i := range 100 {
			name := fmt.Sprintf("t%02d", i)
			if err := g.d.putThing(tx, testTenant, thing{Name: name}); err != nil {
				return err
			}
			if err := g.d.attachPrincipal(tx, testTenant, attachment{Principal: principal, Thing: name}); err != nil {
				return err
			}
		}
		return g.d.putThing(tx, testTenant, thing{Name: "alone"})
	})
	look := func(clientID, want string) {
		t.Helper()
		err := g.store.View(t.Context(), func(rd store.Reader) error {
			counted := &countingReader{RecordReader: rd}
			x, _, err := connectionThing(counted, testTenant, principal, clientID)
			if got := ""; err == nil {
				if x != nil {
					got = x.Name
				}
				if got != want || counted.n > 3 {
					t.Errorf("%q: got %q after %d records, want %q", clientID, got, counted.n, want)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look("t50", "t50")
	look("alone", "")
	look("no/thing", "")
	look("", "")
	g.do(func(tx *commit.Tx) error {
		for i := range 100 {
			if err := g.d.detachPrincipal(tx, testTenant, fmt.Sprintf("t%02d", i), principal); err != nil {
				return err
			}
		}
		return g.d.attachPrincipal(tx, testTenant, attachment{Principal: principal, Thing: "alone", Exclusive: true})
	})
	look("t50", "alone")
	err := g.c.Do(t.Context(), func(tx *commit.Tx) error { return g.d.attachAlso(tx, testTenant, principal, "t50") })
	if !errors.Is(err, core.ErrConflict) {
		t.Errorf("one more besides an exclusive one: got %v", err)
	}
}
