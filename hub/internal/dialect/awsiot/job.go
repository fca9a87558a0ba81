package awsiot

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// jobs is the jobs service towards devices: package job has the rules, this has the words. A reply goes to the client that
// asked, before the notifications that the request causes go to all who subscribe to them.
type jobs struct {
	d    *Dialect
	wake chan struct{} // holds one: there may be something to be done earlier than was known
}

// opInvalid is what a topic below a thing's jobs is for that is none of the service's.
const opInvalid = "invalid"

// maxPendingJobs is how many pending executions a device is told of when it asks for all.
const maxPendingJobs = 1000

// jobState returns a state as the platform writes it, jobStateOf is its inverse.
func jobState(s job.State) awswire.JobStatus { return awswire.JobStatus(strings.ToUpper(string(s))) }

func jobStateOf(s awswire.JobStatus) job.State { return job.State(strings.ToLower(string(s))) }

// receive implements service.
func (s *jobs) receive(from *sender, r *reserved, m dialect.Publish, b *commit.Batch) error {
	req := jobRequest{
		s: s, from: from, thing: r.thing, job: r.job, op: awswire.Op(r.op),
		topic: awswire.JobsTopic(r.thing, r.job, awswire.Op(r.op), awswire.Request),
	}
	var err error
	switch {
	case r.op == opInvalid, !awswire.ValidThingName(r.thing), r.job != "" && !validJob(r.job, req.op):
		if r.op == opInvalid {
			req.topic = awswire.JobsPrefix(r.thing) + "/" + r.rest
		}
		req.refusal = &awswire.JobError{Code: awswire.JobInvalidTopic, Message: "There is no such topic"}
	default:
		req.JobRequest, err = awswire.ParseJobRequest(req.op, m.Payload)
	}
	if err != nil && !errors.As(err, &req.refusal) {
		return err
	}
	b.Hold(len(m.Payload))
	b.DoRepeatable(req.do, req.done)
	return nil
}

// validJob reports whether a topic may have the id of a job, or stand for the next one.
func validJob(id string, op awswire.Op) bool {
	return awswire.ValidJobID(id) || id == awswire.NextJob && op == awswire.OpGet
}

// A jobRequest is a request over MQTT, on its way into the transaction.
type jobRequest struct {
	awswire.JobRequest
	s          *jobs
	from       *sender
	thing, job string
	op         awswire.Op
	topic      string
	refusal    *awswire.JobError // nil: it is right as far as that could be seen before
}

// do handles the request and answers it. What is refused has changed nothing, so it is no error of the operation.
func (r *jobRequest) do(tx *commit.Tx) error {
	refusal, now := r.refusal, tx.Now().Unix()
	if refusal == nil {
		x := job.Begin(tx, r.from.tenant(), Name)
		answer, err := r.answer(x, newViewer(x.Book, tx.Now()))
		if refusal = jobRefusal(err); refusal == nil && err != nil {
			return err
		}
		if refusal == nil {
			changes, err := x.Close()
			if err != nil {
				return err
			}
			if err := r.reply(tx, awswire.Accepted, awswire.AppendPayload(nil, answer)); err != nil {
				return err
			}
			return r.s.tell(tx, r.from.tenant(), changes)
		}
	}
	return r.reply(tx, awswire.Rejected, refusal.Append(nil, now, r.ClientToken))
}

func (r *jobRequest) reply(tx *commit.Tx, kind awswire.Reply, payload []byte) error {
	return r.s.d.reply(tx, r.from, core.Message{Topic: r.topic + "/" + string(kind), Payload: payload, QoS: 1})
}

// answer does what is asked and returns the payload of the reply.
func (r *jobRequest) answer(x *job.Session, v *viewer) (any, error) {
	d, at, token := core.DeviceID(r.thing), v.now.Unix(), r.ClientToken
	switch {
	case r.op == awswire.OpGet && r.job == "":
		list, err := pendingJobs(x.Book, d)
		list.Timestamp, list.ClientToken = at, token
		return list, err
	case r.op == awswire.OpGet:
		e, err := describeForDevice(v, d, r.job, r.JobRequest)
		return awswire.JobReply{Execution: e, Timestamp: at, ClientToken: token}, err
	case r.op == awswire.OpStartNext:
		e, err := startNext(x, v, d, r.JobRequest)
		return awswire.JobReply{Execution: e, Timestamp: at, ClientToken: token}, err
	case r.op == awswire.OpUpdate:
		reply, err := updateForDevice(x, v, d, r.job, r.JobRequest)
		reply.Timestamp, reply.ClientToken = at, token
		return reply, err
	}
	return nil, fmt.Errorf("%w: operation %q", core.ErrInvalid, r.op)
}

// done learns what became of the request: an error that is not the disk's is a bug of ours.
func (r *jobRequest) done(err error) {
	if err != nil && !errors.Is(err, core.ErrStorage) && !errors.Is(err, core.ErrStopping) {
		r.s.d.log.Error("cannot handle a jobs request", "device", deviceKey(r.from.tenant(), r.thing).String(), "err", err)
	}
}

// jobRefusal returns what a device is told of a refusal, nil for an error that is none.
func jobRefusal(err error) *awswire.JobError {
	var own *awswire.JobError
	var refused *job.RefusedError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &refused):
		e := &awswire.JobError{Code: awswire.JobInvalidStateTransition, State: executionState(&refused.Execution)}
		e.Message = fmt.Sprintf("Job execution is %s, and cannot be changed like that", jobState(refused.Execution.State))
		var version *versionError
		if errors.As(err, &version) {
			e.Code = awswire.JobVersionMismatch
			e.Message = version.Error()
		}
		return e
	case errors.Is(err, core.ErrNotFound):
		return &awswire.JobError{Code: awswire.JobResourceNotFound, Message: "There is no such job execution"}
	}
	return nil
}

// A versionError is a refusal that tells both versions.
type versionError struct {
	want int64
	*job.RefusedError
}

// Error has the platform's words (observed in published tests against the service).
func (e *versionError) Error() string {
	return fmt.Sprintf("Expected version %d but found version %d", e.want, e.Execution.Version)
}

// Unwrap returns the refusal.
func (e *versionError) Unwrap() error { return e.RefusedError }

// withVersion adds the version that was expected to a refusal that is about it.
func withVersion(err error, want int64) error {
	var refused *job.RefusedError
	if errors.As(err, &refused) && errors.Is(err, job.ErrVersion) {
		return &versionError{want, refused}
	}
	return err
}

// pendingJobs returns what is pending for a thing.
func pendingJobs(b job.Book, d core.DeviceID) (awswire.PendingJobs, error) {
	p := awswire.PendingJobs{InProgressJobs: []awswire.JobSummary{}, QueuedJobs: []awswire.JobSummary{}}
	list, err := b.Pending(d, maxPendingJobs)
	for i := range list {
		if s := summaryOf(&list[i]); list[i].State == job.InProgress {
			p.InProgressJobs = append(p.InProgressJobs, s)
		} else {
			p.QueuedJobs = append(p.QueuedJobs, s)
		}
	}
	return p, err
}

// startNext begins the next execution; nil: nothing is pending.
func startNext(x *job.Session, v *viewer, d core.DeviceID, r awswire.JobRequest) (*awswire.JobExecution, error) {
	e, err := x.StartNext(d, r.StatusDetails, time.Duration(r.StepTimeoutInMinutes)*time.Minute)
	if errors.Is(err, core.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return v.execution(&e, true)
}

// describeForDevice returns an execution; nil: the next one is asked for and nothing is pending. One that has ended is not
// described to devices (AWS IoT Core Developer Guide, "Jobs device MQTT and HTTPS APIs", TerminalStateReached).
func describeForDevice(v *viewer, d core.DeviceID, id string, r awswire.JobRequest) (*awswire.JobExecution, error) {
	var e job.Execution
	var err error
	if id == awswire.NextJob {
		if e, err = v.Next(d); errors.Is(err, core.ErrNotFound) {
			return nil, nil
		}
	} else {
		e, err = v.Execution(id, d, r.ExecutionNumber)
	}
	if err != nil {
		return nil, err
	}
	if e.State.Ended() {
		return nil, &awswire.JobError{Code: awswire.JobTerminalStateReached, Message: "Job execution has reached a terminal state"}
	}
	return v.execution(&e, r.IncludeJobDocument == nil || *r.IncludeJobDocument)
}

func updateForDevice(x *job.Session, v *viewer, d core.DeviceID, id string, r awswire.JobRequest) (reply awswire.JobUpdateReply, err error) {
	e, err := x.Update(d, id, job.Update{
		State: jobStateOf(r.Status), Details: r.StatusDetails, Expected: r.ExpectedVersion, Number: r.ExecutionNumber,
		Step: time.Duration(r.StepTimeoutInMinutes) * time.Minute,
	})
	if err != nil {
		return reply, withVersion(err, r.ExpectedVersion)
	}
	if r.IncludeJobExecutionState {
		reply.ExecutionState = executionState(&e)
	}
	if r.IncludeJobDocument != nil && *r.IncludeJobDocument {
		reply.JobDocument, err = v.document(id)
	}
	return reply, err
}

// executionState returns what an update tells of an execution.
func executionState(e *job.Execution) *awswire.ExecutionState {
	return &awswire.ExecutionState{Status: jobState(e.State), StatusDetails: e.Details, VersionNumber: e.Version}
}

func summaryOf(e *job.Execution) awswire.JobSummary {
	return awswire.JobSummary{
		JobID: e.Job, QueuedAt: e.Queued.Unix(), StartedAt: secondsOf(e.Started), LastUpdatedAt: e.Changed.Unix(),
		VersionNumber: e.Version, ExecutionNumber: e.Number,
	}
}

// secondsOf returns a time in seconds since 1970, 0 for none.
func secondsOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// A viewer reads jobs for devices, each document once.
type viewer struct {
	job.Book
	now       time.Time
	documents map[string]json.RawMessage
}

func newViewer(b job.Book, now time.Time) *viewer {
	return &viewer{Book: b, now: now, documents: map[string]json.RawMessage{}}
}

// execution returns an execution as devices see it.
func (v *viewer) execution(e *job.Execution, document bool) (*awswire.JobExecution, error) {
	x := &awswire.JobExecution{
		JobID: e.Job, ThingName: string(e.Device), Status: jobState(e.State), StatusDetails: e.Details,
		QueuedAt: e.Queued.Unix(), StartedAt: secondsOf(e.Started), LastUpdatedAt: e.Changed.Unix(),
		VersionNumber: e.Version, ExecutionNumber: e.Number, ApproximateSecondsBeforeTimedOut: secondsLeft(e, v.now),
	}
	if !document {
		return x, nil
	}
	var err error
	x.JobDocument, err = v.document(e.Job)
	return x, err
}

// document returns what is to be done, as JSON; nil if the job has no document.
func (v *viewer) document(id string) (json.RawMessage, error) {
	if text, ok := v.documents[id]; ok {
		return text, nil
	}
	j, err := v.Job(id)
	if err != nil {
		return nil, err
	}
	text, err := documentText(&j.Spec)
	if err != nil {
		return nil, err
	}
	v.documents[id] = nil
	if text != "" {
		v.documents[id] = json.RawMessage(text)
	}
	return v.documents[id], nil
}

// secondsLeft returns when an execution times out; nil: never.
func secondsLeft(e *job.Execution, now time.Time) *int64 {
	due := e.Due()
	if due.IsZero() || e.State.Ended() {
		return nil
	}
	left := max(0, int64(due.Sub(now)/time.Second))
	return &left
}

// documentText returns a job's document as it was written: it is stored as a text, so that it stays so.
func documentText(s *job.Spec) (text string, err error) {
	if len(s.Document) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(s.Document, &text); err != nil {
		return "", fmt.Errorf("document of job %s: %w: %v", s.ID, core.ErrStorage, err)
	}
	return text, nil
}
