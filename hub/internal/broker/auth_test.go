package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Authenticate implements dialect.Authenticator with the method "toy": the client proves that it can count.
func (p *plain) Authenticate(_ context.Context, c core.Claim, method string) (dialect.Exchange, error) {
	if method != "toy" {
		return nil, dialect.ErrNotMine
	}
	return &toy{p: p, claim: c}, nil
}

type toy struct {
	p     *plain
	claim core.Claim
	steps int
}

func (x *toy) Next(ctx context.Context, data []byte) (s dialect.Step, err error) {
	want := []string{"", "one", "two"}[x.steps]
	if string(data) != want {
		return s, &core.AnswerError{Code: uint8(mqtt.ReasonNotAuthorized), Text: "cannot count", Kind: core.ErrUnauthenticated}
	}
	if x.steps++; x.steps < 3 {
		s.Data = []byte("and then?")
		return s, nil
	}
	s.Data = []byte("well done")
	s.Grant, s.Link, err = x.p.SignIn(ctx, x.claim)
	return s, err
}

func toyHello() mqtt.Connect {
	return mqtt.Connect{Version: mqtt.V5, ClientID: "pump", CleanStart: true, Username: "t", HasUsername: true, AuthMethod: mqtt.Some("toy")}
}

func toyStep(code mqtt.ReasonCode, data string) mqtt.Auth {
	p := mqtt.Auth{Code: code, Method: mqtt.Some("toy")}
	if data != "" {
		p.Data = []byte(data)
	}
	return p
}

// Statements of 5: [MQTT-3.2.0-1].
func TestEnhancedAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := startHub(t, t.TempDir(), Config{})
		h.plain.grant = func(g *core.Grant) { g.Lifetime = time.Minute }
		c := h.dial()
		const more = mqtt.ReasonContinueAuthentication
		c.Send(toyHello())
		c.Expect(toyStep(more, "and then?")) // [MQTT-4.12.0-2]
		c.Send(toyStep(more, "one"))
		c.Expect(toyStep(more, "and then?"))
		c.Send(toyStep(more, "two"))
		ack := c.Expect(mqtt.ConnAck{}).(*mqtt.ConnAck)
		if ack.Code != 0 || ack.AuthMethod != mqtt.Some("toy") || string(ack.AuthData) != "well done" { // [MQTT-4.12.0-5]
			t.Errorf("got %+v", ack)
		}
		for range 3 { // again in time, and messages go on meanwhile
			later(50 * time.Second)
			h.plain.grant = func(g *core.Grant) { g.Lifetime, g.Publish = time.Minute, []string{"b"} }
			c.Send(toyStep(mqtt.ReasonReauthenticate, ""))
			c.Expect(toyStep(more, "and then?"))
			c.Send(toyStep(more, "one"))
			c.Publish("b", 1, nil)
			c.Expect(toyStep(more, "and then?"))
			c.Send(toyStep(more, "two"))
			if p := c.Expect(mqtt.Auth{}).(*mqtt.Auth); p.Code != mqtt.ReasonSuccess || string(p.Data) != "well done" {
				t.Errorf("got %+v", p)
			}
		}
		if got := c.PublishWith(mqtt.Publish{Topic: []byte("a"), QoS: 1}).Code; got != mqtt.ReasonNotAuthorized {
			t.Errorf("the new grant does not count: got %v", got)
		}
		later(61 * time.Second)
		c.ExpectDisconnect(mqtt.ReasonMaximumConnectTime)
	})
}

// Statements of 5: [MQTT-3.1.2-30] [MQTT-4.12.0-4].
func TestAuthenticationFails(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	const more = mqtt.ReasonContinueAuthentication
	for name, c := range map[string]struct {
		method string
		answer any
		want   mqtt.ReasonCode
	}{
		"unknown method [MQTT-4.12.0-1]": {"magic", nil, mqtt.ReasonBadAuthenticationMethod},
		"wrong answer":                   {"toy", toyStep(more, "three"), mqtt.ReasonNotAuthorized},
		"another packet [MQTT-4.12.0-3]": {"toy", mqtt.PingReq{}, mqtt.ReasonProtocolError},
		"another method [MQTT-4.12.0-5]": {"toy", mqtt.Auth{Code: more, Method: mqtt.Some("magic")}, mqtt.ReasonProtocolError},
		"another code":                   {"toy", toyStep(mqtt.ReasonReauthenticate, "one"), mqtt.ReasonProtocolError},
	} {
		p := toyHello()
		p.AuthMethod = mqtt.Some(c.method)
		k := h.dial()
		k.Send(p)
		if c.answer != nil {
			k.Expect(mqtt.Auth{})
			k.Send(c.answer)
		}
		if ack := k.Expect(mqtt.ConnAck{}).(*mqtt.ConnAck); mqtt.ReasonCode(ack.Code) != c.want {
			t.Errorf("%s: got %+v, want %v", name, ack, c.want)
		}
		k.ExpectClosed()
	}
	for name, c := range map[string]struct {
		step mqtt.Auth
		want mqtt.ReasonCode
	}{
		"nothing to continue":            {toyStep(more, "one"), mqtt.ReasonProtocolError},
		"another method [MQTT-4.12.1-1]": {mqtt.Auth{Code: mqtt.ReasonReauthenticate, Method: mqtt.Some("magic")}, mqtt.ReasonProtocolError},
		"wrong answer [MQTT-4.12.1-2]":   {toyStep(mqtt.ReasonReauthenticate, "three"), mqtt.ReasonNotAuthorized},
	} {
		k := h.dial()
		k.Send(toyHello())
		for _, s := range []string{"one", "two"} {
			k.Expect(mqtt.Auth{})
			k.Send(toyStep(more, s))
		}
		k.Expect(mqtt.ConnAck{})
		k.Send(c.step)
		t.Log(name)
		k.ExpectDisconnect(c.want)
	}
	k, _ := h.connect5(mqtt.Connect{ClientID: "pump", CleanStart: true})
	k.Send(toyStep(mqtt.ReasonReauthenticate, "")) // [MQTT-4.12.0-7]
	k.ExpectDisconnect(mqtt.ReasonProtocolError)
}
