package awsiot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// keyJobTemplate is where job templates are kept, by id; it is the kind of the resource in ARNs too.
const keyJobTemplate = "jobtemplate/"

// A jobTemplate is what jobs can be made of. Its JSON is the record and, with its ARN, the answer to DescribeJobTemplate.
type jobTemplate struct {
	Arn                 string            `json:"jobTemplateArn,omitempty"`
	ID                  string            `json:"jobTemplateId"`
	Description         string            `json:"description"`
	Document            string            `json:"document,omitempty"`
	CreatedAt           float64           `json:"createdAt"`
	PresignedURLConfig  json.RawMessage   `json:"presignedUrlConfig,omitempty"`
	Rollout             json.RawMessage   `json:"jobExecutionsRolloutConfig,omitempty"`
	Abort               json.RawMessage   `json:"abortConfig,omitempty"`
	Timeout             json.RawMessage   `json:"timeoutConfig,omitempty"`
	Retry               json.RawMessage   `json:"jobExecutionsRetryConfig,omitempty"`
	MaintenanceWindows  []json.RawMessage `json:"maintenanceWindows,omitempty"`
	DestinationPackages []string          `json:"destinationPackageVersions,omitempty"`
}

// A createJobTemplateInput is the body of CreateJobTemplate.
type createJobTemplateInput struct {
	jobConfig
	JobArn         string `json:"jobArn"`
	Document       string `json:"document"`
	DocumentSource string `json:"documentSource"`
	Tags           []tag  `json:"tags"`
}

// A templateIdentity is the answer to CreateJobTemplate.
type templateIdentity struct {
	Arn string `json:"jobTemplateArn"`
	ID  string `json:"jobTemplateId"`
}

// createJobTemplate makes a template, of a document or of a job.
func (d *Dialect) createJobTemplate(ctx context.Context, t core.TenantID, id string, in createJobTemplateInput) (out templateIdentity, err error) {
	if !awswire.ValidJobID(id) {
		return out, refuse(invalidRequest, "Invalid job template id %.128q", id)
	}
	if err := checkTags(in.Tags); err != nil {
		return out, err
	}
	err = d.write(ctx, t, func(tx *commit.Tx) error {
		a, err := readAccount(tx, t)
		if err != nil {
			return err
		}
		if known, err := hasRecord(tx, t, keyJobTemplate+id); err != nil {
			return err
		} else if known {
			return refuse(alreadyExists, "Job template %s already exists", id)
		}
		x := jobTemplate{
			ID: id, Document: in.Document, CreatedAt: seconds(tx.Now()),
			MaintenanceWindows: in.MaintenanceWindows, DestinationPackages: in.DestinationPackages,
		}
		n, s := jobNote{}, job.Spec{}
		if in.JobArn != "" {
			if err := x.ofJob(tx, &a, in.JobArn, &n); err != nil {
				return err
			}
		}
		err = setDocument(x.Document, in.DocumentSource, &s)
		if err == nil {
			err = in.apply(&n, &s)
		}
		if err == nil {
			_, err = jobWindows(in.MaintenanceWindows, tx.Now())
		}
		if err != nil {
			return err
		}
		x.Description, x.PresignedURLConfig, x.Rollout, x.Abort, x.Timeout, x.Retry = n.Description, n.PresignedURLConfig, n.Rollout, n.Abort, n.Timeout, n.Retry
		if x.Description == "" {
			return refuse(invalidRequest, "description is required")
		}
		out = templateIdentity{Arn: a.arn(keyJobTemplate + id), ID: id}
		return errors.Join(writeRecord(tx, t, keyJobTemplate+id, x), putTags(tx, t, keyJobTemplate+id, in.Tags))
	})
	return out, err
}

// ofJob takes document and configuration of a job.
func (x *jobTemplate) ofJob(rd job.Reader, a *account, arn string, n *jobNote) error {
	target, ok := a.resource(arn)
	id, isJob := strings.CutPrefix(target, keyJob)
	j, err := job.Read(rd, a.Tenant, Name).Job(id)
	if !ok || !isJob || errors.Is(err, core.ErrNotFound) {
		return refuse(notFound, "Job %.256q does not exist", arn)
	} else if err != nil {
		return err
	}
	if *n, err = noteOf(&j.Spec); err != nil {
		return err
	}
	text, err := documentText(&j.Spec)
	x.Document = cmp.Or(x.Document, text)
	return err
}

// fromTemplate fills what a request to make a job leaves out from its template, if it names one.
func (in *createJobInput) fromTemplate(rd store.RecordReader, a *account) error {
	if in.JobTemplateArn == "" {
		return nil
	}
	target, ok := a.resource(in.JobTemplateArn)
	id, isTemplate := strings.CutPrefix(target, keyJobTemplate)
	var x jobTemplate
	err := readRecord(rd, a.Tenant, keyJobTemplate+id, &x)
	if !ok || !isTemplate || errors.Is(err, core.ErrNotFound) {
		return refuse(notFound, "Job template %.256q does not exist", in.JobTemplateArn)
	} else if err != nil {
		return err
	}
	if in.Document == "" && in.DocumentSource == "" {
		in.Document = x.Document
	}
	in.Description = cmp.Or(in.Description, x.Description)
	for _, f := range []struct{ to, from *json.RawMessage }{
		{&in.PresignedURLConfig, &x.PresignedURLConfig},
		{&in.Rollout, &x.Rollout},
		{&in.Abort, &x.Abort},
		{&in.Timeout, &x.Timeout},
		{&in.Retry, &x.Retry},
	} {
		if !given(*f.to) {
			*f.to = *f.from
		}
	}
	if in.DestinationPackages == nil {
		in.DestinationPackages = x.DestinationPackages
	}
	return in.addWindows(x.MaintenanceWindows)
}

// addWindows puts the maintenance windows of a template into the schedule of a job that has none of its own.
func (in *createJobInput) addWindows(windows []json.RawMessage) error {
	if len(windows) == 0 {
		return nil
	}
	schedule := map[string]any{}
	if given(in.Scheduling) {
		if err := part("schedulingConfig", in.Scheduling, &schedule); err != nil {
			return err
		}
	}
	if schedule["maintenanceWindows"] != nil {
		return nil
	}
	schedule["maintenanceWindows"] = windows
	var err error
	in.Scheduling, err = json.Marshal(schedule)
	return err
}

// describeJobTemplate describes a template.
func (d *Dialect) describeJobTemplate(ctx context.Context, t core.TenantID, id string) (x jobTemplate, err error) {
	err = d.view(ctx, func(rd store.Reader) error {
		a, err := readAccount(rd, t)
		if err != nil {
			return err
		}
		x.Arn = a.arn(keyJobTemplate + id)
		return readRecord(rd, t, keyJobTemplate+id, &x)
	})
	return x, jobsError(err, "Job template "+id)
}

// deleteJobTemplate deletes a template.
func (d *Dialect) deleteJobTemplate(ctx context.Context, t core.TenantID, id string) error {
	err := d.write(ctx, t, func(tx *commit.Tx) error {
		if known, err := hasRecord(tx, t, keyJobTemplate+id); err != nil || !known {
			return cmp.Or(err, core.ErrNotFound)
		}
		return errors.Join(tx.DeleteRecord(t, Name, keyJobTemplate+id), putTags(tx, t, keyJobTemplate+id, nil))
	})
	return jobsError(err, "Job template "+id)
}

// A templateListed is a template in the answer to ListJobTemplates.
type templateListed struct {
	Arn         string  `json:"jobTemplateArn"`
	ID          string  `json:"jobTemplateId"`
	Description string  `json:"description"`
	CreatedAt   float64 `json:"createdAt"`
}

// A listJobTemplatesOutput is the answer to ListJobTemplates.
type listJobTemplatesOutput struct {
	Templates []templateListed `json:"jobTemplates"`
	NextToken string           `json:"nextToken,omitempty"`
}

// listJobTemplates lists templates by id.
func (d *Dialect) listJobTemplates(ctx context.Context, t core.TenantID, p jobPage) (out listJobTemplatesOutput, err error) {
	after, err := p.open()
	if err != nil {
		return out, err
	}
	out.Templates = []templateListed{}
	err = d.view(ctx, func(rd store.Reader) error {
		a, err := readAccount(rd, t)
		if err != nil {
			return err
		}
		read := func(after string, limit int) ([]jobTemplate, bool, error) {
			return records[jobTemplate](rd, t, keyJobTemplate, after, limit)
		}
		out.NextToken, err = fill(p, after, read, func(x *jobTemplate) string { return x.ID }, func(x *jobTemplate) bool {
			out.Templates = append(out.Templates, templateListed{a.arn(keyJobTemplate + x.ID), x.ID, x.Description, x.CreatedAt})
			return true
		})
		return err
	})
	return out, err
}
