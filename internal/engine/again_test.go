package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/outbox"
)

// An engine for another Run knows the subscriptions and receipts of the one before.
func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, engine.Config{},
			connect(), connack(false), Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}}}), Send(mqtt.SubAck{}),
			Expect(publish("1", 1)), settle(), Do("end", func() { r.cancel() }), Expect(mqtt.Disconnect{}), Hangup(),
			connect(), connack(false), Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}}}), Send(mqtt.SubAck{Codes: []byte{0x80}}),
			Expect(publish("1", 1)), puback(), settle(),
		)
		err := r.Register(engine.Subscription{
			Subscription: mqtt.Subscription{Filter: "a", QoS: 1},
			Settled: func(granted byte, err error) {
				wait() // let the event be noted
				r.note("granted %d, denied %v", granted, errors.Is(err, fairlead.ErrDenied))
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := r.Append(r.ctx, outbox.Message{Header: []byte("1")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Again(); !errors.Is(err, fairlead.ErrInUse) {
			t.Errorf("again before the end: %v", err)
		}
		r.start()
		<-r.done
		if receipt.Err() != nil {
			t.Errorf("the receipt has ended: %v", receipt.Err())
		}
		if r.Engine, err = r.Again(); err != nil {
			t.Fatal(err)
		}
		r.ctx, r.cancel = context.WithCancel(t.Context())
		r.start()
		if err := receipt.Wait(r.ctx); err != nil {
			t.Error(err)
		}
		_ = r.finish()
		r.left(0)
		r.want("connected", "granted 1, denied false", "disconnected", "connected", "granted 0, denied true", "unsubscribed", "disconnected")
	})
}

// Unsubscribed waits for the answer, at most eight filters go into a packet, and a new session has forgotten them anyway.
func TestUnsubscribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		filters := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}
		unsubscribe := func() {
			r.Unsubscribe(filters...)
			go func() {
				err := r.Unsubscribed(r.ctx, filters...)
				wait() // let the event be noted
				r.note("unsubscribed %v", err)
			}()
		}
		steps := []Step{connect(), connack(false)}
		for _, f := range filters {
			steps = append(steps, Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: f}}}), Send(mqtt.SubAck{}))
		}
		unsuback := Send(mqtt.Ack{Type: mqtt.TypeUnsubAck})
		r = newRig(t, engine.Config{}, append(steps, settle(), Do("unsubscribe", unsubscribe),
			Expect(mqtt.Unsubscribe{Filters: filters[:8]}), settle(), unsuback, settle(), Do("note", func() { r.note("half") }), Expect(mqtt.Unsubscribe{Filters: filters[8:]}), Hangup(),
			connect(), connack(true), Expect(mqtt.Unsubscribe{Filters: filters[:8]}), unsuback, Expect(mqtt.Unsubscribe{Filters: filters[8:]}), unsuback, settle(),
			Do("again", func() {
				_ = r.Register(engine.Subscription{Subscription: mqtt.Subscription{Filter: "1"}})
			}), Expect(mqtt.Subscribe{}), Send(mqtt.SubAck{}), settle(),
			Do("unsubscribe", func() { filters = filters[:1]; unsubscribe() }), Expect(mqtt.Unsubscribe{}), Hangup(), connect(), connack(false), settle(),
		)...)
		for _, f := range filters {
			if err := r.Register(engine.Subscription{Subscription: mqtt.Subscription{Filter: f}}); err != nil {
				t.Fatal(err)
			}
		}
		r.start()
		_ = r.finish()
		r.want("connected", "half", "disconnected", "connected", "unsubscribed <nil>", "disconnected", "connected", "unsubscribed <nil>", "disconnected")
	})
}
