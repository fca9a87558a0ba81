package awsiot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// An evaluation is one run over a template.
type evaluation struct {
	t      *template
	params map[string]string
	left   int // bytes that may still be made

	strange  map[string]bool // parameters that must not be in a policy
	inPolicy bool            // what is evaluated now is a policy's document
}

func (e *evaluation) resource(p *provision, name string, r templateResource) (err error) {
	switch r.Type {
	case resourceThing:
		p.Thing, err = e.thing(r)
		p.names[resourceThing] = name
	case resourceCertificate:
		p.Certificate, err = e.certificate(r)
		p.names[resourceCertificate] = name
	case resourcePolicy:
		var policy provisionPolicy
		policy, err = e.policy(r)
		p.Policies = append(p.Policies, policy)
		p.names[resourcePolicy] = name
	}
	return err
}

func (e *evaluation) thing(r templateResource) (*provisionThing, error) {
	th := &provisionThing{Override: r.OverrideSettings}
	for property, to := range map[string]*string{
		"ThingName": &th.Name, "ThingTypeName": &th.Type, "BillingGroup": &th.BillingGroup,
	} {
		if err := e.property(r, property, to); err != nil {
			return nil, err
		}
	}
	if th.Name == "" {
		return nil, templateError("ThingName is missing")
	}
	if v := r.Properties["AttributePayload"]; v != nil {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, templateError("AttributePayload is no object")
		}
		th.Attributes = map[string]string{}
		for name, v := range object {
			text, err := e.text(v)
			if err != nil {
				return nil, fmt.Errorf("attribute %s: %w", name, err)
			}
			th.Attributes[name] = text
		}
	}
	if v := r.Properties["ThingGroups"]; v != nil {
		groups, err := e.list(v)
		if err != nil {
			return nil, fmt.Errorf("ThingGroups: %w", err)
		}
		th.Groups = groups
	}
	return th, nil
}

func (e *evaluation) certificate(r templateResource) (*provisionCertificate, error) {
	c := &provisionCertificate{Override: r.OverrideSettings["Status"]}
	for property, to := range map[string]*string{
		"CertificateId": &c.ID, "CertificateSigningRequest": &c.CSR, "CertificatePem": &c.PEM, "CACertificatePem": &c.CAPEM, "Status": &c.Status,
	} {
		if err := e.property(r, property, to); err != nil {
			return nil, err
		}
	}
	ways := 0
	for _, given := range []string{c.ID, c.CSR, c.PEM} {
		if given != "" {
			ways++
		}
	}
	if ways != 1 {
		return nil, templateError("a certificate needs one of CertificateId, CertificateSigningRequest and CertificatePem")
	}
	if c.Status = strings.ToUpper(c.Status); c.Status == "" {
		c.Status = "ACTIVE"
	}
	if c.Status != "ACTIVE" && c.Status != "INACTIVE" {
		return nil, templateError("certificate status %q, want ACTIVE or INACTIVE", c.Status)
	}
	return c, nil
}

func (e *evaluation) policy(r templateResource) (p provisionPolicy, err error) {
	if err := e.property(r, "PolicyName", &p.Name); err != nil {
		return p, err
	}
	e.inPolicy = true
	defer func() { e.inPolicy = false }()
	switch doc := r.Properties["PolicyDocument"].(type) {
	case nil:
	case map[string]any:
		if p.Document, err = e.document(doc); err != nil {
			return p, err
		}
	default:
		if p.Document, err = e.text(doc); err != nil {
			return p, err
		}
	}
	if (p.Name == "") == (p.Document == "") {
		return p, templateError("a policy needs PolicyName or PolicyDocument, and not both")
	}
	return p, nil
}

// document makes the text of a policy that is an object in the template. An object with a function in its place is text.
func (e *evaluation) document(doc map[string]any) (string, error) {
	if _, ok := function(doc); ok {
		return e.text(doc)
	}
	filled, err := e.fill(doc)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(filled); err != nil {
		return "", templateError("policy document: %v", err)
	}
	return strings.TrimSpace(b.String()), nil
}

// fill replaces the functions within a JSON value.
func (e *evaluation) fill(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := function(v); ok {
			return e.value(v)
		}
		out := make(map[string]any, len(v))
		for name, x := range v {
			filled, err := e.fill(x)
			if err != nil {
				return nil, err
			}
			out[name] = filled
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			filled, err := e.fill(x)
			if err != nil {
				return nil, err
			}
			out[i] = filled
		}
		return out, nil
	}
	return v, nil
}

func (e *evaluation) property(r templateResource, name string, to *string) error {
	v := r.Properties[name]
	if v == nil {
		return nil
	}
	text, err := e.text(v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	*to = text
	return nil
}

// text returns a value that has to be one text.
func (e *evaluation) text(v any) (string, error) {
	v, err := e.value(v)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", templateError("want a string, got %s", kindOf(v))
}

// list returns a value that has to be a list of texts.
func (e *evaluation) list(v any) ([]string, error) {
	v, err := e.value(v)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case []string:
		return v, nil
	case []any:
		out := make([]string, len(v))
		for i, x := range v {
			if out[i], err = e.text(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, templateError("want a list, got %s", kindOf(v))
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case []any, []string:
		return "a list"
	case map[string]any:
		return "an object that is no function"
	}
	return "a value of another type"
}

// functions are what an object with one member of this name stands for.
var functions = map[string]func(*evaluation, any) (any, error){}

func init() {
	functions["Ref"] = (*evaluation).ref
	functions["Fn::Join"] = (*evaluation).join
	functions["Fn::Select"] = (*evaluation).pick
	functions["Fn::FindInMap"] = (*evaluation).findInMap
	functions["Fn::Split"] = (*evaluation).split
	functions["Fn::Sub"] = (*evaluation).sub
}

// function returns the name of the function that an object stands for.
func function(object map[string]any) (name string, ok bool) {
	if len(object) != 1 {
		return "", false
	}
	for name = range object {
		_, ok = functions[name]
	}
	return name, ok
}

// value evaluates the function that v is, if it is one.
func (e *evaluation) value(v any) (any, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return v, nil
	}
	name, ok := function(object)
	if !ok {
		return v, nil
	}
	out, err := functions[name](e, object[name])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text, ok := out.(string); ok {
		if e.left -= len(text); e.left < 0 {
			return nil, errTemplateOutput
		}
	}
	return out, nil
}

var errTemplateOutput = fmt.Errorf("%w: the template makes more than %d bytes", core.ErrTooLarge, maxTemplateOutput)

func (e *evaluation) ref(arg any) (any, error) {
	name, ok := arg.(string)
	if !ok {
		return nil, templateError("want the name of a parameter")
	}
	return e.parameter(name)
}

func (e *evaluation) parameter(name string) (string, error) {
	value, ok := e.params[name]
	switch {
	case !ok:
		return "", templateError("parameter %q is not declared", name)
	case e.inPolicy && e.strange[name]:
		return "", templateError("parameter %q has characters that mean something in the policy that it is for", name)
	}
	return value, nil
}

// args takes apart the list that most functions have.
func args(arg any, n int) ([]any, error) {
	list, ok := arg.([]any)
	if !ok || len(list) != n {
		return nil, templateError("want a list of %d", n)
	}
	return list, nil
}

func (e *evaluation) join(arg any) (any, error) {
	list, err := args(arg, 2)
	if err != nil {
		return nil, err
	}
	between, err := e.text(list[0])
	if err != nil {
		return nil, err
	}
	parts, err := e.list(list[1])
	if err != nil {
		return nil, err
	}
	size := len(between) * len(parts)
	for _, p := range parts {
		size += len(p)
	}
	if size > e.left {
		return nil, errTemplateOutput
	}
	return strings.Join(parts, between), nil
}

func (e *evaluation) pick(arg any) (any, error) {
	list, err := args(arg, 2)
	if err != nil {
		return nil, err
	}
	index, err := e.text(list[0])
	if err != nil {
		return nil, err
	}
	values, err := e.list(list[1])
	if err != nil {
		return nil, err
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(values) {
		return nil, templateError("index %q of a list of %d", index, len(values))
	}
	return values[i], nil
}

func (e *evaluation) findInMap(arg any) (any, error) {
	list, err := args(arg, 3)
	if err != nil {
		return nil, err
	}
	var keys [3]string
	for i := range keys {
		if keys[i], err = e.text(list[i]); err != nil {
			return nil, err
		}
	}
	value, ok := e.t.Mappings[keys[0]][keys[1]][keys[2]]
	if !ok {
		return nil, templateError("mapping %q has no %q, %q", keys[0], keys[1], keys[2])
	}
	return value, nil
}

func (e *evaluation) split(arg any) (any, error) {
	list, err := args(arg, 2)
	if err != nil {
		return nil, err
	}
	at, err := e.text(list[0])
	if err != nil {
		return nil, err
	}
	text, err := e.text(list[1])
	if err != nil {
		return nil, err
	}
	return strings.Split(text, at), nil
}

// sub replaces ${name} in a text: by the variables that come with it, else by parameters. "${!name}" stands for "${name}".
func (e *evaluation) sub(arg any) (any, error) {
	own := map[string]any{}
	if list, ok := arg.([]any); ok {
		if len(list) != 2 {
			return nil, templateError("want a text, or a list of a text and variables")
		}
		if own, ok = list[1].(map[string]any); !ok {
			return nil, templateError("the variables are no object")
		}
		arg = list[0]
	}
	text, ok := arg.(string)
	if !ok {
		return nil, templateError("want a text")
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, templateError("a ${ is not closed")
		}
		var value string
		var err error
		if literal, ok := strings.CutPrefix(name, "!"); ok {
			value = "${" + literal + "}"
		} else if v, ok := own[name]; ok {
			value, err = e.text(v)
		} else {
			value, err = e.parameter(name)
		}
		if err != nil {
			return nil, err
		}
		if b.WriteString(value); b.Len() > e.left {
			return nil, errTemplateOutput
		}
		text = after
	}
}
