package engine_test

import (
	"context"
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/outbox"
)

// A device that empties an outbox and takes commands.
func Example() {
	run := func(ctx context.Context, box *outbox.Outbox) error {
		e, err := engine.New(engine.Config{
			Prepare: func(context.Context, engine.Attempt) (*engine.Connection, error) {
				return &engine.Connection{
					Dialer:  mqttclient.Dialer{Address: "hub.example:1883"},
					Connect: mqtt.Connect{ClientID: "pump-7", KeepAlive: 60},
				}, nil
			},
			Outbox: box,
			Decode: func(m *outbox.Entry) (mqtt.Publish, error) {
				return mqtt.Publish{Topic: m.Header, Payload: m.Payload, QoS: 1}, nil
			},
			OnEvent: func(ev engine.Event) { fmt.Println(ev.Kind, ev.Err) },
		})
		if err != nil {
			return err
		}
		err = e.Register(engine.Subscription{
			Subscription: mqtt.Subscription{Filter: "pump-7/commands/#", QoS: 1},
			Handler:      func(m *mqttclient.Message) { fmt.Println(m.Topic) },
		})
		if err != nil {
			return err
		}
		return e.Run(ctx)
	}
	_ = run
}
