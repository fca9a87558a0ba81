package mqttclient_test

import (
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// When the end of a connection can be about one message, and when it cannot.
func TestEnding(t *testing.T) {
	message := Expect(publish("m", 1))
	for name, tt := range map[string]struct {
		do    func(*rig)
		steps []Step
		alone bool
		left  int
	}{
		"alone":             {func(r *rig) { r.release(); r.send("m", 1, 7) }, []Step{message}, true, 1},
		"acknowledged":      {func(r *rig) { r.release(); r.send("m", 1, 7) }, []Step{message, Send(mqtt.Ack{Type: mqtt.TypePubAck})}, false, 0},
		"before any answer": {func(r *rig) { r.send("m", 1, 7) }, []Step{message}, false, 1},
		"among others":      {func(r *rig) { r.send("m", 1, 7); r.send("m", 1, 8) }, []Step{message, message}, false, 2},
		"behind an answer": {func(r *rig) {
			r.send("m", 1, 6)
			if err := r.s.Idle(r.t.Context()); err != nil {
				r.t.Error(err)
			}
			r.send("m", 1, 7)
		}, []Step{message, Send(mqtt.Ack{Type: mqtt.TypePubAck}), message}, true, 1},
		"behind QoS 0":        {func(r *rig) { r.release(); r.send("loose", 0, 1); r.send("m", 1, 7) }, []Step{Expect(publish("loose", 0)), message}, false, 1},
		"QoS 0, then answers": {func(r *rig) { r.send("loose", 0, 1); r.release(); r.send("m", 1, 7) }, []Step{message}, true, 1},
		"before QoS 0":        {func(r *rig) { r.release(); r.send("m", 1, 7); r.send("loose", 0, 1) }, []Step{message, Expect(publish("loose", 0))}, false, 1},
		"with a subscription": {func(r *rig) {
			r.release()
			r.send("m", 1, 7)
			go func() {
				_, _ = r.s.SubscribeLater(r.t.Context(), mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "a"}}})
			}()
		}, []Step{message, Expect(mqtt.Subscribe{})}, false, 1},
		"QoS 2":             {func(r *rig) { r.release(); r.send("m", 2, 7) }, []Step{Expect(publish("m", 2))}, true, 1},
		"QoS 2, half of it": {func(r *rig) { r.release(); r.send("m", 2, 7) }, []Step{Expect(publish("m", 2)), Send(mqtt.Ack{Type: mqtt.TypePubRec}), Expect(mqtt.Ack{Type: mqtt.TypePubRel})}, false, 1},
		"one at a time only": {func(r *rig) {
			r.release()
			for range 2 {
				go func() { _ = r.s.Send(r.t.Context(), r.message("m", 1, 7)) }()
			}
		}, []Step{message, Do("settle", synctest.Wait)}, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				steps := []Step{Expect(mqtt.Connect{}), Send(mqtt.ConnAck{})}
				careful := 1
				switch name {
				case "before any answer", "among others", "behind an answer":
					careful = 0
				case "QoS 0, then answers":
					steps = append(steps, Expect(publish("loose", 0)), Expect(mqtt.PingReq{}), Send(mqtt.PingResp{}))
				default:
					steps = append(steps, Expect(mqtt.PingReq{}), Send(mqtt.PingResp{}))
				}
				r := newRig(t, mqttclient.Config{}, append(append(steps, tt.steps...), Do("settle", synctest.Wait), Hangup())...)
				r.s.Careful(careful)
				_ = r.run(t.Context(), func(mqttclient.Connected) { tt.do(r) })
				got := r.s.Ending()
				if got.Alone != tt.alone || got.Unacknowledged != tt.left || got.Alone && (got.Tag != 7 || string(got.Topic) != "m") {
					t.Errorf("got %+v", got)
				}
				if r.s.GiveUp(mqttclient.ErrNotConnected) != tt.alone || r.s.GiveUp(mqttclient.ErrNotConnected) {
					t.Error("given up, or not")
				}
				r.s.Close()
			})
		})
	}
}

func (r *rig) release() {
	if err := r.s.Release(r.t.Context()); err != nil {
		r.t.Error(err)
	}
}

// What nobody waits for any more is not sent again.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mqttclient.Config{},
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{}), Expect(publish("1", 1)), Expect(publish("2", 1)), Expect(publish("3", 1)), Hangup(),
			Expect(mqtt.Connect{}), Send(mqtt.ConnAck{SessionPresent: true}), Expect(again("1", 1, 1)), Expect(again("3", 1, 3)), Hangup(),
		)
		_ = r.run(t.Context(), func(mqttclient.Connected) { r.send("1", 1, 1); r.send("2", 1, 2); r.send("3", 1, 3) })
		r.s.Withdraw(func(tag uint64) bool { return tag == 2 })
		r.want("2: unavailable: not connected any more")
		_ = r.run(t.Context(), nil)
		r.s.Close()
	})
}
