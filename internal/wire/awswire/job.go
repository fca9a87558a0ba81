package awswire

import "encoding/json"

// A JobStatus is the state of a job execution (AWS IoT Core Developer Guide, "Job execution states", read 2026-11).
type JobStatus string

// The states of a job execution. Devices set the second to fifth.
const (
	JobQueued     JobStatus = "QUEUED"
	JobInProgress JobStatus = "IN_PROGRESS"
	JobSucceeded  JobStatus = "SUCCEEDED"
	JobFailed     JobStatus = "FAILED"
	JobRejected   JobStatus = "REJECTED"
	JobTimedOut   JobStatus = "TIMED_OUT"
	JobRemoved    JobStatus = "REMOVED"
	JobCanceled   JobStatus = "CANCELED"
)

// Terminal reports whether an execution in this state has ended.
func (s JobStatus) Terminal() bool { return s != JobQueued && s != JobInProgress }

// Known reports whether it is one of the states.
func (s JobStatus) Known() bool {
	switch s {
	case JobQueued, JobInProgress, JobSucceeded, JobFailed, JobRejected, JobTimedOut, JobRemoved, JobCanceled:
		return true
	}
	return false
}

// Limits of jobs ("AWS IoT Device Management endpoints and quotas", read 2026-11).
const (
	MaxJobDocumentBytes = 32768
	MaxStatusDetails    = 10
	MaxDetailKey        = 128
	MaxDetailValue      = 1024  // characters
	MaxTimeoutMinutes   = 10080 // a week
	MaxNotifiedJobs     = 10    // executions in one notification
)

// What devices and the service say to each other about jobs. Times are in whole seconds since 1970.

// A JobRequest is the payload of every request; which fields count depends on the operation.
type JobRequest struct {
	Status                   JobStatus         `json:"status,omitempty"`
	StatusDetails            map[string]string `json:"statusDetails,omitempty"`
	ExpectedVersion          int64             `json:"expectedVersion,omitempty"`
	ExecutionNumber          int64             `json:"executionNumber,omitempty"`
	IncludeJobExecutionState bool              `json:"includeJobExecutionState,omitempty"`
	IncludeJobDocument       *bool             `json:"includeJobDocument,omitempty"` // nil: with get true, with update false
	StepTimeoutInMinutes     int64             `json:"stepTimeoutInMinutes,omitempty"`
	ClientToken              string            `json:"clientToken,omitempty"`
}

// A JobSummary tells of one pending execution.
type JobSummary struct {
	JobID           string `json:"jobId"`
	QueuedAt        int64  `json:"queuedAt"`
	StartedAt       int64  `json:"startedAt,omitempty"`
	LastUpdatedAt   int64  `json:"lastUpdatedAt"`
	VersionNumber   int64  `json:"versionNumber"`
	ExecutionNumber int64  `json:"executionNumber"`
}

// A JobExecution is one job as one thing has it.
type JobExecution struct {
	JobID         string            `json:"jobId"`
	ThingName     string            `json:"thingName"`
	Status        JobStatus         `json:"status"`
	StatusDetails map[string]string `json:"statusDetails,omitempty"`
	QueuedAt      int64             `json:"queuedAt"`
	StartedAt     int64             `json:"startedAt,omitempty"`
	LastUpdatedAt int64             `json:"lastUpdatedAt"`
	VersionNumber int64             `json:"versionNumber"`
	// ExecutionNumber tells the executions of one job on one thing apart.
	ExecutionNumber int64 `json:"executionNumber"`
	// JobDocument is any JSON over MQTT, and a text that holds it over HTTPS.
	JobDocument                      json.RawMessage `json:"jobDocument,omitempty"`
	ApproximateSecondsBeforeTimedOut *int64          `json:"approximateSecondsBeforeTimedOut,omitempty"`
}

// An ExecutionState is what an update tells of an execution, if asked.
type ExecutionState struct {
	Status        JobStatus         `json:"status"`
	StatusDetails map[string]string `json:"statusDetails,omitempty"`
	VersionNumber int64             `json:"versionNumber"`
}

// PendingJobs is the answer to [OpGet] without a job id.
type PendingJobs struct {
	InProgressJobs []JobSummary `json:"inProgressJobs"` // oldest first
	QueuedJobs     []JobSummary `json:"queuedJobs"`
	Timestamp      int64        `json:"timestamp,omitempty"` // 0 over HTTPS, which has none
	ClientToken    string       `json:"clientToken,omitempty"`
}

// A JobReply is the answer to [OpStartNext], and to [OpGet] with a job id.
type JobReply struct {
	Execution   *JobExecution `json:"execution,omitempty"` // nil: nothing is pending
	Timestamp   int64         `json:"timestamp,omitempty"`
	ClientToken string        `json:"clientToken,omitempty"`
}

// A JobUpdateReply is the answer to [OpUpdate].
type JobUpdateReply struct {
	ExecutionState *ExecutionState `json:"executionState,omitempty"` // if asked for
	JobDocument    json.RawMessage `json:"jobDocument,omitempty"`    // likewise
	Timestamp      int64           `json:"timestamp,omitempty"`
	ClientToken    string          `json:"clientToken,omitempty"`
}

// A JobsNotification is the message of [OpNotify]: pending executions by state, at most [MaxNotifiedJobs].
type JobsNotification struct {
	Timestamp int64                      `json:"timestamp"`
	Jobs      map[JobStatus][]JobSummary `json:"jobs"`
}

// A NextJobNotification is the message of [OpNotifyNext].
type NextJobNotification struct {
	Timestamp int64         `json:"timestamp"`
	Execution *JobExecution `json:"execution,omitempty"` // nil: nothing is pending
}
