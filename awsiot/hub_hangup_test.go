package awsiot_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
)

// With MQTT 3.1.1 AWS IoT can only hang up on what no policy allows. The application gets that message back, and the others arrive, each
// in its turn.
func TestHubHangUps(t *testing.T) {
	a := newAccount(t)
	made := a.narrow(t)
	for name, clean := range map[string]bool{"session kept": false, "session lost": true} {
		t.Run(name, func(t *testing.T) {
			cfg := a.config()
			cfg.ThingName, cfg.ClientID, cfg.Identity = "", "narrow", parseIdentity(t, made)
			cfg.Protocol, cfg.CleanSession, cfg.MaxHangUps = awsiot.MQTT311, clean, 2
			cfg.Backoff = awsiot.Backoff{Base: time.Millisecond, Max: 20 * time.Millisecond}
			type returned struct {
				*awsiot.Message
				err error
			}
			back := make(chan returned, 10)
			cfg.OnUndeliverable = func(m *awsiot.Message, err error) { back <- returned{m, err} }
			c, err := awsiot.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			var results []*awsiot.Result
			for _, topic := range []string{"mine/1", "theirs/2", "mine/3", "mine/4", "theirs/5", "mine/6"} {
				r, err := c.PublishAsync(soonAfter(t), topic, awsiot.AtLeastOnce, []byte(topic), nil)
				if err != nil {
					t.Fatal(err)
				}
				results = append(results, r)
			}
			runs(t, c)
			for i, r := range results {
				err := r.Wait(soonAfter(t))
				if denied := i == 1 || i == 4; denied != errors.Is(err, awsiot.ErrHungUp) || denied != errors.Is(err, fairlead.ErrDenied) || !denied && err != nil {
					t.Errorf("message %d: %v", i+1, err)
				}
			}
			for _, topic := range []string{"theirs/2", "theirs/5"} {
				if m := next(t, back); m.Topic != topic || string(m.Payload) != topic || m.QoS != awsiot.AtLeastOnce || !errors.Is(m.err, awsiot.ErrHungUp) || !strings.Contains(m.err.Error(), topic) {
					t.Errorf("%+v", m)
				}
			}
			if err := c.Publish(soonAfter(t), "mine/7", awsiot.AtLeastOnce, []byte("7"), nil); err != nil {
				t.Error(err)
			}
			if err := c.Publish(soonAfter(t), "theirs/8", awsiot.AtLeastOnce, nil, &awsiot.PublishOptions{NoQueue: true}); !errors.Is(err, awsiot.ErrHungUp) {
				t.Errorf("around the queue: %v", err)
			}
			if _, err := c.ThingShadow("pump", "").Get(soonAfter(t)); !errors.Is(err, awsiot.ErrHungUp) {
				t.Errorf("shadow: %v", err)
			}
			if err := c.Publish(soonAfter(t), "mine/9", awsiot.AtLeastOnce, []byte("9"), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// narrow makes a certificate whose policy allows mine/* only.
func (a *account) narrow(t *testing.T) map[string]any {
	t.Helper()
	made := a.must(t, "iot", "POST", "/keys-and-certificate?setAsActive=true", nil)
	a.must(t, "iot", "POST", "/policies/narrow", map[string]any{"policyDocument": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:*:*:topic/mine/*"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":["arn:aws:iot:*:*:topicfilter/mine/*","arn:aws:iot:*:*:topicfilter/$aws/*"]}]}`})
	a.must(t, "iot", "PUT", "/target-policies/narrow", map[string]any{"target": made["certificateArn"]})
	return made
}

// A network that fails whenever a message is on its way, and answers that never come, cost no message.
func TestHubFlappingNetwork(t *testing.T) {
	a := newAccount(t)
	line := a.NewLine(t)
	cfg := a.config()
	cfg.Protocol, cfg.MaxHangUps, cfg.Dial = awsiot.MQTT311, 2, line.Dial
	cfg.OnUndeliverable = func(m *awsiot.Message, err error) { t.Errorf("%s was given up: %v", m.Topic, err) }
	c := online(t, cfg)
	const messages = 20
	var results []*awsiot.Result
	for range messages {
		line.CutAfter(hubtest.ToDevice, 1) // what comes back next is an acknowledgement
		r, err := c.PublishAsync(soonAfter(t), "dt/x", awsiot.AtLeastOnce, []byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	for _, r := range results {
		if err := r.Wait(soonAfter(t)); err != nil {
			t.Error(err)
		}
	}
}
