package awsiot

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
)

func TestParseCron(t *testing.T) {
	for _, tt := range []struct{ text, from, want string }{
		{"cron(0 2 * * ? *)", "2026-05-06T07:00:00Z", "2026-05-07T02:00:00Z"},
		{"0 2 * * * *", "2026-05-06T07:00:00Z", "2026-05-07T02:00:00Z"},
		{"cron(30 18 ? * MON-FRI *)", "2026-05-08T18:31:00Z", "2026-05-11T18:30:00Z"},
		{"cron(0/15 8,20 ? * * *)", "2026-05-06T08:46:00Z", "2026-05-06T20:00:00Z"},
		{"cron(0 0 1 */3 ? *)", "2026-05-06T00:00:00Z", "2026-07-01T00:00:00Z"},
		{"cron(0 0 l feb ? *)", "2026-05-06T00:00:00Z", "2027-02-28T00:00:00Z"},
		{"cron(0 0 15,L * ? *)", "2026-05-16T00:00:00Z", "2026-05-31T00:00:00Z"},
		{"cron(0 0 ? * 1 *)", "2026-05-06T00:00:00Z", "2026-05-10T00:00:00Z"},
		{"cron(0 0 ? * 6#2 *)", "2026-05-06T00:00:00Z", "2026-05-08T00:00:00Z"},
		{"cron(0 0 ? * FRIL *)", "2026-05-06T00:00:00Z", "2026-05-29T00:00:00Z"},
		{"cron(0 0 ? * L *)", "2026-05-06T00:00:00Z", "2026-05-09T00:00:00Z"},
		{"cron(59 23 31 12 ? 2026-2027)", "2027-01-01T00:00:00Z", "2027-12-31T23:59:00Z"},

		{"", "", ""},
		{"cron(0 2 * * ?)", "", ""},
		{"cron(0 2 * * ? * *)", "", ""},
		{"cron(0 2 1 * MON *)", "", ""},
		{"cron(0 2 * * ? *", "", ""},
		{"cron(60 2 * * ? *)", "", ""},
		{"cron(0 24 * * ? *)", "", ""},
		{"cron(0 2 0 * ? *)", "", ""},
		{"cron(0 2 15W * ? *)", "", ""},
		{"cron(0 2 * 13 ? *)", "", ""},
		{"cron(0 2 ? * 0 *)", "", ""},
		{"cron(0 2 ? * MON,TUE#1 *)", "", ""},
		{"cron(0 2 ? * MON#6 *)", "", ""},
		{"cron(0 2 ? * MON-WEDL *)", "", ""},
		{"cron(5-1 2 * * ? *)", "", ""},
		{"cron(*/0 2 * * ? *)", "", ""},
		{"cron(? 2 * * ? *)", "", ""},
		{"cron(0 2 * * ? 1969)", "", ""},
		{"cron(,0 2 * * ? *)", "", ""},
		{"rate(5 minutes)", "", ""},
	} {
		w, ok := parseCron(tt.text)
		if !ok {
			if tt.want != "" {
				t.Errorf("%q is refused", tt.text)
			}
			continue
		}
		from, err := time.Parse(time.RFC3339, tt.from)
		if tt.want == "" || err != nil {
			t.Errorf("%q is taken", tt.text)
		} else if got := w.Next(from).Format(time.RFC3339); got != tt.want {
			t.Errorf("%q: next at %s, want %s", tt.text, got, tt.want)
		}
	}
}

// FuzzCron checks that what is taken means times that can be found.
func FuzzCron(f *testing.F) {
	for _, s := range []string{"cron(0 2 * * ? *)", "0/5 1-3,7 ? JAN-MAR MON#2 2026/2", "* * L * ? *", "* * ? * 6L *"} {
		f.Add(s, int64(1778051289))
	}
	f.Fuzz(func(t *testing.T, text string, at int64) {
		w, ok := parseCron(text)
		if !ok {
			return
		}
		from := time.Unix(at%(1<<33), 0).UTC()
		next := w.Next(from)
		if next.IsZero() {
			return
		}
		if next.Before(from) || w.Minutes>>next.Minute()&1 == 0 || w.Hours>>next.Hour()&1 == 0 || w.Months>>next.Month()&1 == 0 {
			t.Errorf("%q after %v: %v", text, from, next)
		}
		if again := w.Next(next); !again.Equal(next) {
			t.Errorf("%q: %v is a beginning, and yet the next one is %v", text, next, again)
		}
	})
}

// TestMaintenanceWindows has a job come to devices of a group in its windows only, over a restart, from its own
// configuration and from that of a template.
func TestMaintenanceWindows(t *testing.T) {
	const windows = `{"maintenanceWindows":[{"startTime":"cron(0 9 * * ? *)","durationInMinutes":60}]}`
	r := newJobRig(t, "T", "U") // Wednesday, 07:08:09
	r.do(func(tx *commit.Tx) error {
		if err := r.d.putThingGroup(tx, testTenant, thingGroup{Name: "G"}); err != nil {
			return err
		}
		return r.d.joinGroup(tx, testTenant, "G", "T")
	})
	for name, scheduling := range map[string]string{
		"expression": `{"maintenanceWindows":[{"startTime":"9 o'clock","durationInMinutes":60}]}`,
		"never":      `{"maintenanceWindows":[{"startTime":"cron(0 9 30 2 ? *)","durationInMinutes":60}]}`,
		"duration":   `{"maintenanceWindows":[{"startTime":"cron(0 9 * * ? *)","durationInMinutes":1431}]}`,
		"type":       `{"maintenanceWindows":[7]}`,
		"many":       `{"maintenanceWindows":[` + strings.Repeat(`{},`, maxWindows) + `{}]}`,
	} {
		in := createJobInput{Targets: []string{"thinggroup/G"}, Scheduling: json.RawMessage(scheduling)}
		if err := r.createJob("a", in); refusedAs(err) != invalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	template := createJobTemplateInput{Document: "{}", jobConfig: jobConfig{Description: "d"}}
	if err := json.Unmarshal([]byte(windows), &template); err != nil {
		t.Fatal(err)
	}
	made, err := r.d.createJobTemplate(t.Context(), testTenant, "t", template)
	if err != nil {
		t.Fatal(err)
	}
	r.mustCreateJob("a", createJobInput{Targets: []string{"thinggroup/G"}, TargetSelection: "CONTINUOUS", Scheduling: json.RawMessage(windows)})
	r.mustCreateJob("b", createJobInput{Targets: []string{"thing/T"}, JobTemplateArn: made.Arn})
	expect := func(id, status string, queued int, first string) {
		t.Helper()
		out, err := r.d.describeJob(t.Context(), testTenant, id)
		if err != nil {
			t.Fatal(err)
		}
		j := out.Job
		if j.Status != status || j.ProcessDetails["numberOfQueuedThings"] != queued || len(j.Rollouts) != listedWindows || j.Rollouts[0].StartTime != first {
			t.Errorf("job %s: %s, %v queued, windows %v; want %s, %d, from %s", id, j.Status, j.ProcessDetails["numberOfQueuedThings"], j.Rollouts, status, queued, first)
		}
	}
	expect("a", "SCHEDULED", 0, "2026-05-06T09:00:00Z")
	expect("b", "SCHEDULED", 0, "2026-05-06T09:00:00Z")
	r.work()
	r.expectSaid()
	r.start()
	r.advance(2 * time.Hour) // 09:08
	r.work()
	expect("a", "IN_PROGRESS", 1, "2026-05-07T09:00:00Z")
	expect("b", "IN_PROGRESS", 1, "2026-05-07T09:00:00Z")
	if got := topics(r.heard()); !slices.Contains(got, "jobs/notify-next") {
		t.Errorf("told %q", got)
	}
	r.advance(time.Hour)
	r.work()
	r.do(func(tx *commit.Tx) error { return r.d.joinGroup(tx, testTenant, "G", "U") })
	expect("a", "SCHEDULED", 1, "2026-05-07T09:00:00Z")
	expect("b", "IN_PROGRESS", 1, "2026-05-07T09:00:00Z") // everybody has got it
	r.advance(23 * time.Hour)
	r.work()
	expect("a", "IN_PROGRESS", 2, "2026-05-08T09:00:00Z")
}

// TestScheduleTimes tries the earliest and latest times that a job may have, and those next to them.
func TestScheduleTimes(t *testing.T) {
	r := newJobRig(t, "T") // 2026-05-06T07:08:09Z
	for i, tt := range []struct {
		start, end string
		taken      bool
	}{
		{"2026-05-06T07:38", "", true},
		{"2026-05-06T07:37", "", false},
		{"2026-05-06T07:00", "", false},
		{"2020-01-01T00:00", "", false},
		{"2027-05-06T07:08", "", true},
		{"2027-05-06T07:09", "", false},
		{"", "2026-05-06 07:38", true},
		{"", "2026-05-06 07:37", false},
		{"", "2028-05-06T07:08:09Z", true},
		{"", "2028-05-06T07:08:10Z", false},
		{"2026-05-06T08:00", "2026-05-06T08:30", true},
		{"2026-05-06T08:00", "2026-05-06T08:29", false},
		{"2026-05-06T08:00", "2026-05-06T07:50", false},
		{"2026-05-06T08:00", "2028-05-06T08:00", false},
	} {
		times := map[string]string{}
		if tt.start != "" {
			times["startTime"] = tt.start
		}
		if tt.end != "" {
			times["endTime"], times["endBehavior"] = tt.end, "CANCEL"
		}
		scheduling, err := json.Marshal(times)
		if err != nil {
			t.Fatal(err)
		}
		in := createJobInput{Targets: []string{"thing/T"}, Scheduling: scheduling}
		if err := r.createJob(fmt.Sprint("j", i), in); (err == nil) != tt.taken || err != nil && refusedAs(err) != invalidRequest {
			t.Errorf("%s: %v, want it taken: %v", scheduling, err, tt.taken)
		}
	}
}

// TestJobTags keeps what is given to jobs and templates when they are made, and forgets it with them.
func TestJobTags(t *testing.T) {
	g := newHTTPRig(t)
	const tags = `"tags":[{"Key":"k","Value":"v"}]`
	g.tell(step{do: "POST /things/T", capture: map[string]string{"thing": "thingArn"}})
	for _, kind := range []struct{ make, body, arn, remove string }{
		{"PUT /jobs/a", `"targets":["${thing}"],"document":"{}"`, "jobArn", "DELETE /jobs/a?force=true"},
		{"PUT /job-templates/t", `"description":"d","document":"{}"`, "jobTemplateArn", "DELETE /job-templates/t"},
	} {
		g.tell(
			step{do: kind.make, body: "{" + kind.body + `,"tags":[{"Key":"` + strings.Repeat("k", 129) + `"}]}`, want: invalidRequest},
			step{do: kind.make, body: "{" + kind.body + "," + tags + "}", capture: map[string]string{"arn": kind.arn}},
			step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`{"Key":"k","Value":"v"}`}},
			step{do: "POST /tags", body: `{"resourceArn":"${arn}","tags":[{"Key":"l","Value":"w"}]}`},
			step{do: "POST /untag", body: `{"resourceArn":"${arn}","tagKeys":["k"]}`},
			step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`"l"`}, no: []string{`"k"`}},
			step{do: kind.remove},
			step{do: "GET /tags?resourceArn=${arn|path}", want: notFound},
			step{do: kind.make, body: "{" + kind.body + "}"},
			step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`"tags":[]`}},
			step{do: kind.remove},
			step{do: kind.make, body: "{" + kind.body + `,"tags":[{"Key":"k","Value":"v"},{"Key":"k","Value":"w"}]}`},
			step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`"tags":[{"Key":"k","Value":"w"}]`}},
		)
	}
}

// TestWhatNeedsS3 checks that nothing is taken that devices could never do.
func TestWhatNeedsS3(t *testing.T) {
	r := newJobRig(t, "T")
	for name, body := range map[string]string{
		"source":      `{"documentSource":"https://bucket.s3.us-east-1.amazonaws.com/job.json"}`,
		"placeholder": `{"document":"{\"url\":\"${aws:iot:s3-presigned-url:https://s3.amazonaws.com/b/k}\"}"}`,
		"version":     `{"document":"{\"url\":\"${aws:iot:s3-presigned-url-v2:https://s3.amazonaws.com/b/k}\"}"}`,
		"parameters":  `{"document":"{}","documentParameters":{"a":"b"}}`,
	} {
		var in createJobInput
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatal(err)
		}
		in.Targets = []string{r.a.arn("thing/T")}
		if _, err := r.d.createJob(t.Context(), testTenant, "a", in); refusedAs(err) != invalidRequest {
			t.Errorf("job, %s: %v", name, err)
		}
		var template createJobTemplateInput
		if err := json.Unmarshal([]byte(body), &template); err != nil {
			t.Fatal(err)
		}
		template.Description = "d"
		if name == "parameters" {
			continue // which templates do not have
		}
		if _, err := r.d.createJobTemplate(t.Context(), testTenant, "t", template); refusedAs(err) != invalidRequest {
			t.Errorf("template, %s: %v", name, err)
		}
	}
}
