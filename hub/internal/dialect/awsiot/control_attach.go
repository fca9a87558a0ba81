package awsiot

import (
	"errors"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// target returns what a target's ARN names: a certificate, a thing group, or an identity of Cognito.
func (c *call) target(arn string) (string, error) {
	if r, ok := c.account.resource(arn); ok && strings.HasPrefix(r, groupResource) && nameConstraint.check("", r[len(groupResource):]) == nil {
		return r, nil
	}
	p, err := c.principal(arn)
	if err != nil {
		return "", refuse(invalidRequest, "Invalid target %.200s", arn)
	}
	return p, nil
}

// checkTarget checks that a target is there.
func checkTarget(rd store.RecordReader, t core.TenantID, target string) error {
	if group, ok := strings.CutPrefix(target, groupResource); ok {
		_, err := readThingGroup(rd, t, group)
		return noGroup(err, group)
	}
	return checkPrincipal(rd, t, target)
}

// bodyTarget reads the target of a request.
func (c *call) bodyTarget() (string, error) {
	var in struct {
		Target string `json:"target"`
	}
	if err := c.decode(&in); err != nil {
		return "", err
	}
	if in.Target == "" {
		return "", invalidValue("null", "target", "Member must not be null")
	}
	return c.target(in.Target)
}

func (c *call) attachPolicyTarget() (any, error) {
	target, err := c.bodyTarget()
	if err != nil {
		return nil, err
	}
	return c.attach(target)
}

func (c *call) attachPrincipalPolicy() (any, error) {
	principal, err := c.principalHeader("x-amzn-iot-principal")
	if err != nil {
		return nil, err
	}
	return c.attach(principal)
}

// maxPoliciesOfTarget is how many policies can be attached to a target (AWS IoT Core quotas).
const maxPoliciesOfTarget = 10

func (c *call) attach(target string) (any, error) {
	name, err := c.label("policyName", policyNameConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if _, err := readPolicy(tx, c.tenant(), name); err != nil {
			return noPolicy(err, name)
		}
		if err := checkTarget(tx, c.tenant(), target); err != nil {
			return err
		}
		if err := checkSettled(tx, c.tenant(), target); err != nil {
			return err
		}
		return c.d.attachAnother(tx, c.tenant(), name, target)
	})
}

// attachAnother attaches a policy where that is not too many.
func (d *Dialect) attachAnother(tx *commit.Tx, t core.TenantID, name, target string) error {
	have, _, err := policiesOf(tx, t, target, "", 0)
	if err != nil {
		return err
	}
	if len(have) >= maxPoliciesOfTarget && !slices.Contains(have, name) {
		return refuse(limitExceeded, "The maximum number of policies (%d) is attached to the target already.", maxPoliciesOfTarget)
	}
	return d.attachPolicy(tx, t, name, target)
}

func (c *call) detachPolicyTarget() (any, error) {
	target, err := c.bodyTarget()
	if err != nil {
		return nil, err
	}
	return c.detach(target)
}

func (c *call) detachPrincipalPolicy() (any, error) {
	principal, err := c.principalHeader("x-amzn-iot-principal")
	if err != nil {
		return nil, err
	}
	return c.detach(principal)
}

func (c *call) detach(target string) (any, error) {
	name, err := c.label("policyName", policyNameConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if _, err := readPolicy(tx, c.tenant(), name); err != nil {
			return noPolicy(err, name)
		}
		attached, err := hasRecord(tx, c.tenant(), keyTargetPolicy+target+"/"+name)
		if err != nil {
			return err
		}
		if !attached {
			return refuse(notFound, "The policy %s is not attached to the target.", name)
		}
		return c.d.detachPolicy(tx, c.tenant(), name, target)
	})
}

func (c *call) listAttachedPolicies() (any, error) {
	target, err := c.target(c.labels["target"])
	p, perr := c.marked()
	recursive, rerr := c.flag("recursive", false)
	if err := errors.Join(err, perr, rerr); err != nil {
		return nil, err
	}
	return c.policiesAttached(target, recursive, p)
}

func (c *call) listPrincipalPolicies() (any, error) {
	principal, err := c.principalHeader("x-amzn-iot-principal")
	p, perr := c.marked()
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	return c.policiesAttached(principal, false, p)
}

// policiesAttached returns a page of the policies of a target; of a group with those of the groups above it if recursive.
func (c *call) policiesAttached(target string, recursive bool, p page) (any, error) {
	var all []string
	err := c.view(func(rd store.Reader) (err error) {
		if err := checkTarget(rd, c.tenant(), target); err != nil {
			return err
		}
		if all, _, err = policiesOf(rd, c.tenant(), target, "", 0); err != nil || !recursive {
			return err
		}
		group, ok := strings.CutPrefix(target, groupResource)
		if !ok {
			return nil
		}
		g, err := readThingGroup(rd, c.tenant(), group)
		if err != nil {
			return err
		}
		above, err := rootToParent(rd, c.tenant(), g)
		for _, x := range above {
			more, _, err := policiesOf(rd, c.tenant(), groupResource+x.Name, "", 0)
			if err != nil {
				return err
			}
			all = append(all, more...)
		}
		return err
	})
	slices.Sort(all)
	return c.policyPage(p.pageOfList(slices.Compact(all))), err
}

// targets returns a page of the ARNs of what a policy is attached to.
func (c *call) targetsPage(name string) (list []string, next string, err error) {
	p, err := c.marked()
	if err := errors.Join(err, policyNameConstraint.check("policyName", name)); err != nil {
		return nil, "", err
	}
	list = []string{}
	err = c.view(func(rd store.Reader) error {
		if _, err := readPolicy(rd, c.tenant(), name); err != nil {
			return noPolicy(err, name)
		}
		found, more, err := targetsOf(rd, c.tenant(), name, p.after, p.limit)
		next = nextToken(lastOf(found), more)
		for _, target := range found {
			if strings.HasPrefix(target, groupResource) {
				list = append(list, c.account.arn(target))
			} else {
				list = append(list, c.principalARN(target))
			}
		}
		return err
	})
	return list, next, err
}

func (c *call) listTargetsForPolicy() (any, error) {
	list, next, err := c.targetsPage(c.labels["policyName"])
	return struct {
		Targets []string `json:"targets"`
		Next    string   `json:"nextMarker,omitempty"`
	}{list, next}, err
}

func (c *call) listPolicyPrincipals() (any, error) {
	list, next, err := c.targetsPage(c.r.Header.Get("x-amzn-iot-policy"))
	list = slices.DeleteFunc(list, func(arn string) bool { return strings.Contains(arn, ":"+groupResource) })
	return struct {
		Principals []string `json:"principals"`
		Next       string   `json:"nextMarker,omitempty"`
	}{list, next}, err
}
