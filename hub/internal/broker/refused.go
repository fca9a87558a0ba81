package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// An attempt is what is known of a client that has not signed in yet.
type attempt struct {
	stage core.Stage
	claim core.Claim
	code  string // what it was answered

	session core.SessionKey // once it has signed in: whose it is
	device  core.DeviceNum
}

// at notes that the client has come to a stage, with this claim.
func (a *attempt) at(s core.Stage, claim core.Claim) {
	if a != nil {
		a.stage, a.claim = s, claim
	}
}

// signedIn notes whose connection it is.
func (a *attempt) signedIn(g core.Grant) {
	if a != nil {
		a.session, a.device = g.Session, g.Device
	}
}

// answer notes what the client was told.
func (a *attempt) answer(v mqtt.Version, code byte) {
	if a != nil {
		a.code = fmt.Sprintf("CONNACK %d", code)
		if v == mqtt.V5 {
			a.code = fmt.Sprintf("CONNACK 0x%02x", code)
		}
	}
}

// refused tells Config.Refused of a client that did not come in.
func (b *Broker) refused(src *source, err error) {
	a := src.attempt
	if b.cfg.Refused == nil || a == nil || errors.Is(err, context.Canceled) && a.stage == core.StageTLS {
		return
	}
	r := core.Refusal{Stage: a.stage, Claim: a.claim, Code: a.code, Alert: src.Alert(), Err: err}
	if st := src.Handshake(); st != nil { // also of a handshake that failed
		r.TLS, r.Claim.ServerName = st, st.ServerName
		if len(st.PeerCertificates) > 0 {
			r.Claim.Certificate = st.PeerCertificates[0]
		}
	}
	var known *core.SignInError
	switch {
	case errors.As(err, &known):
		r.Device, r.Proven, r.Err = known.Device, known.Proven, known.Err
	case a.session.Tenant != "":
		r.Device, r.Proven = b.deviceOf(a.session, a.device), true
	default:
		r.Device = b.called(r.Claim)
	}
	b.advise(&r)
	b.cfg.Refused(r)
}

// called asks the dialects who the client says that it is.
func (b *Broker) called(claim core.Claim) core.DeviceKey {
	for _, d := range *b.dialects.Load() {
		if claim.Plain && !takesPlain(d) {
			continue
		}
		if i, ok := d.(dialect.Identifier); ok {
			if k, ok := i.Identify(claim); ok {
				return k
			}
		}
	}
	return core.DeviceKey{}
}

// denied tells Config.Refused of something that a client which has signed in was not allowed to do.
func (c *conn) denied(s core.Stage, code string, err error) {
	if c.b.cfg.Refused == nil {
		return
	}
	k := c.grant.Session
	r := core.Refusal{
		Stage: s, Code: code, Err: err, Proven: true,
		Claim:  core.Claim{Remote: c.src.Remote(), ClientID: k.ClientID, Version: uint8(c.version)},
		Device: c.b.deviceOf(k, c.grant.Device),
	}
	c.b.advise(&r)
	c.b.cfg.Refused(r)
}

// outside is the refusal of a topic or filter that the grant does not cover; what says what the client wanted. What to do
// about it is added by advise, if somebody asks for refusals.
func outside(what, name string) error {
	return &core.HelpError{Text: fmt.Sprintf("%s outside of what the device may: %.200q", what, name), Err: core.ErrDenied}
}

// advise has the dialect say what to do about a topic that is outside the grant.
func (b *Broker) advise(r *core.Refusal) {
	var e *core.HelpError
	if !errors.As(r.Err, &e) || e.Help != "" || !errors.Is(e, core.ErrDenied) {
		return
	}
	for _, d := range *b.dialects.Load() {
		if a, ok := d.(dialect.Adviser); ok && d.Name() == r.Device.Dialect {
			e.Help = a.AdviseGrant(r.Device)
		}
	}
}

// deviceOf returns the device of a session, as far as it has one.
func (b *Broker) deviceOf(k core.SessionKey, n core.DeviceNum) core.DeviceKey {
	key := core.DeviceKey{Tenant: k.Tenant, Dialect: k.Dialect}
	if n == 0 {
		return key
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = b.cfg.Store.View(ctx, func(rd store.Reader) error {
		d, err := rd.DeviceByNum(n)
		if err == nil {
			key = d.DeviceKey
		}
		return err
	})
	return key
}
