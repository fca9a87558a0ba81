package broker

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// handleAck moves an exchange on. What a stored session has to remember is on disk before the next step is taken.
func (c *conn) handleAck(p mqtt.Ack) error {
	if c.version == mqtt.V5 {
		if err := p.CheckSender(mqtt.Client); err != nil {
			return err
		}
	}
	switch {
	case p.Type == mqtt.TypePubRel:
		c.released(p.ID)
		return nil
	case p.Type == mqtt.TypePubRec && !p.Code.Failed(): // a failure ends the exchange [MQTT-4.3.3-4]
		return c.received(p)
	}
	o := c.out
	o.mu.Lock()
	if err := o.answers(p); err != nil {
		o.mu.Unlock()
		return err
	}
	m, ok := o.acknowledged(p.ID)
	spent := o.spent
	o.spent = nil
	more := o.wantsMore()
	if more {
		o.behind = false // asked for once
	}
	c.flushLocked()
	o.mu.Unlock()
	if ok && m.seq != 0 {
		c.collect()
		c.progress.done = append(c.progress.done, m)
	}
	if len(spent) > 0 {
		c.collect()
		c.progress.done = append(c.progress.done, spent...)
	}
	if more {
		c.collect().Do(func(tx *commit.Tx) error {
			if s := c.b.sessions[c.grant.Session]; s != nil {
				return c.b.refill(tx, s, c)
			}
			return nil
		}, nil)
	}
	return nil
}

// received takes PUBREC: the client has a QoS 2 message for good, and it is told to forget its identifier.
func (c *conn) received(p mqtt.Ack) error {
	o := c.out
	o.mu.Lock()
	err := o.answers(p)
	m, ok := o.inflight[p.ID]
	if ok && err == nil {
		m.released = true
		o.inflight[p.ID] = m
	}
	o.mu.Unlock()
	if err != nil {
		return err
	}
	rel := mqtt.Ack{Type: mqtt.TypePubRel, ID: p.ID}
	if !ok && c.version == mqtt.V5 {
		rel.Code = mqtt.ReasonPacketIDNotFound
	}
	if !ok || m.seq == 0 {
		c.answer(&rel)
		return nil
	}
	b := c.collect()
	c.progress.released = append(c.progress.released, m.seq)
	b.Reply = rel.Append(b.Reply, c.version)
	return nil
}

// answers checks that an acknowledgement is the next step for the message that it names. One that names none is let
// through: it may be late. A wrong step is a violation in every version, since it shows that the ends have lost each
// other; mosquitto 2.0 closes the connection too. With the lock.
func (o *outgoing) answers(p mqtt.Ack) error {
	m, ok := o.inflight[p.ID]
	due := mqtt.TypePubAck
	switch {
	case !ok:
		return nil
	case m.qos == 2 && p.Type == mqtt.TypePubRec: // may come again
		return nil
	case m.qos == 2 && m.released:
		due = mqtt.TypePubComp
	case m.qos == 2:
		due = mqtt.TypePubRec
	}
	if p.Type != due {
		return &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: fmt.Sprintf("%v for message %d, where %v is due", p.Type, p.ID, due)}
	}
	return nil
}

// released answers PUBREL: the message will not be repeated, its identifier is free. An unknown one is answered too,
// since the client may have missed the answer. [MQTT-4.3.3-2]
func (c *conn) released(id uint16) {
	comp := mqtt.Ack{Type: mqtt.TypePubComp, ID: id}
	counts, open := c.inbound[id]
	delete(c.inbound, id)
	if !open && c.version == mqtt.V5 {
		comp.Code = mqtt.ReasonPacketIDNotFound
	}
	if open && c.stored {
		c.collect()
		c.progress.received = append(c.progress.received, receipt{id, false})
	}
	c.answer(&comp)
	switch {
	case !counts:
	case c.batch != nil: // the answer waits in it
		c.batch.Acks++
	default:
		c.finished.Add(1)
	}
}
