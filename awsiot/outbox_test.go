package awsiot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// What one process has accepted, and could not send, the next one sends, in order.
func TestOutboxOverRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "outbox.db")
	open := func() *outbox.Outbox {
		t.Helper()
		store, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: file})
		if err != nil {
			t.Fatal(err)
		}
		box, err := outbox.Open(t.Context(), outbox.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		return box
	}
	first := open()
	c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), Outbox: first})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := c.Enqueue(t.Context(), fmt.Sprint(i), 1, nil, &PublishOptions{Retain: i == 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Enqueue(t.Context(), "0 with QoS 0", 0, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Enqueue(t.Context(), "late", 1, nil, nil); !errors.Is(err, fairlead.ErrClosed) {
		t.Errorf("closed outbox: %v", err)
	}

	second := open()
	retained := publish("1", 1)
	retained.Retain = true
	// Not in a bubble: a database has goroutines that do not end with it.
	r := newRig(t, func(c *Config) { c.Outbox = second }, connect(), connack(false),
		mqtttest.Expect(publish("0", 1)), puback(), mqtttest.Expect(retained), puback(), mqtttest.Expect(publish("2", 1)), puback(), mqtttest.Expect(publish("0 with QoS 0", 0)))
	r.start()
	if err := r.Flush(r.ctx); err != nil {
		t.Error(err)
	}
	if err := r.finish(); err != nil {
		t.Error(err)
	}
	if n := second.Stats().Messages; n != 0 {
		t.Errorf("%d messages are left", n)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

// What an outbox of the program's drops ends its result.
func TestDropped(t *testing.T) {
	var c *Client
	box, err := outbox.Open(t.Context(), outbox.Config{Store: outbox.NewMemory(), MaxMessages: 1, Policy: outbox.DropOldest, OnDrop: func(d outbox.Drop) { c.Dropped(d) }})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	if c, err = New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), Outbox: box}); err != nil {
		t.Fatal(err)
	}
	first, err := c.PublishAsync(t.Context(), "a", 1, nil, nil)
	if err == nil {
		_, err = c.PublishAsync(t.Context(), "b", 1, nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	ended(t, fairlead.ErrFull, first)
}

// A proxy is asked for the connection, and TLS goes through it.
func TestProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked string
		var r *rig
		r = newRig(t, func(c *Config) {
			c.Proxy = &url.URL{Scheme: "http", User: url.UserPassword("me", "pw"), Host: "proxy.test:3128"}
			c.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
				if address != "proxy.test:3128" {
					t.Errorf("dialed %s", address)
				}
				client, server := net.Pipe()
				r.gate.wg.Go(func() {
					req, err := http.ReadRequest(bufio.NewReader(server))
					if err != nil {
						t.Error(err)
						return
					}
					asked = req.Method + " " + req.RequestURI + " " + req.Header.Get("Proxy-Authorization")
					fmt.Fprint(server, "HTTP/1.1 200 Go ahead\r\n\r\n")
					through, err := r.gate.listener.Dial(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					pipe(server, through)
				})
				return client, nil
			}
		}, connect(), connack(false))
		r.start()
		if err := r.Await(r.ctx); err != nil {
			t.Error(err)
		}
		_ = r.finish()
		if want := "CONNECT " + endpoint + ":8883 Basic bWU6cHc="; asked != want {
			t.Errorf("asked %q, want %q", asked, want)
		}
	})
}
