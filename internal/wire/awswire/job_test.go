package awswire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseJobRequest(t *testing.T) {
	no := false
	for _, tt := range []struct {
		op   Op
		in   string
		want JobRequest
		code JobCode
	}{
		{op: OpGet, in: ``},
		{op: OpGet, in: `{"clientToken":"c","includeJobDocument":false,"executionNumber":2}`, want: JobRequest{
			ClientToken: "c", IncludeJobDocument: &no, ExecutionNumber: 2,
		}},
		{op: OpStartNext, in: `{"statusDetails":{"k":"v"},"stepTimeoutInMinutes":7}`, want: JobRequest{
			StatusDetails: map[string]string{"k": "v"}, StepTimeoutInMinutes: 7,
		}},
		{op: OpUpdate, in: `{"status":"SUCCEEDED","expectedVersion":"2","executionNumber":"1","includeJobExecutionState":true,"stepTimeoutInMinutes":-1}`, want: JobRequest{
			Status: JobSucceeded, ExpectedVersion: 2, ExecutionNumber: 1, IncludeJobExecutionState: true, StepTimeoutInMinutes: -1,
		}},
		{op: OpUpdate, in: `{"status":"QUEUED"}`, want: JobRequest{Status: JobQueued}},
		{op: OpUpdate, in: `{"status":"FAILED","statusDetails":{}}`, want: JobRequest{Status: JobFailed, StatusDetails: map[string]string{}}},
		{op: OpUpdate, in: `{"status":"CANCELED","clientToken":"c"}`, code: JobInvalidRequest, want: JobRequest{ClientToken: "c"}},
		{op: OpUpdate, in: `{"status":"TIMED_OUT"}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{}`, code: JobInvalidRequest},
		{op: OpUpdate, in: ``, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","statusDetails":{"a b":"1"}}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","statusDetails":{"a":1}}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","statusDetails":{"a":""}}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","statusDetails":{"a":"\u0007"}}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","expectedVersion":"x"}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","expectedVersion":-1}`, code: JobInvalidRequest},
		{op: OpUpdate, in: `{"status":"FAILED","includeJobDocument":"yes"}`, code: JobInvalidRequest},
		{op: OpStartNext, in: `{"stepTimeoutInMinutes":-1}`, code: JobInvalidRequest},
		{op: OpStartNext, in: `{"stepTimeoutInMinutes":10081}`, code: JobInvalidRequest},
		{op: OpGet, in: `{"clientToken":"` + strings.Repeat("c", 65) + `"}`, code: JobInvalidRequest},
		{op: OpGet, in: `[]`, code: JobInvalidJSON},
		{op: OpGet, in: `{`, code: JobInvalidJSON},
		{op: OpGet, in: "\"\xff\"", code: JobInvalidJSON},
	} {
		got, err := ParseJobRequest(tt.op, []byte(tt.in))
		var refusal *JobError
		if errors.As(err, &refusal) != (tt.code != "") || err != nil && refusal.Code != tt.code {
			t.Errorf("%s %s: error %v, want %q", tt.op, tt.in, err, tt.code)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s (-want +got)\n%s", tt.op, tt.in, diff)
		}
	}
}

func TestCheckStatusDetails(t *testing.T) {
	m := map[string]string{}
	for i := range MaxStatusDetails {
		m[string(rune('a'+i))] = strings.Repeat("é", MaxDetailValue)
	}
	if err := CheckStatusDetails(m); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
	m["z"] = "1"
	if CheckStatusDetails(m) == nil {
		t.Error("11 pairs were accepted")
	}
	if CheckStatusDetails(map[string]string{"a": strings.Repeat("é", MaxDetailValue+1)}) == nil {
		t.Error("a value that is too long was accepted")
	}
}

// TestJobPayloads holds the forms of the messages, with what must be left out and what must not.
func TestJobPayloads(t *testing.T) {
	seconds := int64(60)
	for _, tt := range []struct {
		v    any
		want string
	}{
		{
			PendingJobs{InProgressJobs: []JobSummary{}, QueuedJobs: []JobSummary{{JobID: "j", QueuedAt: 1, LastUpdatedAt: 2, VersionNumber: 1, ExecutionNumber: 1}}, Timestamp: 3, ClientToken: "c"},
			`{"inProgressJobs":[],"queuedJobs":[{"jobId":"j","queuedAt":1,"lastUpdatedAt":2,"versionNumber":1,"executionNumber":1}],"timestamp":3,"clientToken":"c"}`,
		},
		{JobReply{Timestamp: 3}, `{"timestamp":3}`},
		{JobReply{Execution: &JobExecution{
			JobID: "j", ThingName: "T", Status: JobInProgress, StatusDetails: map[string]string{"b": "<2>", "a": "1"}, QueuedAt: 1, StartedAt: 2, LastUpdatedAt: 2,
			VersionNumber: 2, ExecutionNumber: 1, JobDocument: json.RawMessage(`{"op":"<x>"}`), ApproximateSecondsBeforeTimedOut: &seconds,
		}, Timestamp: 3}, `{"execution":{"jobId":"j","thingName":"T","status":"IN_PROGRESS","statusDetails":{"a":"1","b":"<2>"},"queuedAt":1,"startedAt":2,"lastUpdatedAt":2,` +
			`"versionNumber":2,"executionNumber":1,"jobDocument":{"op":"<x>"},"approximateSecondsBeforeTimedOut":60},"timestamp":3}`},
		{
			JobUpdateReply{Timestamp: 3, ExecutionState: &ExecutionState{Status: JobSucceeded, VersionNumber: 3}},
			`{"executionState":{"status":"SUCCEEDED","versionNumber":3},"timestamp":3}`,
		},
		{JobsNotification{Timestamp: 3, Jobs: map[JobStatus][]JobSummary{}}, `{"timestamp":3,"jobs":{}}`},
		{NextJobNotification{Timestamp: 3}, `{"timestamp":3}`},
	} {
		if got := string(AppendPayload(nil, tt.v)); got != tt.want {
			t.Errorf("%T\n got %s\nwant %s", tt.v, got, tt.want)
		}
	}
	e := JobError{Code: JobVersionMismatch, Message: "Expected version 99 but found version 1", State: &ExecutionState{Status: JobQueued, VersionNumber: 1}}
	if got, want := string(e.Append(nil, 3, "c")), `{"code":"VersionMismatch","message":"Expected version 99 but found version 1","clientToken":"c","timestamp":3,`+
		`"executionState":{"status":"QUEUED","versionNumber":1}}`; got != want {
		t.Errorf("error\n got %s\nwant %s", got, want)
	}
}

// FuzzJobRequest checks that nothing panics, and that what was read can be written and read again.
func FuzzJobRequest(f *testing.F) {
	f.Add(uint8(0), []byte(`{"clientToken":"c","executionNumber":"2"}`))
	f.Add(uint8(1), []byte(`{"statusDetails":{"k":"v"},"stepTimeoutInMinutes":7}`))
	f.Add(uint8(2), []byte(`{"status":"FAILED","expectedVersion":"2","statusDetails":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, n uint8, payload []byte) {
		op := []Op{OpGet, OpStartNext, OpUpdate}[n%3]
		r, err := ParseJobRequest(op, payload)
		if err != nil {
			return
		}
		again, err := ParseJobRequest(op, AppendPayload(nil, r))
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", r, err)
		}
		if len(r.StatusDetails) == 0 {
			r.StatusDetails = nil // is left out
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("read again (-want +got)\n%s", diff)
		}
	})
}
