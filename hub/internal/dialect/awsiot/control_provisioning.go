package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var provisioningOperations = []operation{
	{name: "CreateProvisioningTemplate", method: post, path: "/provisioning-templates", do: (*call).createTemplate},
	{name: "ListProvisioningTemplates", method: get, path: "/provisioning-templates", do: (*call).listTemplates},
	{name: "DescribeProvisioningTemplate", method: get, path: "/provisioning-templates/{templateName}", do: (*call).describeTemplate},
	{name: "UpdateProvisioningTemplate", method: patch, path: "/provisioning-templates/{templateName}", do: (*call).updateTemplate},
	{name: "DeleteProvisioningTemplate", method: remove, path: "/provisioning-templates/{templateName}", do: (*call).deleteTemplate},
	{name: "CreateProvisioningTemplateVersion", method: post, path: "/provisioning-templates/{templateName}/versions", do: (*call).createTemplateVersion},
	{name: "ListProvisioningTemplateVersions", method: get, path: "/provisioning-templates/{templateName}/versions", do: (*call).listTemplateVersions},
	{name: "DescribeProvisioningTemplateVersion", method: get, path: "/provisioning-templates/{templateName}/versions/{versionId}", do: (*call).describeTemplateVersion},
	{name: "DeleteProvisioningTemplateVersion", method: remove, path: "/provisioning-templates/{templateName}/versions/{versionId}", do: (*call).deleteTemplateVersion},
	{name: "CreateProvisioningClaim", method: post, path: "/provisioning-templates/{templateName}/provisioning-claim", do: (*call).createClaim},
	{name: "RegisterThing", method: post, path: "/things", do: (*call).registerThing},
}

const (
	keyTemplate         = "provisioningtemplate/"
	maxTemplateVersions = 5
)

// The types of templates.
const (
	templateFleet = "FLEET_PROVISIONING"
	templateJITP  = "JITP"
)

// A provisioningTemplate is a template with all its versions.
type provisioningTemplate struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Type        string            `json:"type"`
	RoleARN     string            `json:"roleArn"` // kept as it was given: what a template may do is not limited by a role here
	Enabled     bool              `json:"enabled"`
	Default     int               `json:"default"`
	Last        int               `json:"last"`
	Versions    []templateVersion `json:"versions"`
	Created     time.Time         `json:"created"`
	Changed     time.Time         `json:"changed"`
}

type templateVersion struct {
	Version int       `json:"version"`
	Body    string    `json:"body"`
	Created time.Time `json:"created"`
}

func (t *provisioningTemplate) version(n int) *templateVersion {
	i := slices.IndexFunc(t.Versions, func(v templateVersion) bool { return v.Version == n })
	if i < 0 {
		return nil
	}
	return &t.Versions[i]
}

func readTemplate(rd store.RecordReader, t core.TenantID, name string) (x provisioningTemplate, err error) {
	return x, readRecord(rd, t, keyTemplate+name, &x)
}

func noTemplate(err error, name string) error {
	return missing(err, "Provisioning template %s does not exist.", name)
}

// checkTemplate checks the body of a template that is to be kept.
func checkTemplate(body string) error {
	t, err := parseTemplate(body)
	if err == nil {
		err = t.checkFleet()
	}
	if err != nil {
		return refuse(invalidRequest, "Invalid templateBody: %v", err)
	}
	return nil
}

// A templateRequest makes or changes a template; what is nil is not given.
type templateRequest struct {
	Name           string          `json:"templateName"`
	Description    *string         `json:"description"`
	Body           string          `json:"templateBody"`
	Enabled        *bool           `json:"enabled"`
	RoleARN        *string         `json:"provisioningRoleArn"`
	Hook           json.RawMessage `json:"preProvisioningHook"`
	Type           string          `json:"type"`
	DefaultVersion int             `json:"defaultVersionId"`
	Tags           []tag           `json:"tags"`
}

// check reports what holds for making and for changing. There is nothing here that could run a Lambda function, and devices
// must not be let in that the function would have refused.
func (r *templateRequest) check() error {
	if len(r.Hook) > 0 && string(r.Hook) != "null" {
		return refuse(invalidRequest, "Pre-provisioning hooks are not supported by this hub.")
	}
	if r.Description != nil && len(*r.Description) > 500 {
		return invalidValue(*r.Description, "description", "Member must have length less than or equal to 500")
	}
	return checkTags(r.Tags)
}

func (r *templateRequest) apply(t *provisioningTemplate) {
	if r.Description != nil {
		t.Description = *r.Description
	}
	if r.Enabled != nil {
		t.Enabled = *r.Enabled
	}
	if r.RoleARN != nil {
		t.RoleARN = *r.RoleARN
	}
}

func (c *call) templateARN(name string) string { return c.account.arn(keyTemplate + name) }

func (c *call) createTemplate() (any, error) {
	var in templateRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Type == "" {
		in.Type = templateFleet
	}
	if in.Type != templateFleet && in.Type != templateJITP {
		return nil, invalidValue(in.Type, "type", "Member must satisfy enum value set: [FLEET_PROVISIONING, JITP]")
	}
	if in.RoleARN == nil {
		return nil, invalidValue("null", "provisioningRoleArn", "Member must not be null")
	}
	if err := errors.Join(required("templateName", in.Name, templateNameConstraint), in.check(), checkTemplate(in.Body)); err != nil {
		return nil, err
	}
	err := c.do(func(tx *commit.Tx) error {
		if taken, err := hasRecord(tx, c.tenant(), keyTemplate+in.Name); err != nil {
			return err
		} else if taken {
			return c.exists(in.Name, keyTemplate+in.Name, "Provisioning template %s already exists.", in.Name)
		}
		now := tx.Now()
		t := provisioningTemplate{
			Name: in.Name, Type: in.Type, Default: 1, Last: 1, Created: now, Changed: now,
			Versions: []templateVersion{{Version: 1, Body: in.Body, Created: now}},
		}
		in.apply(&t)
		return errors.Join(writeRecord(tx, c.tenant(), keyTemplate+in.Name, t), putTags(tx, c.tenant(), keyTemplate+in.Name, in.Tags))
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"templateArn": c.templateARN(in.Name), "templateName": in.Name, "defaultVersionId": 1}, nil
}

// namedTemplate reads the template in the path.
func (c *call) namedTemplate() (t provisioningTemplate, err error) {
	name, err := c.label("templateName", templateNameConstraint)
	if err != nil {
		return t, err
	}
	err = c.view(func(rd store.Reader) error {
		t, err = readTemplate(rd, c.tenant(), name)
		return noTemplate(err, name)
	})
	return t, err
}

func (c *call) describeTemplate() (any, error) {
	t, err := c.namedTemplate()
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"templateArn": c.templateARN(t.Name), "templateName": t.Name, "description": t.Description, "creationDate": epoch(t.Created),
		"lastModifiedDate": epoch(t.Changed), "defaultVersionId": t.Default, "templateBody": t.version(t.Default).Body, "enabled": t.Enabled,
		"provisioningRoleArn": t.RoleARN, "type": t.Type,
	}, nil
}

func (c *call) listTemplates() (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	type summary struct {
		Arn         string `json:"templateArn"`
		Name        string `json:"templateName"`
		Description string `json:"description"`
		Created     epoch  `json:"creationDate"`
		Changed     epoch  `json:"lastModifiedDate"`
		Enabled     bool   `json:"enabled"`
		Type        string `json:"type"`
	}
	list, next := []summary{}, ""
	err = c.view(func(rd store.Reader) error {
		all, more, err := records[provisioningTemplate](rd, c.tenant(), keyTemplate, p.after, p.limit)
		for _, t := range all {
			list = append(list, summary{c.templateARN(t.Name), t.Name, t.Description, epoch(t.Created), epoch(t.Changed), t.Enabled, t.Type})
			next = nextToken(t.Name, more)
		}
		return err
	})
	return struct {
		Templates []summary `json:"templates"`
		NextToken string    `json:"nextToken,omitempty"`
	}{list, next}, err
}

// changeTemplate changes the template in the path by f.
func (c *call) changeTemplate(f func(t *provisioningTemplate, now time.Time) error) error {
	name, err := c.label("templateName", templateNameConstraint)
	if err != nil {
		return err
	}
	return c.do(func(tx *commit.Tx) error {
		t, err := readTemplate(tx, c.tenant(), name)
		if err != nil {
			return noTemplate(err, name)
		}
		if err := f(&t, tx.Now()); err != nil {
			return err
		}
		t.Changed = tx.Now()
		return writeRecord(tx, c.tenant(), keyTemplate+name, t)
	})
}

func noTemplateVersion(name string, n int) error {
	return refuse(notFound, "Provisioning template %s does not have a version %d.", name, n)
}

func (c *call) updateTemplate() (any, error) {
	var in templateRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	return nil, c.changeTemplate(func(t *provisioningTemplate, _ time.Time) error {
		if in.DefaultVersion != 0 {
			if t.version(in.DefaultVersion) == nil {
				return noTemplateVersion(t.Name, in.DefaultVersion)
			}
			t.Default = in.DefaultVersion
		}
		in.apply(t)
		return nil
	})
}

func (c *call) deleteTemplate() (any, error) {
	name, err := c.label("templateName", templateNameConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		t, err := readTemplate(tx, c.tenant(), name)
		if err != nil {
			return noTemplate(err, name)
		}
		if len(t.Versions) > 1 {
			return refuse(deleteConflict, "Provisioning template %s has versions beside the default one.", name)
		}
		return errors.Join(tx.DeleteRecord(c.tenant(), Name, keyTemplate+name), putTags(tx, c.tenant(), keyTemplate+name, nil))
	})
}

func (c *call) createTemplateVersion() (any, error) {
	var in struct {
		Body string `json:"templateBody"`
	}
	asDefault, err := c.flag("setAsDefault", false)
	if err == nil {
		err = c.decode(&in)
	}
	if err == nil {
		err = checkTemplate(in.Body)
	}
	if err != nil {
		return nil, err
	}
	var name string
	var version int
	err = c.changeTemplate(func(t *provisioningTemplate, now time.Time) error {
		if len(t.Versions) >= maxTemplateVersions {
			return refuse("VersionsLimitExceededException", "Provisioning template %s already has the maximum number of versions (%d)", t.Name, maxTemplateVersions)
		}
		t.Last++
		name, version = t.Name, t.Last
		t.Versions = append(t.Versions, templateVersion{Version: t.Last, Body: in.Body, Created: now})
		if asDefault {
			t.Default = t.Last
		}
		return nil
	})
	return map[string]any{
		"templateArn": c.templateARN(name), "templateName": name, "versionId": version, "isDefaultVersion": asDefault,
	}, err
}

func (c *call) listTemplateVersions() (any, error) {
	t, err := c.namedTemplate()
	type summary struct {
		ID      int   `json:"versionId"`
		Created epoch `json:"creationDate"`
		Default bool  `json:"isDefaultVersion"`
	}
	list := []summary{}
	for _, v := range t.Versions {
		list = append(list, summary{v.Version, epoch(v.Created), v.Version == t.Default})
	}
	return map[string]any{"versions": list}, err
}

func (c *call) templateVersionLabel() (int, error) {
	n, err := strconv.Atoi(c.labels["versionId"])
	if err != nil {
		return 0, invalidValue(c.labels["versionId"], "versionId", "Member must be a number")
	}
	return n, nil
}

func (c *call) describeTemplateVersion() (any, error) {
	n, err := c.templateVersionLabel()
	if err != nil {
		return nil, err
	}
	t, err := c.namedTemplate()
	if err != nil {
		return nil, err
	}
	v := t.version(n)
	if v == nil {
		return nil, noTemplateVersion(t.Name, n)
	}
	return map[string]any{"versionId": n, "creationDate": epoch(v.Created), "templateBody": v.Body, "isDefaultVersion": n == t.Default}, nil
}

func (c *call) deleteTemplateVersion() (any, error) {
	n, err := c.templateVersionLabel()
	if err != nil {
		return nil, err
	}
	return nil, c.changeTemplate(func(t *provisioningTemplate, _ time.Time) error {
		switch {
		case t.version(n) == nil:
			return noTemplateVersion(t.Name, n)
		case t.Default == n:
			return refuse(deleteConflict, "The default version of a provisioning template cannot be deleted.")
		}
		t.Versions = slices.DeleteFunc(slices.Clone(t.Versions), func(v templateVersion) bool { return v.Version == n })
		return nil
	})
}

// createClaim makes a certificate for a trusted user: it opens for five minutes, and for this template only.
func (c *call) createClaim() (any, error) {
	t, err := c.namedTemplate()
	if err != nil {
		return nil, err
	}
	keys, pub, err := newKeyPair(c.ctx())
	if err != nil {
		return nil, err
	}
	crt, err := c.d.issue(pub, statusActive)
	if err != nil {
		return nil, err
	}
	crt.Claim, crt.ClaimEnds = t.Name, crt.Created.Add(claimLife)
	err = c.do(func(tx *commit.Tx) error {
		if err := c.d.dropPending(tx, c.tenant()); err != nil {
			return err
		}
		return c.d.insertPending(tx, c.tenant(), crt)
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"certificateId": crt.ID, "certificatePem": crt.PEM, "keyPair": keys, "expiration": epoch(crt.ClaimEnds),
	}, nil
}

// registerThing provisions a thing by a template that comes with the request.
func (c *call) registerThing() (any, error) {
	var in struct {
		Body       string            `json:"templateBody"`
		Parameters map[string]string `json:"parameters"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	t, err := parseTemplate(in.Body)
	if err != nil {
		return nil, refuse(invalidRequest, "Invalid templateBody: %v", err)
	}
	p, err := t.evaluate(in.Parameters)
	if err != nil {
		return nil, refuse(invalidRequest, "%v", err)
	}
	out, err := c.provision(c.ctx(), p)
	if err != nil {
		return nil, err
	}
	arns := map[string]string{}
	for kind, resource := range out.resources {
		arns[p.names[kind]] = c.account.arn(resource)
	}
	return map[string]any{"certificatePem": out.certificate.PEM, "resourceArns": arns}, nil
}

// provision makes what a template of a request says, with a certificate that is there, or is issued or registered for it.
func (c *call) provision(ctx context.Context, p *provision) (out provisioned, err error) {
	fresh, err := c.d.freshCertificate(ctx, c.tenant(), p.Certificate)
	if err != nil {
		return out, err
	}
	err = c.do(func(tx *commit.Tx) error {
		crt := fresh
		if p.Certificate.ID != "" {
			if crt, err = readCertificate(tx, c.tenant(), p.Certificate.ID); err != nil {
				return noCertificate(err, p.Certificate.ID)
			}
		} else if err := c.d.insertCertificate(tx, c.tenant(), crt); errors.Is(err, core.ErrConflict) {
			return c.exists(crt.ID, certResource+crt.ID, "The certificate is already provisioned or registered")
		} else if err != nil {
			return err
		}
		out, err = c.d.apply(tx, &c.account, p, crt)
		return err
	})
	return out, err
}
