package greengrass

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func TestValidate(t *testing.T) {
	good := func() Group {
		return Group{ID: "g1", Devices: []string{"pump-7"}, Cores: []Core{{Thing: "core1", Ways: []Way{{ID: "a", Host: "192.0.2.1", Port: 8883}}}}}
	}
	g := good()
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Group){
		"id":           func(g *Group) { g.ID = "a/b" },
		"no cores":     func(g *Group) { g.Cores = nil },
		"core":         func(g *Group) { g.Cores[0].Thing = "" },
		"no ways":      func(g *Group) { g.Cores[0].Ways = nil },
		"port":         func(g *Group) { g.Cores[0].Ways[0].Port = 0 },
		"host":         func(g *Group) { g.Cores[0].Ways[0].Host = strings.Repeat("x", 2000) },
		"device":       func(g *Group) { g.Devices[0] = "a b" },
		"many devices": func(g *Group) { g.Devices = make([]string, MaxDevices+1) },
		"certificate":  func(g *Group) { g.CAs = []string{"x"} },
		"many":         func(g *Group) { g.CAs = make([]string, MaxCAs+1) },
	} {
		g := good()
		change(&g)
		if err := g.Validate(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}
