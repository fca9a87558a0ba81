package awsiot

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// Pages of jobs and executions (service model iot). A page may be short, or empty, when a filter leaves out much.
const (
	maxJobPage     = 250
	maxJobsLooked  = 2000
	defaultJobPage = 250
)

// A jobPage is which page is asked for: at most Size, 0 for the default, and what the page before has told.
type jobPage struct {
	Size int
	Next string
}

// open checks a page, and returns what it begins behind.
func (p *jobPage) open() (after string, err error) {
	if p.Size == 0 {
		p.Size = defaultJobPage
	}
	place, err := base64.RawURLEncoding.DecodeString(p.Next)
	if err != nil || p.Size < 1 || p.Size > maxJobPage {
		return "", refuse(invalidRequest, "Invalid nextToken or maxResults")
	}
	return string(place), nil
}

// fill reads pages of read behind after until the page is full, and returns the token of the next one. take reports whether it
// has taken one.
func fill[T any](p jobPage, after string, read func(after string, limit int) ([]T, bool, error), key func(*T) string, take func(*T) bool) (string, error) {
	taken, looked := 0, 0
	for {
		list, more, err := read(after, maxJobPage)
		if err != nil {
			return "", err
		}
		for i := range list {
			after = key(&list[i])
			looked++
			if take(&list[i]) {
				taken++
			}
			if full := taken == p.Size || looked == maxJobsLooked; full && (more || i < len(list)-1) {
				return base64.RawURLEncoding.EncodeToString([]byte(after)), nil
			} else if full {
				return "", nil
			}
		}
		if !more {
			return "", nil
		}
	}
}

// A listJobsInput is the query of ListJobs.
type listJobsInput struct {
	jobPage
	Status, TargetSelection, ThingGroupName, ThingGroupID, NamespaceID string
}

// A jobListed is a job in the answer to ListJobs.
type jobListed struct {
	JobArn          string   `json:"jobArn"`
	JobID           string   `json:"jobId"`
	ThingGroupID    string   `json:"thingGroupId,omitempty"`
	TargetSelection string   `json:"targetSelection"`
	Status          string   `json:"status"`
	CreatedAt       float64  `json:"createdAt"`
	LastUpdatedAt   float64  `json:"lastUpdatedAt"`
	CompletedAt     *float64 `json:"completedAt,omitempty"`
	IsConcurrent    bool     `json:"isConcurrent"`
}

// A listJobsOutput is the answer to ListJobs.
type listJobsOutput struct {
	Jobs      []jobListed `json:"jobs"`
	NextToken string      `json:"nextToken,omitempty"`
}

// listJobs lists jobs by id.
func (d *Dialect) listJobs(ctx context.Context, t core.TenantID, in listJobsInput) (out listJobsOutput, err error) {
	after, err := in.open()
	if err == nil {
		err = phaseFilter(in.Status)
	}
	if err != nil {
		return out, err
	}
	out.Jobs = []jobListed{}
	err = d.viewJobs(ctx, t, "Thing group "+in.ThingGroupName, func(rd store.Reader, a *account, b job.Book) error {
		group := in.ThingGroupName
		if group != "" {
			if _, err := readThingGroup(rd, t, group); err != nil {
				return err
			}
		} else if in.ThingGroupID != "" {
			list, _, err := thingGroups(rd, t, "", 0)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(g thingGroup) bool { return g.ID == in.ThingGroupID })
			if i < 0 {
				return nil
			}
			group = list[i].Name
		}
		out.NextToken, err = fill(in.jobPage, after, b.Jobs, func(j *job.Job) string { return j.ID }, func(j *job.Job) bool {
			n, err := noteOf(&j.Spec)
			if group != "" && err == nil {
				var targets []string
				if targets, err = b.Targets(j.ID); !slices.Contains(targets, groupResource+group) {
					return false
				}
			}
			x := jobListed{
				JobArn: a.arn(keyJob + j.ID), JobID: j.ID, ThingGroupID: in.ThingGroupID, TargetSelection: selectionOf(&j.Spec),
				Status: strings.ToUpper(string(j.Phase)), CreatedAt: seconds(j.Created), LastUpdatedAt: seconds(j.Changed),
				CompletedAt: secondsOr(j.Ended), IsConcurrent: j.Rolling(),
			}
			if err != nil || in.Status != "" && in.Status != x.Status || in.TargetSelection != "" && in.TargetSelection != x.TargetSelection ||
				in.NamespaceID != "" && in.NamespaceID != n.NamespaceID {
				return false
			}
			out.Jobs = append(out.Jobs, x)
			return true
		})
		return err
	})
	return out, err
}

// An executionSummary is an execution in lists.
type executionSummary struct {
	Status          awswire.JobStatus `json:"status"`
	QueuedAt        float64           `json:"queuedAt"`
	StartedAt       *float64          `json:"startedAt,omitempty"`
	LastUpdatedAt   float64           `json:"lastUpdatedAt"`
	ExecutionNumber int64             `json:"executionNumber"`
	RetryAttempt    int               `json:"retryAttempt,omitempty"`
}

func summarize(x *job.Execution) executionSummary {
	return executionSummary{
		Status: jobState(x.State), QueuedAt: seconds(x.Queued), StartedAt: secondsOr(x.Started), LastUpdatedAt: seconds(x.Changed),
		ExecutionNumber: x.Number, RetryAttempt: x.Attempt(),
	}
}

// An executionListed is an execution of a job, or of a thing, in lists; the other name is left out.
type executionListed struct {
	ThingArn string           `json:"thingArn,omitempty"`
	JobID    string           `json:"jobId,omitempty"`
	Summary  executionSummary `json:"jobExecutionSummary"`
}

// A listExecutionsOutput is the answer to the operations that list executions.
type listExecutionsOutput struct {
	Executions []executionListed `json:"executionSummaries"`
	NextToken  string            `json:"nextToken,omitempty"`
}

// listJobExecutionsForJob lists the things of a job by name.
func (d *Dialect) listJobExecutionsForJob(ctx context.Context, t core.TenantID, id, status string, p jobPage) (out listExecutionsOutput, err error) {
	after, err := p.open()
	if err == nil {
		err = statusFilter(status)
	}
	if err != nil {
		return out, err
	}
	out.Executions = []executionListed{}
	err = d.viewJobs(ctx, t, "Job "+id, func(_ store.Reader, a *account, b job.Book) error {
		if _, err := b.Job(id); err != nil {
			return err
		}
		read := func(after string, limit int) ([]job.Execution, bool, error) {
			return b.Executions(id, core.DeviceID(after), limit)
		}
		out.NextToken, err = fill(p, after, read, func(x *job.Execution) string { return string(x.Device) }, func(x *job.Execution) bool {
			if status != "" && string(jobState(x.State)) != status {
				return false
			}
			out.Executions = append(out.Executions, executionListed{ThingArn: a.arn(keyThing + string(x.Device)), Summary: summarize(x)})
			return true
		})
		return err
	})
	return out, err
}

// listJobExecutionsForThing lists the jobs of a thing by id; of one job, if id is given, all its executions.
func (d *Dialect) listJobExecutionsForThing(ctx context.Context, t core.TenantID, thing, status, id string, p jobPage) (out listExecutionsOutput, err error) {
	after, err := p.open()
	if err == nil {
		err = statusFilter(status)
	}
	if err != nil {
		return out, err
	}
	out.Executions = []executionListed{}
	err = d.viewJobs(ctx, t, "Thing "+thing, func(rd store.Reader, _ *account, b job.Book) error {
		if _, err := readThing(rd, t, thing); err != nil {
			return err
		}
		take := func(x *job.Execution) bool {
			if status != "" && string(jobState(x.State)) != status {
				return false
			}
			out.Executions = append(out.Executions, executionListed{JobID: x.Job, Summary: summarize(x)})
			return true
		}
		if id != "" {
			return ofJobAndThing(b, id, core.DeviceID(thing), take)
		}
		read := func(after string, limit int) ([]job.Execution, bool, error) {
			return b.OfDevice(core.DeviceID(thing), after, limit)
		}
		out.NextToken, err = fill(p, after, read, func(x *job.Execution) string { return x.Job }, take)
		return err
	})
	return out, err
}

// ofJobAndThing takes all executions of a job on a thing, the newest first.
func ofJobAndThing(b job.Book, id string, d core.DeviceID, take func(*job.Execution) bool) error {
	x, err := b.Execution(id, d, 0)
	if err != nil {
		return nil // none
	}
	take(&x)
	past, err := b.Past(id, d)
	for _, x := range slices.Backward(past) {
		take(&x)
	}
	return err
}

// An executionDescription is the answer to DescribeJobExecution of the control plane, where details are nested.
type executionDescription struct {
	JobID         string            `json:"jobId"`
	Status        awswire.JobStatus `json:"status"`
	ForceCanceled bool              `json:"forceCanceled"`
	StatusDetails *detailsMap       `json:"statusDetails,omitempty"`
	ThingArn      string            `json:"thingArn"`
	QueuedAt      float64           `json:"queuedAt"`
	StartedAt     *float64          `json:"startedAt,omitempty"`
	LastUpdatedAt float64           `json:"lastUpdatedAt"`
	Number        int64             `json:"executionNumber"`
	Version       int64             `json:"versionNumber"`
	SecondsLeft   *int64            `json:"approximateSecondsBeforeTimedOut,omitempty"`
}

type detailsMap struct {
	Details map[string]string `json:"detailsMap"`
}

// describeJobExecution describes an execution to operators; number 0 is the newest.
func (d *Dialect) describeJobExecution(ctx context.Context, t core.TenantID, thing, id string, number int64) (out executionDescription, err error) {
	err = d.viewJobs(ctx, t, "Job execution of "+id+" on "+thing, func(_ store.Reader, a *account, b job.Book) error {
		x, err := b.Execution(id, core.DeviceID(thing), number)
		if err != nil {
			return err
		}
		out = executionDescription{
			JobID: id, Status: jobState(x.State), ForceCanceled: x.Forced, ThingArn: a.arn(keyThing + thing), QueuedAt: seconds(x.Queued),
			StartedAt: secondsOr(x.Started), LastUpdatedAt: seconds(x.Changed), Number: x.Number, Version: x.Version,
			SecondsLeft: secondsLeft(&x, d.cfg.Now()),
		}
		if len(x.Details) > 0 {
			out.StatusDetails = &detailsMap{x.Details}
		}
		return nil
	})
	return out, err
}
