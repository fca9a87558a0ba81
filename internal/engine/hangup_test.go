package engine_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/outbox"
)

// careful is the beginning of a connection on which messages go out one at a time.
func careful(present bool) Step {
	return Steps(connect(), connack(present), Expect(mqtt.PingReq{}), settle(), Send(mqtt.PingResp{}))
}

func expect(topic string, again bool) Step {
	return Expect(mqtt.Publish{Topic: []byte(topic), QoS: 1, Dup: again})
}

// A message that the server hangs up on, time after time, is given up, and the others get through: that before it, whose acknowledgement
// was lost with the connection, and that behind it.
func TestHangUp(t *testing.T) {
	for name, kept := range map[string]bool{"session kept": true, "session lost": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r *rig
				r = newRig(t, engine.Config{HangUps: 3},
					connect(), connack(false), expect("before", false), expect("bad", false), expect("behind", false), Hangup(),
					careful(kept), expect("before", kept), puback(), expect("bad", kept), Hangup(), // it is alone, or would not count
					careful(kept), expect("bad", kept), Hangup(),
					careful(kept), expect("bad", kept), settle(), Do("look", func() { r.left(2) }), Hangup(),
					careful(kept), expect("behind", kept), puback(), settle(),
					Do("append", func() { r.append("new", "newer") }), expect("new", false), expect("newer", false), puback(), settle(), // together again
				)
				r.append("before", "bad", "behind")
				r.start()
				_ = r.finish()
				r.left(1)
				r.want("connected", "disconnected", "connected", "disconnected", "connected", "disconnected", "connected", "undeliverable bad", "disconnected", "connected", "disconnected")
			})
		})
	}
}

// The receipt has the reason, and so has a message that went around the outbox.
func TestHangUpOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, engine.Config{HangUps: 2},
			connect(), connack(false), expect("kept", false), Hangup(),
			careful(false), expect("kept", false), Hangup(),
			careful(false), expect("kept", false), Hangup(),
			careful(false), expect("direct", false), Hangup(), // its first time: who goes before it was not acknowledged
			careful(false), expect("direct", false), Hangup(),
			careful(false), expect("direct", false), Hangup(),
			careful(false), expect("direct", false), Hangup(),
			careful(false), settle(),
		)
		r.start()
		wait()
		kept, err := r.Append(r.ctx, outbox.Message{Header: []byte("kept")})
		if err != nil {
			t.Fatal(err)
		}
		if err := kept.Wait(r.ctx); !errors.Is(err, engine.ErrHungUp) || !errors.Is(err, fairlead.ErrDenied) || !strings.Contains(err.Error(), `"kept"`) {
			t.Errorf("receipt: %v", err)
		}
		if err := r.Publish(r.ctx, publish("direct", 1)); !errors.Is(err, engine.ErrHungUp) || errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("publish: %v", err)
		}
		_ = r.finish()
	})
}

// What a network does, or a server that is stopped, never costs a message: not however often.
func TestNoHangUp(t *testing.T) {
	const often = 20
	repeat := func(steps ...Step) (all []Step) {
		for range often {
			all = append(all, steps...)
		}
		return all
	}
	reset := new(atomic.Bool) // connections end with an error
	for name, tt := range map[string]struct {
		steps   []Step
		prepare bool
	}{
		// As a balancer without a server behind it would: the message may never have been read.
		"before the answer to PINGREQ": {steps: repeat(connect(), connack(true), Expect(mqtt.PingReq{}), Hangup())},
		"while idle":                   {steps: repeat(careful(true), expect("1", true), Hangup(), connect(), connack(true), Hangup())},
		"by an error":                  {steps: repeat(careful(true), expect("1", true), Do("reset", func() { reset.Store(true) }), Hangup()), prepare: true},
		"in silence":                   {steps: repeat(careful(true), expect("1", true), ExpectHangup())},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reset.Store(false)
				var r *rig
				cfg := engine.Config{HangUps: 2}
				if tt.prepare {
					cfg.Prepare = func(ctx context.Context, a engine.Attempt) (*engine.Connection, error) {
						c, err := r.prepare(ctx, a)
						c.Dialer.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
							reset.Store(false)
							nc, err := r.peer.DialContext(ctx, network, address)
							return resetConn{nc, reset}, err
						}
						return c, err
					}
				}
				r = newRig(t, cfg, append(append([]Step{connect(), connack(false), expect("1", false), Hangup()}, tt.steps...), careful(true), expect("1", true), puback(), settle())...)
				r.append("1")
				r.start()
				_ = r.finish()
				r.left(0)
				for _, line := range r.log {
					if strings.HasPrefix(line, "undeliverable") {
						t.Error(line)
					}
				}
			})
		})
	}
}

// resetConn ends as connections do that a router has forgotten.
type resetConn struct {
	net.Conn
	reset *atomic.Bool
}

func (c resetConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.reset.Load() {
		err = &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	}
	return n, err
}

// An acknowledgement, or another end, begins the count anew.
func TestHangUpsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hungUp := Steps(careful(true), expect("1", true), Hangup())
		r := newRig(t, engine.Config{HangUps: 3},
			connect(), connack(false), expect("1", false), Hangup(),
			hungUp, hungUp, Steps(careful(true), expect("1", true), ExpectHangup()), // silence
			hungUp, hungUp, Steps(careful(true), Hangup()),
			hungUp, hungUp, Steps(careful(true), expect("1", true), puback(), settle()),
		)
		r.append("1")
		r.start()
		_ = r.finish()
		r.left(0)
	})
}

// A server that hangs up on everything is ill: it does not get to see the whole outbox. When it is well again, the count is the ordinary one.
func TestHangUpOnEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := []Step{connect(), connack(false), expect("1", false), expect("2", false), expect("3", false), expect("4", false), expect("5", false), Hangup()}
		for _, s := range []struct {
			topic string
			times int
		}{{"1", 2}, {"2", 4}, {"3", 8}} {
			for range s.times {
				steps = append(steps, careful(true), expect(s.topic, true), Hangup())
			}
		}
		steps = append(steps, careful(true), expect("4", true), puback(), expect("5", true), Hangup(), careful(true), expect("5", true), Hangup(), careful(true), settle())
		r := newRig(t, engine.Config{HangUps: 2}, steps...)
		r.append("1", "2", "3", "4", "5")
		r.start()
		_ = r.finish()
		r.left(0)
	})
}

// With version 5 a server says why: only that counts.
func TestHangUpVersion5(t *testing.T) {
	for name, tt := range map[string]struct {
		end   Step
		given bool
	}{
		"topic":     {Send(mqtt.Disconnect{Code: mqtt.ReasonTopicNameInvalid}), true},
		"policy":    {Send(mqtt.Disconnect{Code: mqtt.ReasonNotAuthorized}), true},
		"too large": {Send(mqtt.Disconnect{Code: mqtt.ReasonPacketTooLarge}), true},
		"shutdown":  {Send(mqtt.Disconnect{Code: mqtt.ReasonServerShuttingDown}), false},
		"taken":     {Send(mqtt.Disconnect{Code: mqtt.ReasonSessionTakenOver}), false},
		"nothing":   {settle(), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				steps := []Step{connect(), connack(false), expect("1", false), tt.end, Hangup()}
				begin := careful(true)
				if !tt.given {
					begin = Steps(connect(), connack(true))
				}
				for range 3 {
					steps = append(steps, begin, expect("1", true), tt.end, Hangup())
				}
				if tt.given {
					steps = append(steps, careful(true), settle())
				} else {
					steps = append(steps, begin, expect("1", true), puback(), settle())
				}
				r := newRig(t, engine.Config{HangUps: 3, Session: mqttclient.Config{Version: mqtt.V5}}, steps...)
				r.start()
				wait()
				receipt, err := r.Append(r.ctx, outbox.Message{Header: []byte("1")})
				if err != nil {
					t.Fatal(err)
				}
				err = receipt.Wait(r.ctx)
				var refusal *fairlead.PlatformError
				if tt.given != errors.Is(err, engine.ErrHungUp) || tt.given != errors.As(err, &refusal) {
					t.Errorf("%v", err)
				}
				_ = r.finish()
			})
		})
	}
}
