package awsiot

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// JobTopic is a kind of topic of the jobs service.
type JobTopic uint8

// The kinds of topics.
const (
	JobTopicPending    JobTopic = iota + 1 // $aws/things/THING/jobs/get
	JobTopicStartNext                      // $aws/things/THING/jobs/start-next
	JobTopicDescribe                       // $aws/things/THING/jobs/JOB/get
	JobTopicUpdate                         // $aws/things/THING/jobs/JOB/update
	JobTopicNotify                         // $aws/things/THING/jobs/notify
	JobTopicNotifyNext                     // $aws/things/THING/jobs/notify-next
	JobTopicAll                            // $aws/things/THING/jobs/#
)

// JobReply is what comes behind the topic of a request.
type JobReply uint8

// The replies.
const (
	JobRequest  JobReply = iota // the request itself, or a notification
	JobAccepted                 // .../accepted
	JobRefused                  // .../rejected
	JobReplies                  // .../#: the request and both answers
)

// Topic returns a topic of the jobs service, or a filter, for programs that publish and subscribe themselves. jobID is for
// [JobTopicDescribe], where [NextJob] is possible, and [JobTopicUpdate]; in a filter it may be "+". The error wraps fairlead.ErrInvalid
// if there is no such topic.
func (j *Jobs) Topic(kind JobTopic, reply JobReply, jobID string) (string, error) {
	wrong := fmt.Errorf("topic of jobs of %.128q: %w: there is none of kind %d with reply %d and job %.80q", j.thing, fairlead.ErrInvalid, kind, reply, jobID)
	if !awswire.ValidThingName(j.thing) || reply > JobReplies {
		return "", wrong
	}
	if kind == JobTopicAll {
		return awswire.JobsPrefix(j.thing) + "/#", nil
	}
	ops := [...]awswire.Op{
		JobTopicPending: awswire.OpGet, JobTopicStartNext: awswire.OpStartNext, JobTopicDescribe: awswire.OpGet, JobTopicUpdate: awswire.OpUpdate,
		JobTopicNotify: awswire.OpNotify, JobTopicNotifyNext: awswire.OpNotifyNext,
	}
	if kind == 0 || int(kind) >= len(ops) {
		return "", wrong
	}
	switch kind {
	case JobTopicDescribe, JobTopicUpdate:
		if !awswire.ValidJobID(jobID) && jobID != NextJob && jobID != "+" {
			return "", wrong
		}
	case JobTopicNotify, JobTopicNotifyNext:
		if jobID != "" || reply != JobRequest {
			return "", wrong
		}
	default:
		if jobID != "" {
			return "", wrong
		}
	}
	suffix := [...]string{JobRequest: "", JobAccepted: accepted, JobRefused: rejected, JobReplies: "/#"}[reply]
	return awswire.JobsTopic(j.thing, jobID, ops[kind], awswire.Request) + suffix, nil
}

// Subscribe subscribes to a topic of the jobs service, see [Jobs.Topic] and [Client.Subscribe]. Most programs want [Jobs.OnNotify],
// [Jobs.OnNotifyNext], or what asks and waits for the answer: then they get no answers here.
func (j *Jobs) Subscribe(ctx context.Context, kind JobTopic, reply JobReply, jobID string, qos QoS, handler func(*Message)) (granted QoS, err error) {
	filter, err := j.Topic(kind, reply, jobID)
	if err != nil {
		return 0, err
	}
	return j.c.Subscribe(ctx, filter, qos, handler, nil)
}

// OnNotify calls handle whenever an execution becomes pending or does not any more, with up to ten of those that are. It is called like
// the callbacks of [Config]. OnNotify returns when the subscription is in place; stop ends it, and may be called any number of times.
func (j *Jobs) OnNotify(ctx context.Context, handle func(*PendingJobs)) (stop func(), err error) {
	return j.on(ctx, awswire.OpNotify, func(payload []byte) error {
		var n awswire.JobsNotification
		if err := json.Unmarshal(payload, &n); err != nil {
			return err
		}
		handle(&PendingJobs{InProgress: summaries(n.Jobs[awswire.JobInProgress]), Queued: summaries(n.Jobs[awswire.JobQueued]), Time: seconds(n.Timestamp)})
		return nil
	})
}

// OnNotifyNext calls handle whenever the next pending execution is another one: nil if nothing is pending any more. For the rest it is
// like [Jobs.OnNotify].
func (j *Jobs) OnNotifyNext(ctx context.Context, handle func(*JobExecution)) (stop func(), err error) {
	return j.on(ctx, awswire.OpNotifyNext, func(payload []byte) error {
		var n awswire.NextJobNotification
		if err := json.Unmarshal(payload, &n); err != nil {
			return err
		}
		if n.Execution == nil {
			handle(nil)
			return nil
		}
		handle(newExecution(n.Execution))
		return nil
	})
}

func (j *Jobs) on(ctx context.Context, op awswire.Op, handle func(payload []byte) error) (stop func(), err error) {
	if !awswire.ValidThingName(j.thing) {
		return nil, fmt.Errorf("listen to jobs of %.128q: %w: name of thing", j.thing, fairlead.ErrInvalid)
	}
	ctx, cancel := j.c.operation(ctx)
	defer cancel()
	stop, err = j.c.attach(ctx, awswire.JobsTopic(j.thing, "", op, awswire.Request), AtLeastOnce, func(m *Message) {
		if err := handle(m.Payload); err != nil {
			j.c.log.Warn("message of AWS IoT dropped", "topic", m.Topic, "err", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen to jobs of %.128q: %w", j.thing, err)
	}
	return stop, nil
}
