package mqtt

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
)

// TestMaxRegistered: an authority's certificates make so many devices and no more; those of others count, and operators
// are free.
func TestMaxRegistered(t *testing.T) {
	g := newRig(t, func(c *Config) { c.MaxRegistered = 3 })
	f := newFactory(t, "Factory")
	g.do(func(tx *commit.Tx) error {
		_, err := credential.RegisterAuthority(tx, credential.Authority{Tenant: "acme", PEM: f.pem(), Register: true})
		return err
	})
	come := func(name string) error {
		x := claim("", "")
		x.Certificate = f.sign(name, func(*x509.Certificate) {})
		_, _, err := g.signIn(x)
		return err
	}
	g.add("acme/own")
	g.add("dev/elsewhere")
	for i := range 2 {
		if err := come(fmt.Sprint("auto", i)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(name string) {
		t.Helper()
		if err := come(name); !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("%s: got %v, want that there are too many", name, err)
		}
	}
	refused("auto2")
	if err := come("auto1"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	g.add("acme/more")
	g.do(func(tx *commit.Tx) error { return registry.Delete(tx, g.holder("acme/own").Device) })
	refused("auto2")
	g.do(func(tx *commit.Tx) error { return registry.Delete(tx, g.holder("acme/more").Device) })
	if err := come("auto2"); err != nil {
		t.Errorf("with room: %v", err)
	}
	if n := g.d.RegistrationsRefused(); n != 2 {
		t.Errorf("%d counted, want 2", n)
	}
}
