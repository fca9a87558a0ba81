package awsiot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// maxFacts bounds what operators are shown of one thing; the platform's API has all of it.
const maxFacts = 100

// Describe implements dialect.Describer: type, groups and certificates of a thing, with the policies that these bring.
func (d *Dialect) Describe(rd store.Reader, dev core.Device) ([]dialect.Fact, error) {
	x, err := readThing(rd, dev.Tenant, string(dev.ID))
	if errors.Is(err, core.ErrNotFound) {
		return nil, nil // a device that is no thing
	} else if err != nil {
		return nil, err
	}
	var list []dialect.Fact
	for _, f := range []dialect.Fact{{Name: "type", Value: x.Type}, {Name: "billing group", Value: x.BillingGroup}} {
		if f.Value != "" {
			list = append(list, f)
		}
	}
	groups, err := groupsOfThing(rd, dev.Tenant, x.Name)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		text, err := withPolicies(rd, dev.Tenant, g, groupResource+g)
		if err != nil {
			return nil, err
		}
		list = append(list, dialect.Fact{Name: "group", Value: text})
	}
	principals, err := thingPrincipals(rd, dev.Tenant, x.Name)
	if err != nil {
		return nil, err
	}
	for i, a := range principals {
		if len(list) >= maxFacts {
			list = append(list, dialect.Fact{Name: "certificate", Value: fmt.Sprintf("and %d more", len(principals)-i)})
			break
		}
		f, err := describePrincipal(rd, dev.Tenant, a.Principal)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

// describePrincipal says what is attached to a thing.
func describePrincipal(rd store.RecordReader, t core.TenantID, principal string) (dialect.Fact, error) {
	f := dialect.Fact{Name: "identity", Value: principal}
	if id := certificateOf(principal); id != "" {
		c, err := readCertificate(rd, t, id)
		if err != nil {
			return f, err
		}
		f = dialect.Fact{Name: "certificate", Value: fmt.Sprintf("%s %s until %s", id, c.Status, c.NotAfter.UTC().Format("2006-01-02"))}
	}
	var err error
	f.Value, err = withPolicies(rd, t, f.Value, principal)
	return f, err
}

// withPolicies adds to a text which policies are attached to a target.
func withPolicies(rd store.RecordReader, t core.TenantID, text, target string) (string, error) {
	policies, _, err := policiesOf(rd, t, target, "", 0)
	if len(policies) > 0 {
		text += ", policies: " + strings.Join(policies, ", ")
	}
	return text, err
}
