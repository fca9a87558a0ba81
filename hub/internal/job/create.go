package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// slice is how many executions are made, cancelled or deleted in one transaction: some ten milliseconds, for which all others
// wait.
const slice = 250

// waitChunk is how many devices wait in one record.
const waitChunk = 500

// Create makes a job for devices, which are those that its targets mean now. Targets are names of the dialect's. Whoever is due gets it at once, the first few
// hundred; a schedule or a rollout makes others wait. One of that id is [ErrExists].
func (s *Session) Create(spec Spec, targets []string, devices []core.DeviceID) (Job, error) {
	if _, err := s.Job(spec.ID); err == nil {
		return Job{}, fmt.Errorf("create job %s: %w", spec.ID, ErrExists)
	} else if !isMissing(err) {
		return Job{}, err
	}
	if err := s.read(keySeq, &spec.Seq); err != nil && !isMissing(err) {
		return Job{}, err
	}
	spec.Seq++
	spec.Created = s.tx.Now()
	j := &Job{Spec: spec, Progress: Progress{Phase: Active, Changed: s.tx.Now(), Counts: map[State]int{}}}
	err := errors.Join(s.put(keySeq, spec.Seq), s.put(keySpec+spec.ID, spec), s.put(keyTargets+spec.ID, targets))
	if err != nil {
		return Job{}, err
	}
	s.jobs[j.ID] = j
	s.changed(j)
	if err := s.follow(j, targets); err != nil {
		return Job{}, err
	}
	if err := s.wait(j, devices); err != nil {
		return Job{}, err
	}
	return *j, s.proceed(j)
}

// follow has a continuous job follow its targets.
func (s *Session) follow(j *Job, targets []string) error {
	if !j.Continuous {
		return nil
	}
	for _, t := range targets {
		if err := s.mark(keyTarget + t + "/" + j.ID); err != nil {
			return err
		}
	}
	return nil
}

// wait lets devices wait for a job, each once.
func (s *Session) wait(j *Job, devices []core.DeviceID) error {
	devices = slices.Compact(slices.Sorted(slices.Values(devices)))
	for part := range slices.Chunk(devices, waitChunk) {
		j.Chunk++
		if err := s.put(waitKey(j.ID, j.Chunk), part); err != nil {
			return err
		}
	}
	j.Waiting += len(devices)
	s.changed(j)
	return nil
}

// proceed does what a job has to do now, one slice of it, and says when it goes on.
func (s *Session) proceed(j *Job) error {
	now := s.tx.Now()
	switch {
	case j.Phase == Deleting:
		return s.deleteSlice(j)
	case j.Canceling:
		return s.cancelSlice(j)
	case !j.live():
		return s.setWork(j, time.Time{})
	}
	if j.over(now) {
		if j.AtEnd != EndRollout {
			return s.cancel(j, j.AtEnd == EndForce, "", "")
		}
		if err := errors.Join(s.dropWaiting(j), s.setWork(j, time.Time{})); err != nil {
			return err
		}
		return s.settle(j)
	}
	open, next := j.open(now)
	// Of a job that comes to nobody any more windows say nothing.
	s.enter(j, open || j.Waiting == 0 && !j.Continuous && !now.Before(j.Start))
	if open {
		goesOn, err := s.roll(j)
		if err != nil {
			return err
		}
		next = earlier(next, goesOn)
		if j.Waiting == 0 && !j.Continuous {
			next = time.Time{}
		}
	}
	if j.AtEnd != "" {
		next = earlier(next, j.End)
	}
	if err := s.setWork(j, next); err != nil {
		return err
	}
	return s.settle(j)
}

// over reports whether the time of a job has ended.
func (j *Job) over(now time.Time) bool { return j.AtEnd != "" && !j.End.IsZero() && !now.Before(j.End) }

// enter has a job wait, or go on.
func (s *Session) enter(j *Job, open bool) {
	phase := Scheduled
	if open {
		phase = Active
	}
	if j.Phase != phase {
		j.Phase, j.Changed = phase, s.tx.Now()
		s.changed(j)
	}
}

// earlier returns the earlier of two times, of which the zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// roll gives the job to devices that wait for it, as many as the rollout and one transaction allow, and returns when more may
// get it; zero: none waits.
func (s *Session) roll(j *Job) (next time.Time, err error) {
	now := s.tx.Now()
	allowed := slice
	if rate := j.rate(); rate > 0 {
		if now.Sub(j.Window) >= time.Minute || now.Before(j.Window) {
			j.Window, j.InWindow = now, 0
		}
		allowed = min(slice, max(0, rate-j.InWindow))
	}
	for allowed > 0 && j.Waiting > 0 {
		n, err := s.rollChunk(j, allowed)
		if err != nil {
			return next, err
		}
		allowed -= n
	}
	s.changed(j)
	switch {
	case j.Waiting == 0:
		j.Chunk = 0
		return time.Time{}, nil
	case j.rate() > 0 && j.InWindow >= j.rate():
		return j.Window.Add(time.Minute), nil
	}
	return now, nil
}

// rollChunk gives the job to at most allowed devices of one record, and returns to how many.
func (s *Session) rollChunk(j *Job, allowed int) (n int, err error) {
	key, devices, err := s.waiting(j)
	if err != nil {
		return 0, err
	}
	if len(devices) == 0 {
		j.Waiting = 0 // cannot be
		return 0, nil
	}
	n = min(allowed, len(devices))
	if rest := devices[n:]; len(rest) > 0 {
		err = s.put(key, rest)
	} else {
		err = s.drop(key)
	}
	if err != nil {
		return 0, err
	}
	for _, d := range devices[:n] {
		if err := s.queue(j, d); err != nil {
			return 0, err
		}
	}
	j.Waiting -= n
	j.InWindow += n
	return n, nil
}

// waiting returns the first record of devices that a job is still to be given to.
func (s *Session) waiting(j *Job) (key string, devices []core.DeviceID, err error) {
	prefix := keyWait + j.ID + "/"
	for r, err := range s.rd.RecordsFrom(s.tenant, s.dialect, prefix, prefix) {
		if err != nil {
			return "", nil, err
		}
		err = decode(r.Key, r.Value, &devices)
		return r.Key, devices, err
	}
	return "", nil, nil
}

// rate returns how many devices may get the job in a minute, 0: any number.
func (j *Job) rate() int {
	r := j.Rollout
	if r.Factor <= 1 || r.Base <= 0 {
		return r.PerMinute
	}
	steps := 0
	switch {
	case r.Notified > 0:
		steps = j.Progress.Notified / r.Notified
	case r.Succeeded > 0:
		steps = j.Counts[Succeeded] / r.Succeeded
	}
	rate := float64(r.Base) * math.Pow(r.Factor, float64(steps))
	if r.PerMinute > 0 {
		rate = min(rate, float64(r.PerMinute))
	}
	return int(min(rate, math.MaxInt32))
}

// queue makes an execution on a device, unless one is pending there.
func (s *Session) queue(j *Job, d core.DeviceID) error {
	x := &Execution{
		Job: j.ID, Seq: j.Seq, Device: d, Number: 1, Version: 1, State: Queued, Queued: s.tx.Now(), Changed: s.tx.Now(),
	}
	before, err := s.Execution(j.ID, d, 0)
	switch {
	case isMissing(err):
		if err := s.mark(deviceKey(d, j.ID)); err != nil {
			return err
		}
		j.Progress.Notified++
		return s.store(j, nil, x)
	case err != nil:
		return err
	case !before.State.Ended():
		return nil
	}
	return s.again(j, &before, x)
}

// again puts a new execution in the place of one that has ended.
func (s *Session) again(j *Job, before, x *Execution) error {
	x.Number = before.Number + 1
	if err := s.put(pastKey(j.ID, before.Device, before.Number), before); err != nil {
		return err
	}
	return s.store(j, before, x)
}

// settle completes a job that nothing is left to do of.
func (s *Session) settle(j *Job) error {
	now := s.tx.Now()
	switch {
	case !j.live() || now.Before(j.Start) || j.Continuous && !j.over(now):
		return nil
	case j.Waiting > 0 || j.Counts[Queued] > 0 || j.Counts[InProgress] > 0:
		return nil
	}
	j.Phase, j.Changed, j.Ended = Completed, now, now
	s.changed(j)
	if err := s.tell(j); err != nil {
		return err
	}
	return s.setWork(j, time.Time{})
}

// tell notes that a job has come to another phase.
func (s *Session) tell(j *Job) error {
	targets, err := s.Targets(j.ID)
	s.changes.Jobs = append(s.changes.Jobs, JobChange{Job: *j, Targets: targets})
	return err
}

// Edit changes what is asked of a job: f gets the Spec, of which it leaves ID, Seq, Continuous and Created as they are.
func (s *Session) Edit(id string, f func(*Spec)) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	if !j.live() {
		return fmt.Errorf("edit job %s: %w", id, ErrTransition)
	}
	f(&j.Spec)
	j.Changed = s.tx.Now()
	s.changed(j)
	if err := s.put(keySpec+id, j.Spec); err != nil {
		return err
	}
	return s.proceed(j)
}

// Associate gives a continuous job more targets, and the devices that they mean now.
func (s *Session) Associate(id string, targets []string, devices []core.DeviceID) (Job, error) {
	j, err := s.job(id)
	if err != nil {
		return Job{}, err
	}
	if !j.Continuous || !j.live() {
		return *j, fmt.Errorf("associate targets with job %s: %w", id, ErrTransition)
	}
	all, err := s.Targets(id)
	if err != nil {
		return *j, err
	}
	for _, t := range targets {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	j.Changed = s.tx.Now()
	err = errors.Join(s.put(keyTargets+id, all), s.follow(j, targets), s.wait(j, devices))
	if err != nil {
		return *j, err
	}
	return *j, s.proceed(j)
}

// Join gives a device the continuous jobs of a target that it belongs to now: at once where the job may come to devices at this
// time, whatever the rate of its rollout, which is for those who were there when it began (AWS IoT Core Developer Guide, "Job
// rollout rates for continuous jobs").
func (s *Session) Join(target string, d core.DeviceID) error {
	ids, err := s.OfTarget(target)
	if err != nil {
		return err
	}
	for _, id := range ids {
		j, err := s.job(id)
		if err != nil {
			return err
		}
		if err := s.join(j, d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) join(j *Job, d core.DeviceID) error {
	now := s.tx.Now()
	if !j.live() || j.over(now) {
		return nil
	}
	// Whoever has done it already need not do it again.
	if x, err := s.Execution(j.ID, d, 0); err == nil && x.State != Removed {
		return nil
	} else if err != nil && !isMissing(err) {
		return err
	}
	if err := s.unwait(j, d); err != nil {
		return err
	}
	if open, _ := j.open(now); open {
		s.enter(j, true)
		return s.queue(j, d)
	}
	if err := s.wait(j, []core.DeviceID{d}); err != nil {
		return err
	}
	return s.proceed(j)
}

// unwait takes a device out of those that wait for a job.
func (s *Session) unwait(j *Job, d core.DeviceID) error {
	if j.Waiting == 0 {
		return nil
	}
	prefix := keyWait + j.ID + "/"
	name, err := json.Marshal(d)
	if err != nil {
		return err
	}
	rest := map[string][]core.DeviceID{}
	for r, err := range s.rd.RecordsFrom(s.tenant, s.dialect, prefix, prefix) {
		if err != nil {
			return err
		}
		if !bytes.Contains(r.Value, name) { // which is most of them
			continue
		}
		var list []core.DeviceID
		if err := decode(r.Key, r.Value, &list); err != nil {
			return err
		}
		n := len(list)
		list = slices.DeleteFunc(list, func(x core.DeviceID) bool { return x == d })
		if j.Waiting -= n - len(list); len(list) < n {
			rest[r.Key] = list
		}
	}
	for key, list := range rest {
		if len(list) == 0 {
			err = s.drop(key)
		} else {
			err = s.put(key, list)
		}
		if err != nil {
			return err
		}
	}
	s.changed(j)
	return nil
}

// Leave takes the continuous jobs of a target away from a device that does not belong to it any more, unless still reports that
// another target of the job means it.
func (s *Session) Leave(target string, d core.DeviceID, still func(targets []string) (bool, error)) error {
	ids, err := s.OfTarget(target)
	if err != nil {
		return err
	}
	for _, id := range ids {
		j, err := s.job(id)
		if err != nil {
			return err
		}
		x, err := s.Execution(id, d, 0)
		none := isMissing(err)
		if err != nil && !none {
			return err
		}
		if (none || x.State.Ended()) && j.Waiting == 0 {
			continue
		}
		targets, err := s.Targets(id)
		if err != nil {
			return err
		}
		if yes, err := still(targets); err != nil {
			return err
		} else if yes {
			continue
		}
		if err := s.unwait(j, d); err != nil {
			return err
		}
		if none || x.State.Ended() {
			continue
		}
		if _, err := s.end(j, x, Removed, false); err != nil {
			return err
		}
	}
	return nil
}
