package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	. "github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// OnReady comes after the event, when Start has done its work, and Await returns then: not before, and not for ever.
func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		var awaited atomic.Int32
		begin := func() {
			go func() {
				if err := r.Await(r.ctx); err != nil {
					t.Error(err)
				}
				awaited.Add(1)
			}()
		}
		await := func() Step { return Do("await", begin) }
		look := func(ready bool, waited int32, log ...string) Step {
			return Do("look", func() {
				time.Sleep(time.Millisecond)
				r.mu.Lock()
				defer r.mu.Unlock()
				if got := r.Connected(); got != ready || awaited.Load() != waited || !slices.Equal(r.log, log) {
					t.Errorf("got connected %v, %d awaited, %q, want %v, %d, %q", got, awaited.Load(), r.log, ready, waited, log)
				}
			})
		}
		r = newRig(t, engine.Config{
			Start: func(ctx context.Context, s *engine.Start) error {
				if !s.Fresh {
					return nil
				}
				return s.Send(ctx, publish("hello", 1))
			},
			OnReady: func() { r.note("ready") },
		},
			connect(), connack(false), Expect(publish("hello", 1)), look(false, 0, "connected"),
			puback(), look(true, 1, "connected", "ready"), await(), look(true, 2, "connected", "ready"), Hangup(),
			connect(), await(), look(false, 2, "connected", "ready", "disconnected"),
			connack(true), look(true, 3, "connected", "ready", "disconnected", "connected", "ready"),
		)
		short, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if err := r.Await(short); !errors.Is(err, fairlead.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before Run: got %v", err)
		}
		begin()
		r.start()
		_ = r.finish()
		if err := r.Await(t.Context()); !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("after Run: got %v", err)
		}
	})
}

// A connection whose renewal fails goes on, also after its time, and renewal is tried again after longer and longer pauses; and from the
// beginning on the next connection.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		start := time.Now()
		down := errors.New("the token service is down")
		var at []time.Duration
		r = newRig(t, engine.Config{
			Prepare: func(ctx context.Context, a engine.Attempt) (*engine.Connection, error) {
				c, err := r.prepare(ctx, a)
				if a.Renewal {
					if at = append(at, time.Since(start)); len(at) < 8 {
						return nil, down
					}
					return c, nil
				}
				c.RenewAt = start.Add(time.Hour)
				return c, err
			},
			OnEvent: func(ev engine.Event) {
				r.note("%v %v", ev.Kind, ev.Retry)
				if ev.Kind == engine.NotRenewed && !errors.Is(ev.Err, down) {
					t.Errorf("got %v", ev.Err)
				}
			},
			Backoff: engine.Backoff{Base: time.Minute, Max: 5 * time.Minute},
		},
			connect(), connack(false), sleep(time.Hour+15*time.Minute), Do("append", func() { r.append("1") }), Expect(publish("1", 1)), puback(), settle(), Hangup(),
			connect(), connack(true), sleep(2*time.Minute), Do("append", func() { r.append("2") }), Expect(publish("2", 1)), puback(), settle(),
			Expect(mqtt.Disconnect{}), ExpectHangup(), connect(), connack(true), settle(),
		)
		r.start()
		_ = r.finish()
		r.left(0)
		minutes := []int{60, 61, 63, 67, 72, 76, 77, 79} // the connection is lost at 75, and comes back a minute later
		for i := range minutes {
			if i >= len(at) || at[i].Round(time.Second) != time.Duration(minutes[i])*time.Minute {
				t.Fatalf("renewals at %v, want %v (in minutes)", at, minutes)
			}
		}
		r.want("connected 0s", "not renewed 1m0s", "not renewed 2m0s", "not renewed 4m0s", "not renewed 5m0s", "not renewed 5m0s", "disconnected 1m0s",
			"connected 0s", "not renewed 1m0s", "not renewed 2m0s", "disconnected 0s", "connected 0s", "disconnected 0s")
	})
}

// A session that a predecessor has left, which version 5 forbids a client to use that knows nothing of it: the engine begins a new one at
// once.
func TestUnknownSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := newRig(t, engine.Config{Session: mqttclient.Config{Version: mqtt.V5}},
			connect(), connack(true), Expect(mqtt.Disconnect{}), ExpectHangup(),
			Expect(mqtt.Connect{ClientID: "pump-7", CleanStart: true}), connack(false), Expect(publish("1", 1)), puback(), settle(), Hangup(),
			connect(), connack(true), settle(), // this one it knows
		)
		r.append("1")
		r.start()
		_ = r.finish()
		r.left(0)
		r.want("failed", "connected", "disconnected", "connected", "disconnected")
		if d := time.Since(start); d > 2*time.Second { // one pause, after the connection that was lost
			t.Errorf("took %v", d)
		}
	})
	t.Run("adopted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, engine.Config{Session: mqttclient.Config{Version: mqtt.V5, AdoptSession: true}}, connect(), connack(true), Expect(publish("1", 1)), puback(), settle())
			r.append("1")
			r.start()
			_ = r.finish()
			r.want("connected", "disconnected")
		})
	})
}
