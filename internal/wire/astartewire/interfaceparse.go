package astartewire

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseInterface reads an interface definition and validates it as Realm Management does (astarte_core interface.ex,
// mapping.ex, mapping/endpoints_automaton.ex). The error is [ErrMalformedInterface], a [*FieldErrors] or [ErrOverlap].
//
// Unknown keys are ignored. Old spellings are read: ownership "producer" and "consumer", the keys "quality" (ownership),
// "aggregate" (true for object) and "path" (endpoint). Like the platform it takes numbers and booleans in strings.
// Mappings with "encrypted": true (platform 1.4) are refused with a field error, because we do not speak the protocol
// that negotiates their keys, and storing such data as if it were clear would be wrong.
func ParseInterface(b []byte) (*Interface, error) {
	f := fields{errs: FieldSet{}}
	if !utf8.Valid(b) || json.Unmarshal(b, &f.raw) != nil || f.raw == nil {
		return nil, ErrMalformedInterface
	}
	i := &Interface{}
	f.root(i)
	mappingErrs := f.mappings(i)
	if mappingErrs == nil && f.errs[keyMappings] == nil {
		i.checkMappings(f.errs)
	}
	if len(f.errs) > 0 || mappingErrs != nil {
		return nil, &FieldErrors{Fields: f.errs, Mappings: mappingErrs}
	}
	if i.overlaps() {
		return nil, ErrOverlap
	}
	i.compile()
	return i, nil
}

// root reads and checks all fields but the mappings.
func (f *fields) root(i *Interface) {
	i.Name = f.text(keyInterfaceName)
	i.Major, i.Minor = f.required("version_major"), f.required("version_minor")
	i.Kind = Kind(f.enum("type", kindNames))
	i.Ownership = f.ownership()
	if f.has("aggregation") {
		i.Aggregation = Aggregation(f.enum("aggregation", aggregationNames))
	} else if f.boolean("aggregate") {
		i.Aggregation = AggregationObject
	}
	f.need(keyInterfaceName, i.Name != "")
	f.need("type", i.Kind != 0)
	f.need("ownership", i.Ownership != 0)
	if i.Name != "" {
		f.atMost(keyInterfaceName, i.Name, MaxInterfaceNameLen)
		if !ValidInterfaceName(i.Name) {
			f.errs.add(keyInterfaceName, msgFormat)
		}
		if i.Name == "astarte" || i.Name == "control" || i.Name == "device" {
			f.errs.add(keyInterfaceName, msgReserved)
		}
	}
	if i.Major == 0 && i.Minor == 0 && f.errs["version_major"] == nil && f.errs["version_minor"] == nil {
		f.errs.add("version_minor", msgNullVersion)
	}
	i.Description = f.atMost("description", f.text("description"), MaxDescriptionLen)
	i.Doc = f.atMost("doc", f.text("doc"), MaxDocLen)
	if len(f.errs) == 0 && i.Kind == KindProperties && i.Aggregation == AggregationObject {
		f.errs.add("aggregation", msgIndividual)
	}
}

func (f *fields) ownership() Ownership {
	names := []string{"", "device", "server", "producer", "consumer"}
	key := "ownership"
	if !f.has(key) && f.has("quality") {
		key = "quality"
	}
	o := f.enum(key, names)
	if o > 2 {
		o -= 2
	}
	return Ownership(o)
}

// mappings reads the mappings and returns their errors, nil if there are none.
func (f *fields) mappings(i *Interface) []FieldSet {
	var raw []json.RawMessage
	if !f.has(keyMappings) {
		f.errs.add(keyMappings, msgBlank)
		return nil
	}
	if json.Unmarshal(f.raw[keyMappings], &raw) != nil {
		f.errs.add(keyMappings, msgInvalid)
		return nil
	}
	switch {
	case len(raw) == 0:
		f.errs.add(keyMappings, msgBlank)
		return nil
	case len(raw) > MaxMappings:
		f.errs.add(keyMappings, fmt.Sprintf(fmtItems, MaxMappings))
		return nil // enough said; do not spend more on it
	}
	i.Mappings = make([]Mapping, len(raw))
	errs := make([]FieldSet, len(raw))
	bad := false
	for k, r := range raw {
		m := fields{errs: FieldSet{}}
		if json.Unmarshal(r, &m.raw) != nil || m.raw == nil {
			f.errs.add(keyMappings, msgInvalid)
			return nil
		}
		m.mapping(&i.Mappings[k], i)
		errs[k] = m.errs
		bad = bad || len(m.errs) > 0
	}
	if !bad {
		return nil
	}
	return errs
}

// mapping reads and checks one mapping of i.
func (f *fields) mapping(m *Mapping, i *Interface) {
	m.Endpoint = f.text(keyEndpoint)
	if m.Endpoint == "" {
		m.Endpoint = f.text("path")
	}
	m.Type = Type(f.enum("type", typeNames))
	f.need(keyEndpoint, m.Endpoint != "")
	f.need("type", m.Type != 0)
	if m.Endpoint != "" {
		if len(m.Endpoint) < 2 {
			f.errs.add(keyEndpoint, fmt.Sprintf(fmtAtLeast, 2))
		}
		f.atMost(keyEndpoint, m.Endpoint, MaxEndpointLen)
		if !validEndpoint(m.Endpoint) {
			f.errs.add(keyEndpoint, msgFormat)
		}
	}
	if m.Expiry, _ = f.integer("expiry"); m.Expiry < 0 {
		f.errs.add("expiry", msgNotNegative)
	}
	ttl, hasTTL := f.integer("database_retention_ttl")
	if hasTTL && ttl < MinDatabaseTTL {
		f.errs.add("database_retention_ttl", fmt.Sprintf(fmtGreaterEqual, MinDatabaseTTL))
	} else if ttl >= DatabaseTTLBound {
		f.errs.add("database_retention_ttl", fmt.Sprintf(fmtLess, DatabaseTTLBound))
	}
	m.DatabaseRetentionTTL = ttl
	m.DatabaseRetentionPolicy = DatabaseRetentionPolicy(f.enum("database_retention_policy", policyNames))
	m.Retention = Retention(f.enum("retention", retentionNames))
	m.Reliability = Reliability(f.enum("reliability", reliabilityNames))
	m.AllowUnset = f.boolean("allow_unset")
	m.ExplicitTimestamp = f.boolean("explicit_timestamp")
	m.Required = f.boolean("required")

	// A field that does not apply must have its default. An unknown kind is an error elsewhere.
	f.blank("allow_unset", m.AllowUnset && i.Kind == KindDatastream)
	props := i.Kind == KindProperties
	f.blank("expiry", m.Expiry != 0 && props)
	f.blank("retention", m.Retention != 0 && props)
	f.blank("reliability", m.Reliability != 0 && props)
	f.blank("database_retention_policy", m.DatabaseRetentionPolicy != 0 && props)
	f.blank("database_retention_ttl", hasTTL && props)
	f.blank("explicit_timestamp", m.ExplicitTimestamp && props)
	f.blank("required", m.Required && i.Aggregation != AggregationObject)
	m.Description = f.atMost("description", f.text("description"), MaxDescriptionLen)
	m.Doc = f.atMost("doc", f.text("doc"), MaxDocLen)
	if hasTTL && m.DatabaseRetentionPolicy == NoTTL {
		f.errs.add("database_retention_policy", msgPolicyNeeded)
	} else if !hasTTL && m.DatabaseRetentionPolicy == UseTTL {
		f.errs.add("database_retention_ttl", msgTTLNeeded)
	}
	if f.boolean("encrypted") {
		f.errs.add("encrypted", msgNotSupported)
	}
}

// checkMappings applies the rules that look at all mappings together. Each mapping is valid.
func (i *Interface) checkMappings(errs FieldSet) {
	if len(errs) == 0 {
		seen := make(map[string]bool, len(i.Mappings))
		for k := range i.Mappings {
			e := normalEndpoint(i.Mappings[k].Endpoint)
			if seen[e] {
				errs.add(keyMappings, msgEndpoints)
				break
			}
			seen[e] = true
		}
	}
	if i.Aggregation != AggregationObject {
		return
	}
	first := i.Mappings[0]
	if slices.ContainsFunc(i.Mappings, func(m Mapping) bool {
		return m.Retention != first.Retention || m.Reliability != first.Reliability || m.Expiry != first.Expiry ||
			m.AllowUnset != first.AllowUnset || m.ExplicitTimestamp != first.ExplicitTimestamp ||
			m.DatabaseRetentionPolicy != first.DatabaseRetentionPolicy ||
			m.DatabaseRetentionTTL != first.DatabaseRetentionTTL
	}) {
		errs.add(keyMappings, msgAttributes)
	}
	if slices.ContainsFunc(i.Mappings, func(m Mapping) bool { return prefixOf(m.Endpoint) != prefixOf(first.Endpoint) }) {
		errs.add(keyMappings, msgPrefix)
	}
}

// normalEndpoint returns an endpoint as it is compared for uniqueness: without the names of parameters, in lower case.
func normalEndpoint(e string) string {
	var b strings.Builder
	for level := range strings.SplitSeq(e[1:], "/") {
		b.WriteByte('/')
		if level[0] != '%' {
			b.WriteString(strings.ToLower(level))
		}
	}
	return b.String()
}

func prefixOf(endpoint string) string { return endpoint[:strings.LastIndexByte(endpoint, '/')] }

// validEndpoint reports whether e has the form ^(\/(%{([a-zA-Z_]+[a-zA-Z0-9_]*)}|[a-zA-Z_]+[a-zA-Z0-9_]*)){1,64}$.
func validEndpoint(e string) bool {
	if e == "" || e[0] != '/' || strings.Count(e, "/") > MaxEndpointLevels {
		return false
	}
	for level := range strings.SplitSeq(e[1:], "/") {
		if inner, ok := strings.CutPrefix(level, "%{"); ok {
			if level, ok = strings.CutSuffix(inner, "}"); !ok {
				return false
			}
		}
		if !validToken(level) {
			return false
		}
	}
	return true
}

func validToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// fields reads the members of one JSON object and collects what is wrong with them.
type fields struct {
	raw  map[string]json.RawMessage
	errs FieldSet
}

// has reports whether key is there and not null.
func (f *fields) has(key string) bool {
	r, ok := f.raw[key]
	return ok && string(r) != "null"
}

// text returns a string; blank ones count as absent.
func (f *fields) text(key string) (s string) {
	if f.has(key) && json.Unmarshal(f.raw[key], &s) != nil {
		f.errs.add(key, msgInvalid)
		return ""
	}
	if strings.TrimSpace(s) == "" {
		return ""
	}
	return s
}

// enum returns the index of a name in names, 0 if it is absent or wrong.
func (f *fields) enum(key string, names []string) int {
	s := f.text(key)
	if s == "" {
		return 0
	}
	n := slices.Index(names, s)
	if n < 0 {
		f.errs.add(key, msgInvalid)
		return 0
	}
	return n
}

// integer returns a whole number, which may be in a string, and whether it is there and right.
func (f *fields) integer(key string) (n int, ok bool) {
	if !f.has(key) {
		return 0, false
	}
	s := string(f.raw[key])
	if s[0] == '"' {
		if s = f.text(key); s == "" {
			return 0, false
		}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < math.MinInt32 || v > math.MaxInt32 {
		f.errs.add(key, msgInvalid)
		return 0, false
	}
	return int(v), true
}

// required returns a version number.
func (f *fields) required(key string) int {
	n, ok := f.integer(key)
	f.need(key, ok)
	if n < 0 {
		f.errs.add(key, msgNotNegative)
	}
	return n
}

// boolean returns a boolean, which may be in a string, false if it is absent or wrong.
func (f *fields) boolean(key string) bool {
	if !f.has(key) {
		return false
	}
	switch string(f.raw[key]) {
	case "true", `"true"`, `"1"`:
		return true
	case "false", `"false"`, `"0"`, `""`:
		return false
	}
	f.errs.add(key, msgInvalid)
	return false
}

// need reports a missing field, unless something else is wrong with it already.
func (f *fields) need(key string, ok bool) {
	if !ok && f.errs[key] == nil {
		f.errs.add(key, msgBlank)
	}
}

func (f *fields) atMost(key, s string, limit int) string {
	if len(s) > limit && utf8.RuneCountInString(s) > limit {
		f.errs.add(key, fmt.Sprintf(fmtAtMost, limit))
	}
	return s
}

func (f *fields) blank(key string, wrong bool) {
	if wrong {
		f.errs.add(key, msgMustBeBlank)
	}
}
