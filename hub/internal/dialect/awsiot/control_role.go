package awsiot

import (
	"errors"
	"regexp"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Role aliases are what devices ask the credentials provider for. The role that one stands for is kept and shown: there are no
// roles here, and what a device may do with the credentials that it is lent is what its certificate's policies say.

var roleOperations = []operation{
	{name: "CreateRoleAlias", method: post, path: "/role-aliases/{roleAlias}", do: (*call).createRoleAlias},
	{name: "DescribeRoleAlias", method: get, path: "/role-aliases/{roleAlias}", do: (*call).describeRoleAlias},
	{name: "UpdateRoleAlias", method: put, path: "/role-aliases/{roleAlias}", do: (*call).updateRoleAlias},
	{name: "DeleteRoleAlias", method: remove, path: "/role-aliases/{roleAlias}", do: (*call).deleteRoleAlias},
	{name: "ListRoleAliases", method: get, path: "/role-aliases", do: (*call).listRoleAliases},
}

const (
	keyRoleAlias = "rolealias/"
	// maxRoleAliases is how many an account has at most (AWS IoT Core quotas).
	maxRoleAliases = 100
)

// How long credentials last, in seconds (API reference, CreateRoleAlias).
const (
	minCredentialSeconds     = 900
	maxCredentialSeconds     = 43_200
	defaultCredentialSeconds = 3600
)

var roleARNPattern = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)

// A roleAlias is what devices call a role.
type roleAlias struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"` // ARN
	Seconds int64     `json:"seconds"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
}

func readRoleAlias(rd store.RecordReader, t core.TenantID, name string) (x roleAlias, err error) {
	err = readRecord(rd, t, keyRoleAlias+name, &x)
	return x, missing(err, "Role alias %s does not exist.", name)
}

// A roleAliasRequest makes or changes a role alias; what is nil is not given.
type roleAliasRequest struct {
	Role    *string `json:"roleArn"`
	Seconds *int64  `json:"credentialDurationSeconds"`
	Tags    []tag   `json:"tags"`
}

func (r *roleAliasRequest) apply(x *roleAlias) error {
	if r.Role != nil {
		x.Role = *r.Role
	}
	if r.Seconds != nil {
		x.Seconds = *r.Seconds
	}
	switch {
	case len(x.Role) < 20 || len(x.Role) > 2048 || !roleARNPattern.MatchString(x.Role):
		return refuse(invalidRequest, "roleArn %.100q is not the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME", x.Role)
	case x.Seconds < minCredentialSeconds || x.Seconds > maxCredentialSeconds:
		return refuse(invalidRequest, "credentialDurationSeconds must be between %d and %d.", minCredentialSeconds, maxCredentialSeconds)
	}
	return nil
}

// roleAliasRequest reads the name and the body of a request.
func (c *call) roleAliasRequest() (name string, in roleAliasRequest, err error) {
	if name, err = c.label("roleAlias", authorizerConstraint); err == nil {
		err = c.decode(&in)
	}
	return name, in, err
}

func (c *call) roleAliasAnswer(name string) any {
	return map[string]any{"roleAlias": name, "roleAliasArn": c.account.arn(keyRoleAlias + name)}
}

func (c *call) createRoleAlias() (any, error) {
	name, in, err := c.roleAliasRequest()
	x := roleAlias{Name: name, Seconds: defaultCredentialSeconds}
	if err == nil {
		err = errors.Join(in.apply(&x), checkTags(in.Tags))
	}
	if err != nil {
		return nil, err
	}
	err = c.do(func(tx *commit.Tx) error {
		known, err := hasRecord(tx, c.tenant(), keyRoleAlias+name)
		if err != nil {
			return err
		} else if known {
			return c.exists(name, keyRoleAlias+name, "Role alias %s already exists.", name)
		}
		all, _, err := names(tx, c.tenant(), keyRoleAlias, "", 0)
		if err != nil {
			return err
		} else if len(all) >= maxRoleAliases {
			return refuse(limitExceeded, "There are %d role aliases already.", len(all))
		}
		x.Created, x.Changed = tx.Now(), tx.Now()
		return errors.Join(writeRecord(tx, c.tenant(), keyRoleAlias+name, x), putTags(tx, c.tenant(), keyRoleAlias+name, in.Tags))
	})
	return c.roleAliasAnswer(name), err
}

func (c *call) updateRoleAlias() (any, error) {
	name, in, err := c.roleAliasRequest()
	if err != nil {
		return nil, err
	}
	err = c.do(func(tx *commit.Tx) error {
		x, err := readRoleAlias(tx, c.tenant(), name)
		if err != nil {
			return err
		}
		if err := in.apply(&x); err != nil {
			return err
		}
		x.Changed = tx.Now()
		return writeRecord(tx, c.tenant(), keyRoleAlias+name, x)
	})
	return c.roleAliasAnswer(name), err
}

func (c *call) describeRoleAlias() (any, error) {
	name, err := c.label("roleAlias", authorizerConstraint)
	if err != nil {
		return nil, err
	}
	var x roleAlias
	err = c.view(func(rd store.Reader) (err error) {
		x, err = readRoleAlias(rd, c.tenant(), name)
		return err
	})
	return map[string]any{"roleAliasDescription": map[string]any{
		"roleAlias": name, "roleAliasArn": c.account.arn(keyRoleAlias + name), "roleArn": x.Role, "owner": c.account.ID,
		"credentialDurationSeconds": x.Seconds, "creationDate": epoch(x.Created), "lastModifiedDate": epoch(x.Changed),
	}}, err
}

func (c *call) deleteRoleAlias() (any, error) {
	name, err := c.label("roleAlias", authorizerConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if _, err := readRoleAlias(tx, c.tenant(), name); err != nil {
			return err
		}
		return errors.Join(tx.DeleteRecord(c.tenant(), Name, keyRoleAlias+name), putTags(tx, c.tenant(), keyRoleAlias+name, nil))
	})
}

func (c *call) listRoleAliases() (any, error) {
	p, err := c.marked()
	if err != nil {
		return nil, err
	}
	list, next := []string{}, ""
	err = c.view(func(rd store.Reader) error {
		found, more, err := names(rd, c.tenant(), keyRoleAlias, p.after, p.limit)
		list, next = append(list, found...), nextToken(lastOf(found), more)
		return err
	})
	return struct {
		Aliases []string `json:"roleAliases"`
		Next    string   `json:"nextMarker,omitempty"`
	}{list, next}, err
}
