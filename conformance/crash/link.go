package crash

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

const (
	dialTimeout = 30 * time.Second
	// patience is how long the hub may take over anything while it runs. Nothing here waits that long on purpose.
	patience = time.Minute
)

// A link is one MQTT connection, of version 3.1.1 unless its CONNECT says otherwise.
type link struct {
	conn   net.Conn
	frames *mqtt.FrameReader
	v      mqtt.Version

	mu  sync.Mutex // of writes: the device's writer and its reader both send
	out []byte
}

func dial(ctx context.Context, addr string, config *tls.Config) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &link{conn: c, frames: mqtt.NewFrameReader(bufio.NewReader(c), 1<<20), v: mqtt.V311}, nil
}

// connect opens the session and tells whether the hub had it already.
func (l *link) connect(p mqtt.Connect) (present bool, err error) {
	if p.Version != 0 {
		l.v = p.Version
	}
	if err := l.send(&p); err != nil {
		return false, err
	}
	got, err := l.next()
	if err != nil {
		return false, fmt.Errorf("wait for CONNACK: %w", err)
	}
	ack, ok := got.(*mqtt.ConnAck)
	if !ok {
		return false, fmt.Errorf("got %T, want CONNACK", got)
	}
	if ack.Code != mqtt.ConnAckAccepted {
		return false, fmt.Errorf("refused with CONNACK code %d", ack.Code)
	}
	return ack.SessionPresent, nil
}

// send writes packets at once, so that a burst of messages arrives as one.
func (l *link) send(packets ...mqtt.Packet) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out = l.out[:0]
	for _, p := range packets {
		l.out = p.Append(l.out, l.v)
	}
	_ = l.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := l.conn.Write(l.out)
	return err
}

// next returns the next packet, which owns its memory.
func (l *link) next() (mqtt.Packet, error) {
	_ = l.conn.SetReadDeadline(time.Now().Add(patience))
	f, err := l.frames.Next()
	if err != nil {
		return nil, err
	}
	p := mqtt.NewPacket(f.Type)
	if p == nil {
		return nil, fmt.Errorf("packet of type %v", f.Type)
	}
	if err := p.Decode(f, l.v); err != nil {
		return nil, err
	}
	if m, ok := p.(*mqtt.Publish); ok {
		m.Topic, m.Payload = bytes.Clone(m.Topic), bytes.Clone(m.Payload)
	}
	return p, nil
}

func (l *link) close() { _ = l.conn.Close() }
