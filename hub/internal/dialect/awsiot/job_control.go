package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// The operations of the control plane on jobs (API reference, service iot). Inputs are the bodies of requests, outputs those of
// answers; errors are in the platform's words.

// A createJobInput is the body of CreateJob.
type createJobInput struct {
	jobConfig
	Targets            []string          `json:"targets"`
	Document           string            `json:"document"`
	DocumentSource     string            `json:"documentSource"`
	TargetSelection    string            `json:"targetSelection"`
	Scheduling         json.RawMessage   `json:"schedulingConfig"`
	NamespaceID        string            `json:"namespaceId"`
	JobTemplateArn     string            `json:"jobTemplateArn"`
	DocumentParameters map[string]string `json:"documentParameters"`
	Tags               []tag             `json:"tags"`
}

// A jobIdentity is the answer to several operations.
type jobIdentity struct {
	JobArn      string `json:"jobArn"`
	JobID       string `json:"jobId"`
	Description string `json:"description,omitempty"`
}

// createJob makes a job, and gives it to the things that its targets mean.
func (d *Dialect) createJob(ctx context.Context, t core.TenantID, id string, in createJobInput) (out jobIdentity, err error) {
	if !awswire.ValidJobID(id) {
		return out, refuse(invalidRequest, "Invalid job id %.128q", id)
	}
	if len(in.DocumentParameters) > 0 {
		return out, refuse(invalidRequest, "documentParameters are for jobs of managed templates, of which this hub has none")
	}
	if err := checkTags(in.Tags); err != nil {
		return out, err
	}
	err = d.changeJobs(ctx, t, "Job "+id, func(tx *commit.Tx, a *account, x *job.Session) error {
		s := job.Spec{ID: id}
		n := jobNote{NamespaceID: in.NamespaceID, TemplateArn: in.JobTemplateArn}
		in := in
		if err := in.fromTemplate(tx, a); err != nil {
			return err
		}
		switch in.TargetSelection {
		case "", "SNAPSHOT":
		case "CONTINUOUS":
			s.Continuous = true
		default:
			return refuse(invalidRequest, "targetSelection %.32q is unknown", in.TargetSelection)
		}
		err := setDocument(in.Document, in.DocumentSource, &s)
		if err == nil {
			err = in.apply(&n, &s)
		}
		if err == nil {
			err = schedule(in.Scheduling, &n, &s, tx.Now())
		}
		if err == nil {
			err = n.into(&s)
		}
		if err != nil {
			return err
		}
		targets, things, err := resolveTargets(tx, a, in.Targets)
		if err != nil {
			return err
		}
		if _, err = x.Create(s, targets, things); errors.Is(err, job.ErrExists) {
			e := refuse(alreadyExists, "Job %s already exists", id)
			e.extra = map[string]string{"resourceId": id, "resourceArn": a.arn(keyJob + id)}
			return e
		} else if err == nil {
			err = putTags(tx, t, keyJob+id, in.Tags)
		}
		out = jobIdentity{JobArn: a.arn(keyJob + id), JobID: id, Description: n.Description}
		return err
	})
	return out, err
}

// keyJob is the kind of the resource in ARNs.
const keyJob = "job/"

// changeJobs runs f in a transaction, and tells what it has changed. what is what the operation is about, for errors.
func (d *Dialect) changeJobs(ctx context.Context, t core.TenantID, what string, f func(tx *commit.Tx, a *account, x *job.Session) error) error {
	err := d.write(ctx, t, func(tx *commit.Tx) error {
		a, err := readAccount(tx, t)
		if err != nil {
			return err
		}
		return d.jobs.change(tx, t, func(x *job.Session) error { return f(tx, &a, x) })
	})
	return jobsError(err, what)
}

// updateJob changes the configuration of a job.
func (d *Dialect) updateJob(ctx context.Context, t core.TenantID, id string, in jobConfig) error {
	return d.changeJobs(ctx, t, "Job "+id, func(_ *commit.Tx, _ *account, x *job.Session) error {
		j, err := x.Job(id)
		if err != nil {
			return err
		}
		n, err := noteOf(&j.Spec)
		if err == nil {
			err = in.apply(&n, &j.Spec)
		}
		if err == nil {
			err = n.into(&j.Spec)
		}
		if err != nil {
			return err
		}
		return x.Edit(id, func(s *job.Spec) {
			s.Note, s.Timeout, s.Retries, s.Aborts, s.Rollout = j.Note, j.Timeout, j.Retries, j.Aborts, j.Rollout
		})
	})
}

// cancelJob cancels a job.
func (d *Dialect) cancelJob(ctx context.Context, t core.TenantID, id string, force bool, reason, comment string) (out jobIdentity, err error) {
	if len(reason) > 128 || strings.Trim(reason, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" || len(comment) > 2028 {
		return out, refuse(invalidRequest, "reasonCode or comment is invalid")
	}
	err = d.changeJobs(ctx, t, "Job "+id, func(_ *commit.Tx, a *account, x *job.Session) error {
		j, err := x.Cancel(id, force, reason, comment)
		if errors.Is(err, job.ErrTransition) {
			return refuse(invalidRequest, "Job %s is %s and cannot be cancelled", id, strings.ToUpper(string(j.Phase)))
		} else if err != nil {
			return err
		}
		out, err = identityOf(a, &j)
		return err
	})
	return out, err
}

func identityOf(a *account, j *job.Job) (jobIdentity, error) {
	n, err := noteOf(&j.Spec)
	return jobIdentity{JobArn: a.arn(keyJob + j.ID), JobID: j.ID, Description: n.Description}, err
}

// deleteJob deletes a job with its executions.
func (d *Dialect) deleteJob(ctx context.Context, t core.TenantID, id string, force bool) error {
	return d.changeJobs(ctx, t, "Job "+id, func(_ *commit.Tx, _ *account, x *job.Session) error { return x.Delete(id, force) })
}

// associateTargetsWithJob gives a continuous job more targets.
func (d *Dialect) associateTargetsWithJob(ctx context.Context, t core.TenantID, id string, arns []string, _ string) (out jobIdentity, err error) {
	err = d.changeJobs(ctx, t, "Job "+id, func(tx *commit.Tx, a *account, x *job.Session) error {
		if _, err := x.Job(id); err != nil {
			return err
		}
		targets, things, err := resolveTargets(tx, a, arns)
		if err != nil {
			return err
		}
		j, err := x.Associate(id, targets, things)
		if errors.Is(err, job.ErrTransition) {
			return refuse(invalidRequest, "Job %s is not continuous, or has ended", id)
		} else if err != nil {
			return err
		}
		out, err = identityOf(a, &j)
		return err
	})
	return out, err
}

// cancelJobExecution cancels a job on a thing. expected is the version that it must have, 0: any; details nil stay.
func (d *Dialect) cancelJobExecution(ctx context.Context, t core.TenantID, thing, id string, force bool, expected int64, details map[string]string) error {
	if err := awswire.CheckStatusDetails(details); err != nil {
		return refuse(invalidRequest, "%s", err.Error())
	}
	return d.changeJobs(ctx, t, "Job execution of "+id+" on "+thing, func(_ *commit.Tx, _ *account, x *job.Session) error {
		return withVersion(x.CancelExecution(core.DeviceID(thing), id, force, expected, details), expected)
	})
}

// deleteJobExecution deletes an execution of a number.
func (d *Dialect) deleteJobExecution(ctx context.Context, t core.TenantID, thing, id string, number int64, force bool) error {
	return d.changeJobs(ctx, t, "Job execution of "+id+" on "+thing, func(_ *commit.Tx, _ *account, x *job.Session) error {
		return x.DeleteExecution(core.DeviceID(thing), id, number, force)
	})
}

// viewJobs runs f on a snapshot.
func (d *Dialect) viewJobs(ctx context.Context, t core.TenantID, what string, f func(rd store.Reader, a *account, b job.Book) error) error {
	err := d.view(ctx, func(rd store.Reader) error {
		a, err := readAccount(rd, t)
		if err != nil {
			return err
		}
		return f(rd, &a, job.Read(rd, t, Name))
	})
	return jobsError(err, what)
}

// seconds is a time as the control plane writes it: seconds since 1970, with a fraction.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// secondsOr is seconds, nil for no time.
func secondsOr(t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	s := seconds(t)
	return &s
}

// A jobDescription is the job in the answer to DescribeJob.
type jobDescription struct {
	JobArn              string             `json:"jobArn"`
	JobID               string             `json:"jobId"`
	TargetSelection     string             `json:"targetSelection"`
	Status              string             `json:"status"`
	ForceCanceled       bool               `json:"forceCanceled,omitempty"`
	ReasonCode          string             `json:"reasonCode,omitempty"`
	Comment             string             `json:"comment,omitempty"`
	Targets             []string           `json:"targets"`
	Description         string             `json:"description,omitempty"`
	PresignedURLConfig  json.RawMessage    `json:"presignedUrlConfig,omitempty"`
	Rollout             json.RawMessage    `json:"jobExecutionsRolloutConfig,omitempty"`
	Abort               json.RawMessage    `json:"abortConfig,omitempty"`
	CreatedAt           float64            `json:"createdAt"`
	LastUpdatedAt       float64            `json:"lastUpdatedAt"`
	CompletedAt         *float64           `json:"completedAt,omitempty"`
	ProcessDetails      map[string]any     `json:"jobProcessDetails"`
	Timeout             json.RawMessage    `json:"timeoutConfig,omitempty"`
	NamespaceID         string             `json:"namespaceId,omitempty"`
	JobTemplateArn      string             `json:"jobTemplateArn,omitempty"`
	Retry               json.RawMessage    `json:"jobExecutionsRetryConfig,omitempty"`
	IsConcurrent        bool               `json:"isConcurrent"`
	Scheduling          json.RawMessage    `json:"schedulingConfig,omitempty"`
	Rollouts            []scheduledRollout `json:"scheduledJobRollouts,omitempty"`
	DestinationPackages []string           `json:"destinationPackageVersions,omitempty"`
}

// A describeJobOutput is the answer to DescribeJob.
type describeJobOutput struct {
	Job jobDescription `json:"job"`
}

// describeJob describes a job.
func (d *Dialect) describeJob(ctx context.Context, t core.TenantID, id string) (out describeJobOutput, err error) {
	err = d.viewJobs(ctx, t, "Job "+id, func(_ store.Reader, a *account, b job.Book) error {
		j, err := b.Job(id)
		if err != nil {
			return err
		}
		n, err := noteOf(&j.Spec)
		if err != nil {
			return err
		}
		targets, err := b.Targets(id)
		out.Job = jobDescription{
			JobArn: a.arn(keyJob + id), JobID: id, TargetSelection: selectionOf(&j.Spec), Status: strings.ToUpper(string(j.Phase)),
			ForceCanceled: j.Forced, ReasonCode: j.Reason, Comment: j.Comment, Targets: targetARNs(a, targets), Description: n.Description,
			PresignedURLConfig: n.PresignedURLConfig, Rollout: n.Rollout, Abort: n.Abort, CreatedAt: seconds(j.Created),
			LastUpdatedAt: seconds(j.Changed), CompletedAt: secondsOr(j.Ended), ProcessDetails: processDetails(&j, targetARNs(a, targets)), Timeout: n.Timeout,
			NamespaceID: n.NamespaceID, JobTemplateArn: n.TemplateArn, Retry: n.Retry,
			IsConcurrent: j.Rolling(), Scheduling: n.Scheduling, Rollouts: scheduledRollouts(&j.Spec, d.cfg.Now()), DestinationPackages: n.DestinationPackages,
		}
		return err
	})
	return out, err
}

// processDetails returns how far a job is.
func processDetails(j *job.Job, targets []string) map[string]any {
	m := map[string]any{}
	for word, s := range map[string]job.State{
		"Canceled": job.Canceled, "Succeeded": job.Succeeded, "Failed": job.Failed, "Rejected": job.Rejected, "Queued": job.Queued,
		"InProgress": job.InProgress, "Removed": job.Removed, "TimedOut": job.TimedOut,
	} {
		m["numberOf"+word+"Things"] = j.Counts[s]
	}
	if j.Waiting > 0 {
		m["processingTargets"] = targets
	}
	return m
}

// getJobDocument returns what is to be done, as it was written.
func (d *Dialect) getJobDocument(ctx context.Context, t core.TenantID, id string) (text string, err error) {
	err = d.viewJobs(ctx, t, "Job "+id, func(_ store.Reader, _ *account, b job.Book) error {
		j, err := b.Job(id)
		if err == nil {
			text, err = documentText(&j.Spec)
		}
		return err
	})
	return text, err
}

// statusFilter refuses what is neither empty nor one of the states of executions.
func statusFilter(s string) error {
	if s == "" || awswire.JobStatus(s).Known() {
		return nil
	}
	return refuse(invalidRequest, "status %.32q is unknown", s)
}

// jobPhases are the states of a job.
var jobPhases = []job.Phase{job.Scheduled, job.Active, job.Completed, job.Stopped, job.Deleting}

// phaseFilter refuses what is neither empty nor one of the states of jobs.
func phaseFilter(s string) error {
	if s == "" || slices.Contains(jobPhases, job.Phase(strings.ToLower(s))) {
		return nil
	}
	return refuse(invalidRequest, "status %.32q is unknown", s)
}
