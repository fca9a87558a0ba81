package job

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Tx is the transaction that a session is part of; package commit's satisfies it.
type Tx interface {
	Reader
	PutRecord(t core.TenantID, dialect, key string, value []byte) error
	DeleteRecord(t core.TenantID, dialect, key string) error
	Now() time.Time
}

// A Session changes jobs inside one transaction. Its methods fail with kinds of package core; after an error that is not
// a refusal the transaction has to be undone. It ends with Close.
type Session struct {
	Book
	tx   Tx
	jobs map[string]*Job // that were read; those of dirty are written by Close

	dirty   map[string]bool
	devices map[core.DeviceID]*touched
	changes Changes
}

// touched is a device whose pending executions change.
type touched struct {
	head string // what was next before: job and number
	set  bool   // what is pending is not the same set any more
}

// Changes says what a session has changed.
type Changes struct {
	Devices    []DeviceChange
	Executions []Execution // that have ended
	Jobs       []JobChange
}

// A DeviceChange tells of a device's pending executions.
type DeviceChange struct {
	Device core.DeviceID
	Set    bool // some were added or taken away
	Next   bool // the next one is another one
}

// A JobChange tells that a job has come to another phase: Completed, Stopped, Deleting. Gone means that it was deleted.
type JobChange struct {
	Job     Job
	Targets []string
	Gone    bool
}

// Begin begins a session in the jobs of a tenant and dialect.
func Begin(tx Tx, t core.TenantID, dialect string) *Session {
	return &Session{
		Book: Read(tx, t, dialect), tx: tx, jobs: map[string]*Job{}, dirty: map[string]bool{}, devices: map[core.DeviceID]*touched{},
	}
}

// Close writes what is not written yet, and returns what has changed.
func (s *Session) Close() (Changes, error) {
	for _, id := range slices.Sorted(maps.Keys(s.dirty)) {
		if j := s.jobs[id]; j != nil {
			if err := s.put(keyState+id, j.Progress); err != nil {
				return s.changes, err
			}
		}
	}
	clear(s.dirty)
	for d, t := range s.devices {
		head, err := s.head(d)
		if err != nil {
			return s.changes, err
		}
		if t.set || head != t.head {
			s.changes.Devices = append(s.changes.Devices, DeviceChange{Device: d, Set: t.set, Next: head != t.head})
		}
	}
	clear(s.devices)
	slices.SortFunc(s.changes.Devices, func(a, b DeviceChange) int { return cmp.Compare(a.Device, b.Device) })
	return s.changes, nil
}

func (s *Session) put(key string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %q: %w: %v", key, core.ErrInvalid, err)
	}
	return s.tx.PutRecord(s.tenant, s.dialect, key, raw)
}

func (s *Session) mark(key string) error { return s.tx.PutRecord(s.tenant, s.dialect, key, nil) }

func (s *Session) drop(key string) error { return s.tx.DeleteRecord(s.tenant, s.dialect, key) }

// job returns a job that this session may change.
func (s *Session) job(id string) (*Job, error) {
	if j := s.jobs[id]; j != nil {
		return j, nil
	}
	j, err := s.Job(id)
	if err != nil {
		return nil, err
	}
	if j.Counts == nil {
		j.Counts = map[State]int{}
	}
	s.jobs[id] = &j
	return &j, nil
}

// changed notes that a job's progress is to be written.
func (s *Session) changed(j *Job) { s.dirty[j.ID] = true }

// touch has to be called before what is pending for a device changes.
func (s *Session) touch(d core.DeviceID, set bool) error {
	t := s.devices[d]
	if t == nil {
		head, err := s.head(d)
		if err != nil {
			return err
		}
		t = &touched{head: head}
		s.devices[d] = t
	}
	t.set = t.set || set
	return nil
}

// head names what is next for a device, "" if nothing is.
func (s *Session) head(d core.DeviceID) (string, error) {
	x, err := s.Next(d)
	if isMissing(err) {
		return "", nil
	}
	return fmt.Sprintf("%s/%d", x.Job, x.Number), err
}

// store writes an execution in the place of what it was before, nil for a new one, with everything that follows from it.
func (s *Session) store(j *Job, before, x *Execution) error {
	pending := before != nil && !before.State.Ended()
	if pending == x.State.Ended() || before != nil && before.Number != x.Number || pending && before.State != x.State {
		if err := s.touch(x.Device, before == nil || pending == x.State.Ended() || before.Number != x.Number); err != nil {
			return err
		}
	}
	if pending {
		if err := s.unindex(before); err != nil {
			return err
		}
	}
	if before != nil {
		j.Counts[before.State]--
	}
	j.Counts[x.State]++
	s.changed(j)
	if !x.State.Ended() {
		if err := s.mark(pendingKey(x)); err != nil {
			return err
		}
		if !x.Due().IsZero() {
			if err := s.mark(dueKey(x)); err != nil {
				return err
			}
		}
	}
	if x.State.Ended() && (before == nil || !before.State.Ended()) {
		s.changes.Executions = append(s.changes.Executions, *x)
	}
	return s.put(execKey(x.Job, x.Device), x)
}

// unindex takes a pending execution out of the indexes.
func (s *Session) unindex(x *Execution) error {
	err := s.drop(pendingKey(x))
	if !x.Due().IsZero() {
		err = errors.Join(err, s.drop(dueKey(x)))
	}
	return err
}

// setWork says when a job has something to be done; zero: nothing.
func (s *Session) setWork(j *Job, at time.Time) error {
	if j.Work.Equal(at) {
		return nil
	}
	if !j.Work.IsZero() {
		if err := s.drop(workKey(j.Work, j.ID)); err != nil {
			return err
		}
	}
	j.Work = at
	s.changed(j)
	if at.IsZero() {
		return nil
	}
	return s.mark(workKey(at, j.ID))
}
