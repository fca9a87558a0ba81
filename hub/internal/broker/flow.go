package broker

import (
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// handleAck moves an exchange on. What a stored session has to remember is on disk before the next step is taken.
func (c *conn) handleAck(p mqtt.Ack) {
	if p.Type == mqtt.TypePubRel {
		c.released(p.ID)
		return
	}
	o := c.out
	o.mu.Lock()
	if p.Type == mqtt.TypePubRec {
		m, ok := o.inflight[p.ID]
		o.mu.Unlock()
		rel := mqtt.Ack{Type: mqtt.TypePubRel, ID: p.ID}
		if !ok || m.seq == 0 {
			c.answer(&rel)
			return
		}
		b := c.collect()
		c.progress.released = append(c.progress.released, m.seq)
		b.Reply = rel.Append(b.Reply, c.version)
		return
	}
	m, ok := o.acknowledged(p.ID)
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
	if more {
		c.collect().Do(func(tx *commit.Tx) error {
			if s := c.b.sessions[c.grant.Session]; s != nil {
				return c.b.refill(tx, s, c)
			}
			return nil
		}, nil)
	}
}

// released answers PUBREL: the message will not be repeated, its identifier is free. An unknown one is answered too,
// since the client may have missed the answer. [MQTT-4.3.3-2]
func (c *conn) released(id uint16) {
	comp := mqtt.Ack{Type: mqtt.TypePubComp, ID: id}
	_, open := c.inbound[id]
	delete(c.inbound, id)
	if !open || !c.stored {
		c.answer(&comp)
		return
	}
	b := c.collect()
	c.progress.received = append(c.progress.received, receipt{id, false})
	b.Reply = comp.Append(b.Reply, c.version)
}
