package accesskey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

type rig struct {
	*Keys
	t     *testing.T
	dir   string
	seal  *seal.Key
	store store.Store
	c     *commit.Committer
}

// newRig has the tenants a and b.
func newRig(t *testing.T) *rig {
	t.Helper()
	g := &rig{t: t, dir: t.TempDir()}
	var err error
	if g.store, err = sqlite.Open(t.Context(), sqlite.Config{Dir: g.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.store.Close() })
	if g.seal, err = seal.New(make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	g.Keys = New(g.config(g.seal))
	g.c = commit.New(commit.Config{Store: g.store})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = g.c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	g.do(nil, func(tx *commit.Tx) error {
		return errors.Join(tx.InsertTenant(core.Tenant{ID: "a"}), tx.InsertTenant(core.Tenant{ID: "b"}))
	})
	return g
}

func (g *rig) config(k *seal.Key) Config {
	return Config{Store: g.store, Seal: k, Dialect: "x", Permanent: "AKIA", Temporary: "ASIA"}
}

func (g *rig) do(want error, fn func(*commit.Tx) error) {
	g.t.Helper()
	if err := g.c.Do(g.t.Context(), fn); !errors.Is(err, want) {
		g.t.Fatalf("got %v, want %v", err, want)
	}
}

func (g *rig) make(t core.TenantID, name string, expires time.Time) (k Key, s Secret) {
	g.t.Helper()
	g.do(nil, func(tx *commit.Tx) (err error) {
		k, s, err = g.Make(tx, t, name, expires)
		return err
	})
	return k, s
}

func (g *rig) find(id string, now time.Time) (Key, Secret, error) {
	return g.Find(g.t.Context(), id, now)
}

func TestKeys(t *testing.T) {
	g := newRig(t)
	now := time.Now()
	if _, _, err := g.find("AKIANONE", now); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	k, s := g.make("a", "dashboard", time.Time{})
	if !strings.HasPrefix(k.ID, "AKIA") || len(k.ID) != 20 || len(s.Secret) != 40 || s.Token != "" {
		t.Errorf("made %+v with a secret of %d characters and token %q", k, len(s.Secret), s.Token)
	}
	got, secret, err := g.find(k.ID, now)
	if err != nil || got.Tenant != "a" || got.Name != "dashboard" || secret != s {
		t.Errorf("found %+v, %v; the secret is right: %v", got, err, secret == s)
	}
	// It is found by another hub on the same store, and nobody else finds the secret there.
	if _, secret, err = New(g.config(g.seal)).Find(t.Context(), k.ID, now); err != nil || secret != s {
		t.Errorf("found by another: %v", err)
	}
	other, err := seal.New(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = New(g.config(other)).Find(t.Context(), k.ID, now); err == nil {
		t.Error("found with another key file")
	}

	g.do(core.ErrNotFound, func(tx *commit.Tx) error { return g.Delete(tx, "b", k.ID) })
	g.do(nil, func(tx *commit.Tx) error { return g.Delete(tx, "a", k.ID) })
	if _, _, err := g.find(k.ID, now); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("a deleted key: %v", err)
	}
}

func TestTemporaryKey(t *testing.T) {
	g := newRig(t)
	ends := time.Now().Add(time.Hour)
	k, s := g.make("a", "", ends)
	if !strings.HasPrefix(k.ID, "ASIA") || s.Token == "" {
		t.Errorf("made %+v with token %q", k, s.Token)
	}
	if _, secret, err := g.find(k.ID, ends.Add(-time.Second)); err != nil || secret != s {
		t.Errorf("in time: %v", err)
	}
	if _, _, err := g.find(k.ID, ends); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("expired: %v", err)
	}
	g.do(core.ErrInvalid, func(tx *commit.Tx) error {
		_, _, err := g.Make(tx, "a", "", tx.Now())
		return err
	})
}

func TestRules(t *testing.T) {
	g := newRig(t)
	for i := range MaxKeys {
		g.make("a", fmt.Sprint(i), time.Time{})
	}
	for _, c := range []struct {
		tenant core.TenantID
		name   string
		want   error
	}{
		{"a", "one more", core.ErrTooLarge},
		{"b", "x", nil},
		{"none", "x", core.ErrNotFound},
		{"b", strings.Repeat("x", MaxNameBytes+1), core.ErrInvalid},
		{"b", "a\nb", core.ErrInvalid},
	} {
		g.do(c.want, func(tx *commit.Tx) error {
			_, _, err := g.Make(tx, c.tenant, c.name, time.Time{})
			return err
		})
	}
	err := g.store.View(t.Context(), func(rd store.Reader) error {
		list, err := g.List(rd, "a")
		if err != nil || len(list) != MaxKeys {
			t.Errorf("%d keys, %v", len(list), err)
		}
		events, err := rd.TenantEvents("b", 0, 10)
		if err != nil || len(events) != 1 || events[0].Kind != core.AccessKeyCreated || events[0].Device.Dialect != "x" {
			t.Errorf("events %+v, %v", events, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingInClear looks for the secret in the files of the database.
func TestNothingInClear(t *testing.T) {
	g := newRig(t)
	_, s := g.make("a", "", time.Now().Add(time.Hour))
	files, err := filepath.Glob(filepath.Join(g.dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(s.Secret)) || bytes.Contains(b, []byte(s.Token)) {
			t.Errorf("%s has the secret", f)
		}
	}
}
