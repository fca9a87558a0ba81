package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A State is that of an execution.
type State string

// The states of an execution. All but the first two are ends.
const (
	Queued     State = "queued"
	InProgress State = "in_progress"
	Succeeded  State = "succeeded"
	Failed     State = "failed"
	Rejected   State = "rejected"  // by the device
	TimedOut   State = "timed_out" // by the hub
	Removed    State = "removed"   // the device is no target any more
	Canceled   State = "canceled"  // by an operator
)

// States lists the states.
var States = []State{Queued, InProgress, Succeeded, Failed, Rejected, TimedOut, Removed, Canceled}

// Ended reports whether it is an end.
func (s State) Ended() bool { return s != Queued && s != InProgress }

// A Phase is how far a job as a whole is.
type Phase string

// The phases of a job.
const (
	Scheduled Phase = "scheduled"   // it has not begun, or waits for its next window
	Active    Phase = "in_progress" // devices get it and work on it
	Completed Phase = "completed"
	Stopped   Phase = "canceled" // executions in progress may go on
	Deleting  Phase = "deletion_in_progress"
)

// A Spec is what is asked. Fields that are zero ask for nothing.
type Spec struct {
	ID         string          `json:"id"`
	Seq        int64           `json:"seq"`                  // in the order of creation; set by Create
	Continuous bool            `json:"continuous,omitempty"` // devices that become targets later get it too; it completes after its End only
	Document   json.RawMessage `json:"document,omitempty"`   // what is to be done, for the device
	Note       json.RawMessage `json:"note,omitempty"`       // what the dialect keeps with it

	Timeout time.Duration `json:"timeout,omitempty"` // of an execution in progress
	Retries []Retry       `json:"retries,omitempty"`
	Aborts  []Abort       `json:"aborts,omitempty"`
	Rollout Rollout       `json:"rollout,omitzero"`

	Start   time.Time `json:"start,omitzero"`    // when devices get it; zero: at once
	Windows []Window  `json:"windows,omitempty"` // devices get it in one of these only; nil: at any time
	End     time.Time `json:"end,omitzero"`      // when AtEnd happens
	AtEnd   EndAction `json:"atEnd,omitempty"`
	Created time.Time `json:"created"` // set by Create
}

// An EndAction is what becomes of a job at the end of its time.
type EndAction string

// What can happen then.
const (
	EndRollout EndAction = "stop_rollout" // no further device gets it
	EndCancel  EndAction = "cancel"
	EndForce   EndAction = "force_cancel"
)

// A Retry has an execution made anew that ended in a state, "" for failed and timed out, at most so many times on one device.
type Retry struct {
	State State `json:"state,omitempty"`
	Most  int   `json:"most"`
}

// An Abort stops a job once at least Least executions have ended and Percent of them in a state; "" stands for failed, rejected
// and timed out.
type Abort struct {
	State   State   `json:"state,omitempty"`
	Percent float64 `json:"percent"`
	Least   int     `json:"least"`
}

// A Rollout bounds how many devices get a job in a minute. With Factor the number grows: it is multiplied each time that
// another Notified devices have got it, or another Succeeded have done it, up to PerMinute.
type Rollout struct {
	PerMinute int     `json:"perMinute,omitempty"` // 0: any number
	Base      int     `json:"base,omitempty"`
	Factor    float64 `json:"factor,omitempty"`
	Notified  int     `json:"notified,omitempty"`
	Succeeded int     `json:"succeeded,omitempty"`
}

// Progress is how far a job is.
type Progress struct {
	Phase     Phase         `json:"phase"`
	Counts    map[State]int `json:"counts,omitempty"`  // newest executions by state
	Waiting   int           `json:"waiting,omitempty"` // devices that are still to get it
	Chunk     int           `json:"chunk,omitempty"`   // number of the last record of those
	Notified  int           `json:"notified,omitempty"`
	Window    time.Time     `json:"window,omitzero"` // when the running minute of the rollout began
	InWindow  int           `json:"inWindow,omitempty"`
	Work      time.Time     `json:"work,omitzero"`       // when there is something to do; zero: nothing
	Canceling bool          `json:"canceling,omitempty"` // executions are still to be cancelled
	Cursor    string        `json:"cursor,omitempty"`    // of long work: the last device that is done
	Changed   time.Time     `json:"changed"`
	Ended     time.Time     `json:"ended,omitzero"`
	Forced    bool          `json:"forced,omitempty"` // executions in progress were cancelled too
	Reason    string        `json:"reason,omitempty"` // of a cancellation
	Comment   string        `json:"comment,omitempty"`
}

// A Job is what is asked, and how far it is.
type Job struct {
	Spec
	Progress
}

// Rolling reports whether executions of the job are still to be made or to be cancelled.
func (j *Job) Rolling() bool { return j.Waiting > 0 || j.Canceling }

// live reports whether the job has neither ended nor been stopped.
func (j *Job) live() bool { return j.Phase == Active || j.Phase == Scheduled }

// An Execution is a job on one device.
type Execution struct {
	Job     string            `json:"job"`
	Seq     int64             `json:"seq"` // of the job
	Device  core.DeviceID     `json:"device"`
	Number  int64             `json:"number"`  // 1 is the first of the job on the device
	Version int64             `json:"version"` // from 1, counts changes
	State   State             `json:"state"`
	Details map[string]string `json:"details,omitempty"` // what the device tells of it
	Queued  time.Time         `json:"queued"`
	Started time.Time         `json:"started,omitzero"`
	Changed time.Time         `json:"changed"`
	Timeout time.Time         `json:"timeout,omitzero"` // when it times out as a whole
	Step    time.Time         `json:"step,omitzero"`    // when its present step does
	Retries map[State]int     `json:"retries,omitempty"`
	Forced  bool              `json:"forced,omitempty"` // cancelled while it was in progress
}

// Due returns when an execution times out; zero: never.
func (x *Execution) Due() time.Time {
	if x.State != InProgress || x.Step.IsZero() || !x.Timeout.IsZero() && x.Timeout.Before(x.Step) {
		return x.Timeout
	}
	return x.Step
}

// Attempt returns how often it was made anew.
func (x *Execution) Attempt() int {
	n := 0
	for _, v := range x.Retries {
		n += v
	}
	return n
}

// What jobs refuse. Each wraps a kind of package core.
var (
	// ErrExists means that there is a job of that id.
	ErrExists = fmt.Errorf("%w: the job exists", core.ErrConflict)
	// ErrTransition means that the state of a job or of an execution forbids it.
	ErrTransition = fmt.Errorf("%w: its state forbids it", core.ErrConflict)
	// ErrVersion means that an execution has another version than the caller expects.
	ErrVersion = fmt.Errorf("%w: it has another version", core.ErrConflict)
	// ErrDeletions means that too many jobs are being deleted.
	ErrDeletions = fmt.Errorf("%w: too many jobs are being deleted", core.ErrTooLarge)
)

// A RefusedError is a refusal that concerns an execution.
type RefusedError struct {
	Execution Execution // as it is
	Err       error     // ErrTransition, ErrVersion
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("job %s on %s (%s, version %d): %v", e.Execution.Job, e.Execution.Device, e.Execution.State, e.Execution.Version, e.Err)
}

// Unwrap returns Err.
func (e *RefusedError) Unwrap() error { return e.Err }

func isMissing(err error) bool { return errors.Is(err, core.ErrNotFound) }
