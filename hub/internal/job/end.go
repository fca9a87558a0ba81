package job

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// maxDeletions is how many jobs may be in deletion at a time.
const maxDeletions = 10

// Cancel stops a job: no further device gets it, and what is queued is cancelled; what is in progress only by force. Doing it
// again may add the force. A job that has ended otherwise is [ErrTransition].
func (s *Session) Cancel(id string, force bool, reason, comment string) (Job, error) {
	j, err := s.job(id)
	if err != nil {
		return Job{}, err
	}
	if j.Phase == Completed || j.Phase == Deleting {
		return *j, fmt.Errorf("cancel job %s (%s): %w", id, j.Phase, ErrTransition)
	}
	if err := s.cancel(j, force, reason, comment); err != nil {
		return *j, err
	}
	return *j, nil
}

func (s *Session) cancel(j *Job, force bool, reason, comment string) error {
	if j.Phase != Stopped {
		j.Phase, j.Ended = Stopped, s.tx.Now()
		j.Reason, j.Comment = reason, comment
		if err := s.tell(j); err != nil {
			return err
		}
	}
	j.Changed = s.tx.Now()
	j.Forced = j.Forced || force
	j.Canceling, j.Cursor = true, ""
	s.changed(j)
	if err := s.dropWaiting(j); err != nil {
		return err
	}
	return s.cancelSlice(j)
}

// dropWaiting forgets the devices that a job was still to be given to.
func (s *Session) dropWaiting(j *Job) error {
	for n := 1; n <= j.Chunk; n++ {
		if err := s.drop(waitKey(j.ID, n)); err != nil {
			return err
		}
	}
	j.Waiting, j.Chunk = 0, 0
	s.changed(j)
	return nil
}

// cancelSlice cancels executions of a job behind its cursor.
func (s *Session) cancelSlice(j *Job) error {
	list, more, err := s.Executions(j.ID, core.DeviceID(j.Cursor), slice)
	if err != nil {
		return err
	}
	for _, x := range list {
		j.Cursor = string(x.Device)
		if x.State == Queued || x.State == InProgress && j.Forced {
			if _, err := s.end(j, x, Canceled, x.State == InProgress); err != nil {
				return err
			}
		}
	}
	s.changed(j)
	if more {
		return s.setWork(j, s.tx.Now())
	}
	j.Canceling, j.Cursor = false, ""
	return s.setWork(j, time.Time{})
}

// Delete deletes a job with its executions; one that has not ended only by force, else it is [ErrTransition]. Too many deletions
// at a time are [ErrDeletions].
func (s *Session) Delete(id string, force bool) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	if j.Phase == Deleting {
		return nil
	}
	if !force && (j.Phase != Completed && j.Phase != Stopped || j.Counts[InProgress] > 0) {
		return fmt.Errorf("delete job %s (%s): %w", id, j.Phase, ErrTransition)
	}
	n := 0
	for _, err := range s.rd.RecordsFrom(s.tenant, s.dialect, keyDeleting, keyDeleting) {
		if err != nil {
			return err
		}
		if n++; n == maxDeletions {
			return fmt.Errorf("delete job %s: %w", id, ErrDeletions)
		}
	}
	targets, err := s.Targets(id)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := s.drop(keyTarget + t + "/" + id); err != nil {
			return err
		}
	}
	if err := errors.Join(s.mark(keyDeleting+id), s.dropWaiting(j)); err != nil {
		return err
	}
	j.Phase, j.Changed = Deleting, s.tx.Now()
	s.changed(j)
	s.changes.Jobs = append(s.changes.Jobs, JobChange{Job: *j, Targets: targets})
	return s.deleteSlice(j)
}

// deleteSlice deletes executions of a job, and with the last the job.
func (s *Session) deleteSlice(j *Job) error {
	list, more, err := s.Executions(j.ID, "", slice)
	if err != nil {
		return err
	}
	for i := range list {
		if err := s.erase(j, &list[i]); err != nil {
			return err
		}
	}
	if more {
		return s.setWork(j, s.tx.Now())
	}
	if err := s.setWork(j, time.Time{}); err != nil {
		return err
	}
	delete(s.jobs, j.ID)
	delete(s.dirty, j.ID)
	targets, err := s.Targets(j.ID)
	if err != nil {
		return err
	}
	s.changes.Jobs = append(s.changes.Jobs, JobChange{Job: *j, Targets: targets, Gone: true})
	return errors.Join(s.drop(keySpec+j.ID), s.drop(keyState+j.ID), s.drop(keyTargets+j.ID), s.drop(keyDeleting+j.ID))
}

// Work does one slice of what has to be done now: executions that time out, jobs that go on. [Book.NextWork] says whether there
// is more.
func (s *Session) Work() error {
	now := s.tx.Now()
	for range slice {
		at, rest, err := s.first(keyDue)
		if err != nil {
			return err
		}
		if at.IsZero() || at.After(now) {
			break
		}
		id, device, _ := strings.Cut(rest, "/")
		if err := s.timeOut(at, id, core.DeviceID(device)); err != nil {
			return err
		}
	}
	at, id, err := s.first(keyWork)
	if err != nil || at.IsZero() || at.After(now) {
		return err
	}
	j, err := s.job(id)
	if isMissing(err) {
		return s.drop(workKey(at, id)) // cannot be
	} else if err != nil {
		return err
	}
	return s.proceed(j)
}

// timeOut ends an execution that is due.
func (s *Session) timeOut(at time.Time, id string, d core.DeviceID) error {
	x, err := s.Execution(id, d, 0)
	if err == nil && x.State == InProgress && x.Due().UnixMicro() == at.UnixMicro() {
		j, err := s.job(id)
		if err != nil {
			return err
		}
		_, err = s.end(j, x, TimedOut, false)
		return err
	}
	if err != nil && !isMissing(err) {
		return err
	}
	return s.drop(fmt.Sprintf("%s%020d/%s/%s", keyDue, at.UnixMicro(), id, d)) // cannot be
}
