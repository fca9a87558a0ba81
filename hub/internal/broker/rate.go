package broker

import (
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// What a connection may send and be sent in a second, where its grant says so. Messages beyond that are not taken, and
// not sent (those at QoS 1 and 2 later); bytes beyond it are not read, and not written, until it is their turn. Where
// nothing is limited this costs a look at a nil pointer.

const (
	// burst is for how long a client may have saved what it did not use: it can have as much at once.
	burst = time.Second
	// breath is how long a connection is held up at least, so that there is a timer for each breath and not for each packet.
	breath = 50 * time.Millisecond
)

// A rate is how much there may be in a second. The zero rate is any amount.
type rate struct {
	most  int       // in a second; 0: any amount
	spent time.Time // what comes in until then is spent already
}

// price returns for how long one must save for so much.
func (r *rate) price(n int) time.Duration {
	return time.Duration(int64(n) * int64(time.Second) / int64(r.most))
}

// charge spends n, whether there is so much or not.
func (r *rate) charge(now time.Time, n int) {
	if r.most == 0 {
		return
	}
	if r.spent.Before(now) {
		r.spent = now
	}
	r.spent = r.spent.Add(r.price(n))
}

// until returns how long it takes until there is n, 0 if there is. Of nothing there is as much as is not owed.
func (r *rate) until(now time.Time, n int) time.Duration {
	if r.most == 0 {
		return 0
	}
	return max(max(r.spent.Sub(now), 0)+r.price(n)-burst, 0)
}

// A meter has the rates of one direction of a connection.
type meter struct{ messages, bytes rate }

// newMeter returns nil where nothing is limited.
func newMeter(l *core.Limits) *meter {
	if l.MessageRate == 0 && l.ByteRate == 0 {
		return nil
	}
	return &meter{messages: rate{most: l.MessageRate}, bytes: rate{most: l.ByteRate}}
}

// meterRates begins to meter a connection, from behind its CONNECT.
func (c *conn) meterRates() {
	if c.meter = newMeter(&c.grant.Limits); c.meter == nil {
		return
	}
	c.metered = c.src.bytes.Load()
	c.out.meter = newMeter(&c.grant.Limits)
	c.out.proceed = c.proceed
}

// surplus reports whether a message is one too many, and counts it if it is not.
func (m *meter) surplus() bool {
	if m == nil {
		return false
	}
	now := time.Now()
	if m.messages.until(now, 1) > 0 {
		return true
	}
	m.messages.charge(now, 1)
	return false
}

// discard drops such a message. Only MQTT 5 can say so, in an acknowledgement; others get none, so that their client does not
// take the message for delivered.
func (c *conn) discard(p *mqtt.Publish) error {
	c.b.stats.ThrottledIn.Add(1)
	code := ""
	if c.version == mqtt.V5 && p.QoS > 0 {
		code = fmt.Sprintf("reason 0x%02x", byte(mqtt.ReasonQuotaExceeded))
		c.nack(p, mqtt.ReasonQuotaExceeded, "too many messages in a second")
	}
	if !c.throttled {
		c.throttled = true
		c.log.Info("messages discarded: too many in a second", "limit", c.grant.Limits.MessageRate)
		c.denied(core.StagePublish, code, &core.HelpError{
			Text: fmt.Sprintf("more than %d messages in a second", c.grant.Limits.MessageRate), Err: core.ErrRate,
		})
	}
	return nil
}

// rest holds the reader up while more has been read than may be. What has been collected is handed in before.
func (c *conn) rest() {
	if c.meter == nil {
		return
	}
	now, n := time.Now(), c.src.bytes.Load()
	c.meter.bytes.charge(now, int(n-c.metered))
	c.metered = n
	wait := c.meter.bytes.until(now, 0)
	if wait == 0 {
		return
	}
	wait += breath
	c.b.stats.ReadsDelayed.Add(1)
	timer := time.AfterFunc(wait, func() {
		c.mu.Lock() // not between the look at the clock and the wait
		defer c.mu.Unlock()
		c.settled.Broadcast()
	})
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for end := now.Add(wait); c.failed == nil && c.leaving == nil && time.Now().Before(end); {
		c.settled.Wait()
	}
}

// inTime reports whether a message may be sent now, and has the outgoing side look again when it may be. With the lock.
func (o *outgoing) inTime() bool {
	if o.meter == nil {
		return true
	}
	wait := o.meter.messages.until(time.Now(), 1)
	o.lookAgain(wait)
	return wait == 0
}

// sent counts a message that is sent, and wrote bytes that are written. With the lock.
func (o *outgoing) sent() {
	if o.meter != nil {
		o.meter.messages.charge(time.Now(), 1)
	}
}

func (o *outgoing) wrote(n int) {
	if o.meter != nil {
		o.meter.bytes.charge(time.Now(), n)
	}
}

// paused reports whether nothing may be written now, because too much was. The end of a connection waits for nothing. With the
// lock.
func (o *outgoing) paused() bool {
	if o.meter == nil || o.closing {
		return false
	}
	wait := o.meter.bytes.until(time.Now(), 0)
	o.lookAgain(wait)
	return wait > 0
}

// portion takes what is to be written next: all there is, or where bytes are limited what may be sent in a breath. With the lock.
func (o *outgoing) portion() (b, rest []byte) {
	if o.meter == nil || o.meter.bytes.most == 0 || o.closing {
		return o.buf, nil
	}
	n := max(int(int64(o.meter.bytes.most)*int64(breath)/int64(time.Second)), 1)
	if n >= len(o.buf) {
		return o.buf, nil
	}
	return o.buf[:n:n], o.buf[n:]
}

// lookAgain has proceed called when a wait is over. With the lock.
func (o *outgoing) lookAgain(wait time.Duration) {
	if wait == 0 || o.timing || o.closing || o.dead {
		return
	}
	o.timing = true
	wait += breath
	if o.timer == nil {
		o.timer = time.AfterFunc(wait, o.proceed)
		return
	}
	o.timer.Reset(wait)
}

// proceed sends what has waited for its turn.
func (c *conn) proceed() {
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timing = false
	if o.dead || o.closing {
		return
	}
	o.next()
	c.flushLocked()
}

// arrivals remember when sessions had their last connection, for as long as that matters.
type arrivals struct {
	mu    sync.Mutex
	until map[core.SessionKey]time.Time // when the next one may come
	sweep int                           // how many there are when those are dropped that may
}

// admit reports whether a session may have another connection, one in each interval. One that may not does not count.
func (a *arrivals) admit(k core.SessionKey, interval time.Duration) bool {
	if interval <= 0 {
		return true
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.until[k]) {
		return false
	}
	if len(a.until) >= a.sweep {
		for k, t := range a.until {
			if !now.Before(t) {
				delete(a.until, k)
			}
		}
		a.sweep = max(1024, 2*len(a.until))
	}
	if a.until == nil {
		a.until = map[core.SessionKey]time.Time{}
	}
	a.until[k] = now.Add(interval)
	return true
}
