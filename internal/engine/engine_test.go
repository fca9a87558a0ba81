package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/outbox"
)

// The outbox leaves in order, each message is deleted after its own acknowledgement, and what was not acknowledged is sent again.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{},
			connect(), connack(false), Expect(publish("1", 1)), Expect(publish("2", 1)), Expect(publish("3", 1)),
			Send(mqtt.Ack{Type: mqtt.TypePubAck, ID: 2}), settle(), Do("look", func() { r.left(2) }), Hangup(),
			connect(), connack(true), // resumed: with DUP, and before what is new
			Expect(mqtt.Publish{Topic: []byte("1"), Dup: true}), Expect(mqtt.Publish{Topic: []byte("3"), Dup: true}), Hangup(),
			connect(), connack(false), // lost: anew
			Expect(publish("1", 1)), puback(), Expect(publish("3", 1)), puback(), Expect(publish("4", 1)), puback(), settle(),
		)
		r.append("1", "2", "3")
		r.start()
		go func() {
			time.Sleep(time.Millisecond)
			r.append("4")
		}()
		if err := r.finish(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.left(0)
		r.want("connected", "disconnected", "connected", "disconnected", "connected", "disconnected")
	})
}

// What is acknowledged and deleted while the messages read with it still wait is not sent again.
func TestDrainDeletedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		urgent := func(topic string) {
			if _, err := r.box.Append(r.ctx, outbox.Message{Header: []byte(topic), Priority: outbox.High}); err != nil {
				t.Error(err)
			}
		}
		r = newRig(t, engine.Config{DrainInterval: time.Second},
			connect(), connack(false), Expect(publish("1", 1)), Hangup(), settle(),
			Do("append", func() { urgent("2"); urgent("3") }), sleep(time.Millisecond),
			connect(), connack(true), Expect(mqtt.Publish{Topic: []byte("1"), Dup: true}),
			Expect(publish("2", 1)), // all were read: "3" waits for its second, with "1" behind it
			Send(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1}), Send(mqtt.Ack{Type: mqtt.TypePubAck, ID: 2}), settle(),
			Expect(publish("3", 1)), puback(), settle(), sleep(time.Minute),
			Do("append", func() { r.append("4") }), Expect(publish("4", 1)), puback(), settle(),
		)
		r.append("1")
		r.start()
		_ = r.finish()
		r.left(0)
	})
}

// What the platform wants first comes first, again until all of it was acknowledged, and not again after that.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{Start: func(ctx context.Context, s *engine.Start) error {
			wait() // let the events go first
			r.note("fresh %v", s.Fresh)
			if !s.Fresh {
				return nil
			}
			return errors.Join(s.Send(ctx, publish("introspection", 1)), s.Send(ctx, publish("emptyCache", 1)))
		}},
			connect(), connack(false), Expect(publish("introspection", 1)), settle(), Hangup(),
			connect(), connack(true),
			Expect(mqtt.Publish{Topic: []byte("introspection"), Dup: true}), puback(),
			Expect(mqtt.Publish{Topic: []byte("emptyCache"), Dup: true}), puback(),
			Expect(publish("introspection", 1)), puback(), settle(), Expect(publish("emptyCache", 1)), settle(), puback(),
			Expect(publish("1", 1)), puback(), settle(), Do("append", func() { r.append("2") }), Expect(publish("2", 1)), Hangup(),
			connect(), connack(true), Expect(mqtt.Publish{Topic: []byte("2"), Dup: true}), puback(), settle(),
			Do("append", func() { r.append("3") }), Expect(publish("3", 1)), puback(), settle(),
		)
		r.append("1")
		r.start()
		_ = r.finish()
		r.left(0)
		r.want("connected", "fresh true", "disconnected", "connected", "fresh true", "disconnected", "connected", "fresh false", "disconnected")
	})
}

// The subscriptions are asked for once in each session.
func TestSubscribeWhenNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{},
			connect(), connack(false), Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a/#", QoS: 1}}}), Send(mqtt.SubAck{}),
			Send(publish("a/1", 1)), Expect(mqtt.Ack{Type: mqtt.TypePubAck}), settle(), Hangup(),
			connect(), connack(true), Send(publish("a/2", 1)), Expect(mqtt.Ack{Type: mqtt.TypePubAck}), settle(),
			Do("subscribe", func() {
				go func() {
					granted, err := r.Subscribe(r.ctx, engine.Subscription{Subscription: mqtt.Subscription{Filter: "b", QoS: 1}})
					r.note("granted %d %v", granted, err)
					_, err = r.Subscribe(r.ctx, engine.Subscription{Subscription: mqtt.Subscription{Filter: "c", QoS: 1}})
					wait() // let the event be noted
					r.note("refused %v", errors.Is(err, fairlead.ErrDenied))
					r.Unsubscribe("b")
				}()
			}),
			Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "b", QoS: 1}}}), Send(mqtt.SubAck{Codes: []byte{0}}),
			Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "c", QoS: 1}}}), Send(mqtt.SubAck{Codes: []byte{0x80}}),
			Expect(mqtt.Unsubscribe{Filters: []string{"b"}}), Send(mqtt.Ack{Type: mqtt.TypeUnsubAck}), settle(), Hangup(),
			connect(), connack(false), Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a/#", QoS: 1}}}), Send(mqtt.SubAck{}),
			settle(),
		)
		err := r.Register(engine.Subscription{
			Subscription: mqtt.Subscription{Filter: "a/#", QoS: 1},
			Handler:      func(m *mqttclient.Message) { r.note("%s", m.Topic) },
		})
		if err != nil {
			t.Fatal(err)
		}
		r.start()
		_ = r.finish()
		r.want("connected", "a/1", "disconnected", "connected", "a/2", "granted 0 <nil>", "unsubscribed", "refused true",
			"disconnected", "connected", "disconnected")
	})
}

// Requests find their answers, in any order, and from within callbacks.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		answer := func(key string) Step {
			return Send(mqtt.Publish{Topic: []byte("answer"), Payload: []byte(key)})
		}
		r = newRig(t, engine.Config{},
			connect(), connack(false), Expect(mqtt.Subscribe{}), Send(mqtt.SubAck{}),
			Send(publish("go", 0)), Expect(publish("ask/1", 0)), Expect(publish("ask/2", 0)), answer("2"), answer("stray"), settle(), answer("1"), settle(),
			Expect(publish("ask/cb", 0)), answer("cb"), settle(), Do("three", func() {
				go func() {
					_, err := r.Request(r.ctx, "3", publish("ask/3", 0))
					if !errors.Is(err, fairlead.ErrUnavailable) {
						t.Errorf("the connection ended: got %v", err)
					}
				}()
			}), Expect(publish("ask/3", 0)), Do("four", func() {
				ctx, cancel := context.WithTimeout(r.ctx, time.Second)
				defer cancel()
				_, err := r.Request(ctx, "4", publish("ask/4", 0))
				r.note("4 %v", errors.Is(err, context.DeadlineExceeded))
				_, err = r.Request(ctx, "3", publish("ask/3", 0))
				r.note("conflict %v", errors.Is(err, fairlead.ErrConflict) || errors.Is(err, context.DeadlineExceeded))
			}), Hangup(),
		)
		var asking sync.WaitGroup
		ask := func(key string) {
			m, err := r.Request(r.ctx, key, publish("ask/"+key, 0))
			if err != nil {
				t.Error(err)
				return
			}
			r.note("answer %s", m.Payload)
		}
		err := r.Register(engine.Subscription{
			Subscription: mqtt.Subscription{Filter: "#"},
			Reply:        func(m *mqttclient.Message) (string, bool) { return string(m.Payload), m.Topic == "answer" },
			Handler: func(m *mqttclient.Message) {
				if m.Topic != "go" {
					time.Sleep(time.Millisecond) // let the other answers be noted
					r.note("stray")
					ask("cb")
					return
				}
				asking.Go(func() { ask("1") })
				wait()
				asking.Go(func() { ask("2") })
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.start()
		_ = r.finish()
		asking.Wait()
		r.want("connected", "answer 2", "answer 1", "stray", "answer cb", "4 true", "conflict true", "disconnected")
	})
}

// The pauses are those that AWS documents for its SDK: base, max, and a time after which a connection counts as stable.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		var at []time.Duration
		start := time.Now()
		dialled := func() Step { return Do("note", func() { at = append(at, time.Since(start)) }) }
		refuse := func() []Step { return []Step{connect(), dialled(), Send(mqtt.ConnAck{Code: 3}), Hangup()} }
		var steps []Step
		for range 4 {
			steps = append(steps, refuse()...)
		}
		steps = append(steps, connect(), dialled(), connack(false), sleep(19*time.Second), Hangup()) // not stable
		steps = append(steps, connect(), dialled(), connack(false), sleep(20*time.Second), Hangup()) // stable
		steps = append(steps, connect(), dialled(), connack(false))
		r = newRig(t, engine.Config{Backoff: engine.Backoff{Base: time.Second, Max: 5 * time.Second, Stable: 20 * time.Second}}, steps...)
		r.start()
		_ = r.finish()
		want := []int{0, 1, 3, 7, 12, 12 + 19 + 5, 12 + 19 + 5 + 20 + 1} // seconds
		for i := range want {
			if i >= len(at) || at[i] != time.Duration(want[i])*time.Second {
				t.Fatalf("attempts at %v, want %v (in s)", at, want)
			}
		}
		r.want("failed", "failed", "failed", "failed", "connected", "disconnected", "connected", "disconnected", "connected", "disconnected")
	})
}

// What the platform advises comes before our own back-off, and a redirection is handed to Prepare.
func TestAdvice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		var got []string
		start := time.Now()
		r = newRig(t, engine.Config{
			Session: mqttclient.Config{Version: mqtt.V5},
			Prepare: func(ctx context.Context, a engine.Attempt) (*engine.Connection, error) {
				got = append(got, fmt.Sprintf("%d %v %q", a.Number, time.Since(start), a.Redirect))
				if a.Number == 1 && a.Last == nil {
					return nil, &fairlead.PlatformError{Code: "429", Kind: fairlead.ErrThrottled, RetryAfter: time.Hour}
				}
				return r.prepare(ctx, a)
			},
		}, connect(), Send(mqtt.ConnAck{Code: byte(mqtt.ReasonUseAnotherServer), ServerReference: "other:1"}), Hangup(),
			connect(), connack(false), settle())
		r.start()
		_ = r.finish()
		want := []string{`1 0s ""`, `2 1h0m0s ""`, `3 1h0m2s "other:1"`}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// Credentials are renewed without breaking what is under way.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		start := time.Now()
		n := 0
		r = newRig(t, engine.Config{
			Prepare: func(ctx context.Context, a engine.Attempt) (*engine.Connection, error) {
				n++
				if n == 2 {
					return nil, errors.New("the token service is down")
				}
				c, err := r.prepare(ctx, a)
				c.Connect.Username, c.Connect.HasUsername = fmt.Sprint("token ", n), true
				if n == 1 {
					c.RenewAt = start.Add(time.Hour)
				}
				return c, err
			},
		},
			Expect(mqtt.Connect{Username: "token 1"}), connack(false), sleep(time.Hour-time.Second), Do("append", func() { r.append("1") }),
			Expect(publish("1", 1)), sleep(5*time.Second), Do("append", func() { r.append("2") }), puback(),
			Expect(mqtt.Disconnect{}), ExpectHangup(),
			Expect(mqtt.Connect{Username: "token 3"}), connack(true), Expect(publish("2", 1)), puback(), settle(),
			Do("reconnect", func() { r.Reconnect() }), Expect(mqtt.Disconnect{}), ExpectHangup(),
			Expect(mqtt.Connect{Username: "token 4"}), connack(true), settle(),
		)
		r.start()
		_ = r.finish()
		r.left(0)
		if d := time.Since(start); d > time.Hour+10*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// A renewal does not wait for ever: what is not acknowledged is sent again on the new connection.
func TestRenewalInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{},
			connect(), connack(false), Expect(publish("1", 1)), settle(), Do("reconnect", func() { r.Reconnect() }),
			Expect(mqtt.Disconnect{}), ExpectHangup(),
			connect(), connack(true), Expect(mqtt.Publish{Topic: []byte("1"), Dup: true}), puback(), settle(),
		)
		r.append("1")
		r.start()
		_ = r.finish()
		r.left(0)
	})
}

// Of what had been queued before the connection came, one leaves at a time.
func TestDrainInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		var at []time.Duration
		var start time.Time
		step := func(topic string) []Step {
			return []Step{Expect(publish(topic, 1)), Do("note", func() { at = append(at, time.Since(start)) }), puback()}
		}
		steps := []Step{connect(), Do("start", func() { start = time.Now() }), connack(false)}
		for _, topic := range []string{"1", "2", "3", "4", "5"} {
			steps = append(steps, step(topic)...)
		}
		r = newRig(t, engine.Config{DrainInterval: time.Second}, append(steps, settle())...)
		r.append("1", "2", "3")
		time.Sleep(time.Second) // the clock must have moved on before CONNACK
		r.start()
		time.Sleep(100 * time.Millisecond)
		r.append("4", "5")
		_ = r.finish()
		if fmt.Sprint(at) != "[0s 1s 2s 2s 2s]" {
			t.Errorf("sent at %v", at)
		}
	})
}

// What can never be delivered is deleted and reported; what the platform wants later is sent later.
func TestUndeliverable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		refuse := func(code mqtt.ReasonCode) Step { return Send(mqtt.Ack{Type: mqtt.TypePubAck, Code: code}) }
		r = newRig(t, engine.Config{Session: mqttclient.Config{Version: mqtt.V5}},
			connect(), Send(mqtt.ConnAck{MaximumPacketSize: 1000}),
			Expect(publish("1", 1)), refuse(mqtt.ReasonNotAuthorized), settle(),
			Expect(publish("2", 1)), refuse(mqtt.ReasonQuotaExceeded), settle(), Expect(publish("2", 1)), puback(), settle(),
		)
		r.start()
		wait()
		first, err := r.Append(r.ctx, outbox.Message{Header: []byte("1")})
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Wait(r.ctx); !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("receipt: got %v, want denied", err)
		}
		big, _ := r.Append(r.ctx, outbox.Message{Header: []byte("big"), Payload: make([]byte, 2000)})
		if err := big.Wait(r.ctx); !errors.Is(err, fairlead.ErrTooLarge) {
			t.Errorf("receipt: got %v, want too large", err)
		}
		second, _ := r.Append(r.ctx, outbox.Message{Header: []byte("2")})
		if err := second.Wait(r.ctx); err != nil {
			t.Errorf("receipt: got %v", err)
		}
		_ = r.finish()
		r.left(0)
		r.want("connected", "undeliverable 1", "undeliverable big", "disconnected")
	})
}

// Receipts end when the outbox drops messages.
func TestReceiptOfDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, engine.Config{})
		first, err := r.Append(r.ctx, outbox.Message{Header: []byte("1")})
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			r.append("x")
		}
		if err := first.Wait(r.ctx); !errors.Is(err, fairlead.ErrFull) {
			t.Errorf("got %v, want full", err)
		}
		r.cancel()
		_ = r.box.Close()
	})
}

// Publish waits for a connection, and sends again when the session was lost.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, engine.Config{},
			connect(), Send(mqtt.ConnAck{Code: 3}), Hangup(),
			connect(), connack(false), Expect(publish("1", 1)), Hangup(),
			connect(), connack(false), Expect(publish("1", 1)), puback(), Expect(publish("2", 1)), settle(),
		)
		r.start()
		if err := r.Publish(r.ctx, publish("1", 1)); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if err := r.Publish(ctx, publish("2", 1)); !errors.Is(err, fairlead.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		_ = r.finish()
		if err := r.Publish(t.Context(), publish("3", 1)); !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("got %v, want closed", err)
		}
	})
}

func TestPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, engine.Config{Permanent: func(err error) bool { return errors.Is(err, fairlead.ErrUnauthenticated) }},
			connect(), Send(mqtt.ConnAck{Code: 3}), Hangup(), connect(), Send(mqtt.ConnAck{Code: 4}), Hangup())
		r.start()
		if err := <-r.done; !errors.Is(err, fairlead.ErrUnauthenticated) {
			t.Errorf("got %v, want unauthenticated", err)
		}
		r.cancel()
		_ = r.box.Close()
		r.want("failed", "failed")
	})
}
