package mqttclient_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// Answers leave in the order of what they answer: PUBREL in that of PUBREC [MQTT-4.6.0-4], PUBACK and PUBREC in that of
// PUBLISH [MQTT-4.6.0-2] [MQTT-4.6.0-3]. A new message has an identifier that no other one under way has: [MQTT-2.3.1-2],
// [MQTT-2.2.1-3].
func TestAnswersKeepTheOrder(t *testing.T) {
	for _, v := range versions {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r := newRig(t, mqttclient.Config{Version: v}, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}),
				Expect(mqtt.Publish{QoS: 2, ID: 1}), Expect(mqtt.Publish{QoS: 2, ID: 2}), Expect(mqtt.Publish{QoS: 2, ID: 3}),
				Send(ack(mqtt.TypePubRec, 2)), Send(ack(mqtt.TypePubRec, 3)), Send(ack(mqtt.TypePubRec, 1)),
				ExpectExactly(ack(mqtt.TypePubRel, 2)), ExpectExactly(ack(mqtt.TypePubRel, 3)), ExpectExactly(ack(mqtt.TypePubRel, 1)),
				Send(ack(mqtt.TypePubComp, 2)), Send(ack(mqtt.TypePubComp, 3)), Send(ack(mqtt.TypePubComp, 1)),
				Send(publish("a", 1)), Send(publish("b", 2)), Send(publish("c", 2)), Send(publish("d", 1)),
				ExpectExactly(ack(mqtt.TypePubAck, 1)), ExpectExactly(ack(mqtt.TypePubRec, 2)), ExpectExactly(ack(mqtt.TypePubRec, 3)),
				ExpectExactly(ack(mqtt.TypePubAck, 4)), end(cancel), Expect(mqtt.Disconnect{}), ExpectHangup())
			_ = r.run(ctx, func(mqttclient.Connected) {
				for i := range 3 {
					r.send(fmt.Sprint(i), 2, uint64(i))
				}
			})
			r.want("1", "2", "0")
		})
	}
}

// A window that is full holds messages back and nothing else [MQTT-3.3.4-8].
func TestFullWindowHoldsBackMessagesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRig(t, mqttclient.Config{Version: mqtt.V5}, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{ReceiveMaximum: 1}),
			Expect(publish("1", 1)), Expect(mqtt.Subscribe{}), Send(mqtt.SubAck{}), Send(publish("a", 1)), Expect(ack(mqtt.TypePubAck, 1)),
			Expect(publish("q0", 0)), Send(ack(mqtt.TypePubAck, 1)), Expect(publish("2", 1)), Send(ack(mqtt.TypePubAck, 0)),
			end(cancel), Expect(mqtt.Disconnect{}), ExpectHangup())
		_ = r.run(ctx, func(mqttclient.Connected) {
			r.send("1", 1, 1)
			go r.send("2", 1, 2)
			synctest.Wait()
			if _, _, err := r.s.Subscribe(ctx, mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}}}); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			r.send("q0", 0, 3)
		})
		r.want("3", "1", "2")
	})
}

// A client without session state closes the connection if the server has a session, and a clean start helps; unless the program has the state. Version 3.1.1
// leaves it to the client (section 3.2.2.2), and ours goes on. Statements of 5: [MQTT-3.2.2-4].
func TestUnknownSession(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} { // 3.1 cannot say whether there is one
		for _, adopt := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, adopt %v", v, adopt), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					var steps []Step
					strict := v == mqtt.V5 && !adopt
					if strict {
						steps = append(steps, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}), Expect(mqtt.Disconnect{}), ExpectHangup(),
							Expect(mqtt.Connect{CleanStart: true}), Send(mqtt.ConnAck{}))
					} else {
						steps = append(steps, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}))
					}
					steps = append(steps, Expect(publish("a", 1)), Send(ack(mqtt.TypePubAck, 1)), Hangup(),
						Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}), // this one it knows
						Expect(publish("b", 1)), Send(ack(mqtt.TypePubAck, 2)), end(cancel), Expect(mqtt.Disconnect{}), ExpectHangup())
					r := newRig(t, mqttclient.Config{Version: v, AdoptSession: adopt}, steps...)
					connect := func(clean bool, topic string, tag uint64) error {
						nc, err := r.peer.Dial(ctx)
						if err != nil {
							t.Fatal(err)
						}
						return r.s.Run(ctx, nc, mqtt.Connect{ClientID: "pump-7", CleanStart: clean}, func(mqttclient.Connected) { r.send(topic, 1, tag) })
					}
					if strict {
						if err := connect(false, "never", 0); !errors.Is(err, mqttclient.ErrUnknownSession) || !errors.Is(err, fairlead.ErrConflict) {
							t.Errorf("got %v", err)
						}
					}
					_ = connect(strict, "a", 1) // hung up
					_ = connect(false, "b", 2)  // asked to end
					r.want("1", "2")
				})
			})
		}
	}
}

// [MQTT-3.2.2-4]: a server that has a session after a clean start is not to be believed.
func TestSessionAfterCleanStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mqttclient.Config{Version: mqtt.V5}, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}), ExpectHangup())
		nc, err := r.peer.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.s.Run(t.Context(), nc, mqtt.Connect{ClientID: "pump-7", CleanStart: true}, nil); err == nil {
			t.Error("got no error")
		}
	})
}
