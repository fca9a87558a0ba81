package awsiot

import (
	"errors"
	"regexp"
	"strconv"
)

// The operations of jobs are in job_control.go, job_list.go and job_template.go; here requests are read for them.

var jobOperations = []operation{
	{name: "CreateJob", method: put, path: "/jobs/{jobId}", do: (*call).createJob},
	{name: "DescribeJob", method: get, path: "/jobs/{jobId}", do: (*call).describeJob},
	{name: "UpdateJob", method: patch, path: "/jobs/{jobId}", do: (*call).updateJob},
	{name: "DeleteJob", method: remove, path: "/jobs/{jobId}", do: (*call).deleteJob},
	{name: "CancelJob", method: put, path: "/jobs/{jobId}/cancel", do: (*call).cancelJob},
	{name: "GetJobDocument", method: get, path: "/jobs/{jobId}/job-document", do: (*call).jobDocument},
	{name: "AssociateTargetsWithJob", method: post, path: "/jobs/{jobId}/targets", do: (*call).associateTargets},
	{name: "ListJobs", method: get, path: "/jobs", do: (*call).listJobs},
	{name: "ListJobExecutionsForJob", method: get, path: "/jobs/{jobId}/things", do: (*call).listExecutionsForJob},
	{name: "ListJobExecutionsForThing", method: get, path: "/things/{thingName}/jobs", do: (*call).listExecutionsForThing},
	{name: "DescribeJobExecution", method: get, path: "/things/{thingName}/jobs/{jobId}", do: (*call).describeExecution},
	{name: "CancelJobExecution", method: put, path: "/things/{thingName}/jobs/{jobId}/cancel", do: (*call).cancelExecution},
	{name: "DeleteJobExecution", method: remove, path: "/things/{thingName}/jobs/{jobId}/executionNumber/{executionNumber}", do: (*call).deleteExecution},
	{name: "CreateJobTemplate", method: put, path: "/job-templates/{jobTemplateId}", do: (*call).createJobTemplate},
	{name: "DescribeJobTemplate", method: get, path: "/job-templates/{jobTemplateId}", do: (*call).describeJobTemplate},
	{name: "DeleteJobTemplate", method: remove, path: "/job-templates/{jobTemplateId}", do: (*call).deleteJobTemplate},
	{name: "ListJobTemplates", method: get, path: "/job-templates", do: (*call).listJobTemplates},
}

var (
	jobIDConstraint         = constrain(`[a-zA-Z0-9_-]+`, 1, 64)
	reasonCodeConstraint    = constraint{regexp.MustCompile(`^[A-Z0-9_]*$`), `[\p{Upper}\p{Digit}_]+`, 0, 128}
	commentConstraint       = constraint{descriptionConstraint.pattern, `[^\p{C}]+`, 0, 2028}
	executionNumberLast     = int64(1) << 62
	errExecutionNumberLabel = refuse(invalidRequest, "Invalid executionNumber")
)

func (c *call) jobLabel() (string, error) { return c.label("jobId", jobIDConstraint) }

// jobPage reads the parameters of a page.
func (c *call) jobPage() (p jobPage, err error) {
	n, err := c.number("maxResults", 1, maxJobPage, 0)
	return jobPage{Size: int(n), Next: c.query.Get("nextToken")}, err
}

func (c *call) createJob() (any, error) {
	var in createJobInput
	id, err := c.jobLabel()
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	out, err := c.d.createJob(c.ctx(), c.tenant(), id, in)
	return out, c.named(err, id, keyJob+id)
}

// named adds the resource to the error for a name that is taken.
func (c *call) named(err error, id, resource string) error {
	var own *awsError
	if errors.As(err, &own) && own.name == alreadyExists && own.extra == nil {
		return c.exists(id, resource, "%s", own.message)
	}
	return err
}

func (c *call) describeJob() (any, error) {
	id, err := c.jobLabel()
	if err != nil {
		return nil, err
	}
	return c.d.describeJob(c.ctx(), c.tenant(), id)
}

func (c *call) updateJob() (any, error) {
	var in jobConfig
	id, err := c.jobLabel()
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	return nil, c.d.updateJob(c.ctx(), c.tenant(), id, in)
}

func (c *call) deleteJob() (any, error) {
	id, err := c.jobLabel()
	force, ferr := c.flag("force", false)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	return nil, c.d.deleteJob(c.ctx(), c.tenant(), id, force)
}

func (c *call) cancelJob() (any, error) {
	var in struct {
		ReasonCode string `json:"reasonCode"`
		Comment    string `json:"comment"`
	}
	id, err := c.jobLabel()
	force, ferr := c.flag("force", false)
	if err := errors.Join(err, ferr, c.decode(&in)); err != nil {
		return nil, err
	}
	if err := errors.Join(optional("reasonCode", in.ReasonCode, reasonCodeConstraint), optional("comment", in.Comment, commentConstraint)); err != nil {
		return nil, err
	}
	return c.d.cancelJob(c.ctx(), c.tenant(), id, force, in.ReasonCode, in.Comment)
}

func (c *call) jobDocument() (any, error) {
	id, err := c.jobLabel()
	if err != nil {
		return nil, err
	}
	text, err := c.d.getJobDocument(c.ctx(), c.tenant(), id)
	return map[string]any{"document": text}, err
}

func (c *call) associateTargets() (any, error) {
	var in struct {
		Targets []string `json:"targets"`
		Comment string   `json:"comment"`
	}
	id, err := c.jobLabel()
	if err == nil {
		err = c.decode(&in)
	}
	if err == nil && len(in.Targets) == 0 {
		err = invalidValue("[]", "targets", "Member must have length greater than or equal to 1")
	}
	if err != nil {
		return nil, err
	}
	return c.d.associateTargetsWithJob(c.ctx(), c.tenant(), id, in.Targets, in.Comment)
}

func (c *call) listJobs() (any, error) {
	p, err := c.jobPage()
	if err != nil {
		return nil, err
	}
	return c.d.listJobs(c.ctx(), c.tenant(), listJobsInput{
		jobPage: p, Status: c.query.Get("status"), TargetSelection: c.query.Get("targetSelection"),
		ThingGroupName: c.query.Get("thingGroupName"), ThingGroupID: c.query.Get("thingGroupId"), NamespaceID: c.query.Get("namespaceId"),
	})
}

func (c *call) listExecutionsForJob() (any, error) {
	id, err := c.jobLabel()
	p, perr := c.jobPage()
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	return c.d.listJobExecutionsForJob(c.ctx(), c.tenant(), id, c.query.Get("status"), p)
}

func (c *call) listExecutionsForThing() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	p, perr := c.jobPage()
	if err := errors.Join(err, perr, optional("jobId", c.query.Get("jobId"), jobIDConstraint)); err != nil {
		return nil, err
	}
	return c.d.listJobExecutionsForThing(c.ctx(), c.tenant(), name, c.query.Get("status"), c.query.Get("jobId"), p)
}

// executionLabels reads the thing and the job in the path.
func (c *call) executionLabels() (name, id string, err error) {
	name, err = c.label("thingName", nameConstraint)
	id, ierr := c.jobLabel()
	return name, id, errors.Join(err, ierr)
}

func (c *call) describeExecution() (any, error) {
	name, id, err := c.executionLabels()
	n, nerr := c.number("executionNumber", 0, executionNumberLast, 0)
	if err := errors.Join(err, nerr); err != nil {
		return nil, err
	}
	out, err := c.d.describeJobExecution(c.ctx(), c.tenant(), name, id, n)
	return map[string]any{"execution": out}, err
}

func (c *call) cancelExecution() (any, error) {
	var in struct {
		ExpectedVersion int64             `json:"expectedVersion"`
		StatusDetails   map[string]string `json:"statusDetails"`
	}
	name, id, err := c.executionLabels()
	force, ferr := c.flag("force", false)
	if err := errors.Join(err, ferr, c.decode(&in)); err != nil {
		return nil, err
	}
	return nil, c.d.cancelJobExecution(c.ctx(), c.tenant(), name, id, force, in.ExpectedVersion, in.StatusDetails)
}

func (c *call) deleteExecution() (any, error) {
	name, id, err := c.executionLabels()
	force, ferr := c.flag("force", false)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(c.labels["executionNumber"], 10, 64)
	if err != nil || n < 0 {
		return nil, errExecutionNumberLabel
	}
	return nil, c.d.deleteJobExecution(c.ctx(), c.tenant(), name, id, n, force)
}

func (c *call) createJobTemplate() (any, error) {
	var in createJobTemplateInput
	id, err := c.label("jobTemplateId", jobIDConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	out, err := c.d.createJobTemplate(c.ctx(), c.tenant(), id, in)
	return out, c.named(err, id, keyJobTemplate+id)
}

func (c *call) describeJobTemplate() (any, error) {
	id, err := c.label("jobTemplateId", jobIDConstraint)
	if err != nil {
		return nil, err
	}
	return c.d.describeJobTemplate(c.ctx(), c.tenant(), id)
}

func (c *call) deleteJobTemplate() (any, error) {
	id, err := c.label("jobTemplateId", jobIDConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.d.deleteJobTemplate(c.ctx(), c.tenant(), id)
}

func (c *call) listJobTemplates() (any, error) {
	p, err := c.jobPage()
	if err != nil {
		return nil, err
	}
	return c.d.listJobTemplates(c.ctx(), c.tenant(), p)
}
