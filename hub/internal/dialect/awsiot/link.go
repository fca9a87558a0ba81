package awsiot

import (
	"crypto/rand"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/feed"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A link is the dialect's side of one MQTT connection.
type link struct {
	d *Dialect
	*sender
	rules *rules
	line  *feed.Line // nil: the connection is no thing's, and what it publishes is passed on and not stored
	load  func(rd store.RecordReader) (*papers, error)

	seen    uint64   // the account's changes when the papers were read
	names   []string // that the connection is found by; the committer's goroutine only
	id      string   // sessionIdentifier of lifecycle events
	expires string   // disconnectReason when the time of the connection is over
	number  int      // versionNumber of lifecycle events
}

// Connected implements dialect.Link. What has changed since the client signed in counts.
func (l *link) Connected(tx *commit.Tx, s dialect.Presence) error {
	standing := l.rules.standing
	p := l.rules.papers.Load()
	if standing.changes.Load() != l.seen {
		var err error
		if p, err = l.load(tx); err != nil {
			return err
		}
	}
	l.stand(tx, p)
	if l.line != nil {
		if err := l.line.Connect(tx, s.Addr); err != nil {
			return err
		}
	}
	return l.tellConnected(tx, s.Addr)
}

// stand puts the connection under its policies, in the place of those that it stood under, and has it found by what decides
// about it.
func (l *link) stand(tx *commit.Tx, p *papers) {
	l.leave(tx)
	shared := *p
	shared.policies = l.rules.standing.share(tx, p.policies)
	old := l.rules.replace(&shared)
	l.names = append([]string{l.principal}, shared.names...)
	l.d.enlist(tx, l, l.names)
	tx.Undo(func() {
		l.names = nil
		l.rules.replace(old)
	})
}

// leave is the end of that.
func (l *link) leave(tx *commit.Tx) {
	if l.names == nil {
		return
	}
	names := l.names
	l.d.delist(tx, l, names)
	l.rules.standing.unshare(tx, l.rules.papers.Load().policies)
	l.names = nil
	tx.Undo(func() { l.names = names })
}

// reload reads again what decides about the connection.
func (l *link) reload(tx *commit.Tx) error {
	p, err := l.load(tx)
	if err != nil {
		if isRefusal(err) { // the certificate is none any more: whoever changed that ends the connection
			return nil
		}
		return err
	}
	l.stand(tx, p)
	return nil
}

// Disconnected implements dialect.Link.
func (l *link) Disconnected(tx *commit.Tx, reason string) error {
	l.leave(tx)
	if l.line != nil {
		if err := l.line.Disconnect(tx, reason); err != nil {
			return err
		}
	}
	return l.tellDisconnected(tx, reason)
}

// A subject is what a topic is about; it is kept in the topic's Aux, so that a message on a known topic costs no search.
type subject struct {
	reserved *reserved // nil: an ordinary topic
	service  service   // of the reserved topic; nil: nobody takes it
	channel  *feed.Channel
}

// Receive implements dialect.Link. Nothing here allocates for a topic that was used before and is not reserved.
func (l *link) Receive(t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	if len(m.Payload) > maxPayloadBytes {
		return &mqtt.Error{Code: mqtt.ReasonQuotaExceeded, Text: fmt.Sprintf("payload of %d bytes, at most %d are possible", len(m.Payload), maxPayloadBytes)}
	}
	s, ok := t.Aux.(*subject)
	if !ok {
		var err error
		if s, err = l.subject(t.Name); err != nil {
			return err
		}
		t.Aux, t.Withheld = s, s.reserved != nil && s.reserved.kind != kindShadow
	}
	if l.line != nil {
		l.line.Put(s.channel, len(t.Name), m.Payload, mqtt.EncodedContentType(m.Properties), b)
	}
	if s.service != nil {
		return s.service.receive(l.sender, s.reserved, m, b)
	}
	return nil
}

// subject finds out what a topic is about.
func (l *link) subject(name string) (*subject, error) {
	s := &subject{channel: feed.Unstored}
	channel := name
	if name[0] == '$' {
		r := parseReserved(name)
		s.reserved, s.service, channel = &r, l.d.services[r.kind], r.rest
	}
	if l.line == nil || channel == "" {
		return s, nil
	}
	var err error
	s.channel, err = l.line.Channel(channel)
	return s, err
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// profile is what the platform offers of MQTT (AWS IoT guide, "MQTT").
var profile = core.Profile{
	QoS: core.UpToQoS1, NoSubscriptionIDs: true, RefuseUnoffered: true, CloseOnUntold: true, RetainedExact: true, HidesReach: true,
	LongClientIDs: true, SeparateSessions: true, LongestMessage: maxExpiry,
}
