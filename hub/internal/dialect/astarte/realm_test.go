package astarte

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
)

func TestCreateRealm(t *testing.T) {
	r := newRig(t)
	limit := 7
	r.do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: "shared"}) })
	cfg := realmConfig{Name: "shared", PublicKeyPEM: "PEM", RegistrationLimit: &limit, Replication: []byte(`{"replication_factor":1}`)}
	r.do(func(tx *commit.Tx) error { return r.d.createRealm(tx, cfg) }) // the tenant is another dialect's
	r.realm("test")
	for name, want := range map[core.TenantID]error{
		"test": errRealmAlreadyExists, "Test": errRealmNameInvalid, "astarte": errRealmNameInvalid, "": errRealmNameInvalid,
	} {
		wantIs(t, r.try(func(tx *commit.Tx) error { return r.d.createRealm(tx, realmConfig{Name: name}) }), want)
	}
	r.start() // read again
	if d := cmp.Diff(cfg, r.current("shared").realmConfig); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	names, err := r.d.realmNames(context.Background())
	if d := cmp.Diff([]core.TenantID{"shared", "test"}, names); d != "" || err != nil {
		t.Errorf("%v -want +got\n%s", err, d)
	}
	_, err = r.d.realm(context.Background(), "nothing")
	wantIs(t, err, core.ErrNotFound)
}

func TestUpdateRealmKeepsInterfaces(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps)
	r.do(func(tx *commit.Tx) error { return r.d.updateRealm(tx, realmConfig{Name: "test", PublicKeyPEM: "new"}) })
	if cur := r.current("test"); cur.PublicKeyPEM != "new" || cur.iface("org.example.Temps", 1) == nil {
		t.Errorf("got %+v", cur)
	}
	wantIs(t, r.try(func(tx *commit.Tx) error { return r.d.updateRealm(tx, realmConfig{Name: "nothing"}) }), core.ErrNotFound)
}

func TestInstallInterface(t *testing.T) {
	r := newRig(t)
	r.realm("test", temps, config)
	ttl := strings.Replace(draft, `"type":"integer"`, `"type":"integer","database_retention_policy":"use_ttl","database_retention_ttl":3600`, 1)
	for _, test := range []struct {
		name, def string
		want      error
	}{
		{"again", temps, errInterfaceExists},
		{"another minor", strings.Replace(temps, `"version_minor":0`, `"version_minor":1`, 1), errInterfaceExists},
		{"another major", strings.Replace(temps, `"version_major":1`, `"version_major":2`, 1), nil},
		{"another spelling", strings.Replace(temps, "org.example.Temps", "org.example.TEMPS", 1), errNameCollision},
		{"another spelling with hyphens", strings.Replace(temps, "org.example.Temps", "org.ex-ample.Temps", 1), errNameCollision},
		{"retention without a bound", ttl, nil},
	} {
		t.Run(test.name, func(t *testing.T) { wantIs(t, r.install("test", test.def), test.want) })
	}
	bound := 3599
	r.do(func(tx *commit.Tx) error { return r.d.updateRealm(tx, realmConfig{Name: "test", MaxRetention: &bound}) })
	wantIs(t, r.install("test", strings.Replace(ttl, "Draft", "Draft2", 1)), errRetentionTooLong)
	cur := r.current("test")
	wantList(t, "names", cur.names(), "org.example.Config", "org.example.Draft", "org.example.Temps")
	if d := cmp.Diff([]int{1, 2}, cur.majors("org.example.Temps")); d != "" {
		t.Error(d)
	}
	if cur.majors("org.example.Nothing") != nil || cur.iface("org.example.Temps", 0) != nil {
		t.Error("found what is not there")
	}
	r.start()
	if d := cmp.Diff(cur.names(), r.current("test").names()); d != "" {
		t.Errorf("after a restart: -want +got\n%s", d)
	}
}

func TestInstallInTwoTransactionsAtOnce(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	i := parseDef(t, temps)
	stale := r.current("test")
	var mu sync.Mutex
	var refused int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := r.c.Do(context.Background(), func(tx *commit.Tx) error { return r.d.installInterface(tx, stale, i) })
			if errors.Is(err, errInterfaceExists) {
				mu.Lock()
				defer mu.Unlock()
				refused++
			}
		})
	}
	wg.Wait()
	if refused != 7 {
		t.Errorf("%d were refused, want 7", refused)
	}
}

func TestUpdateInterface(t *testing.T) {
	r := newRig(t)
	r.realm("test", draft)
	edit := func(old, new string) string { return strings.Replace(draft, old, new, 1) }
	next := strings.Replace(draft, `"version_minor":1`, `"version_minor":3`, 1)
	for _, test := range []struct {
		name, def string
		want      error
	}{
		{"unknown major", edit(`"version_major":0`, `"version_major":1`), errMajorNotFound},
		{"other ownership", strings.Replace(next, `"device"`, `"server"`, 1), astartewire.ErrInvalidUpdate},
		{"same minor", draft, astartewire.ErrMinorNotIncreased},
		{"endpoint gone", strings.Replace(next, `"/a"`, `"/b"`, 1), astartewire.ErrMissingEndpoints},
		{"other type", strings.Replace(next, `"integer"`, `"string"`, 1), astartewire.ErrIncompatibleUpdate},
		{"more endpoints", strings.Replace(next, `}]}`, `},{"endpoint":"/b","type":"string"}]}`, 1), nil},
		{"lower minor", edit(`"version_minor":1`, `"version_minor":2`), astartewire.ErrDowngrade},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := parseDef(t, test.def)
			err := r.try(func(tx *commit.Tx) error { return r.d.updateInterface(tx, r.current("test"), i) })
			wantIs(t, err, test.want)
			if test.want != nil && test.want != errMajorNotFound {
				wantIs(t, err, errUpdateRefused)
			}
		})
	}
	if got := r.current("test").iface("org.example.Draft", 0); got.Minor != 3 || len(got.Mappings) != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestDeleteInterface(t *testing.T) {
	r := newRig(t)
	r.realm("test", draft, temps, strings.Replace(strings.Replace(config, `"version_major":1,"version_minor":0`, `"version_major":0,"version_minor":1`, 1), "Config", "DraftConfig", 1))
	del := func(name string, major int) error {
		return r.d.deleteInterface(t.Context(), r.current("test"), name, major)
	}
	wantIs(t, del("org.example.Temps", 1), errNotDraft)
	wantIs(t, del("org.example.Nothing", 0), errInterfaceNotFound)
	c := r.online()
	c.declares("org.example.Draft:0:1", "org.example.DraftConfig:0:1", "org.example.Temps:1:0")
	c.publish("/org.example.Draft/a", five)
	c.publish("/org.example.DraftConfig/a/level", five)
	c.publish("/org.example.Temps/a/temp", five)
	wantIs(t, del("org.example.Draft", 0), errInterfaceInUse)
	c.declares("org.example.Temps:1:0")
	for _, name := range []string{"org.example.Draft", "org.example.DraftConfig"} {
		if err := del(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	if cur := r.current("test"); cur.iface("org.example.Draft", 0) != nil || len(cur.names()) != 1 {
		t.Errorf("got %v", cur.names())
	}
	// What was stored under the draft is gone: the next draft of that name may have other types.
	if err := r.install("test", strings.Replace(draft, `"integer"`, `"string"`, 1)); err != nil {
		t.Fatal(err)
	}
	if got := c.samples("org.example.Draft:0/a"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	wantList(t, "properties", c.entries("org.example.DraftConfig:0", core.Reported))
	if got := c.samples("org.example.Temps:1/a/temp"); len(got) != 1 {
		t.Errorf("another interface lost its data: got %v", got)
	}
	c.declares("org.example.Draft:0:1")
	c.publish("/org.example.Draft/a", v(t, astartewire.TypeString, "x"))
	if d := cmp.Diff([]any{"x"}, c.samples("org.example.Draft:0/a")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestDraftInSlices: no transaction deletes more than a little, and one that was cut off in the middle is gone on with before
// the next draft of that name is installed.
func TestDraftInSlices(t *testing.T) {
	r := newRig(t)
	r.realm("test", draft)
	c := r.online()
	c.declares("org.example.Draft:0:1")
	const n = 4 * draftRows
	s := &core.Series{Device: c.dev.Num, Channel: "org.example.Draft:0/a"}
	if err := r.try(func(tx *commit.Tx) error {
		for i := range n {
			b := core.Block{Series: s}
			b.Add(int64(i), int64(i), core.AppendInt(nil, 1))
			if err := tx.AppendBlock(&b); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	c.declares()
	if err := r.try(func(tx *commit.Tx) error { return r.d.forgetInterface(tx, r.current("test"), "org.example.Draft", 0) }); err != nil {
		t.Fatal(err)
	}
	wantIs(t, r.install("test", draft), errInterfaceExists)
	from, before := keyDevices, n
	for slices := 0; ; slices++ {
		err := r.try(func(tx *commit.Tx) (err error) {
			from, err = dropSome(tx, "test", "org.example.Draft", from)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		left := len(c.samples("org.example.Draft:0/a"))
		if before-left > draftRows {
			t.Fatalf("%d samples deleted at once", before-left)
		}
		if before = left; left == 0 {
			if slices < 4 {
				t.Errorf("%d slices", slices)
			}
			break
		}
	}
	if err := r.d.sweepDraft(t.Context(), "test", "org.example.Draft"); err != nil { // whoever comes next
		t.Fatal(err)
	}
	if err := r.install("test", draft); err != nil {
		t.Error(err)
	}
}

func TestADraftDeclaredBeforeItsInstallationIsInUse(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	c := r.online()
	c.declares("org.example.Draft:0:1")
	if err := r.install("test", draft); err != nil {
		t.Fatal(err)
	}
	wantIs(t, r.d.deleteInterface(t.Context(), r.current("test"), "org.example.Draft", 0), errInterfaceInUse)
}

func TestUndoneChangesAreNotSeen(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	boom := errors.New("boom")
	i := parseDef(t, temps)
	cur := r.current("test")
	err := r.try(func(tx *commit.Tx) error {
		if err := r.d.installInterface(tx, cur, i); err != nil {
			return err
		}
		if err := r.d.createRealm(tx, realmConfig{Name: "fresh"}); err != nil {
			return err
		}
		if err := r.d.updateRealm(tx, realmConfig{Name: "fresh", PublicKeyPEM: "x"}); err != nil {
			return err
		}
		return boom
	})
	wantIs(t, err, boom)
	if r.current("test") != cur {
		t.Error("the realm has changed")
	}
	_, err = r.d.realm(context.Background(), "fresh")
	wantIs(t, err, core.ErrNotFound)
	if err := r.install("test", temps); err != nil {
		t.Error(err)
	}
}

// TestAnswerThenSight: who has the answer to a change finds the change, also when the realm was not in memory.
func TestAnswerThenSight(t *testing.T) {
	r := newRig(t)
	r.realm("test")
	var wg sync.WaitGroup
	for n := range 20 {
		r.start()
		i := parseDef(t, strings.Replace(temps, "Temps", "Temps"+strings.Repeat("x", n), 1))
		for range 2 {
			wg.Go(func() { r.d.realm(context.Background(), "test") })
		}
		if err := r.c.Do(context.Background(), func(tx *commit.Tx) error {
			return r.d.installInterface(tx, &realm{realmConfig: realmConfig{Name: "test"}}, i)
		}); err != nil {
			t.Fatal(err)
		}
		if r.current("test").iface(i.Name, 1) == nil {
			t.Fatalf("interface %d is not seen", n)
		}
		wg.Wait()
	}
}
