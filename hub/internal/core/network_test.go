package core

import (
	"net/netip"
	"testing"
)

func TestNetwork(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"10.0.0.1", "10.0.0.2", false},
	} {
		if got := Network(netip.MustParseAddr(tt.a)) == Network(netip.MustParseAddr(tt.b)); got != tt.same {
			t.Errorf("%s and %s: got the same %v, want %v", tt.a, tt.b, got, tt.same)
		}
	}
	if Network(netip.Addr{}) != (netip.Prefix{}) {
		t.Error("no address has a network")
	}
}
