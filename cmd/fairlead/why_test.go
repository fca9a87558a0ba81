package main

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// TestWhatKeepsADeviceOut: what is wrong with a device's credentials is said, the operator's own decision first, and
// nothing of a device that can connect.
func TestWhatKeepsADeviceOut(t *testing.T) {
	now := time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	past, future := admin.NewTime(now.Add(-time.Hour)), admin.NewTime(now.Add(time.Hour))
	crt := func(state string, ends admin.Time) admin.Certificate {
		return admin.Certificate{Serial: "1f", State: state, NotAfter: ends, Changed: past}
	}
	for name, c := range map[string]struct {
		dialect             string
		password, inhibited bool
		certs               []admin.Certificate
		tokens              []admin.DeviceToken
		want                []string // parts of the texts and helps
	}{
		"fine":                       {dialect: "mqtt", password: true},
		"fine with a token":          {dialect: "mqtt", tokens: []admin.DeviceToken{{Expires: future}}},
		"fine, the old one expired":  {dialect: "mqtt", password: true, certs: []admin.Certificate{crt("active", future), crt("superseded", past)}},
		"inhibited":                  {dialect: "mqtt", password: true, inhibited: true, want: []string{"is kept out", "fairlead device allow mqtt/dev/x"}},
		"inhibited, another dialect": {dialect: "astarte", inhibited: true, want: []string{"no further certificates", "device allow astarte/dev/x"}},
		"nothing at all":             {dialect: "mqtt", tokens: []admin.DeviceToken{{Expires: past}}, want: []string{"no password and no live token, and no certificate", "fairlead device password mqtt/dev/x"}},
		"a certificate only":         {dialect: "mqtt", certs: []admin.Certificate{crt("active", future)}, want: []string{"no password and no live token", "fairlead device token"}},
		"revoked":                    {dialect: "mqtt", password: true, certs: []admin.Certificate{crt("revoked", future)}, want: []string{"1f, which was revoked at", "fairlead cert issue mqtt/dev/x"}},
		"expired":                    {dialect: "astarte", certs: []admin.Certificate{crt("active", past)}, want: []string{"1f, which expired at", "fetch a new one"}},
	} {
		d := admin.Device{
			DeviceKey:   admin.DeviceKey{Dialect: c.dialect, Tenant: "dev", ID: "x"},
			Credentials: &admin.Credentials{Registered: c.password, Inhibited: c.inhibited},
		}
		got := judge(d, c.certs, c.tokens, now)
		if len(got) != len(c.want)/2 {
			t.Errorf("%s: got %+v", name, got)
			continue
		}
		for i, f := range got {
			if !strings.Contains(f.Text, c.want[2*i]) || !strings.Contains(f.Help, c.want[2*i+1]) {
				t.Errorf("%s: got %+v", name, f)
			}
		}
	}
}
