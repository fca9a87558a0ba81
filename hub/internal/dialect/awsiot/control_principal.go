package awsiot

import (
	"errors"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var principalOperations = []operation{
	{name: "AttachThingPrincipal", method: put, path: "/things/{thingName}/principals", do: (*call).attachThingPrincipal},
	{name: "DetachThingPrincipal", method: remove, path: "/things/{thingName}/principals", do: (*call).detachThingPrincipal},
	{name: "ListThingPrincipals", method: get, path: "/things/{thingName}/principals", do: (*call).listThingPrincipals},
	{name: "ListThingPrincipalsV2", method: get, path: "/things/{thingName}/principals-v2", do: (*call).listThingPrincipalsV2},
	{name: "ListPrincipalThings", method: get, path: "/principals/things", do: (*call).listPrincipalThings},
	{name: "ListPrincipalThingsV2", method: get, path: "/principals/things-v2", do: (*call).listPrincipalThingsV2},
}

// Names of attachments in requests.
const (
	exclusiveThing    = "EXCLUSIVE_THING"
	nonExclusiveThing = "NON_EXCLUSIVE_THING"
)

// principalHeader returns the principal that a header names by its ARN, as "cert/ID". Identities of Cognito are accepted and
// kept as they are: "REGION:UUID".
func (c *call) principalHeader(header string) (string, error) {
	v := c.r.Header.Get(header)
	if v == "" {
		return "", invalidValue("null", "principal", "Member must not be null")
	}
	return c.principal(v)
}

func (c *call) principal(v string) (string, error) {
	if p, ok := c.account.resource(v); ok && certificateIDConstraint.check("principal", certificateOf(p)) == nil {
		return p, nil
	}
	if region, id, ok := strings.Cut(v, ":"); ok && region == c.account.Region && len(id) == 36 && !strings.ContainsAny(id, "/:") {
		return v, nil
	}
	return "", refuse(invalidRequest, "Invalid principal %.200s", v)
}

// principalARN is the inverse of principal.
func (c *call) principalARN(p string) string {
	if certificateOf(p) == "" {
		return p
	}
	return c.account.arn(p)
}

// checkPrincipal checks that a principal is there. Identities of Cognito cannot be looked for.
func checkPrincipal(rd store.RecordReader, t core.TenantID, p string) error {
	if id := certificateOf(p); id != "" {
		_, err := readCertificate(rd, t, id)
		return noCertificate(err, id)
	}
	return nil
}

// checkSettled checks that something can be attached to a principal, or target, that is there.
func checkSettled(rd store.RecordReader, t core.TenantID, p string) error {
	id := certificateOf(p)
	if id == "" {
		return nil
	}
	crt, err := readCertificate(rd, t, id)
	if err != nil {
		return noCertificate(err, id)
	}
	return crt.settled()
}

func (c *call) attachThingPrincipal() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	p, perr := c.principalHeader("x-amzn-principal")
	kind := c.query.Get("thingPrincipalType")
	if kind != "" && kind != exclusiveThing && kind != nonExclusiveThing {
		err = errors.Join(err, invalidValue(kind, "thingPrincipalType", "Member must satisfy enum value set: [NON_EXCLUSIVE_THING, EXCLUSIVE_THING]"))
	}
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if _, err := readThing(tx, c.tenant(), name); err != nil {
			return noThing(err, name)
		}
		if err := checkSettled(tx, c.tenant(), p); err != nil {
			return err
		}
		others, err := principalThings(tx, c.tenant(), p)
		if err != nil {
			return err
		}
		others = slices.DeleteFunc(others, func(a attachment) bool { return a.Thing == name })
		for _, o := range others {
			if o.Exclusive || kind == exclusiveThing {
				return refuse(invalidRequest, "The principal is attached to thing %s, and one of both attachments is exclusive.", o.Thing)
			}
		}
		return c.d.attachPrincipal(tx, c.tenant(), attachment{Principal: p, Thing: name, Exclusive: kind == exclusiveThing})
	})
}

func (c *call) detachThingPrincipal() (any, error) {
	name, err := c.label("thingName", nameConstraint)
	p, perr := c.principalHeader("x-amzn-principal")
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if _, err := readThing(tx, c.tenant(), name); err != nil {
			return noThing(err, name)
		}
		attached, err := hasRecord(tx, c.tenant(), keyThingPrincipal+name+"/"+p)
		if err != nil {
			return err
		}
		if !attached {
			return refuse(notFound, "The principal is not attached to thing %s.", name)
		}
		return c.d.detachPrincipal(tx, c.tenant(), name, p)
	})
}

// attachments returns a page of what is attached to the thing in the path.
func (c *call) thingAttachments() (list []attachment, next string, err error) {
	name, err := c.label("thingName", nameConstraint)
	p, perr := c.page()
	if err := errors.Join(err, perr); err != nil {
		return nil, "", err
	}
	err = c.view(func(rd store.Reader) error {
		if _, err := readThing(rd, c.tenant(), name); err != nil {
			return noThing(err, name)
		}
		list, err = thingPrincipals(rd, c.tenant(), name)
		return err
	})
	list, next = pageOfAttachments(list, p, func(a attachment) string { return a.Principal })
	return list, next, err
}

// principalAttachments returns a page of what the principal in the header is attached to.
func (c *call) principalAttachments() (list []attachment, next string, err error) {
	principal, err := c.principalHeader("x-amzn-principal")
	p, perr := c.page()
	if err := errors.Join(err, perr); err != nil {
		return nil, "", err
	}
	err = c.view(func(rd store.Reader) (err error) {
		if err := checkPrincipal(rd, c.tenant(), principal); err != nil {
			return err
		}
		list, err = principalThings(rd, c.tenant(), principal)
		return err
	})
	list, next = pageOfAttachments(list, p, func(a attachment) string { return a.Thing })
	return list, next, err
}

// pageOfAttachments returns those of a page, of a kind if the request says so.
func pageOfAttachments(all []attachment, p page, name func(attachment) string) (list []attachment, next string) {
	for _, a := range all {
		if p.after != "" && name(a) <= p.after {
			continue
		}
		if len(list) == p.limit {
			return list, nextToken(name(list[len(list)-1]), true)
		}
		list = append(list, a)
	}
	return list, ""
}

func (a attachment) kind() string {
	if a.Exclusive {
		return exclusiveThing
	}
	return nonExclusiveThing
}

// ofKind leaves those of the kind that a request asks for. (Pages can be short then.)
func (c *call) ofKind(list []attachment) []attachment {
	kind := c.query.Get("thingPrincipalType")
	return slices.DeleteFunc(list, func(a attachment) bool { return kind != "" && a.kind() != kind })
}

func (c *call) listThingPrincipals() (any, error) {
	list, next, err := c.thingAttachments()
	arns := []string{}
	for _, a := range list {
		arns = append(arns, c.principalARN(a.Principal))
	}
	return struct {
		Principals []string `json:"principals"`
		NextToken  string   `json:"nextToken,omitempty"`
	}{arns, next}, err
}

func (c *call) listThingPrincipalsV2() (any, error) {
	list, next, err := c.thingAttachments()
	type object struct {
		Principal string `json:"principal"`
		Kind      string `json:"thingPrincipalType"`
	}
	objects := []object{}
	for _, a := range c.ofKind(list) {
		objects = append(objects, object{c.principalARN(a.Principal), a.kind()})
	}
	return struct {
		Objects   []object `json:"thingPrincipalObjects"`
		NextToken string   `json:"nextToken,omitempty"`
	}{objects, next}, err
}

func (c *call) listPrincipalThings() (any, error) {
	list, next, err := c.principalAttachments()
	names := []string{}
	for _, a := range list {
		names = append(names, a.Thing)
	}
	return struct {
		Things    []string `json:"things"`
		NextToken string   `json:"nextToken,omitempty"`
	}{names, next}, err
}

func (c *call) listPrincipalThingsV2() (any, error) {
	list, next, err := c.principalAttachments()
	type object struct {
		Thing string `json:"thingName"`
		Kind  string `json:"thingPrincipalType"`
	}
	objects := []object{}
	for _, a := range c.ofKind(list) {
		objects = append(objects, object{a.Thing, a.kind()})
	}
	return struct {
		Objects   []object `json:"principalThingObjects"`
		NextToken string   `json:"nextToken,omitempty"`
	}{objects, next}, err
}
