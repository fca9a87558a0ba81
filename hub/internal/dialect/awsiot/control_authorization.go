package awsiot

import (
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var authorizationOperations = []operation{
	{name: "GetEffectivePolicies", method: post, path: "/effective-policies", do: (*call).effectivePolicies},
	{name: "TestAuthorization", method: post, path: "/test-authorization", do: (*call).testAuthorization},
}

// An effectivePolicy is one that counts for a principal.
type effectivePolicy struct {
	policySummary
	Document string `json:"policyDocument,omitempty"`
}

// effective returns the policies of a principal ("" for none), and those of the groups of a thing, and those above them.
func (c *call) effective(rd store.Reader, principal, thing string) (list []effectivePolicy, err error) {
	var targets, names []string
	if principal != "" {
		if err := checkTarget(rd, c.tenant(), principal); err != nil {
			return nil, err
		}
		targets = append(targets, principal)
	}
	if thing != "" {
		groups, err := allGroups(rd, c.tenant(), thing)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			targets = append(targets, groupResource+g)
		}
	}
	for _, target := range targets {
		more, _, err := policiesOf(rd, c.tenant(), target, "", 0)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	return c.documents(rd, names)
}

// documents reads policies, each once. One that is not there is an error.
func (c *call) documents(rd store.Reader, names []string) ([]effectivePolicy, error) {
	list := []effectivePolicy{}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		p, err := readPolicy(rd, c.tenant(), n)
		if err != nil {
			return nil, noPolicy(err, n)
		}
		list = append(list, effectivePolicy{policySummary{n, c.account.arn(keyPolicy + n)}, p.document()})
	}
	return list, nil
}

// optionalTarget reads a principal or a group that need not be given.
func (c *call) optionalTarget(arn string) (string, error) {
	if arn == "" {
		return "", nil
	}
	return c.target(arn)
}

func (c *call) effectivePolicies() (any, error) {
	var in struct {
		Principal string `json:"principal"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	name := c.query.Get("thingName")
	principal, err := c.optionalTarget(in.Principal)
	if err == nil {
		err = optional("thingName", name, nameConstraint)
	}
	if err == nil && principal == "" && name == "" {
		err = refuse(invalidRequest, "principal or thingName is required.")
	}
	if err != nil {
		return nil, err
	}
	var list []effectivePolicy
	err = c.view(func(rd store.Reader) error {
		if name != "" {
			if _, err := readThing(rd, c.tenant(), name); err != nil {
				return noThing(err, name)
			}
		}
		list, err = c.effective(rd, principal, name)
		return err
	})
	return map[string]any{"effectivePolicies": list}, err
}

// testActions are the actions that can be tested, with the kind of resource that each has.
var testActions = map[string]string{
	"PUBLISH": actionPublish, "SUBSCRIBE": actionSubscribe, "RECEIVE": actionReceive, "CONNECT": actionConnect,
}

// An authInfo is a question about an action.
type authInfo struct {
	ActionType string   `json:"actionType,omitempty"`
	Resources  []string `json:"resources"`
}

type policyList struct {
	Policies []policySummary `json:"policies"`
}

// An authResult is the answer to one.
type authResult struct {
	Info    authInfo   `json:"authInfo"`
	Allowed policyList `json:"allowed"`
	Denied  struct {
		Implicit policyList `json:"implicitDeny"`
		Explicit policyList `json:"explicitDeny"`
	} `json:"denied"`
	Decision string   `json:"authDecision"`
	Missing  []string `json:"missingContextValues"`
}

// A testRequest asks what a principal may do.
type testRequest struct {
	Principal string     `json:"principal"`
	Infos     []authInfo `json:"authInfos"`
	Add       []string   `json:"policyNamesToAdd"`
	Skip      []string   `json:"policyNamesToSkip"`
}

func (c *call) testAuthorization() (any, error) {
	var in testRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if len(in.Infos) == 0 || len(in.Infos) > 10 || len(in.Add) > maxPoliciesOfTarget {
		return nil, refuse(invalidRequest, "authInfos must have 1 to 10 items.")
	}
	for _, i := range in.Infos {
		if _, ok := testActions[i.ActionType]; !ok && i.ActionType != "" {
			return nil, invalidValue(i.ActionType, "authInfos.actionType", "Member must satisfy enum value set: [PUBLISH, SUBSCRIBE, RECEIVE, CONNECT]")
		}
		if len(i.Resources) > 100 {
			return nil, refuse(invalidRequest, "authInfos.resources must have at most 100 items.")
		}
	}
	principal, err := c.optionalTarget(in.Principal)
	if err != nil {
		return nil, err
	}
	results := []authResult{}
	err = c.view(func(rd store.Reader) error {
		list, v, err := c.testSubject(rd, principal, &in)
		if err != nil {
			return err
		}
		for _, info := range in.Infos {
			result, err := judge(list, v, info)
			if err != nil {
				return err
			}
			results = append(results, result)
		}
		return nil
	})
	return map[string]any{"authResults": results}, err
}

// testSubject returns the policies that are asked, and the values of the connection that is imagined.
func (c *call) testSubject(rd store.Reader, principal string, in *testRequest) ([]effectivePolicy, *values, error) {
	v := &values{clientID: c.query.Get("clientId")}
	thing := ""
	if certificateOf(principal) != "" {
		x, attached, err := connectionThing(rd, c.tenant(), principal, v.clientID)
		if err != nil {
			return nil, nil, err
		}
		if v.thing, v.attached = x, attached; x != nil {
			thing = x.Name
		}
	}
	list, err := c.effective(rd, principal, thing)
	if err != nil {
		return nil, nil, err
	}
	more, err := c.documents(rd, slices.Clone(in.Add))
	if err != nil {
		return nil, nil, err
	}
	list = slices.DeleteFunc(append(list, more...), func(p effectivePolicy) bool { return slices.Contains(in.Skip, p.Name) })
	return list, v, nil
}

// judge asks each policy about all resources of a question: what is refused on one of them is refused.
func judge(list []effectivePolicy, v policy.Values, info authInfo) (authResult, error) {
	r := authResult{Info: info, Decision: "IMPLICIT_DENY", Missing: []string{}}
	r.Allowed.Policies, r.Denied.Implicit.Policies, r.Denied.Explicit.Policies = []policySummary{}, []policySummary{}, []policySummary{}
	action := testActions[info.ActionType]
	granted := make([]bool, len(info.Resources))
	for _, p := range list {
		doc, err := policy.Parse([]byte(p.Document))
		if err != nil {
			return r, err
		}
		bound, says := doc.Bind(v), policy.Unmentioned
		for i, resource := range info.Resources {
			switch bound.Decide(action, resource) {
			case policy.Denied:
				says = policy.Denied
			case policy.Allowed:
				granted[i] = true
				says = max(says, policy.Allowed)
			}
		}
		switch says {
		case policy.Denied:
			r.Denied.Explicit.Policies = append(r.Denied.Explicit.Policies, p.policySummary)
		case policy.Allowed:
			r.Allowed.Policies = append(r.Allowed.Policies, p.policySummary)
		}
	}
	switch {
	case len(r.Denied.Explicit.Policies) > 0:
		r.Decision = "EXPLICIT_DENY"
	case !slices.Contains(granted, false) && len(granted) > 0:
		r.Decision = "ALLOWED"
	}
	return r, nil
}
