package astarte

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// expiring returns the ages of the realm's series by channel.
func (s *site) expiring() map[string]time.Duration {
	s.Helper()
	got := map[string]time.Duration{}
	s.view(func(rd store.Reader) error {
		for next := core.DeviceNum(0); ; {
			list, n, err := s.d.Expiring(rd, "test", next)
			for _, e := range list {
				got[e.Series.Channel] = e.Age
			}
			if next = n; err != nil || next == 0 {
				return err
			}
		}
	})
	return got
}

func TestExpiring(t *testing.T) {
	const root = `"type":"datastream","ownership":"device","version_major":1,"version_minor":0`
	s := newSite(t,
		`{"interface_name":"org.example.Mixed",`+root+`,"mappings":[
			{"endpoint":"/%{room}/short","type":"double","database_retention_policy":"use_ttl","database_retention_ttl":60},
			{"endpoint":"/%{room}/long","type":"double"}]}`,
		`{"interface_name":"org.example.Object",`+root+`,"aggregation":"object","mappings":[
			{"endpoint":"/a/x","type":"double","database_retention_policy":"use_ttl","database_retention_ttl":7200},
			{"endpoint":"/a/y","type":"double","database_retention_policy":"use_ttl","database_retention_ttl":7200}]}`,
		`{"interface_name":"org.example.Kept",`+root+`,"mappings":[{"endpoint":"/v","type":"double"}]}`,
	)
	s.declared("org.example.Mixed:1:0", "org.example.Object:1:0", "org.example.Kept:1:0")
	for _, c := range []string{"org.example.Mixed:1/r1/short", "org.example.Mixed:1/r1/long", "org.example.Object:1/a", "org.example.Kept:1/v"} {
		s.sample(c, 0, 1.5)
	}
	want := map[string]time.Duration{"org.example.Mixed:1/r1/short": time.Minute, "org.example.Object:1/a": 2 * time.Hour}
	if d := cmp.Diff(want, s.expiring()); d != "" {
		t.Error(d)
	}
	// The realm's bound is for all datastreams.
	s.must("PATCH /housekeeping/v1/realms/test", `{"data":{"datastream_maximum_storage_retention":3600}}`)
	want = map[string]time.Duration{
		"org.example.Mixed:1/r1/short": time.Minute, "org.example.Mixed:1/r1/long": time.Hour,
		"org.example.Object:1/a": time.Hour, "org.example.Kept:1/v": time.Hour,
	}
	if d := cmp.Diff(want, s.expiring()); d != "" {
		t.Error(d)
	}
	s.view(func(rd store.Reader) error {
		list, next, err := s.d.Expiring(rd, "nobody", 0)
		if len(list) > 0 || next != 0 {
			t.Errorf("of a tenant that is no realm: got %v, %v", list, next)
		}
		return err
	})
}
