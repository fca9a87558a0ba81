package awsiot

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// QoS is a quality of service. AWS IoT knows no third one.
type QoS uint8

// The qualities of service.
const (
	AtMostOnce  QoS = 0 // sent once; may get lost
	AtLeastOnce QoS = 1 // sent until it is acknowledged; may arrive twice
)

// A Message is one that has come. Whoever receives it owns it.
type Message struct {
	Topic   string
	Payload []byte
	QoS     QoS
	Retain  bool // it was kept by AWS IoT, and came because of the subscription
	Dup     bool // it may have come before

	// With MQTT 5 only.
	Expiry     time.Duration // how long it is still worth something; 0: for ever
	Properties Properties

	ack *acknowledgement // nil if there is nothing to acknowledge
}

// Hold puts off the acknowledgement of the message: until the function that it returns is called, once for each call of Hold, and the
// callbacks have returned. Call it in a callback, and the function from anywhere, for example when what the message has asked for is done
// and stored. AWS IoT sends a message that was not acknowledged again on the next connection of the session; and while one is not, those
// behind it are not either, and after 100 of them no others with QoS 1 come.
func (m *Message) Hold() (ack func()) {
	if m.ack == nil {
		return func() {}
	}
	m.ack.waits.Add(1)
	return sync.OnceFunc(m.ack.release)
}

// acknowledgement is given when nobody holds it any more.
type acknowledgement struct {
	waits atomic.Int64
	give  func()
}

func (a *acknowledgement) release() {
	if a.waits.Add(-1) == 0 {
		a.give()
	}
}

// Properties are what MQTT 5 carries with a message.
type Properties struct {
	ContentType     string
	ResponseTopic   string // where an answer is wanted
	CorrelationData []byte // what an answer is to carry
	UTF8            bool   // the payload is UTF-8
	User            []UserProperty
}

// UserProperty is a property of the application's own. Names may repeat, and order is kept.
type UserProperty struct{ Key, Value string }

func (p *Properties) isZero() bool {
	return p.ContentType == "" && p.ResponseTopic == "" && p.CorrelationData == nil && !p.UTF8 && p.User == nil
}

func (p *Properties) check() error {
	texts := []string{p.ContentType, p.ResponseTopic}
	for _, u := range p.User {
		texts = append(texts, u.Key, u.Value)
	}
	for _, s := range texts {
		if len(s) > mqtt.MaxStringBytes || !validText(s) {
			return fmt.Errorf("property %.80q is longer than %d bytes, or not UTF-8", s, mqtt.MaxStringBytes)
		}
	}
	if len(p.CorrelationData) > mqtt.MaxStringBytes {
		return fmt.Errorf("correlation data of %d bytes, MQTT can carry %d", len(p.CorrelationData), mqtt.MaxStringBytes)
	}
	if p.ResponseTopic != "" {
		if err := topic.Validate(p.ResponseTopic); err != nil {
			return fmt.Errorf("response topic %.200q: %w", p.ResponseTopic, err)
		}
	}
	return nil
}

// encode returns nil if there are none.
func (p *Properties) encode() *mqtt.MessageProperties {
	if p.isZero() {
		return nil
	}
	m := &mqtt.MessageProperties{ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData}
	if p.ContentType != "" {
		m.ContentType = mqtt.Some(p.ContentType)
	}
	if p.UTF8 {
		m.PayloadFormat = mqtt.Some(byte(mqtt.PayloadUTF8))
	}
	for _, u := range p.User {
		m.User = append(m.User, mqtt.UserProperty(u))
	}
	return m
}

func decodeProperties(m *mqtt.MessageProperties) (p Properties) {
	if m == nil {
		return p
	}
	p = Properties{
		ContentType: m.ContentType.Value, ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData, UTF8: m.PayloadFormat.Value == mqtt.PayloadUTF8,
	}
	for _, u := range m.User {
		p.User = append(p.User, UserProperty(u))
	}
	return p
}

func newMessage(m *mqttclient.Message) *Message {
	ack := &acknowledgement{give: m.Ack}
	ack.waits.Add(1) // for the callbacks
	return &Message{
		ack:   ack,
		Topic: m.Topic, Payload: m.Payload, QoS: QoS(m.QoS), Retain: m.Retain, Dup: m.Dup,
		Expiry: time.Duration(m.MessageExpiry.Value) * time.Second, Properties: decodeProperties(m.Properties),
	}
}

// AWS IoT ends the connection of whoever exceeds these ("AWS IoT Core message broker and protocol limits", read 2026-11). What waits in
// an outbox would do so again and again; so it is refused before.
const (
	maxPayloadBytes = 128 << 10
	maxTopicBytes   = 256
	maxSlashes      = 7
)

// checkTopic reports why nothing can be published to a topic.
func checkTopic(name string) error {
	if err := topic.Validate(name); err != nil {
		return fmt.Errorf("topic %.200q: %w", name, err)
	}
	counted := name
	if rest, ok := strings.CutPrefix(name, "$aws/rules/"); ok { // basic ingest: the rule's name does not count
		_, counted, _ = strings.Cut(rest, "/")
	}
	return checkSize("topic", counted)
}

// checkFilter reports why nobody can subscribe to a filter.
func checkFilter(filter string) error {
	if err := topic.ValidateFilter(filter); err != nil {
		return fmt.Errorf("filter %.200q: %w", filter, err)
	}
	counted := filter
	if topic.IsShared(filter) {
		_, rest, err := topic.SplitShared(filter)
		if err != nil {
			return fmt.Errorf("filter %.200q: %w", filter, err)
		}
		counted = rest
	}
	return checkSize("filter", counted)
}

func checkSize(what, s string) error {
	if n := len(s); n > maxTopicBytes {
		return fmt.Errorf("%s %.80q has %d bytes, AWS IoT takes %d", what, s, n, maxTopicBytes)
	}
	if n := strings.Count(s, "/"); n > maxSlashes {
		return fmt.Errorf("%s %.80q has %d slashes, AWS IoT takes %d", what, s, n, maxSlashes)
	}
	return nil
}

func checkQoS(qos QoS) error {
	if qos > AtLeastOnce {
		return errors.New("AWS IoT knows QoS 0 and 1")
	}
	return nil
}

// validText tells whether MQTT can carry a text.
func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
