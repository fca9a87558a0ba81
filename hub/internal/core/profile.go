package core

import "time"

// A Profile says how much of MQTT a platform offers on a connection. The zero Profile is all of it.
type Profile struct {
	// Versions are the protocol levels that are served: 3, 4, 5. nil: all.
	Versions []uint8
	QoS      QoSLimit
	// NoWildcards, NoShared and NoSubscriptionIDs take out parts of what subscriptions can be.
	NoWildcards, NoShared, NoSubscriptionIDs bool
	// CloseOnForbidden has the connection closed when a client publishes what the grant or the dialect refuses. Otherwise
	// an MQTT 5 client is told in the acknowledgement, and for older ones, whose acknowledgement cannot say so, the
	// message is dropped as if it had been taken. (MQTT 3.1.1 section 3.3.5 allows these two.)
	CloseOnForbidden bool
	// CloseOnUntold does the same, but not to an MQTT 5 client that can be told in an acknowledgement: at QoS 1 it is.
	CloseOnUntold bool
	// RefuseUnoffered refuses a subscription that asks for more than there is, a higher QoS or a subscription identifier, in
	// the place of granting less: an MQTT 5 client's connection is closed, older ones are told that it failed.
	RefuseUnoffered bool
	// RetainedExact sends retained messages to those only who subscribe to their very topic, without a wildcard.
	RetainedExact bool
	// SeparateSessions keeps clients of MQTT 5 from going on with a session that an older version has made, and the other way
	// round: they begin a new one.
	SeparateSessions bool
	// HidesReach keeps from clients which subscriptions there are: MQTT 5 acknowledgements say "success" and not "no matching
	// subscribers" or "no subscription existed".
	HidesReach bool
	// LongestMessage is the most seconds for which a message with an expiry interval is kept; with it, the least is one. 0: any.
	LongestMessage uint32
	// LongClientIDs lets MQTT 3.1 clients have client ids of more than 23 characters, as later versions do.
	LongClientIDs bool
	// ResponseInformation is what an MQTT 5 client is told that asks for it: by convention a part of the topic tree that
	// it may use for response topics.
	ResponseInformation string
}

// Matching says how a platform's topic filters match where that is not as MQTT says. The zero Matching is MQTT's.
type Matching struct {
	// BelowOnly: "a/#" matches "a/" and "a/b", but not "a". (MQTT 5.0 section 4.7.1.2 has it match that too.)
	BelowOnly bool
}

// Serves reports whether the profile has a protocol level.
func (p *Profile) Serves(version uint8) bool {
	for _, v := range p.Versions {
		if v == version {
			return true
		}
	}
	return p.Versions == nil
}

// MessageExpiry returns how many seconds a message lasts for which a client asks for so many.
func (p *Profile) MessageExpiry(asked uint32) uint32 {
	if p.LongestMessage == 0 {
		return asked
	}
	return min(max(asked, 1), p.LongestMessage)
}

// QoSLimit is the highest quality of service that a platform offers. The zero value is all that there are.
type QoSLimit uint8

// The limits.
const (
	AnyQoS QoSLimit = iota
	OnlyQoS0
	UpToQoS1
)

// Most returns the highest QoS within the limit.
func (l QoSLimit) Most() byte {
	switch l {
	case OnlyQoS0:
		return 0
	case UpToQoS1:
		return 1
	}
	return 2
}

// Forever is the expiry of a session that stays until it is ended, see [Session]. (MQTT 5 writes it 0xFFFFFFFF.)
const Forever = time.Duration(1<<63 - 1)

// An AnswerError is an error that says itself what the client is told. Dialects return it where the kind of an error alone
// would not give their platform's answer: from sign-in, and from a Link that does not take a message.
type AnswerError struct {
	Code uint8 // MQTT 5 reason code, 0x80 or above; 0: what belongs to Kind
	// ReturnCode is that of CONNACK for clients of MQTT 3.1 and 3.1.1; 0: what belongs to Code or Kind.
	ReturnCode uint8
	// Text is for people, who may be strangers: it names nothing that they must not know. "": none.
	Text string
	// Server is where the client shall go instead, with the codes 0x9C (use another server) and 0x9D (server moved).
	Server string
	// Silent has the connection closed without any answer, as platforms do that look at certificates in the handshake.
	Silent bool
	Kind   error // one of Kinds, or nil
}

// Error returns the text.
func (r *AnswerError) Error() string {
	switch {
	case r.Text != "":
		return r.Text
	case r.Kind != nil:
		return r.Kind.Error()
	}
	return "refused"
}

// Unwrap returns the kind.
func (r *AnswerError) Unwrap() error { return r.Kind }
