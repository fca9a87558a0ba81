package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// TestNotifications goes through the table of when a device is told what.
func TestNotifications(t *testing.T) {
	r := newRig(t)
	r.expect("added, first", r.create(Spec{ID: "a"}, "d"), "d:set,next")
	r.expect("added behind", r.create(Spec{ID: "b"}, "d"), "d:set,")
	r.create(Spec{ID: "c"}, "d")
	r.expect("first begins", r.update("d", "a", Update{State: InProgress}), []string(nil)...)
	r.expect("details change", r.update("d", "a", Update{State: InProgress, Details: map[string]string{"p": "50"}}), []string(nil)...)
	r.expect("a later one begins", r.update("d", "b", Update{State: InProgress}), []string(nil)...)
	r.expect("order", r.pending("d"), "a/1 in_progress", "b/1 in_progress", "c/1 queued")
	r.expect("a later one ends", r.update("d", "b", Update{State: Succeeded}), "b@d=succeeded", "b=completed", "d:set,")
	r.expect("first ends", r.update("d", "a", Update{State: Failed}), "a@d=failed", "a=completed", "d:set,next")
	r.create(Spec{ID: "e"}, "d")
	r.expect("a later one begins and so is first", r.update("d", "e", Update{State: InProgress}), "d:next")
	r.expect("the last end", r.update("d", "e", Update{State: Rejected}), "e@d=rejected", "e=completed", "d:set,next")
	r.expect("straight from queued", r.update("d", "c", Update{State: Succeeded}), "c@d=succeeded", "c=completed", "d:set,next")
	r.expect("nothing left", r.pending("d"))
}

func TestUpdateRefused(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a"}, "d")
	for _, tt := range []struct {
		name string
		u    Update
		want error
	}{
		{"version", Update{State: InProgress, Expected: 9}, ErrVersion},
		{"to queued", Update{State: Queued}, ErrTransition},
		{"to canceled", Update{State: Canceled}, ErrTransition},
		{"number", Update{State: InProgress, Number: 2}, core.ErrNotFound},
	} {
		_, err := r.try(func(s *Session) error { _, err := s.Update("d", "a", tt.u); return err })
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	r.update("d", "a", Update{State: InProgress, Expected: 1, Number: 1})
	r.update("d", "a", Update{State: Succeeded, Expected: 2})
	_, err := r.try(func(s *Session) error { _, err := s.Update("d", "a", Update{State: InProgress}); return err })
	var refused *RefusedError
	if !errors.As(err, &refused) || !errors.Is(err, ErrTransition) || refused.Execution.State != Succeeded || refused.Execution.Version != 3 {
		t.Errorf("update of what has ended: %v", err)
	}
	if _, err := r.try(func(s *Session) error { _, err := s.Create(Spec{ID: "a"}, nil, nil); return err }); !errors.Is(err, ErrExists) {
		t.Errorf("a second job a: %v", err)
	}
	if _, err := r.try(func(s *Session) error { _, err := s.StartNext("d", nil, 0); return err }); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("start next of nothing: %v", err)
	}
}

// TestTimers is the example of the AWS IoT Core Developer Guide, "Job configurations": 20 minutes as a whole from 12:00, steps of
// 7 minutes at 12:05, 5 at 12:10 and 9 at 12:13, the last of which ends with the whole.
func TestTimers(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a", Timeout: 20 * time.Minute}, "d")
	noon := r.now
	due := func() time.Duration {
		var at time.Time
		r.read(func(b Book) (err error) {
			at, err = b.NextWork()
			return err
		})
		return at.Sub(noon)
	}
	if x := r.start("d"); x.Version != 2 || !x.Started.Equal(noon) {
		t.Errorf("started: %+v", x)
	}
	for _, tt := range []struct{ at, step, want time.Duration }{
		{0, 0, 20 * time.Minute},
		{5 * time.Minute, 7 * time.Minute, 12 * time.Minute},
		{10 * time.Minute, 5 * time.Minute, 15 * time.Minute},
		{11 * time.Minute, 0, 15 * time.Minute},
		{12 * time.Minute, -1, 20 * time.Minute},
		{13 * time.Minute, 9 * time.Minute, 20 * time.Minute},
	} {
		r.now = noon.Add(tt.at)
		r.update("d", "a", Update{State: InProgress, Step: tt.step})
		if got := due(); got != tt.want {
			t.Errorf("at %v with a step of %v: due at %v, want %v", tt.at, tt.step, got, tt.want)
		}
	}
	r.now = noon.Add(20*time.Minute - time.Microsecond)
	r.expect("a moment before", r.work())
	r.now = noon.Add(20 * time.Minute)
	r.expect("then", r.work(), "a@d=timed_out", "a=completed", "d:set,next")
	r.expectState("a", "completed timed_out=1")
}

func TestRetries(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a", Timeout: time.Minute, Retries: []Retry{{State: Failed, Most: 1}, {State: TimedOut, Most: 1}}}, "d")
	r.start("d")
	r.expect("first failure", r.update("d", "a", Update{State: Failed}), "a@d=failed", "d:set,next")
	r.expect("again", r.pending("d"), "a/2 queued")
	if x := r.start("d"); x.Number != 2 || x.Version != 2 || x.Attempt() != 1 {
		t.Errorf("second attempt: %+v", x)
	}
	r.now = r.now.Add(time.Minute)
	r.expect("time out", r.work(), "a@d=timed_out", "d:set,next")
	r.expect("again", r.pending("d"), "a/3 queued")
	r.expect("second failure", r.update("d", "a", Update{State: Failed}), "a@d=failed", "a=completed", "d:set,next")
	r.read(func(b Book) error {
		past, err := b.Past("a", "d")
		if len(past) != 2 || past[0].State != Failed || past[1].State != TimedOut {
			t.Errorf("earlier attempts: %+v", past)
		}
		return err
	})
	r.create(Spec{ID: "b", Retries: []Retry{{Most: 2}}}, "d")
	for _, to := range []State{Failed, Failed, Rejected} {
		r.expectState("b", "in_progress queued=1")
		r.update("d", "b", Update{State: to})
	}
	r.expectState("b", "completed rejected=1")
}

func devices(n int) (list []core.DeviceID) {
	for i := range n {
		list = append(list, core.DeviceID(fmt.Sprintf("d%05d", i)))
	}
	return list
}

func TestFanOutInSlices(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a"}, devices(1100)...)
	r.expectState("a", fmt.Sprintf("in_progress queued=%d waiting=%d", slice, 1100-slice))
	if got := r.work(); len(got) != 1100-slice || got[0] != fmt.Sprintf("d%05d:set,next", slice) {
		t.Errorf("%d devices were told later", len(got))
	}
	r.expectState("a", "in_progress queued=1100")
	r.do(func(s *Session) error { _, err := s.Cancel("a", false, "R", "c"); return err })
	r.work()
	r.expectState("a", "canceled canceled=1100")
	r.do(func(s *Session) error { return s.Delete("a", false) })
	r.expectState("a", fmt.Sprintf("deletion_in_progress canceled=%d", 1100-slice))
	if got := r.work(); !slices.Equal(got, []string{"a=gone"}) {
		t.Errorf("deleting told %q", got)
	}
	r.expectState("a", "none")
	if err := r.store.View(t.Context(), func(rd store.Reader) error {
		for x, err := range rd.Records(tenant, "x", "") {
			if x.Key != keySeq {
				t.Errorf("left behind: %s, %v", x.Key, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestRollout(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a", Rollout: Rollout{PerMinute: 2}}, devices(5)...)
	r.expectState("a", "in_progress queued=2 waiting=3")
	r.now = r.now.Add(59 * time.Second)
	r.work()
	r.expectState("a", "in_progress queued=2 waiting=3")
	r.now = r.now.Add(time.Second)
	r.work()
	r.expectState("a", "in_progress queued=4 waiting=1")
	r.now = r.now.Add(time.Hour)
	r.work()
	r.expectState("a", "in_progress queued=5")

	r.create(Spec{ID: "b", Rollout: Rollout{PerMinute: 100, Base: 2, Factor: 2, Notified: 2}}, devices(40)...)
	for _, want := range []int{2 * 2, 4 * 2 * 2} {
		if got := r.state("b"); !strings.HasPrefix(got, "in_progress queued=") {
			t.Fatal(got)
		}
		r.now = r.now.Add(time.Minute)
		r.work()
		var j Job
		r.read(func(b Book) (err error) { j, err = b.Job("b"); return err })
		if j.Counts[Queued] < want {
			t.Errorf("%d got it, want at least %d", j.Counts[Queued], want)
		}
	}
}

func TestAbort(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a", Aborts: []Abort{{State: Failed, Percent: 50, Least: 2}}}, devices(5)...)
	r.start("d00004")
	r.update("d00000", "a", Update{State: Failed})
	r.expectState("a", "in_progress queued=3 in_progress=1 failed=1")
	r.update("d00001", "a", Update{State: Succeeded})
	r.expectState("a", "canceled in_progress=1 succeeded=1 failed=1 canceled=2")
	r.update("d00004", "a", Update{State: Succeeded})
	r.expectState("a", "canceled succeeded=2 failed=1 canceled=2")
}

func TestCancel(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a"}, "d", "e")
	r.start("d")
	cancel := func(d core.DeviceID, force bool, expected int64) error {
		_, err := r.try(func(s *Session) error { return s.CancelExecution(d, "a", force, expected, nil) })
		return err
	}
	if err := cancel("d", false, 0); !errors.Is(err, ErrTransition) {
		t.Errorf("in progress, no force: %v", err)
	}
	if err := cancel("e", false, 5); !errors.Is(err, ErrVersion) {
		t.Errorf("version: %v", err)
	}
	if err := cancel("e", false, 1); err != nil {
		t.Error(err)
	}
	if err := cancel("e", true, 0); !errors.Is(err, ErrTransition) {
		t.Errorf("has ended: %v", err)
	}
	r.expect("cancel", r.do(func(s *Session) error { _, err := s.Cancel("a", false, "R", "c"); return err }), "a=canceled")
	r.expectState("a", "canceled in_progress=1 canceled=1")
	if _, err := r.try(func(s *Session) error { return s.Delete("a", false) }); !errors.Is(err, ErrTransition) {
		t.Errorf("delete while one is in progress: %v", err)
	}
	r.expect("force", r.do(func(s *Session) error { _, err := s.Cancel("a", true, "", ""); return err }), "a@d=canceled", "d:set,next")
	r.expectState("a", "canceled canceled=2")
	r.expect("delete an execution", r.do(func(s *Session) error { return s.DeleteExecution("d", "a", 1, false) }), []string(nil)...)
	r.expectState("a", "canceled canceled=1")
	r.create(Spec{ID: "b"}, "d")
	r.update("d", "b", Update{State: Succeeded})
	if _, err := r.try(func(s *Session) error { _, err := s.Cancel("b", true, "", ""); return err }); !errors.Is(err, ErrTransition) {
		t.Errorf("cancel what is completed: %v", err)
	}
}

func TestDeleteBoundsDeletions(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a"}, "d")
	r.do(func(s *Session) error {
		for i := range maxDeletions {
			if err := s.mark(keyDeleting + fmt.Sprint("other", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := r.try(func(s *Session) error { return s.Delete("a", true) }); !errors.Is(err, ErrDeletions) {
		t.Errorf("one deletion too many: %v", err)
	}
	r.do(func(s *Session) error { return s.drop(keyDeleting + "other0") })
	r.do(func(s *Session) error { return s.Delete("a", true) })
	r.expectState("a", "none")
}

func TestContinuous(t *testing.T) {
	r := newRig(t)
	r.do(func(s *Session) error {
		_, err := s.Create(Spec{ID: "a", Continuous: true}, []string{"g", "h"}, nil)
		return err
	})
	r.expectState("a", "in_progress")
	join := func(target string) []string {
		return r.do(func(s *Session) error { return s.Join(target, "d") })
	}
	leave := func(target string, still bool) []string {
		return r.do(func(s *Session) error {
			return s.Leave(target, "d", func(targets []string) (bool, error) {
				if !slices.Equal(targets, []string{"g", "h"}) {
					t.Errorf("targets %q", targets)
				}
				return still, nil
			})
		})
	}
	r.expect("join", join("g"), "d:set,next")
	r.expect("join another", join("h"), []string(nil)...)
	r.expect("join no target", join("i"), []string(nil)...)
	r.expect("leave one", leave("g", true), []string(nil)...)
	r.expect("leave", leave("h", false), "a@d=removed", "d:set,next")
	r.expect("join again", join("g"), "d:set,next")
	r.expect("number", r.pending("d"), "a/2 queued")
	r.update("d", "a", Update{State: Succeeded})
	r.expect("leave when it is done", leave("g", false), []string(nil)...)
	r.expect("join when it is done", join("g"), []string(nil)...)
	r.expectState("a", "in_progress succeeded=1")
	r.expect("more targets", r.do(func(s *Session) error {
		_, err := s.Associate("a", []string{"i", "h"}, []core.DeviceID{"e"})
		return err
	}), "e:set,next")
	r.expect("forget", r.do(func(s *Session) error { return s.Forget("e") }), "e:set,next")
	r.expectState("a", "in_progress succeeded=1")
}

func TestForgetCompletes(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a"}, "d", "e")
	r.update("e", "a", Update{State: Succeeded})
	r.expect("forget", r.do(func(s *Session) error { return s.Forget("d") }), "a=completed", "d:set,next")
	r.expectState("a", "completed succeeded=1")
	r.expect("no devices", r.create(Spec{ID: "b"}), "b=completed")
}

func TestSchedule(t *testing.T) {
	r := newRig(t)
	end := r.now.Add(2 * time.Hour)
	for id, action := range map[string]EndAction{"stop": EndRollout, "cancel": EndCancel, "force": EndForce} {
		r.create(Spec{ID: id, Start: r.now.Add(time.Hour), End: end, AtEnd: action, Rollout: Rollout{PerMinute: 1}}, devices(300)...)
		r.expectState(id, "scheduled waiting=300")
	}
	r.now = r.now.Add(time.Hour)
	r.work()
	for _, id := range []string{"stop", "cancel", "force"} {
		r.expectState(id, "in_progress queued=1 waiting=299")
		r.update("d00000", id, Update{State: InProgress})
	}
	r.now = end
	r.work()
	r.expectState("stop", "in_progress in_progress=1")
	r.expectState("cancel", "canceled in_progress=1")
	r.expectState("force", "canceled canceled=1")
	r.update("d00000", "stop", Update{State: Succeeded})
	r.expectState("stop", "completed succeeded=1")
}

func TestEdit(t *testing.T) {
	r := newRig(t)
	r.create(Spec{ID: "a", Rollout: Rollout{PerMinute: 1}}, devices(3)...)
	r.do(func(s *Session) error {
		return s.Edit("a", func(x *Spec) { x.Rollout = Rollout{}; x.Timeout = time.Minute })
	})
	r.expectState("a", "in_progress queued=3")
	r.start("d00002")
	r.now = r.now.Add(time.Minute)
	r.work()
	r.expectState("a", "in_progress queued=2 timed_out=1")
}

// TestCountsAreRight does things at random and compares the counters and indexes with what is stored.
func TestCountsAreRight(t *testing.T) {
	r := newRig(t)
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		spec := Spec{ID: id, Continuous: id == "c", Timeout: 3 * time.Minute, Retries: []Retry{{Most: 3}}}
		r.do(func(s *Session) error {
			_, err := s.Create(spec, []string{"g"}, devices(6))
			return err
		})
	}
	seed := uint32(7)
	random := func(n int) int {
		seed = seed*1664525 + 1013904223
		return int(seed>>8) % n
	}
	for range 400 {
		d := devices(6)[random(6)]
		id := ids[random(len(ids))]
		switch random(8) {
		case 0:
			r.do(func(s *Session) error { _, err := s.StartNext(d, nil, time.Minute); return ignore(err) })
		case 1, 2, 3:
			to := []State{InProgress, Succeeded, Failed, Rejected}[random(4)]
			r.do(func(s *Session) error { _, err := s.Update(d, id, Update{State: to}); return ignore(err) })
		case 4:
			r.now = r.now.Add(time.Minute)
			r.work()
		case 5:
			r.do(func(s *Session) error { return ignore(s.CancelExecution(d, id, true, 0, nil)) })
		case 6:
			r.do(func(s *Session) error { return s.Join("g", d) })
		case 7:
			r.do(func(s *Session) error {
				return s.Leave("g", d, func([]string) (bool, error) { return false, nil })
			})
		}
		r.read(func(b Book) error { return r.consistent(b, ids) })
	}
}

// ignore makes nothing of a refusal, which has changed nothing.
func ignore(err error) error {
	if errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrConflict) {
		return nil
	}
	return err
}

func (r *rig) consistent(b Book, ids []string) error {
	r.Helper()
	pending := map[string]bool{}
	for _, id := range ids {
		j, err := b.Job(id)
		if err != nil {
			return err
		}
		list, _, err := b.Executions(id, "", 100)
		if err != nil {
			return err
		}
		counts := map[State]int{}
		for _, x := range list {
			if counts[x.State]++; !x.State.Ended() {
				pending[fmt.Sprintf("%s %s", x.Device, x.Job)] = true
			}
		}
		for _, s := range States {
			if counts[s] != j.Counts[s] {
				r.Fatalf("job %s counts %d %s, there are %d", id, j.Counts[s], s, counts[s])
			}
		}
		if open := counts[Queued] + counts[InProgress]; (j.Phase == Completed) != (!j.Continuous && open == 0 && j.Waiting == 0) {
			r.Fatalf("job %s is %s with %d open", id, j.Phase, open)
		}
	}
	for _, d := range devices(6) {
		list, err := b.Pending(d, 100)
		if err != nil {
			return err
		}
		for _, x := range list {
			key := fmt.Sprintf("%s %s", x.Device, x.Job)
			if !pending[key] {
				r.Fatalf("%s is pending in the index only", key)
			}
			delete(pending, key)
		}
	}
	if len(pending) > 0 {
		r.Fatalf("not in the index: %v", pending)
	}
	return nil
}
