package mqttclient

import (
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Message is a message from the server. It owns its memory.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Dup     bool // the server may have sent it before

	// Version 5 only.
	MessageExpiry   mqtt.Optional[uint32] // seconds
	SubscriptionIDs []uint32
	Properties      *mqtt.MessageProperties // nil if there are none

	s  *Session
	in *inbound // nil with QoS 0
}

// Ack tells the server that the message has arrived for good. It may be called from any goroutine, in any order, and later than on
// the connection on which the message came: then it counts if the server still waits for it. Only the first call does something.
// Acknowledgements are sent in the order in which the messages came [MQTT-4.6.0-2], so one that is not given holds up the later ones.
func (m *Message) Ack() {
	if m.in == nil {
		return
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.in.acked = true
	m.s.flushAcks()
}

// inbound is a message with QoS 1 or 2 until its exchange has ended.
type inbound struct {
	id     uint16
	qos    byte
	acked  bool // by the application
	queued bool // in the order of this connection
}

// incoming is what has come and whose exchange has not ended.
type incoming struct {
	byID  map[uint16]*inbound
	order []*inbound // not answered on this connection
}

func (i *incoming) init() { *i = incoming{byID: map[uint16]*inbound{}} }

// reconnect forgets what the server sends again anyway. What has QoS 2 stays, so as not to be handed out twice.
func (i *incoming) reconnect() {
	for _, in := range i.order {
		in.queued = false
	}
	i.order = nil
	for id, in := range i.byID {
		if in.qos == 1 {
			delete(i.byID, id)
		}
	}
}

// flushAcks sends the answers that are due. It is called with mu held.
func (s *Session) flushAcks() {
	n := 0
	for n < len(s.in.order) && s.in.order[n].acked && s.conn != nil {
		in := s.in.order[n]
		in.queued = false
		if in.qos == 1 {
			delete(s.in.byID, in.id)
			s.conn.ack(mqtt.TypePubAck, in.id, 0)
		} else {
			s.conn.ack(mqtt.TypePubRec, in.id, 0)
		}
		n++
	}
	if n == 0 {
		return
	}
	if s.in.order = s.in.order[n:]; len(s.in.order) == 0 {
		s.in.order = nil
	}
	s.conn.wakeWriter()
}

// received notes a PUBLISH, and returns the message to hand out; nil if it was handed out before.
func (s *Session) received(c *conn, p *mqtt.Publish) (*Message, error) {
	if err := c.aliases.Resolve(p); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var in *inbound
	if p.QoS > 0 {
		in = s.in.byID[p.ID]
		if in != nil && in.qos == p.QoS {
			s.stats.Duplicates++
			if !in.queued { // on an earlier connection, or PUBREC got lost in the server
				in.queued = true
				s.in.order = append(s.in.order, in)
				s.flushAcks()
			}
			return nil, nil
		}
		// More than our receive maximum is not counted as a violation: mosquitto 2.0.11 sends up to 127 with QoS 2 where 100 are allowed
		// (observed, under load). There are 65,535 identifiers, so memory is bounded by those and by what Receive lets wait.
		in = &inbound{id: p.ID, qos: p.QoS, queued: true}
		s.in.byID[p.ID] = in
		s.in.order = append(s.in.order, in)
	}
	s.stats.Received++
	return &Message{
		Topic: string(p.Topic), Payload: append([]byte(nil), p.Payload...), QoS: p.QoS, Retain: p.Retain, Dup: p.Dup,
		MessageExpiry: p.MessageExpiry, SubscriptionIDs: p.SubscriptionIDs, Properties: p.Properties, s: s, in: in,
	}, nil
}

// pubRel answers a PUBREL, also one for a message that we know nothing of: the server must come to its end.
func (s *Session) pubRel(c *conn, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var code mqtt.ReasonCode
	if in := s.in.byID[id]; in != nil && in.qos == 2 {
		delete(s.in.byID, id)
	} else {
		code = mqtt.ReasonPacketIDNotFound
	}
	c.ack(mqtt.TypePubComp, id, code)
	c.wakeWriter()
}
