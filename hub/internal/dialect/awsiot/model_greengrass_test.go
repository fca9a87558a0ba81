package awsiot

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

func TestGreengrassGroups(t *testing.T) {
	good := func() greengrassGroup {
		return greengrassGroup{ID: "g1", Devices: []string{"pump-7"}, Cores: []greengrassCore{{Thing: "core1", Ways: []greengrassWay{{ID: "a", Host: "192.0.2.1", Port: 8883}}}}}
	}
	g := good()
	if err := g.validate(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*greengrassGroup){
		"id":           func(g *greengrassGroup) { g.ID = "a/b" },
		"no cores":     func(g *greengrassGroup) { g.Cores = nil },
		"core":         func(g *greengrassGroup) { g.Cores[0].Thing = "" },
		"no ways":      func(g *greengrassGroup) { g.Cores[0].Ways = nil },
		"port":         func(g *greengrassGroup) { g.Cores[0].Ways[0].Port = 0 },
		"host":         func(g *greengrassGroup) { g.Cores[0].Ways[0].Host = strings.Repeat("x", 2000) },
		"device":       func(g *greengrassGroup) { g.Devices[0] = "a b" },
		"many devices": func(g *greengrassGroup) { g.Devices = make([]string, maxGreengrassDevices+1) },
		"certificate":  func(g *greengrassGroup) { g.CAs = []string{"x"} },
		"many":         func(g *greengrassGroup) { g.CAs = make([]string, maxGreengrassCAs+1) },
	} {
		g := good()
		change(&g)
		if err := g.validate(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// What operators do with groups, by the door that is there for all that they edit.
func TestGreengrassItems(t *testing.T) {
	g := newServiceRig(t)
	const good = `{"cores":[{"thing":"core1","ways":[{"id":"a","host":"192.0.2.1","port":8883}]}],"devices":["pump-7"]}`
	for _, c := range []struct {
		kind, id, value string
		want            error
	}{
		{"greengrass", "b", good, nil},
		{"greengrass", "a", good, nil},
		{"greengrass", "a", good, nil}, // in the place of the other
		{"greengrass", "a/b", good, core.ErrInvalid},
		{"greengrass", "c", `{"cores":[]}`, core.ErrInvalid},
		{"greengrass", "c", `[]`, core.ErrInvalid},
		{"other", "c", good, core.ErrNotFound},
	} {
		err := g.c.Do(t.Context(), func(tx *commit.Tx) error {
			return g.d.SetItem(tx, testTenant, c.kind, dialect.Item{ID: c.id, Value: json.RawMessage(c.value)})
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: got %v, want %v", c, err, c.want)
		}
	}
	g.do(func(tx *commit.Tx) error {
		if got, err := g.d.Items(tx, testTenant, "greengrass"); err != nil || len(got) != 2 || got[0].ID != "a" || got[1].ID != "b" {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := g.d.Items(tx, testTenant, "other"); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("another kind: got %v", err)
		}
		return g.d.DeleteItem(tx, testTenant, "greengrass", "a")
	})
	for _, kind := range []string{"greengrass", "other"} {
		if err := g.c.Do(t.Context(), func(tx *commit.Tx) error { return g.d.DeleteItem(tx, testTenant, kind, "a") }); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("delete what is not there of %s: got %v", kind, err)
		}
	}
	g.do(func(tx *commit.Tx) error {
		for i := range maxGreengrassGroups - 1 {
			if err := tx.PutRecord(testTenant, Name, keyGreengrass+fmt.Sprint(i), []byte(good)); err != nil {
				return err
			}
		}
		return nil
	})
	for id, want := range map[string]error{"b": nil, "new": core.ErrTooLarge} {
		err := g.c.Do(t.Context(), func(tx *commit.Tx) error {
			return g.d.SetItem(tx, testTenant, "greengrass", dialect.Item{ID: id, Value: json.RawMessage(good)})
		})
		if !errors.Is(err, want) {
			t.Errorf("group %s of as many as there may be: got %v, want %v", id, err, want)
		}
	}
}
