package awsiot

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// A jobConfig is what CreateJob, UpdateJob and CreateJobTemplate have in common (service model iot). Parts that are kept as they
// came are raw.
type jobConfig struct {
	Description         string            `json:"description"`
	PresignedURLConfig  json.RawMessage   `json:"presignedUrlConfig"`
	Rollout             json.RawMessage   `json:"jobExecutionsRolloutConfig"`
	Abort               json.RawMessage   `json:"abortConfig"`
	Timeout             json.RawMessage   `json:"timeoutConfig"`
	Retry               json.RawMessage   `json:"jobExecutionsRetryConfig"`
	DestinationPackages []string          `json:"destinationPackageVersions"`
	MaintenanceWindows  []json.RawMessage `json:"maintenanceWindows"` // of templates
}

// apply puts what is there into a note and a spec; the rest stays as it is.
func (c *jobConfig) apply(n *jobNote, s *job.Spec) error {
	if len(c.Description) > 2028 {
		return refuse(invalidRequest, "description is longer than 2028 characters")
	}
	if c.Description != "" {
		n.Description = c.Description
	}
	if c.DestinationPackages != nil {
		n.DestinationPackages = c.DestinationPackages
	}
	if given(c.PresignedURLConfig) {
		var x struct{ ExpiresInSec *int64 }
		if err := part("presignedUrlConfig", c.PresignedURLConfig, &x); err != nil {
			return err
		}
		if x.ExpiresInSec != nil && (*x.ExpiresInSec < 60 || *x.ExpiresInSec > 3600) {
			return refuse(invalidRequest, "expiresInSec must be between 60 and 3600")
		}
		n.PresignedURLConfig = c.PresignedURLConfig
	}
	for _, f := range []func(*jobNote, *job.Spec) error{c.applyRollout, c.applyAbort, c.applyTimeout, c.applyRetry} {
		if err := f(n, s); err != nil {
			return err
		}
	}
	return nil
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// part reads a part of a request.
func part(name string, raw json.RawMessage, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return refuse(invalidRequest, "%s is malformed", name)
	}
	return nil
}

func (c *jobConfig) applyRollout(n *jobNote, s *job.Spec) error {
	if !given(c.Rollout) {
		return nil
	}
	var x struct {
		MaximumPerMinute *int
		ExponentialRate  *struct {
			BaseRatePerMinute    int
			IncrementFactor      float64
			RateIncreaseCriteria struct{ NumberOfNotifiedThings, NumberOfSucceededThings int }
		}
	}
	if err := part("jobExecutionsRolloutConfig", c.Rollout, &x); err != nil {
		return err
	}
	r := job.Rollout{}
	if x.MaximumPerMinute != nil {
		if *x.MaximumPerMinute < 1 || *x.MaximumPerMinute > 1000 {
			return refuse(invalidRequest, "maximumPerMinute must be between 1 and 1000")
		}
		r.PerMinute = *x.MaximumPerMinute
	}
	if e := x.ExponentialRate; e != nil {
		criteria := e.RateIncreaseCriteria
		switch {
		case e.BaseRatePerMinute < 1 || e.BaseRatePerMinute > 1000:
			return refuse(invalidRequest, "baseRatePerMinute must be between 1 and 1000")
		case e.IncrementFactor < 1.1 || e.IncrementFactor > 5:
			return refuse(invalidRequest, "incrementFactor must be between 1.1 and 5")
		case (criteria.NumberOfNotifiedThings > 0) == (criteria.NumberOfSucceededThings > 0):
			return refuse(invalidRequest, "rateIncreaseCriteria must have one criterion")
		}
		r.Base, r.Factor = e.BaseRatePerMinute, e.IncrementFactor
		r.Notified, r.Succeeded = criteria.NumberOfNotifiedThings, criteria.NumberOfSucceededThings
		if r.PerMinute == 0 {
			r.PerMinute = 1000
		}
	}
	n.Rollout, s.Rollout = c.Rollout, r
	return nil
}

// failureStates are the states that a criterion can be about; ALL is those that are bad.
var failureStates = map[string]job.State{"FAILED": job.Failed, "REJECTED": job.Rejected, "TIMED_OUT": job.TimedOut, "ALL": ""}

func (c *jobConfig) applyAbort(n *jobNote, s *job.Spec) error {
	if !given(c.Abort) {
		return nil
	}
	var x struct {
		CriteriaList []struct {
			FailureType, Action       string
			ThresholdPercentage       float64
			MinNumberOfExecutedThings int
		}
	}
	if err := part("abortConfig", c.Abort, &x); err != nil {
		return err
	}
	var list []job.Abort
	for _, a := range x.CriteriaList {
		state, ok := failureStates[a.FailureType]
		if !ok || a.Action != "CANCEL" || a.ThresholdPercentage <= 0 || a.ThresholdPercentage > 100 || a.MinNumberOfExecutedThings < 1 {
			return refuse(invalidRequest, "abortConfig has an invalid criterion")
		}
		list = append(list, job.Abort{State: state, Percent: a.ThresholdPercentage, Least: a.MinNumberOfExecutedThings})
	}
	if len(list) == 0 {
		return refuse(invalidRequest, "abortConfig must have criteria")
	}
	n.Abort, s.Aborts = c.Abort, list
	return nil
}

func (c *jobConfig) applyTimeout(n *jobNote, s *job.Spec) error {
	if !given(c.Timeout) {
		return nil
	}
	var x struct{ InProgressTimeoutInMinutes *int64 }
	if err := part("timeoutConfig", c.Timeout, &x); err != nil {
		return err
	}
	minutes := int64(0)
	if x.InProgressTimeoutInMinutes != nil {
		if minutes = *x.InProgressTimeoutInMinutes; minutes < 1 || minutes > awswire.MaxTimeoutMinutes {
			return refuse(invalidRequest, "inProgressTimeoutInMinutes must be between 1 and %d", awswire.MaxTimeoutMinutes)
		}
	}
	n.Timeout, s.Timeout = c.Timeout, time.Duration(minutes)*time.Minute
	return nil
}

func (c *jobConfig) applyRetry(n *jobNote, s *job.Spec) error {
	if !given(c.Retry) {
		return nil
	}
	var x struct {
		CriteriaList []struct {
			FailureType     string
			NumberOfRetries int
		}
	}
	if err := part("jobExecutionsRetryConfig", c.Retry, &x); err != nil {
		return err
	}
	var list []job.Retry
	total := 0
	for _, r := range x.CriteriaList {
		state, ok := failureStates[r.FailureType]
		if total += r.NumberOfRetries; !ok || state == job.Rejected || r.NumberOfRetries < 0 || total > 10 {
			return refuse(invalidRequest, "jobExecutionsRetryConfig has an invalid criterion")
		}
		list = append(list, job.Retry{State: state, Most: r.NumberOfRetries})
	}
	if len(list) == 0 {
		return refuse(invalidRequest, "jobExecutionsRetryConfig must have criteria")
	}
	n.Retry, s.Retries = c.Retry, list
	return nil
}

// schedule reads a schedulingConfig.
func schedule(raw json.RawMessage, n *jobNote, s *job.Spec, now time.Time) error {
	if !given(raw) {
		return nil
	}
	var x struct {
		StartTime, EndTime, EndBehavior string
		MaintenanceWindows              []json.RawMessage
	}
	if err := part("schedulingConfig", raw, &x); err != nil {
		return err
	}
	var err error
	if s.Windows, err = jobWindows(x.MaintenanceWindows, now); err != nil {
		return err
	}
	if s.Start, err = scheduleTime(x.StartTime); err != nil {
		return err
	}
	if s.End, err = scheduleTime(x.EndTime); err != nil {
		return err
	}
	switch s.AtEnd = job.EndAction(strings.ToLower(x.EndBehavior)); {
	case x.EndBehavior != "" && s.AtEnd != job.EndRollout && s.AtEnd != job.EndCancel && s.AtEnd != job.EndForce:
		return refuse(invalidRequest, "endBehavior %.32q is unknown", x.EndBehavior)
	case s.End.IsZero() != (x.EndBehavior == ""):
		return refuse(invalidRequest, "endTime and endBehavior belong together")
	}
	if err := checkSchedule(s.Start, s.End, now); err != nil {
		return err
	}
	n.Scheduling = raw
	return nil
}

// minSchedule is how long it takes at least until a job starts or ends that has a time for it, and from its start to its end
// (API reference, SchedulingConfig, read 2026-11; so are the years below).
const minSchedule = 30 * time.Minute

// checkSchedule checks the times of a schedule; a zero one is not given. They are in minutes, and so is what is compared.
func checkSchedule(start, end, now time.Time) error {
	soonest := now.Truncate(time.Minute).Add(minSchedule)
	switch {
	case !start.IsZero() && (start.Before(soonest) || start.After(now.AddDate(1, 0, 0))):
		return refuse(invalidRequest, "startTime must be at least 30 minutes, and at most a year, from now. A job without one starts at once")
	case end.IsZero():
	case end.Before(soonest) || end.After(now.AddDate(2, 0, 0)):
		return refuse(invalidRequest, "endTime must be at least 30 minutes, and at most two years, from now")
	case !start.IsZero() && end.Before(start.Add(minSchedule)):
		return refuse(invalidRequest, "endTime must be at least 30 minutes after startTime")
	}
	return nil
}

// scheduleTime reads a time of a schedule, which the documentation has in several forms.
func scheduleTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, refuse(invalidRequest, "%.64q is no time", s)
}

// presignedURL is what begins the placeholders that the platform replaces by URLs that open an object of S3 for a while.
const presignedURL = "${aws:iot:s3-presigned-url"

// setDocument checks and sets what is to be done. What only the platform could make work, since it takes access to S3, is
// refused: devices would wait in vain for a document, or be given one that they can do nothing with.
func setDocument(document, source string, s *job.Spec) error {
	switch {
	case document == "" && source != "":
		return refuse(invalidRequest, "documentSource is not supported by this hub, which reads nothing from S3. "+
			"Give the job document itself, in document (AWS CLI: --document file://job.json)")
	case (document == "") == (source == ""):
		return refuse(invalidRequest, "Exactly one of document and documentSource must be given")
	case len(document) > awswire.MaxJobDocumentBytes:
		return refuse(invalidRequest, "Job document is longer than %d characters", awswire.MaxJobDocumentBytes)
	}
	if _, err := awswire.ParseJSON([]byte(document)); err != nil {
		return refuse(invalidRequest, "Job document is not valid JSON")
	}
	if strings.Contains(document, presignedURL) {
		return refuse(invalidRequest, "The job document has a placeholder for a presigned URL of S3, which this hub cannot make. "+
			"Write a URL there that devices can open")
	}
	s.Document = awswire.AppendText(nil, document)
	return nil
}

// into puts the note into the spec.
func (n *jobNote) into(s *job.Spec) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("note of job %s: %v", s.ID, err)
	}
	s.Note = raw
	return nil
}
