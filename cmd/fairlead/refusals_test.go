package main

import (
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// TestWhoWasRefused: the best name that is known, and a mark with an explanation where nothing is proven.
func TestWhoWasRefused(t *testing.T) {
	for _, c := range []struct {
		r    admin.Refusal
		want string
	}{
		{admin.Refusal{Dialect: "mqtt", Tenant: "dev", Device: "pump", Username: "x", Proven: true}, "mqtt/dev/pump"},
		{admin.Refusal{Dialect: "mqtt", Tenant: "dev", Device: "pump"}, "mqtt/dev/pump ?"},
		{admin.Refusal{ClientID: "c", Username: "x"}, "user x ?"},
		{admin.Refusal{ClientID: "c", Certificate: &admin.RefusedCertificate{Subject: "CN=x"}}, "CN=x ?"},
		{admin.Refusal{ClientID: "c"}, "client c ?"},
		{admin.Refusal{}, "-"},
	} {
		if got := marked(c.r); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.r, got, c.want)
		}
		if got := markMeans([]admin.Refusal{c.r}); (got != "") != strings.HasSuffix(c.want, "?") {
			t.Errorf("%q is explained with %q", c.want, got)
		}
	}
}
