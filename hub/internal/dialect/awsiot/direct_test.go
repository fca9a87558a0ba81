package awsiot

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What an operator desires becomes an update of the shadow, of which the device hears; what a shadow may not be is refused.
func TestDirect(t *testing.T) {
	r := newServiceRig(t)
	r.do(func(tx *commit.Tx) error { return r.d.putThing(tx, testTenant, thing{Name: "T"}) })
	direct := func(name, patch string) error {
		return r.c.Do(context.Background(), func(tx *commit.Tx) error {
			dev, err := tx.Device(deviceKey(testTenant, "T"))
			if err != nil {
				return err
			}
			return r.d.Direct(tx, dev, name, []byte(patch))
		})
	}
	for _, c := range []struct {
		name, patch string
		want        error
		topic, text string
	}{
		{"", `{"setpoint":21,"old":1}`, nil, "$aws/things/T/shadow/update/delta", `"setpoint":21`},
		{"", `{"old":null}`, nil, "$aws/things/T/shadow/update/delta", `"state":{"setpoint":21}`},
		{"named", `{"a":{"b":1.0}}`, nil, "$aws/things/T/shadow/name/named/update/delta", `{"a":{"b":1.0}}`},
		{"", `5`, core.ErrInvalid, "", ""},
		{"", `{"a":[null]}`, core.ErrInvalid, "", ""},
		{"", `{"a":"` + strings.Repeat("x", 9000) + `"}`, core.ErrTooLarge, "", ""},
		{"no name", `{}`, core.ErrInvalid, "", ""},
	} {
		r.heard()
		if err := direct(c.name, c.patch); !errors.Is(err, c.want) || err != nil && c.want == nil {
			t.Errorf("%s %.40s: %v, want %v", c.name, c.patch, err, c.want)
		}
		found := c.topic == ""
		for _, m := range r.heard() {
			if c.topic == "" {
				t.Errorf("%.40s: refused, and yet %+v", c.patch, m)
			}
			found = found || m.Topic == c.topic && strings.Contains(m.Payload, c.text)
		}
		if !found {
			t.Errorf("%s %s: no message to %s with %s", c.name, c.patch, c.topic, c.text)
		}
	}
}
