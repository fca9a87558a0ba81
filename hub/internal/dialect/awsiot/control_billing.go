package awsiot

import (
	"errors"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var billingGroupOperations = []operation{
	{name: "CreateBillingGroup", method: post, path: "/billing-groups/{billingGroupName}", do: (*call).createBillingGroup},
	{name: "DescribeBillingGroup", method: get, path: "/billing-groups/{billingGroupName}", do: (*call).describeBillingGroup},
	{name: "UpdateBillingGroup", method: patch, path: "/billing-groups/{billingGroupName}", do: (*call).updateBillingGroup},
	{name: "DeleteBillingGroup", method: remove, path: "/billing-groups/{billingGroupName}", do: (*call).deleteBillingGroup},
	{name: "ListBillingGroups", method: get, path: "/billing-groups", do: (*call).listBillingGroups},
	{name: "AddThingToBillingGroup", method: put, path: "/billing-groups/addThingToBillingGroup", do: (*call).addThingToBillingGroup},
	{name: "RemoveThingFromBillingGroup", method: put, path: "/billing-groups/removeThingFromBillingGroup", do: (*call).removeThingFromBillingGroup},
	{name: "ListThingsInBillingGroup", method: get, path: "/billing-groups/{billingGroupName}/things", do: (*call).listThingsInBillingGroup},
}

const (
	keyBillingGroup      = "billinggroup/"
	keyBillingGroupThing = "billinggroup-thing/"
)

// A billingGroup groups things for bills; a thing is in one at most, and says so itself.
type billingGroup struct {
	Name        string    `json:"name"`
	ID          string    `json:"id"`
	Description string    `json:"description,omitempty"`
	Version     int64     `json:"version"`
	Created     time.Time `json:"created"`
}

func readBillingGroup(rd store.RecordReader, t core.TenantID, name string) (g billingGroup, err error) {
	return g, readRecord(rd, t, keyBillingGroup+name, &g)
}

func noBillingGroup(err error, name string) error {
	return missing(err, "Billing group %s does not exist.", name)
}

// billingRequest reads the name and the description; a nil one was not given.
func (c *call) billingRequest() (name string, description *string, expected int64, tags []tag, err error) {
	var in struct {
		Properties struct {
			Description *string `json:"billingGroupDescription"`
		} `json:"billingGroupProperties"`
		ExpectedVersion int64 `json:"expectedVersion"`
		Tags            []tag `json:"tags"`
	}
	if name, err = c.label("billingGroupName", nameConstraint); err == nil {
		err = c.decode(&in)
	}
	description = in.Properties.Description
	if err == nil && description != nil {
		err = descriptionConstraint.check("billingGroupProperties.billingGroupDescription", *description)
	}
	return name, description, in.ExpectedVersion, in.Tags, errors.Join(err, checkTags(in.Tags))
}

func (c *call) createBillingGroup() (any, error) {
	name, description, _, tags, err := c.billingRequest()
	if err != nil {
		return nil, err
	}
	g := billingGroup{Name: name, ID: newUUID(), Version: 1}
	if description != nil {
		g.Description = *description
	}
	err = c.do(func(tx *commit.Tx) error {
		old, err := readBillingGroup(tx, c.tenant(), name)
		if found, err := present(err); err != nil {
			return err
		} else if found {
			same := old.Description == g.Description
			if g = old; same {
				return nil
			}
			return c.exists(name, keyBillingGroup+name, "Billing group %s already exists in account with different properties", name)
		}
		g.Created = tx.Now()
		return errors.Join(writeRecord(tx, c.tenant(), keyBillingGroup+name, g), putTags(tx, c.tenant(), keyBillingGroup+name, tags))
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"billingGroupName": name, "billingGroupArn": c.account.arn(keyBillingGroup + name), "billingGroupId": g.ID}, nil
}

func (c *call) describeBillingGroup() (any, error) {
	name, err := c.label("billingGroupName", nameConstraint)
	if err != nil {
		return nil, err
	}
	var g billingGroup
	err = c.view(func(rd store.Reader) (err error) {
		g, err = readBillingGroup(rd, c.tenant(), name)
		return noBillingGroup(err, name)
	})
	return map[string]any{
		"billingGroupName": name, "billingGroupId": g.ID, "billingGroupArn": c.account.arn(keyBillingGroup + name), "version": g.Version,
		"billingGroupProperties": map[string]any{"billingGroupDescription": g.Description},
		"billingGroupMetadata":   map[string]any{"creationDate": epoch(g.Created)},
	}, err
}

func (c *call) updateBillingGroup() (any, error) {
	name, description, expected, _, err := c.billingRequest()
	if err != nil {
		return nil, err
	}
	var g billingGroup
	err = c.do(func(tx *commit.Tx) (err error) {
		if g, err = readBillingGroup(tx, c.tenant(), name); err != nil {
			return noBillingGroup(err, name)
		}
		if expected != 0 && expected != g.Version {
			return conflict("billing group", name)
		}
		if description != nil {
			g.Description = *description
		}
		g.Version++
		return writeRecord(tx, c.tenant(), keyBillingGroup+name, g)
	})
	return map[string]any{"version": g.Version}, err
}

func (c *call) deleteBillingGroup() (any, error) {
	name, expected, err := c.version("billingGroupName")
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		g, err := readBillingGroup(tx, c.tenant(), name)
		if found, err := present(err); err != nil || !found {
			return err
		}
		if expected != 0 && expected != g.Version {
			return conflict("billing group", name)
		}
		users, _, err := thingsInBillingGroup(tx, c.tenant(), name, "", 1)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return refuse(invalidRequest, "Cannot delete billing group %s: things are in it.", name)
		}
		return errors.Join(tx.DeleteRecord(c.tenant(), Name, keyBillingGroup+name), putTags(tx, c.tenant(), keyBillingGroup+name, nil))
	})
}

func (c *call) listBillingGroups() (any, error) {
	p, err := c.page()
	prefix := c.query.Get("namePrefixFilter")
	if err := errors.Join(err, optional("namePrefixFilter", prefix, nameConstraint)); err != nil {
		return nil, err
	}
	list, next := []groupName{}, ""
	err = c.view(func(rd store.Reader) error {
		found, more, err := namesBelow(rd, c.tenant(), keyBillingGroup, prefix, p)
		for _, n := range found {
			list = append(list, groupName{n, c.account.arn(keyBillingGroup + n)})
		}
		next = nextToken(lastOf(found), more)
		return err
	})
	return struct {
		Groups    []groupName `json:"billingGroups"`
		NextToken string      `json:"nextToken,omitempty"`
	}{list, next}, err
}

// namesBelow returns a page of the names behind key that begin with prefix.
func namesBelow(rd store.RecordReader, t core.TenantID, key, prefix string, p page) (list []string, more bool, err error) {
	after := ""
	if p.after != "" {
		var ok bool
		if after, ok = strings.CutPrefix(p.after, prefix); !ok {
			return nil, false, nil
		}
		if after == "" {
			after = "\x00" // behind the name that is all prefix
		}
	}
	list, more, err = names(rd, t, key+prefix, after, p.limit)
	for i := range list {
		list[i] = prefix + list[i]
	}
	return list, more, err
}

// billingMembership moves a thing into a billing group, or out of it with "".
func (c *call) billingMembership(f func(x *thing, group string) error) (any, error) {
	var in struct {
		GroupName string `json:"billingGroupName"`
		GroupArn  string `json:"billingGroupArn"`
		ThingName string `json:"thingName"`
		ThingArn  string `json:"thingArn"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	group, err := c.either("billingGroup", in.GroupName, in.GroupArn, keyBillingGroup)
	if err != nil {
		return nil, err
	}
	name, err := c.either("thing", in.ThingName, in.ThingArn, keyThing)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if _, err := readBillingGroup(tx, c.tenant(), group); err != nil {
			return noBillingGroup(err, group)
		}
		x, err := readThing(tx, c.tenant(), name)
		if err != nil {
			return noThing(err, name)
		}
		old := x.BillingGroup
		if err := f(&x, group); err != nil || x.BillingGroup == old {
			return err
		}
		x.Version++
		return c.d.putThing(tx, c.tenant(), x)
	})
}

func (c *call) addThingToBillingGroup() (any, error) {
	return c.billingMembership(func(x *thing, group string) error {
		if x.BillingGroup != "" && x.BillingGroup != group {
			return refuse(invalidRequest, "Thing %s is in billing group %s already.", x.Name, x.BillingGroup)
		}
		x.BillingGroup = group
		return nil
	})
}

func (c *call) removeThingFromBillingGroup() (any, error) {
	return c.billingMembership(func(x *thing, group string) error {
		if x.BillingGroup == group {
			x.BillingGroup = ""
		}
		return nil
	})
}

// thingsInBillingGroup returns a page of the names of the things in a billing group.
func thingsInBillingGroup(rd store.RecordReader, t core.TenantID, group, after string, limit int) ([]string, bool, error) {
	return names(rd, t, keyBillingGroupThing+group+"/", after, limit)
}

func (c *call) listThingsInBillingGroup() (any, error) {
	name, err := c.label("billingGroupName", nameConstraint)
	p, perr := c.page()
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	list, next := []string{}, ""
	err = c.view(func(rd store.Reader) error {
		if _, err := readBillingGroup(rd, c.tenant(), name); err != nil {
			return noBillingGroup(err, name)
		}
		found, more, err := thingsInBillingGroup(rd, c.tenant(), name, p.after, p.limit)
		list, next = append(list, found...), nextToken(lastOf(found), more)
		return err
	})
	return struct {
		Things    []string `json:"things"`
		NextToken string   `json:"nextToken,omitempty"`
	}{list, next}, err
}
