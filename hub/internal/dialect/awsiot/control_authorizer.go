package awsiot

import (
	"errors"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var authorizerOperations = []operation{
	{name: "CreateAuthorizer", method: post, path: "/authorizer/{authorizerName}", do: (*call).createAuthorizer},
	{name: "DescribeAuthorizer", method: get, path: "/authorizer/{authorizerName}", do: (*call).describeAuthorizer},
	{name: "UpdateAuthorizer", method: put, path: "/authorizer/{authorizerName}", do: (*call).updateAuthorizer},
	{name: "DeleteAuthorizer", method: remove, path: "/authorizer/{authorizerName}", do: (*call).deleteAuthorizer},
	{name: "ListAuthorizers", method: get, path: "/authorizers/", do: (*call).listAuthorizers},
	{name: "SetDefaultAuthorizer", method: post, path: "/default-authorizer", do: (*call).setDefaultAuthorizer},
	{name: "DescribeDefaultAuthorizer", method: get, path: "/default-authorizer", do: (*call).describeDefaultAuthorizer},
	{name: "ClearDefaultAuthorizer", method: remove, path: "/default-authorizer", do: (*call).clearDefaultAuthorizer},
}

// maxAuthorizers is how many custom authorizers an account has at most (AWS IoT Core quotas).
const maxAuthorizers = 10

// An authorizerRequest makes or changes an authorizer; what is nil is not given.
type authorizerRequest struct {
	Function  *string           `json:"authorizerFunctionArn"`
	TokenKey  *string           `json:"tokenKeyName"`
	Keys      map[string]string `json:"tokenSigningPublicKeys"`
	Status    *string           `json:"status"`
	Unsigned  *bool             `json:"signingDisabled"`
	CacheHTTP *bool             `json:"enableCachingForHttp"` // there is nothing to cache
	Tags      []tag             `json:"tags"`
}

func (r *authorizerRequest) apply(a *authorizer) error {
	if r.Function != nil {
		a.Function = *r.Function
	}
	if r.TokenKey != nil {
		a.TokenKey = *r.TokenKey
	}
	if r.Keys != nil {
		a.Keys = r.Keys
	}
	if r.Unsigned != nil {
		a.Unsigned = *r.Unsigned
	}
	if r.Status != nil {
		if *r.Status != statusActive && *r.Status != statusInactive {
			return invalidValue(*r.Status, "status", "Member must satisfy enum value set: [ACTIVE, INACTIVE]")
		}
		a.Active = *r.Status == statusActive
	}
	switch {
	case a.Function == "" || len(a.Function) > 2048:
		return invalidValue(a.Function, "authorizerFunctionArn", "Member must have length between 1 and 2048")
	case !a.Unsigned && (a.TokenKey == "" || len(a.Keys) == 0):
		return refuse(invalidRequest, "tokenKeyName and tokenSigningPublicKeys are required unless signing is disabled.")
	case len(a.Keys) > 2:
		return refuse(invalidRequest, "At most 2 keys can be given.")
	}
	for name, text := range r.Keys {
		if rsaKey(text) == nil {
			return refuse(invalidRequest, "The key %.40q is not an RSA public key in PEM of at most %d bits.", name, maxTokenKeyBits)
		}
	}
	return nil
}

func noAuthorizer(err error, name string) error {
	return missing(err, "Authorizer %s does not exist.", name)
}

func (c *call) authorizerARN(name string) string { return c.account.arn(keyAuthorizer + name) }

func (c *call) authorizerAnswer(name string) any {
	return map[string]any{"authorizerName": name, "authorizerArn": c.authorizerARN(name)}
}

func (c *call) createAuthorizer() (any, error) {
	name, err := c.label("authorizerName", authorizerConstraint)
	var in authorizerRequest
	if err == nil {
		err = c.decode(&in)
	}
	a := authorizer{Name: name, Active: true}
	if err == nil {
		err = errors.Join(in.apply(&a), checkTags(in.Tags))
	}
	if err != nil {
		return nil, err
	}
	err = c.do(func(tx *commit.Tx) error {
		all, _, err := authorizers(tx, c.tenant(), "", 0)
		if err != nil {
			return err
		}
		for _, x := range all {
			if x.Name == name {
				return c.exists(name, keyAuthorizer+name, "Authorizer %s already exists.", name)
			}
		}
		if len(all) >= maxAuthorizers {
			return refuse(limitExceeded, "There are %d authorizers already.", len(all))
		}
		a.Created, a.Changed = tx.Now(), tx.Now()
		return errors.Join(c.d.putAuthorizer(tx, c.tenant(), a), putTags(tx, c.tenant(), keyAuthorizer+name, in.Tags))
	})
	if err != nil {
		return nil, err
	}
	return c.authorizerAnswer(name), nil
}

func (c *call) describedAuthorizer(a *authorizer) any {
	keys := a.Keys
	if keys == nil {
		keys = map[string]string{}
	}
	return map[string]any{"authorizerDescription": map[string]any{
		"authorizerName": a.Name, "authorizerArn": c.authorizerARN(a.Name), "authorizerFunctionArn": a.Function, "tokenKeyName": a.TokenKey,
		"tokenSigningPublicKeys": keys, "status": activeIf(a.Active), "creationDate": epoch(a.Created), "lastModifiedDate": epoch(a.Changed),
		"signingDisabled": a.Unsigned, "enableCachingForHttp": false,
	}}
}

func (c *call) describeAuthorizer() (any, error) {
	name, err := c.label("authorizerName", authorizerConstraint)
	if err != nil {
		return nil, err
	}
	var a authorizer
	err = c.view(func(rd store.Reader) (err error) {
		a, err = readAuthorizer(rd, c.tenant(), name)
		return noAuthorizer(err, name)
	})
	return c.describedAuthorizer(&a), err
}

func (c *call) updateAuthorizer() (any, error) {
	name, err := c.label("authorizerName", authorizerConstraint)
	var in authorizerRequest
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	if in.Unsigned != nil {
		return nil, refuse(invalidRequest, "signingDisabled cannot be changed.")
	}
	err = c.do(func(tx *commit.Tx) error {
		a, err := readAuthorizer(tx, c.tenant(), name)
		if err != nil {
			return noAuthorizer(err, name)
		}
		if err := in.apply(&a); err != nil {
			return err
		}
		a.Changed = tx.Now()
		return c.d.putAuthorizer(tx, c.tenant(), a)
	})
	return c.authorizerAnswer(name), err
}

func (c *call) deleteAuthorizer() (any, error) {
	name, err := c.label("authorizerName", authorizerConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		a, err := readAuthorizer(tx, c.tenant(), name)
		if err != nil {
			return noAuthorizer(err, name)
		}
		acc, err := readAccount(tx, c.tenant())
		if err != nil {
			return err
		}
		if a.Active || acc.DefaultAuthorizer == name {
			return refuse(deleteConflict, "Authorizer %s is active, or the default one.", name)
		}
		return errors.Join(c.d.deleteAuthorizer(tx, c.tenant(), name), putTags(tx, c.tenant(), keyAuthorizer+name, nil))
	})
}

func (c *call) listAuthorizers() (any, error) {
	p, err := c.marked()
	status := c.query.Get("status")
	if err != nil {
		return nil, err
	}
	type summary struct {
		Name string `json:"authorizerName"`
		Arn  string `json:"authorizerArn"`
	}
	list, next := []summary{}, ""
	err = c.view(func(rd store.Reader) error {
		all, more, err := authorizers(rd, c.tenant(), p.after, p.limit)
		for _, a := range all {
			if status == "" || status == activeIf(a.Active) {
				list = append(list, summary{a.Name, c.authorizerARN(a.Name)})
			}
			next = nextToken(a.Name, more)
		}
		return err
	})
	return struct {
		Authorizers []summary `json:"authorizers"`
		Next        string    `json:"nextMarker,omitempty"`
	}{list, next}, err
}

// setDefault changes the authorizer of connections that name none.
func (c *call) setDefault(name string, check func(a account) error) error {
	return c.do(func(tx *commit.Tx) error {
		if name != "" {
			if _, err := readAuthorizer(tx, c.tenant(), name); err != nil {
				return noAuthorizer(err, name)
			}
		}
		a, err := readAccount(tx, c.tenant())
		if err != nil {
			return err
		}
		if err := check(a); err != nil {
			return err
		}
		a.DefaultAuthorizer = name
		return c.d.putAccount(tx, a)
	})
}

func (c *call) setDefaultAuthorizer() (any, error) {
	var in struct {
		Name string `json:"authorizerName"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := required("authorizerName", in.Name, authorizerConstraint); err != nil {
		return nil, err
	}
	err := c.setDefault(in.Name, func(a account) error {
		if a.DefaultAuthorizer != "" && a.DefaultAuthorizer != in.Name {
			return c.exists(a.DefaultAuthorizer, keyAuthorizer+a.DefaultAuthorizer, "There is a default authorizer already.")
		}
		return nil
	})
	return c.authorizerAnswer(in.Name), err
}

func (c *call) clearDefaultAuthorizer() (any, error) {
	return nil, c.setDefault("", func(a account) error {
		if a.DefaultAuthorizer == "" {
			return refuse(notFound, "There is no default authorizer.")
		}
		return nil
	})
}

func (c *call) describeDefaultAuthorizer() (any, error) {
	var x authorizer
	err := c.view(func(rd store.Reader) error {
		a, err := readAccount(rd, c.tenant())
		if err != nil {
			return err
		}
		if a.DefaultAuthorizer == "" {
			return refuse(notFound, "There is no default authorizer.")
		}
		x, err = readAuthorizer(rd, c.tenant(), a.DefaultAuthorizer)
		return noAuthorizer(err, a.DefaultAuthorizer)
	})
	return c.describedAuthorizer(&x), err
}
