package astartego

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-iot/fairlead/astarte"
)

// Properties of the device: each type, both kinds of mapping; set, unset, kept.
func TestDeviceProperties(t *testing.T) {
	g := shared(t).connected(t, "DeviceProperties", "DevicePropertiesFixed")
	for _, short := range []string{"DeviceProperties", "DevicePropertiesFixed"} {
		t.Run(short, func(t *testing.T) {
			each(t, func(t *testing.T, _ string, k astarte.Type, value any) {
				if empty(value) {
					return // see TestOfficialSDK
				}
				g.set(short, "/"+endpoint(k), value)
				g.settle()
				equal(t, g.read(short, "").(map[string]any)[endpoint(k)], shown(value, true))
			})
		})
	}
	for _, k := range kinds {
		t.Run("unset "+string(k), func(t *testing.T) {
			g.set("DeviceProperties", "/"+endpoint(k), values[k][0])
			g.unset("DeviceProperties", "/"+endpoint(k))
			g.settle()
			if v, ok := g.read("DeviceProperties", "").(map[string]any)[endpoint(k)]; ok {
				t.Errorf("got %v", v)
			}
			equal(t, g.read("DeviceProperties", "/"+endpoint(k)), map[string]any{})
		})
	}
	g.unset("DeviceProperties", "/integer_endpoint") // what is not set
	for i := range 100 {
		g.set("DeviceProperties", "/integer_endpoint", i)
	}
	g.settle()
	equal(t, g.read("DeviceProperties", "/integer_endpoint"), shown(int32(99), true))
	if !g.Connected() || len(g.states) > 0 {
		t.Error("the connection was lost")
	}
}

func TestDevicePropertyTree(t *testing.T) {
	g := shared(t).connected(t, "DevicePropertiesParametric")
	g.set("DevicePropertiesParametric", "/kitchen/target", 21.5)
	g.set("DevicePropertiesParametric", "/kitchen/enable", true)
	g.set("DevicePropertiesParametric", "/cellar/enable", false)
	g.settle()
	kitchen := map[string]any{"target": 21.5, "enable": true}
	equal(t, g.read("DevicePropertiesParametric", ""), map[string]any{"kitchen": kitchen, "cellar": map[string]any{"enable": false}})
	equal(t, g.read("DevicePropertiesParametric", "/kitchen"), kitchen)
}

// all returns the nth value of each type as AppEngine shows properties.
func all(n int) map[string]any {
	m := map[string]any{}
	for _, k := range kinds {
		if !empty(values[k][n]) {
			m[endpoint(k)] = shown(values[k][n], true)
		}
	}
	return m
}

// Properties stay while the device is away, in both places, and are told again in a new session.
func TestDevicePropertiesStay(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "DeviceProperties")
	for _, k := range kinds {
		g.set("DeviceProperties", "/"+endpoint(k), values[k][0])
	}
	g.settle()
	equal(t, g.read("DeviceProperties", ""), all(0))
	g.halt()
	equal(t, g.read("DeviceProperties", ""), all(0))
	g.connect()
	equal(t, g.read("DeviceProperties", ""), all(0))

	t.Run("one unset before a crash does not come back", func(t *testing.T) {
		g.unset("DeviceProperties", "/integer_endpoint")
		g.settle()
		g.restart()
		equal(t, g.read("DeviceProperties", ""), without(any(all(0)), "integer_endpoint"))
	})
	t.Run("those of a lost storage are forgotten", func(t *testing.T) {
		g.halt()
		must(t, os.Remove(filepath.Join(g.cfg.Dir, "properties.log")))
		g.connect()
		equal(t, g.read("DeviceProperties", ""), map[string]any{})
	})
}

func TestPurgeListSparesTheServers(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "DeviceProperties", "ServerProperties")
	p.write(t, g.ID(), "ServerProperties", "/integer_endpoint", 7)
	g.received()
	g.restart()
	equal(t, g.read("ServerProperties", ""), map[string]any{"integer_endpoint": shown(int32(7), true)})
}

// Properties of the server: each type, typed; set, unset, kept.
func TestServerProperties(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "ServerProperties", "ServerPropertiesFixed")
	for _, short := range []string{"ServerProperties", "ServerPropertiesFixed"} {
		for _, k := range kinds {
			for _, v := range received[k] {
				t.Run(short+" "+string(k), func(t *testing.T) {
					p.write(t, g.ID(), short, "/"+endpoint(k), v.posted)
					want(t, g.received(), short, "/"+endpoint(k), v.got)
					equal(t, g.read(short, "/"+endpoint(k)), shown(v.got, true))
					if got := g.kept()[short+"/"+endpoint(k)]; !sameGo(got, v.got) {
						t.Errorf("kept %#v, want %#v", got, v.got)
					}
				})
			}
		}
	}
	for _, k := range kinds {
		t.Run("unset "+string(k), func(t *testing.T) {
			must(t, p.realm.Unset(t.Context(), g.ID(), prefix+"ServerProperties", "/"+endpoint(k)))
			want(t, g.received(), "ServerProperties", "/"+endpoint(k), nil)
			if v, ok := g.kept()["ServerProperties/"+endpoint(k)]; ok {
				t.Errorf("kept %v", v)
			}
		})
	}
}

// What programs do while the device is away arrives when it comes back: in a session that stays, each change.
func TestServerPropertiesWhileAway(t *testing.T) {
	p := shared(t)
	unset := func(t *testing.T, g *gadget, path string) {
		t.Helper()
		must(t, p.realm.Unset(t.Context(), g.ID(), prefix+"ServerProperties", path))
	}
	t.Run("set", func(t *testing.T) {
		g := p.connected(t, "ServerProperties")
		g.halt()
		for _, k := range kinds {
			p.write(t, g.ID(), "ServerProperties", "/"+endpoint(k), received[k][0].posted)
		}
		g.connect()
		for i := 0; i < len(kinds); i++ {
			want(t, g.received(), "ServerProperties", "/"+endpoint(kinds[i]), received[kinds[i]][0].got)
		}
	})
	t.Run("unset", func(t *testing.T) {
		g := p.connected(t, "ServerProperties")
		p.write(t, g.ID(), "ServerProperties", "/integer_endpoint", 7)
		p.write(t, g.ID(), "ServerProperties", "/string_endpoint", "stays")
		g.received()
		g.received()
		g.halt()
		unset(t, g, "/integer_endpoint")
		g.connect()
		eventually(t, "the property to vanish", func() bool { return len(g.kept()) == 1 })
		equal(t, g.kept(), map[string]any{"ServerProperties/string_endpoint": "stays"})
	})
	t.Run("unset, and the session lost", func(t *testing.T) { // the list of all properties says it
		g := p.connected(t, "ServerProperties")
		p.write(t, g.ID(), "ServerProperties", "/integer_endpoint", 7)
		p.write(t, g.ID(), "ServerProperties", "/string_endpoint", "stays")
		g.received()
		g.received()
		g.halt()
		g.forgetSession()
		unset(t, g, "/integer_endpoint")
		g.connect()
		eventually(t, "the property to vanish", func() bool { return len(g.kept()) == 1 })
		want(t, g.received(), "ServerProperties", "/string_endpoint", "stays")
	})
	t.Run("before the first connection", func(t *testing.T) {
		g := p.gadget(t, "ServerProperties")
		in := astarte.NewIntrospection(g.cfg.Interfaces...)
		secret, err := p.pairing().RegisterWith(t.Context(), g.cfg.DeviceID, p.token(), in)
		must(t, err)
		g.cfg.CredentialsSecret = secret
		p.write(t, g.cfg.DeviceID, "ServerProperties", "/integer_endpoint", 7)
		g.connect()
		want(t, g.received(), "ServerProperties", "/integer_endpoint", int32(7))
	})
	t.Run("with storage lost", func(t *testing.T) {
		g := p.connected(t, "ServerProperties")
		p.write(t, g.ID(), "ServerProperties", "/integer_endpoint", 7)
		g.received()
		g.halt()
		must(t, os.Remove(filepath.Join(g.cfg.Dir, "properties.log")))
		g.forgetSession()
		g.connect()
		want(t, g.received(), "ServerProperties", "/integer_endpoint", int32(7))
		if got := g.kept()["ServerProperties/integer_endpoint"]; got != int32(7) {
			t.Errorf("kept %v", got)
		}
	})
	t.Run("after a kick", func(t *testing.T) {
		g := p.connected(t, "ServerProperties")
		g.kick()
		p.write(t, g.ID(), "ServerProperties", "/integer_endpoint", 9)
		want(t, g.received(), "ServerProperties", "/integer_endpoint", int32(9))
		unset(t, g, "/integer_endpoint")
		want(t, g.received(), "ServerProperties", "/integer_endpoint", nil)
	})
}
