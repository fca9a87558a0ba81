package astartewire

import "testing"

func TestAuthorized(t *testing.T) {
	const path = "devices/Vi3j3M8YVpOPyuzqk8sg5A/interfaces/org.example.T/a:b"
	for _, c := range []struct {
		name         string
		entries      []string
		method, path string
		want         bool
	}{
		{"none", nil, "GET", path, false},
		{"everything", []string{".*::.*"}, "GET", path, true},
		{"everything, empty path", []string{".*::.*"}, "GET", "", true},
		{"method", []string{"GET::.*"}, "GET", path, true},
		{"other method", []string{"GET::.*"}, "POST", path, false},
		{"methods", []string{"(GET|POST)::.*"}, "POST", path, true},
		{"method anchored", []string{"GE::.*"}, "GET", path, false},
		{"path anchored at the start", []string{".*::evices/.*"}, "GET", path, false},
		{"path anchored at the end", []string{".*::devices"}, "GET", path, false},
		{"path with colon", []string{".*::devices/.*/a:b"}, "GET", path, true},
		{"options ignored", []string{"GET:whatever:.*"}, "GET", path, true},
		{"two parts", []string{"GET:.*"}, "GET", path, false},
		{"one part", []string{".*"}, "GET", path, false},
		{"empty", []string{""}, "GET", path, false},
		{"invalid method", []string{"(::.*"}, "GET", path, false},
		{"invalid path", []string{".*::("}, "GET", path, false},
		{"look-ahead, which Go lacks", []string{".*::(?!x).*"}, "GET", path, false},
		{"one of several", []string{"(", "POST::.*", ".*::devices/.*"}, "GET", path, true},
		{"method and path of different entries", []string{"GET::nothing", "POST::.*"}, "GET", path, false},
		// No group is put around the expression, as on the platform.
		{"alternative anchored at the start only", []string{".*::devices|groups"}, "GET", "devices/x", true},
		{"alternative anchored at the end only", []string{".*::devices|groups"}, "GET", "x/groups", true},
		{"neither", []string{".*::devices|groups"}, "GET", "x/devices", false},
		{"registration", []string{"POST::agent/devices"}, "POST", "agent/devices", true},
	} {
		if got := Authorized(c.entries, c.method, c.path); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}
