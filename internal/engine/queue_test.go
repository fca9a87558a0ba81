package engine_test

import (
	"context"
	"errors"
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

// A handler that does not keep up costs messages with QoS 0, and no others.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{MaxQueued: 2, OnMessage: func(m *mqttclient.Message) {
			time.Sleep(time.Second)
			r.note("%s", m.Topic)
		}},
			connect(), connack(false), Send(publish("1", 0)), settle(), Send(publish("2", 1)), Send(publish("3", 1)), Send(publish("lost", 0)),
			Send(publish("4", 1)), Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1}), Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 2}),
			Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 3}), settle(),
		)
		r.start()
		_ = r.finish()
		if n := r.Stats().Dropped; n != 1 {
			t.Errorf("%d messages dropped, want 1", n)
		}
		r.want("connected", "1", "2", "3", "4", "disconnected")
	})
}

// When Run ends, messages that were not handled are not acknowledged either, and the last event comes all the same.
func TestEndWithFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{MaxQueued: 1, OnMessage: func(m *mqttclient.Message) {
			r.note("%s", m.Topic)
			<-r.ctx.Done()
			time.Sleep(time.Minute) // Run waits
		}},
			connect(), connack(false), Send(publish("1", 1)), settle(), Send(publish("2", 1)), Send(publish("3", 1)), Send(publish("4", 1)), settle(),
			Do("end", func() { r.cancel() }), Expect(mqtt.Disconnect{}), ExpectHangup(),
		)
		r.start()
		if err := <-r.done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = r.box.Close()
		r.want("connected", "1", "disconnected")
	})
}

// What is urgent overtakes, and what has expired is not sent; version 5 is told how long the rest is worth something.
func TestPriorityAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, engine.Config{Session: mqttclient.Config{Version: mqtt.V5}},
			connect(), connack(false), Expect(publish("urgent", 1)), puback(),
			Expect(mqtt.Publish{Topic: []byte("short"), MessageExpiry: mqtt.Some[uint32](60)}), puback(), settle())
		for _, m := range []outbox.Message{
			{Header: []byte("expired"), Lifetime: time.Minute},
			{Header: []byte("short"), Lifetime: 2 * time.Minute},
			{Header: []byte("urgent"), Priority: outbox.High},
		} {
			if _, err := r.box.Append(r.ctx, m); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		r.start()
		_ = r.finish()
		r.left(0)
	})
}

// The methods say so when there is no connection, and when there will be none.
func TestNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, engine.Config{})
		ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
		defer cancel()
		if err := r.Send(ctx, publish("t", 0), nil); !errors.Is(err, mqttclient.ErrNotConnected) {
			t.Errorf("Send: got %v", err)
		}
		if _, err := r.Request(ctx, "k", publish("t", 0)); !errors.Is(err, fairlead.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Request: got %v", err)
		}
		if _, err := r.Subscribe(ctx, engine.Subscription{Subscription: mqtt.Subscription{Filter: "t"}}); !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("Subscribe: got %v", err)
		}
		if err := r.Register(engine.Subscription{Subscription: mqtt.Subscription{Filter: "t#"}}); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("Register: got %v", err)
		}
		r.cancel()
		if err := r.Run(r.ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: got %v", err)
		}
		if err := r.Run(r.ctx); !errors.Is(err, fairlead.ErrInUse) {
			t.Errorf("second Run: got %v", err)
		}
		if err := r.Send(t.Context(), publish("t", 0), nil); !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("Send after Run: got %v", err)
		}
		_ = r.box.Close()
	})
}

func TestConfig(t *testing.T) {
	prepare := func(context.Context, engine.Attempt) (*engine.Connection, error) { return nil, nil }
	for name, cfg := range map[string]engine.Config{
		"no Prepare":       {},
		"outbox alone":     {Prepare: prepare, Outbox: new(outbox.Outbox)},
		"Receive":          {Prepare: prepare, Session: mqttclient.Config{Receive: func(*mqttclient.Message) {}}},
		"negative":         {Prepare: prepare, DrainInterval: -1},
		"negative backoff": {Prepare: prepare, Backoff: engine.Backoff{Base: -1}},
		"window":           {Prepare: prepare, Session: mqttclient.Config{MaxInFlight: 70_000}},
		"version":          {Prepare: prepare, Session: mqttclient.Config{Version: 9}},
	} {
		if _, err := engine.New(cfg); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
}
