package awswire

// Events of jobs, published to those who subscribe to $aws/events/... if the account has them switched on (AWS IoT Core
// Developer Guide, "Jobs events", read 2026-11).

// A JobEvent tells that a job has ended, or is about to.
type JobEvent struct {
	EventType         string          `json:"eventType"` // "JOB"
	EventID           string          `json:"eventId"`
	Timestamp         int64           `json:"timestamp"` // seconds, where the other times are milliseconds
	Operation         string          `json:"operation"` // the last word of the topic
	JobID             string          `json:"jobId"`
	Status            string          `json:"status"`
	TargetSelection   string          `json:"targetSelection"`
	Targets           []string        `json:"targets"`
	Description       string          `json:"description,omitempty"`
	CompletedAt       int64           `json:"completedAt,omitempty"`
	CreatedAt         int64           `json:"createdAt"`
	LastUpdatedAt     int64           `json:"lastUpdatedAt"`
	Comment           string          `json:"comment,omitempty"`
	JobProcessDetails *JobEventCounts `json:"jobProcessDetails,omitempty"` // only of "completed"
}

// JobEventCounts says how a job has ended.
type JobEventCounts struct {
	Canceled  int `json:"numberOfCanceledThings"`
	Rejected  int `json:"numberOfRejectedThings"`
	Failed    int `json:"numberOfFailedThings"`
	Removed   int `json:"numberOfRemovedThings"`
	Succeeded int `json:"numberOfSucceededThings"`
	TimedOut  int `json:"numberOfTimedOutThings"`
}

// A JobExecutionEvent tells that an execution has ended.
type JobExecutionEvent struct {
	EventType     string            `json:"eventType"` // "JOB_EXECUTION"
	EventID       string            `json:"eventId"`
	Timestamp     int64             `json:"timestamp"` // seconds
	Operation     string            `json:"operation"` // the last word of the topic
	JobID         string            `json:"jobId"`
	ThingArn      string            `json:"thingArn"`
	Status        string            `json:"status"`
	StatusDetails map[string]string `json:"statusDetails,omitempty"`
}

// JobEventTopic returns the topic of a [JobEvent].
func JobEventTopic(job, operation string) string { return "$aws/events/job/" + job + "/" + operation }

// JobExecutionEventTopic returns the topic of a [JobExecutionEvent].
func JobExecutionEventTopic(job, operation string) string {
	return "$aws/events/jobExecution/" + job + "/" + operation
}
