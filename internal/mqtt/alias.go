package mqtt

// AliasReader holds the topic aliases that the other end of a connection has set. They live as long as the connection
// [MQTT-3.3.2-7]. The zero AliasReader allows none.
type AliasReader struct {
	max    uint16
	topics [][]byte // index is the alias less 1
}

// NewAliasReader returns a reader that takes aliases up to max, the topic alias maximum that was sent. It can come to
// hold that many topics.
func NewAliasReader(max uint16) *AliasReader { return &AliasReader{max: max} }

// Resolve puts the topic into a packet that has an alias instead, and notes the topic of one that has both. A topic that
// it puts in stays valid until the alias is set anew. The error is an *Error: the alias is over the maximum, or nothing
// is known of it.
func (r *AliasReader) Resolve(p *Publish) error {
	if p.TopicAlias == 0 {
		return nil
	}
	if p.TopicAlias > r.max {
		return violation(ReasonTopicAliasInvalid, "PUBLISH with topic alias %d, maximum is %d", p.TopicAlias, r.max)
	}
	at := int(p.TopicAlias) - 1
	if len(p.Topic) == 0 {
		if at >= len(r.topics) || r.topics[at] == nil {
			return violation(ReasonProtocolError, "PUBLISH with topic alias %d, which is not set", p.TopicAlias)
		}
		p.Topic = r.topics[at]
		return nil
	}
	for len(r.topics) <= at {
		r.topics = append(r.topics, nil)
	}
	if string(r.topics[at]) != string(p.Topic) {
		r.topics[at] = append([]byte(nil), p.Topic...) // not in place: somebody may hold the old one
	}
	return nil
}

// AliasWriter gives topic aliases to what is sent on a connection. The zero AliasWriter gives none.
type AliasWriter struct {
	max     uint16
	aliases map[string]uint16
}

// NewAliasWriter returns a writer for a receiver that takes aliases up to max [MQTT-3.1.2-26] [MQTT-3.1.2-27].
func NewAliasWriter(max uint16) *AliasWriter { return &AliasWriter{max: max} }

// Shorten gives the packet an alias, and takes the topic out if the receiver knows it by the alias already. The first
// topics get the aliases and keep them. A packet that was shortened must be sent, and in this order.
func (w *AliasWriter) Shorten(p *Publish) {
	alias, known := w.aliases[string(p.Topic)]
	if known {
		p.Topic, p.TopicAlias = nil, alias
		return
	}
	if len(w.aliases) >= int(w.max) || len(p.Topic) == 0 {
		return
	}
	if w.aliases == nil {
		w.aliases = make(map[string]uint16)
	}
	p.TopicAlias = uint16(len(w.aliases) + 1)
	w.aliases[string(p.Topic)] = p.TopicAlias
}
