package admin

import "testing"

// FuzzKeys: what is read is written again as it was.
func FuzzKeys(f *testing.F) {
	f.Add("mqtt/dev/demo")
	f.Add("mqtt/dev/demo/client/with/slashes")
	f.Add("//")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseDeviceKey(s); err == nil && k.String() != s {
			t.Errorf("device %q became %q", s, k)
		}
		if k, err := ParseSessionKey(s); err == nil && k.String() != s {
			t.Errorf("session %q became %q", s, k)
		}
	})
}
