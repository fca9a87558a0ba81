package mqtttest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Step is one line of a script.
type Step struct {
	name string
	run  func(*Peer) error
}

// Peer is a server that plays a script. Tests let the client under test connect by Dial or DialContext.
type Peer struct {
	tb       testing.TB
	listener *memnet.Listener
	done     chan struct{} // closed when the script has ended
	gone     chan struct{} // closed when the goroutine has

	mu   sync.Mutex
	step string   // being played
	conn net.Conn // nil between connections

	// What the playing goroutine alone uses.
	frames  *mqtt.FrameReader
	version mqtt.Version
	last    mqtt.Packet // received last
	lastID  uint16      // given to a PUBLISH last
	skips   bool        // UNSUBSCRIBE is answered without a step
}

// Script starts a server that plays the steps, one connection after the other: the first step, and each step after
// a hang-up, waits for the client to connect. A step that does not come as written fails the test and hangs up.
// When the test ends, the script must have come to its end, or does so within Timeout.
func Script(tb testing.TB, steps ...Step) *Peer {
	tb.Helper()
	p := &Peer{tb: tb, listener: memnet.Listen("script:1883"), done: make(chan struct{}), gone: make(chan struct{}), version: mqtt.V311}
	go func() {
		defer close(p.gone)
		p.play(steps)
		p.drain()
	}()
	tb.Cleanup(func() {
		if !tb.Failed() {
			p.Wait()
		}
		_ = p.listener.Close()
		p.hangup()
		<-p.gone
	})
	return p
}

// Dial connects to the peer.
func (p *Peer) Dial(ctx context.Context) (net.Conn, error) { return p.listener.Dial(ctx) }

// DialContext connects to the peer, whatever the network and the address.
func (p *Peer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return p.listener.Dial(ctx)
}

// Wait waits for the end of the script, and reports the step where it hangs as a failure of the test.
func (p *Peer) Wait() {
	p.tb.Helper()
	timer := time.NewTimer(Timeout)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tb.Errorf("script waits at %s", p.step)
	}
}

func (p *Peer) play(steps []Step) {
	defer close(p.done)
	for i, s := range steps {
		name := fmt.Sprintf("step %d, %s", i+1, s.name)
		p.mu.Lock()
		p.step = name
		p.mu.Unlock()
		if err := s.run(p); err != nil {
			if !errors.Is(err, net.ErrClosed) { // the test is over, and Wait has complained
				p.tb.Errorf("script, %s: %v", name, err)
			}
			p.hangup()
			return
		}
	}
}

// drain keeps the connection that the script has left open from filling up.
func (p *Peer) drain() {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}

// connected returns the connection, waiting for one if there is none.
func (p *Peer) connected() (net.Conn, error) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	conn, err := p.listener.Accept()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn, p.frames, p.last = conn, mqtt.NewFrameReader(bufio.NewReader(conn), mqtt.MaxRemainingBytes), nil
	return conn, nil
}

func (p *Peer) hangup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

func (p *Peer) receive() (mqtt.Packet, error) {
	if _, err := p.connected(); err != nil {
		return nil, err
	}
	got, err := next(p.frames, p.version)
	if err != nil {
		return nil, err
	}
	if u, ok := got.(*mqtt.Unsubscribe); ok && p.skips {
		unsuback := mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: u.ID, Codes: make([]mqtt.ReasonCode, len(u.Filters))}
		_ = p.send(unsuback.Append(nil, p.version)) // the client may have gone
		return p.receive()
	}
	if c, ok := got.(*mqtt.Connect); ok {
		p.version = c.Version
	}
	p.last = got
	return got, nil
}

// Expect is the step in which the client sends a packet of the type of want, which equals it in the fields that are
// not zero in want. Where a zero matters, use ExpectExactly or ExpectThat. Packets are given by value or by pointer.
func Expect(want any) Step {
	w := packet(want)
	return ExpectThat("Expect "+describe(w), func(got mqtt.Packet) error {
		if d := lacks(w, got); d != "" {
			return fmt.Errorf("got %s: %s", describe(got), d)
		}
		return nil
	})
}

// ExpectExactly is the step in which the client sends this packet, the same in all fields.
func ExpectExactly(want any) Step {
	w := packet(want)
	return Step{"ExpectExactly " + describe(w), func(p *Peer) error {
		got, err := p.receive()
		if err != nil {
			return err
		}
		// Compared as bytes, so that nil and empty slices are the same.
		if reflect.TypeOf(w) != reflect.TypeOf(got) || string(w.Append(nil, p.version)) != string(got.Append(nil, p.version)) {
			return fmt.Errorf("got %s", describe(got))
		}
		return nil
	}}
}

// ExpectThat is the step in which the client sends a packet that check has no error for.
func ExpectThat(name string, check func(mqtt.Packet) error) Step {
	return Step{name, func(p *Peer) error {
		got, err := p.receive()
		if err != nil {
			return err
		}
		return check(got)
	}}
}

// Send is the step in which the peer sends a packet, given by value or by pointer. A packet identifier of 0 is
// filled in: in an answer, the one received last; in a PUBLISH at QoS 1 or 2, a fresh one. A SubAck without codes
// grants what the SUBSCRIBE received last asks for, an UNSUBACK without codes says that all went well. The packet is
// sent in the version that the client has asked for.
func Send(v any) Step {
	w := packet(v)
	return Step{"Send " + describe(w), func(p *Peer) error {
		out := packet(w)
		p.fill(out)
		return p.send(out.Append(nil, p.version))
	}}
}

// SendBytes is the step in which the peer sends bytes, which need not be a packet.
func SendBytes(b ...byte) Step {
	return Step{fmt.Sprintf("SendBytes %x", b), func(p *Peer) error { return p.send(b) }}
}

func (p *Peer) send(b []byte) error {
	conn, err := p.connected()
	if err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}

// fill puts the packet identifier, and what else the last received packet determines, into out.
func (p *Peer) fill(out mqtt.Packet) {
	var id uint16
	switch last := p.last.(type) {
	case *mqtt.Publish:
		id = last.ID
	case *mqtt.Ack:
		id = last.ID
	case *mqtt.Subscribe:
		id = last.ID
	case *mqtt.Unsubscribe:
		id = last.ID
	}
	switch out := out.(type) {
	case *mqtt.Ack:
		if out.ID == 0 {
			out.ID = id
		}
		if u, ok := p.last.(*mqtt.Unsubscribe); ok && out.Type == mqtt.TypeUnsubAck && out.Codes == nil {
			out.Codes = make([]mqtt.ReasonCode, len(u.Filters))
		}
	case *mqtt.SubAck:
		if out.ID == 0 {
			out.ID = id
		}
		if s, ok := p.last.(*mqtt.Subscribe); ok && out.Codes == nil {
			for _, sub := range s.Subscriptions {
				out.Codes = append(out.Codes, sub.QoS)
			}
		}
	case *mqtt.Publish:
		if out.ID == 0 && out.QoS > 0 {
			p.lastID++
			out.ID = p.lastID
		}
	}
}

// Hangup is the step in which the peer closes the connection, as a lost one would be.
func Hangup() Step {
	return Step{"Hangup", func(p *Peer) error {
		if _, err := p.connected(); err != nil {
			return err
		}
		p.hangup()
		return nil
	}}
}

// ExpectHangup is the step in which the client closes the connection without sending anything more.
func ExpectHangup() Step {
	return Step{"ExpectHangup", func(p *Peer) error {
		got, err := p.receive()
		switch {
		case err == nil:
			return fmt.Errorf("got %s", describe(got))
		case !errors.Is(err, io.EOF):
			return err
		}
		p.hangup()
		return nil
	}}
}

// Do is a step in which f is called, to let the test act at this point of the script.
func Do(name string, f func()) Step {
	return Step{"Do " + name, func(*Peer) error {
		f()
		return nil
	}}
}

// SendThat is the step in which the peer sends a packet that is made when it is its turn, as for an answer that repeats a part of the question. See [Send].
func SendThat(name string, make func() any) Step {
	return Step{"SendThat " + name, func(p *Peer) error {
		out := packet(make())
		p.fill(out)
		return p.send(out.Append(nil, p.version))
	}}
}

// AnswerUnsubscribe is the step from which on the peer answers UNSUBSCRIBE by itself, for clients that send it when they come to it.
func AnswerUnsubscribe() Step {
	return Step{"AnswerUnsubscribe", func(p *Peer) error {
		p.skips = true
		return nil
	}}
}

// Steps are several in the place of one.
func Steps(all ...Step) Step {
	return Step{"Steps", func(p *Peer) error {
		for _, s := range all {
			if err := s.run(p); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	}}
}
