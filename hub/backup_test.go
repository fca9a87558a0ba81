package hub

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// TestBackupUnderLoad: what was acknowledged before a backup was asked for is in it.
func TestBackupUnderLoad(t *testing.T) {
	r := start(t, Config{})
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	var made atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	name := func(i int64) string { return "t" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + "x" }
	go func() {
		for i := int64(0); i < 600 && ctx.Err() == nil; i++ {
			if _, err := c.CreateTenant(ctx, admin.NewTenant{ID: name(i)}); err != nil {
				done <- err
				return
			}
			made.Store(i + 1)
		}
		done <- nil
	}()
	for made.Load() < 50 {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-ctx.Done():
		default:
		}
	}
	before := made.Load()
	var archive bytes.Buffer
	if err := c.Backup(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := CheckBackup(t.Context(), bytes.NewReader(archive.Bytes())); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	info, err := Restore(t.Context(), &archive, dir)
	if err != nil || info.Version != Version() {
		t.Fatalf("got %+v, %v", info, err)
	}
	again := start(t, Config{DataDir: dir, Prepared: true})
	c2, err := again.State().Client(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c2.HTTP.CloseIdleConnections()
	if c2.Token != c.Token {
		t.Error("the token is another one")
	}
	for i := range before {
		if _, err := c2.Tenant(t.Context(), name(i)); err != nil {
			t.Errorf("%d of %d: %v", i, before, err)
		}
	}
}

// TestBackupTakesTheOwner: a token for one tenant does not get the keys of all.
func TestBackupTakesTheOwner(t *testing.T) {
	r := start(t, Config{Development: true})
	c, err := r.State().Client(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.HTTP.CloseIdleConnections()
	for _, token := range []admin.NewToken{{Name: "a", Scope: "admin", Tenant: "dev"}, {Name: "b", Scope: "write"}} {
		made, err := c.CreateToken(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		other := &admin.Client{URL: c.URL, Token: made.Secret, HTTP: c.HTTP}
		var archive bytes.Buffer
		var refused *admin.Error
		if err := other.Backup(t.Context(), &archive); !errors.As(err, &refused) || refused.Status != 403 || archive.Len() > 0 {
			t.Errorf("%+v: got %v and %d bytes", token, err, archive.Len())
		}
	}
}
