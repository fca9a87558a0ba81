package awsiot

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Operators see what decides about a thing, and a page of it at the most.
func TestDescribe(t *testing.T) {
	g := newServiceRig(t)
	describe := func(name string) (list []dialect.Fact) {
		t.Helper()
		g.view(func(rd store.Reader) (err error) {
			list, err = g.d.Describe(rd, core.Device{DeviceKey: deviceKey(testTenant, name)})
			return err
		})
		return list
	}
	const certID = "c0ffee"
	g.do(func(tx *commit.Tx) error {
		return errors.Join(
			g.d.putThing(tx, testTenant, thing{Name: "bare"}),
			g.d.putThing(tx, testTenant, thing{Name: "pump", Type: "pumps"}),
			g.d.putThingGroup(tx, testTenant, thingGroup{Name: "hall"}),
			g.d.joinGroup(tx, testTenant, "hall", "pump"),
			g.d.insertCertificate(tx, testTenant, certificate{ID: certID, Status: statusInactive, NotAfter: time.Date(2049, 12, 31, 23, 0, 0, 0, time.UTC)}),
			g.d.attachPrincipal(tx, testTenant, attachment{Principal: certResource + certID, Thing: "pump"}),
			g.d.attachPrincipal(tx, testTenant, attachment{Principal: "us-east-1:0", Thing: "pump"}),
			g.d.attachPolicy(tx, testTenant, "a", certResource+certID),
			g.d.attachPolicy(tx, testTenant, "b", certResource+certID),
			g.d.attachPolicy(tx, testTenant, "c", groupResource+"hall"))
	})
	want := []dialect.Fact{
		{Name: "type", Value: "pumps"},
		{Name: "group", Value: "hall, policies: c"},
		{Name: "certificate", Value: "c0ffee INACTIVE until 2049-12-31, policies: a, b"},
		{Name: "identity", Value: "us-east-1:0"},
	}
	if d := cmp.Diff(want, describe("pump")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	for _, name := range []string{"bare", "none"} {
		if got := describe(name); len(got) != 0 {
			t.Errorf("%s: got %v, want nothing", name, got)
		}
	}
	g.do(func(tx *commit.Tx) error {
		for i := range 2 * maxFacts {
			if err := g.d.attachPrincipal(tx, testTenant, attachment{Principal: fmt.Sprint("us-east-1:", i), Thing: "bare"}); err != nil {
				return err
			}
		}
		return nil
	})
	if got := describe("bare"); len(got) != maxFacts+1 || !strings.HasPrefix(got[maxFacts].Value, "and 100 more") {
		t.Errorf("got %d facts, the last of them %v", len(got), got[len(got)-1])
	}
}
