package mqtt

import (
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/feed"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A link is the dialect's side of one connection.
type link struct {
	d     *Dialect
	proof // as it was at sign-in
	line  *feed.Line
}

func newLink(d *Dialect, p proof) *link {
	return &link{d: d, proof: p, line: d.feed.Line(p.DeviceKey, p.Num)}
}

// Connected marks the device as connected, if what let it in still holds.
func (l *link) Connected(tx *commit.Tx, s dialect.Presence) error {
	if !l.d.recall.Holds(l.opening) {
		if err := l.check(tx); err != nil {
			return err
		}
	}
	// Connections are many and long: what the rest of this one does not need is let go.
	tx.After(func() {
		l.Holder = credential.Holder{Device: l.Device, Account: credential.Account{Grants: credential.Grants{NoSamples: l.Grants.NoSamples}}}
		l.opening = nil
	})
	return l.line.Connect(tx, s.Addr)
}

// check reads what let the device in once more.
func (l *link) check(tx *commit.Tx) error {
	now, err := credential.Find(tx, l.DeviceKey)
	if err != nil {
		return err
	}
	if !now.Same(l.Holder) {
		return &core.SignInError{Device: l.DeviceKey, Proven: true, Err: errMeanwhile}
	}
	if l.serial != "" {
		if crt, err := tx.Certificate(l.serial); err != nil {
			return err
		} else if crt.State == core.CertificateRevoked {
			return &core.SignInError{Device: l.DeviceKey, Proven: true, Err: revoked(l.DeviceKey)}
		}
	}
	if l.authority != "" {
		if there, err := credential.HasAuthority(tx, l.Tenant, l.authority); err != nil {
			return err
		} else if !there {
			return &core.SignInError{Device: l.DeviceKey, Proven: true, Err: errMeanwhile}
		}
	}
	return nil
}

// errMeanwhile refuses a device that may come back at once.
var errMeanwhile = &core.AnswerError{
	Code: uint8(mqtt.ReasonServerBusy), ReturnCode: mqtt.ConnAckUnavailable, Text: "credentials or grants have changed meanwhile",
}

// Disconnected marks the device as disconnected, if it has no other connection.
func (l *link) Disconnected(tx *commit.Tx, reason string) error { return l.line.Disconnect(tx, reason) }

// Receive implements dialect.Link. Nothing here allocates for a topic that was used before.
func (l *link) Receive(t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	ch, ok := t.Aux.(*feed.Channel)
	if !ok {
		var err error
		if ch, err = l.channel(t.Name); err != nil {
			return err
		}
		t.Aux = ch
	}
	l.line.Put(ch, len(t.Name), m.Payload, mqtt.EncodedContentType(m.Properties), b)
	return nil
}

func (l *link) channel(name string) (*feed.Channel, error) {
	if l.Grants.NoSamples {
		return feed.Unstored, nil
	}
	return l.line.Channel(name)
}
