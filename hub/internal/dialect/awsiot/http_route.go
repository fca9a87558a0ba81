package awsiot

import (
	_ "embed"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A plane is one of the platform's APIs, which are told apart by what requests are signed for. Where a client certificate
// speaks instead, it is one of those that devices use.
type plane uint8

const (
	control   plane = iota // service "iot"
	data                   // "iotdata", which is "iotdevicegateway" too
	jobsData               // "iot-jobs-data"
	discovery              // Greengrass, by certificate only
	provider               // of credentials, by certificate only
	planes                 // any of them but control
)

// signingNames are all that a request may be signed for.
var signingNames = []string{serviceControl, serviceData, serviceGateway, serviceJobs}

// identityNames are what a request of the Query protocol may be signed for.
var identityNames = []string{serviceIdentity}

func serviceOf(name string) plane {
	switch name {
	case serviceControl:
		return control
	case serviceJobs:
		return jobsData
	}
	return data
}

// An operation is one action of an API.
type operation struct {
	service plane
	name    string // "CreateThing"
	method  string
	path    string                   // "/things/{thingName}"; a label that ends in "+" takes the rest of the path
	do      func(*call) (any, error) // nil: this hub does not have it
	// action and resource are what a client certificate's policies must allow; the name of the resource is without its ARN's
	// beginning. "": no certificate may.
	action   string
	resource func(*call) string
}

// operations is everything there is.
func operations() []operation {
	all := slices.Concat(
		controlOperations(), dataOperations(), jobsDataOperations(), discoveryOperations(), providerOperations(),
	)
	have := map[string]bool{}
	for _, op := range all {
		have[op.name] = true
	}
	for _, op := range model() {
		if !have[op.name] {
			all = append(all, op)
		}
	}
	return all
}

// controlModel lists all operations of the control plane: name, method, path (service model "iot", read 2026-11).
//
//go:embed operations.txt
var controlModel string

// model returns the operations of the control plane without anything that does them. What this hub does not have of them is
// answered with an error that says so.
func model() (all []operation) {
	for line := range strings.SplitSeq(strings.TrimSpace(controlModel), "\n") {
		f := strings.Fields(line)
		all = append(all, operation{service: control, name: f[0], method: f[1], path: f[2]})
	}
	return all
}

// A router finds operations by method and path.
type router struct {
	// byFirst has them by the first segment of their path, those with more literal segments first.
	byFirst map[string][]compiled
}

type compiled struct {
	operation
	segments []string // "{name}" stands for any one, "{name+}" for the rest
}

func newRouter(all []operation) *router {
	rt := &router{byFirst: map[string][]compiled{}}
	for _, op := range all {
		segs := segmentsOf(strings.TrimSuffix(op.path, "/"))
		rt.byFirst[segs[0]] = append(rt.byFirst[segs[0]], compiled{op, segs})
	}
	for _, list := range rt.byFirst {
		slices.SortStableFunc(list, func(a, b compiled) int { return literals(b.segments) - literals(a.segments) })
	}
	return rt
}

func segmentsOf(path string) []string { return strings.Split(strings.TrimPrefix(path, "/"), "/") }

func literals(segs []string) (n int) {
	for _, s := range segs {
		if !strings.HasPrefix(s, "{") {
			n++
		}
	}
	return n
}

// known reports whether paths that begin like this one are the platform's.
func (rt *router) known(escaped string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(escaped, "/"), "/")
	return len(rt.byFirst[first]) > 0
}

// find returns the operation of a request, with the decoded labels of its path, which is escaped as it was sent: "%2F" is
// no slash.
func (rt *router) find(service plane, method, escaped string) (*operation, map[string]string, error) {
	segs := segmentsOf(escaped)
	otherMethod := false
	list := rt.byFirst[segs[0]]
	for i := range list {
		op := &list[i]
		if op.service != service && (service != planes || op.service == control) {
			continue
		}
		labels, ok := op.match(segs)
		if !ok {
			continue
		}
		if op.method != method {
			otherMethod = true
			continue
		}
		return &op.operation, labels, nil
	}
	if otherMethod {
		return nil, nil, refuse(methodNotAllowed, "The method %.16s is not allowed for this path.", method)
	}
	if method != http.MethodGet && method != http.MethodHead && method != http.MethodPost && method != http.MethodPut &&
		method != http.MethodPatch && method != http.MethodDelete {
		return nil, nil, refuse(methodNotAllowed, "The method %.16s is not allowed.", method)
	}
	return nil, nil, refuse(notFound, "There is no operation %s %.100s.", method, escaped)
}

// match compares a path with the operation's. A label that cannot be decoded, or is empty, does not match.
func (op *compiled) match(segs []string) (labels map[string]string, ok bool) {
	labels = map[string]string{}
	for i, want := range op.segments {
		name, isLabel := strings.CutPrefix(want, "{")
		if i >= len(segs) {
			return nil, false
		}
		if !isLabel {
			got, err := url.PathUnescape(segs[i]) // boto3 sends "$next" as "%24next" where it is a label
			if err != nil || got != want {
				return nil, false
			}
			continue
		}
		got := segs[i]
		name = strings.TrimSuffix(name, "}")
		name, rest := strings.CutSuffix(name, "+")
		if rest {
			got = strings.Join(segs[i:], "/")
			segs = append(slices.Clone(segs[:i]), "rest")
		}
		value, err := url.PathUnescape(got)
		if err != nil || value == "" {
			return nil, false
		}
		labels[name] = value
	}
	if n := len(segs) - 1; n > 0 && segs[n] == "" {
		segs = segs[:n] // "/authorizers/"
	}
	return labels, len(segs) == len(op.segments)
}
