package hubtest

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
)

const climate = `{"interface_name":"org.example.Climate","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
	"mappings":[{"endpoint":"/temperature","type":"double"}]}`

func TestRealm(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *Hub{"memory": New, "loopback": NewLoopback} {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			realm := h.Astarte(t)
			realm.Install(t, climate)
			secret := realm.Register(t, "Vi3j3M8YVpOPyuzqk8sg5A")
			if secret.IsZero() {
				t.Error("no secret")
			}
			var names []string
			realm.Do(t, "realmmanagement", "GET", "interfaces", nil).Decode(t, &names)
			if len(names) != 1 || names[0] != "org.example.Climate" {
				t.Errorf("got %v", names)
			}
			realm.Await(t, "devices/Vi3j3M8YVpOPyuzqk8sg5A", func(a Answer) bool { return a.Status == http.StatusOK })
			if info, err := h.Admin(t).Status(t.Context()); err != nil {
				t.Errorf("admin: %+v, %v", info, err)
			}
		})
	}
}

func TestOffline(t *testing.T) {
	h := New(t)
	c, err := h.Dial(t.Context(), "tcp", "anything:8883")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n := h.Cut(); n != 1 {
		t.Errorf("cut %d", n)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still there")
	}
	h.SetOffline(true)
	if _, err := h.Dial(t.Context(), "tcp", "anything:8883"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("got %v", err)
	}
	h.Astarte(t).Get(t, "devices") // operators have another way
	h.SetOffline(false)
	if c, err = h.Dial(t.Context(), "tcp", "anything:8883"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if n := h.Cut(); n != 0 {
		t.Errorf("cut %d", n)
	}
}
