package access_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/access"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

var _ access.Tx = (*commit.Tx)(nil)

var noon = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)

// world returns a committer on SQLite with the tenants a and b.
func world(t *testing.T) (store.Store, func(func(*commit.Tx) error) error) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c := commit.New(commit.Config{Store: st, Now: func() time.Time { return noon }})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		st.Close()
	})
	do := func(f func(*commit.Tx) error) error { return c.Do(context.Background(), f) }
	if err := do(func(tx *commit.Tx) error {
		return errors.Join(tx.InsertTenant(core.Tenant{ID: "a"}), tx.InsertTenant(core.Tenant{ID: "b"}))
	}); err != nil {
		t.Fatal(err)
	}
	return st, do
}

func TestCreate(t *testing.T) {
	_, do := world(t)
	all := core.Token{Scope: core.ScopeAdmin}
	ofA := core.Token{Scope: core.ScopeAdmin, Tenant: "a"}
	short := core.Token{Scope: core.ScopeAdmin, Expires: noon.Add(time.Hour)}
	for _, tt := range []struct {
		name string
		by   core.Token
		t    core.Token
		want error
		ends time.Time
	}{
		{name: "all", by: all, t: core.Token{Name: "n", Scope: core.ScopeAdmin}},
		{name: "of one tenant", by: all, t: core.Token{Name: "n", Scope: core.ScopeRead, Tenant: "a"}},
		{name: "of one tenant by its admin", by: ofA, t: core.Token{Name: "n", Scope: core.ScopeAdmin, Tenant: "a"}},
		{name: "of another tenant", by: ofA, t: core.Token{Name: "n", Scope: core.ScopeRead, Tenant: "b"}, want: core.ErrDenied},
		{name: "of all by one tenant's", by: ofA, t: core.Token{Name: "n", Scope: core.ScopeRead}, want: core.ErrDenied},
		{name: "no such tenant", by: all, t: core.Token{Name: "n", Scope: core.ScopeRead, Tenant: "none"}, want: core.ErrNotFound},
		{name: "by a writer", by: core.Token{Scope: core.ScopeWrite}, t: core.Token{Name: "n", Scope: core.ScopeRead}, want: core.ErrDenied},
		{name: "no scope", by: all, t: core.Token{Name: "n"}, want: core.ErrInvalid},
		{name: "unknown scope", by: all, t: core.Token{Name: "n", Scope: 4}, want: core.ErrInvalid},
		{name: "no name", by: all, t: core.Token{Scope: core.ScopeRead}, want: core.ErrInvalid},
		{name: "long name", by: all, t: core.Token{Name: strings.Repeat("n", 101), Scope: core.ScopeRead}, want: core.ErrInvalid},
		{name: "name with a line end", by: all, t: core.Token{Name: "a\nb", Scope: core.ScopeRead}, want: core.ErrInvalid},
		{name: "that ends", by: all, t: core.Token{Name: "n", Scope: core.ScopeRead, Expires: noon.Add(time.Hour)}, ends: noon.Add(time.Hour)},
		{name: "that has ended", by: all, t: core.Token{Name: "n", Scope: core.ScopeRead, Expires: noon}, want: core.ErrInvalid},
		{name: "outlasting", by: short, t: core.Token{Name: "n", Scope: core.ScopeRead, Expires: noon.Add(2 * time.Hour)}, want: core.ErrDenied},
		{name: "inheriting the end", by: short, t: core.Token{Name: "n", Scope: core.ScopeRead}, ends: noon.Add(time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.t.ID = access.NewID()
			_, tt.t.Hash = access.NewToken()
			var got core.Token
			err := do(func(tx *commit.Tx) (err error) {
				got, err = access.Create(tx, tt.by, tt.t)
				return err
			})
			if !errors.Is(err, tt.want) || err == nil && (!got.Expires.Equal(tt.ends) || !got.Created.Equal(noon)) {
				t.Errorf("got %+v, %v, want %v, ending %v", got, err, tt.want, tt.ends)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	_, do := world(t)
	create := func(tenant core.TenantID) error {
		return do(func(tx *commit.Tx) error {
			_, hash := access.NewToken()
			_, err := access.Create(tx, core.Token{Scope: core.ScopeAdmin}, core.Token{ID: access.NewID(), Hash: hash, Name: "n", Scope: core.ScopeRead, Tenant: tenant})
			return err
		})
	}
	for range access.MaxTenantTokens {
		if err := create("a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := create("a"); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("one more: got %v, want too large", err)
	}
	if err := create("b"); err != nil {
		t.Errorf("another tenant: %v", err)
	}
}

func TestFindAndRevoke(t *testing.T) {
	st, do := world(t)
	text, hash := access.NewToken()
	if !strings.HasPrefix(text, "fairlead_") || len(text) < 9+26 || access.Hash(text) != hash {
		t.Errorf("got %q", text)
	}
	admin := core.Token{Scope: core.ScopeAdmin}
	made := core.Token{ID: "x", Hash: hash, Name: "n", Scope: core.ScopeWrite, Tenant: "a", Expires: noon.Add(time.Hour)}
	if err := do(func(tx *commit.Tx) error { _, err := access.Create(tx, admin, made); return err }); err != nil {
		t.Fatal(err)
	}
	find := func(text string, now time.Time) (x core.Token, err error) {
		err = st.View(t.Context(), func(rd store.Reader) error {
			x, err = access.Find(rd, access.Hash(text), now)
			return err
		})
		return x, err
	}
	if got, err := find(text, noon); err != nil || got.ID != "x" || got.Scope != core.ScopeWrite || got.Tenant != "a" {
		t.Errorf("got %+v, %v", got, err)
	}
	for what, tt := range map[string]struct {
		text string
		now  time.Time
		want error
	}{
		"another":  {text + "x", noon, access.ErrUnknown},
		"none":     {"", noon, access.ErrUnknown},
		"its hash": {string(hash[:]), noon, access.ErrUnknown},
		"expired":  {text, noon.Add(time.Hour), access.ErrExpired},
	} {
		if _, err := find(tt.text, tt.now); !errors.Is(err, tt.want) || !errors.Is(err, core.ErrUnauthenticated) {
			t.Errorf("%s: got %v, want %v", what, err, tt.want)
		}
	}
	revoke := func(by core.Token, id string) error {
		return do(func(tx *commit.Tx) error { return access.Revoke(tx, by, id) })
	}
	if err := revoke(core.Token{Scope: core.ScopeAdmin, Tenant: "b"}, "x"); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("revoked by another tenant: got %v, want not found", err)
	}
	if err := revoke(core.Token{Scope: core.ScopeAdmin, Tenant: "a"}, "x"); err != nil {
		t.Error(err)
	}
	if _, err := find(text, noon); !errors.Is(err, access.ErrUnknown) {
		t.Errorf("revoked: got %v", err)
	}
	var events []string
	_ = st.View(t.Context(), func(rd store.Reader) error {
		list, err := rd.TenantEvents("a", 0, 10)
		for _, e := range list {
			events = append(events, fmt.Sprintf("%s %s", e.Kind, e.Data))
		}
		return err
	})
	want := `[token.created {"id":"x","name":"n","scope":"write"} token.revoked {"id":"x","name":"n","scope":"write"}]`
	if fmt.Sprint(events) != want {
		t.Errorf("got %v, want %v", events, want)
	}
}
