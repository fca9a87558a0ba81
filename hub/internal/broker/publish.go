package broker

import (
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// incoming is a message of a client for whoever subscribes to it. It waits for the batch to be handed in.
type incoming struct {
	core.Message
	code int // where in the batch's Reply the reason code of the acknowledgement stands; 0: there is none
	// effort learns what it costs; nil: nobody wants to know
	effort *effort
}

// message gives a message to the dialect and, where somebody may have subscribed to it or it is to be retained, to the
// batch.
func (c *conn) message(t *topicEntry, m dialect.Publish) error {
	b := c.collect()
	if err := c.link.Receive(&t.Topic, m, b); err != nil {
		return err
	}
	retain := m.Retain && c.grant.Retain
	if (t.forward || retain) && !t.Withheld {
		c.forward = append(c.forward, incoming{Message: core.Message{
			Topic: t.Name, Payload: append([]byte(nil), m.Payload...), QoS: m.QoS, Retain: retain,
			Properties: m.Properties, Expires: m.Expires,
		}, effort: &t.effort})
		charge := len(m.Payload) + len(m.Properties) + c.chargeFor(t)
		if retain {
			charge += chargeRetain
		}
		b.Hold(charge)
	}
	return nil
}

// acknowledge answers the message that was taken last. In version 5 the answer tells what became of it, which is known
// only inside the transaction: the reason code is put in there (see forward).
func (c *conn) acknowledge(ack mqtt.Ack, taken bool) {
	b := c.batch
	if c.version != mqtt.V5 || !taken || c.grant.Profile.HidesReach {
		b.Reply = ack.Append(b.Reply, c.version)
		return
	}
	ack.Code = mqtt.ReasonNoMatchingSubscribers // anything that is not left out
	b.Reply = ack.Append(b.Reply, c.version)
	at := len(b.Reply) - 1
	b.Reply[at] = byte(mqtt.ReasonSuccess)
	c.forward[len(c.forward)-1].code = at
}

// passOn puts the messages for subscribers into the batch. It is called before anything goes in that must come after
// them, such as a subscription.
func (c *conn) passOn(b *commit.Batch) { c.passOnAt(b, b.Operations()) }

// passOnAt puts them before the operations from at on: what the dialect makes of a message, an answer for instance, comes to
// subscribers behind the message itself.
func (c *conn) passOnAt(b *commit.Batch, at int) {
	if len(c.forward) == 0 {
		return
	}
	messages := c.forward
	c.forward = nil
	b.InsertRepeatable(at, func(tx *commit.Tx) error { return c.b.forward(tx, c.grant.Session, b, messages) }, nil)
}

// forward passes a client's own messages on to whoever subscribes to them, and keeps those that are to be retained.
//
// What came of it goes into the acknowledgements that wait in the batch: "no matching subscribers" is for information
// only. A message that cannot be retained because the tenant has too many is delivered nevertheless; the client hears
// "quota exceeded", at QoS 1 that is: at QoS 2 it would say that the message was not taken at all, and the client might
// send it again.
func (b *Broker) forward(tx *commit.Tx, k core.SessionKey, batch *commit.Batch, messages []incoming) error {
	a := b.audience(k)
	from := b.sessions[k]
	var out deliveries
	for i := range messages {
		m := &messages[i]
		reached, err := b.spread(tx, a, from, &m.Message, &out)
		if err != nil {
			return err
		}
		a.effort.note(len(b.matched), b.steps)
		if m.effort != nil {
			m.effort.note(len(b.matched), b.steps)
		}
		code := mqtt.ReasonSuccess
		if reached == 0 {
			code = mqtt.ReasonNoMatchingSubscribers
		}
		if m.Retain {
			kept, err := b.retain(tx, a, k.ClientID, &m.Message)
			if err != nil {
				return err
			}
			if !kept && m.QoS == 1 {
				code = mqtt.ReasonQuotaExceeded
			}
		}
		if m.code != 0 {
			batch.Reply[m.code] = byte(code)
		}
	}
	out.after(tx, b)
	return nil
}
