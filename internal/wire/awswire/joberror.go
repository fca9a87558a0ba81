package awswire

import "encoding/json"

// A JobCode names a refusal of the jobs service over MQTT (AWS IoT Core Developer Guide, "ErrorResponse" of the jobs device
// API, read 2026-11).
type JobCode string

// The refusals of the jobs service.
const (
	JobInvalidTopic           JobCode = "InvalidTopic"           // below a thing's jobs, but none of the topics
	JobInvalidJSON            JobCode = "InvalidJson"            // no UTF-8 JSON, or no object
	JobInvalidRequest         JobCode = "InvalidRequest"         // a field has a value that it cannot have
	JobInvalidStateTransition JobCode = "InvalidStateTransition" // the execution's state forbids it
	JobResourceNotFound       JobCode = "ResourceNotFound"       // no such job execution
	JobVersionMismatch        JobCode = "VersionMismatch"        // the execution has another version than expected
	JobTerminalStateReached   JobCode = "TerminalStateReached"   // the execution has ended
	JobRequestThrottled       JobCode = "RequestThrottled"
	JobInternalError          JobCode = "InternalError"
)

// A JobError is a refusal of the jobs service.
type JobError struct {
	Code    JobCode
	Message string
	// State is how the execution is, for the codes that tell: [JobInvalidStateTransition] and [JobVersionMismatch].
	State *ExecutionState
}

func (e *JobError) Error() string { return string(e.Code) + ": " + e.Message }

// A JobRejection is the payload on a rejected topic of the jobs service.
type JobRejection struct {
	Code           JobCode         `json:"code"`
	Message        string          `json:"message"`
	ClientToken    string          `json:"clientToken,omitempty"`
	Timestamp      int64           `json:"timestamp"` // seconds since 1970
	ExecutionState *ExecutionState `json:"executionState,omitempty"`
}

// Append appends the error document to b; at is in seconds.
func (e *JobError) Append(b []byte, at int64, token string) []byte {
	return AppendPayload(b, JobRejection{Code: e.Code, Message: e.Message, ClientToken: token, Timestamp: at, ExecutionState: e.State})
}

// AppendPayload appends a value of one of this package's types to b, as JSON that leaves texts as they are, where
// encoding/json makes them safe for HTML.
func AppendPayload(b []byte, v any) []byte {
	w := appender{b}
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("awswire: " + err.Error()) // a document that was not checked: a mistake of the caller's
	}
	return w.b[:len(w.b)-1] // the line's end
}

type appender struct{ b []byte }

func (w *appender) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
