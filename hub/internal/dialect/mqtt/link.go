package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// notStored is the scope of the counters for messages that were passed on without being stored.
const notStored = "not stored"

// maxChannelBytes is the longest topic that becomes a channel.
const maxChannelBytes = 1024

// A device is what the connections of one device share: it may have several at once, with different client ids.
type device struct {
	connections int // the committer's goroutine only

	mu     sync.Mutex
	series map[string]*core.Series // by channel; nil: not loaded yet
}

// A link is the dialect's side of one connection.
type link struct {
	d     *Dialect
	proof         // as it was at sign-in
	dev   *device // set by Connected

	scratch []byte
}

func newLink(d *Dialect, p proof) *link { return &link{d: d, proof: p} }

// Connected marks the device as connected, if what let it in still holds.
func (l *link) Connected(tx *commit.Tx, s dialect.Presence) error {
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
	// Connections are many and long: what the rest of this one does not need is let go.
	tx.After(func() {
		l.Holder = credential.Holder{Device: now.Device, Account: credential.Account{Grants: credential.Grants{NoSamples: now.Grants.NoSamples}}}
	})
	l.attach(tx)
	dev := now.Device
	was := dev.Connected
	dev.Connected, dev.LastConnected, dev.LastAddr = true, tx.Now(), s.Addr
	if err := tx.UpdateDevice(dev); err != nil {
		return err
	}
	if was {
		return nil
	}
	return l.emit(tx, core.DeviceConnected, struct {
		Addr string `json:"addr"`
	}{s.Addr})
}

// errMeanwhile refuses a device that may come back at once.
var errMeanwhile = &core.AnswerError{
	Code: uint8(mqtt.ReasonServerBusy), ReturnCode: mqtt.ConnAckUnavailable, Text: "credentials or grants have changed meanwhile",
}

// attach counts the connection.
func (l *link) attach(tx *commit.Tx) {
	n := l.Num
	if l.dev = l.d.devices[n]; l.dev == nil {
		l.dev = &device{}
		l.d.devices[n] = l.dev
	}
	l.dev.connections++
	tx.Undo(func() { l.detach() })
}

func (l *link) detach() {
	if l.dev.connections--; l.dev.connections == 0 {
		delete(l.d.devices, l.Num)
	}
}

// Disconnected marks the device as disconnected, if it has no other connection.
func (l *link) Disconnected(tx *commit.Tx, reason string) error {
	l.detach()
	tx.Undo(func() {
		l.dev.connections++
		l.d.devices[l.Num] = l.dev
	})
	if l.dev.connections > 0 {
		return nil
	}
	dev, err := tx.DeviceByNum(l.Num)
	if errors.Is(err, core.ErrNotFound) {
		return nil // deleted while it was connected
	} else if err != nil {
		return err
	}
	dev.Connected, dev.LastDisconnected = false, tx.Now()
	if err := tx.UpdateDevice(dev); err != nil {
		return err
	}
	return l.emit(tx, core.DeviceDisconnected, struct {
		Reason string `json:"reason"`
	}{reason})
}

func (l *link) emit(tx *commit.Tx, kind core.EventKind, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("event of %s: %w: %v", l.DeviceKey, core.ErrInvalid, err)
	}
	return tx.Emit(core.Event{Kind: kind, Device: l.DeviceKey, Num: l.Num, Data: raw})
}

// A channel is what a topic stands for; it is kept in the topic's Aux, so that a message on a known topic costs no search.
type channel struct {
	series *core.Series // nil: messages are passed on and not stored
}

// Receive implements dialect.Link. Nothing here allocates for a topic that was used before.
func (l *link) Receive(t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	ch, ok := t.Aux.(*channel)
	if !ok {
		s, err := l.series(t.Name)
		if err != nil {
			return err
		}
		ch = &channel{s}
		t.Aux = ch
	}
	n := int64(len(t.Name) + len(m.Payload))
	b.Count(l.Num, "", 1, n)
	if ch.series == nil {
		b.Count(l.Num, notStored, 1, n)
		return nil
	}
	l.scratch = appendValue(l.scratch[:0], m.Payload, formOf(mqtt.EncodedContentType(m.Properties)))
	now := l.d.cfg.Now().UnixMicro()
	b.Sample(ch.series, now, now, l.scratch)
	const keep = 16 << 10
	if cap(l.scratch) > keep {
		l.scratch = nil // many connections, few with large values
	}
	return nil
}

// loadTimeout bounds the wait for the list of a device's channels.
const loadTimeout = 10 * time.Second

// series returns the series of a topic, nil if its messages are not to be stored. A device that publishes to ever new topics
// must not fill the table of series, which is for ever.
func (l *link) series(name string) (*core.Series, error) {
	if l.Grants.NoSamples || len(name) > maxChannelBytes {
		return nil, nil
	}
	l.dev.mu.Lock()
	defer l.dev.mu.Unlock()
	if l.dev.series == nil {
		if err := l.load(); err != nil {
			return nil, fmt.Errorf("channels of %s: %w", l.DeviceKey, err)
		}
	}
	s := l.dev.series[name]
	if s == nil && len(l.dev.series) < l.d.cfg.MaxChannels {
		s = &core.Series{Device: l.Num, Channel: name}
		l.dev.series[name] = s
	}
	return s, nil
}

// load finds the channels that the device has already.
func (l *link) load() error {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	return l.d.cfg.Store.View(ctx, func(rd store.Reader) error {
		list, err := rd.SeriesAfter(l.Num, "", "", l.d.cfg.MaxChannels)
		if err != nil {
			return err
		}
		l.dev.series = make(map[string]*core.Series, len(list))
		for _, s := range list {
			l.dev.series[s.Channel] = s
		}
		return nil
	})
}
