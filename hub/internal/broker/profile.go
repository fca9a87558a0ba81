package broker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// offered checks a message, or a will, against what the platform has of MQTT. A client of version 5 was told in CONNACK.
func (c *conn) offered(qos byte, retain bool) error {
	if most := c.grant.Profile.QoS.Most(); qos > most { // [MQTT-3.2.2-11] [MQTT-3.2.2-12]
		return &mqtt.Error{Code: mqtt.ReasonQoSNotSupported, Text: fmt.Sprintf("message with QoS %d, maximum is %d", qos, most)}
	}
	if retain && !c.grant.Retain && c.version == mqtt.V5 { // [MQTT-3.2.2-13] [MQTT-3.2.2-14]; older clients could not know
		return &mqtt.Error{Code: mqtt.ReasonRetainNotSupported, Text: "message to be retained, which is not available"}
	}
	return nil
}

// checkWill checks the will as the messages of the connection will be.
func (c *conn) checkWill(w *mqtt.Will) error {
	if w == nil {
		return nil
	}
	if why := c.mayPublish(w.Topic, w.Retain && c.grant.Retain); errors.Is(why, core.ErrDenied) {
		return outside("will on a topic", w.Topic)
	} else if why != nil {
		return why
	}
	return c.offered(w.QoS, w.Retain)
}

// forbidden refuses a message to a topic outside the grant. Who asks for refusals is told once for each topic: a device
// that goes on trying must not cost more than one that is right.
func (c *conn) forbidden(p *mqtt.Publish, t *topicEntry, why error) error {
	if !errors.Is(why, core.ErrDenied) {
		return fmt.Errorf("publish to %.200q: %w", t.Name, why)
	}
	answer := &core.AnswerError{Code: uint8(mqtt.ReasonNotAuthorized), Text: "topic outside the grant", Kind: core.ErrDenied}
	if !t.told {
		t.told = true
		code := ""
		if c.version == mqtt.V5 && p.QoS > 0 && !c.closesOn(p.QoS) {
			code = fmt.Sprintf("reason 0x%02x", answer.Code)
		}
		c.denied(core.StagePublish, code, outside("publish to a topic", t.Name))
	}
	return c.refuseMessage(p, answer)
}

// refuseMessage answers a message that the client may not publish or that the dialect does not take. The answer comes in
// its place among the others. What a platform does is in its profile; but a code that is none for a message, such as "use
// another server", is meant for the connection.
func (c *conn) refuseMessage(p *mqtt.Publish, r *core.AnswerError) error {
	code := mqtt.ReasonCode(r.Code)
	ends := code.Allowed(mqtt.Server, mqtt.TypeDisconnect) && !code.Allowed(mqtt.Server, mqtt.TypePubAck)
	if ends || c.closesOn(p.QoS) {
		return fmt.Errorf("%s: to %q: %w", dialect.EndForbidden, p.Topic, r)
	}
	c.log.Debug("message refused", "topic", string(p.Topic), "err", r)
	if p.QoS > 0 {
		c.nack(p, code, r.Text)
	}
	return nil
}

// nack says in an acknowledgement that a message is not taken, as far as the client's version can say it.
func (c *conn) nack(p *mqtt.Publish, code mqtt.ReasonCode, text string) {
	ack := mqtt.Ack{Type: mqtt.TypePubAck, ID: p.ID, Code: code}
	if p.QoS == 2 {
		ack.Type = mqtt.TypePubRec
	}
	if !ack.Code.Failed() || !ack.Code.Allowed(mqtt.Server, ack.Type) {
		ack.Code = mqtt.ReasonUnspecified
	}
	if !c.quiet { // [MQTT-3.1.2-29]
		ack.Reason = text
	}
	b := c.collect()
	b.Reply, _ = mqtt.AppendWithin(b.Reply, &ack, c.version, c.maxPacket)
	b.Acks++
}

// closesOn reports whether the connection is closed when a message of that QoS is refused.
func (c *conn) closesOn(qos byte) bool {
	p := &c.grant.Profile
	return p.CloseOnForbidden || p.CloseOnUntold && (c.version != mqtt.V5 || qos == 0)
}

// unoffered says what a subscription asks for that the platform has not, for platforms that refuse it then; 0 if nothing.
func (c *conn) unoffered(qos byte, withID bool) mqtt.ReasonCode {
	p := &c.grant.Profile
	switch {
	case !p.RefuseUnoffered:
	case qos > p.QoS.Most():
		return mqtt.ReasonQoSNotSupported
	case withID && p.NoSubscriptionIDs:
		return mqtt.ReasonSubscriptionIDsNotSupported
	}
	return 0
}

// subscribable returns why a filter cannot be subscribed to, or 0. An error ends the connection.
func (c *conn) subscribable(filter string, withID bool) (mqtt.ReasonCode, error) {
	if code := c.possible(filter, withID); code != 0 {
		return code, nil
	}
	if r := c.grant.Rules; r != nil {
		err := r.Subscribe(filter)
		switch {
		case err == nil:
			return 0, nil
		case errors.Is(err, core.ErrDenied):
			return mqtt.ReasonNotAuthorized, nil
		}
		return 0, fmt.Errorf("subscribe to %.200q: %w", filter, err)
	}
	_, inner, _ := topic.SplitShared(filter) // what can be received is what the grant is about
	for _, g := range c.grant.Subscribe {
		if topic.Covers(g, inner) {
			return 0, nil
		}
	}
	if c.freeDollar(inner) {
		return 0, nil
	}
	return mqtt.ReasonNotAuthorized, nil
}

// possible returns why the platform has no such subscriptions, or 0.
func (c *conn) possible(filter string, withID bool) mqtt.ReasonCode {
	profile := &c.grant.Profile
	group, inner, err := topic.SplitShared(filter)
	switch {
	case err != nil || strings.Count(inner, "/") >= topic.MaxLevels:
		return mqtt.ReasonTopicFilterInvalid
	case group != "" && profile.NoShared:
		return mqtt.ReasonSharedNotSupported
	case withID && profile.NoSubscriptionIDs:
		return mqtt.ReasonSubscriptionIDsNotSupported
	case profile.NoWildcards && strings.ContainsAny(filter, "+#"):
		return mqtt.ReasonWildcardsNotSupported
	}
	return 0
}

// freeDollar reports whether a topic or filter begins with "$", is not the hub's and is granted by Grant.Dollar.
func (c *conn) freeDollar(name string) bool {
	if !c.grant.Dollar || name == "" || name[0] != '$' {
		return false
	}
	first, _, _ := strings.Cut(name, "/")
	return first != "$SYS" && first != "$share"
}

// subAckCode says in the words of the client's version that a subscription is refused. Version 3.1 has no word for it:
// there the client is told the QoS it asked for and gets nothing, which is what mosquitto does too (2.0, handle__subscribe).
func (c *conn) subAckCode(code mqtt.ReasonCode, asked byte) byte {
	switch c.version {
	case mqtt.V5:
		return byte(code)
	case mqtt.V31:
		return asked
	}
	return mqtt.SubAckFailure
}

// roomForCodes reports whether the client takes a SUBACK or UNSUBACK with so many codes.
func (c *conn) roomForCodes(n int) bool {
	const around = 1 + 4 + 2 + 1 // header, identifier, properties
	return c.maxPacket == 0 || around+n <= int(c.maxPacket)
}
