package job

import (
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// An Update is what a device says of an execution.
type Update struct {
	State    State             // InProgress, Succeeded, Failed or Rejected; another one is [ErrTransition]
	Details  map[string]string // nil: as before
	Expected int64             // version that it must have; 0: any
	Number   int64             // of the execution; 0: the newest
	// Step is until when the present step has to end, from now; 0: as before, negative: at no time.
	Step time.Duration
}

// StartNext begins what is next for a device, and returns it; what is in progress already is returned as it is.
// core.ErrNotFound if nothing is pending.
func (s *Session) StartNext(d core.DeviceID, details map[string]string, step time.Duration) (Execution, error) {
	x, err := s.Next(d)
	if err != nil || x.State == InProgress {
		return x, err
	}
	return s.Update(d, x.Job, Update{State: InProgress, Details: details, Step: step})
}

// Update changes an execution as its device says, and returns it. A refusal is a *[RefusedError]; core.ErrNotFound if there is no
// such execution.
func (s *Session) Update(d core.DeviceID, id string, u Update) (Execution, error) {
	x, err := s.Execution(id, d, u.Number)
	if err != nil {
		return x, err
	}
	if u.Expected != 0 && u.Expected != x.Version {
		return x, &RefusedError{x, ErrVersion}
	}
	if x.State.Ended() || u.State == Queued || u.State == TimedOut || u.State == Removed || u.State == Canceled {
		return x, &RefusedError{x, ErrTransition}
	}
	j, err := s.job(id)
	if err != nil {
		return x, err
	}
	before, now := x, s.tx.Now()
	x.Version++
	x.Changed = now
	if u.Details != nil {
		x.Details = u.Details
	}
	if u.State != InProgress {
		return s.conclude(j, before, x, u.State)
	}
	if x.State == Queued {
		x.State, x.Started = InProgress, now
		if j.Timeout > 0 {
			x.Timeout = now.Add(j.Timeout)
		}
	}
	switch {
	case u.Step > 0:
		x.Step = now.Add(u.Step)
	case u.Step < 0:
		x.Step = time.Time{}
	}
	return x, s.store(j, &before, &x)
}

// end ends an execution that is pending.
func (s *Session) end(j *Job, before Execution, to State, forced bool) (Execution, error) {
	x := before
	x.Version++
	x.Changed, x.Forced = s.tx.Now(), forced
	return s.conclude(j, before, x, to)
}

// conclude stores the end of an execution, with what follows from it: another attempt, the end of the job.
func (s *Session) conclude(j *Job, before, x Execution, to State) (Execution, error) {
	x.State = to
	if err := s.store(j, &before, &x); err != nil {
		return x, err
	}
	if !j.live() {
		return x, nil
	}
	if retries, ok := j.retry(&x); ok {
		next := &Execution{
			Job: j.ID, Seq: j.Seq, Device: x.Device, Version: 1, State: Queued, Queued: s.tx.Now(), Changed: s.tx.Now(), Retries: retries,
		}
		if err := s.again(j, &x, next); err != nil {
			return x, err
		}
	}
	if j.aborts() {
		return x, s.cancel(j, false, "", "")
	}
	if j.Rollout.Succeeded > 0 && j.Waiting > 0 && to == Succeeded {
		return x, s.proceed(j) // the rollout may have become faster
	}
	return x, s.settle(j)
}

// retry reports whether an execution that has ended is to be made anew, and how often it was then.
func (j *Job) retry(x *Execution) (map[State]int, bool) {
	if x.State != Failed && x.State != TimedOut {
		return nil, false
	}
	for _, r := range j.Retries {
		used := x.Retries[x.State]
		if r.State == "" {
			used = x.Attempt()
		} else if r.State != x.State {
			continue
		}
		if used >= r.Most {
			continue
		}
		next := map[State]int{x.State: x.Retries[x.State] + 1}
		for k, v := range x.Retries {
			if k != x.State {
				next[k] = v
			}
		}
		return next, true
	}
	return nil, false
}

// aborts reports whether too many executions have ended badly.
func (j *Job) aborts() bool {
	bad := j.Counts[Failed] + j.Counts[Rejected] + j.Counts[TimedOut]
	done := bad + j.Counts[Succeeded]
	for _, a := range j.Aborts {
		n := bad
		if a.State != "" {
			n = j.Counts[a.State]
		}
		if done >= a.Least && n > 0 && float64(n)*100 >= a.Percent*float64(done) {
			return true
		}
	}
	return false
}

// CancelExecution cancels an execution; one in progress only by force. expected is the version that it must have, 0: any;
// details are nil to stay. A refusal is a *[RefusedError].
func (s *Session) CancelExecution(d core.DeviceID, id string, force bool, expected int64, details map[string]string) error {
	x, err := s.Execution(id, d, 0)
	if err != nil {
		return err
	}
	if expected != 0 && expected != x.Version {
		return &RefusedError{x, ErrVersion}
	}
	if x.State.Ended() || x.State == InProgress && !force {
		return &RefusedError{x, ErrTransition}
	}
	j, err := s.job(id)
	if err != nil {
		return err
	}
	before := x
	if details != nil {
		x.Details = details
	}
	x.Version++
	x.Changed, x.Forced = s.tx.Now(), x.State == InProgress
	_, err = s.conclude(j, before, x, Canceled)
	return err
}

// DeleteExecution deletes an execution of a number; one in progress only by force, else it is a *[RefusedError].
func (s *Session) DeleteExecution(d core.DeviceID, id string, number int64, force bool) error {
	x, err := s.Execution(id, d, 0)
	if err != nil {
		return err
	}
	if number != x.Number {
		if _, err := s.Execution(id, d, number); err != nil {
			return err
		}
		return s.drop(pastKey(id, d, number))
	}
	if x.State == InProgress && !force {
		return &RefusedError{x, ErrTransition}
	}
	j, err := s.job(id)
	if err != nil {
		return err
	}
	if err := s.erase(j, &x); err != nil {
		return err
	}
	return s.settle(j)
}

// erase deletes the executions of a job on a device, of which x is the newest.
func (s *Session) erase(j *Job, x *Execution) error {
	if !x.State.Ended() {
		if err := s.touch(x.Device, true); err != nil {
			return err
		}
		if err := s.unindex(x); err != nil {
			return err
		}
	}
	j.Counts[x.State]--
	s.changed(j)
	for n := int64(1); n < x.Number; n++ {
		if err := s.drop(pastKey(j.ID, x.Device, n)); err != nil {
			return err
		}
	}
	if err := s.drop(deviceKey(x.Device, j.ID)); err != nil {
		return err
	}
	return s.drop(execKey(j.ID, x.Device))
}

// Forget deletes all executions of a device that is gone, and those that it was still to get. Jobs that waited for it alone
// complete.
func (s *Session) Forget(d core.DeviceID) error {
	waiting, err := s.withWaiting()
	if err != nil {
		return err
	}
	for _, id := range waiting {
		j, err := s.job(id)
		if err == nil {
			err = s.unwait(j, d)
		}
		if err == nil {
			err = s.settle(j)
		}
		if err != nil {
			return fmt.Errorf("forget that %s waits for job %s: %w", d, id, err)
		}
	}
	for {
		list, more, err := s.OfDevice(d, "", slice)
		if err != nil {
			return fmt.Errorf("forget the jobs of %s: %w", d, err)
		}
		for i := range list {
			j, err := s.job(list[i].Job)
			if err != nil {
				return err
			}
			if err := s.erase(j, &list[i]); err != nil {
				return err
			}
			if err := s.settle(j); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}
