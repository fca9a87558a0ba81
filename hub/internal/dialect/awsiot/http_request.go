package awsiot

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"
)

// Sizes of pages.
const (
	defaultPage = 50
	maxPage     = 250
)

// A constraint is what the platform's model says of a text: the API reference has it with each member.
type constraint struct {
	pattern  *regexp.Regexp
	text     string // of the pattern, as the platform says it
	min, max int    // characters
}

func constrain(pattern string, shortest, longest int) constraint {
	return constraint{regexp.MustCompile(`^(?:` + pattern + `)$`), pattern, shortest, longest}
}

// Constraints of names and texts (AWS IoT API reference, read 2026-11).
var (
	nameConstraint           = constrain(`[a-zA-Z0-9:_-]+`, 1, 128)
	attributeNameConstraint  = constrain(`[a-zA-Z0-9_.,@/:#-]+`, 1, 128)
	attributeValueConstraint = constrain(`[a-zA-Z0-9_.,@/:#=\[\]-]*`, 0, 800)
	descriptionConstraint    = constraint{regexp.MustCompile(`^\PC*$`), `[\p{Graph}\x20]*`, 0, 2028}
	policyNameConstraint     = constrain(`[\w+=,.@-]+`, 1, 128)
	policyVersionConstraint  = constrain(`[0-9]+`, 1, 8)
	certificateIDConstraint  = constrain(`(0x)?[a-fA-F0-9]+`, 64, 64)
	templateNameConstraint   = constrain(`[0-9A-Za-z_-]+`, 1, 36)
	authorizerConstraint     = constrain(`[\w=,@-]+`, 1, 128)
)

// invalidValue is how the platform says that a value breaks its model.
func invalidValue(value, member, problem string) error {
	return refuse(invalidRequest, "1 validation error detected: Value '%.200s' at '%s' failed to satisfy constraint: %s", value, member, problem)
}

// check reports a text that breaks the constraint. Absent texts are not checked here.
func (k constraint) check(member, value string) error {
	n := utf8.RuneCountInString(value)
	switch {
	case n < k.min:
		return invalidValue(value, member, fmt.Sprintf("Member must have length greater than or equal to %d", k.min))
	case n > k.max:
		return invalidValue(value, member, fmt.Sprintf("Member must have length less than or equal to %d", k.max))
	case !utf8.ValidString(value) || !k.pattern.MatchString(value):
		return invalidValue(value, member, "Member must satisfy regular expression pattern: "+k.text)
	}
	return nil
}

// label returns a label of the path that satisfies a constraint.
func (c *call) label(name string, k constraint) (string, error) {
	v := c.labels[name]
	return v, k.check(name, v)
}

// required returns a text of the body that must be there.
func required(member, value string, k constraint) error {
	if value == "" {
		return invalidValue("null", member, "Member must not be null")
	}
	return k.check(member, value)
}

// optional checks a text that need not be there.
func optional(member, value string, k constraint) error {
	if value == "" {
		return nil
	}
	return k.check(member, value)
}

// decode reads the body of the request. An empty one is like {}.
func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	if !utf8.Valid(c.body) {
		return refuse(invalidRequest, "The body of the request is not valid UTF-8.")
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return refuse(invalidRequest, "The body of the request is not valid JSON of the expected form.")
	}
	return nil
}

// flag returns a parameter that is true or false; "" is def.
func (c *call) flag(name string, def bool) (bool, error) {
	switch v := c.query.Get(name); v {
	case "":
		return def, nil
	case "true", "TRUE", "True":
		return true, nil
	case "false", "FALSE", "False":
		return false, nil
	default:
		return false, invalidValue(v, name, "Member must be a boolean")
	}
}

// number returns a parameter that is a number within bounds; "" is def.
func (c *call) number(name string, least, most, def int64) (int64, error) {
	v := c.query.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case err != nil:
		return 0, invalidValue(v, name, "Member must be a number")
	case n < least:
		return 0, invalidValue(v, name, fmt.Sprintf("Member must have value greater than or equal to %d", least))
	case n > most:
		return 0, invalidValue(v, name, fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
	return n, nil
}

// A page is what part of a list is asked for.
type page struct {
	after string // where the page before it ended; "": from the beginning
	limit int
}

// page reads what lists of things, groups and jobs call their parameters.
func (c *call) page() (page, error) { return c.pageOf("nextToken", "maxResults", maxPage) }

// marked reads what lists of certificates and policies call theirs.
func (c *call) marked() (page, error) { return c.pageOf("marker", "pageSize", maxPage) }

func (c *call) pageOf(token, size string, most int64) (page, error) {
	n, err := c.number(size, 1, most, min(defaultPage, most))
	if err != nil {
		return page{}, err
	}
	after, err := parseToken(c.query.Get(token))
	if err != nil {
		return page{}, refuse(invalidRequest, "Invalid %s.", token)
	}
	return page{after: after, limit: int(n)}, nil
}

// parseToken is the inverse of nextToken.
func parseToken(text string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	return string(raw), err
}

// nextToken returns what a client asks for the next page with: nothing ("") if there is no more. Clients take it as it is.
func nextToken(last string, more bool) string {
	if !more {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(last))
}

// lastOf returns the last of a list, "" if it is empty.
func lastOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

// pageOfList returns the page of a sorted list that is whole in memory.
func (p page) pageOfList(sorted []string) (list []string, next string) {
	list = []string{}
	for _, x := range sorted {
		if p.after != "" && x <= p.after {
			continue
		}
		if len(list) == p.limit {
			return list, nextToken(lastOf(list), true)
		}
		list = append(list, x)
	}
	return list, ""
}

// epoch is a time as the control plane writes it: seconds with milliseconds behind the point; the zero time is null.
type epoch time.Time

// MarshalJSON implements json.Marshaler.
func (e epoch) MarshalJSON() ([]byte, error) {
	t := time.Time(e)
	if t.IsZero() {
		return []byte("null"), nil
	}
	ms := t.UnixMilli()
	return fmt.Appendf(nil, "%d.%03d", ms/1000, ms%1000), nil
}
