package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

var _ registry.Tx = (*commit.Tx)(nil)

// A world is a registry on SQLite with a committer.
type world struct {
	testing.TB
	store store.Store
	c     *commit.Committer
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{TB: t, now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	var err error
	if w.store, err = sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	w.c = commit.New(commit.Config{Store: w.store, Now: func() time.Time { return w.now }})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		w.store.Close()
	})
	w.do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: "acme", Created: w.now}) })
	return w
}

func (w *world) try(f func(tx *commit.Tx) error) error { return w.c.Do(context.Background(), f) }

func (w *world) do(f func(tx *commit.Tx) error) {
	w.Helper()
	if err := w.try(f); err != nil {
		w.Fatal(err)
	}
}

func key(id core.DeviceID) core.DeviceKey {
	return core.DeviceKey{Tenant: "acme", Dialect: "x", ID: id}
}

// register registers a device and returns its secret.
func (w *world) register(id core.DeviceID, limit *int) (string, error) {
	secret, hash := registry.NewSecret()
	return secret, w.try(func(tx *commit.Tx) error {
		_, err := registry.Register(tx, registry.Registration{Device: key(id), SecretHash: hash, Limit: limit})
		return err
	})
}

// opens authenticates, and returns what it found.
func (w *world) opens(id core.DeviceID, secret string) (d core.Device, e core.Enrolment, err error) {
	w.Helper()
	err = w.store.View(context.Background(), func(rd store.Reader) (err error) {
		d, e, err = registry.Authenticate(rd, key(id), secret)
		return err
	})
	return d, e, err
}

func (w *world) wantErr(what string, got, want error) {
	w.Helper()
	if !errors.Is(got, want) {
		w.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// issue records a certificate for whoever was authenticated.
func (w *world) issue(serial string, d core.Device, e core.Enrolment) error {
	return w.try(func(tx *commit.Tx) error {
		return registry.Issue(tx, d, e, core.Certificate{Serial: serial, NotAfter: w.now.Add(time.Hour)}, "10.0.0.9")
	})
}

func (w *world) events() (kinds []string) {
	w.Helper()
	err := w.store.View(context.Background(), func(rd store.Reader) error {
		all, err := rd.Events(0, 100)
		for _, e := range all {
			kinds = append(kinds, fmt.Sprintf("%s %s%s", e.Device.ID, e.Kind, e.Data))
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return kinds
}

func TestRegistration(t *testing.T) {
	w := newWorld(t)
	first, err := w.register("a", nil)
	w.wantErr("first", err, nil)
	_, _, err = w.opens("a", first)
	w.wantErr("its secret", err, nil)
	_, _, err = w.opens("a", first[:43]+"!")
	w.wantErr("a wrong secret", err, registry.ErrSecret)
	_, _, err = w.opens("b", first)
	w.wantErr("an unknown device", err, core.ErrNotFound)

	began := w.now
	w.now = w.now.Add(time.Hour)
	second, err := w.register("a", nil)
	w.wantErr("again", err, nil)
	_, _, err = w.opens("a", first)
	w.wantErr("the replaced secret", err, registry.ErrSecret)
	d, e, err := w.opens("a", second)
	w.wantErr("the new secret", err, nil)
	if !e.FirstRegistered.Equal(began) || !d.Created.Equal(began) {
		t.Errorf("first registration: got %v, want %v", e.FirstRegistered, began)
	}

	w.wantErr("certificate", w.issue("1", d, e), nil)
	_, err = w.register("a", nil)
	w.wantErr("after a certificate", err, registry.ErrRegistered)
	w.wantErr("that is a", err, core.ErrConflict)
	_, _, err = w.opens("a", second)
	w.wantErr("the secret after a refused registration", err, nil)

	unregister := func(id core.DeviceID) error {
		return w.try(func(tx *commit.Tx) error { return registry.Unregister(tx, key(id)) })
	}
	w.wantErr("unregister", unregister("a"), nil)
	w.wantErr("unregister an unknown device", unregister("b"), core.ErrNotFound)
	_, _, err = w.opens("a", second)
	w.wantErr("the secret of an unregistered device", err, registry.ErrSecret)
	_, _, err = w.opens("a", "")
	w.wantErr("no secret at an unregistered device", err, registry.ErrSecret)
	third, err := w.register("a", nil)
	w.wantErr("anew", err, nil)
	again, e, err := w.opens("a", third)
	w.wantErr("the secret of the device that is back", err, nil)
	if again.Num != d.Num || !e.FirstRegistered.Equal(began) || !e.FirstCredentials.IsZero() {
		t.Errorf("the device that is back: got %+v %+v", again, e)
	}
	want := []string{
		"a device.registered", "a device.registered", `a certificate.issued{"serial":"1"}`, "a device.unregistered", "a device.registered",
	}
	if diff := cmp.Diff(want, w.events()); diff != "" {
		t.Errorf("events: want -, got +:\n%s", diff)
	}
}

func TestLimit(t *testing.T) {
	w := newWorld(t)
	one, zero := 1, 0
	_, err := w.register("a", &zero)
	w.wantErr("limit 0", err, registry.ErrLimit)
	_, err = w.register("a", &one)
	w.wantErr("within the limit", err, nil)
	_, err = w.register("b", &one)
	w.wantErr("beyond the limit", err, registry.ErrLimit)
	w.wantErr("that is", err, core.ErrTooLarge)
	_, err = w.register("a", &one)
	w.wantErr("a known device", err, nil)
	if got := w.events(); len(got) != 2 {
		t.Errorf("events: got %v, want none of the refused", got)
	}
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	secret, _ := w.register("a", nil)
	d, e, err := w.opens("a", secret)
	if err != nil {
		t.Fatal(err)
	}
	states := func() (list []string) {
		t.Helper()
		err := w.store.View(t.Context(), func(rd store.Reader) error {
			all, err := rd.Certificates(d.Num)
			for _, c := range all {
				list = append(list, c.Serial+" "+[]string{"active", "superseded", "revoked"}[c.State]+" "+c.Changed.Format(time.TimeOnly))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
	w.wantErr("first", w.issue("1", d, e), nil)
	w.now = w.now.Add(time.Second)
	w.wantErr("second", w.issue("2", d, e), nil)
	w.wantErr("one serial twice", w.issue("2", d, e), nil) // the CA's serials are random; the store decides
	revoke := func(serial string) error {
		return w.try(func(tx *commit.Tx) error { return registry.Revoke(tx, serial) })
	}
	w.now = w.now.Add(time.Second)
	w.wantErr("revoke the superseded one", revoke("1"), nil)
	w.now = w.now.Add(time.Second)
	w.wantErr("revoke it again", revoke("1"), nil)
	w.wantErr("revoke an unknown one", revoke("9"), core.ErrNotFound)
	w.wantErr("third", w.issue("3", d, e), nil)
	want := []string{"1 revoked 07:08:11", "2 superseded 07:08:12", "3 active 07:08:12"}
	if diff := cmp.Diff(want, states()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}

	// What happens between authentication and signing counts.
	inhibit := func(on bool) {
		w.do(func(tx *commit.Tx) error { return registry.SetInhibited(tx, d.Num, on) })
	}
	inhibit(true)
	w.wantErr("inhibited meanwhile", w.issue("4", d, e), registry.ErrInhibited)
	_, e, err = w.opens("a", secret)
	w.wantErr("the secret of an inhibited device", err, nil)
	w.wantErr("inhibited", registry.MayHaveCertificate(e), registry.ErrInhibited)
	inhibit(false)
	w.wantErr("allowed again", w.issue("5", d, e), nil)
	w.do(func(tx *commit.Tx) error { return registry.Unregister(tx, d.DeviceKey) })
	w.wantErr("unregistered meanwhile", w.issue("6", d, e), registry.ErrSecret)
	if _, err := w.register("a", nil); err != nil {
		t.Fatal(err)
	}
	w.wantErr("registered anew meanwhile", w.issue("7", d, e), registry.ErrSecret)
	want = []string{
		"a device.registered", `a certificate.issued{"serial":"1"}`, `a certificate.issued{"serial":"2"}`, `a certificate.issued{"serial":"2"}`,
		`a certificate.revoked{"serial":"1"}`, `a certificate.issued{"serial":"3"}`, "a credentials.inhibited", "a credentials.allowed",
		`a certificate.issued{"serial":"5"}`, "a device.unregistered", "a device.registered",
	}
	if diff := cmp.Diff(want, w.events()); diff != "" {
		t.Errorf("events: want -, got +:\n%s", diff)
	}
	w.wantErr("inhibit an unknown device", w.try(func(tx *commit.Tx) error { return registry.SetInhibited(tx, 999, true) }), core.ErrNotFound)
}

func TestSecrets(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		text, hash := registry.NewSecret()
		if len(text) != 44 || !strings.HasSuffix(text, "=") || len(hash) != 32 || seen[text] || !slices.Equal(hash, registry.HashSecret(text)) {
			t.Fatalf("got %q %x", text, hash)
		}
		seen[text] = true
	}
}
