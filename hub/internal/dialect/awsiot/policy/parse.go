package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// MaxCharacters is how long a document may be, white space not counted (AWS IoT Core quotas).
const MaxCharacters = 2048

// maxBytes bounds what is looked at of one.
const maxBytes = 64 << 10

// A Document is a policy that was understood. It does not change.
type Document struct {
	statements []statement
}

// A statement is one rule of a document.
type statement struct {
	deny         bool
	actions      []string // patterns in lower case
	notActions   bool
	resources    []template
	notResources bool
	conditions   []condition
}

// Parse reads a document. What the platform refuses is core.ErrInvalid, with text for whoever wrote it.
func Parse(text []byte) (*Document, error) {
	d, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("policy document: %w: %w", core.ErrInvalid, err)
	}
	return d, nil
}

func parse(text []byte) (*Document, error) {
	if err := checkSize(text); err != nil {
		return nil, err
	}
	var raw struct {
		Version   *string         `json:"Version"`
		ID        *string         `json:"Id"`
		Statement json.RawMessage `json:"Statement"`
	}
	if err := decode(text, &raw); err != nil {
		return nil, err
	}
	if err := checkTwins(text); err != nil {
		return nil, err
	}
	variables := true
	switch {
	case raw.Version == nil:
		return nil, errors.New("no Version")
	case *raw.Version == "2008-10-17": // variables are text there (IAM guide, "IAM JSON policy elements: Version")
		variables = false
	case *raw.Version != "2012-10-17":
		return nil, fmt.Errorf("the Version is %.40q, want 2012-10-17", *raw.Version)
	}
	list, err := oneOrMany[json.RawMessage](raw.Statement)
	if err != nil || len(list) == 0 {
		return nil, errors.New("no Statement, or it is not a statement or a list of them")
	}
	d := &Document{}
	sids := map[string]bool{}
	for i, s := range list {
		st, sid, err := parseStatement(s, variables)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if sid != "" && sids[sid] {
			return nil, fmt.Errorf("statement %d: Sid %.60q is not unique", i+1, sid)
		}
		sids[sid] = true
		d.statements = append(d.statements, st)
	}
	return d, nil
}

func checkSize(text []byte) error {
	if len(text) > maxBytes || !utf8.Valid(text) {
		return errors.New("too long, or not UTF-8")
	}
	n := 0
	for _, r := range string(text) {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	if n > MaxCharacters {
		return fmt.Errorf("%d characters, at most %d are possible", n, MaxCharacters)
	}
	return nil
}

func parseStatement(text json.RawMessage, variables bool) (st statement, sid string, err error) {
	var raw struct {
		Sid          string          `json:"Sid"`
		Effect       string          `json:"Effect"`
		Action       json.RawMessage `json:"Action"`
		NotAction    json.RawMessage `json:"NotAction"`
		Resource     json.RawMessage `json:"Resource"`
		NotResource  json.RawMessage `json:"NotResource"`
		ConditionAll json.RawMessage `json:"Condition"`
	}
	if err := decode(text, &raw); err != nil {
		return st, "", err
	}
	if strings.ContainsFunc(raw.Sid, func(r rune) bool { return !alphanumeric(r) }) {
		return st, "", errors.New("the Sid has characters besides letters and digits")
	}
	switch raw.Effect {
	case "Allow":
	case "Deny":
		st.deny = true
	default:
		return st, "", fmt.Errorf("the Effect is %.40q, want Allow or Deny", raw.Effect)
	}
	actions, not, err := either("Action", raw.Action, raw.NotAction)
	if err != nil {
		return st, "", err
	}
	st.notActions = not
	for _, a := range actions {
		if !validAction(a) {
			return st, "", fmt.Errorf("%.80q is no action", a)
		}
		st.actions = append(st.actions, compile(strings.ToLower(a)))
	}
	resources, not, err := either("Resource", raw.Resource, raw.NotResource)
	if err != nil {
		return st, "", err
	}
	st.notResources = not
	for _, r := range resources {
		if r != "*" && !strings.HasPrefix(r, "arn:") {
			return st, "", fmt.Errorf("%.80q is no resource: want an ARN or *", r)
		}
		t, err := parseTemplate(r, variables)
		if err != nil {
			return st, "", fmt.Errorf("resource %.80q: %w", r, err)
		}
		st.resources = append(st.resources, t)
	}
	st.conditions, err = parseConditions(raw.ConditionAll, variables)
	return st, raw.Sid, err
}

// either reads an element that has a negated form, of which there has to be one.
func either(name string, is, not json.RawMessage) (list []string, negated bool, err error) {
	if (is == nil) == (not == nil) {
		return nil, false, fmt.Errorf("want either %s or Not%[1]s", name)
	}
	if negated = is == nil; negated {
		is, name = not, "Not"+name
	}
	list, err = oneOrMany[string](is)
	if err != nil || len(list) == 0 {
		return nil, false, fmt.Errorf("%s is neither a text nor a list of texts", name)
	}
	return list, negated, nil
}

// oneOrMany reads a value or a list of such values.
func oneOrMany[T any](text json.RawMessage) ([]T, error) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || bytes.Equal(text, []byte("null")) {
		return nil, errors.New("missing")
	}
	if text[0] == '[' {
		var list []*T
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, err
		}
		out := make([]T, 0, len(list))
		for _, v := range list {
			if v == nil {
				return nil, errors.New("null in a list")
			}
			out = append(out, *v)
		}
		return out, nil
	}
	var one T
	err := json.Unmarshal(text, &one)
	return []T{one}, err
}

// decode reads one JSON value that has no other members than v has, spelled as there.
func decode(text []byte, v any) error {
	if err := checkMembers(text, v); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("syntax: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("syntax: something follows the document")
	}
	return nil
}

// checkMembers refuses what encoding/json lets pass: members in another case, and twice.
func checkMembers(text []byte, v any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return fmt.Errorf("syntax: %w", err)
	}
	known := fieldNames(v)
	for name := range members {
		if !known[name] {
			return fmt.Errorf("unknown element %.60q", name)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	seen := map[string]bool{}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("syntax: %w", err)
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("syntax: %w", err)
		}
		name, _ := t.(string)
		if seen[name] {
			return fmt.Errorf("element %.60q comes twice", name)
		}
		seen[name] = true
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return fmt.Errorf("syntax: %w", err)
		}
	}
	return nil
}

// checkTwins refuses members that come twice anywhere in a document that is JSON: encoding/json would forget the first one, and a
// condition with it.
func checkTwins(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	var open []map[string]bool // of each object or array (nil) that is not closed, the names so far
	name := false              // a name comes next, or the end
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("syntax: %w", err)
		}
		switch t {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if key, ok := t.(string); ok && name {
				names := open[len(open)-1]
				if names[key] {
					return fmt.Errorf("element %.60q comes twice", key)
				}
				names[key], name = true, false
				continue
			}
		}
		name = len(open) > 0 && open[len(open)-1] != nil
	}
}

// validAction reports whether a text is "*" or of the form service:Name, with wildcards.
func validAction(a string) bool {
	if a == "*" {
		return true
	}
	service, name, ok := strings.Cut(a, ":")
	return ok && service != "" && name != "" &&
		!strings.ContainsFunc(service, func(r rune) bool { return !alphanumeric(r) && r != '-' }) &&
		!strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && r != '*' && r != '?' })
}

func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// fieldNames returns the JSON names of the fields of the struct that v points to.
func fieldNames(v any) map[string]bool {
	t := reflect.TypeOf(v).Elem()
	names := make(map[string]bool, t.NumField())
	for i := range t.NumField() {
		names[t.Field(i).Tag.Get("json")] = true
	}
	return names
}
