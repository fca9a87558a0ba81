package awsiot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/outbox"
)

// PublishOptions are the extras of [Client.Publish], [Client.PublishAsync] and [Client.Enqueue].
type PublishOptions struct {
	// Retain makes AWS IoT keep the message, and give it to whoever subscribes to exactly this topic later. An empty one removes it.
	Retain bool
	// NoQueue sends the message now or not at all: without a connection publishing fails with [ErrQueueDisabled].
	NoQueue bool
	// Lifetime is how long the message is worth sending; with MQTT 5, also how long AWS IoT and subscribers keep it. 0: for ever.
	Lifetime time.Duration
	// Priority decides what is sent first of what waits.
	Priority outbox.Priority
	// Properties are carried with MQTT 5.
	Properties Properties
}

// A Result tells what becomes of a message.
type Result struct {
	receipt *engine.Receipt // nil if the message went around the queue
	done    chan struct{}
	err     error
}

// Done is closed when AWS IoT has acknowledged the message, or when it never will; with QoS 0, when it was sent.
func (r *Result) Done() <-chan struct{} {
	if r.receipt != nil {
		return r.receipt.Done()
	}
	return r.done
}

// Err is nil before Done is closed, and when all went well. Otherwise it is the refusal, a [fairlead.PlatformError] or [ErrHungUp]; or it
// wraps ErrFull or ErrExpired of package fairlead: the message was dropped while it waited; or ErrUnavailable: nobody kept it, and the
// connection was lost.
func (r *Result) Err() error {
	if r.receipt != nil {
		err := r.receipt.Err()
		if errors.Is(err, fairlead.ErrFull) { // the engine says that it was dropped, and not by whom
			return fmt.Errorf("%w: %w", ErrQueueFull, err)
		}
		return err
	}
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Wait waits for Done, and returns Err; or the context's cause, and the message stays on its way.
func (r *Result) Wait(ctx context.Context) error {
	select {
	case <-r.Done():
		return r.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Publish publishes a message and waits until AWS IoT has it; with QoS 0, until it is sent. When there is no connection it waits for one:
// the message is in the outbox, or the offline queue, and when ctx ends first Publish returns [ErrQueued], and the message is sent later.
// A refusal is a [fairlead.PlatformError], or [ErrHungUp]. The slice must not change before Publish returns.
//
// Errors of the message itself wrap fairlead.ErrInvalid or ErrTooLarge. When it was not accepted they wrap [ErrQueueFull] or
// [ErrQueueDisabled], or are those of [outbox.Outbox.Append].
func (c *Client) Publish(ctx context.Context, topic string, qos QoS, payload []byte, opts *PublishOptions) error {
	ctx, cancel := c.operation(ctx)
	defer cancel()
	m, err := newOutgoing(topic, qos, payload, opts, c.cfg.Protocol)
	if err != nil {
		return fmt.Errorf("publish to %.200q: %w", topic, err)
	}
	e := c.current()
	if m.noQueue || !c.keeps() {
		if !e.Connected() && !c.waits(m) {
			return fmt.Errorf("publish to %.200q: %w", topic, ErrQueueDisabled)
		}
		p := m.packet()
		p.Payload = slices.Clone(p.Payload) // it may be sent after ctx has ended
		return e.Publish(ctx, p)
	}
	r, err := c.accept(ctx, e, m)
	if err != nil {
		return fmt.Errorf("publish to %.200q: %w", topic, err)
	}
	if err = r.Wait(ctx); err != nil && ctx.Err() != nil {
		if r.receipt == nil {
			return fmt.Errorf("publish to %.200q: %w: no acknowledgement: %w", topic, fairlead.ErrUnavailable, err)
		}
		return fmt.Errorf("publish to %.200q: %w: %w", topic, ErrQueued, err)
	}
	if err != nil {
		return fmt.Errorf("publish to %.200q: %w", topic, err)
	}
	return nil
}

// PublishAsync publishes a message and returns when it was accepted: with an outbox, when it would survive a power cut. The result tells
// when AWS IoT has it. ctx is for accepting it only. Errors are those of [Client.Publish].
func (c *Client) PublishAsync(ctx context.Context, topic string, qos QoS, payload []byte, opts *PublishOptions) (*Result, error) {
	m, err := newOutgoing(topic, qos, payload, opts, c.cfg.Protocol)
	if err != nil {
		return nil, fmt.Errorf("publish to %.200q: %w", topic, err)
	}
	r, err := c.accept(ctx, c.current(), m)
	if err != nil {
		return nil, fmt.Errorf("publish to %.200q: %w", topic, err)
	}
	return r, nil
}

// Enqueue puts a message into the outbox or the offline queue, and returns when it is there. Nobody is told when AWS IoT has it, which
// saves the memory of a [Result]. Errors are those of [Client.Publish].
func (c *Client) Enqueue(ctx context.Context, topic string, qos QoS, payload []byte, opts *PublishOptions) error {
	m, err := newOutgoing(topic, qos, payload, opts, c.cfg.Protocol)
	switch {
	case err != nil:
	case c.cfg.Outbox != nil:
		_, err = c.cfg.Outbox.Append(ctx, m.entry())
	case c.queue != nil:
		_, err = c.queue.put(ctx, c.current(), m.entry())
	default:
		err = ErrQueueDisabled
	}
	if err != nil {
		return fmt.Errorf("publish to %.200q: %w", topic, err)
	}
	return nil
}

// keeps tells whether messages are kept without a connection.
func (c *Client) keeps() bool { return c.cfg.Outbox != nil || c.queue != nil }

// waits tells whether publishing without a connection waits for one, when nothing keeps the message.
func (c *Client) waits(m *outgoing) bool {
	return !m.noQueue && !c.keeps() && c.cfg.OfflineQueue.Drop == WaitForRoom
}

// accept hands a message to the connection, or to the queue.
func (c *Client) accept(ctx context.Context, e *engine.Engine, m *outgoing) (*Result, error) {
	direct := m.noQueue || !c.keeps()
	if direct || m.qos == AtMostOnce && e.Connected() && c.empty() {
		r := &Result{done: make(chan struct{})}
		if c.waits(m) {
			if err := e.Await(ctx); err != nil {
				return nil, err
			}
		}
		p := m.packet()
		p.Payload = slices.Clone(p.Payload)
		err := e.Send(ctx, p, func(err error) {
			r.err = err
			close(r.done)
		})
		switch {
		case err == nil:
			return r, nil
		case direct && ctx.Err() == nil && (errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, fairlead.ErrClosed)):
			return nil, ErrQueueDisabled
		case direct || !errors.Is(err, fairlead.ErrUnavailable):
			return nil, err
		}
	}
	var receipt *engine.Receipt
	var err error
	if c.queue != nil {
		receipt, err = c.queue.put(ctx, e, m.entry())
	} else {
		receipt, err = e.Append(ctx, m.entry())
	}
	if err != nil {
		return nil, err
	}
	return &Result{receipt: receipt}, nil
}

// empty tells whether nothing waits that a message with QoS 0 would overtake.
func (c *Client) empty() bool {
	if c.queue != nil {
		return c.queue.box.Stats().Messages == 0
	}
	return c.cfg.Outbox.Stats().Messages == 0
}

// Flush waits until AWS IoT has everything that was accepted before, or ctx ends. Programs that send something and end call it before
// they end the context of Run.
func (c *Client) Flush(ctx context.Context) error {
	box := c.cfg.Outbox
	if c.queue != nil {
		box = c.queue.box
	}
	if box == nil {
		return nil
	}
	if err := box.Drained(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// outgoing is a message on its way out.
type outgoing struct {
	topic      string
	qos        QoS
	payload    []byte
	retain     bool
	noQueue    bool
	lifetime   time.Duration
	priority   outbox.Priority
	properties *mqtt.MessageProperties
}

func newOutgoing(topic string, qos QoS, payload []byte, opts *PublishOptions, p Protocol) (*outgoing, error) {
	m := &outgoing{topic: topic, qos: qos, payload: payload}
	if opts != nil {
		m.retain, m.noQueue, m.lifetime, m.priority = opts.Retain, opts.NoQueue, opts.Lifetime, opts.Priority
		if p != MQTT5 && !opts.Properties.isZero() {
			return nil, fmt.Errorf("%w: only MQTT 5 carries properties", fairlead.ErrInvalid)
		}
		if err := opts.Properties.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", fairlead.ErrInvalid, err)
		}
		m.properties = opts.Properties.encode()
	}
	err := checkTopic(topic)
	if err == nil {
		err = checkQoS(qos)
	}
	if err == nil && m.lifetime < 0 {
		err = fmt.Errorf("lifetime %v is negative", m.lifetime)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fairlead.ErrInvalid, err)
	}
	if n := len(payload); n > maxPayloadBytes {
		return nil, fmt.Errorf("%w: the payload has %d bytes, AWS IoT takes %d", fairlead.ErrTooLarge, n, maxPayloadBytes)
	}
	return m, nil
}

// packet is for messages that go around the queue.
func (m *outgoing) packet() mqtt.Publish {
	p := mqtt.Publish{Topic: []byte(m.topic), Payload: m.payload, QoS: byte(m.qos), Retain: m.retain, Properties: m.properties}
	if m.lifetime > 0 {
		p.MessageExpiry = mqtt.Some(uint32(min(max(1, math.Ceil(m.lifetime.Seconds())), math.MaxUint32)))
	}
	return p
}

// entryVersion is the first byte of headers in an outbox. Messages outlive the program that has written them.
const entryVersion = 1

// Bits of the second byte.
const (
	entryQoS1   = 1 << 0
	entryRetain = 1 << 1
)

// entry is for the outbox. What it has in its header is: version, flags, length of the topic, topic, properties.
func (m *outgoing) entry() outbox.Message {
	h := []byte{entryVersion, 0}
	if m.qos == AtLeastOnce {
		h[1] |= entryQoS1
	}
	if m.retain {
		h[1] |= entryRetain
	}
	h = binary.AppendUvarint(h, uint64(len(m.topic)))
	h = append(h, m.topic...)
	if m.properties != nil {
		h = m.properties.Append(h)
	}
	return outbox.Message{Header: h, Payload: m.payload, Lifetime: m.lifetime, Priority: m.priority}
}

var errForeign = fmt.Errorf("%w: the message was not written by this package", fairlead.ErrInvalid)

func parseEntry(header []byte) (*outgoing, error) {
	if len(header) < 3 || header[0] != entryVersion || header[1]&^(entryQoS1|entryRetain) != 0 {
		return nil, errForeign
	}
	m := &outgoing{qos: QoS(header[1] & entryQoS1), retain: header[1]&entryRetain != 0}
	n, k := binary.Uvarint(header[2:])
	rest := header[2+max(k, 0):]
	if k <= 0 || n > uint64(len(rest)) {
		return nil, errForeign
	}
	m.topic = string(rest[:n])
	if err := checkTopic(m.topic); err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	var err error
	if m.properties, err = mqtt.DecodeMessageProperties(rest[n:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	}
	return m, nil
}

// decodeEntry makes a packet of a message of the outbox.
func (c *Client) decodeEntry(entry *outbox.Entry) (mqtt.Publish, error) {
	if c.queue != nil {
		c.queue.sending(entry.ID)
	}
	m, err := parseEntry(entry.Header)
	if err == nil && len(entry.Payload) > maxPayloadBytes {
		err = fmt.Errorf("%w: %d bytes", fairlead.ErrTooLarge, len(entry.Payload))
	}
	if err != nil {
		return mqtt.Publish{}, err
	}
	if c.cfg.Protocol != MQTT5 {
		m.properties = nil // put there by a program that spoke MQTT 5
	}
	m.payload = entry.Payload
	return m.packet(), nil
}

// undeliverable is told of messages that were deleted.
func (c *Client) undeliverable(entry *outbox.Entry, err error) {
	if c.cfg.OnUndeliverable == nil {
		return
	}
	m := &Message{Payload: entry.Payload}
	if out, e := parseEntry(entry.Header); e == nil {
		m.Topic, m.QoS, m.Retain, m.Properties = out.topic, out.qos, out.retain, decodeProperties(out.properties)
	}
	c.cfg.OnUndeliverable(m, err)
}
