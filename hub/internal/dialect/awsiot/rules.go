package awsiot

import (
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// Limits of topics and messages (AWS IoT Core quotas). Prefixes of basic ingest and of shared subscriptions do not count.
const (
	maxTopicBytes   = 256
	maxTopicSlashes = 7
	maxShareBytes   = 128
	maxPayloadBytes = 128 << 10
)

// Actions of policies.
const (
	actionConnect       = "iot:Connect"
	actionPublish       = "iot:Publish"
	actionRetainPublish = "iot:RetainPublish"
	actionSubscribe     = "iot:Subscribe"
	actionReceive       = "iot:Receive"
)

// rules are what a connection may do. They implement core.Rules: topics are checked against the platform's limits, and asked
// about in the policies of the connection, whose decisions are kept by topic as long as the policies stay what they are.
type rules struct {
	arn      string // of the account, up to the resource
	standing *standing
	all      bool // an access key: policies are not asked

	// papers are what the connection stands under now. Transactions replace them.
	papers atomic.Pointer[papers]
	// epoch grows with each replacement.
	epoch atomic.Uint64

	sending, receiving desk
}

// papers are the policies of a connection and what they are about. They do not change.
type papers struct {
	policies []*policySlot
	values   values
	names    []string // what they depend on, besides the principal: "thing/NAME", "thinggroup/NAME"
}

// A desk is one goroutine's place to ask policies at.
type desk struct {
	version uint64
	bound   []*policy.Bound
	known   map[string]bool // of deliveries: by topic
}

// maxKnown bounds the topics whose decisions are kept.
const maxKnown = 1024

// Version implements core.Rules.
func (r *rules) Version() uint64 { return r.standing.version.Load() + r.epoch.Load() }

// replace puts other papers in the place of those that are there.
func (r *rules) replace(p *papers) (old *papers) {
	old = r.papers.Swap(p)
	r.epoch.Add(1)
	return old
}

// at brings a desk up to date.
func (r *rules) at(k *desk) *desk {
	if v := r.Version(); k.bound == nil || k.version != v {
		p := r.papers.Load()
		k.version, k.bound = v, p.bind()
		clear(k.known)
	}
	return k
}

// bind binds the policies, as they are now, to the connection.
func (p *papers) bind() []*policy.Bound {
	bound := make([]*policy.Bound, 0, len(p.policies))
	for _, s := range p.policies {
		if doc := s.cur.Load(); doc != nil {
			bound = append(bound, doc.Bind(&p.values))
		}
	}
	return bound
}

// allows asks about an action on a resource of the account.
func (r *rules) allows(k *desk, action, resource string) bool {
	return r.all || policy.Decide(r.at(k).bound, action, r.arn+resource) == policy.Allowed
}

// badTopic ends the connection of a client that publishes to what can be no topic.
func badTopic(name, why string) error {
	return &mqtt.Error{Code: mqtt.ReasonTopicNameInvalid, Text: fmt.Sprintf("topic %.40q: %s", name, why)}
}

func badFilter(filter, why string) error {
	return &mqtt.Error{Code: mqtt.ReasonTopicFilterInvalid, Text: fmt.Sprintf("filter %.40q: %s", filter, why)}
}

// tooLong says what is too long or too deep about a topic or filter.
func tooLong(name string) string {
	switch {
	case len(name) > maxTopicBytes:
		return "more than 256 bytes"
	case strings.Count(name, "/") > maxTopicSlashes:
		return "more than 7 slashes"
	}
	return ""
}

// checkTopic checks a topic that is published to, whoever does it. What is wrong with it ends an MQTT connection.
func checkTopic(name string, retain bool) error {
	counted := name
	if strings.HasPrefix(name, "$") {
		r := parseReserved(name)
		switch {
		case !r.publishable:
			return badTopic(name, "reserved")
		case retain:
			return badTopic(name, "reserved topics retain nothing")
		case r.kind == kindRules:
			counted = r.rest
		}
	}
	if why := tooLong(counted); why != "" {
		return badTopic(name, why)
	}
	return nil
}

// Publish implements core.Rules.
func (r *rules) Publish(name string, retain bool) error {
	if err := checkTopic(name, retain); err != nil {
		return err
	}
	if !r.allows(&r.sending, actionPublish, "topic/"+name) || retain && !r.allows(&r.sending, actionRetainPublish, "topic/"+name) {
		return core.ErrDenied
	}
	return nil
}

// Subscribe implements core.Rules.
func (r *rules) Subscribe(filter string) error {
	group, inner, err := topic.SplitShared(filter)
	if err != nil {
		return badFilter(filter, "malformed")
	}
	if why := tooLong(inner); why != "" {
		return badFilter(filter, why)
	}
	if utf8.RuneCountInString(group) > maxShareBytes {
		return badFilter(filter, "name of the share of more than 128 characters")
	}
	if strings.HasPrefix(inner, "$") && (!strings.HasPrefix(inner, reservedPrefix) || strings.HasPrefix(inner, reservedPrefix+"rules/")) {
		return core.ErrDenied
	}
	if !r.allows(&r.sending, actionSubscribe, "topicfilter/"+filter) {
		return core.ErrDenied
	}
	return nil
}

// Receive implements core.Rules.
func (r *rules) Receive(name string) bool {
	if r.all {
		return true
	}
	k := r.at(&r.receiving)
	may, known := k.known[name]
	if !known {
		may = policy.Decide(k.bound, actionReceive, r.arn+"topic/"+name) == policy.Allowed
		if k.known == nil {
			k.known = make(map[string]bool, 4)
		} else if len(k.known) >= maxKnown {
			clear(k.known)
		}
		k.known[name] = may
	}
	return may
}
