package awsiot

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var policyOperations = []operation{
	{name: "CreatePolicy", method: post, path: "/policies/{policyName}", do: (*call).createPolicy},
	{name: "GetPolicy", method: get, path: "/policies/{policyName}", do: (*call).getPolicy},
	{name: "ListPolicies", method: get, path: "/policies", do: (*call).listPolicies},
	{name: "DeletePolicy", method: remove, path: "/policies/{policyName}", do: (*call).deletePolicy},
	{name: "CreatePolicyVersion", method: post, path: "/policies/{policyName}/version", do: (*call).createPolicyVersion},
	{name: "GetPolicyVersion", method: get, path: "/policies/{policyName}/version/{policyVersionId}", do: (*call).getPolicyVersion},
	{name: "SetDefaultPolicyVersion", method: patch, path: "/policies/{policyName}/version/{policyVersionId}", do: (*call).setDefaultPolicyVersion},
	{name: "DeletePolicyVersion", method: remove, path: "/policies/{policyName}/version/{policyVersionId}", do: (*call).deletePolicyVersion},
	{name: "ListPolicyVersions", method: get, path: "/policies/{policyName}/version", do: (*call).listPolicyVersions},
	{name: "AttachPolicy", method: put, path: "/target-policies/{policyName}", do: (*call).attachPolicyTarget},
	{name: "DetachPolicy", method: post, path: "/target-policies/{policyName}", do: (*call).detachPolicyTarget},
	{name: "ListAttachedPolicies", method: post, path: "/attached-policies/{target}", do: (*call).listAttachedPolicies},
	{name: "ListTargetsForPolicy", method: post, path: "/policy-targets/{policyName}", do: (*call).listTargetsForPolicy},
	{name: "AttachPrincipalPolicy", method: put, path: "/principal-policies/{policyName}", do: (*call).attachPrincipalPolicy},
	{name: "DetachPrincipalPolicy", method: remove, path: "/principal-policies/{policyName}", do: (*call).detachPrincipalPolicy},
	{name: "ListPrincipalPolicies", method: get, path: "/principal-policies", do: (*call).listPrincipalPolicies},
	{name: "ListPolicyPrincipals", method: get, path: "/policy-principals", do: (*call).listPolicyPrincipals},
}

func noPolicy(err error, name string) error { return missing(err, "Policy not found: %s", name) }

// policyDocument reads and checks the document of a request.
func (c *call) policyDocument() (document string, tags []tag, err error) {
	var in struct {
		Document *string `json:"policyDocument"`
		Tags     []tag   `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return "", nil, err
	}
	if in.Document == nil {
		return "", nil, invalidValue("null", "policyDocument", "Member must not be null")
	}
	if err := checkDocument(*in.Document); err != nil {
		return "", nil, err
	}
	return *in.Document, in.Tags, checkTags(in.Tags)
}

func checkDocument(text string) error {
	if _, err := policy.Parse([]byte(text)); err != nil {
		return refuse("MalformedPolicyException", "Policy document is malformed: %s", strings.TrimPrefix(err.Error(), core.ErrInvalid.Error()+": "))
	}
	return nil
}

func (c *call) createPolicy() (any, error) {
	name, err := c.label("policyName", policyNameConstraint)
	if err != nil {
		return nil, err
	}
	document, tags, err := c.policyDocument()
	if err != nil {
		return nil, err
	}
	err = c.do(func(tx *commit.Tx) error {
		if err := c.d.insertPolicy(tx, &c.account, name, document); err != nil {
			return err
		}
		return putTags(tx, c.tenant(), keyPolicy+name, tags)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"policyName": name, "policyArn": c.account.arn(keyPolicy + name), "policyDocument": document, "policyVersionId": "1"}, nil
}

// insertPolicy makes a policy whose document has been checked.
func (d *Dialect) insertPolicy(tx *commit.Tx, a *account, name, document string) error {
	taken, err := hasRecord(tx, a.Tenant, keyPolicy+name)
	if err != nil {
		return err
	}
	if taken {
		e := refuse(alreadyExists, "Policy cannot be created - name already exists (name=%s)", name)
		e.extra = map[string]string{"resourceId": name, "resourceArn": a.arn(keyPolicy + name)}
		return e
	}
	now := tx.Now()
	return d.putPolicy(tx, a.Tenant, iotPolicy{
		Name: name, Default: 1, Last: 1, Created: now, Changed: now, Versions: []policyVersion{{Version: 1, Document: document, Created: now}},
	})
}

// readNamedPolicy reads the policy in the path.
func (c *call) namedPolicy() (p iotPolicy, err error) {
	name, err := c.label("policyName", policyNameConstraint)
	if err != nil {
		return p, err
	}
	err = c.view(func(rd store.Reader) error {
		p, err = readPolicy(rd, c.tenant(), name)
		return noPolicy(err, name)
	})
	return p, err
}

func (c *call) getPolicy() (any, error) {
	p, err := c.namedPolicy()
	return map[string]any{
		"policyName": p.Name, "policyArn": c.account.arn(keyPolicy + p.Name), "policyDocument": p.document(), "defaultVersionId": strconv.Itoa(p.Default),
		"creationDate": epoch(p.Created), "lastModifiedDate": epoch(p.Changed), "generationId": strconv.Itoa(p.Last),
	}, err
}

// A policyName is a policy in a list.
type policySummary struct {
	Name string `json:"policyName"`
	Arn  string `json:"policyArn"`
}

// policyPage is the answer with a list of policies.
func (c *call) policyPage(names []string, next string) any {
	list := []policySummary{}
	for _, n := range names {
		list = append(list, policySummary{n, c.account.arn(keyPolicy + n)})
	}
	return struct {
		Policies []policySummary `json:"policies"`
		Next     string          `json:"nextMarker,omitempty"`
	}{list, next}
}

func (c *call) listPolicies() (any, error) {
	p, err := c.marked()
	ascending, aerr := c.flag("isAscendingOrder", true)
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	var all []string
	err = c.view(func(rd store.Reader) (err error) {
		all, _, err = names(rd, c.tenant(), keyPolicy, "", 0)
		return err
	})
	if !ascending {
		slices.Reverse(all)
		if i := slices.Index(all, p.after); p.after != "" && i >= 0 {
			all = all[i+1:]
		}
		if len(all) > p.limit {
			return c.policyPage(all[:p.limit], nextToken(all[p.limit-1], true)), err
		}
		return c.policyPage(all, ""), err
	}
	return c.policyPage(p.pageOfList(all)), err
}

// deletePolicy refuses what would take rights away from principals unnoticed.
func (c *call) deletePolicy() (any, error) {
	name, err := c.label("policyName", policyNameConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		p, err := readPolicy(tx, c.tenant(), name)
		if err != nil {
			return noPolicy(err, name)
		}
		targets, _, err := targetsOf(tx, c.tenant(), name, "", 1)
		switch {
		case err != nil:
			return err
		case len(targets) > 0:
			return refuse(deleteConflict, "The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name)
		case len(p.Versions) > 1:
			return refuse(deleteConflict, "Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name)
		}
		return errors.Join(c.d.deletePolicy(tx, c.tenant(), name), putTags(tx, c.tenant(), keyPolicy+name, nil))
	})
}

func (c *call) createPolicyVersion() (any, error) {
	name, err := c.label("policyName", policyNameConstraint)
	asDefault, ferr := c.flag("setAsDefault", false)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	document, _, err := c.policyDocument()
	if err != nil {
		return nil, err
	}
	var v policyVersion
	err = c.do(func(tx *commit.Tx) error {
		p, err := readPolicy(tx, c.tenant(), name)
		if err != nil {
			return noPolicy(err, name)
		}
		if len(p.Versions) >= maxPolicyVersions {
			return refuse("VersionsLimitExceededException", "The policy %s already has the maximum number of versions (%d)", name, maxPolicyVersions)
		}
		p.Last++
		v = policyVersion{Version: p.Last, Document: document, Created: tx.Now()}
		p.Versions, p.Changed = append(p.Versions, v), tx.Now()
		if asDefault {
			p.Default = v.Version
		}
		return c.d.putPolicy(tx, c.tenant(), p)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"policyArn": c.account.arn(keyPolicy + name), "policyDocument": document, "policyVersionId": v.id(), "isDefaultVersion": asDefault,
	}, nil
}

// versionLabel reads the number of a version in the path.
func (c *call) versionLabel() (int, error) {
	text, err := c.label("policyVersionId", policyVersionConstraint)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func noVersion(name string, n int) error {
	return refuse(notFound, "The policy %s does not have a version %d.", name, n)
}

func (c *call) getPolicyVersion() (any, error) {
	n, err := c.versionLabel()
	if err != nil {
		return nil, err
	}
	p, err := c.namedPolicy()
	if err != nil {
		return nil, err
	}
	v := p.version(n)
	if v == nil {
		return nil, noVersion(p.Name, n)
	}
	return map[string]any{
		"policyArn": c.account.arn(keyPolicy + p.Name), "policyName": p.Name, "policyDocument": v.Document, "policyVersionId": v.id(),
		"isDefaultVersion": n == p.Default, "creationDate": epoch(v.Created), "lastModifiedDate": epoch(v.Created), "generationId": v.id(),
	}, nil
}

// changeVersion changes the policy in the path by f, which gets the number of the version in the path; the version is there.
func (c *call) changeVersion(f func(p *iotPolicy, n int) error) (any, error) {
	name, err := c.label("policyName", policyNameConstraint)
	if err != nil {
		return nil, err
	}
	n, err := c.versionLabel()
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		p, err := readPolicy(tx, c.tenant(), name)
		if err != nil {
			return noPolicy(err, name)
		}
		if p.version(n) == nil {
			return noVersion(name, n)
		}
		if err := f(&p, n); err != nil {
			return err
		}
		p.Changed = tx.Now()
		return c.d.putPolicy(tx, c.tenant(), p)
	})
}

func (c *call) setDefaultPolicyVersion() (any, error) {
	return c.changeVersion(func(p *iotPolicy, n int) error {
		p.Default = n
		return nil
	})
}

func (c *call) deletePolicyVersion() (any, error) {
	return c.changeVersion(func(p *iotPolicy, n int) error {
		if p.Default == n {
			return refuse(invalidRequest, "Cannot delete the default version of a policy")
		}
		p.Versions = slices.DeleteFunc(slices.Clone(p.Versions), func(v policyVersion) bool { return v.Version == n })
		return nil
	})
}

func (c *call) listPolicyVersions() (any, error) {
	p, err := c.namedPolicy()
	type summary struct {
		ID      string `json:"versionId"`
		Default bool   `json:"isDefaultVersion"`
		Created epoch  `json:"createDate"`
	}
	list := []summary{}
	for i := len(p.Versions) - 1; i >= 0; i-- { // the newest first
		v := &p.Versions[i]
		list = append(list, summary{v.id(), v.Version == p.Default, epoch(v.Created)})
	}
	return map[string]any{"policyVersions": list}, err
}
