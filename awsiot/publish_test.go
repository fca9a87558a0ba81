package awsiot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What AWS IoT would end the connection for is refused before, or it would come again and again out of the outbox.
func TestPublishRefusals(t *testing.T) {
	c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), Protocol: MQTT311})
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("a/", 7) + "a"
	for _, tt := range []struct {
		topic   string
		qos     QoS
		payload []byte
		opts    *PublishOptions
		want    error
	}{
		{"", 0, nil, nil, fairlead.ErrInvalid},
		{"a/+", 0, nil, nil, fairlead.ErrInvalid},
		{"a/#", 1, nil, nil, fairlead.ErrInvalid},
		{"a\xff", 1, nil, nil, fairlead.ErrInvalid},
		{strings.Repeat("a", 257), 1, nil, nil, fairlead.ErrInvalid},
		{deep + "/a", 1, nil, nil, fairlead.ErrInvalid},
		{"a", 2, nil, nil, fairlead.ErrInvalid},
		{"a", 1, make([]byte, 128<<10+1), nil, fairlead.ErrTooLarge},
		{"a", 1, nil, &PublishOptions{Lifetime: -1}, fairlead.ErrInvalid},
		{"a", 1, nil, &PublishOptions{Properties: Properties{ContentType: "text/plain"}}, fairlead.ErrInvalid},
		{deep, 1, make([]byte, 128<<10), nil, nil},
		{"$aws/rules/my_rule/" + deep, 1, nil, nil, nil},
	} {
		err := c.Enqueue(t.Context(), tt.topic, tt.qos, tt.payload, tt.opts)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%.20q, QoS %d: %v, want %v", tt.topic, tt.qos, err, tt.want)
		}
		if tt.want == nil {
			continue
		}
		if err := c.Publish(t.Context(), tt.topic, tt.qos, tt.payload, tt.opts); !errors.Is(err, tt.want) {
			t.Errorf("Publish: %v", err)
		}
		if _, err := c.PublishAsync(t.Context(), tt.topic, tt.qos, tt.payload, tt.opts); !errors.Is(err, tt.want) {
			t.Errorf("PublishAsync: %v", err)
		}
	}
}

// The bytes of the official SDK's packets.
func TestPacketVectors(t *testing.T) {
	vectors := loadVectors(t, "mqtt-packets.json")
	for name, m := range map[string]*outgoing{
		"v1-03-publish": {topic: "a/b", qos: 1, payload: []byte("hello")},
		"v1-04-publish": {topic: "a/b", payload: []byte("q0")},
		"v1-07-publish": {topic: "x", qos: 1, payload: []byte{0, 255}},
	} {
		p := m.packet()
		want := vectors[name].bytes(t)
		if m.qos > 0 {
			p.ID = uint16(name[4] - '0')
		}
		if got := p.Append(nil, mqtt.V311); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
}

func publishes(t *testing.T, r *rig, topics ...string) (results []*Result) {
	t.Helper()
	for _, topic := range topics {
		res, err := r.PublishAsync(r.ctx, topic, 1, []byte(topic), nil)
		if err != nil {
			t.Errorf("%s: %v", topic, err)
		}
		results = append(results, res)
	}
	return results
}

func ended(t *testing.T, want error, results ...*Result) {
	t.Helper()
	for i, res := range results {
		select {
		case <-res.Done():
			if err := res.Wait(context.Background()); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("result %d: %v, want %v", i, err, want)
			}
		default:
			t.Errorf("result %d has not ended", i)
		}
	}
}

// By default everything waits for the connection, in order, and results end when it is acknowledged: also those of messages that were in
// flight when the connection was lost.
func TestOfflineQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil,
			connect(), connack(false), mqtttest.Expect(publish("1", 1)), puback(), mqtttest.Expect(publish("2", 1)), mqtttest.Hangup(),
			connect(), connack(false), ping(), mqtttest.Expect(publish("2", 1)), puback(), mqtttest.Expect(publish("3", 1)), puback(), settle(),
		)
		results := publishes(t, r, "1", "2", "3")
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if err := results[0].Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before the connection: %v", err)
		}
		r.start()
		if err := r.Flush(r.ctx); err != nil {
			t.Error(err)
		}
		ended(t, nil, results...)
		if err := r.finish(); err != nil {
			t.Error(err)
		}
	})
}

// A queue of limited size, with each behaviour. Those in flight do not count.
func TestQueueSize(t *testing.T) {
	for _, tt := range []struct {
		drop DropBehavior
		want []string // that arrive
	}{{DropNewest, []string{"1", "2"}}, {DropOldest, []string{"2", "3"}}, {WaitForRoom, []string{"1", "2", "3"}}} {
		t.Run(tt.drop.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r *rig
				var all []*Result
				var late sync.WaitGroup
				offline := mqtttest.Do("offline", func() {
					wait()
					all = publishes(t, r, "1", "2")
					ctx, cancel := context.WithTimeout(r.ctx, time.Second)
					defer cancel()
					if tt.drop == WaitForRoom {
						late.Go(func() { all = append(all, publishes(t, r, "3")...) })
						return
					}
					res, err := r.PublishAsync(ctx, "3", 1, []byte("3"), nil)
					if tt.drop == DropNewest {
						if !errors.Is(err, ErrQueueFull) || !errors.Is(err, fairlead.ErrFull) {
							t.Errorf("full: %v", err)
						}
					} else {
						all = append(all, res)
						ended(t, ErrQueueFull, all[0])
						all = all[1:]
					}
				})
				steps := []mqtttest.Step{
					connect(), connack(true), mqtttest.Expect(publish("flying", 1)), mqtttest.Hangup(), offline,
					connect(), connack(true), ping(), mqtttest.Expect(mqtt.Publish{Topic: []byte("flying"), Dup: true}), puback(),
				}
				for _, topic := range tt.want {
					steps = append(steps, mqtttest.Expect(publish(topic, 1)), puback(), settle())
				}
				r = newRig(t, func(c *Config) {
					c.OfflineQueue = &OfflineQueue{Size: 2, Drop: tt.drop}
					c.CleanSession = false
					c.Backoff.Base = 5 * time.Second
				}, steps...)
				flying := publishes(t, r, "flying")
				r.start()
				if err := r.finish(); err != nil {
					t.Error(err)
				}
				late.Wait()
				ended(t, nil, append(flying, all...)...)
			})
		})
	}
}

// MaxBytes bounds the memory whatever Size says.
func TestQueueBytes(t *testing.T) {
	for drop, want := range map[DropBehavior]error{DropNewest: ErrQueueFull, DropOldest: nil} {
		c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), OfflineQueue: &OfflineQueue{Size: -1, Drop: drop, MaxBytes: 100}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Enqueue(t.Context(), "a", 1, make([]byte, 60), nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Enqueue(t.Context(), "b", 1, make([]byte, 60), nil); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%v: %v, want %v", drop, err, want)
		}
		if err := c.Enqueue(t.Context(), "b", 1, make([]byte, 101), nil); !errors.Is(err, fairlead.ErrTooLarge) {
			t.Errorf("larger than all: %v", err)
		}
	}
}

// A disabled queue keeps nothing: what is published without a connection fails at once, or waits for one.
func TestQueueDisabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OfflineQueue = &OfflineQueue{} },
			connect(), connack(false), settle(), mqtttest.Expect(publish("2", 1)), puback(), mqtttest.Expect(publish("3", 1)), puback(), mqtttest.Expect(mqtt.Publish{Topic: []byte("4")}), settle())
		_, err := r.PublishAsync(r.ctx, "1", 1, nil, nil)
		if !errors.Is(err, ErrQueueDisabled) || !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("PublishAsync: %v", err)
		}
		if err := r.Publish(r.ctx, "1", 0, nil, nil); !errors.Is(err, ErrQueueDisabled) {
			t.Errorf("Publish: %v", err)
		}
		if err := r.Enqueue(r.ctx, "1", 0, nil, nil); !errors.Is(err, ErrQueueDisabled) {
			t.Errorf("Enqueue: %v", err)
		}
		r.start()
		if err := errors.Join(r.Await(r.ctx), r.Publish(r.ctx, "2", 1, nil, nil)); err != nil {
			t.Error(err)
		}
		all := publishes(t, r, "3")
		last, err := r.PublishAsync(r.ctx, "4", 0, nil, nil)
		if err != nil {
			t.Error(err)
		}
		_ = r.finish()
		ended(t, nil, append(all, last)...)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OfflineQueue = &OfflineQueue{Drop: WaitForRoom} },
			connect(), connack(false), mqtttest.Expect(publish("1", 1)), puback(), mqtttest.Expect(publish("2", 1)), puback(), settle())
		time.AfterFunc(time.Second, r.start)
		if err := r.Publish(r.ctx, "1", 1, nil, nil); err != nil {
			t.Error(err)
		}
		all := publishes(t, r, "2")
		_ = r.finish()
		ended(t, nil, all...)
	})
}

// Draining has a frequency: that of messages which waited before the connection. Those published meanwhile wait behind them, and later
// ones for nothing.
func TestDrainInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		var begin time.Time
		note := mqtttest.Do("note", func() { at = append(at, time.Since(begin).Round(time.Millisecond)) })
		var r *rig
		got := func(topic string) []mqtttest.Step {
			return []mqtttest.Step{mqtttest.Expect(publish(topic, 1)), note, puback()}
		}
		steps := []mqtttest.Step{connect(), connack(false), mqtttest.Do("begin", func() { begin = time.Now() })}
		steps = append(steps, got("1")...)
		steps = append(steps, mqtttest.Do("publish", func() { publishes(t, r, "4") }))
		for _, topic := range []string{"2", "3", "4"} {
			steps = append(steps, got(topic)...)
		}
		r = newRig(t, func(c *Config) { c.DrainInterval = time.Second / 2 }, steps...)
		publishes(t, r, "1", "2", "3")
		time.Sleep(time.Second)
		r.start()
		_ = r.finish()
		if want := []time.Duration{0, time.Second / 2, time.Second, time.Second}; !cmp.Equal(at, want) {
			t.Errorf("sent at %v, want %v", at, want)
		}
	})
}

// Publish waits under its context; what it gives up waiting for is sent all the same.
func TestPublishQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.OperationTimeout = 5 * time.Second }, connect(), connack(false), mqtttest.Expect(publish("1", 1)), puback(), settle())
		err := r.Publish(r.ctx, "1", 1, nil, nil)
		if !errors.Is(err, ErrQueued) || !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish: %v", err)
		}
		r.start()
		_ = r.finish()
		if err := r.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// With MQTT 5 AWS IoT says why it takes no message: publishing fails, and the outbox goes on with the next one.
func TestPublishDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box, err := outbox.Open(t.Context(), outbox.Config{Store: outbox.NewMemory()})
		if err != nil {
			t.Fatal(err)
		}
		denied := mqtttest.Send(mqtt.Ack{Type: mqtt.TypePubAck, Code: mqtt.ReasonNotAuthorized, Reason: "no policy allows it"})
		var r *rig
		r = newRig(t, func(c *Config) {
			c.Protocol, c.Outbox = MQTT5, box
			c.OnUndeliverable = func(m *Message, err error) {
				r.note("%s %d %v %s %v", m.Topic, m.QoS, m.Retain, m.Payload, errors.Is(err, fairlead.ErrDenied))
			}
			c.OnConnection = nil
		}, connect(), connack(false), mqtttest.Expect(publish("1", 1)), denied, mqtttest.Expect(publish("2", 1)), puback(), settle())
		r.start()
		err = r.Publish(r.ctx, "1", 1, []byte("precious"), &PublishOptions{Retain: true})
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != "135" || refusal.Detail != "no policy allows it" || !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("Publish: %v", err)
		}
		if err := r.Publish(r.ctx, "2", 1, nil, nil); err != nil {
			t.Error(err)
		}
		_ = r.finish()
		r.want("1 1 true precious true")
		_ = box.Close()
	})
}

// All that MQTT 5 carries goes out and comes in, through the outbox and around it.
func TestProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		props := Properties{ContentType: "text/plain", ResponseTopic: "answer", CorrelationData: []byte{1}, UTF8: true, User: []UserProperty{{"a", "1"}, {"a", "2"}}}
		want := mqtt.Publish{
			Topic: []byte("a"), QoS: 1, Retain: true, Payload: []byte("x"), MessageExpiry: mqtt.Some(uint32(60)), Properties: props.encode(),
		}
		var got *Message
		r := newRig(t, func(c *Config) {
			c.Protocol = MQTT5
			c.OnMessage = func(m *Message) { got = m }
		}, connect(), connack(false), mqtttest.Expect(want), puback(), mqtttest.Expect(want), puback(), mqtttest.Send(want), mqtttest.Expect(mqtt.Ack{Type: mqtt.TypePubAck}))
		opts := &PublishOptions{Retain: true, Lifetime: time.Minute, Properties: props}
		r.start()
		if err := r.Await(r.ctx); err != nil {
			t.Fatal(err)
		}
		if err := r.Publish(r.ctx, "a", 1, []byte("x"), opts); err != nil {
			t.Error(err)
		}
		opts.NoQueue = true
		if err := r.Publish(r.ctx, "a", 1, []byte("x"), opts); err != nil {
			t.Error(err)
		}
		_ = r.finish()
		if diff := cmp.Diff(&Message{Topic: "a", Payload: []byte("x"), QoS: 1, Retain: true, Expiry: time.Minute, Properties: props}, got, cmpopts.IgnoreUnexported(Message{})); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever is in an outbox is taken apart or refused, and what this package has written comes back.
func FuzzEntry(f *testing.F) {
	m, err := newOutgoing("a/b", 1, nil, &PublishOptions{Retain: true, Properties: Properties{ContentType: "x", User: []UserProperty{{"a", "b"}}}}, MQTT5)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.entry().Header)
	f.Add([]byte{1, 1, 1, 'a'})
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, header []byte) {
		m, err := parseEntry(header)
		if err != nil {
			if !errors.Is(err, fairlead.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if checkTopic(m.topic) != nil {
			t.Fatalf("topic %q", m.topic)
		}
		again, err := parseEntry(m.entry().Header)
		if err != nil || fmt.Sprintf("%+v", again.packet()) != fmt.Sprintf("%+v", m.packet()) && !cmp.Equal(again.packet(), m.packet()) {
			t.Errorf("%x: %+v, then %+v, %v", header, m, again, err)
		}
	})
}
