package awsiot

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

func TestSubscribeRefusals(t *testing.T) {
	c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), Protocol: MQTT311})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		filter string
		qos    QoS
		opts   *SubscribeOptions
	}{
		{"", 0, nil},
		{"a#", 0, nil},
		{"$share/g", 0, nil},
		{strings.Repeat("a", 257), 0, nil},
		{strings.Repeat("+/", 8) + "a", 0, nil},
		{"a", 2, nil},
		{"a", 1, &SubscribeOptions{NoLocal: true}},
	} {
		if _, err := c.Subscribe(t.Context(), tt.filter, tt.qos, nil, tt.opts); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%.20q: %v", tt.filter, err)
		}
		if err := c.SubscribeAsync(tt.filter, tt.qos, nil, tt.opts); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%.20q: %v", tt.filter, err)
		}
	}
	if err := c.SubscribeAsync("$share/group/"+strings.Repeat("+/", 7)+"a", 1, nil, nil); err != nil {
		t.Error(err)
	}
}

// One SUBSCRIBE for each filter; each handler whose filter matches gets the message, then OnMessage, in order; after a connection with a
// new session AWS IoT is asked again, and only then.
func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, func(c *Config) {
			c.CleanSession = false
			c.OnMessage = func(m *Message) { r.note("any %s %s", m.Topic, m.Payload) }
			c.OnConnection = nil
		},
			connect(), connack(false), subscribe("a/#", 1), suback(), subscribe("+/1", 0), suback(), settle(),
			mqtttest.Send(mqtt.Publish{Topic: []byte("a/1"), Payload: []byte("x"), QoS: 1}), mqtttest.Expect(mqtt.Ack{Type: mqtt.TypePubAck}), settle(),
			mqtttest.Send(mqtt.Publish{Topic: []byte("b"), Payload: []byte("y")}), settle(),
			mqtttest.Hangup(), connect(), connack(true), settle(), mqtttest.Send(publish("b/1", 0)), settle(),
			mqtttest.Do("replace", func() {
				if err := r.SubscribeAsync("+/1", 0, func(m *Message) { r.note("third %s", m.Topic) }, nil); err != nil {
					t.Error(err)
				}
			}), mqtttest.Send(publish("c/1", 0)), settle(),
			mqtttest.Hangup(), connect(), connack(false), subscribe("a/#", 1), suback(), subscribe("+/1", 0), suback(), settle(),
			mqtttest.Do("unsubscribe", func() { r.UnsubscribeAsync("a/#", "nothing") }), unsubscribe("a/#"), unsuback(), mqtttest.Send(publish("a/2", 0)), settle(),
		)
		err := errors.Join(
			r.SubscribeAsync("a/#", 1, func(m *Message) { r.note("first %s %s", m.Topic, m.Payload) }, &SubscribeOptions{OnSettled: func(granted QoS, err error) {
				r.note("granted %d, %v", granted, err)
			}}),
			r.SubscribeAsync("+/1", 0, func(m *Message) { r.note("second %s", m.Topic) }, nil),
		)
		if err != nil {
			t.Fatal(err)
		}
		r.start()
		_ = r.finish()
		r.want("granted 1, <nil>", "first a/1 x", "second a/1", "any a/1 x", "any b y", "second b/1", "any b/1 ", "third c/1", "any c/1 ", "granted 1, <nil>", "any a/2 ")
	})
}

// The calls that wait, from a callback: SUBACK and UNSUBACK come by another goroutine.
func TestCallsInCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, func(c *Config) {
			c.OnConnection = nil
			c.OnMessage = func(*Message) {
				granted, err := r.Subscribe(r.ctx, "b", 1, nil, nil)
				r.note("granted %d, %v", granted, err)
				r.note("published %v", r.Publish(r.ctx, "c", 1, nil, nil))
				_, err = r.Shadow("").Get(r.ctx)
				r.note("not found %v", errors.Is(err, fairlead.ErrNotFound))
				r.note("unsubscribed %v", r.Unsubscribe(r.ctx, "b"))
			}
		}, connect(), connack(false), settle(), mqtttest.Send(publish("a", 1)),
			subscribe("b", 1), suback(), mqtttest.Expect(publish("c", 1)), puback(), subscribe("$aws/things/pump-7/shadow/get/+", 1), suback(),
			answer(t, "$aws/things/pump-7/shadow/get", rejected, `{"code":404,"message":"No shadow exists with name: 'pump-7'"}`), unsubscribe("b"), unsuback(),
			mqtttest.Expect(mqtt.Ack{Type: mqtt.TypePubAck}),
		)
		r.start()
		_ = r.finish()
		r.want("granted 1, <nil>", "published <nil>", "not found true", "unsubscribed <nil>")
	})
}

// A refusal is an error of the call, with the code; the subscription is gone then. What is refused on a later connection is told to a
// callback.
func TestSubscribeRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, func(c *Config) {
			c.OnConnection = nil
			c.OnRefusedSubscription = func(filter string, err error) { r.note("refused %s %v", filter, errors.Is(err, fairlead.ErrDenied)) }
		},
			connect(), connack(false), subscribe("a", 1), mqtttest.Send(mqtt.SubAck{Codes: []byte{0x80}}), subscribe("b", 1), suback(), settle(), mqtttest.Hangup(),
			connect(), connack(false), subscribe("b", 1), mqtttest.Send(mqtt.SubAck{Codes: []byte{0x80}}), settle(), mqtttest.Hangup(), connect(), connack(false), subscribe("b", 1), suback(),
		)
		r.start()
		_, err := r.Subscribe(r.ctx, "a", 1, nil, nil)
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != "128" || !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("Subscribe: %v", err)
		}
		if _, err := r.Subscribe(r.ctx, "b", 1, nil, nil); err != nil {
			t.Error(err)
		}
		_ = r.finish()
		r.want("refused a true", "refused b true")
	})
}

// Whoever waits for AWS IoT does so under a context, and not beyond the end of Run; the subscription stays.
func TestSubscribeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OperationTimeout = time.Minute }, connect(), connack(false), subscribe("a", 1), settle(), mqtttest.Do("stop", func() {}))
		if _, err := r.Subscribe(r.ctx, "a", 1, nil, nil); !errors.Is(err, ErrTimeout) || !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("Subscribe: %v", err)
		}
		if err := r.Unsubscribe(r.ctx, "b"); err != nil {
			t.Errorf("Unsubscribe from nothing: %v", err)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := r.Subscribe(t.Context(), "a", 1, nil, nil); !errors.Is(err, fairlead.ErrClosed) {
				t.Errorf("Subscribe: %v", err)
			}
		})
		wait()
		r.start()
		_ = r.finish()
		waiting.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Unsubscribe(ctx, "a"); !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("Unsubscribe without a connection: %v", err)
		}
	})
}

// A held message is acknowledged when the last one who holds it has let go; those behind it wait for that, as MQTT has it.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		acks := make(chan func(), 2)
		letGo := mqtttest.Do("let go", func() {
			(<-acks)()
			wait()
		})
		nothing := mqtttest.Steps(mqtttest.Expect(mqtt.PingReq{}), mqtttest.Send(mqtt.PingResp{})) // what comes next is no PUBACK
		r = newRig(t, func(c *Config) { c.OnMessage, c.KeepAlive = func(*Message) { r.note("seen") }, 20*time.Second },
			connect(), connack(false), subscribe("a", 1), suback(), settle(),
			mqtttest.Send(mqtt.Publish{Topic: []byte("a"), QoS: 1, ID: 7}), mqtttest.Send(mqtt.Publish{Topic: []byte("b"), QoS: 1, ID: 8}), nothing, letGo, nothing, letGo,
			mqtttest.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 7}), mqtttest.Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 8}),
		)
		err := r.SubscribeAsync("a", 1, func(m *Message) {
			acks <- m.Hold()
			acks <- m.Hold()
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.start()
		if err := r.finish(); err != nil {
			t.Error(err)
		}
		r.want("connected", "seen", "seen", "disconnected")
		(&Message{}).Hold()() // one of the program's own
	})
}
