package awsiot

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// ConnectTimeout bounds the wait for CONNACK, and the wait for a connection.
func TestConnectTimeout(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"CONNACK": func(*Config) {},
		"connection": func(c *Config) {
			dial, first := c.Dial, true
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if first {
					first = false
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return dial(ctx, network, address)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				steps := []mqtttest.Step{connect(), connack(false)}
				if name == "CONNACK" {
					steps = append([]mqtttest.Step{connect(), mqtttest.ExpectHangup()}, steps...)
				}
				var start time.Time
				r := newRig(t, func(c *Config) {
					c.ConnectTimeout = 5 * time.Second
					c.OnConnection = func(n Connection) {
						if n.State == Connecting && (time.Since(start) != 5*time.Second || !errors.Is(n.Err, fairlead.ErrUnavailable)) {
							t.Errorf("after %v: %v", time.Since(start), n.Err)
						}
					}
					change(c)
				}, steps...)
				start = time.Now()
				r.start()
				if err := r.Await(r.ctx); err != nil {
					t.Error(err)
				}
				_ = r.finish()
			})
		})
	}
}

// clogged is a connection into which, from some time on, no byte fits any more.
type clogged struct {
	net.Conn

	mu       sync.Mutex
	full     bool
	closed   bool
	deadline time.Time
}

func (c *clogged) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *clogged) clog() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = true
}

func (c *clogged) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

func (c *clogged) Write(b []byte) (int, error) {
	c.mu.Lock()
	full, until := c.full && !c.closed, c.deadline
	c.mu.Unlock()
	if !full {
		return c.Conn.Write(b)
	}
	time.Sleep(time.Until(until))
	return 0, os.ErrDeadlineExceeded
}

// Disconnecting takes three seconds at most, also if AWS IoT takes nothing any more.
func TestDisconnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line *clogged
		r := newRig(t, func(c *Config) {
			dial := c.Dial
			c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := dial(ctx, network, address)
				line = &clogged{Conn: nc}
				return line, err
			}
		}, connect(), connack(false))
		r.start()
		if err := r.Await(r.ctx); err != nil {
			t.Fatal(err)
		}
		wait()
		line.clog()
		start := time.Now()
		if err := r.finish(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start).Truncate(time.Second); took != 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
