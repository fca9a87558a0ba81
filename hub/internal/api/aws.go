package api

import (
	"net/http"
	"reflect"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/greengrass"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const greengrassPath = tenantPath + "/greengrass"

// awsRoutes are those for what AWS has other consoles for: who may use its API, and what devices discover.
func (s *Server) awsRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: tenantPath + "/access-keys", id: "listAccessKeys", tag: "aws", summary: "List access keys",
			doc:   "The access keys of a tenant, by id, without their secrets.",
			scope: core.ScopeRead, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.AccessKey]](), do: s.listAccessKeys,
		},
		{
			method: http.MethodPost, path: tenantPath + "/access-keys", id: "createAccessKey", tag: "aws", summary: "Make an access key",
			example: `{"name": "deployment"}`,
			doc:     "Make an access key. Requests that are signed with it may do everything that AWS IoT's API offers, in this tenant. The answer is the only place where the secret is told.",
			scope:   core.ScopeAdmin, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewAccessKey](), answer: reflect.TypeFor[admin.CreatedAccessKey](), do: s.createAccessKey,
		},
		{
			method: http.MethodDelete, path: tenantPath + "/access-keys/{id}", id: "deleteAccessKey", tag: "aws", summary: "Delete an access key",
			doc:   "End an access key, and the connections that were opened with it.",
			scope: core.ScopeAdmin, status: http.StatusNoContent, do: s.deleteAccessKey,
		},
		{
			method: http.MethodGet, path: greengrassPath, id: "listGreengrassGroups", tag: "aws", summary: "List Greengrass groups",
			doc:   "The groups of Greengrass discovery, by id.",
			scope: core.ScopeRead, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.GreengrassGroup]](), do: s.listGreengrass,
		},
		{
			method: http.MethodGet, path: greengrassPath + "/{id}", id: "showGreengrassGroup", tag: "aws", summary: "Show a Greengrass group",
			doc:   "One group.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.GreengrassGroup](), do: s.showGreengrass,
		},
		{
			method: http.MethodPut, path: greengrassPath + "/{id}", id: "setGreengrassGroup", tag: "aws", summary: "Make or change a Greengrass group",
			example: `{"cores": [{"thing": "core1", "ways": [{"id": "lan", "host": "192.0.2.1", "port": 8883}]}], "devices": ["pump-7"]}`,
			doc:     "Say which devices may find which cores, and where these can be reached. Devices ask for it by Greengrass discovery.",
			scope:   core.ScopeWrite, body: reflect.TypeFor[admin.SetGreengrassGroup](), answer: reflect.TypeFor[admin.GreengrassGroup](), do: s.setGreengrass,
		},
		{
			method: http.MethodDelete, path: greengrassPath + "/{id}", id: "deleteGreengrassGroup", tag: "aws", summary: "Delete a Greengrass group",
			doc:   "Delete a group.",
			scope: core.ScopeWrite, status: http.StatusNoContent, do: s.deleteGreengrass,
		},
	}
}

func accessKeyOf(k accesskey.Key) admin.AccessKey {
	return admin.AccessKey{
		ID: k.ID, Tenant: string(k.Tenant), Name: k.Name, Created: admin.NewTime(k.Created), Expires: admin.NewTime(k.Expires),
	}
}

func (s *Server) listAccessKeys(r *request) (any, error) {
	t := core.TenantID(r.PathValue("tenant"))
	var all []accesskey.Key
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if err := r.tenantExists(rd, t); err != nil {
			return err
		}
		all, err = accesskey.List(rd, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := window(r, all, func(k accesskey.Key) string { return k.ID })
	out := admin.Page[admin.AccessKey]{Items: []admin.AccessKey{}, Next: next}
	for _, k := range page {
		out.Items = append(out.Items, accessKeyOf(k))
	}
	return out, err
}

func (s *Server) createAccessKey(r *request) (any, error) {
	in := r.body.(*admin.NewAccessKey)
	t := core.TenantID(r.PathValue("tenant"))
	var k accesskey.Key
	var secret accesskey.Secret
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		k, secret, err = s.cfg.Keys.Make(tx, t, in.Name, in.Expires.Time)
		return reveal(err, core.ErrInvalid, core.ErrTooLarge)
	})
	if err != nil {
		return nil, err
	}
	return admin.CreatedAccessKey{AccessKey: accessKeyOf(k), Secret: secret.Secret, SessionToken: secret.Token}, nil
}

func (s *Server) deleteAccessKey(r *request) (any, error) {
	t, id := core.TenantID(r.PathValue("tenant")), r.PathValue("id")
	return nil, s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		return explain(s.cfg.Keys.Delete(tx, t, id), core.ErrNotFound, "tenant %s has no access key %.64q", t, id)
	})
}

func greengrassOf(t core.TenantID, g greengrass.Group) admin.GreengrassGroup {
	out := admin.GreengrassGroup{ID: g.ID, Tenant: string(t), Cores: []admin.GreengrassCore{}, CAs: g.CAs, Devices: g.Devices}
	if out.CAs == nil {
		out.CAs = []string{}
	}
	if out.Devices == nil {
		out.Devices = []string{}
	}
	for _, c := range g.Cores {
		ways := []admin.GreengrassWay{}
		for _, w := range c.Ways {
			ways = append(ways, admin.GreengrassWay(w))
		}
		out.Cores = append(out.Cores, admin.GreengrassCore{Thing: c.Thing, Ways: ways})
	}
	return out
}

func (s *Server) listGreengrass(r *request) (any, error) {
	t := core.TenantID(r.PathValue("tenant"))
	var all []greengrass.Group
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if err := r.tenantExists(rd, t); err != nil {
			return err
		}
		all, err = greengrass.List(rd, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := window(r, all, func(g greengrass.Group) string { return g.ID })
	out := admin.Page[admin.GreengrassGroup]{Items: []admin.GreengrassGroup{}, Next: next}
	for _, g := range page {
		out.Items = append(out.Items, greengrassOf(t, g))
	}
	return out, err
}

func noGreengrass(err error, t core.TenantID, id string) error {
	return explain(err, core.ErrNotFound, "tenant %s has no Greengrass group %.64q", t, id)
}

func (s *Server) showGreengrass(r *request) (any, error) {
	t, id := core.TenantID(r.PathValue("tenant")), r.PathValue("id")
	var g greengrass.Group
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if err := r.tenantExists(rd, t); err != nil {
			return err
		}
		g, err = greengrass.Find(rd, t, id)
		return noGreengrass(err, t, id)
	})
	return greengrassOf(t, g), err
}

func (s *Server) setGreengrass(r *request) (any, error) {
	in := r.body.(*admin.SetGreengrassGroup)
	t := core.TenantID(r.PathValue("tenant"))
	g := greengrass.Group{ID: r.PathValue("id"), CAs: in.CAs, Devices: in.Devices}
	for _, c := range in.Cores {
		var ways []greengrass.Way
		for _, w := range c.Ways {
			ways = append(ways, greengrass.Way(w))
		}
		g.Cores = append(g.Cores, greengrass.Core{Thing: c.Thing, Ways: ways})
	}
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		return reveal(greengrass.Put(tx, t, g), core.ErrInvalid, core.ErrTooLarge)
	})
	return greengrassOf(t, g), err
}

func (s *Server) deleteGreengrass(r *request) (any, error) {
	t, id := core.TenantID(r.PathValue("tenant")), r.PathValue("id")
	return nil, s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		return noGreengrass(greengrass.Delete(tx, t, id), t, id)
	})
}
