// Package feed makes samples of what devices publish to topics of their own choosing: for dialects where a channel is a topic
// and a device may have several connections at once. What a device has said is one series for each channel, whichever of its
// connections it came by.
//
//	l := f.Line(k, num)
//	err := l.Connect(tx, addr)                      // the device is connected
//	ch, err := l.Channel("room/temp")               // kept for the topic
//	l.Put(ch, len("room/temp"), payload, nil, b)   // a sample, in the connection's batch
package feed

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// NotStored is the scope of the counters for messages that were passed on without being stored.
const NotStored = "not stored"

// DefaultMaxChannels is how many channels a device can have when the Config does not say otherwise.
const DefaultMaxChannels = 1000

// maxChannelBytes is the longest topic that becomes a channel.
const maxChannelBytes = 1024

// loadTimeout bounds the wait for the list of a device's channels.
const loadTimeout = 10 * time.Second

// Config configures a [Feed]. Store and Now are required.
type Config struct {
	Store store.Store
	// MaxChannels bounds the channels of a device; messages to further topics are not stored. 0: DefaultMaxChannels.
	MaxChannels int
	Now         func() time.Time
}

// A Feed is what the connections of one dialect's devices stand on.
type Feed struct {
	cfg     Config
	devices map[core.DeviceNum]*device // those with a connection; the committer's goroutine only
}

// New returns a Feed. It does no I/O.
func New(cfg Config) *Feed {
	if cfg.MaxChannels == 0 {
		cfg.MaxChannels = DefaultMaxChannels
	}
	return &Feed{cfg: cfg, devices: map[core.DeviceNum]*device{}}
}

// A device is what the connections of one device share: it may have several at once, with different client ids.
type device struct {
	connections int // the committer's goroutine only

	mu     sync.Mutex
	series map[string]*core.Series // by channel; nil: not loaded yet
}

// A Line is one connection of a device.
type Line struct {
	f   *Feed
	key core.DeviceKey
	num core.DeviceNum
	dev *device // one of its own before Connect, and for who never connects

	scratch []byte
}

// Line returns a connection of a device. One that brings what a device has said, and is none, need not Connect.
func (f *Feed) Line(k core.DeviceKey, n core.DeviceNum) *Line {
	return &Line{f: f, key: k, num: n, dev: &device{}}
}

// Connect marks the device as connected.
func (l *Line) Connect(tx *commit.Tx, addr string) error {
	l.attach(tx)
	return registry.Connected(tx, l.num, addr)
}

// attach counts the connection.
func (l *Line) attach(tx *commit.Tx) {
	if l.dev = l.f.devices[l.num]; l.dev == nil {
		l.dev = &device{}
		l.f.devices[l.num] = l.dev
	}
	l.dev.connections++
	tx.Undo(func() { l.detach() })
}

func (l *Line) detach() {
	if l.dev.connections--; l.dev.connections == 0 {
		delete(l.f.devices, l.num)
	}
}

// Disconnect marks the device as disconnected, if it has no other connection.
func (l *Line) Disconnect(tx *commit.Tx, reason string) error {
	l.detach()
	tx.Undo(func() {
		l.dev.connections++
		l.f.devices[l.num] = l.dev
	})
	if l.dev.connections > 0 {
		return nil
	}
	return registry.Disconnected(tx, l.num, reason)
}

// A Channel is what a topic stands for. Kept with the topic, it makes that a message on a known topic costs no search.
type Channel struct {
	series *core.Series // nil: messages are not stored
}

// Unstored is a channel whose messages are counted and not stored.
var Unstored = &Channel{}

// Channel returns the channel of a topic: Unstored for one that is too long, and for one too many. A device that publishes to
// ever new topics must not fill the table of series, which is for ever.
func (l *Line) Channel(name string) (*Channel, error) {
	if len(name) > maxChannelBytes {
		return Unstored, nil
	}
	l.dev.mu.Lock()
	defer l.dev.mu.Unlock()
	if l.dev.series == nil {
		if err := l.load(); err != nil {
			return nil, fmt.Errorf("channels of %s: %w", l.key, err)
		}
	}
	s := l.dev.series[name]
	if s == nil {
		if len(l.dev.series) >= l.f.cfg.MaxChannels {
			return Unstored, nil
		}
		s = &core.Series{Device: l.num, Channel: name}
		l.dev.series[name] = s
	}
	return &Channel{s}, nil
}

// load finds the channels that the device has already.
func (l *Line) load() error {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	return l.f.cfg.Store.View(ctx, func(rd store.Reader) error {
		list, err := rd.SeriesAfter(l.num, "", "", l.f.cfg.MaxChannels)
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

// Put adds a message to the batch: a sample, and to the counters. topicBytes is how long its topic was; contentType is that of
// MQTT 5, nil for none. It allocates nothing for what is of usual size.
func (l *Line) Put(ch *Channel, topicBytes int, payload, contentType []byte, b *commit.Batch) {
	n := int64(topicBytes + len(payload))
	b.Count(l.num, "", 1, n)
	if ch.series == nil {
		b.Count(l.num, NotStored, 1, n)
		return
	}
	l.scratch = appendValue(l.scratch[:0], payload, formOf(contentType))
	now := l.f.cfg.Now().UnixMicro()
	b.Sample(ch.series, now, now, l.scratch)
	const keep = 16 << 10
	if cap(l.scratch) > keep {
		l.scratch = nil // many connections, few with large values
	}
}
