// Package attack is hostile to a hub, which runs as the built program in a process of its own: floods, bombs, peers that
// are slow or say nothing. What counts is what the others notice of it, so a bystander publishes all the while.
package attack

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// patience is how long anything may take that is not the attack itself.
const patience = time.Minute

// A peer is one end of an MQTT connection that does as it likes. It belongs to one goroutine.
type peer struct {
	net.Conn
	version mqtt.Version
	frames  *mqtt.FrameReader
	id      uint16
}

// dial connects from a loopback address, "" for any.
func dial(ctx context.Context, addr, from string) (*peer, error) {
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &peer{Conn: nc, version: mqtt.V311, frames: mqtt.NewFrameReader(bufio.NewReader(nc), mqtt.MaxRemainingBytes)}, nil
}

// send sends packets in one piece.
func (p *peer) send(packets ...mqtt.Packet) error {
	var b []byte
	for _, x := range packets {
		b = x.Append(b, p.version)
	}
	return p.write(b)
}

func (p *peer) write(b []byte) error {
	_ = p.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.Write(b)
	return err
}

// receive returns the next packet.
func (p *peer) receive() (mqtt.Packet, error) {
	_ = p.SetReadDeadline(time.Now().Add(patience))
	f, err := p.frames.Next()
	if err != nil {
		return nil, err
	}
	x := mqtt.NewPacket(f.Type)
	if x == nil {
		return nil, fmt.Errorf("packet of %v", f.Type)
	}
	return x, x.Decode(f, p.version)
}

// connect signs in.
func (p *peer) connect(hello mqtt.Connect) (*mqtt.ConnAck, error) {
	if p.version = hello.Version; p.version == 0 {
		p.version = mqtt.V311
	}
	if err := p.send(&hello); err != nil {
		return nil, err
	}
	x, err := p.receive()
	if err != nil {
		return nil, err
	}
	ack, ok := x.(*mqtt.ConnAck)
	if !ok {
		return nil, fmt.Errorf("got %T, want CONNACK", x)
	}
	return ack, nil
}

// A refusal is a CONNACK that lets nobody in.
type refusal struct{ code byte }

func (r *refusal) Error() string { return fmt.Sprintf("refused with code %#x", r.code) }

// join is dial and connect, and insists on being let in.
func join(ctx context.Context, addr string, hello mqtt.Connect) (*peer, error) {
	p, err := dial(ctx, addr, "")
	if err != nil {
		return nil, err
	}
	ack, err := p.connect(hello)
	if err == nil && ack.Code != mqtt.ConnAckAccepted {
		err = &refusal{ack.Code}
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("connect %q: %w", hello.ClientID, err)
	}
	return p, nil
}

// subscribe subscribes and returns the codes.
func (p *peer) subscribe(qos byte, filters ...string) ([]byte, error) {
	p.id++
	s := &mqtt.Subscribe{ID: p.id}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: f, QoS: qos})
	}
	if err := p.send(s); err != nil {
		return nil, err
	}
	for {
		x, err := p.receive()
		if err != nil {
			return nil, err
		}
		if ack, ok := x.(*mqtt.SubAck); ok {
			return ack.Codes, nil
		}
	}
}

// A bystander publishes at QoS 1, one message after the other, and measures how long each takes.
type bystander struct {
	stop func() []time.Duration
}

// watch starts a bystander on a connection of its own.
func watch(ctx context.Context, addr string) (*bystander, error) {
	p, err := join(ctx, addr, mqtt.Connect{ClientID: "bystander", CleanStart: true})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var times []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		defer p.Close()
		for ctx.Err() == nil {
			start := time.Now()
			if p.id++; p.id == 0 {
				p.id = 1
			}
			err := p.send(&mqtt.Publish{Topic: []byte("bystander"), QoS: 1, ID: p.id, Payload: []byte("1")})
			if err == nil {
				_, err = p.receive()
			}
			times = append(times, time.Since(start))
			if err != nil {
				times = append(times, time.Hour) // nobody can overlook that
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return &bystander{func() []time.Duration {
		cancel()
		wg.Wait()
		slices.Sort(times)
		return times
	}}, nil
}

// processor returns how much processor time a process has used, 0 where that cannot be told.
func processor(pid int) time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest) // from the third field on; see proc(5)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory returns how much memory a process has in use, 0 where that cannot be told.
func memory(pid int) int64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
