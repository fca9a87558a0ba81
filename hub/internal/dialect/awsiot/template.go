package awsiot

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Bounds on provisioning templates (AWS IoT Core developer guide, "Provisioning templates", read 2026-11); the last one is
// ours, because a template can repeat a long parameter many times.
const (
	maxTemplateChars  = 10_240
	maxTemplateOutput = 256 << 10
)

// A template says what a device gets when it is provisioned: a thing, a certificate, policies. It is checked when it is
// parsed, as far as that is possible without parameters.
type template struct {
	Parameters          map[string]templateParameter         `json:"Parameters"`
	Mappings            map[string]map[string]map[string]any `json:"Mappings"`
	Resources           map[string]templateResource          `json:"Resources"`
	DeviceConfiguration map[string]any                       `json:"DeviceConfiguration"`
}

type templateParameter struct {
	Type    string `json:"Type"`
	Default any    `json:"Default"`
}

type templateResource struct {
	Type             string            `json:"Type"`
	Properties       map[string]any    `json:"Properties"`
	OverrideSettings map[string]string `json:"OverrideSettings"`
}

// The types of resources.
const (
	resourceThing       = "AWS::IoT::Thing"
	resourceCertificate = "AWS::IoT::Certificate"
	resourcePolicy      = "AWS::IoT::Policy"
)

// certificateIDParameter is what fleet provisioning sets.
const certificateIDParameter = "AWS::IoT::Certificate::Id"

// A provision is a template with everything filled in.
type provision struct {
	Thing               *provisionThing
	Certificate         *provisionCertificate
	Policies            []provisionPolicy
	DeviceConfiguration map[string]string

	names map[string]string // of the resources, by kind: what RegisterThing names them by in its answer
}

// What happens to what is there already (guide, "Override settings").
const (
	overrideNothing = "DO_NOTHING"
	overrideReplace = "REPLACE"
	overrideFail    = "FAIL"
	overrideMerge   = "MERGE"
)

type provisionThing struct {
	Name, Type, BillingGroup string
	Attributes               map[string]string
	Groups                   []string
	Override                 map[string]string // by AttributePayload, ThingTypeName, ThingGroups
}

type provisionCertificate struct {
	ID, CSR, PEM, CAPEM string
	Status              string // ACTIVE or INACTIVE
	Override            string
}

type provisionPolicy struct {
	Name, Document string // one of them
}

// templateError says what is wrong with a template or with its parameters.
func templateError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}

// parseTemplate reads the body of a template.
func parseTemplate(body string) (*template, error) {
	if len(body) == 0 || len(body) > maxTemplateChars {
		return nil, templateError("template of %d characters, want 1 to %d", len(body), maxTemplateChars)
	}
	t := &template{}
	dec := json.NewDecoder(strings.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(t); err != nil {
		return nil, templateError("template is no JSON of the expected form: %v", err)
	}
	if dec.More() {
		return nil, templateError("template has something behind its object")
	}
	for name, p := range t.Parameters {
		if p.Type != "String" {
			return nil, templateError("parameter %q has type %q, want String", name, p.Type)
		}
		if _, ok := p.Default.(string); p.Default != nil && !ok {
			return nil, templateError("default of parameter %q is no string", name)
		}
	}
	return t, t.checkResources()
}

// overridable has the override settings of each type, with their values.
var overridable = map[string]map[string][]string{
	resourceThing: {
		"AttributePayload": {overrideNothing, overrideReplace, overrideFail, overrideMerge},
		"ThingTypeName":    {overrideNothing, overrideReplace, overrideFail},
		"ThingGroups":      {overrideNothing, overrideReplace, overrideFail, overrideMerge},
	},
	resourceCertificate: {"Status": {overrideNothing, overrideReplace, overrideFail}},
	resourcePolicy:      {},
}

func (t *template) checkResources() error {
	if len(t.Resources) == 0 {
		return templateError("template has no Resources")
	}
	count := map[string]int{}
	for name, r := range t.Resources {
		settings, ok := overridable[r.Type]
		if !ok {
			return templateError("resource %q has type %q, which is not supported", name, r.Type)
		}
		if count[r.Type]++; count[r.Type] > 1 && r.Type != resourcePolicy {
			return templateError("template has more than one resource of type %s", r.Type)
		}
		for setting, value := range r.OverrideSettings {
			if !slices.Contains(settings[setting], value) {
				return templateError("resource %q has override setting %s: %q", name, setting, value)
			}
		}
	}
	if count[resourceCertificate] == 0 {
		return templateError("template has no resource of type %s", resourceCertificate)
	}
	return nil
}

// checkFleet checks what only holds for fleet provisioning and just-in-time provisioning: the certificate is there already,
// and the template refers to it.
func (t *template) checkFleet() error {
	for name, r := range t.Resources {
		if r.Type != resourceCertificate {
			continue
		}
		ref, _ := r.Properties["CertificateId"].(map[string]any)
		if len(ref) != 1 || ref["Ref"] != certificateIDParameter {
			return templateError("resource %q must have CertificateId {\"Ref\": %q}", name, certificateIDParameter)
		}
	}
	return nil
}

// evaluate fills in a template. Parameters that it does not declare are ignored; those that it declares must be there or
// have a default.
func (t *template) evaluate(given map[string]string) (*provision, error) {
	return t.evaluateFor(given, false)
}

// evaluateFor is evaluate for parameters that a device may have chosen: those must not mean anything in a policy besides what
// they say. There is no hook that could look at them first.
func (t *template) evaluateFor(given map[string]string, device bool) (*provision, error) {
	e := &evaluation{t: t, params: map[string]string{}, strange: map[string]bool{}, left: maxTemplateOutput}
	for name, p := range t.Parameters {
		if value, ok := given[name]; ok {
			e.params[name] = value
			e.strange[name] = device && strings.ContainsAny(value, `*?$"\`)
		} else if value, ok := p.Default.(string); ok {
			e.params[name] = value
		} else {
			return nil, templateError("parameter %s is missing", name)
		}
	}
	p := &provision{names: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(t.Resources)) {
		if err := e.resource(p, name, t.Resources[name]); err != nil {
			return nil, fmt.Errorf("resource %s: %w", name, err)
		}
	}
	if len(t.DeviceConfiguration) > 0 {
		p.DeviceConfiguration = map[string]string{}
	}
	for name, v := range t.DeviceConfiguration {
		text, err := e.text(v)
		if err != nil {
			return nil, fmt.Errorf("DeviceConfiguration %s: %w", name, err)
		}
		p.DeviceConfiguration[name] = text
	}
	return p, nil
}
