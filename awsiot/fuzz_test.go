package awsiot

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// Whatever comes as an answer or a notification: nothing panics, and an answer finds a request only by its token, or when that is the
// only one.
func FuzzAnswer(f *testing.F) {
	f.Add("$aws/things/T/shadow/get/accepted", []byte(`{"state":{"desired":{}},"metadata":null,"version":1,"timestamp":5,"clientToken":"one"}`))
	f.Add("$aws/things/T/shadow/get/rejected", []byte(`{"code":404,"message":"no"}`))
	f.Add("$aws/things/T/jobs/get/accepted", []byte(`{"execution":{"jobId":"a","approximateSecondsBeforeTimedOut":-1},"executionState":{"status":"X"},"clientToken":"two"}`))
	f.Add("$aws/certificates/create/json/rejected", []byte(`{"statusCode":400}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		var r requests
		r.init()
		r.add("$aws/things/T/shadow/get", "one")
		r.add("$aws/things/T/jobs/get", "two")
		r.add("$aws/things/T/jobs/get", "three")
		r.add("$aws/certificates/create/json", "")
		key, ok := r.reply(&mqttclient.Message{Topic: topic, Payload: payload})
		if ok {
			var body struct{ ClientToken string }
			_ = json.Unmarshal(payload, &body) // what is no JSON has no token
			switch key {
			case requestKey("$aws/things/T/shadow/get", body.ClientToken), requestKey("$aws/things/T/jobs/get", body.ClientToken), requestKey("$aws/certificates/create/json", ""):
			case requestKey("$aws/things/T/shadow/get", "one"):
				if topic != "$aws/things/T/shadow/get/rejected" {
					t.Errorf("%q %q answers %q", topic, payload, key)
				}
			default:
				t.Errorf("%q %q answers %q", topic, payload, key)
			}
		}
		if err := shadowRefusal("x", payload); err == nil {
			t.Error("a refusal without an error")
		}
		var refusal *JobError
		if err := jobRefusal("x", payload); !errors.As(err, &refusal) && !errors.Is(err, fairlead.ErrUnavailable) || refusal != nil && refusal.Platform.Kind == nil {
			t.Errorf("a refusal without a kind: %v", err)
		}
		var s awswire.ShadowReply
		if json.Unmarshal(payload, &s) == nil {
			newDocument(s.State, s.Metadata, s.Version, s.Timestamp, s.ClientToken)
		}
		var j awswire.JobReply
		if json.Unmarshal(payload, &j) == nil && j.Execution != nil {
			if x := newExecution(j.Execution); x.TimeLeft < 0 {
				t.Errorf("%v left", x.TimeLeft)
			}
		}
	})
}
