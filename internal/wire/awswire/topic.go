package awswire

import "strings"

// A Service is one of those that have reserved topics.
type Service uint8

// The services. ServiceNone is the zero value, that of what is no topic of these.
const (
	ServiceNone         Service = iota
	ServiceShadow               // $aws/things/THING/shadow/...
	ServiceJobs                 // $aws/things/THING/jobs/...
	ServiceCertificates         // $aws/certificates/create/FORMAT, $aws/certificates/create-from-csr/FORMAT
	ServiceProvisioning         // $aws/provisioning-templates/TEMPLATE/provision/FORMAT
)

// An Op is what a request asks for, or what a notification tells. Its text is the word in the topic.
type Op string

// The operations of the services.
const (
	OpGet           Op = "get"             // a shadow; with a job id, a job execution, else those that are pending
	OpUpdate        Op = "update"          // a shadow, a job execution
	OpDelete        Op = "delete"          // a shadow
	OpStartNext     Op = "start-next"      // a job execution
	OpNotify        Op = "notify"          // the list of pending job executions has changed; never a request
	OpNotifyNext    Op = "notify-next"     // the next job execution is another one; never a request
	OpCreate        Op = "create"          // a certificate and its keys
	OpCreateFromCSR Op = "create-from-csr" // a certificate
	OpProvision     Op = "provision"       // a thing
)

// A Reply is the last word of a topic that answers a request or tells of a change.
type Reply string

// The replies. The zero value is the request itself, or a notification of jobs.
const (
	Request   Reply = ""
	Accepted  Reply = "accepted"
	Rejected  Reply = "rejected"
	Delta     Reply = "delta"     // of [OpUpdate] of a shadow
	Documents Reply = "documents" // likewise
)

// The formats of the bodies of certificate and provisioning requests.
const (
	FormatJSON = "json"
	FormatCBOR = "cbor"
)

// NextJob stands for the id of the next pending job in topics and requests.
const NextJob = "$next"

// A Topic is a reserved topic, taken apart (AWS IoT Core Developer Guide, "Reserved topics", read 2026-11). Fields that
// the service has no use for are empty.
type Topic struct {
	Service  Service
	Thing    string
	Shadow   string // the shadow's name; "": the classic one
	Job      string // a job's id or [NextJob]
	Template string // the provisioning template's name
	Format   string // [FormatJSON] or [FormatCBOR]
	Op       Op     // "": below the service's prefix, but none of its topics
	Reply    Reply
}

const (
	thingsPrefix       = "$aws/things/"
	certificatesPrefix = "$aws/certificates/"
	templatesPrefix    = "$aws/provisioning-templates/"
)

// ParseTopic takes a topic apart. ok is false for what belongs to none of the services. What is below the prefix of a
// service and a thing, but is no topic of the service, has no Op: the jobs service rejects such requests by name.
func ParseTopic(topic string) (t Topic, ok bool) {
	switch {
	case strings.HasPrefix(topic, thingsPrefix):
		thing, rest, _ := strings.Cut(topic[len(thingsPrefix):], "/")
		if !ValidThingName(thing) {
			return Topic{}, false
		}
		service, rest, _ := strings.Cut(rest, "/")
		switch service {
		case "shadow":
			return parseShadowTopic(thing, rest), true
		case "jobs":
			return parseJobsTopic(thing, rest), true
		}
	case strings.HasPrefix(topic, certificatesPrefix):
		op, rest, _ := strings.Cut(topic[len(certificatesPrefix):], "/")
		t = Topic{Service: ServiceCertificates, Op: Op(op)}
		return t, (t.Op == OpCreate || t.Op == OpCreateFromCSR) && t.parseFormat(rest)
	case strings.HasPrefix(topic, templatesPrefix):
		name, rest, _ := strings.Cut(topic[len(templatesPrefix):], "/")
		op, rest, _ := strings.Cut(rest, "/")
		t = Topic{Service: ServiceProvisioning, Template: name, Op: Op(op)}
		return t, t.Op == OpProvision && ValidTemplateName(name) && t.parseFormat(rest)
	}
	return Topic{}, false
}

// parseFormat reads FORMAT or FORMAT/REPLY.
func (t *Topic) parseFormat(s string) bool {
	format, reply, found := strings.Cut(s, "/")
	t.Format, t.Reply = format, Reply(reply)
	return (format == FormatJSON || format == FormatCBOR) && found == (reply != "") && t.plainReply()
}

// plainReply reports whether the reply is one that every request has.
func (t *Topic) plainReply() bool {
	return t.Reply == Request || t.Reply == Accepted || t.Reply == Rejected
}

func parseShadowTopic(thing, s string) Topic {
	none := Topic{Service: ServiceShadow, Thing: thing}
	t := none
	if after, ok := strings.CutPrefix(s, "name/"); ok {
		t.Shadow, s, _ = strings.Cut(after, "/")
		if !ValidShadowName(t.Shadow) {
			return none
		}
		none.Shadow = t.Shadow
	}
	op, reply, found := strings.Cut(s, "/")
	t.Op, t.Reply = Op(op), Reply(reply)
	if found && reply == "" {
		return none
	}
	switch {
	case t.Op == OpUpdate && (t.Reply == Delta || t.Reply == Documents):
	case t.Op != OpGet && t.Op != OpUpdate && t.Op != OpDelete, !t.plainReply():
		return none
	}
	return t
}

// parseJobsTopic looks for requests without a job id first: a job whose id is "get" must not hide them.
func parseJobsTopic(thing, s string) Topic {
	none := Topic{Service: ServiceJobs, Thing: thing}
	parts := strings.Split(s, "/")
	t := none
	switch {
	case len(parts) == 1 && (parts[0] == string(OpNotify) || parts[0] == string(OpNotifyNext)):
		t.Op = Op(parts[0])
		return t
	case len(parts) <= 2 && (parts[0] == string(OpGet) || parts[0] == string(OpStartNext)) && (len(parts) == 1 || isAnswer(parts[1])):
		t.Op, parts = Op(parts[0]), parts[1:]
	case (len(parts) == 2 || len(parts) == 3) && (parts[1] == string(OpGet) || parts[1] == string(OpUpdate)):
		t.Job, t.Op, parts = parts[0], Op(parts[1]), parts[2:]
		if !ValidJobID(t.Job) && t.Job != NextJob {
			return none
		}
	default:
		return none
	}
	if len(parts) == 1 {
		if !isAnswer(parts[0]) {
			return none
		}
		t.Reply = Reply(parts[0])
	}
	return t
}

func isAnswer(s string) bool { return s == string(Accepted) || s == string(Rejected) }

// String returns the topic's text, "" if it has no Op.
func (t Topic) String() string {
	if t.Op == "" {
		return ""
	}
	var b strings.Builder
	switch t.Service {
	case ServiceShadow:
		b.WriteString(ShadowPrefix(t.Thing, t.Shadow))
	case ServiceJobs:
		b.WriteString(JobsPrefix(t.Thing))
		if t.Job != "" {
			b.WriteString("/" + t.Job)
		}
	case ServiceCertificates:
		b.WriteString(strings.TrimSuffix(certificatesPrefix, "/"))
	case ServiceProvisioning:
		b.WriteString(templatesPrefix + t.Template)
	default:
		return ""
	}
	b.WriteString("/" + string(t.Op))
	if t.Format != "" {
		b.WriteString("/" + t.Format)
	}
	if t.Reply != Request {
		b.WriteString("/" + string(t.Reply))
	}
	return b.String()
}

// With returns the topic of another reply to the same request.
func (t Topic) With(r Reply) Topic {
	t.Reply = r
	return t
}

// IsRequest reports whether clients send to the topic.
func (t Topic) IsRequest() bool {
	return t.Op != "" && t.Op != OpNotify && t.Op != OpNotifyNext && t.Reply == Request
}

// ShadowPrefix returns what all topics of a shadow begin with, without a slash at the end. The classic shadow's name is
// empty.
func ShadowPrefix(thing, shadow string) string {
	if shadow == "" {
		return thingsPrefix + thing + "/shadow"
	}
	return thingsPrefix + thing + "/shadow/name/" + shadow
}

// JobsPrefix returns what all topics of a thing's jobs begin with, without a slash at the end.
func JobsPrefix(thing string) string { return thingsPrefix + thing + "/jobs" }

// ShadowTopic returns the topic of a request to a shadow, or of its reply.
func ShadowTopic(thing, shadow string, op Op, r Reply) string {
	return Topic{Service: ServiceShadow, Thing: thing, Shadow: shadow, Op: op, Reply: r}.String()
}

// JobsTopic returns the topic of a request to the jobs service, of its reply, or of a notification. job is empty for the
// operations that name none.
func JobsTopic(thing, job string, op Op, r Reply) string {
	return Topic{Service: ServiceJobs, Thing: thing, Job: job, Op: op, Reply: r}.String()
}

// ValidThingName reports whether a thing may have the name: 1 to 128 of [a-zA-Z0-9:_-] (API reference, CreateThing).
func ValidThingName(s string) bool { return valid(s, 128, ":_-") }

// ValidShadowName reports whether a named shadow may have the name: 1 to 64 of [$a-zA-Z0-9:_-] (service model iot-data).
func ValidShadowName(s string) bool { return valid(s, 64, "$:_-") }

// ValidJobID reports whether a job may have the id: 1 to 64 of [a-zA-Z0-9_-] (API reference, CreateJob).
func ValidJobID(s string) bool { return valid(s, 64, "_-") }

// ValidTemplateName reports whether a provisioning template may have the name: 1 to 36 of [0-9A-Za-z_-] (API reference,
// CreateProvisioningTemplate).
func ValidTemplateName(s string) bool { return valid(s, 36, "_-") }

func valid(s string, most int, others string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}
