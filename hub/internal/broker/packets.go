package broker

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

const (
	// patience is how long a connection that shall end may take to complete the QoS 2 exchanges under way. Official
	// Astarte SDKs repeat what was not completed on the next connection, for ever if it is refused every time.
	patience         = 5 * time.Second
	patienceStopping = time.Second

	// patienceTakenOver is how long a connection whose session is taken over may go on with what its client had sent
	// before: QoS 0 messages would be lost. It ends sooner, when nothing has come for as long as lull.
	patienceTakenOver = 100 * time.Millisecond
	lull              = 5 * time.Millisecond

	// maxInbound bounds the QoS 2 messages that a client leaves unreleased.
	maxInbound = 4096
)

// read handles packets until the connection ends; the error says why, and is never nil.
func (c *conn) read() error {
	for {
		f, err := c.next()
		if err != nil {
			return err
		}
		c.packets++
		if err := c.handle(f); err != nil {
			return err
		}
		if c.batch != nil && c.batch.Size() > batchBytes {
			c.submit()
		}
	}
}

// next returns the next packet. Before it waits for the network it hands in what was collected.
func (c *conn) next() (mqtt.Frame, error) {
	for {
		if c.wake.Load() || !c.ready() {
			c.submit()
			c.rest()
			if err := c.arm(); err != nil {
				return mqtt.Frame{}, err
			}
			if c.frames.Buffered() == 0 {
				c.release()
				err := c.src.park()
				c.attach()
				if errors.Is(err, os.ErrDeadlineExceeded) {
					continue // arm knows what it means
				}
			}
		}
		f, err := c.frames.Next()
		if err == nil {
			return f, nil
		}
		if err = ended(err); !errors.Is(err, os.ErrDeadlineExceeded) {
			return f, err
		}
	}
}

// ready reports whether a whole packet is in the buffer, or bytes that can be none.
func (c *conn) ready() bool {
	b, _ := c.buf.Peek(c.buf.Buffered())
	size, shift := 0, 0
	for i := 1; i < len(b); i++ {
		size |= int(b[i]&0x7f) << shift
		if shift += 7; b[i] < 0x80 {
			return len(b)-i-1 >= size
		}
		if shift > 21 {
			return true
		}
	}
	return false
}

// arm sets the deadline for the next packet. The error says that the time for it is over.
func (c *conn) arm() error {
	now := time.Now()
	came := c.packets > 0
	if came {
		c.packets, c.heard = 0, now
		c.seen.heard.Store(now.UnixMicro())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	var until time.Time
	earliest := func(t time.Time) {
		if until.IsZero() || t.Before(until) {
			until = t
		}
	}
	switch c.leaving {
	case nil:
	case takenOver:
		earliest(c.since.Add(patienceTakenOver))
		if c.lingers && !came || !now.Before(until) {
			return c.leaving
		}
		c.lingers = true
		earliest(now.Add(lull))
	default:
		limit := patience
		if c.leaving == stopping {
			limit = patienceStopping
		}
		earliest(c.since.Add(limit))
		if c.complete() || !now.Before(until) {
			return c.leaving
		}
	}
	if c.keepAlive > 0 { // [MQTT-3.1.2-24]
		t := c.heard.Add(c.keepAlive + c.keepAlive/2)
		if !now.Before(t) {
			return errSilent
		}
		earliest(t)
	}
	if !c.ends.IsZero() {
		if !now.Before(c.ends) {
			return errLifetime
		}
		earliest(c.ends)
	}
	c.src.nc.SetReadDeadline(until)
	return nil
}

// complete reports whether the QoS 2 messages that were under way when the connection was told to leave are released.
func (c *conn) complete() bool {
	if c.must == nil {
		c.must = make([]uint16, 0, len(c.inbound))
		for id := range c.inbound {
			c.must = append(c.must, id)
		}
	}
	for _, id := range c.must {
		if _, open := c.inbound[id]; open {
			return false
		}
	}
	return true
}

func (c *conn) handle(f mqtt.Frame) error {
	switch f.Type {
	case mqtt.TypePublish:
		return c.handlePublish(f)
	case mqtt.TypePubAck, mqtt.TypePubRec, mqtt.TypePubRel, mqtt.TypePubComp:
		var p mqtt.Ack
		if err := p.Decode(f, c.version); err != nil {
			return err
		}
		return c.handleAck(p)
	case mqtt.TypeSubscribe:
		return c.handleSubscribe(f)
	case mqtt.TypeUnsubscribe:
		return c.handleUnsubscribe(f)
	case mqtt.TypePingReq:
		if err := (&mqtt.PingReq{}).Decode(f, c.version); err != nil {
			return err
		}
		c.answer(&mqtt.PingResp{})
		return nil
	case mqtt.TypeDisconnect:
		return c.handleDisconnect(f)
	case mqtt.TypeAuth:
		return c.handleAuth(f)
	}
	return &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: fmt.Sprintf("unexpected %v", f.Type)}
}

// answer sends what needs no commit of its own, behind the answers to what came before it: a client that does not wait
// for PUBREC must not get PUBCOMP for a message that is not on disk.
func (c *conn) answer(p interface {
	Append(b []byte, v mqtt.Version) []byte
},
) {
	c.mu.Lock()
	waiting := c.unsettled > 0
	c.mu.Unlock()
	if c.batch == nil && !waiting {
		c.direct = p.Append(c.direct, c.version)
		return
	}
	b := c.collect()
	b.Reply = p.Append(b.Reply, c.version)
}
