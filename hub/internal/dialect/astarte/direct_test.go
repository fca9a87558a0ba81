package astarte

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What an operator desires becomes server-owned properties, by the rules of the interface, all of them or none.
func TestDirect(t *testing.T) {
	r := newRig(t)
	r.realm("test", target1, commands, temps)
	c := r.online()
	c.declares("org.example.Target:1:0", "org.example.Commands:1:0", "org.example.Temps:1:0")
	for _, test := range []struct {
		name, document, patch string
		want                  error
		event                 string // in the last one
	}{
		{"set", "org.example.Target:1", `{"room1":{"target":21.5}}`, nil, `"path":"/room1/target"`},
		{"without the version", "org.example.Target", `{"room1":{"name":"x"}}`, nil, `"path":"/room1/name"`},
		{"a longinteger in a string", "org.example.Target:1", `{"a":{"count":"5000000000"}}`, nil, `"path":"/a/count"`},
		{"unset", "org.example.Target:1", `{"room1":{"target":null}}`, nil, `"path":"/room1/target"`},
		{"may not be unset", "org.example.Target:1", `{"room1":{"name":null}}`, core.ErrInvalid, ""},
		{"one of two is wrong", "org.example.Target:1", `{"b":{"name":"right","target":"wrong"}}`, core.ErrInvalid, ""},
		{"no endpoint", "org.example.Target:1", `{"a":{"none":1}}`, core.ErrInvalid, ""},
		{"no object", "org.example.Target:1", `7`, core.ErrInvalid, ""},
		{"deep", "org.example.Target:1", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), core.ErrInvalid, ""},
		{"another version", "org.example.Target:2", `{}`, core.ErrNotFound, ""},
		{"no document is named", "", `{"a":1}`, core.ErrInvalid, ""},
		{"not declared", "org.example.None:1", `{}`, core.ErrNotFound, ""},
		{"no properties", "org.example.Commands:1", `{"blink":true}`, core.ErrInvalid, ""},
		{"the device's", "org.example.Temps:1", `{"a":{"celsius":1}}`, core.ErrInvalid, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(c.events(core.DocumentChanged))
			err := c.try(func(tx *commit.Tx) error { return c.d.Direct(tx, c.dev, test.document, json.RawMessage(test.patch)) })
			if !errors.Is(err, test.want) || err != nil && test.want == nil {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if help := (*core.HelpError)(nil); test.want == core.ErrNotFound && (!errors.As(err, &help) || help.Help == "") {
				t.Errorf("%v says nothing of what to do", err)
			}
			events := c.events(core.DocumentChanged)[before:]
			if test.event == "" && len(events) > 0 {
				t.Fatalf("refused, and yet %v", events)
			}
			if test.event != "" && (len(events) != 1 || !strings.Contains(events[0], test.event)) {
				t.Fatalf("got %v, want one with %s", events, test.event)
			}
		})
	}
}
