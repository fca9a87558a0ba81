package awsiot

import "strings"

// A kind says what a reserved topic is for.
type kind uint8

// The kinds of reserved topics, those that a service can take first.
const (
	kindShadow       kind = iota // $aws/things/THING/shadow/...
	kindJobs                     // $aws/things/THING/jobs/...
	kindCertificates             // $aws/certificates/...
	kindTemplates                // $aws/provisioning-templates/TEMPLATE/provision/FORMAT...
	kindRules                    // $aws/rules/RULE/TOPIC: basic ingest
	kindDefender                 // $aws/things/THING/defender/metrics/FORMAT...
	kindStreams                  // $aws/things/THING/streams/ID/...
	kindTunnels                  // $aws/things/THING/tunnels/notify
	kindEvents                   // $aws/events/...
	kindOther                    // anything else that begins with $
	kinds
)

// A reserved topic, taken apart. Fields that its kind has not are empty.
type reserved struct {
	kind kind
	// thing is that of the topic. Nobody has looked whether there is one.
	thing string
	// shadow is the name of the shadow; "": the classic one.
	shadow string
	job    string // "$next" where the topic has it
	// name is that of the template, the rule or the stream.
	name string
	// op is what is asked for: "get", "update", "delete" (shadow); "get", "start-next", "update" (jobs); "create",
	// "create-from-csr" (certificates); "provision" (templates); "get", "describe" (streams); "metrics" (defender).
	op     string
	format string // "json" or "cbor", of certificates, templates, streams and defender
	rest   string // of basic ingest: the topic that the rule sees; of jobs: what follows jobs/ in a topic that is none
	// publishable reports whether clients may publish to it. What they may not is what the hub says: "accepted" and the like.
	publishable bool
}

// reservedPrefix is what all topics of the platform begin with.
const reservedPrefix = "$aws/"

// parseReserved takes a topic that begins with "$" apart. It never fails: what it does not know is kindOther. (AWS IoT guide,
// "Reserved topics".)
func parseReserved(topic string) reserved {
	rest, ok := strings.CutPrefix(topic, reservedPrefix)
	if !ok {
		return reserved{kind: kindOther}
	}
	area, rest, _ := strings.Cut(rest, "/")
	switch area {
	case "things":
		return parseThingTopic(rest)
	case "rules":
		r := reserved{kind: kindRules}
		r.name, r.rest, _ = strings.Cut(rest, "/")
		r.publishable = r.name != ""
		return r
	case "certificates":
		r := reserved{kind: kindCertificates}
		seg := strings.Split(rest, "/")
		if len(seg) == 2 && (seg[0] == "create" || seg[0] == "create-from-csr") && format(seg[1]) {
			r.op, r.format, r.publishable = seg[0], seg[1], true
		}
		return r
	case "provisioning-templates":
		r := reserved{kind: kindTemplates}
		seg := strings.Split(rest, "/")
		if r.name = seg[0]; len(seg) == 3 && r.name != "" && seg[1] == "provision" && format(seg[2]) {
			r.op, r.format, r.publishable = seg[1], seg[2], true
		}
		return r
	case "events":
		return reserved{kind: kindEvents}
	}
	return reserved{kind: kindOther}
}

// parseThingTopic takes apart what follows "$aws/things/".
func parseThingTopic(rest string) reserved {
	thing, rest, _ := strings.Cut(rest, "/")
	area, rest, _ := strings.Cut(rest, "/")
	r := reserved{kind: kindOther, thing: thing}
	seg := strings.Split(rest, "/")
	switch area {
	case "shadow":
		r.kind = kindShadow
		if seg[0] == "name" && len(seg) > 1 {
			r.shadow, seg = seg[1], seg[2:]
			r.publishable = r.shadow != ""
		} else {
			r.publishable = true
		}
		if len(seg) == 1 && oneOf(seg[0], "get", "update", "delete") {
			r.op = seg[0]
		}
	case "jobs":
		r.kind, r.publishable = kindJobs, true
		switch {
		case len(seg) == 1 && oneOf(seg[0], "get", "start-next"):
			r.op = seg[0]
		case len(seg) == 2 && oneOf(seg[1], "get", "update") && seg[0] != "":
			r.job, r.op = seg[0], seg[1]
		case !oneOf(seg[len(seg)-1], "accepted", "rejected", "notify", "notify-next"):
			r.op, r.rest = opInvalid, rest // answered as such
		}
	case "defender":
		r.kind = kindDefender
		if len(seg) == 2 && seg[0] == "metrics" && format(seg[1]) {
			r.op, r.format, r.publishable = seg[0], seg[1], true
		}
	case "streams":
		r.kind = kindStreams
		if len(seg) == 3 && oneOf(seg[1], "get", "describe") && format(seg[2]) {
			r.name, r.op, r.format, r.publishable = seg[0], seg[1], seg[2], seg[0] != ""
		}
	case "tunnels":
		r.kind = kindTunnels
	}
	r.publishable = r.publishable && r.op != "" && thing != ""
	return r
}

func format(s string) bool { return s == "json" || s == "cbor" }

func oneOf(s string, list ...string) bool {
	for _, x := range list {
		if s == x {
			return true
		}
	}
	return false
}
