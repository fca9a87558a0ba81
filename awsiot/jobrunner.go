package awsiot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// What a [JobFunc] says and hears.
var (
	// ErrRejectJob is for a JobFunc to wrap: this thing will not do the job, and its execution is REJECTED instead of FAILED.
	ErrRejectJob = errors.New("job rejected")
	// ErrJobEnded means that an execution has ended without the program: it was canceled, has timed out, or was deleted.
	ErrJobEnded = fmt.Errorf("job execution has ended: %w", fairlead.ErrConflict)
)

// A JobFunc does the work of a job. When it returns nil the execution SUCCEEDED, otherwise it FAILED, or was REJECTED if the error wraps
// [ErrRejectJob]; details are added to it, and the error's text under "reason" unless they have that. ctx ends when the program ends, and
// then the execution stays in progress; and when the execution ends without the program, with the cause [ErrJobEnded].
type JobFunc func(ctx context.Context, job *Job) (details map[string]string, err error)

// A Job is an execution that a [JobFunc] works on.
type Job struct {
	JobExecution

	jobs   *Jobs
	step   time.Duration
	cancel context.CancelCauseFunc
	mu     sync.Mutex    // held while the execution is updated
	check  chan struct{} // somebody should look whether it has ended; has room for one
}

// RunOptions are the extras of [Jobs.Run].
type RunOptions struct {
	// StepTimeout is when an execution times out unless there is a [Job.Progress] before: whole minutes. 0: what the job says.
	StepTimeout time.Duration
	// OnResult is told how each execution has ended; err is why that could not be told to AWS IoT, or nil.
	OnResult func(job *Job, status JobStatus, err error)
}

// Run takes the thing's jobs in order, one at a time, lets work do each, and tells AWS IoT what came of it, until ctx ends; then it
// returns nil. It waits while there is no connection, and asks for what came meanwhile when there is one again. An execution that was in
// progress when the program or its connection ended is handed to work again: Document and StatusDetails tell how far it was. [Client.Run]
// must run. Other errors are refusals that trying again does not mend, such as that of a policy.
func (j *Jobs) Run(ctx context.Context, work JobFunc, opts *RunOptions) error {
	r := &jobRunner{jobs: j, work: work, wake: make(chan struct{}, 1)}
	if opts != nil {
		r.RunOptions = *opts
	}
	if _, err := minutes(r.StepTimeout); err != nil || work == nil || r.StepTimeout < 0 {
		return fmt.Errorf("run jobs of %.128q: %w: StepTimeout %v, or there is no function", j.thing, fairlead.ErrInvalid, r.StepTimeout)
	}
	defer j.c.onReady(r.nudge)()
	stopNext, err := j.OnNotifyNext(ctx, func(*JobExecution) { r.nudge() })
	if err == nil {
		defer stopNext()
		var stop func()
		if stop, err = j.OnNotify(ctx, r.notified); err == nil {
			defer stop()
			err = r.loop(ctx)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("run jobs of %.128q: %w", j.thing, err)
}

type jobRunner struct {
	RunOptions
	jobs *Jobs
	work JobFunc
	wake chan struct{} // there may be a job; has room for one

	mu      sync.Mutex
	current *Job // nil: none
}

// nudge lets the loop look again.
func (r *jobRunner) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// notified looks whether the present job is still pending.
func (r *jobRunner) notified(p *PendingJobs) {
	r.mu.Lock()
	job := r.current
	r.mu.Unlock()
	if job == nil || len(p.InProgress)+len(p.Queued) >= awswire.MaxNotifiedJobs { // there may be more
		return
	}
	same := func(s JobSummary) bool { return s.JobID == job.JobID && s.ExecutionNumber == job.ExecutionNumber }
	if slices.ContainsFunc(p.InProgress, same) {
		return
	}
	select {
	case job.check <- struct{}{}:
	default:
	}
}

// Waits after failures that may pass.
const (
	minJobRetry = time.Second
	maxJobRetry = time.Minute
)

func (r *jobRunner) loop(ctx context.Context) error {
	retry := minJobRetry
	for {
		x, err := r.jobs.StartNext(ctx, &StartNextOptions{StepTimeout: r.StepTimeout})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			retry = minJobRetry
			if err := r.execute(ctx, x); err != nil {
				return err
			}
		case errors.Is(err, ErrNoJob):
			retry = minJobRetry
			select {
			case <-r.wake:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case !passes(err):
			return err
		default:
			r.jobs.c.log.Warn("next job not started, will try again", "err", err, "retry", retry)
			if err := pause(ctx, retry); err != nil {
				return err
			}
			retry = min(2*retry, maxJobRetry)
		}
	}
}

// passes tells whether the same request may fare better later.
func passes(err error) bool {
	return errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, fairlead.ErrThrottled) || errors.Is(err, fairlead.ErrClosed)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// execute does one job, and tells what came of it.
func (r *jobRunner) execute(ctx context.Context, x *JobExecution) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	job := &Job{JobExecution: *x, jobs: r.jobs, step: r.StepTimeout, cancel: cancel, check: make(chan struct{}, 1)}
	r.mu.Lock()
	r.current = job
	r.mu.Unlock()
	watching, unwatch := context.WithCancel(work)
	var watcher sync.WaitGroup
	watcher.Go(func() { job.watch(watching) })
	details, err := r.work(work, job)
	unwatch()
	watcher.Wait()
	r.mu.Lock()
	r.current = nil
	r.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx) // it stays in progress, and is taken up again
	}
	status := JobSucceeded
	switch {
	case errors.Is(context.Cause(work), ErrJobEnded):
		r.tell(job, job.Status, ErrJobEnded)
		return nil
	case errors.Is(err, ErrRejectJob):
		status = JobRejected
	case err != nil:
		status = JobFailed
	}
	err = job.update(ctx, status, withReason(details, err))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.tell(job, status, err)
	if err == nil || errors.Is(err, ErrJobEnded) {
		return nil
	}
	return err // it would be the next job for ever
}

func (r *jobRunner) tell(job *Job, status JobStatus, err error) {
	r.jobs.c.log.Info("job done", "job", job.JobID, "status", status, "err", err)
	if r.OnResult != nil {
		r.OnResult(job, status, err)
	}
}

// withReason adds the text of an error.
func withReason(details map[string]string, err error) map[string]string {
	const key = "reason"
	if err == nil || details[key] != "" || len(details) >= awswire.MaxStatusDetails {
		return details
	}
	details = maps.Clone(details)
	if details == nil {
		details = map[string]string{}
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), "?"))
	if runes := []rune(text); len(runes) > awswire.MaxDetailValue {
		text = string(runes[:awswire.MaxDetailValue])
	}
	if text != "" {
		details[key] = text
	}
	return details
}

// watch ends the work when the execution has ended without it.
func (j *Job) watch(ctx context.Context) {
	for {
		select {
		case <-j.check:
		case <-ctx.Done():
			return
		}
		x, err := j.jobs.Describe(ctx, j.JobID, &DescribeOptions{ExecutionNumber: j.ExecutionNumber, NoDocument: true})
		var refusal *JobError
		if err == nil && x.Status.Terminal() || errors.As(err, &refusal) && (errors.Is(err, fairlead.ErrNotFound) || errors.Is(err, fairlead.ErrConflict)) {
			j.cancel(ErrJobEnded)
			return
		}
	}
}

// Progress tells AWS IoT how far the work is: details replace those of the execution, at most ten. It starts the step timeout anew, if
// there is one. It waits for the answer, and while there is no connection for one, until ctx ends. The error wraps [ErrJobEnded] if the
// execution has ended; then the context of the [JobFunc] ends, too.
func (j *Job) Progress(ctx context.Context, details map[string]string) error {
	return j.update(ctx, JobInProgress, details)
}

// update tells AWS IoT, again and again until it has answered.
func (j *Job) update(ctx context.Context, status JobStatus, details map[string]string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	unsure, retry := false, minJobRetry
	for {
		u := JobUpdate{Status: status, StatusDetails: details, ExpectedVersion: j.Version, ExecutionNumber: j.ExecutionNumber}
		if status == JobInProgress {
			u.StepTimeout = j.step
		}
		done, err := j.jobs.Update(ctx, j.JobID, u)
		if err == nil {
			j.Status, j.Version = status, max(done.State.Version, j.Version+1)
			return nil
		}
		var refusal *JobError
		switch {
		case errors.As(err, &refusal) && refusal.State != nil && unsure && refusal.State.Status == status && (status.Terminal() || refusal.State.Version == j.Version+1):
			j.Status, j.Version = status, refusal.State.Version // the answer to an earlier attempt was lost
			return nil
		case errors.As(err, &refusal) && refusal.State != nil && !refusal.State.Status.Terminal() && refusal.State.Version != j.Version:
			j.Version = refusal.State.Version // somebody else has written details
			continue
		case errors.As(err, &refusal) && (errors.Is(err, fairlead.ErrConflict) || errors.Is(err, fairlead.ErrNotFound)):
			if refusal.State != nil {
				j.Status = refusal.State.Status
			}
			j.cancel(ErrJobEnded)
			return fmt.Errorf("%w: %w", ErrJobEnded, err)
		case ctx.Err() != nil || !passes(err):
			return err
		}
		unsure = true
		if err := pause(ctx, retry); err != nil {
			return err
		}
		retry = min(2*retry, maxJobRetry)
	}
}
