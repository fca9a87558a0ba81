package broker

import (
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A message is what all copies of an application message share on their way to clients. Nobody changes it.
type message struct {
	topic, payload, properties []byte
	expires                    time.Time // zero: never
}

func newMessage(m *core.Message) *message {
	return &message{topic: []byte(m.Topic), payload: m.Payload, properties: m.Properties, expires: m.Expires}
}

// A packet is a copy of a message for one client.
type packet struct {
	*message
	seq      int64 // in the stored queue; 0: not stored
	id       uint16
	qos      byte
	dup      bool
	retain   bool
	released bool     // QoS 2: PUBREC has come
	ids      []uint32 // subscription identifiers
	share    string   // filter of the shared subscription that it came by; "": none
}

func (p packet) size() int { return len(p.topic) + len(p.payload) + len(p.properties) }

// publish encodes a packet with its identifier. With the lock.
func (o *outgoing) publish(p packet) {
	if o.dead || o.closing {
		return
	}
	if o.buf == nil {
		o.buf = (*writeBuffers.Get().(*[]byte))[:0]
	}
	m := mqtt.Publish{Dup: p.dup, QoS: p.qos, Retain: p.retain, Topic: p.topic, ID: p.id, Payload: p.payload}
	if o.version == mqtt.V5 {
		m.Encoded, m.SubscriptionIDs = p.properties, p.ids
		if !p.expires.IsZero() {
			m.MessageExpiry = mqtt.Some(remaining(p.expires))
		}
	}
	o.buf = m.Append(o.buf, o.version)
	o.published++
}

// remaining is what is left of a message expiry interval, in seconds, rounded up. [MQTT-3.3.2-6]
func remaining(expires time.Time) uint32 {
	left := (time.Until(expires) + time.Second - 1) / time.Second
	return uint32(min(max(left, 0), 1<<32-1))
}

// late drops a packet that has expired before it was sent for the first time, and reports it. [MQTT-3.3.2-5] With the
// lock.
func (o *outgoing) late(p packet) bool {
	if p.expires.IsZero() || p.dup || time.Now().Before(p.expires) {
		return false
	}
	if p.seq != 0 {
		o.spent = append(o.spent, p)
	}
	o.stats.Expired.Add(1)
	return true
}
