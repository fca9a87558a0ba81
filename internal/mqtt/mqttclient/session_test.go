package mqttclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// All exchanges, in all versions, and an orderly end.
// Statements of 3.1.1: [MQTT-3.14.4-1] [MQTT-3.14.4-2] [MQTT-4.5.0-2]; of 5: [MQTT-3.14.4-1] [MQTT-3.14.4-2]
// [MQTT-4.5.0-2].
func TestExchanges(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				r := newRig(t, mqttclient.Config{Version: v},
					Expect(mqtt.Connect{ClientID: "pump-7", Version: v}), Send(mqtt.ConnAck{}),
					Expect(publish("q0", 0)), Expect(publish("q1", 1)), Expect(publish("q2", 2)),
					Send(ack(mqtt.TypePubRec, 2)), Send(ack(mqtt.TypePubAck, 1)),
					Expect(ack(mqtt.TypePubRel, 2)), Send(ack(mqtt.TypePubComp, 2)),
					Expect(mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a/#", QoS: 2}}}), Send(mqtt.SubAck{}),
					Send(publish("a/0", 0)), Send(publish("a/1", 1)), Send(publish("a/2", 2)),
					Expect(ack(mqtt.TypePubAck, 1)), Expect(ack(mqtt.TypePubRec, 2)),
					Send(ack(mqtt.TypePubRel, 2)), Expect(ack(mqtt.TypePubComp, 2)),
					Expect(mqtt.Unsubscribe{Filters: []string{"a/#"}}), Send(mqtt.Ack{Type: mqtt.TypeUnsubAck}),
					end(cancel), Expect(mqtt.Disconnect{}), ExpectHangup(),
				)
				err := r.run(ctx, func(mqttclient.Connected) {
					r.send("q0", 0, 10)
					r.send("q1", 1, 11)
					r.send("q2", 2, 12)
					synctest.Wait()
					codes, _, err := r.s.Subscribe(ctx, mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a/#", QoS: 2}}})
					if err != nil || !slices.Equal(codes, []mqtt.ReasonCode{2}) {
						t.Errorf("subscribe: got %v, %v", codes, err)
					}
					synctest.Wait()
					if codes, err := r.s.Unsubscribe(ctx, "a/#"); err != nil || len(codes) != 1 {
						t.Errorf("unsubscribe: got %v, %v", codes, err)
					}
				})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want the context's end", err)
				}
				r.want("10", "11", "12")
				if len(r.messages) != 3 || r.messages[2].Topic != "a/2" {
					t.Errorf("got %d messages, want 3", len(r.messages))
				}
				if n := r.s.InFlight(); n != 0 {
					t.Errorf("%d in flight, want 0", n)
				}
			})
		})
	}
}

// The connection is cut in every state of every exchange, and the session goes on with it, or it does not.
// Statements of 3.1.1: [MQTT-2.3.1-3] [MQTT-4.3.3-1] [MQTT-4.4.0-1]; of 5: [MQTT-3.2.2-5] [MQTT-4.3.3-6].
func TestResume(t *testing.T) {
	connect, present := Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true})
	for _, c := range []struct {
		name          string
		qos           byte
		before, after []Step
	}{
		{
			"QoS 1, ack never leaves", 1,
			[]Step{Expect(publish("t", 1))},
			[]Step{Expect(again("t", 1, 1)), Send(ack(mqtt.TypePubAck, 1))},
		},
		{
			"QoS 2, before PUBREC", 2,
			[]Step{Expect(publish("t", 2))},
			[]Step{
				Expect(again("t", 2, 1)), Send(ack(mqtt.TypePubRec, 1)),
				Expect(ack(mqtt.TypePubRel, 1)), Send(ack(mqtt.TypePubComp, 1)),
			},
		},
		{
			"QoS 2, before PUBCOMP", 2,
			[]Step{Expect(publish("t", 2)), Send(ack(mqtt.TypePubRec, 1)), Expect(ack(mqtt.TypePubRel, 1))},
			[]Step{Expect(ack(mqtt.TypePubRel, 1)), Send(ack(mqtt.TypePubComp, 1))},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				steps := slices.Concat([]Step{connect, Send(mqtt.ConnAck{})}, c.before, []Step{Hangup(), connect, present},
					c.after, []Step{Expect(publish("next", 1)), Send(ack(mqtt.TypePubAck, 0)), end(cancel)})
				r := newRig(t, mqttclient.Config{}, steps...)
				if err := r.run(ctx, func(mqttclient.Connected) { r.send("t", c.qos, 1) }); !errors.Is(err, fairlead.ErrUnavailable) {
					t.Errorf("got %v, want unavailable", err)
				}
				r.want() // nothing has ended
				err := r.run(ctx, func(c mqttclient.Connected) {
					if !c.SessionPresent {
						t.Error("no session")
					}
					time.Sleep(time.Microsecond) // in a bubble: when all that was sent again has been answered
					r.send("next", 1, 2)
				})
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				r.want("1", "2")
			})
		})
		t.Run(c.name+", session lost", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				steps := slices.Concat([]Step{connect, Send(mqtt.ConnAck{})}, c.before, []Step{Hangup(), connect, Send(mqtt.ConnAck{})},
					[]Step{Expect(publish("next", 1)), Send(ack(mqtt.TypePubAck, 0)), end(cancel)})
				r := newRig(t, mqttclient.Config{}, steps...)
				_ = r.run(ctx, func(mqttclient.Connected) { r.send("t", c.qos, 1) })
				_ = r.run(ctx, func(mqttclient.Connected) { r.send("next", 1, 2) })
				r.want("1: unavailable: the server has lost the session", "2")
			})
		})
	}
}

// What comes with QoS 2 is handed out once, wherever the connection is cut.
// Statements of 3.1.1: [MQTT-4.3.3-2].
func TestReceiveQoS2Once(t *testing.T) {
	connect, present := Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true})
	in := mqtt.Publish{Topic: []byte("t"), QoS: 2, ID: 7}
	dup := in
	dup.Dup = true
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRig(t, mqttclient.Config{},
			connect, Send(mqtt.ConnAck{}), Send(in), Expect(ack(mqtt.TypePubRec, 7)), Hangup(),
			connect, present, Send(dup), Expect(ack(mqtt.TypePubRec, 7)), Send(ack(mqtt.TypePubRel, 7)), Expect(ack(mqtt.TypePubComp, 7)), Hangup(),
			connect, present, Send(ack(mqtt.TypePubRel, 7)), Expect(ack(mqtt.TypePubComp, 7)),
			Send(in), Expect(ack(mqtt.TypePubRec, 7)), Hangup(), // a new one with the same identifier
			connect, Send(mqtt.ConnAck{}), Send(in), Expect(ack(mqtt.TypePubRec, 7)), // and a new one again: the session is new
			end(cancel),
		)
		for range 4 {
			_ = r.run(ctx, nil)
		}
		if len(r.messages) != 3 {
			t.Errorf("got %d messages, want 3", len(r.messages))
		}
	})
}

// Acknowledgements are the application's, and leave in the order of the messages.
// Statements of 3.1.1: [MQTT-4.6.0-2] [MQTT-4.6.0-3]; of 5: [MQTT-4.6.0-2] [MQTT-4.6.0-3].
func TestManualAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var got []*mqttclient.Message
		r := newRig(t, mqttclient.Config{Receive: func(m *mqttclient.Message) { got = append(got, m) }},
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}),
			Send(publish("1", 1)), Send(publish("2", 2)), Send(publish("3", 1)),
			Expect(publish("mark", 0)), // nothing came before it
			Expect(ack(mqtt.TypePubAck, 1)), Expect(ack(mqtt.TypePubRec, 2)), Expect(ack(mqtt.TypePubAck, 3)),
			Send(ack(mqtt.TypePubRel, 2)), Expect(ack(mqtt.TypePubComp, 2)), Hangup(),
		)
		_ = r.run(ctx, func(mqttclient.Connected) {
			synctest.Wait()
			got[2].Ack()
			got[1].Ack()
			synctest.Wait()
			r.send("mark", 0, 0)
			synctest.Wait()
			got[0].Ack()
			got[0].Ack()
		})
		got[0].Ack() // too late, and harmless
		cancel()
	})
}

// A new process must not lose a message to an identifier that its predecessor has left in use.
func TestPredecessorsIdentifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRig(t, mqttclient.Config{MaxInFlight: 1},
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}),
			Expect(ack(mqtt.TypePubRel, 1)), Hangup(), // before anything of the message was sent
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}),
			Expect(ack(mqtt.TypePubRel, 1)), Do("wait", synctest.Wait), Send(ack(mqtt.TypePubComp, 1)),
			Expect(publish("t", 2)), Send(ack(mqtt.TypePubRec, 1)),
			Expect(ack(mqtt.TypePubRel, 1)), Send(ack(mqtt.TypePubComp, 1)),
			Expect(publish("u", 2)), Send(ack(mqtt.TypePubRec, 1)), // once is enough
			Expect(ack(mqtt.TypePubRel, 1)), Send(ack(mqtt.TypePubComp, 1)), end(cancel),
		)
		_ = r.run(ctx, func(mqttclient.Connected) { r.send("t", 2, 1) })
		_ = r.run(ctx, func(mqttclient.Connected) { r.send("u", 2, 2) })
		r.want("1", "2")
	})
}

// The window is the smaller one of ours and the server's, also for what is sent again.
// Statements of 3.1.1: [MQTT-4.6.0-1]; of 5: [MQTT-3.3.4-7] [MQTT-4.6.0-1].
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRig(t, mqttclient.Config{Version: mqtt.V5, MaxInFlight: 3},
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}),
			Expect(publish("1", 1)), Expect(publish("2", 1)), Expect(publish("3", 1)), Hangup(),
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true, ReceiveMaximum: 1}),
			Expect(again("1", 1, 1)), Do("wait", synctest.Wait), Send(ack(mqtt.TypePubAck, 1)),
			Expect(again("2", 1, 2)), Send(ack(mqtt.TypePubAck, 2)), Expect(again("3", 1, 3)), Send(ack(mqtt.TypePubAck, 3)),
			Expect(publish("4", 1)), Send(ack(mqtt.TypePubAck, 0)), end(cancel),
		)
		_ = r.run(ctx, func(mqttclient.Connected) {
			for i := range 3 {
				r.send(fmt.Sprint(i+1), 1, uint64(i+1))
			}
			if err := r.s.Send(ctx, r.message("4", 1, 4)); !errors.Is(err, mqttclient.ErrNotConnected) {
				t.Errorf("got %v, want that the wait for room ends with the connection", err)
			}
		})
		_ = r.run(ctx, func(mqttclient.Connected) { r.send("4", 1, 4) })
		r.want("1", "2", "3", "4")
	})
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		v    mqtt.Version
		code byte
		kind error
	}{
		{mqtt.V311, mqtt.ConnAckBadVersion, fairlead.ErrInvalid},
		{mqtt.V311, mqtt.ConnAckBadClientID, fairlead.ErrInvalid},
		{mqtt.V311, mqtt.ConnAckUnavailable, fairlead.ErrUnavailable},
		{mqtt.V31, mqtt.ConnAckBadCredentials, fairlead.ErrUnauthenticated},
		{mqtt.V311, mqtt.ConnAckNotAuthorized, fairlead.ErrDenied},
		{mqtt.V5, byte(mqtt.ReasonBadCredentials), fairlead.ErrUnauthenticated},
		{mqtt.V5, byte(mqtt.ReasonNotAuthorized), fairlead.ErrDenied},
		{mqtt.V5, byte(mqtt.ReasonServerBusy), fairlead.ErrUnavailable},
		{mqtt.V5, byte(mqtt.ReasonQuotaExceeded), fairlead.ErrThrottled},
		{mqtt.V5, byte(mqtt.ReasonServerMoved), fairlead.ErrUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, mqttclient.Config{Version: c.v}, Expect(mqtt.Connect{}),
				Send(mqtt.ConnAck{Code: c.code, Reason: "because", ServerReference: "other:1883"}), Hangup())
			err := r.run(t.Context(), nil)
			var p *fairlead.PlatformError
			var s *mqttclient.ServerError
			if !errors.As(err, &p) || !errors.As(err, &s) || !errors.Is(err, c.kind) || p.Code != fmt.Sprint(c.code) {
				t.Errorf("version %v, code %d: got %v, want kind %v", c.v, c.code, err, c.kind)
			} else if c.v == mqtt.V5 && (p.Detail != "because" || s.Reference != "other:1883" || s.Moved != (c.code == byte(mqtt.ReasonServerMoved))) {
				t.Errorf("version %v, code %d: got %+v", c.v, c.code, s)
			}
		})
	}
}

// Every wait ends.
func TestDeadlines(t *testing.T) {
	connected := []Step{Expect(mqtt.Connect{}), Send(mqtt.ConnAck{})}
	for _, c := range []struct {
		name  string
		steps []Step
		do    func(*rig)
		after time.Duration
	}{
		{"no CONNACK", []Step{Expect(mqtt.Connect{})}, nil, 30 * time.Second},
		{"half of a CONNACK", []Step{Expect(mqtt.Connect{}), SendBytes(0x20)}, nil, 30 * time.Second},
		{"half open", append(connected, Expect(mqtt.PingReq{})), nil, 65 * time.Second},
		{
			"half open while QoS 0 is sent", append(connected, Expect(publish("t", 0))),
			func(r *rig) { r.send("t", 0, 1) }, 65 * time.Second,
		},
		{
			"ack never comes", append(connected, Expect(publish("t", 1)), Expect(mqtt.PingReq{}), Send(mqtt.PingResp{})),
			func(r *rig) { r.send("t", 1, 1) }, 60 * time.Second,
		},
		{
			"SUBACK never comes", append(connected, Expect(mqtt.Subscribe{}), Expect(mqtt.PingReq{}), Send(mqtt.PingResp{})),
			func(r *rig) {
				_, _, err := r.s.Subscribe(r.t.Context(), mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a"}}})
				if !errors.Is(err, fairlead.ErrUnavailable) {
					r.t.Errorf("got %v, want unavailable", err)
				}
			}, 60 * time.Second,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, mqttclient.Config{}, c.steps...)
				start := time.Now()
				err := r.run(t.Context(), func(mqttclient.Connected) {
					if c.do != nil {
						c.do(r)
					}
				})
				if !errors.Is(err, fairlead.ErrUnavailable) || time.Since(start) != c.after {
					t.Errorf("got %v after %v, want unavailable after %v", err, time.Since(start), c.after)
				}
			})
		})
	}
}

// A peer that answers pings stays connected, and one that does not read does not.
// Statements of 3.1.1: [MQTT-3.1.2-23]; of 5: [MQTT-3.1.2-20] [MQTT-3.1.2-21] [MQTT-3.2.2-21].
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := newRig(t, mqttclient.Config{},
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}), Expect(mqtt.PingReq{}), Send(mqtt.PingResp{}),
			Expect(mqtt.PingReq{}), Send(mqtt.PingResp{}), Expect(mqtt.PingReq{}), Hangup())
		_ = r.run(t.Context(), nil)
		if d := time.Since(start); d != 135*time.Second {
			t.Errorf("the third ping came after %v, want 135 s", d)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the server's interval counts, and 0 is none
		start := time.Now()
		r := newRig(t, mqttclient.Config{Version: mqtt.V5},
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{ServerKeepAlive: mqtt.Some[uint16](8)}), Expect(mqtt.PingReq{}), Hangup(),
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{ServerKeepAlive: mqtt.Some[uint16](0)}), Do("sleep", func() { time.Sleep(time.Hour) }), Hangup())
		_ = r.run(t.Context(), nil)
		if d := time.Since(start); d != 6*time.Second {
			t.Errorf("the ping came after %v, want 6 s", d)
		}
		_ = r.run(t.Context(), nil)
		if d := time.Since(start); d != time.Hour+6*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{})
		r := newRig(t, mqttclient.Config{}, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}), Do("stall", func() { <-wake }))
		start := time.Now()
		big := r.message("t", 0, 1)
		big.Payload = make([]byte, 400<<10)
		err := r.run(t.Context(), func(mqttclient.Connected) { _ = r.s.Send(t.Context(), big) })
		if !errors.Is(err, fairlead.ErrUnavailable) || time.Since(start) != 30*time.Second {
			t.Errorf("got %v after %v, want unavailable after 30 s", err, time.Since(start))
		}
		r.want("1: unavailable: not connected any more: mqtt: write")
		close(wake)
	})
}

// While we are slow ourselves, the server is not to blame.
func TestSlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		r := newRig(t, mqttclient.Config{Receive: func(m *mqttclient.Message) {
			time.Sleep(time.Hour)
			m.Ack()
		}}, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}), Send(publish("t", 1)),
			ExpectThat("pings, then an ack", func(p mqtt.Packet) error {
				_, ok := p.(*mqtt.PingReq)
				if !ok {
					return fmt.Errorf("got %T", p)
				}
				return nil
			}))
		start := time.Now()
		_ = r.run(ctx, nil)
		// One more ping goes unanswered after Receive has returned.
		if d := time.Since(start); d < time.Hour || d > time.Hour+2*time.Minute {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestGarbage(t *testing.T) {
	for _, c := range []struct {
		name  string
		v     mqtt.Version
		steps []Step
	}{
		{"before CONNACK", mqtt.V311, []Step{SendBytes(0xff, 0xff, 0xff, 0xff, 0xff)}},
		{"another packet before CONNACK", mqtt.V311, []Step{Send(mqtt.PingResp{})}},
		{"reserved type", mqtt.V311, []Step{Send(mqtt.ConnAck{}), SendBytes(0x00, 0x00)}},
		{"too large", mqtt.V311, []Step{Send(mqtt.ConnAck{}), SendBytes(0x30, 0xff, 0xff, 0xff, 0x7f)}},
		{"what only clients send", mqtt.V311, []Step{Send(mqtt.ConnAck{}), Send(mqtt.PingReq{})}},
		{"a second CONNACK", mqtt.V311, []Step{Send(mqtt.ConnAck{}), Send(mqtt.ConnAck{})}},
		{"DISCONNECT before version 5", mqtt.V311, []Step{Send(mqtt.ConnAck{}), Send(mqtt.Disconnect{})}},
		{"an alias that is not allowed", mqtt.V5, []Step{Send(mqtt.ConnAck{}), Send(mqtt.Publish{Topic: []byte("t"), TopicAlias: 1})}},
		{"PUBACK for QoS 2", mqtt.V311, []Step{Send(mqtt.ConnAck{}), Expect(publish("t", 2)), Send(ack(mqtt.TypePubAck, 1))}},
		{"PUBCOMP without PUBREC", mqtt.V311, []Step{Send(mqtt.ConnAck{}), Expect(publish("t", 2)), Send(ack(mqtt.TypePubComp, 1))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				steps := append([]Step{Expect(mqtt.Connect{})}, c.steps...)
				r := newRig(t, mqttclient.Config{Version: c.v}, steps...)
				err := r.run(t.Context(), func(mqttclient.Connected) { _ = r.s.Send(t.Context(), r.message("t", 2, 1)) })
				var violation *mqtt.Error
				if !errors.As(err, &violation) {
					t.Errorf("got %v, want a violation", err)
				}
			})
		})
	}
}

// What a server of version 5 says with reason codes.
// Statements of 5: [MQTT-4.4.0-2].
func TestReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mqttclient.Config{Version: mqtt.V5},
			Expect(mqtt.Connect{ReceiveMaximum: 100}), Send(mqtt.ConnAck{}),
			Expect(publish("1", 1)), Send(mqtt.Ack{Type: mqtt.TypePubAck, Code: mqtt.ReasonNotAuthorized, Reason: "not yours"}),
			Expect(publish("2", 2)), Send(mqtt.Ack{Type: mqtt.TypePubRec, Code: mqtt.ReasonQuotaExceeded}),
			Expect(mqtt.Subscribe{}), Send(mqtt.SubAck{Codes: []byte{1, 0x87}, Reason: "the second not"}),
			Send(mqtt.Disconnect{Code: mqtt.ReasonSessionTakenOver, Reason: "it is another one's"}), Hangup(),
		)
		err := r.run(t.Context(), func(mqttclient.Connected) {
			r.send("1", 1, 1)
			synctest.Wait()
			r.send("2", 2, 2)
			synctest.Wait()
			codes, text, err := r.s.Subscribe(t.Context(), mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a", QoS: 1}, {Filter: "b"}}})
			if err != nil || text != "the second not" || !codes[1].Failed() || codes[0].Failed() {
				t.Errorf("got %v %q %v", codes, text, err)
			}
		})
		var p *fairlead.PlatformError
		if !errors.Is(err, fairlead.ErrConflict) || !errors.As(err, &p) || p.Code != "142" || p.Detail != "it is another one's" {
			t.Errorf("got %v", err)
		}
		r.want(`1: publish to "1": refused by the platform with code "135": denied: "not yours"`, `2: publish to "2": refused by the platform with code "151": throttled`)
	})
}

// What cannot be encoded, or what the server does not take, never reaches the connection.
// Statements of 5: [MQTT-3.2.2-11] [MQTT-3.2.2-14] [MQTT-3.2.2-15].
func TestSendRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := newRig(t, mqttclient.Config{Version: mqtt.V5}, Expect(mqtt.Connect{}),
			Send(mqtt.ConnAck{MaximumPacketSize: 100, MaximumQoS: mqtt.Some[byte](1), RetainUnavailable: true}), Expect(mqtt.Disconnect{}))
		_ = r.run(ctx, func(mqttclient.Connected) {
			for _, c := range []struct {
				p    mqtt.Publish
				kind error
			}{
				{publish("t", 2), fairlead.ErrInvalid},
				{publish("t", 3), fairlead.ErrInvalid},
				{publish("t/#", 0), fairlead.ErrInvalid},
				{publish("", 0), fairlead.ErrInvalid},
				{publish(strings.Repeat("x", 70000), 0), fairlead.ErrInvalid},
				{mqtt.Publish{Topic: []byte("t"), Retain: true}, fairlead.ErrInvalid},
				{mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 100)}, fairlead.ErrTooLarge},
				{
					mqtt.Publish{Topic: []byte("t"), Properties: &mqtt.MessageProperties{CorrelationData: make([]byte, 70000)}},
					fairlead.ErrTooLarge,
				},
			} {
				if err := r.s.Send(ctx, &mqttclient.Outgoing{Publish: c.p}); !errors.Is(err, c.kind) {
					t.Errorf("got %.100v, want %v", err, c.kind)
				}
			}
			if _, _, err := r.s.Subscribe(ctx, mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a#"}}}); !errors.Is(err, fairlead.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			cancel()
		})
	})
}

// What a server says before it hangs up counts, also when our own write notices the hang-up first.
func TestLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mqttclient.Config{Version: mqtt.V5}, Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}),
			Send(publish("t", 0)), Send(mqtt.Disconnect{Code: mqtt.ReasonServerShuttingDown}), Hangup())
		hold := make(chan struct{})
		s, err := mqttclient.NewSession(mqttclient.Config{Version: mqtt.V5, Receive: func(*mqttclient.Message) { <-hold }})
		if err != nil {
			t.Fatal(err)
		}
		r.s = s
		err = r.run(t.Context(), func(mqttclient.Connected) {
			time.Sleep(time.Second) // it has hung up
			r.send("t", 0, 1)
			time.Sleep(time.Second) // and we have noticed
			close(hold)
		})
		var e *mqttclient.ServerError
		if !errors.As(err, &e) || e.Code != mqtt.ReasonServerShuttingDown {
			t.Errorf("got %v, want the server's reason", err)
		}
		r.want("1: unavailable: not connected any more")
	})
}
