package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// rig is a committer on storage in dir.
type rig struct {
	*testing.T
	store store.Store
	com   *commit.Committer
	stop  func()
	hurry bool // see Config

	committed atomic.Pointer[func()] // called when a transaction has ended; nil: nobody is
}

func start(t *testing.T, dir string) *rig {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, store: st}
	r.com = commit.New(commit.Config{Store: st, Observe: func(time.Time, int, int, error) {
		if f := r.committed.Load(); f != nil {
			(*f)()
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.com.Run(ctx) })
	r.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); st.Close() })
	t.Cleanup(r.stop)
	return r
}

func (r *rig) do(f func(*commit.Tx) error) {
	r.Helper()
	if err := r.com.Do(r.Context(), f); err != nil {
		r.Fatal(err)
	}
}

// device makes a device with entries, deletes it, and returns its number.
func (r *rig) device(id core.DeviceID, entries int) (n core.DeviceNum) {
	r.Helper()
	r.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "t"}); err != nil && !errors.Is(err, core.ErrConflict) {
			return err
		}
		d := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "a", ID: id}}
		if err := tx.InsertDevice(&d); err != nil {
			return err
		}
		n = d.Num
		for i := range entries {
			if err := tx.PutEntry(core.DocumentKey{Device: n, Name: "d"}, core.Entry{Path: fmt.Sprint("/", i), Value: core.AppendNull(nil)}); err != nil {
				return err
			}
		}
		return tx.DeleteDevice(n)
	})
	return n
}

// left returns how many entries a device has, and how many devices are to be swept.
func (r *rig) left(n core.DeviceNum) (entries, devices int) {
	r.Helper()
	err := r.store.View(r.Context(), func(rd store.Reader) error {
		list, err := rd.Entries(core.DocumentKey{Device: n, Name: "d"})
		nums, err2 := rd.DeletedDevices(time.Now(), 100)
		entries, devices = len(list), len(nums)
		return errors.Join(err, err2)
	})
	if err != nil {
		r.Fatal(err)
	}
	return entries, devices
}

// run runs a sweeper until the test ends.
func (r *rig) run(b Broker) *Sweeper {
	s := New(Config{Store: r.store, Committer: r.com, Broker: b, hurry: r.hurry})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	r.Cleanup(func() { cancel(); <-done })
	return s
}

// begin runs a sweeper for so many transactions. Each is one slice, or finds nothing of its kind.
func (r *rig) begin(transactions int) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	count := func() {
		if transactions--; transactions == 0 {
			cancel()
		}
	}
	r.committed.Store(&count)
	defer r.committed.Store(nil)
	New(Config{Store: r.store, Committer: r.com, Broker: &fake{}}).Run(ctx)
}

// eventually waits for something that takes many transactions, beside whatever else the machine has to do.
func (r *rig) eventually(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(3 * time.Minute); !ok(); {
		if time.Now().After(end) {
			r.Fatalf("not within 3 minutes: %s", what)
		}
		time.Sleep(3 * time.Millisecond) // to look costs time, too, and is not what is tested
	}
}

// fake is a broker on which one device, and a tenant, may be connected.
type fake struct {
	device  core.DeviceNum
	tenant  core.TenantID
	serving atomic.Bool
	gone    atomic.Int64
}

func (f *fake) Serving(n core.DeviceNum) bool { return n == f.device && f.serving.Load() }

func (f *fake) ServingTenant(t core.TenantID) bool                       { return t == f.tenant && f.serving.Load() }
func (f *fake) ForgetTenant(*commit.Tx, core.TenantID, int) (int, error) { return 0, nil }
func (f *fake) TenantDeleted(tx *commit.Tx, _ core.TenantID)             { tx.After(func() { f.gone.Add(1) }) }

// TestGoesOnAfterARestart: a sweep that was cut off in the middle is completed by the next process.
func TestGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	n := r.device("d", 10*sliceRows)
	r.begin(2) // sessions, and the first slice of the device
	if e, d := r.left(n); e == 0 || e == 10*sliceRows || d != 1 {
		t.Fatalf("%d entries of %d devices are left: want it cut off in the middle", e, d)
	}
	r.stop()
	r = start(t, dir)
	r.hurry = true // on a busy machine a slice takes long, and the pauses would be longer
	r.run(&fake{})
	r.eventually("the end", func() bool { e, d := r.left(n); return e == 0 && d == 0 })
}

// TestWaitsForTheConnection: what the device's last batches store is swept too.
func TestWaitsForTheConnection(t *testing.T) {
	r := start(t, t.TempDir())
	n := r.device("d", 3)
	other := r.device("e", 3)
	b := &fake{device: n}
	b.serving.Store(true)
	s := r.run(b)
	s.Wake()
	r.eventually("the other one's end", func() bool { e, _ := r.left(other); return e == 0 })
	if e, _ := r.left(n); e != 3 {
		t.Errorf("%d entries left while the device is connected, want 3", e)
	}
	b.serving.Store(false)
	r.eventually("the end", func() bool { e, d := r.left(n); return e == 0 && d == 0 })
}

// TestOthersGoOn: while much is swept, others' operations come in between slices. On a busy machine the test may not have its turn
// in time, and so has another try; sweeping that lets nobody in would fail in each.
func TestOthersGoOn(t *testing.T) {
	const slices = 12
	r := start(t, t.TempDir())
	s := r.run(&fake{})
	for try := range 10 {
		n := r.device(core.DeviceID(fmt.Sprint("d", try)), slices*sliceRows)
		s.Wake()
		between := 0
		for begun := time.Now(); len(r.due()) > 0; between++ {
			r.do(func(tx *commit.Tx) error { return tx.PutRecord("t", "a", "k", nil) })
			if time.Since(begun) > 3*time.Minute {
				t.Fatal("not swept within 3 minutes")
			}
		}
		if left, _ := r.left(n); left != 0 {
			t.Errorf("%d rows are left", left)
		}
		t.Logf("%d operations came in between %d slices", between, slices)
		if between >= slices/2 {
			return
		}
	}
	t.Error("too few operations came in between")
}

// due returns which devices are to be swept.
func (r *rig) due() (list []core.DeviceNum) {
	r.Helper()
	err := r.store.View(r.Context(), func(rd store.Reader) (err error) {
		list, err = rd.DeletedDevices(time.Now(), 100)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return list
}

// fleet makes a tenant with devices, and closes it.
func (r *rig) fleet(id core.TenantID, devices int) {
	r.Helper()
	r.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: id}); err != nil {
			return err
		}
		for i := range devices {
			d := core.Device{DeviceKey: core.DeviceKey{Tenant: id, Dialect: "a", ID: core.DeviceID(fmt.Sprint(i))}}
			if err := tx.InsertDevice(&d); err != nil {
				return err
			}
			if err := tx.PutEntry(core.DocumentKey{Device: d.Num, Name: "d"}, core.Entry{Path: "/", Value: core.AppendNull(nil)}); err != nil {
				return err
			}
		}
		return tx.CloseTenant(id)
	})
}

// rest returns how many devices a tenant has, and whether it is there.
func (r *rig) rest(id core.TenantID) (devices int, there bool) {
	r.Helper()
	err := r.store.View(r.Context(), func(rd store.Reader) error {
		_, err := rd.Tenant(id)
		if there = err == nil; err != nil && !errors.Is(err, core.ErrNotFound) {
			return err
		}
		devices, _, err = rd.CountDevices(id, "")
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return devices, there
}

// TestTenantOverARestart: what a process has begun to delete of a tenant, the next one completes, devices and their data.
func TestTenantOverARestart(t *testing.T) {
	const devices = 2 * sliceRows
	dir := t.TempDir()
	r := start(t, dir)
	r.fleet("gone", devices)
	n := r.device("d", 1) // of another tenant
	r.begin(1)
	if d, there := r.rest("gone"); d == 0 || d == devices || !there {
		t.Fatalf("%d devices are left: want it cut off in the middle", d)
	}
	r.stop()
	r = start(t, dir)
	r.hurry = true
	b := &fake{}
	r.run(b)
	r.eventually("the end", func() bool { d, there := r.rest("gone"); return d == 0 && !there })
	r.eventually("the end of what the devices had", func() bool { _, left := r.left(n); return left == 0 })
	if got := b.gone.Load(); got != 1 {
		t.Errorf("the broker was told %d times, want once", got)
	}
	r.do(func(tx *commit.Tx) error {
		last, err := tx.TenantEvents("gone", 0, 10)
		if len(last) != 1 || last[0].Kind != core.TenantDeleted {
			t.Errorf("events: got %v, want that it is deleted", last)
		}
		return errors.Join(err, tx.InsertTenant(core.Tenant{ID: "gone"}))
	})
}

// TestTenantWaitsForItsConnections: what they do last is swept too.
func TestTenantWaitsForItsConnections(t *testing.T) {
	r := start(t, t.TempDir())
	r.fleet("busy", 3)
	r.fleet("idle", 3)
	b := &fake{tenant: "busy"}
	b.serving.Store(true)
	r.run(b)
	r.eventually("the idle one's end", func() bool { _, there := r.rest("idle"); return !there })
	if d, there := r.rest("busy"); d != 3 || !there {
		t.Errorf("%d devices left, %v, while one is connected", d, there)
	}
	b.serving.Store(false)
	r.eventually("the end", func() bool { _, there := r.rest("busy"); return !there })
}
