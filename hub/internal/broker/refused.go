package broker

import (
	"context"
	"encoding/binary"
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
	alert byte   // of TLS, that the client has sent in the clear
}

// record looks at a TLS record: OpenSSL sends an alert in the clear where TLS 1.3 has encryption already (observed with 3.0.19,
// with roots that do not have ours), and crypto/tls then only sees a record that does not decrypt.
func (a *attempt) record(head [5]byte, body []byte) {
	const alert, fatal = 21, 2
	if head[0] == alert && len(body) == 2 && binary.BigEndian.Uint16(head[3:]) == 2 && body[0] == fatal {
		a.alert = body[1]
	}
}

// at notes that the client has come to a stage, with this claim.
func (a *attempt) at(s core.Stage, claim core.Claim) {
	if a != nil {
		a.stage, a.claim = s, claim
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
	r := core.Refusal{Stage: a.stage, Claim: a.claim, Code: a.code, Alert: a.alert, Err: err}
	if t, ok := src.tls(); ok {
		st := t.ConnectionState() // also of a handshake that failed
		r.TLS, r.Claim.ServerName = &st, st.ServerName
		if len(st.PeerCertificates) > 0 {
			r.Claim.Certificate = st.PeerCertificates[0]
		}
	}
	var known *core.SignInError
	if errors.As(err, &known) {
		r.Device, r.Proven = known.Device, known.Proven
	} else {
		r.Device = b.called(r.Claim)
	}
	b.cfg.Refused(r)
}

// called asks the dialects who the client says that it is.
func (b *Broker) called(claim core.Claim) core.DeviceKey {
	for _, d := range *b.dialects.Load() {
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
		Claim:  core.Claim{Remote: addrPort(c.src.nc.RemoteAddr()), ClientID: k.ClientID, Version: uint8(c.version)},
		Device: c.b.deviceOf(k, c.grant.Device),
	}
	c.b.cfg.Refused(r)
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
