package awswire

import (
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// ParseJobRequest reads the payload of a request. Numbers may be written as texts of digits: the official v1 SDK for Python
// does so in updates (observed with AWSIoTPythonSDK 1.6.2). An empty payload is one without fields. Errors are of type
// *[JobError]; then the request holds the token if there was a good one.
func ParseJobRequest(op Op, payload []byte) (JobRequest, error) {
	root := NewObject()
	if len(payload) > 0 {
		var err error
		if root, err = ParseJSON(payload); err != nil || !root.IsObject() {
			return JobRequest{}, &JobError{Code: JobInvalidJSON, Message: "Payload must be a JSON object"}
		}
	}
	var r JobRequest
	p := jobParser{root: root}
	r.ClientToken = p.text("clientToken")
	if len(r.ClientToken) > MaxTokenBytes {
		p.fail("clientToken is longer than %d bytes", MaxTokenBytes)
	}
	if p.err != nil {
		return JobRequest{}, p.err
	}
	switch op {
	case OpStartNext:
		r.StatusDetails = p.details()
		r.StepTimeoutInMinutes = p.minutes(1)
	case OpGet:
		r.ExecutionNumber = p.count("executionNumber")
		r.IncludeJobDocument = p.flag("includeJobDocument")
	case OpUpdate:
		r.Status = JobStatus(p.text("status"))
		r.StatusDetails = p.details()
		r.ExpectedVersion = p.count("expectedVersion")
		r.ExecutionNumber = p.count("executionNumber")
		r.IncludeJobDocument = p.flag("includeJobDocument")
		if state := p.flag("includeJobExecutionState"); state != nil {
			r.IncludeJobExecutionState = *state
		}
		r.StepTimeoutInMinutes = p.minutes(-1)
		switch r.Status {
		case JobInProgress, JobSucceeded, JobFailed, JobRejected, JobQueued: // QUEUED is refused later, as a transition
		case "":
			p.fail("status is required")
		default:
			p.fail("status cannot be set to %q", string(r.Status))
		}
	}
	if p.err != nil {
		return JobRequest{ClientToken: r.ClientToken}, p.err
	}
	return r, nil
}

// jobParser reads the fields of a request and keeps the first error. A field that is null is none.
type jobParser struct {
	root *Node
	err  error
}

func (p *jobParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &JobError{Code: JobInvalidRequest, Message: fmt.Sprintf(format, args...)}
	}
}

func (p *jobParser) text(name string) string {
	n := p.root.Member(name)
	if n.IsNull() {
		return ""
	}
	if n.Kind != KindString {
		p.fail("%s must be a string", name)
	}
	return n.Text
}

func (p *jobParser) flag(name string) *bool {
	n := p.root.Member(name)
	if n.IsNull() {
		return nil
	}
	if n.Kind != KindTrue && n.Kind != KindFalse {
		p.fail("%s must be a boolean", name)
	}
	v := n.Kind == KindTrue
	return &v
}

// number returns a number, or a text that is one.
func (p *jobParser) number(name string) int64 {
	n := p.root.Member(name)
	if n.IsNull() {
		return 0
	}
	if n.Kind == KindNumber || n.Kind == KindString {
		if v, err := strconv.ParseInt(n.Text, 10, 64); err == nil {
			return v
		}
	}
	p.fail("%s must be an integer", name)
	return 0
}

// count returns a number that is not negative; zero is as good as none.
func (p *jobParser) count(name string) int64 {
	v := p.number(name)
	if v < 0 {
		p.fail("%s must not be negative", name)
	}
	return v
}

// minutes returns the step timeout; with least -1 it can be taken back. Zero is as good as none.
func (p *jobParser) minutes(least int64) int64 {
	v := p.number("stepTimeoutInMinutes")
	if v != 0 && (v < least || v > MaxTimeoutMinutes) {
		p.fail("stepTimeoutInMinutes must be between 1 and %d", MaxTimeoutMinutes)
	}
	return v
}

// details returns the status details, nil if the request has none: then those of the execution stay.
func (p *jobParser) details() map[string]string {
	n := p.root.Member("statusDetails")
	if n.IsNull() {
		return nil
	}
	if !n.IsObject() {
		p.fail("statusDetails must be an object")
		return nil
	}
	m := make(map[string]string, min(len(n.Members), MaxStatusDetails))
	for _, x := range n.Members {
		if x.Value.Kind != KindString {
			p.fail("statusDetails must have strings only")
			return nil
		}
		m[x.Name] = x.Value.Text
		if len(m) > MaxStatusDetails {
			break
		}
	}
	if err := CheckStatusDetails(m); err != nil {
		p.fail("%s", err.Error())
		return nil
	}
	return m
}

// CheckStatusDetails reports what status details may not be: more than 10, keys that are not 1 to 128 of [a-zA-Z0-9:_-],
// values that are not 1 to 1024 characters without control characters (service model iot-jobs-data).
func CheckStatusDetails(m map[string]string) error {
	if len(m) > MaxStatusDetails {
		return fmt.Errorf("statusDetails has more than %d pairs", MaxStatusDetails)
	}
	for k, v := range m {
		if !valid(k, MaxDetailKey, ":_-") {
			return fmt.Errorf("statusDetails has an invalid key")
		}
		if n := utf8.RuneCountInString(v); n == 0 || n > MaxDetailValue {
			return fmt.Errorf("statusDetails value of %q must have 1 to %d characters", k, MaxDetailValue)
		}
		for _, r := range v {
			if unicode.IsControl(r) {
				return fmt.Errorf("statusDetails value of %q has a control character", k)
			}
		}
	}
	return nil
}
