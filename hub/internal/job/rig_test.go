package job

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
	"github.com/google/go-cmp/cmp"
)

// A rig is a database with a tenant, and a clock.
type rig struct {
	testing.TB
	store *sqlite.Store
	now   time.Time
}

const tenant core.TenantID = "t"

func newRig(tb testing.TB) *rig {
	tb.Helper()
	st, err := sqlite.Open(tb.Context(), sqlite.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	r := &rig{TB: tb, store: st, now: time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)}
	if err := st.Update(func(tx store.Tx) error { return tx.InsertTenant(core.Tenant{ID: tenant}) }); err != nil {
		tb.Fatal(err)
	}
	return r
}

// clocked is a transaction with a clock.
type clocked struct {
	store.Tx
	now time.Time
}

func (c clocked) Now() time.Time { return c.now }

// do runs a session, and returns what it changed in a short form: "device:set,next", "job@device=state", "job=phase".
func (r *rig) do(f func(s *Session) error) []string {
	r.Helper()
	list, err := r.try(f)
	if err != nil {
		r.Fatal(err)
	}
	return list
}

func (r *rig) try(f func(s *Session) error) (list []string, err error) {
	err = r.store.Update(func(tx store.Tx) error {
		s := Begin(clocked{tx, r.now}, tenant, "x")
		if err := f(s); err != nil {
			return err
		}
		c, err := s.Close()
		if err != nil {
			return err
		}
		for _, x := range c.Executions {
			list = append(list, fmt.Sprintf("%s@%s=%s", x.Job, x.Device, x.State))
		}
		for _, j := range c.Jobs {
			word := string(j.Job.Phase)
			if j.Gone {
				word = "gone"
			}
			list = append(list, j.Job.ID+"="+word)
		}
		for _, d := range c.Devices {
			text := string(d.Device) + ":"
			if d.Set {
				text += "set,"
			}
			if d.Next {
				text += "next"
			}
			list = append(list, text)
		}
		return nil
	})
	return list, err
}

func (r *rig) create(spec Spec, devices ...core.DeviceID) []string {
	r.Helper()
	return r.do(func(s *Session) error {
		_, err := s.Create(spec, nil, devices)
		return err
	})
}

func (r *rig) read(f func(b Book) error) {
	r.Helper()
	if err := r.store.View(r.Context(), func(rd store.Reader) error { return f(Read(rd, tenant, "x")) }); err != nil {
		r.Fatal(err)
	}
}

// state returns a job in a short form: "in_progress queued=1 waiting=2".
func (r *rig) state(id string) string {
	r.Helper()
	var text string
	r.read(func(b Book) error {
		j, err := b.Job(id)
		if errors.Is(err, core.ErrNotFound) {
			text = "none"
			return nil
		}
		text = string(j.Phase)
		for _, s := range States {
			if n := j.Counts[s]; n != 0 {
				text += fmt.Sprintf(" %s=%d", s, n)
			}
		}
		if j.Waiting > 0 {
			text += fmt.Sprintf(" waiting=%d", j.Waiting)
		}
		return err
	})
	return text
}

func (r *rig) expectState(id, want string) {
	r.Helper()
	if got := r.state(id); got != want {
		r.Errorf("job %s: %s, want %s", id, got, want)
	}
}

func (r *rig) expect(what string, got []string, want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		r.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

func (r *rig) update(d core.DeviceID, id string, u Update) []string {
	r.Helper()
	return r.do(func(s *Session) error {
		_, err := s.Update(d, id, u)
		return err
	})
}

func (r *rig) start(d core.DeviceID) Execution {
	r.Helper()
	var x Execution
	r.do(func(s *Session) (err error) {
		x, err = s.StartNext(d, nil, 0)
		return err
	})
	return x
}

// work does everything that has to be done now, and returns what it changed.
func (r *rig) work() (list []string) {
	r.Helper()
	for range 1000 {
		var at time.Time
		r.read(func(b Book) (err error) {
			at, err = b.NextWork()
			return err
		})
		if at.IsZero() || at.After(r.now) {
			return list
		}
		list = append(list, r.do((*Session).Work)...)
	}
	r.Fatal("there is always something to be done")
	return nil
}

func (r *rig) pending(d core.DeviceID) (ids []string) {
	r.Helper()
	r.read(func(b Book) error {
		list, err := b.Pending(d, 100)
		for _, x := range list {
			ids = append(ids, fmt.Sprintf("%s/%d %s", x.Job, x.Number, x.State))
		}
		return err
	})
	return ids
}
