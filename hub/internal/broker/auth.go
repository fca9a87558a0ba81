package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// maxAuthSteps bounds how often a client may answer before it has signed in.
const maxAuthSteps = 16

// authentication is the enhanced authentication of a connection (MQTT 5.0 section 4.12).
type authentication struct {
	method   string
	dialect  dialect.Authenticator
	claim    core.Claim       // for another round
	exchange dialect.Exchange // nil: none is under way
	last     []byte           // what CONNACK brings
}

// authenticate signs a client in that names a method: it exchanges AUTH packets until the dialect is content.
func (c *conn) authenticate(ctx context.Context, p *mqtt.Connect, claim core.Claim) error {
	a := &authentication{method: p.AuthMethod.Value, claim: claim}
	var name string
	for _, d := range *c.b.dialects.Load() {
		with, ok := d.(dialect.Authenticator)
		if !ok || claim.Plain && !takesPlain(d) {
			continue
		}
		x, err := with.Authenticate(ctx, claim, a.method)
		if errors.Is(err, dialect.ErrNotMine) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s authentication: %w", d.Name(), err)
		}
		a.dialect, a.exchange, name = with, x, d.Name()
		break
	}
	if a.exchange == nil { // [MQTT-4.12.0-1]
		return &core.AnswerError{Code: uint8(mqtt.ReasonBadAuthenticationMethod), Text: "authentication method not supported", Kind: core.ErrUnauthenticated}
	}
	data := p.AuthData
	for range maxAuthSteps {
		s, err := a.exchange.Next(ctx, data)
		switch {
		case err != nil:
			return fmt.Errorf("%s authentication: %w", name, err)
		case s.Link != nil:
			a.exchange, a.last = nil, s.Data
			c.auth = a
			return c.grantTo(claim, name, s.Grant, s.Link)
		}
		if data, err = c.challenge(a, s.Data); err != nil {
			return err
		}
	}
	return &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: "too many steps of authentication"}
}

// challenge sends AUTH and waits for the client's answer. Nothing but that may come before CONNACK. [MQTT-4.12.0-2]
// [MQTT-4.12.0-3]
func (c *conn) challenge(a *authentication, data []byte) ([]byte, error) {
	out := &mqtt.Auth{Code: mqtt.ReasonContinueAuthentication, Method: mqtt.Some(a.method), Data: data}
	b, fits := mqtt.AppendWithin(nil, out, c.version, c.maxPacket)
	if !fits {
		return nil, errNoRoom
	}
	c.src.nc.SetDeadline(time.Now().Add(c.b.cfg.ConnectTimeout))
	if _, err := c.src.app.Write(b); err != nil {
		return nil, fmt.Errorf("send AUTH: %w", err)
	}
	f, err := c.frames.Next()
	if err != nil {
		return nil, fmt.Errorf("wait for AUTH: %w", err)
	}
	in, err := c.readAuth(f, a)
	if err == nil && in.Code != mqtt.ReasonContinueAuthentication {
		err = &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: "AUTH that does not continue"}
	}
	return in.Data, err
}

// readAuth decodes an AUTH of the client; all of a connection name the same method. [MQTT-4.12.0-5] [MQTT-4.12.1-1]
func (c *conn) readAuth(f mqtt.Frame, a *authentication) (p mqtt.Auth, err error) {
	if err := p.Decode(f, c.version); err != nil {
		return p, err
	}
	if err := p.CheckSender(mqtt.Client); err != nil {
		return p, err
	}
	if p.Method != mqtt.Some(a.method) {
		return p, &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: "AUTH with another method than CONNECT"}
	}
	return p, nil
}

// handleAuth takes a step of a re-authentication. What the dialect then grants replaces what it granted before; the
// session stays what it is, and so do subscriptions that are there.
func (c *conn) handleAuth(f mqtt.Frame) error {
	a := c.auth
	if a == nil { // [MQTT-4.12.0-7]
		return &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: "AUTH without a method in CONNECT"}
	}
	p, err := c.readAuth(f, a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.b.cfg.ConnectTimeout)
	defer cancel()
	switch {
	case p.Code == mqtt.ReasonReauthenticate:
		if a.exchange, err = a.dialect.Authenticate(ctx, a.claim, a.method); err != nil {
			return fmt.Errorf("authenticate again: %w", err)
		}
	case a.exchange == nil:
		return &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: "AUTH that continues nothing"}
	}
	s, err := a.exchange.Next(ctx, p.Data)
	if err != nil { // [MQTT-4.12.1-2]
		return fmt.Errorf("authenticate again: %w", err)
	}
	answer := &mqtt.Auth{Code: mqtt.ReasonContinueAuthentication, Method: mqtt.Some(a.method), Data: s.Data}
	if s.Link != nil {
		answer.Code, a.exchange = mqtt.ReasonSuccess, nil
		if id := s.Grant.Session.ClientID; id != "" && s.Grant.Session != c.grant.Session {
			return fmt.Errorf("authenticate again as somebody else: %w", core.ErrDenied)
		}
		c.grant.Publish, c.grant.Subscribe = s.Grant.Publish, s.Grant.Subscribe
		c.ends = time.Time{}
		if s.Grant.Lifetime > 0 {
			c.ends = time.Now().Add(s.Grant.Lifetime)
		}
		clear(c.topics)
	}
	if _, fits := mqtt.AppendWithin(nil, answer, c.version, c.maxPacket); !fits {
		return errNoRoom
	}
	c.answer(answer)
	return nil
}
