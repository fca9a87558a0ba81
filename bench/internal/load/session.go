package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A Target is where a client connects, and as whom.
type Target struct {
	Addr     string
	TLS      *tls.Config // nil: plain TCP
	ClientID string      // may be empty
	User     string
	Password []byte // nil: none
	Topic    string // that a publisher publishes to
	Hello    []byte // sent after CONNACK, with its acknowledgement: Astarte's introspection; nil: nothing
}

// HelloID is the packet identifier that Target.Hello must use.
const HelloID = 0xffff

// open connects and signs in; hello says whether Target.Hello is sent as well.
func open(ctx context.Context, t Target, buffer int, hello bool) (net.Conn, *mqtt.FrameReader, error) {
	host, _, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return nil, nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && !ip.IsLoopback() {
		return nil, nil, fmt.Errorf("%s is not on this machine", t.Addr)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var c net.Conn
	if t.TLS != nil {
		c, err = (&tls.Dialer{Config: t.TLS}).DialContext(ctx, "tcp", t.Addr)
	} else {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", t.Addr)
	}
	if err != nil {
		return nil, nil, err
	}
	frames := mqtt.NewFrameReader(bufio.NewReaderSize(c, buffer), 1<<16)
	if !hello {
		t.Hello = nil
	}
	if err := signIn(c, frames, t); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, frames, nil
}

// signIn opens the session.
func signIn(c net.Conn, frames *mqtt.FrameReader, t Target) error {
	_ = c.SetDeadline(time.Now().Add(dialTimeout))
	connect := mqtt.Connect{CleanStart: true, KeepAlive: 600, ClientID: t.ClientID}
	if t.User != "" {
		connect.HasUsername, connect.Username = true, t.User
	}
	if t.Password != nil {
		connect.HasPassword, connect.Password = true, t.Password
	}
	if _, err := c.Write(append(connect.Append(nil, mqtt.V311), t.Hello...)); err != nil {
		return err
	}
	f, err := frames.Next()
	if err != nil {
		return fmt.Errorf("wait for CONNACK: %w", err)
	}
	var ack mqtt.ConnAck
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	if ack.Code != mqtt.ConnAckAccepted {
		return fmt.Errorf("CONNACK with code %d", ack.Code)
	}
	if t.Hello != nil {
		if err := expect(frames, mqtt.TypePubRec); err != nil {
			return err
		}
		if _, err := c.Write((&mqtt.Ack{Type: mqtt.TypePubRel, ID: HelloID}).Append(nil, mqtt.V311)); err != nil {
			return err
		}
		if err := expect(frames, mqtt.TypePubComp); err != nil {
			return err
		}
	}
	return c.SetDeadline(time.Time{})
}

func expect(frames *mqtt.FrameReader, t mqtt.Type) error {
	f, err := frames.Next()
	if err != nil {
		return fmt.Errorf("wait for %v: %w", t, err)
	}
	var ack mqtt.Ack
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	if ack.Type != t || ack.ID != HelloID {
		return fmt.Errorf("got %v %d, want %v %d", ack.Type, ack.ID, t, HelloID)
	}
	return nil
}

// bye ends a connection in order.
func bye(c net.Conn) {
	_, _ = c.Write((&mqtt.Disconnect{}).Append(nil, mqtt.V311))
	_ = c.Close()
}

// An Idle is a connection that says nothing.
type Idle struct {
	conn   net.Conn
	frames *mqtt.FrameReader
}

// Connect makes an idle connection.
func Connect(ctx context.Context, t Target) (*Idle, error) {
	c, frames, err := open(ctx, t, 512, true)
	if err != nil {
		return nil, err
	}
	return &Idle{conn: c, frames: frames}, nil
}

// Ping has the server answer: the connection is still there.
func (i *Idle) Ping() error {
	_ = i.conn.SetDeadline(time.Now().Add(patience))
	if _, err := i.conn.Write((&mqtt.PingReq{}).Append(nil, mqtt.V311)); err != nil {
		return err
	}
	f, err := i.frames.Next()
	if err != nil {
		return err
	}
	if f.Type != mqtt.TypePingResp {
		return fmt.Errorf("got %v, want PINGRESP", f.Type)
	}
	return nil
}

// Close ends the connection in order.
func (i *Idle) Close() { bye(i.conn) }

// A StormResult is what [Storm] has measured.
type StormResult struct {
	Connects uint64
	Elapsed  time.Duration
	Latency  hist.H // from the first packet of the socket to CONNACK
}

// Storm connects, signs in and leaves again, with many workers at once, for a time. Each worker has targets of its
// own, which it uses in turn. Sessions of TLS are not resumed. All servers get the same handshake, with X25519: not all
// of them know the post-quantum exchange that Go prefers. The worker's own half is as cheap as it can be: it does not
// check the server's certificate, since the processors are the servers' as well.
func Storm(ctx context.Context, targets []Target, workers int, d time.Duration) (*StormResult, error) {
	if workers > len(targets) {
		return nil, fmt.Errorf("%d targets are too few for %d workers", len(targets), workers)
	}
	targets = slices.Clone(targets)
	for i, t := range targets {
		if t.TLS != nil {
			cfg := t.TLS.Clone()
			cfg.CurvePreferences, cfg.InsecureSkipVerify = []tls.CurveID{tls.X25519}, true
			targets[i].TLS = cfg
		}
	}
	counts, lats, errs := make([]uint64, workers), make([]hist.H, workers), make([]error, workers)
	start := time.Now()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; time.Since(start) < d && ctx.Err() == nil; i += workers {
				if i >= len(targets) {
					i = w
				}
				begun := time.Now()
				c, _, err := open(ctx, targets[i], 512, false)
				if err != nil {
					errs[w] = err
					return
				}
				lats[w].Add(time.Since(begun))
				counts[w]++
				bye(c)
			}
		})
	}
	wg.Wait()
	r := &StormResult{Elapsed: time.Since(start)}
	for w := range workers {
		r.Connects += counts[w]
		r.Latency.Merge(&lats[w])
	}
	return r, errors.Join(errors.Join(errs...), ctx.Err())
}
