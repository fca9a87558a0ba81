package credential

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/google/go-cmp/cmp"
)

func TestPassword(t *testing.T) {
	h := NewHasher(2)
	ctx := t.Context()
	text, hash := NewPassword()
	if !Made(text) || Guessable(hash) || len(hash) != 32 {
		t.Errorf("made %q, kept as %d bytes", text, len(hash))
	}
	chosen, err := h.Hash(ctx, "correct horse")
	if err != nil || !Guessable(chosen) || !strings.HasPrefix(string(chosen), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("got %q, %v", chosen, err)
	}
	if again, _ := h.Hash(ctx, "correct horse"); string(again) == string(chosen) {
		t.Error("two hashes of one password are equal: no salt")
	}
	for name, c := range map[string]struct {
		hash     []byte
		password string
		want     bool
	}{
		"made":           {hash, text, true},
		"made, wrong":    {hash, text + "x", false},
		"chosen":         {chosen, "correct horse", true},
		"chosen, known":  {chosen, "correct horse", true},
		"chosen, wrong":  {chosen, "correct hors", false},
		"empty":          {chosen, "", false},
		"too long":       {chosen, strings.Repeat("x", MaxPasswordBytes+1), false},
		"none":           {nil, "correct horse", false},
		"none and empty": {nil, "", false},
		"the hash":       {hash, string(hash), false},
	} {
		if got, err := h.Check(ctx, c.hash, []byte(c.password)); got != c.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
	for _, bad := range []string{
		"$argon2id$", "$argon2id$v=18$m=8,t=1,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43), "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43),
		"$argon2id$v=19$m=8,t=0,p=1$c2FsdHNhbHQ$" + strings.Repeat("A", 43), "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AA",
	} {
		if _, err := h.Check(ctx, []byte(bad), []byte("x")); !errors.Is(err, core.ErrStorage) {
			t.Errorf("hash %q: got %v", bad, err)
		}
	}
	for _, p := range []string{"", "1234567", strings.Repeat("x", MaxPasswordBytes+1)} {
		if _, err := h.Hash(ctx, p); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("password of %d bytes: got %v", len(p), err)
		}
	}
}

// A password that was right opens without a hash being computed, and nothing else does.
func TestHasherRemembers(t *testing.T) {
	h := NewHasher(1)
	hash, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := h.Check(t.Context(), hash, []byte("correct horse")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	h.busy <- struct{}{} // whoever computes now waits for ever
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if ok, err := h.Check(ctx, hash, []byte("correct horse")); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if ok, err := h.Check(ctx, hash, []byte("another horse")); ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", ok, err)
	}
}

func TestGrantsFor(t *testing.T) {
	k := core.DeviceKey{Tenant: "acme", Dialect: Dialect, ID: "pump-7"}
	g := Grants{Publish: []string{"${device}/#", "${tenant}/${device}/x", "plain", "$$/${device}"}, Subscribe: []string{"+/${device}"}}
	publish, subscribe, err := g.For(k)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"pump-7/#", "acme/pump-7/x", "plain", "$$/pump-7"}, publish); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"+/pump-7"}, subscribe); d != "" {
		t.Error(d)
	}
}

func TestGrantsValidate(t *testing.T) {
	for f, ok := range map[string]bool{
		"a/b": true, "#": true, "+/${device}/#": true, "${device}": true, "$x/#": true,
		"": false, "a/#/b": false, "a+": false, "${device": false, "${}": false, "${clientid}/#": false, "$share/g/a": false,
		"a\x00": false, strings.Repeat("x", maxFilterBytes+1): false, "${device}+": false, "\xff": false,
	} {
		for _, g := range []Grants{{Publish: []string{f}}, {Subscribe: []string{f}}} {
			if err := g.Validate(); (err == nil) != ok || err != nil && !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%.60q: got %v", f, err)
			}
		}
	}
	if err := (Grants{Publish: make([]string, MaxFilters+1)}).Validate(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("too many: got %v", err)
	}
}

// FuzzGrants: what is valid can be used for every device.
func FuzzGrants(f *testing.F) {
	f.Add("${device}/#")
	f.Add("a/${tenant}/+")
	f.Add("${")
	f.Fuzz(func(t *testing.T, s string) {
		g := Grants{Publish: []string{s}}
		if g.Validate() != nil {
			return
		}
		publish, _, err := g.For(core.DeviceKey{Tenant: "t", ID: "d"})
		if err != nil || strings.Contains(publish[0], "${") {
			t.Errorf("%q became %q, %v", s, publish, err)
		}
	})
}

func open(t *testing.T) (*commit.Committer, store.Store) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c := commit.New(commit.Config{Store: st})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		st.Close()
	})
	return c, st
}

func TestAccount(t *testing.T) {
	c, _ := open(t)
	k := core.DeviceKey{Tenant: "dev", Dialect: Dialect, ID: "pump"}
	err := c.Do(t.Context(), func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "dev"}); err != nil {
			return err
		}
		if _, err := Find(tx, k); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("before it is there: got %v", err)
		}
		if _, err := Add(tx, core.DeviceKey{Tenant: "dev", Dialect: Dialect, ID: "a/b"}, nil, nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("bad id: got %v", err)
		}
		if _, err := Add(tx, k, nil, &Grants{Publish: []string{"#/x"}}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("bad grants: got %v", err)
		}
		made, err := Add(tx, k, []byte("hash"), nil)
		if err != nil {
			return err
		}
		found, err := Find(tx, k)
		if err != nil || !found.Same(made) {
			t.Errorf("found %+v, %v; made %+v", found, err, made)
		}
		if err := SetGrants(tx, k, Grants{Publish: []string{"x"}}); err != nil {
			return err
		}
		if changed, _ := Find(tx, k); changed.Same(made) {
			t.Error("changed grants count as the same")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is left of a device that was deleted is not of the next one with its id.
func TestAccountOfAnother(t *testing.T) {
	c, _ := open(t)
	k := core.DeviceKey{Tenant: "dev", Dialect: Dialect, ID: "pump"}
	err := c.Do(t.Context(), func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "dev"}); err != nil {
			return err
		}
		old := Holder{Device: core.Device{Num: 77, DeviceKey: k}, Account: Account{Owner: 77, Grants: Grants{Publish: []string{"#"}}}}
		if err := old.save(tx); err != nil {
			return err
		}
		d := core.Device{DeviceKey: k}
		if err := tx.InsertDevice(&d); err != nil {
			return err
		}
		h, err := Find(tx, k)
		if d := cmp.Diff(DefaultGrants(), h.Grants); d != "" {
			t.Error(d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTokens(t *testing.T) {
	c, _ := open(t)
	k := core.DeviceKey{Tenant: "dev", Dialect: Dialect, ID: "pump"}
	now := time.Now()
	err := c.Do(t.Context(), func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "dev"}); err != nil {
			return err
		}
		if _, err := Add(tx, k, nil, nil); err != nil {
			return err
		}
		if _, old := NewToken(now.Add(-time.Hour), time.Minute); !errors.Is(AddToken(tx, k, old), core.ErrInvalid) {
			t.Error("a token that has expired was added")
		}
		var last string
		for range MaxTokens {
			secret, x := NewToken(now, time.Hour)
			if err := AddToken(tx, k, x); err != nil {
				return err
			}
			last = secret
		}
		if _, more := NewToken(now, time.Hour); !errors.Is(AddToken(tx, k, more), core.ErrTooLarge) {
			t.Error("one token too many was added")
		}
		h, err := Find(tx, k)
		if err != nil {
			return err
		}
		got, ok := h.Token([]byte(last), now)
		if !ok {
			t.Error("a token is not found")
		}
		if _, ok := h.Token([]byte(last), now.Add(time.Hour)); ok {
			t.Error("an expired token is found")
		}
		if _, ok := h.Token(got.Hash, now); ok {
			t.Error("the hash of a token opens")
		}
		if err := RevokeToken(tx, k, "NONE"); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("revoke no token: got %v", err)
		}
		return RevokeToken(tx, k, got.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A grown fleet of tokens does not stay for ever: those that have expired make room.
func TestExpiredTokensMakeRoom(t *testing.T) {
	c, _ := open(t)
	k := core.DeviceKey{Tenant: "dev", Dialect: Dialect, ID: "pump"}
	err := c.Do(t.Context(), func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "dev"}); err != nil {
			return err
		}
		h, err := Add(tx, k, nil, nil)
		if err != nil {
			return err
		}
		for range MaxTokens {
			_, x := NewToken(time.Now().Add(-time.Hour), time.Minute)
			h.Tokens = append(h.Tokens, x)
		}
		if err := h.save(tx); err != nil {
			return err
		}
		_, x := NewToken(time.Now(), time.Hour)
		if err := AddToken(tx, k, x); err != nil {
			return err
		}
		h, err = Find(tx, k)
		if len(h.Tokens) != 1 {
			t.Errorf("got %d tokens, want 1", len(h.Tokens))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
