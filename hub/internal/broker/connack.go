package broker

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// refuse answers CONNECT with the code for an error: the one that a core.AnswerError names, else that of its kind.
func (c *conn) refuse(err error) {
	var p *mqtt.Error
	if errors.As(err, &p) {
		c.reply(&mqtt.ConnAck{Code: connackCode(c.version, p.Code), Reason: p.Text})
		return
	}
	kind := connackKind(err)
	ack := &mqtt.ConnAck{Code: kind.before5}
	if c.version == mqtt.V5 {
		ack.Code = byte(kind.code)
	}
	var r *core.AnswerError
	if errors.As(err, &r) {
		if r.Silent {
			return
		}
		ack.Reason, ack.ServerReference = r.Text, r.Server
		if code := mqtt.ReasonCode(r.Code); code != 0 {
			ack.Code = connackCode(c.version, code)
		}
		if c.version != mqtt.V5 && r.ReturnCode != 0 {
			ack.Code = r.ReturnCode
		}
	}
	c.reply(ack)
}

type connackCodes struct {
	kind    error
	before5 byte
	code    mqtt.ReasonCode
}

// kindCodes is the only place where a kind of failure becomes a code of CONNACK; the first match wins.
var kindCodes = []connackCodes{
	{core.ErrUnauthenticated, mqtt.ConnAckBadCredentials, mqtt.ReasonBadCredentials},
	{core.ErrDenied, mqtt.ConnAckNotAuthorized, mqtt.ReasonNotAuthorized},
	{core.ErrNotFound, mqtt.ConnAckNotAuthorized, mqtt.ReasonNotAuthorized},
	{core.ErrConflict, mqtt.ConnAckNotAuthorized, mqtt.ReasonNotAuthorized},
	{core.ErrInvalid, mqtt.ConnAckBadClientID, mqtt.ReasonClientIDNotValid},
	{core.ErrStorage, mqtt.ConnAckUnavailable, mqtt.ReasonServerUnavailable},
	{core.ErrStopping, mqtt.ConnAckUnavailable, mqtt.ReasonServerUnavailable},
	{core.ErrTooLarge, mqtt.ConnAckUnavailable, mqtt.ReasonQuotaExceeded},
	{core.ErrUnreachable, mqtt.ConnAckUnavailable, mqtt.ReasonServerUnavailable},
	{context.Canceled, mqtt.ConnAckUnavailable, mqtt.ReasonServerUnavailable},
	{context.DeadlineExceeded, mqtt.ConnAckUnavailable, mqtt.ReasonServerBusy},
}

func connackKind(err error) connackCodes {
	for _, k := range kindCodes {
		if errors.Is(err, k.kind) {
			return k
		}
	}
	return connackCodes{nil, mqtt.ConnAckNotAuthorized, mqtt.ReasonNotAuthorized}
}

// connackCode says a reason in the words of a version. Before version 5 there are five of them.
func connackCode(v mqtt.Version, code mqtt.ReasonCode) byte {
	if v == mqtt.V5 {
		if !code.Allowed(mqtt.Server, mqtt.TypeConnAck) {
			code = mqtt.ReasonProtocolError
		}
		return byte(code)
	}
	switch code {
	case mqtt.ReasonUnsupportedVersion:
		return mqtt.ConnAckBadVersion
	case mqtt.ReasonClientIDNotValid:
		return mqtt.ConnAckBadClientID
	case mqtt.ReasonServerUnavailable, mqtt.ReasonServerBusy, mqtt.ReasonQuotaExceeded, mqtt.ReasonConnectionRateExceeded,
		mqtt.ReasonUseAnotherServer, mqtt.ReasonServerMoved:
		return mqtt.ConnAckUnavailable
	case mqtt.ReasonBadCredentials, mqtt.ReasonBadAuthenticationMethod:
		return mqtt.ConnAckBadCredentials
	}
	return mqtt.ConnAckNotAuthorized
}

// reply writes a CONNACK that refuses; nobody else writes yet.
func (c *conn) reply(ack *mqtt.ConnAck) {
	c.src.attempt.answer(c.version, ack.Code)
	b, fits := mqtt.AppendWithin(nil, ack, c.version, c.maxPacket)
	if !fits {
		return
	}
	c.src.nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.src.app.Write(b)
}

// negotiate settles what the two ends may ask of each other, and prepares the CONNACK that says so.
func (c *conn) negotiate(p *mqtt.Connect) {
	l, profile := &c.grant.Limits, &c.grant.Profile
	asked := time.Duration(p.KeepAlive) * time.Second
	c.keepAlive = keepAlive(asked, l)
	c.expiry = sessionExpiry(p)
	wanted := c.expiry
	if l.SessionExpiry > 0 {
		c.expiry = min(c.expiry, l.SessionExpiry)
	}
	c.hello = &mqtt.ConnAck{}
	window := l.Inflight
	if c.version == mqtt.V5 {
		aliases := uint16(min(max(l.TopicAliases, 0), 65_535))
		c.aliases = mqtt.NewAliasReader(aliases)
		*c.hello = mqtt.ConnAck{
			ReceiveMaximum:            uint16(l.ReceiveMaximum),
			MaximumPacketSize:         wholePacket(l.MaxPacketBytes),
			TopicAliasMaximum:         aliases,
			RetainUnavailable:         !c.grant.Retain,
			WildcardUnavailable:       profile.NoWildcards,
			SubscriptionIDUnavailable: profile.NoSubscriptionIDs,
			SharedUnavailable:         profile.NoShared,
		}
		if c.auth != nil { // [MQTT-4.12.0-5]
			c.hello.AuthMethod, c.hello.AuthData = mqtt.Some(c.auth.method), c.auth.last
		}
		if most := profile.QoS.Most(); most < 2 {
			c.hello.MaximumQoS = mqtt.Some(most) // [MQTT-3.2.2-9]
		}
		if c.keepAlive != asked { // [MQTT-3.2.2-21]
			c.keepAlive = min((c.keepAlive + time.Second - 1).Truncate(time.Second), 65_535*time.Second)
			c.hello.ServerKeepAlive = mqtt.Some(uint16(c.keepAlive / time.Second))
		}
		if c.expiry != wanted {
			c.expiry = c.expiry.Truncate(time.Second)
			c.hello.SessionExpiry = mqtt.Some(expirySeconds(c.expiry))
		}
		if p.ClientID == "" {
			c.hello.AssignedClientID = cmp.Or(c.grant.Assigned, c.grant.Session.ClientID) // [MQTT-3.2.2-16]
		}
		if p.RequestResponseInformation { // [MQTT-3.1.2-28]: unasked it is not sent
			c.hello.ResponseInformation = profile.ResponseInformation
		}
		if p.ReceiveMaximum > 0 {
			window = min(window, int(p.ReceiveMaximum)) // [MQTT-3.3.4-9]
		}
	}
	c.out = newOutgoing(c.version, window, &c.b.stats)
	c.out.limit = c.maxPacket
	if n := min(int(p.TopicAliasMaximum), l.TopicAliases); n > 0 {
		c.out.aliases = mqtt.NewAliasWriter(uint16(n))
	}
}

// keepAlive is what a client gets that asks for so much.
func keepAlive(asked time.Duration, l *core.Limits) time.Duration {
	if asked > 0 {
		asked = max(asked, l.MinKeepAlive)
	}
	if l.KeepAlive > 0 && (asked == 0 || asked > l.KeepAlive) {
		return l.KeepAlive
	}
	return asked
}

// wholePacket turns a limit of what follows the length field into one of the whole packet, which is what MQTT 5 means by
// maximum packet size (section 3.1.2.11.4). They come to the same, since longer contents never make a shorter packet.
func wholePacket(remaining int) uint32 {
	n := 2
	for r := remaining; r >= 0x80; r >>= 7 {
		n++
	}
	return uint32(remaining + n)
}

// welcome answers CONNECT. Called on the committer's goroutine, before any message is delivered. Who has signed the client in
// waits for it, and writes (see greet): to start a goroutine would cost more.
func (c *conn) welcome(present bool) {
	c.hello.SessionPresent = present
	if b, fits := mqtt.AppendWithin(nil, c.hello, c.version, c.maxPacket); fits {
		c.out.mu.Lock()
		c.out.append(b)
		c.out.writing, c.out.greeting = true, true
		c.out.mu.Unlock()
	} else {
		// A client that cannot be told that it is connected cannot be served. [MQTT-3.1.2-24]
		c.fail(errUnwelcome)
	}
	c.hello = nil
	close(c.welcomed)
}

// greet writes CONNACK, and what has come behind it if that is little: a client that does not read is not waited for here.
func (c *conn) greet() {
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.greeting { // CONNACK was too large
		return
	}
	if !o.dead && len(o.buf) > 0 && len(o.buf) <= maxNow {
		c.write(c.b.cfg.WriteTimeout)
	}
	o.writing, o.greeting = false, false
	o.flushed.Broadcast()
	c.flushLocked() // what is left, or has come meanwhile
}
