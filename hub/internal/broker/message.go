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
	m := o.packet(p)
	if o.aliases != nil && (o.limit == 0 || m.Size(o.version)+aliasBytes <= int(o.limit)) {
		o.aliases.Shorten(&m) // [MQTT-3.1.2-26] [MQTT-3.1.2-27]
	}
	o.buf = m.Append(o.buf, o.version)
	o.published++
}

// aliasBytes is what a topic alias adds to a packet, at most: its property, and a byte for each of two lengths that grow.
const aliasBytes = 3 + 2

func (o *outgoing) packet(p packet) mqtt.Publish {
	m := mqtt.Publish{Dup: p.dup, QoS: p.qos, Retain: p.retain, Topic: p.topic, ID: p.id, Payload: p.payload}
	if o.version == mqtt.V5 {
		m.Encoded, m.SubscriptionIDs = p.properties, p.ids
		if !p.expires.IsZero() {
			m.MessageExpiry = mqtt.Some(remaining(p.expires))
		}
	}
	return m
}

// fits reports whether a packet is within what the client takes. One that is not is dropped as if it had been sent.
// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
func (o *outgoing) fits(p packet) bool {
	if o.limit == 0 || p.size()+5*len(p.ids)+maxOverhead <= int(o.limit) {
		return true
	}
	m := o.packet(p)
	return m.Size(o.version) <= int(o.limit)
}

// maxOverhead is more than a PUBLISH has beside topic, payload, identifiers and the properties of its message.
const maxOverhead = 5 + 2 + 2 + 4 + 5

// remaining is what is left of a message expiry interval, in seconds, rounded up. [MQTT-3.3.2-6]
func remaining(expires time.Time) uint32 {
	left := (time.Until(expires) + time.Second - 1) / time.Second
	return uint32(min(max(left, 0), 1<<32-1))
}

// useless drops a packet that is not to be sent, and reports it: one that has expired before it was sent for the first
// time [MQTT-3.3.2-5], or that is too large for the client. With the lock.
func (o *outgoing) useless(p packet) bool {
	switch {
	case !p.expires.IsZero() && !p.dup && !time.Now().Before(p.expires):
		o.stats.Expired.Add(1)
	case !o.fits(p):
		o.stats.Dropped.Add(1)
	default:
		return false
	}
	if p.seq != 0 {
		o.spent = append(o.spent, p)
	}
	return true
}
