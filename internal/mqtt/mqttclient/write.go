package mqttclient

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// clocks is what the writing goroutine watches.
type clocks struct {
	wrote  time.Time // last
	pinged time.Time // the PINGREQ that nothing was read after; zero: none
}

// write writes what comes into the buffer, all that is there at once, until the connection ends.
func (c *conn) write() {
	var (
		spare []byte
		done  []written
		k     = clocks{wrote: time.Now()}
		timer = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		c.s.mu.Lock()
		b := c.buffer
		c.buffer = spare[:0]
		done, c.written = c.written, done[:0]
		last := c.ended != nil
		if last {
			b = append(b, c.goodbye...)
		}
		gone, why := last && c.goodbye == nil, c.ended
		c.cut = gone && len(b) > 0
		c.s.mu.Unlock()
		if gone {
			c.report(done, lost(why))
			_ = c.nc.Close() // ends the reader
			return
		}
		if len(b) > 0 {
			if err := c.flush(b, last); err != nil {
				c.report(done, lost(err))
				return
			}
			k.wrote = time.Now()
		}
		c.report(done, nil)
		if last {
			_ = c.nc.Close() // ends the reader
			return
		}
		if len(b) >= maxBufferBytes/2 {
			c.s.wakeSenders()
		}
		if spare = b; cap(spare) > 2*maxBufferBytes {
			spare = nil
		}
		next, err := c.tick(&k)
		if err != nil {
			c.fail(err)
			return
		}
		timer.Reset(next)
		select {
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// flush writes with a deadline.
func (c *conn) flush(b []byte, last bool) error {
	if !last {
		_ = c.nc.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout)) // an error shows in Write
		c.s.mu.Lock()
		if c.ended != nil { // leave came in between, and must not wait that long
			_ = c.nc.SetWriteDeadline(time.Now().Add(LeaveTimeout))
		}
		c.s.mu.Unlock()
	}
	if _, err := c.nc.Write(b); err != nil {
		silent := errors.Is(err, os.ErrDeadlineExceeded)
		err = unavailable("mqtt: write", err)
		if last || silent {
			c.fail(err)
		} else {
			c.brokenBy(err)
		}
		return err
	}
	return nil
}

// brokenBy lets the reader look for what the server has said before it hung up, and then ends the connection.
func (c *conn) brokenBy(err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.broken = err
	_ = c.nc.SetReadDeadline(time.Now().Add(LeaveTimeout)) // an error shows in Read
}

// report tells of messages with QoS 0.
func (c *conn) report(done []written, err error) {
	for _, d := range done {
		d.done(d.tag, err)
	}
}

// longestTick bounds how long nobody looks at the clocks.
const longestTick = time.Minute

// tick does what is due: it asks for a sign of life, or finds that the other side is silent. It returns when to look again.
func (c *conn) tick(k *clocks) (time.Duration, error) {
	now := time.Now()
	next := longestTick
	since := c.reading.Load()
	if since == 0 { // we are busy with what has come: the peer is not to blame
		k.pinged = time.Time{}
		next = min(next, max(c.pingTimeout/2, time.Millisecond))
		since = int64(now.Sub(c.start))
	}
	quiet := c.start.Add(time.Duration(since)) // nothing has come since
	if !k.pinged.IsZero() && quiet.After(k.pinged) {
		k.pinged = time.Time{}
	}
	if c.keepAlive > 0 {
		if !k.pinged.IsZero() {
			left := c.pingTimeout - now.Sub(k.pinged)
			if left <= 0 {
				return 0, fmt.Errorf("mqtt: %w: no answer to PINGREQ within %v", fairlead.ErrUnavailable, c.pingTimeout)
			}
			next = min(next, left)
		}
		// A quarter earlier than promised, for the way. Silence from there counts like silence from here: a message with QoS 0 can
		// be written for long into a connection that is dead.
		idle := k.wrote
		if k.pinged.IsZero() && quiet.Before(idle) {
			idle = quiet
		}
		left := c.keepAlive*3/4 - now.Sub(idle)
		if left <= 0 {
			if k.pinged.IsZero() {
				k.pinged = now
				next = min(next, c.pingTimeout)
			}
			c.s.mu.Lock()
			c.buffer = mqtt.AppendPingReq(c.buffer)
			c.pinged++
			c.s.mu.Unlock()
			c.wakeWriter()
			left = c.keepAlive * 3 / 4
		}
		next = min(next, left)
	}
	left, err := c.overdue(now)
	return max(min(next, left), time.Millisecond), err
}

// overdue finds a packet that was not acknowledged in time. It returns when the next one is overdue.
func (c *conn) overdue(now time.Time) (time.Duration, error) {
	limit := c.s.cfg.AckTimeout
	if c.reading.Load() == 0 {
		return limit, nil
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	left := limit
	// The list is in the order of sending; after PUBREC the clock starts again, so a later one can be due earlier, by little.
	if f := c.s.out.first; f != nil && f.stage != waiting {
		if left = min(left, limit-now.Sub(f.at)); left <= 0 {
			return 0, fmt.Errorf("mqtt: %w: no acknowledgement of packet %d within %v", fairlead.ErrUnavailable, f.publish.ID, limit)
		}
	}
	if c.s.out.extras > 0 {
		if left = min(left, limit-now.Sub(c.s.out.asked)); left <= 0 {
			return 0, fmt.Errorf("mqtt: %w: no answer to PUBREL within %v", fairlead.ErrUnavailable, limit)
		}
	}
	for id, a := range c.s.asks.pending {
		if left = min(left, limit-now.Sub(a.at)); left <= 0 {
			return 0, fmt.Errorf("mqtt: %w: no acknowledgement of packet %d within %v", fairlead.ErrUnavailable, id, limit)
		}
	}
	return left, nil
}
