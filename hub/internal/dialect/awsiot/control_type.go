package awsiot

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var thingTypeOperations = []operation{
	{name: "CreateThingType", method: post, path: "/thing-types/{thingTypeName}", do: (*call).createThingType},
	{name: "DescribeThingType", method: get, path: "/thing-types/{thingTypeName}", do: (*call).describeThingType},
	{name: "ListThingTypes", method: get, path: "/thing-types", do: (*call).listThingTypes},
	{name: "UpdateThingType", method: patch, path: "/thing-types/{thingTypeName}", do: (*call).updateThingType},
	{name: "DeprecateThingType", method: post, path: "/thing-types/{thingTypeName}/deprecate", do: (*call).deprecateThingType},
	{name: "DeleteThingType", method: remove, path: "/thing-types/{thingTypeName}", do: (*call).deleteThingTypeNow},
}

// maxSearchable is how many attributes of a type can be searched for at most (AWS IoT Core quotas).
const maxSearchable = 3

// A thingTypeProperties is how requests describe a type.
type thingTypeProperties struct {
	Description string   `json:"thingTypeDescription,omitempty"`
	Searchable  []string `json:"searchableAttributes,omitempty"`
}

func (p *thingTypeProperties) check() error {
	if err := descriptionConstraint.check("thingTypeProperties.thingTypeDescription", p.Description); err != nil {
		return err
	}
	if len(p.Searchable) > maxSearchable {
		return refuse(invalidRequest, "A thing type has at most %d searchable attributes.", maxSearchable)
	}
	for _, name := range p.Searchable {
		if err := attributeNameConstraint.check("thingTypeProperties.searchableAttributes", name); err != nil {
			return err
		}
	}
	return nil
}

// thingTypeRequest reads the name and the properties.
func (c *call) thingTypeRequest() (name string, p *thingTypeProperties, tags []tag, err error) {
	var in struct {
		Properties *thingTypeProperties `json:"thingTypeProperties"`
		Tags       []tag                `json:"tags"`
	}
	if name, err = c.label("thingTypeName", nameConstraint); err != nil {
		return name, nil, nil, err
	}
	if err := c.decode(&in); err != nil {
		return name, nil, nil, err
	}
	if in.Properties != nil {
		err = in.Properties.check()
	}
	return name, in.Properties, in.Tags, errors.Join(err, checkTags(in.Tags))
}

func (c *call) createThingType() (any, error) {
	name, p, tags, err := c.thingTypeRequest()
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = &thingTypeProperties{}
	}
	x := thingType{Name: name, ID: newUUID(), Description: p.Description, Searchable: p.Searchable}
	err = c.do(func(tx *commit.Tx) error {
		old, err := readThingType(tx, c.tenant(), name)
		if found, err := present(err); err != nil {
			return err
		} else if found {
			same := old.Description == x.Description && slices.Equal(old.Searchable, x.Searchable)
			if x = old; same {
				return nil
			}
			return c.exists(name, "thingtype/"+name, "ThingType %s already exists in account with different properties", name)
		}
		x.Created = tx.Now()
		if err := c.d.putThingType(tx, c.tenant(), x); err != nil {
			return err
		}
		if err := putTags(tx, c.tenant(), keyThingType+name, tags); err != nil {
			return err
		}
		return c.d.thingTypeEvent(tx, &c.account, "created", x)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"thingTypeName": name, "thingTypeArn": c.account.arn("thingtype/" + name), "thingTypeId": x.ID}, nil
}

// A thingTypeAnswer is a type as it is shown.
type thingTypeAnswer struct {
	Name       string              `json:"thingTypeName"`
	ID         string              `json:"thingTypeId,omitempty"`
	Arn        string              `json:"thingTypeArn"`
	Properties thingTypeProperties `json:"thingTypeProperties"`
	Metadata   thingTypeMetadata   `json:"thingTypeMetadata"`
}

type thingTypeMetadata struct {
	Deprecated      bool   `json:"deprecated"`
	DeprecationDate *epoch `json:"deprecationDate,omitempty"`
	CreationDate    epoch  `json:"creationDate"`
}

func (c *call) typeAnswer(x *thingType) thingTypeAnswer {
	out := thingTypeAnswer{
		Name: x.Name, ID: x.ID, Arn: c.account.arn("thingtype/" + x.Name),
		Properties: thingTypeProperties{x.Description, x.Searchable},
		Metadata:   thingTypeMetadata{Deprecated: !x.Deprecated.IsZero(), CreationDate: epoch(x.Created)},
	}
	if at := epoch(x.Deprecated); out.Metadata.Deprecated {
		out.Metadata.DeprecationDate = &at
	}
	return out
}

func noThingType(err error, name string) error {
	return missing(err, "Thing type %s does not exist.", name)
}

func (c *call) describeThingType() (any, error) {
	name, err := c.label("thingTypeName", nameConstraint)
	if err != nil {
		return nil, err
	}
	var x thingType
	err = c.view(func(rd store.Reader) (err error) {
		x, err = readThingType(rd, c.tenant(), name)
		return noThingType(err, name)
	})
	return c.typeAnswer(&x), err
}

func (c *call) listThingTypes() (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	prefix := c.query.Get("thingTypeName") // which the platform takes for the beginning of the name
	list, more, last := []thingTypeAnswer{}, false, p.after
	err = c.view(func(rd store.Reader) error {
		all, _, err := thingTypes(rd, c.tenant(), p.after, 0)
		for i := range all {
			if !strings.HasPrefix(all[i].Name, prefix) {
				continue
			}
			if more = len(list) == p.limit; more {
				break
			}
			answer := c.typeAnswer(&all[i])
			answer.ID = ""
			list, last = append(list, answer), answer.Name
		}
		return err
	})
	return struct {
		Types     []thingTypeAnswer `json:"thingTypes"`
		NextToken string            `json:"nextToken,omitempty"`
	}{list, nextToken(last, more)}, err
}

func (c *call) updateThingType() (any, error) {
	name, p, _, err := c.thingTypeRequest()
	if err != nil {
		return nil, err
	}
	return nil, c.changeThingType(name, func(x *thingType, _ time.Time) error {
		if p != nil {
			x.Description, x.Searchable = p.Description, p.Searchable
		}
		return nil
	})
}

// changeThingType changes a type by f.
func (c *call) changeThingType(name string, f func(*thingType, time.Time) error) error {
	return c.do(func(tx *commit.Tx) error {
		x, err := readThingType(tx, c.tenant(), name)
		if err != nil {
			return noThingType(err, name)
		}
		if err := f(&x, tx.Now()); err != nil {
			return err
		}
		if err := c.d.putThingType(tx, c.tenant(), x); err != nil {
			return err
		}
		return c.d.thingTypeEvent(tx, &c.account, "updated", x)
	})
}

func (c *call) deprecateThingType() (any, error) {
	var in struct {
		Undo bool `json:"undoDeprecate"`
	}
	name, err := c.label("thingTypeName", nameConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	return nil, c.changeThingType(name, func(x *thingType, now time.Time) error {
		if in.Undo {
			x.Deprecated = time.Time{}
		} else if x.Deprecated.IsZero() {
			x.Deprecated = now
		}
		return nil
	})
}

// deleteThingTypeNow deletes a type. The platform has one wait five minutes after its deprecation, for its caches; here
// there are none.
func (c *call) deleteThingTypeNow() (any, error) {
	name, err := c.label("thingTypeName", nameConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		x, err := readThingType(tx, c.tenant(), name)
		if found, err := present(err); err != nil || !found {
			return err
		}
		if x.Deprecated.IsZero() {
			return refuse(invalidRequest, "Can not delete thing type %s: it has to be deprecated first.", name)
		}
		users, _, err := thingsOfType(tx, c.tenant(), name, "", 1)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return refuse(invalidRequest, "Can not delete thing type %s: things are associated with it.", name)
		}
		if err := c.d.deleteThingType(tx, c.tenant(), name); err != nil {
			return err
		}
		if err := putTags(tx, c.tenant(), keyThingType+name, nil); err != nil {
			return err
		}
		return c.d.thingTypeEvent(tx, &c.account, "deleted", x)
	})
}
