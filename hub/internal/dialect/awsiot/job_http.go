package awsiot

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// The operations of the jobs service towards devices over HTTPS (service model iot-jobs-data). They return the body of the
// answer, which is that of MQTT without time and token; documents are texts there. What changes is told over MQTT.

// getPendingJobExecutions lists what is pending for a thing.
func (d *Dialect) getPendingJobExecutions(ctx context.Context, t core.TenantID, thing string) (body []byte, err error) {
	err = d.view(ctx, func(rd store.Reader) error {
		list, err := pendingJobs(job.Read(rd, t, Name), core.DeviceID(thing))
		body = awswire.AppendPayload(nil, list)
		return err
	})
	return body, jobsDataError(err)
}

// startNextPendingJobExecution begins the next execution of a thing. request is the body.
func (d *Dialect) startNextPendingJobExecution(ctx context.Context, t core.TenantID, thing string, request []byte) (body []byte, err error) {
	r, err := awswire.ParseJobRequest(awswire.OpStartNext, request)
	if err != nil {
		return nil, jobsDataError(err)
	}
	err = d.cfg.Committer.DoRepeatable(ctx, func(tx *commit.Tx) error {
		return d.jobs.change(tx, t, func(x *job.Session) error {
			e, err := startNext(x, newViewer(x.Book, tx.Now()), core.DeviceID(thing), r)
			body = awswire.AppendPayload(nil, awswire.JobReply{Execution: textDocument(e)})
			return err
		})
	})
	return body, jobsDataError(err)
}

// describeJobExecutionForDevice describes an execution; id may be "$next", number 0 is the newest.
func (d *Dialect) describeJobExecutionForDevice(ctx context.Context, t core.TenantID, thing, id string, document bool, number int64) (body []byte, err error) {
	r := awswire.JobRequest{IncludeJobDocument: &document, ExecutionNumber: number}
	err = d.view(ctx, func(rd store.Reader) error {
		e, err := describeForDevice(newViewer(job.Read(rd, t, Name), d.cfg.Now()), core.DeviceID(thing), id, r)
		body = awswire.AppendPayload(nil, awswire.JobReply{Execution: textDocument(e)})
		return err
	})
	return body, jobsDataError(err)
}

// updateJobExecution changes an execution. request is the body.
func (d *Dialect) updateJobExecution(ctx context.Context, t core.TenantID, thing, id string, request []byte) (body []byte, err error) {
	r, err := awswire.ParseJobRequest(awswire.OpUpdate, request)
	if err != nil {
		return nil, jobsDataError(err)
	}
	err = d.write(ctx, t, func(tx *commit.Tx) error {
		return d.jobs.change(tx, t, func(x *job.Session) error {
			reply, err := updateForDevice(x, newViewer(x.Book, tx.Now()), core.DeviceID(thing), id, r)
			reply.JobDocument = asText(reply.JobDocument)
			body = awswire.AppendPayload(nil, reply)
			return err
		})
	})
	return body, jobsDataError(err)
}

// textDocument makes the document of an execution a text.
func textDocument(e *awswire.JobExecution) *awswire.JobExecution {
	if e != nil {
		e.JobDocument = asText(e.JobDocument)
	}
	return e
}

func asText(document json.RawMessage) json.RawMessage {
	if document == nil {
		return nil
	}
	return awswire.AppendText(nil, string(document))
}

// Names of errors of the jobs service.
const (
	invalidTransition = "InvalidStateTransitionException"
	terminalState     = "TerminalStateException"
)

// jobsDataError returns an error in the words of the service over HTTPS.
func jobsDataError(err error) error {
	refusal := jobRefusal(err)
	if refusal == nil {
		return err
	}
	name := invalidRequest
	switch refusal.Code {
	case awswire.JobResourceNotFound:
		name = notFound
	case awswire.JobInvalidStateTransition, awswire.JobVersionMismatch:
		name = invalidTransition
	case awswire.JobTerminalStateReached:
		name = terminalState
	}
	return refuse(name, "%s", refusal.Message)
}

// jobsError returns an error in the words of the control plane. what is what there is not, where that is the matter.
func jobsError(err error, what string) error {
	var own *awsError
	var version *versionError
	switch {
	case err == nil || errors.As(err, &own):
		return err
	case errors.As(err, &version):
		return refuse(versionConflict, "%s", version.Error())
	case errors.Is(err, job.ErrExists):
		return refuse(alreadyExists, "%s already exists", what)
	case errors.Is(err, job.ErrTransition):
		return refuse(invalidTransition, "The state of %s does not allow this", what)
	case errors.Is(err, job.ErrDeletions):
		return refuse(limitExceeded, "Too many jobs are being deleted")
	case errors.Is(err, core.ErrNotFound):
		return refuse(notFound, "%s does not exist", what)
	}
	return err
}
