package awsiot

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/job"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// tell publishes what a session has changed: to devices what is pending for them, to those who want to know the events.
func (s *jobs) tell(tx *commit.Tx, t core.TenantID, c job.Changes) error {
	tx.After(s.rouse)
	v := newViewer(job.Read(tx, t, Name), tx.Now())
	for _, d := range c.Devices {
		if err := s.tellDevice(tx, t, v, d); err != nil {
			return err
		}
	}
	if len(c.Executions) == 0 && len(c.Jobs) == 0 {
		return nil
	}
	for _, x := range c.Jobs {
		if x.Gone {
			if err := putTags(tx, t, keyJob+x.Job.ID, nil); err != nil {
				return err
			}
		}
	}
	a, err := readAccount(tx, t)
	if err != nil {
		return err
	}
	if a.Events[eventJobExecution] {
		for i := range c.Executions {
			if err := s.tellExecution(tx, &a, &c.Executions[i]); err != nil {
				return err
			}
		}
	}
	if a.Events[eventJob] {
		for _, x := range c.Jobs {
			if err := s.tellJob(tx, &a, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// rouse has the runner look for what is to be done.
func (s *jobs) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// tellDevice publishes notify if what is pending is another set, and notify-next if another one is the next (AWS IoT Core
// Developer Guide, "Jobs notifications", with its worked example).
func (s *jobs) tellDevice(tx *commit.Tx, t core.TenantID, v *viewer, c job.DeviceChange) error {
	publish := func(op awswire.Op, payload any) error {
		return s.d.publishAll(tx, t, core.Message{
			Topic: awswire.JobsTopic(string(c.Device), "", op, awswire.Request), Payload: awswire.AppendPayload(nil, payload), QoS: 1,
		})
	}
	list, err := v.Pending(c.Device, awswire.MaxNotifiedJobs)
	if err != nil {
		return err
	}
	if c.Set {
		n := awswire.JobsNotification{Timestamp: v.now.Unix(), Jobs: map[awswire.JobStatus][]awswire.JobSummary{}}
		for i := range list {
			state := jobState(list[i].State)
			n.Jobs[state] = append(n.Jobs[state], summaryOf(&list[i]))
		}
		if err := publish(awswire.OpNotify, n); err != nil {
			return err
		}
	}
	if !c.Next {
		return nil
	}
	n := awswire.NextJobNotification{Timestamp: v.now.Unix()}
	if len(list) > 0 {
		if n.Execution, err = v.execution(&list[0], true); err != nil {
			return err
		}
	}
	return publish(awswire.OpNotifyNext, n)
}

// Kinds of events that an account can switch on (UpdateEventConfigurations).
const (
	eventJob          = "JOB"
	eventJobExecution = "JOB_EXECUTION"
)

func (s *jobs) tellExecution(tx *commit.Tx, a *account, e *job.Execution) error {
	word := string(e.State)
	return s.event(tx, a, awswire.JobExecutionEventTopic(e.Job, word), awswire.JobExecutionEvent{
		EventType: eventJobExecution, EventID: newUUID(), Timestamp: tx.Now().Unix(), Operation: word, JobID: e.Job,
		ThingArn: a.arn(keyThing + string(e.Device)), Status: string(jobState(e.State)), StatusDetails: e.Details,
	})
}

func (s *jobs) tellJob(tx *commit.Tx, a *account, c job.JobChange) error {
	n, err := noteOf(&c.Job.Spec)
	if err != nil {
		return err
	}
	j, word := &c.Job, string(c.Job.Phase)
	e := awswire.JobEvent{
		EventType: eventJob, EventID: newUUID(), Timestamp: tx.Now().Unix(), JobID: j.ID, Status: strings.ToUpper(word),
		TargetSelection: selectionOf(&j.Spec), Targets: targetARNs(a, c.Targets), Description: n.Description,
		CreatedAt: j.Created.UnixMilli(), LastUpdatedAt: j.Changed.UnixMilli(), CompletedAt: millisOf(j.Ended), Comment: j.Comment,
	}
	switch {
	case c.Gone:
		word, e.Status = "deleted", "DELETED"
	case j.Phase == job.Completed:
		e.JobProcessDetails = &awswire.JobEventCounts{
			Canceled: j.Counts[job.Canceled], Rejected: j.Counts[job.Rejected], Failed: j.Counts[job.Failed], Removed: j.Counts[job.Removed],
			Succeeded: j.Counts[job.Succeeded], TimedOut: j.Counts[job.TimedOut],
		}
	}
	e.Operation = word
	return s.event(tx, a, awswire.JobEventTopic(j.ID, word), e)
}

func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (s *jobs) event(tx *commit.Tx, a *account, topic string, payload any) error {
	return s.d.publishAll(tx, a.Tenant, core.Message{Topic: topic, Payload: awswire.AppendPayload(nil, payload), QoS: 1})
}

// notify implements service: a device that is deleted loses its jobs. Things that are deleted but keep their device come by
// forgetThing.
func (s *jobs) notify(tx *commit.Tx, e core.Event) error {
	if e.Kind != core.DeviceDeleted {
		return nil
	}
	return s.forget(tx, e.Device.Tenant, string(e.Device.ID))
}

// change runs a session and tells what it has changed.
func (s *jobs) change(tx *commit.Tx, t core.TenantID, f func(x *job.Session) error) error {
	x := job.Begin(tx, t, Name)
	if err := f(x); err != nil {
		return err
	}
	c, err := x.Close()
	if err != nil {
		return err
	}
	return s.tell(tx, t, c)
}

// forget deletes the executions of a thing that is deleted.
func (s *jobs) forget(tx *commit.Tx, t core.TenantID, thing string) error {
	return s.change(tx, t, func(x *job.Session) error { return x.Forget(core.DeviceID(thing)) })
}

// joined gives a thing the continuous jobs of a group that it was put into, and of those above that.
func (s *jobs) joined(tx *commit.Tx, t core.TenantID, group, thing string) error {
	above, err := groupAndAbove(tx, t, group)
	if err != nil {
		return err
	}
	return s.change(tx, t, func(x *job.Session) error {
		for _, g := range above {
			if err := x.Join(groupResource+g, core.DeviceID(thing)); err != nil {
				return err
			}
		}
		return nil
	})
}

// left takes continuous jobs away from a thing that was taken out of a group, unless they have it by another target.
func (s *jobs) left(tx *commit.Tx, t core.TenantID, group, thing string) error {
	above, err := groupAndAbove(tx, t, group)
	if err != nil {
		return err
	}
	still := func(targets []string) (bool, error) { return isTarget(tx, t, thing, targets) }
	return s.change(tx, t, func(x *job.Session) error {
		for _, g := range above {
			if err := x.Leave(groupResource+g, core.DeviceID(thing), still); err != nil {
				return err
			}
		}
		return nil
	})
}

// A jobNote is what the platform has of a job beside what package job knows. What is raw comes back as it was asked for.
type jobNote struct {
	Description         string          `json:"description,omitempty"`
	PresignedURLConfig  json.RawMessage `json:"presignedUrlConfig,omitempty"`
	Rollout             json.RawMessage `json:"rollout,omitempty"`
	Abort               json.RawMessage `json:"abort,omitempty"`
	Timeout             json.RawMessage `json:"timeout,omitempty"`
	Retry               json.RawMessage `json:"retry,omitempty"`
	Scheduling          json.RawMessage `json:"scheduling,omitempty"`
	NamespaceID         string          `json:"namespaceId,omitempty"`
	TemplateArn         string          `json:"templateArn,omitempty"`
	DestinationPackages []string        `json:"destinationPackages,omitempty"`
}

func noteOf(s *job.Spec) (n jobNote, err error) {
	if err := json.Unmarshal(s.Note, &n); err != nil {
		return n, fmt.Errorf("note of job %s: %w: %v", s.ID, core.ErrStorage, err)
	}
	return n, nil
}

func selectionOf(s *job.Spec) string {
	if s.Continuous {
		return "CONTINUOUS"
	}
	return "SNAPSHOT"
}

func targetARNs(a *account, targets []string) []string {
	list := make([]string, len(targets))
	for i, t := range targets {
		list[i] = a.arn(t)
	}
	return list
}
