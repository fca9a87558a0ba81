package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

func (c *conn) handlePublish(f mqtt.Frame) error {
	var p mqtt.Publish
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if c.version == mqtt.V5 {
		if err := p.CheckSender(mqtt.Client); err != nil {
			return err
		}
		if err := c.aliases.Resolve(&p); err != nil {
			return err
		}
	}
	if err := c.offered(p.QoS, p.Retain); err != nil {
		return err
	}
	if answered, err := c.begin(&p); answered || err != nil {
		return err
	}
	if c.meter.surplus() {
		return c.discard(&p)
	}
	t := c.topic(p.Topic)
	if why := c.barred(t, p.Retain); why != nil {
		return c.forbidden(&p, t, why)
	}
	var answer *core.AnswerError
	m := dialect.Publish{Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Properties: p.Properties.Append(nil)}
	if p.MessageExpiry.Present {
		m.Expires = time.Now().Add(time.Duration(c.grant.Profile.MessageExpiry(p.MessageExpiry.Value)) * time.Second)
	}
	before, operations := len(c.forward), c.collect().Operations()
	if err := c.message(t, m); errors.As(err, &answer) {
		return c.refuseMessage(&p, answer)
	} else if err != nil {
		return err
	}
	c.messages++
	taken := len(c.forward) > before
	switch p.QoS {
	case 1:
		c.acknowledge(mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID}, taken)
		c.batch.Acks++
	case 2:
		c.receive(p.ID, true)
		if c.stored {
			c.progress.received = append(c.progress.received, receipt{p.ID, true})
		}
		c.acknowledge(mqtt.Ack{Type: mqtt.TypePubRec, ID: p.ID}, taken)
	}
	if taken && c.batch.Operations() > operations {
		c.passOnAt(c.batch, operations)
	}
	return nil
}

// begin begins the exchange that a message at QoS 1 or 2 needs. It reports whether the message is answered already, and
// is not to be handed on.
func (c *conn) begin(p *mqtt.Publish) (answered bool, err error) {
	if p.QoS == 0 {
		return false, nil
	}
	if _, open := c.inbound[p.ID]; open {
		ack := mqtt.Ack{Type: mqtt.TypePubRec, ID: p.ID}
		switch {
		case p.QoS == 2: // [MQTT-4.3.3-2], in version 5 [MQTT-4.3.3-10]: the message was handed on before
		case c.version == mqtt.V5:
			ack.Type, ack.Code = mqtt.TypePubAck, mqtt.ReasonPacketIDInUse
		default:
			return false, nil // not right, but harmless
		}
		b := c.collect()
		b.Reply = ack.Append(b.Reply, c.version)
		return true, nil
	}
	if c.version == mqtt.V5 && c.begun-c.finished.Load() >= int64(c.grant.Limits.ReceiveMaximum) { // [MQTT-3.3.4-7]
		return false, &mqtt.Error{
			Code: mqtt.ReasonReceiveMaximumExceeded,
			Text: fmt.Sprintf("more than %d messages under way", c.grant.Limits.ReceiveMaximum),
		}
	}
	if p.QoS == 2 && len(c.inbound) >= maxInbound {
		return false, &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Text: "too many QoS 2 messages without PUBREL"}
	}
	c.begun++
	return false, nil
}

// topic returns what is known of a topic name.
func (c *conn) topic(name []byte) *topicEntry {
	if r := c.grant.Rules; r != nil {
		if v := r.Version(); v != c.ruled {
			c.ruled = v
			clear(c.topics)
		}
	}
	if t := c.topics[string(name)]; t != nil {
		return t
	}
	t := &topicEntry{Topic: dialect.Topic{Name: string(name)}}
	t.refusal = c.mayPublish(t.Name, false)
	t.forward = !c.grant.Private
	for f := range c.filters {
		if _, inner, err := topic.SplitShared(f); err == nil {
			t.forward = t.forward || topic.Match(inner, name)
		}
	}
	if len(name) > maxTopicBytes {
		return t
	}
	if len(c.topics) >= maxTopics {
		clear(c.topics)
	}
	if c.topics == nil {
		c.topics = make(map[string]*topicEntry, 2)
	}
	c.topics[t.Name] = t
	return t
}

// errOutside is why a client may not publish to a topic that no filter of its grant covers.
var errOutside = fmt.Errorf("topic outside the grant: %w", core.ErrDenied)

// mayPublish says why the client may not publish to a topic, nil if it may.
func (c *conn) mayPublish(name string, retain bool) error {
	if r := c.grant.Rules; r != nil {
		return r.Publish(name, retain)
	}
	for _, f := range c.grant.Publish {
		if topic.Match(f, name) {
			return nil
		}
	}
	if c.freeDollar(name) {
		return nil
	}
	return errOutside
}

// barred says why a message to the topic is refused, nil if it is not.
func (c *conn) barred(t *topicEntry, retain bool) error {
	if !retain || t.refusal != nil || c.grant.Rules == nil {
		return t.refusal
	}
	if t.retain == nil {
		why := c.mayPublish(t.Name, true)
		t.retain = &why
	}
	return *t.retain
}

// receive notes that a QoS 2 message is taken. One that this connection brought counts for its window.
func (c *conn) receive(id uint16, counts bool) {
	if c.inbound == nil {
		c.inbound = make(map[uint16]bool, 4)
	}
	c.inbound[id] = counts
}
