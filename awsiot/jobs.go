package awsiot

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// Jobs is a handle on the jobs of a thing: work that somebody wants to be done on many things, of which each has its own execution.
// Handles are free to make, cannot fail, and may be used from any goroutine. [Jobs.Run] does all of it for programs that only have the
// work itself to add.
type Jobs struct {
	c     *Client
	thing string
}

// Jobs returns the jobs of [Config.ThingName].
func (c *Client) Jobs() *Jobs { return c.ThingJobs(c.cfg.ThingName) }

// ThingJobs returns the jobs of another thing, as far as policies allow that.
func (c *Client) ThingJobs(thing string) *Jobs { return &Jobs{c, thing} }

// Thing returns the name of the thing.
func (j *Jobs) Thing() string { return j.thing }

// NextJob stands for the ID of the next pending job.
const NextJob = awswire.NextJob

// JobStatus is the state of a job's execution.
type JobStatus string

// The states. Things set InProgress, Succeeded, Failed and Rejected; AWS IoT the others.
const (
	JobQueued     = JobStatus(awswire.JobQueued)
	JobInProgress = JobStatus(awswire.JobInProgress)
	JobSucceeded  = JobStatus(awswire.JobSucceeded)
	JobFailed     = JobStatus(awswire.JobFailed)
	JobRejected   = JobStatus(awswire.JobRejected)
	JobTimedOut   = JobStatus(awswire.JobTimedOut)
	JobRemoved    = JobStatus(awswire.JobRemoved)
	JobCanceled   = JobStatus(awswire.JobCanceled)
)

// Terminal tells whether an execution in this state has ended.
func (s JobStatus) Terminal() bool { return awswire.JobStatus(s).Terminal() }

// A JobSummary tells of a pending execution.
type JobSummary struct {
	JobID                              string
	QueuedAt, StartedAt, LastUpdatedAt time.Time // the zero time: not yet
	Version                            int64     // grows with each change of the execution
	ExecutionNumber                    int64     // tells executions of one job on one thing apart
}

// A JobExecution is a job as one thing has it.
type JobExecution struct {
	JobSummary

	ThingName     string
	Status        JobStatus
	StatusDetails map[string]string
	// Document says what to do, in JSON. nil if it was not asked for.
	Document json.RawMessage
	// TimeLeft is about how long it takes until the execution times out; 0 if it does not.
	TimeLeft time.Duration
}

// JobExecutionState is what a refusal or an update tells of an execution.
type JobExecutionState struct {
	Status        JobStatus
	StatusDetails map[string]string
	Version       int64
}

// PendingJobs are the executions that have not ended, the oldest first.
type PendingJobs struct {
	InProgress, Queued []JobSummary
	Time               time.Time
}

// A JobError is a refusal of the jobs service. It wraps the [fairlead.PlatformError], whose code is such as "VersionMismatch".
type JobError struct {
	Platform fairlead.PlatformError
	// State is how the execution is, if the refusal is about that; otherwise nil.
	State *JobExecutionState
}

// Error returns the refusal in one line.
func (e *JobError) Error() string { return e.Platform.Error() }

// Unwrap returns the [fairlead.PlatformError].
func (e *JobError) Unwrap() error { return &e.Platform }

// jobKinds says what kind of failure a code stands for; others are ErrUnavailable.
var jobKinds = map[awswire.JobCode]error{
	awswire.JobInvalidTopic:           fairlead.ErrInvalid,
	awswire.JobInvalidJSON:            fairlead.ErrInvalid,
	awswire.JobInvalidRequest:         fairlead.ErrInvalid,
	awswire.JobInvalidStateTransition: fairlead.ErrConflict,
	awswire.JobVersionMismatch:        fairlead.ErrConflict,
	awswire.JobTerminalStateReached:   fairlead.ErrConflict,
	awswire.JobResourceNotFound:       fairlead.ErrNotFound,
	awswire.JobRequestThrottled:       fairlead.ErrThrottled,
}

// Pending returns the executions that have not ended. For errors, of this and the other methods, see [Shadow.Get]; refusals are a
// [*JobError].
func (j *Jobs) Pending(ctx context.Context) (*PendingJobs, error) {
	var r awswire.PendingJobs
	if err := j.ask(ctx, "list pending jobs", "", awswire.OpGet, &awswire.JobRequest{}, true, &r); err != nil {
		return nil, err
	}
	return &PendingJobs{InProgress: summaries(r.InProgressJobs), Queued: summaries(r.QueuedJobs), Time: seconds(r.Timestamp)}, nil
}

// StartNextOptions are the extras of [Jobs.StartNext].
type StartNextOptions struct {
	// StatusDetails replace those of an execution that is started by this; at most ten.
	StatusDetails map[string]string
	// StepTimeout is when the execution times out unless it is updated before: whole minutes, up to a week. 0: what the job says.
	StepTimeout time.Duration
}

// StartNext starts the next pending execution and returns it: one that is in progress already comes first, as it is. The error wraps
// [ErrNoJob] if nothing is pending.
func (j *Jobs) StartNext(ctx context.Context, opts *StartNextOptions) (*JobExecution, error) {
	const op = "start next job"
	r := &awswire.JobRequest{}
	if opts != nil {
		r.StatusDetails = opts.StatusDetails
		var err error
		if r.StepTimeoutInMinutes, err = minutes(opts.StepTimeout); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", op, fairlead.ErrInvalid, err)
		}
	}
	return j.execution(ctx, op, "", awswire.OpStartNext, r)
}

// DescribeOptions are the extras of [Jobs.Describe].
type DescribeOptions struct {
	// ExecutionNumber is the execution to describe. 0: the latest one.
	ExecutionNumber int64
	// NoDocument leaves the job's document out of the answer.
	NoDocument bool
}

// Describe returns an execution of a job; [NextJob] stands for the next pending one, and the error wraps [ErrNoJob] if there is none.
func (j *Jobs) Describe(ctx context.Context, jobID string, opts *DescribeOptions) (*JobExecution, error) {
	document := opts == nil || !opts.NoDocument
	r := &awswire.JobRequest{IncludeJobDocument: &document}
	if opts != nil {
		r.ExecutionNumber = opts.ExecutionNumber
	}
	return j.execution(ctx, fmt.Sprintf("describe job %.64q", jobID), jobID, awswire.OpGet, r)
}

func (j *Jobs) execution(ctx context.Context, op, jobID string, what awswire.Op, r *awswire.JobRequest) (*JobExecution, error) {
	var reply awswire.JobReply
	if err := j.ask(ctx, op, jobID, what, r, true, &reply); err != nil {
		return nil, err
	}
	if reply.Execution == nil {
		return nil, fmt.Errorf("%s: %w", op, ErrNoJob)
	}
	return newExecution(reply.Execution), nil
}

// A JobUpdate says how far an execution is. Status is required.
type JobUpdate struct {
	// Status is JobInProgress, JobSucceeded, JobFailed or JobRejected.
	Status JobStatus
	// StatusDetails replace those that the execution has; at most ten, with values of up to 1024 characters. nil: they stay.
	StatusDetails map[string]string
	// ExpectedVersion is the version that the execution must have; otherwise the refusal is "VersionMismatch". 0: any.
	ExpectedVersion int64
	// ExecutionNumber is the execution to update. 0: the latest one.
	ExecutionNumber int64
	// StepTimeout is when the execution times out unless it is updated before: whole minutes, up to a week. 0: as before; negative: never.
	StepTimeout time.Duration
	// IncludeDocument asks for the job's document in the answer.
	IncludeDocument bool
}

// JobUpdated is the answer to an update.
type JobUpdated struct {
	State    JobExecutionState
	Document json.RawMessage // nil if it was not asked for
	Time     time.Time
}

// Update says how far an execution is. When the connection is lost before the answer comes, the error wraps fairlead.ErrUnavailable, and
// the update may have been made.
func (j *Jobs) Update(ctx context.Context, jobID string, u JobUpdate) (*JobUpdated, error) {
	op := fmt.Sprintf("update job %.64q", jobID)
	r := &awswire.JobRequest{
		Status: awswire.JobStatus(u.Status), StatusDetails: u.StatusDetails, ExpectedVersion: u.ExpectedVersion, ExecutionNumber: u.ExecutionNumber,
		IncludeJobExecutionState: true,
	}
	var err error
	switch u.Status {
	case JobInProgress, JobSucceeded, JobFailed, JobRejected:
		r.StepTimeoutInMinutes, err = minutes(u.StepTimeout)
	case JobQueued, JobTimedOut, JobRemoved, JobCanceled:
		err = fmt.Errorf("things do not set status %s", u.Status)
	default:
		err = fmt.Errorf("unknown status %.64q", string(u.Status))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", op, fairlead.ErrInvalid, err)
	}
	if u.IncludeDocument {
		r.IncludeJobDocument = &u.IncludeDocument
	}
	var reply awswire.JobUpdateReply
	if err := j.ask(ctx, op, jobID, awswire.OpUpdate, r, false, &reply); err != nil {
		return nil, err
	}
	done := &JobUpdated{Document: present(reply.JobDocument), Time: seconds(reply.Timestamp)}
	if s := newState(reply.ExecutionState); s != nil {
		done.State = *s
	}
	return done, nil
}

// minutes returns a step timeout as AWS IoT wants it.
func minutes(d time.Duration) (int64, error) {
	switch {
	case d == 0:
		return 0, nil
	case d < 0:
		return -1, nil
	case d%time.Minute != 0 || d/time.Minute > awswire.MaxTimeoutMinutes:
		return 0, fmt.Errorf("StepTimeout is %v, want whole minutes, up to %d", d, awswire.MaxTimeoutMinutes)
	}
	return int64(d / time.Minute), nil
}

// ask asks the jobs service.
func (j *Jobs) ask(ctx context.Context, op, jobID string, what awswire.Op, r *awswire.JobRequest, again bool, into any) error {
	op += fmt.Sprintf(" of %.128q", j.thing)
	if !awswire.ValidThingName(j.thing) {
		return fmt.Errorf("%s: %w: name of thing", op, fairlead.ErrInvalid)
	}
	named := what == awswire.OpUpdate || what == awswire.OpGet && r.IncludeJobDocument != nil
	if named && !awswire.ValidJobID(jobID) && (jobID != NextJob || what == awswire.OpUpdate) {
		return fmt.Errorf("%s: %w: job ID %.80q", op, fairlead.ErrInvalid, jobID)
	}
	if err := awswire.CheckStatusDetails(r.StatusDetails); err != nil {
		return fmt.Errorf("%s: %w: %w", op, fairlead.ErrInvalid, err)
	}
	r.ClientToken = newToken()
	filter := awswire.JobsPrefix(j.thing) + "/" + string(what) + "/+"
	if named { // one for all jobs, instead of one for each
		filter = awswire.JobsPrefix(j.thing) + "/+/" + string(what) + "/+"
	}
	body, refusal, err := j.c.ask(ctx, &request{
		op: op, topic: awswire.JobsTopic(j.thing, jobID, what, awswire.Request), payload: awswire.AppendPayload(nil, r), token: r.ClientToken,
		filters: []string{filter}, again: again,
	})
	if err != nil {
		return err
	}
	if refusal != nil {
		return jobRefusal(op, refusal)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w: answer: %w", op, fairlead.ErrUnavailable, err)
	}
	return nil
}

// jobRefusal makes an error of what came on a rejected topic.
func jobRefusal(op string, body []byte) error {
	var r awswire.JobRejection
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("%s: %w: refusal: %w", op, fairlead.ErrUnavailable, err)
	}
	kind := jobKinds[r.Code]
	if kind == nil {
		kind = fairlead.ErrUnavailable
	}
	return &JobError{Platform: fairlead.PlatformError{Op: op, Code: string(r.Code), Detail: r.Message, Kind: kind}, State: newState(r.ExecutionState)}
}

func newState(s *awswire.ExecutionState) *JobExecutionState {
	if s == nil {
		return nil
	}
	return &JobExecutionState{Status: JobStatus(s.Status), StatusDetails: s.StatusDetails, Version: s.VersionNumber}
}

func newExecution(e *awswire.JobExecution) *JobExecution {
	x := &JobExecution{
		JobSummary: JobSummary{
			JobID: e.JobID, QueuedAt: seconds(e.QueuedAt), StartedAt: seconds(e.StartedAt), LastUpdatedAt: seconds(e.LastUpdatedAt), Version: e.VersionNumber,
			ExecutionNumber: e.ExecutionNumber,
		},
		ThingName: e.ThingName, Status: JobStatus(e.Status), StatusDetails: e.StatusDetails, Document: present(e.JobDocument),
	}
	if s := e.ApproximateSecondsBeforeTimedOut; s != nil {
		x.TimeLeft = time.Duration(max(0, min(*s, awswire.MaxTimeoutMinutes*60))) * time.Second
	}
	return x
}

func summaries(all []awswire.JobSummary) []JobSummary {
	var list []JobSummary
	for _, s := range all {
		list = append(list, JobSummary{
			JobID: s.JobID, QueuedAt: seconds(s.QueuedAt), StartedAt: seconds(s.StartedAt), LastUpdatedAt: seconds(s.LastUpdatedAt), Version: s.VersionNumber,
			ExecutionNumber: s.ExecutionNumber,
		})
	}
	return list
}
