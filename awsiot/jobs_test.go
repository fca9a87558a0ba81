package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/google/go-cmp/cmp"
)

const jobs = "$aws/things/pump-7/jobs"

func TestJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, describe, update := &exchange{t: t}, &exchange{t: t}, &exchange{t: t}
		r := newRig(t, nil, connect(), connack(false),
			subscribe(jobs+"/get/+", 1), suback(),
			answer(t, jobs+"/get", accepted, `{"inProgressJobs":[{"jobId":"a","queuedAt":1,"startedAt":2,"lastUpdatedAt":3,"versionNumber":4,"executionNumber":5}],"queuedJobs":[{"jobId":"get"}],"timestamp":9}`),
			subscribe(jobs+"/start-next/+", 1), suback(), start.expect(jobs+"/start-next"), puback(),
			start.send(jobs+"/start-next/accepted", `{"execution":{"jobId":"a","thingName":"pump-7","status":"IN_PROGRESS","statusDetails":{"k":"v"},"versionNumber":2,"executionNumber":1,"jobDocument":{"do":"reboot"},"approximateSecondsBeforeTimedOut":90},"timestamp":9}`),
			subscribe(jobs+"/+/get/+", 1), suback(), describe.expect(jobs+"/a/get"), puback(), describe.send(jobs+"/a/get/accepted", `{"execution":{"jobId":"a","status":"QUEUED"}}`),
			describe.expect(jobs+"/$next/get"), puback(), describe.send(jobs+"/$next/get/accepted", `{"timestamp":1}`),
			subscribe(jobs+"/+/update/+", 1), suback(), update.expect(jobs+"/a/update"), puback(),
			update.send(jobs+"/a/update/accepted", `{"executionState":{"status":"SUCCEEDED","statusDetails":{"p":"100"},"versionNumber":3},"jobDocument":{"do":"reboot"},"timestamp":1700000000}`),
			answer(t, jobs+"/a/update", rejected, `{"code":"VersionMismatch","message":"Expected version 99 but found version 1","executionState":{"status":"QUEUED","versionNumber":1}}`),
			answer(t, jobs+"/a/update", rejected, `{"code":"ResourceNotFound","message":"no"}`),
			answer(t, jobs+"/start-next", rejected, `{"code":"RequestThrottled","message":"slow down"}`),
			answer(t, jobs+"/start-next", rejected, `{"code":"SomethingNew","message":"?"}`),
		)
		r.start()
		j := r.Jobs()
		pending, err := j.Pending(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
		want := &PendingJobs{
			InProgress: []JobSummary{{JobID: "a", QueuedAt: at(1), StartedAt: at(2), LastUpdatedAt: at(3), Version: 4, ExecutionNumber: 5}}, Queued: []JobSummary{{JobID: "get"}}, Time: at(9),
		}
		if diff := cmp.Diff(want, pending); diff != "" {
			t.Error(diff)
		}
		x, err := j.StartNext(r.ctx, &StartNextOptions{StatusDetails: map[string]string{"by": "me"}, StepTimeout: 7 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		wantX := &JobExecution{
			JobSummary: JobSummary{JobID: "a", Version: 2, ExecutionNumber: 1}, ThingName: "pump-7", Status: JobInProgress, StatusDetails: map[string]string{"k": "v"},
			Document: json.RawMessage(`{"do":"reboot"}`), TimeLeft: 90 * time.Second,
		}
		if diff := cmp.Diff(wantX, x); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]any{"statusDetails": map[string]any{"by": "me"}, "stepTimeoutInMinutes": 7.0}, start.payload); diff != "" {
			t.Error(diff)
		}
		x, err = j.Describe(r.ctx, "a", nil)
		if err != nil || x.Status != JobQueued || x.Status.Terminal() || !cmp.Equal(describe.payload, map[string]any{"includeJobDocument": true}) {
			t.Errorf("Describe: %+v, %v, asked %v", x, err, describe.payload)
		}
		_, err = j.Describe(r.ctx, NextJob, &DescribeOptions{ExecutionNumber: 3, NoDocument: true})
		if !errors.Is(err, ErrNoJob) || !errors.Is(err, fairlead.ErrNotFound) || !cmp.Equal(describe.payload, map[string]any{"includeJobDocument": false, "executionNumber": 3.0}) {
			t.Errorf("Describe: %v, asked %v", err, describe.payload)
		}
		done, err := j.Update(r.ctx, "a", JobUpdate{
			Status: JobSucceeded, StatusDetails: map[string]string{"p": "100"}, ExpectedVersion: 2, ExecutionNumber: 1, StepTimeout: -1, IncludeDocument: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&JobUpdated{State: JobExecutionState{JobSucceeded, map[string]string{"p": "100"}, 3}, Document: json.RawMessage(`{"do":"reboot"}`), Time: at(1700000000)}, done); diff != "" {
			t.Error(diff)
		}
		// Numbers as numbers, where the official SDK for Python sends texts.
		if diff := cmp.Diff(map[string]any{
			"status": "SUCCEEDED", "statusDetails": map[string]any{"p": "100"}, "expectedVersion": 2.0, "executionNumber": 1.0, "stepTimeoutInMinutes": -1.0,
			"includeJobExecutionState": true, "includeJobDocument": true,
		}, update.payload); diff != "" {
			t.Error(diff)
		}
		_, err = j.Update(r.ctx, "a", JobUpdate{Status: JobFailed, ExpectedVersion: 99})
		var refusal *JobError
		var platform *fairlead.PlatformError
		if !errors.As(err, &refusal) || !errors.As(err, &platform) || platform.Code != "VersionMismatch" || refusal.State == nil || refusal.State.Version != 1 || !errors.Is(err, fairlead.ErrConflict) {
			t.Errorf("Update: %v", err)
		}
		if _, err = j.Update(r.ctx, "a", JobUpdate{Status: JobRejected}); !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("Update: %v", err)
		}
		for _, want := range []error{fairlead.ErrThrottled, fairlead.ErrUnavailable} {
			if _, err := j.StartNext(r.ctx, nil); !errors.Is(err, want) {
				t.Errorf("StartNext: %v, want %v", err, want)
			}
		}
		_ = r.finish()
	})
}

func TestJobsRefusals(t *testing.T) {
	c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), ThingName: "pump-7"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, j := t.Context(), c.Jobs()
	many := map[string]string{}
	for _, c := range "abcdefghijk" {
		many[string(c)] = "x"
	}
	for name, call := range map[string]func() error{
		"no thing":  func() error { _, err := c.ThingJobs("").Pending(ctx); return err },
		"listen":    func() error { _, err := c.ThingJobs("").OnNotify(ctx, nil); return err },
		"no job":    func() error { _, err := j.Describe(ctx, "", nil); return err },
		"bad job":   func() error { _, err := j.Describe(ctx, "a/b", nil); return err },
		"next":      func() error { _, err := j.Update(ctx, NextJob, JobUpdate{Status: JobFailed}); return err },
		"no status": func() error { _, err := j.Update(ctx, "a", JobUpdate{}); return err },
		"canceled":  func() error { _, err := j.Update(ctx, "a", JobUpdate{Status: JobCanceled}); return err },
		"many": func() error {
			_, err := j.Update(ctx, "a", JobUpdate{Status: JobFailed, StatusDetails: many})
			return err
		},
		"step": func() error { _, err := j.StartNext(ctx, &StartNextOptions{StepTimeout: time.Second}); return err },
		"run, step": func() error {
			return j.Run(ctx, func(context.Context, *Job) (map[string]string, error) { return nil, nil }, &RunOptions{StepTimeout: 1})
		},
		"run, empty": func() error { return j.Run(ctx, nil, nil) },
		"subscribe":  func() error { _, err := j.Subscribe(ctx, JobTopicUpdate, JobAccepted, "", 1, nil); return err },
	} {
		if err := call(); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every kind of topic with every kind of reply, as the official SDK makes them; where that has None there is an error.
func TestJobTopics(t *testing.T) {
	c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), ThingName: "T"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind  JobTopic
		reply JobReply
		job   string
		want  string
	}{
		{JobTopicPending, JobRequest, "", "get"},
		{JobTopicPending, JobAccepted, "", "get/accepted"},
		{JobTopicPending, JobRefused, "", "get/rejected"},
		{JobTopicPending, JobReplies, "", "get/#"},
		{JobTopicPending, JobRequest, "a", ""},
		{JobTopicStartNext, JobRequest, "", "start-next"},
		{JobTopicStartNext, JobRefused, "", "start-next/rejected"},
		{JobTopicStartNext, JobRequest, "a", ""},
		{JobTopicDescribe, JobRequest, "a", "a/get"},
		{JobTopicDescribe, JobAccepted, NextJob, "$next/get/accepted"},
		{JobTopicDescribe, JobRequest, "", ""},
		{JobTopicUpdate, JobReplies, "+", "+/update/#"},
		{JobTopicUpdate, JobAccepted, "J1", "J1/update/accepted"},
		{JobTopicUpdate, JobRequest, "", ""},
		{JobTopicNotify, JobRequest, "", "notify"},
		{JobTopicNotify, JobAccepted, "", ""},
		{JobTopicNotify, JobRequest, "a", ""},
		{JobTopicNotifyNext, JobRequest, "", "notify-next"},
		{JobTopicNotifyNext, JobReplies, "", ""},
		{JobTopicAll, JobRequest, "", "#"},
		{JobTopicAll, JobAccepted, "a", "#"},
		{0, JobRequest, "", ""},
		{9, JobRequest, "", ""},
		{JobTopicPending, 9, "", ""},
	} {
		got, err := c.Jobs().Topic(tt.kind, tt.reply, tt.job)
		want := "$aws/things/T/jobs/" + tt.want
		if tt.want == "" {
			want = ""
		}
		if got != want || errors.Is(err, fairlead.ErrInvalid) != (want == "") {
			t.Errorf("%d %d %q: %q, %v; want %q", tt.kind, tt.reply, tt.job, got, err, want)
		}
	}
	// They are those that the official SDK subscribes to.
	vectors := loadVectors(t, "jobs-requests.json")
	for name, topic := range map[string]string{
		"v1-jobs-01-subscribe": "$aws/things/T/jobs/#", "v1-jobs-04-subscribe": "$aws/things/T/jobs/$next/get/accepted", "v1-jobs-05-subscribe": "$aws/things/T/jobs/+/update/#",
	} {
		var d struct{ Filters [][]any }
		if err := json.Unmarshal(vectors[name].Decoded, &d); err != nil || d.Filters[0][0] != topic {
			t.Errorf("%s: %v, %v", name, d.Filters, err)
		}
	}
}

func TestJobNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		notify := func(topic, body string) mqtttest.Step {
			return mqtttest.Send(mqtt.Publish{Topic: []byte(jobs + "/" + topic), Payload: []byte(body)})
		}
		r := newRig(t, func(c *Config) { c.OnConnection = nil }, connect(), connack(false), subscribe(jobs+"/notify", 1), suback(), subscribe(jobs+"/notify-next", 1), suback(),
			subscribe(jobs+"/#", 0), suback(), settle(),
			notify("notify", `{"timestamp":5,"jobs":{"IN_PROGRESS":[{"jobId":"a"}],"QUEUED":[{"jobId":"b"}]}}`), notify("notify-next", `{"timestamp":5,"execution":{"jobId":"b","jobDocument":1}}`),
			notify("notify", `{"timestamp":6,"jobs":{}}`), notify("notify-next", `{"timestamp":6}`), notify("notify", `?`), settle(),
		)
		r.start()
		var stops []func()
		stop, err := r.Jobs().OnNotify(r.ctx, func(p *PendingJobs) { r.note("notify %d %d", len(p.InProgress), len(p.Queued)) })
		stops = append(stops, stop)
		if err == nil {
			stop, err = r.Jobs().OnNotifyNext(r.ctx, func(x *JobExecution) {
				if x == nil {
					r.note("nothing")
					return
				}
				r.note("next %s %s", x.JobID, x.Document)
			})
			stops = append(stops, stop)
		}
		if err == nil {
			_, err = r.Jobs().Subscribe(r.ctx, JobTopicAll, JobRequest, "", 0, func(*Message) { r.note("message") })
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = r.finish()
		r.want("notify 1 1", "message", "next b 1", "message", "notify 0 0", "message", "nothing", "message", "message")
		for _, stop := range stops {
			stop()
		}
	})
}

// runner starts a runner of jobs.
func (r *rig) runner(work JobFunc, opts *RunOptions) (ended chan error) {
	ended = make(chan error, 1)
	r.start()
	go func() { ended <- r.Jobs().Run(r.ctx, work, opts) }()
	return ended
}

func execution(id, version string) string {
	return `{"execution":{"jobId":"` + id + `","status":"IN_PROGRESS","versionNumber":` + version + `,"executionNumber":1,"jobDocument":{"n":"` + id + `"}},"timestamp":1}`
}

// listen is what a runner subscribes to at first.
func listen() mqtttest.Step {
	return steps(subscribe(jobs+"/notify-next", 1), suback(), subscribe(jobs+"/notify", 1), suback(), subscribe(jobs+"/start-next/+", 1), suback())
}

// Jobs are taken in order; what came of each, and progress, is told to AWS IoT with the version that it has; when there is no job the
// runner waits for a notification, or a connection.
func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		progress, ok, failed, refused := &exchange{t: t}, &exchange{t: t}, &exchange{t: t}, &exchange{t: t}
		updated := func(x *exchange, version string) mqtttest.Step {
			return x.send(jobs+"/"+map[*exchange]string{progress: "a", ok: "a", failed: "b", refused: "c"}[x]+"/update/accepted", `{"executionState":{"status":"?","versionNumber":`+version+`}}`)
		}
		r := newRig(t, func(c *Config) {
			c.OnConnection = nil
			c.CleanSession = false
		}, connect(), connack(false), listen(),
			answer(t, jobs+"/start-next", accepted, execution("a", "2")),
			subscribe(jobs+"/+/update/+", 1), suback(), progress.expect(jobs+"/a/update"), puback(), updated(progress, "3"), ok.expect(jobs+"/a/update"), puback(), updated(ok, "4"),
			answer(t, jobs+"/start-next", accepted, execution("b", "7")), failed.expect(jobs+"/b/update"), puback(), updated(failed, "8"),
			answer(t, jobs+"/start-next", accepted, `{"timestamp":1}`), settle(),
			mqtttest.Send(mqtt.Publish{Topic: []byte(jobs + "/notify-next"), Payload: []byte(execution("c", "1"))}),
			answer(t, jobs+"/start-next", accepted, execution("c", "1")), refused.expect(jobs+"/c/update"), puback(), updated(refused, "2"),
			answer(t, jobs+"/start-next", accepted, `{"timestamp":1}`), settle(), mqtttest.Hangup(),
			connect(), connack(true), ping(), answer(t, jobs+"/start-next", accepted, `{"timestamp":1}`), settle(), // what was under way is asked again
		)
		ended := r.runner(func(ctx context.Context, job *Job) (map[string]string, error) {
			r.note("%s %s", job.JobID, job.Document)
			switch job.JobID {
			case "a":
				return map[string]string{"took": "1 s"}, job.Progress(ctx, map[string]string{"done": "50 %"})
			case "b":
				return nil, errors.New("no power,\nno steam")
			}
			return map[string]string{"reason": "not mine"}, ErrRejectJob
		}, &RunOptions{OnResult: func(job *Job, status JobStatus, err error) { r.note("%s %s %v", job.JobID, status, err) }})
		_ = r.finish()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.want(`a {"n":"a"}`, "a SUCCEEDED <nil>", `b {"n":"b"}`, "b FAILED <nil>", `c {"n":"c"}`, "c REJECTED <nil>")
		for _, tt := range []struct {
			x       *exchange
			status  string
			version float64
			details map[string]any
		}{
			{progress, "IN_PROGRESS", 2, map[string]any{"done": "50 %"}},
			{ok, "SUCCEEDED", 3, map[string]any{"took": "1 s"}},
			{failed, "FAILED", 7, map[string]any{"reason": "no power, no steam"}},
			{refused, "REJECTED", 1, map[string]any{"reason": "not mine"}},
		} {
			want := map[string]any{"status": tt.status, "expectedVersion": tt.version, "executionNumber": 1.0, "includeJobExecutionState": true, "statusDetails": tt.details}
			if diff := cmp.Diff(want, tt.x.payload); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// When an execution is canceled, has timed out or was deleted, the work is told, and its result is not.
func TestRunnerEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OnConnection = nil }, connect(), connack(false), listen(),
			answer(t, jobs+"/start-next", accepted, execution("a", "2")), settle(),
			mqtttest.Send(mqtt.Publish{Topic: []byte(jobs + "/notify"), Payload: []byte(`{"jobs":{"IN_PROGRESS":[{"jobId":"a","executionNumber":1}]}}`)}), settle(),
			mqtttest.Send(mqtt.Publish{Topic: []byte(jobs + "/notify"), Payload: []byte(`{"jobs":{}}`)}),
			subscribe(jobs+"/+/get/+", 1), suback(), answer(t, jobs+"/a/get", rejected, `{"code":"TerminalStateReached","message":"canceled"}`),
			answer(t, jobs+"/start-next", accepted, execution("b", "1")),
			subscribe(jobs+"/+/update/+", 1), suback(), answer(t, jobs+"/b/update", rejected, `{"code":"InvalidStateTransition","message":"too late","executionState":{"status":"TIMED_OUT","versionNumber":2}}`),
			answer(t, jobs+"/start-next", accepted, `{"timestamp":1}`), settle(),
		)
		ended := r.runner(func(ctx context.Context, job *Job) (map[string]string, error) {
			if job.JobID == "a" {
				<-ctx.Done()
			} else if err := job.Progress(ctx, nil); !errors.Is(err, ErrJobEnded) {
				t.Errorf("Progress: %v", err)
			}
			r.note("%s %v", job.JobID, context.Cause(ctx))
			return nil, context.Cause(ctx)
		}, &RunOptions{OnResult: func(job *Job, status JobStatus, err error) {
			r.note("%s %s %v", job.JobID, status, errors.Is(err, ErrJobEnded))
		}})
		_ = r.finish()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.want("a "+ErrJobEnded.Error(), "a IN_PROGRESS true", "b "+ErrJobEnded.Error(), "b TIMED_OUT true")
	})
}

// The result is told until AWS IoT has answered: after a lost connection it may know it already. Details that somebody else has written
// meanwhile do not matter.
func TestRunnerRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{t: t}
		r := newRig(t, func(c *Config) {
			c.OnConnection = nil
			c.CleanSession = false
		}, connect(), connack(false), listen(),
			answer(t, jobs+"/start-next", rejected, `{"code":"InternalError","message":"?"}`), answer(t, jobs+"/start-next", accepted, execution("a", "2")),
			subscribe(jobs+"/+/update/+", 1), suback(),
			answer(t, jobs+"/a/update", rejected, `{"code":"VersionMismatch","message":"?","executionState":{"status":"IN_PROGRESS","versionNumber":5}}`),
			x.expect(jobs+"/a/update"), puback(), mqtttest.Hangup(), connect(), connack(true),
			answer(t, jobs+"/a/update", rejected, `{"code":"InvalidStateTransition","message":"?","executionState":{"status":"SUCCEEDED","versionNumber":6}}`),
			answer(t, jobs+"/start-next", accepted, `{"timestamp":1}`), answer(t, jobs+"/start-next", rejected, `{"code":"InvalidRequest","message":"?"}`), settle(),
		)
		var results []error
		ended := r.runner(func(context.Context, *Job) (map[string]string, error) { return nil, nil },
			&RunOptions{OnResult: func(_ *Job, _ JobStatus, err error) { results = append(results, err) }})
		err := <-ended
		if !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("Run: %v", err)
		}
		_ = r.finish()
		if !slices.Equal(results, []error{nil}) {
			t.Errorf("results %v", results)
		}
		if x.payload["expectedVersion"] != 5.0 {
			t.Errorf("second update: %v", x.payload)
		}
	})
}

// When the program ends, the execution stays in progress: the next start takes it up again.
func TestRunnerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OnConnection = nil }, connect(), connack(false), listen(), answer(t, jobs+"/start-next", accepted, execution("a", "2")), settle())
		ended := r.runner(func(ctx context.Context, _ *Job) (map[string]string, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}, nil)
		_ = r.finish()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
