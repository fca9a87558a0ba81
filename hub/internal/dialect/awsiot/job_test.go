package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/google/go-cmp/cmp"
)

const jobsBase = "$aws/things/T/jobs/"

// newJobRig is a rig with things.
func newJobRig(tb testing.TB, things ...string) *serviceRig {
	tb.Helper()
	r := newServiceRig(tb)
	r.do(func(tx *commit.Tx) error {
		for _, x := range things {
			if err := r.d.putThing(tx, testTenant, thing{Name: x}); err != nil {
				return err
			}
		}
		return nil
	})
	return r
}

func (r *serviceRig) createJob(id string, in createJobInput) error {
	r.Helper()
	for i, x := range in.Targets {
		in.Targets[i] = r.a.arn(x)
	}
	if in.Document == "" {
		in.Document = `{"do": "<it>", "n": 1.0}`
	}
	_, err := r.d.createJob(context.Background(), testTenant, id, in)
	return err
}

func (r *serviceRig) mustCreateJob(id string, in createJobInput) {
	r.Helper()
	if err := r.createJob(id, in); err != nil {
		r.Fatal(err)
	}
}

// work does everything that is due.
func (r *serviceRig) work() {
	r.Helper()
	for range 1000 {
		pause, err := r.d.round(context.Background())
		if err != nil {
			r.Fatal(err)
		}
		if pause > workPause {
			return
		}
	}
	r.Fatal("there is always something to be done")
}

// TestJobLife checks each message of a job's life: text, order, and who gets it.
func TestJobLife(t *testing.T) {
	r := newJobRig(t, "T")
	c := r.sender("c")
	const doc = `{"do":"<it>","n":1.0}`
	summary := func(id string, version, started int) string {
		s := ""
		if started > 0 {
			s = fmt.Sprintf(`"startedAt":%d,`, started)
		}
		return fmt.Sprintf(`{"jobId":"%s","queuedAt":%d,%s"lastUpdatedAt":%d,"versionNumber":%d,"executionNumber":1}`, id, at, s, at, version)
	}
	r.mustCreateJob("a", createJobInput{Targets: []string{"thing/T"}})
	r.expectSaid(
		said{"", jobsBase + "notify", fmt.Sprintf(`{"timestamp":%d,"jobs":{"QUEUED":[%s]}}`, at, summary("a", 1, 0))},
		said{"", jobsBase + "notify-next", fmt.Sprintf(`{"timestamp":%d,"execution":{"jobId":"a","thingName":"T","status":"QUEUED","queuedAt":%[1]d,"lastUpdatedAt":%[1]d,"versionNumber":1,"executionNumber":1,"jobDocument":%s}}`, at, doc)},
	)
	r.mustCreateJob("b", createJobInput{Targets: []string{"thing/T"}})
	r.expectSaid(said{"", jobsBase + "notify", fmt.Sprintf(`{"timestamp":%d,"jobs":{"QUEUED":[%s,%s]}}`, at, summary("a", 1, 0), summary("b", 1, 0))})
	r.say(c, jobsBase+`get {"clientToken":"x"}`)
	r.expectSaid(said{"c", jobsBase + "get/accepted", fmt.Sprintf(`{"inProgressJobs":[],"queuedJobs":[%s,%s],"timestamp":%d,"clientToken":"x"}`, summary("a", 1, 0), summary("b", 1, 0), at)})
	r.say(c, jobsBase+`start-next {"statusDetails":{"k":"v"},"stepTimeoutInMinutes":7}`)
	r.expectSaid(said{"c", jobsBase + "start-next/accepted", fmt.Sprintf(`{"execution":{"jobId":"a","thingName":"T","status":"IN_PROGRESS","statusDetails":{"k":"v"},"queuedAt":%d,"startedAt":%[1]d,"lastUpdatedAt":%[1]d,`+
		`"versionNumber":2,"executionNumber":1,"jobDocument":%s,"approximateSecondsBeforeTimedOut":420},"timestamp":%[1]d}`, at, doc)})
	r.start() // what is stored is enough
	r.say(c, jobsBase+`$next/get {"includeJobDocument":false,"clientToken":"x"}`)
	r.expectSaid(said{"c", jobsBase + "$next/get/accepted", fmt.Sprintf(`{"execution":{"jobId":"a","thingName":"T","status":"IN_PROGRESS","statusDetails":{"k":"v"},"queuedAt":%d,"startedAt":%[1]d,"lastUpdatedAt":%[1]d,`+
		`"versionNumber":2,"executionNumber":1,"approximateSecondsBeforeTimedOut":420},"timestamp":%[1]d,"clientToken":"x"}`, at)})
	r.say(c, jobsBase+`a/update {"status":"SUCCEEDED","expectedVersion":"99","clientToken":"x"}`)
	r.expectSaid(said{"c", jobsBase + "a/update/rejected", fmt.Sprintf(`{"code":"VersionMismatch","message":"Expected version 99 but found version 2","clientToken":"x","timestamp":%d,"executionState":{"status":"IN_PROGRESS","statusDetails":{"k":"v"},"versionNumber":2}}`, at)})
	r.say(c, jobsBase+`a/update {"status":"SUCCEEDED","statusDetails":{"p":"100"},"expectedVersion":"2","executionNumber":"1","includeJobExecutionState":true,"includeJobDocument":true}`)
	r.expectSaid(
		said{"c", jobsBase + "a/update/accepted", fmt.Sprintf(`{"executionState":{"status":"SUCCEEDED","statusDetails":{"p":"100"},"versionNumber":3},"jobDocument":%s,"timestamp":%d}`, doc, at)},
		said{"", jobsBase + "notify", fmt.Sprintf(`{"timestamp":%d,"jobs":{"QUEUED":[%s]}}`, at, summary("b", 1, 0))},
		said{"", jobsBase + "notify-next", fmt.Sprintf(`{"timestamp":%d,"execution":{"jobId":"b","thingName":"T","status":"QUEUED","queuedAt":%[1]d,"lastUpdatedAt":%[1]d,"versionNumber":1,"executionNumber":1,"jobDocument":%s}}`, at, doc)},
	)
	r.say(c, jobsBase+`b/update {"status":"REJECTED"}`)
	r.expectSaid(
		said{"c", jobsBase + "b/update/accepted", fmt.Sprintf(`{"timestamp":%d}`, at)},
		said{"", jobsBase + "notify", fmt.Sprintf(`{"timestamp":%d,"jobs":{}}`, at)},
		said{"", jobsBase + "notify-next", fmt.Sprintf(`{"timestamp":%d}`, at)},
	)
	r.say(c, jobsBase+"start-next", jobsBase+"$next/get")
	r.expectSaid(said{"c", jobsBase + "start-next/accepted", fmt.Sprintf(`{"timestamp":%d}`, at)}, said{"c", jobsBase + "$next/get/accepted", fmt.Sprintf(`{"timestamp":%d}`, at)})
}

func (r *serviceRig) expectSaid(want ...said) {
	r.Helper()
	if diff := cmp.Diff(want, r.heard()); diff != "" {
		r.Errorf("messages (-want +got)\n%s", diff)
	}
}

func TestJobRefusals(t *testing.T) {
	r := newJobRig(t, "T")
	c := r.sender("c")
	r.mustCreateJob("a", createJobInput{Targets: []string{"thing/T"}})
	r.mustCreateJob("get", createJobInput{Targets: []string{"thing/T"}})
	r.say(c, jobsBase+`a/update {"status":"FAILED"}`)
	r.heard()
	for _, tt := range []struct{ say, topic, code string }{
		{`a/update {"status":"IN_PROGRESS"}`, "a/update/rejected", "InvalidStateTransition"},
		{`get/update {"status":"QUEUED"}`, "get/update/rejected", "InvalidStateTransition"},
		{`get/update {"status":"CANCELED"}`, "get/update/rejected", "InvalidRequest"},
		{`get/update {"status":"IN_PROGRESS","statusDetails":{"":"x"}}`, "get/update/rejected", "InvalidRequest"},
		{`get/update [`, "get/update/rejected", "InvalidJson"},
		{`get/get []`, "get/get/rejected", "InvalidJson"},
		{`a/get`, "a/get/rejected", "TerminalStateReached"},
		{`none/get`, "none/get/rejected", "ResourceNotFound"},
		{`none/update {"status":"FAILED"}`, "none/update/rejected", "ResourceNotFound"},
		{`get/get {"executionNumber":5}`, "get/get/rejected", "ResourceNotFound"},
		{`$next/update {"status":"FAILED"}`, "$next/update/rejected", "InvalidTopic"},
		{`a/b/c`, "a/b/c/rejected", "InvalidTopic"},
		{`get/get`, "get/get/accepted", ""},
		{`get`, "get/accepted", ""},
	} {
		r.say(c, jobsBase+tt.say)
		got := r.heard()
		var reply struct{ Code string }
		if len(got) != 1 || got[0].To != "c" || got[0].Topic != jobsBase+tt.topic || json.Unmarshal([]byte(got[0].Payload), &reply) != nil || reply.Code != tt.code {
			t.Errorf("%s: %+v, want %s on %s", tt.say, got, tt.code, tt.topic)
		}
	}
}

// refusedAs reports the name that an error has on the control plane.
func refusedAs(err error) string {
	var e *awsError
	if errors.As(err, &e) {
		return e.name
	}
	return fmt.Sprint(err)
}

func TestJobDataPlane(t *testing.T) {
	r := newJobRig(t, "T")
	ctx := context.Background()
	body, err := r.d.startNextPendingJobExecution(ctx, testTenant, "T", nil)
	if err != nil || string(body) != "{}" {
		t.Errorf("start next of nothing: %s, %v", body, err)
	}
	r.mustCreateJob("a", createJobInput{Targets: []string{"thing/T"}})
	r.heard()
	if body, err = r.d.getPendingJobExecutions(ctx, testTenant, "T"); err != nil || !strings.HasPrefix(string(body), `{"inProgressJobs":[],"queuedJobs":[{"jobId":"a",`) || strings.Contains(string(body), "timestamp") {
		t.Errorf("pending: %s, %v", body, err)
	}
	body, err = r.d.startNextPendingJobExecution(ctx, testTenant, "T", []byte(`{"statusDetails":{"a":"b"}}`))
	if want := `"jobDocument":"{\"do\": \"<it>\", \"n\": 1.0}"`; err != nil || !strings.Contains(string(body), want) {
		t.Errorf("start next: %s, %v, want %s", body, err, want)
	}
	if body, err = r.d.describeJobExecutionForDevice(ctx, testTenant, "T", "$next", false, 0); err != nil || !strings.HasPrefix(string(body), `{"execution":{"jobId":"a",`) {
		t.Errorf("describe next: %s, %v", body, err)
	}
	for what, tt := range map[string]struct {
		name string
		f    func() ([]byte, error)
	}{
		"version": {invalidTransition, func() ([]byte, error) {
			return r.d.updateJobExecution(ctx, testTenant, "T", "a", []byte(`{"status":"FAILED","expectedVersion":77}`))
		}},
		"JSON":    {invalidRequest, func() ([]byte, error) { return r.d.updateJobExecution(ctx, testTenant, "T", "a", []byte(`{`)) }},
		"missing": {notFound, func() ([]byte, error) { return r.d.describeJobExecutionForDevice(ctx, testTenant, "T", "b", true, 0) }},
	} {
		if _, err := tt.f(); refusedAs(err) != tt.name {
			t.Errorf("%s: %v, want %s", what, err, tt.name)
		}
	}
	body, err = r.d.updateJobExecution(ctx, testTenant, "T", "a", []byte(`{"status":"FAILED","includeJobExecutionState":true}`))
	if err != nil || string(body) != `{"executionState":{"status":"FAILED","statusDetails":{"a":"b"},"versionNumber":3}}` {
		t.Errorf("update: %s, %v", body, err)
	}
	if got := topics(r.heard()); !slices.Equal(got, []string{"jobs/notify", "jobs/notify-next"}) {
		t.Errorf("told %q", got)
	}
	if _, err = r.d.describeJobExecutionForDevice(ctx, testTenant, "T", "a", true, 0); refusedAs(err) != terminalState {
		t.Errorf("describe what has ended: %v", err)
	}
}

func TestJobControlPlane(t *testing.T) {
	r := newJobRig(t, "T", "U", "V")
	ctx := context.Background()
	r.mustCreateJob("a", createJobInput{
		Targets: []string{"thing/T", "thing/U", "thing/V"}, jobConfig: jobConfig{Description: "three", Timeout: json.RawMessage(`{"inProgressTimeoutInMinutes":5}`)},
	})
	for name, tt := range map[string]struct {
		id   string
		in   createJobInput
		want string
	}{
		"exists":     {"a", createJobInput{Targets: []string{"thing/T"}}, alreadyExists},
		"id":         {"a b", createJobInput{Targets: []string{"thing/T"}}, invalidRequest},
		"no target":  {"b", createJobInput{}, invalidRequest},
		"thing":      {"b", createJobInput{Targets: []string{"thing/X"}}, notFound},
		"group":      {"b", createJobInput{Targets: []string{"thinggroup/X"}}, notFound},
		"resource":   {"b", createJobInput{Targets: []string{"policy/X"}}, notFound},
		"selection":  {"b", createJobInput{Targets: []string{"thing/T"}, TargetSelection: "X"}, invalidRequest},
		"both":       {"b", createJobInput{Targets: []string{"thing/T"}, DocumentSource: "https://x"}, invalidRequest},
		"document":   {"b", createJobInput{Targets: []string{"thing/T"}, Document: "{"}, invalidRequest},
		"timeout":    {"b", createJobInput{Targets: []string{"thing/T"}, jobConfig: jobConfig{Timeout: json.RawMessage(`{"inProgressTimeoutInMinutes":10081}`)}}, invalidRequest},
		"rollout":    {"b", createJobInput{Targets: []string{"thing/T"}, jobConfig: jobConfig{Rollout: json.RawMessage(`{"maximumPerMinute":1001}`)}}, invalidRequest},
		"abort":      {"b", createJobInput{Targets: []string{"thing/T"}, jobConfig: jobConfig{Abort: json.RawMessage(`{"criteriaList":[{"failureType":"X"}]}`)}}, invalidRequest},
		"retry":      {"b", createJobInput{Targets: []string{"thing/T"}, jobConfig: jobConfig{Retry: json.RawMessage(`{"criteriaList":[{"failureType":"REJECTED","numberOfRetries":1}]}`)}}, invalidRequest},
		"malformed":  {"b", createJobInput{Targets: []string{"thing/T"}, jobConfig: jobConfig{Retry: json.RawMessage(`7`)}}, invalidRequest},
		"scheduling": {"b", createJobInput{Targets: []string{"thing/T"}, Scheduling: json.RawMessage(`{"endTime":"2026-05-07T00:00"}`)}, invalidRequest},
		"template":   {"b", createJobInput{Targets: []string{"thing/T"}, JobTemplateArn: "arn:x"}, notFound},
	} {
		if err := r.createJob(tt.id, tt.in); refusedAs(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	described := func() jobDescription {
		out, err := r.d.describeJob(ctx, testTenant, "a")
		if err != nil {
			t.Fatal(err)
		}
		return out.Job
	}
	if j := described(); j.Description != "three" || j.Status != "IN_PROGRESS" || j.TargetSelection != "SNAPSHOT" || len(j.Targets) != 3 || j.ProcessDetails["numberOfQueuedThings"] != 3 || string(j.Timeout) == "" {
		t.Errorf("described: %+v", j)
	}
	if text, err := r.d.getJobDocument(ctx, testTenant, "a"); err != nil || text != `{"do": "<it>", "n": 1.0}` {
		t.Errorf("document: %s, %v", text, err)
	}
	if err := r.d.updateJob(ctx, testTenant, "a", jobConfig{Description: "changed", Timeout: json.RawMessage(`{"inProgressTimeoutInMinutes":9}`)}); err != nil {
		t.Error(err)
	}
	if j := described(); j.Description != "changed" {
		t.Errorf("updated: %+v", j)
	}
	if _, err := r.d.startNextPendingJobExecution(ctx, testTenant, "T", nil); err != nil {
		t.Fatal(err)
	}
	x, err := r.d.describeJobExecution(ctx, testTenant, "T", "a", 0)
	if err != nil || x.Status != "IN_PROGRESS" || x.SecondsLeft == nil || *x.SecondsLeft != 540 || x.Version != 2 {
		t.Errorf("execution: %+v, %v", x, err)
	}
	if err := r.d.cancelJobExecution(ctx, testTenant, "T", "a", false, 0, nil); refusedAs(err) != invalidTransition {
		t.Errorf("cancel without force: %v", err)
	}
	if err := r.d.cancelJobExecution(ctx, testTenant, "U", "a", false, 9, nil); refusedAs(err) != versionConflict || !strings.Contains(err.Error(), "found version 1") {
		t.Errorf("cancel of another version: %v", err)
	}
	if err := r.d.cancelJobExecution(ctx, testTenant, "U", "a", false, 1, map[string]string{"why": "x"}); err != nil {
		t.Error(err)
	}
	if err := r.d.deleteJob(ctx, testTenant, "a", false); refusedAs(err) != invalidTransition {
		t.Errorf("delete: %v", err)
	}
	if _, err := r.d.cancelJob(ctx, testTenant, "a", false, "no spaces", ""); refusedAs(err) != invalidRequest {
		t.Errorf("reason: %v", err)
	}
	if _, err := r.d.cancelJob(ctx, testTenant, "a", false, "TEST", "enough"); err != nil {
		t.Error(err)
	}
	if j := described(); j.Status != "CANCELED" || j.ReasonCode != "TEST" || j.ProcessDetails["numberOfInProgressThings"] != 1 || j.ProcessDetails["numberOfCanceledThings"] != 2 {
		t.Errorf("cancelled: %+v", j)
	}
	if err := r.d.deleteJob(ctx, testTenant, "a", true); err != nil {
		t.Error(err)
	}
	if _, err := r.d.describeJob(ctx, testTenant, "a"); refusedAs(err) != notFound {
		t.Errorf("described when it is deleted: %v", err)
	}
}

func TestJobLists(t *testing.T) {
	r := newJobRig(t, "T", "U", "V")
	ctx := context.Background()
	for i := range 5 {
		in := createJobInput{Targets: []string{"thing/T", "thing/U", "thing/V"}}
		if i == 3 {
			in.TargetSelection = "CONTINUOUS"
		}
		r.mustCreateJob(fmt.Sprint("j", i), in)
	}
	for _, id := range []string{"j1", "j2"} {
		if _, err := r.d.cancelJob(ctx, testTenant, id, false, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	list := func(in listJobsInput) (ids []string) {
		in.Size = 2
		for {
			out, err := r.d.listJobs(ctx, testTenant, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range out.Jobs {
				ids = append(ids, j.JobID)
			}
			if in.Next = out.NextToken; in.Next == "" {
				return ids
			}
		}
	}
	for want, in := range map[string]listJobsInput{
		"j0 j1 j2 j3 j4": {}, "j1 j2": {Status: "CANCELED"}, "j3": {TargetSelection: "CONTINUOUS"}, "": {NamespaceID: "x"},
	} {
		if got := strings.Join(list(in), " "); got != want {
			t.Errorf("%+v: %s, want %s", in, got, want)
		}
	}
	if _, err := r.d.listJobs(ctx, testTenant, listJobsInput{Status: "X"}); refusedAs(err) != invalidRequest {
		t.Errorf("status: %v", err)
	}
	if _, err := r.d.listJobs(ctx, testTenant, listJobsInput{jobPage: jobPage{Size: 251}}); refusedAs(err) != invalidRequest {
		t.Errorf("page: %v", err)
	}
	out, err := r.d.listJobExecutionsForJob(ctx, testTenant, "j0", "QUEUED", jobPage{Size: 2})
	if err != nil || len(out.Executions) != 2 || out.Executions[1].ThingArn != r.a.arn("thing/U") || out.NextToken == "" {
		t.Errorf("of a job: %+v, %v", out, err)
	}
	if out, err = r.d.listJobExecutionsForThing(ctx, testTenant, "T", "CANCELED", "", jobPage{}); err != nil || len(out.Executions) != 2 || out.Executions[0].JobID != "j1" {
		t.Errorf("of a thing: %+v, %v", out, err)
	}
	if out, err = r.d.listJobExecutionsForThing(ctx, testTenant, "T", "", "j4", jobPage{}); err != nil || len(out.Executions) != 1 {
		t.Errorf("of a thing and a job: %+v, %v", out, err)
	}
	if _, err = r.d.listJobExecutionsForThing(ctx, testTenant, "X", "", "", jobPage{}); refusedAs(err) != notFound {
		t.Errorf("of no thing: %v", err)
	}
}

// TestJobFollowsGroups puts things into groups below a target, takes them out, and deletes them.
func TestJobFollowsGroups(t *testing.T) {
	r := newJobRig(t, "T", "U")
	join := func(group string) error {
		return r.c.Do(context.Background(), func(tx *commit.Tx) error { return r.d.joinGroup(tx, testTenant, group, "T") })
	}
	leave := func(group string) error {
		return r.c.Do(context.Background(), func(tx *commit.Tx) error { return r.d.leaveGroup(tx, testTenant, group, "T") })
	}
	r.do(func(tx *commit.Tx) error {
		err := r.d.putThingGroup(tx, testTenant, thingGroup{Name: "top"})
		return errors.Join(err, r.d.putThingGroup(tx, testTenant, thingGroup{Name: "below", Parent: "top"}),
			r.d.putThingGroup(tx, testTenant, thingGroup{Name: "side", Parent: "top"}), r.d.joinGroup(tx, testTenant, "below", "U"))
	})
	r.mustCreateJob("a", createJobInput{Targets: []string{"thinggroup/top"}, TargetSelection: "CONTINUOUS"})
	status := func(thing string) string {
		x, err := r.d.describeJobExecution(context.Background(), testTenant, thing, "a", 0)
		if err != nil {
			return refusedAs(err)
		}
		return fmt.Sprintf("%s/%d", x.Status, x.Number)
	}
	for _, tt := range []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, notFound},
		{func() error { return join("below") }, "QUEUED/1"},
		{func() error { return join("side") }, "QUEUED/1"},
		{func() error { return leave("below") }, "QUEUED/1"},
		{func() error { return leave("side") }, "REMOVED/1"},
		{func() error { return join("side") }, "QUEUED/2"},
	} {
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		if got := status("T"); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
	if got := status("U"); got != "QUEUED/1" {
		t.Errorf("thing of a group below: %s", got)
	}
	r.heard()
	r.do(func(tx *commit.Tx) error { return r.d.deleteThing(tx, testTenant, "T") })
	if got := status("T"); got != notFound {
		t.Errorf("deleted thing: %s", got)
	}
}

func TestJobTemplates(t *testing.T) {
	r := newJobRig(t, "T")
	ctx := context.Background()
	in := createJobTemplateInput{Document: `{"t":1}`, jobConfig: jobConfig{Description: "d", Timeout: json.RawMessage(`{"inProgressTimeoutInMinutes":5}`)}}
	out, err := r.d.createJobTemplate(ctx, testTenant, "t1", in)
	if err != nil || out.Arn != r.a.arn("jobtemplate/t1") {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := r.d.createJobTemplate(ctx, testTenant, "t1", in); refusedAs(err) != alreadyExists {
		t.Errorf("again: %v", err)
	}
	if _, err := r.d.createJobTemplate(ctx, testTenant, "t2", createJobTemplateInput{Document: "{}"}); refusedAs(err) != invalidRequest {
		t.Errorf("without description: %v", err)
	}
	if _, err := r.d.createJob(ctx, testTenant, "a", createJobInput{Targets: []string{r.a.arn("thing/T")}, JobTemplateArn: out.Arn}); err != nil {
		t.Fatal(err)
	}
	j, err := r.d.describeJob(ctx, testTenant, "a")
	if err != nil || j.Job.JobTemplateArn != out.Arn || string(j.Job.Timeout) != `{"inProgressTimeoutInMinutes":5}` || j.Job.Description != "d" {
		t.Errorf("job of a template: %+v, %v", j, err)
	}
	if _, err := r.d.createJobTemplate(ctx, testTenant, "t2", createJobTemplateInput{JobArn: r.a.arn("job/a")}); err != nil {
		t.Error(err)
	}
	x, err := r.d.describeJobTemplate(ctx, testTenant, "t2")
	if err != nil || x.Document != `{"t":1}` || x.Description != "d" || x.Arn == "" {
		t.Errorf("template of a job: %+v, %v", x, err)
	}
	page, err := r.d.listJobTemplates(ctx, testTenant, jobPage{Size: 1})
	if err != nil || len(page.Templates) != 1 || page.NextToken == "" {
		t.Errorf("list: %+v, %v", page, err)
	}
	if err := r.d.deleteJobTemplate(ctx, testTenant, "t1"); err != nil {
		t.Error(err)
	}
	if err := r.d.deleteJobTemplate(ctx, testTenant, "t1"); refusedAs(err) != notFound {
		t.Errorf("delete again: %v", err)
	}
}

// TestJobEvents switches the account's events on, and lets an execution time out over a restart.
func TestJobEvents(t *testing.T) {
	r := newJobRig(t, "T")
	r.a.Events = map[string]bool{eventJob: true, eventJobExecution: true}
	r.do(func(tx *commit.Tx) error { return r.d.putAccount(tx, r.a) })
	r.mustCreateJob("a", createJobInput{Targets: []string{"thing/T"}, jobConfig: jobConfig{Description: "d", Timeout: json.RawMessage(`{"inProgressTimeoutInMinutes":5}`)}})
	r.say(r.sender("c"), jobsBase+"start-next")
	r.heard()
	r.start()
	r.advance(5*time.Minute - time.Second)
	r.work()
	r.expectSaid()
	r.advance(time.Second)
	r.work()
	got := r.heard()
	if want := []string{"jobs/notify", "jobs/notify-next", "a/timed_out", "a/completed"}; !slices.Equal(topics(got), want) {
		t.Fatalf("told %q, want %q", topics(got), want)
	}
	var e struct {
		EventType, Operation, JobID, ThingArn, Status string
		Timestamp, CompletedAt                        int64
		JobProcessDetails                             map[string]int
	}
	if err := json.Unmarshal([]byte(got[2].Payload), &e); err != nil || e.EventType != "JOB_EXECUTION" || e.Operation != "timed_out" || e.Status != "TIMED_OUT" || e.ThingArn != r.a.arn("thing/T") {
		t.Errorf("execution event %s, %v", got[2].Payload, err)
	}
	if err := json.Unmarshal([]byte(got[3].Payload), &e); err != nil || e.EventType != "JOB" || e.Operation != "completed" || e.Timestamp != at+300 || e.CompletedAt != (at+300)*1000 || e.JobProcessDetails["numberOfTimedOutThings"] != 1 {
		t.Errorf("job event %s, %v", got[3].Payload, err)
	}
}

// TestRunner lets the runner itself do what is due, on a clock that is set forward.
func TestRunner(t *testing.T) {
	r := newJobRig(t, "T")
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.d.Run(ctx) }()
	defer func() { stop(); <-done }()
	var targets []string
	for i := range 600 {
		name := fmt.Sprint("t", i)
		targets = append(targets, "thing/"+name)
		r.do(func(tx *commit.Tx) error { return r.d.putThing(tx, testTenant, thing{Name: name}) })
	}
	r.mustCreateJob("a", createJobInput{Targets: targets})
	for deadline := time.Now().Add(30 * time.Second); ; {
		j, err := r.d.describeJob(ctx, testTenant, "a")
		if err != nil {
			t.Fatal(err)
		}
		if j.Job.ProcessDetails["numberOfQueuedThings"] == 600 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the job did not reach all: %+v", j.Job.ProcessDetails)
		}
		r.heard()
	}
}
