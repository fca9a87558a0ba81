package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
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
		all, err = s.cfg.Keys.List(rd, t)
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

// greengrass is the kind of item that groups are to the dialect.
const greengrass = "greengrass"

// groups returns the dialect that keeps Greengrass groups.
func (s *Server) groups() dialect.Curator { return s.cfg.Curators["aws"] }

// greengrassOf returns a group as the dialect keeps it.
func greengrassOf(t core.TenantID, item dialect.Item) (admin.GreengrassGroup, error) {
	g := admin.GreengrassGroup{Cores: []admin.GreengrassCore{}, CAs: []string{}, Devices: []string{}}
	if err := json.Unmarshal(item.Value, &g); err != nil {
		return g, fmt.Errorf("group %s of %s: %w: %v", item.ID, t, core.ErrStorage, err)
	}
	g.ID, g.Tenant = item.ID, string(t)
	return g, nil
}

// items returns the groups of a tenant.
func (s *Server) items(r *request, t core.TenantID) (all []dialect.Item, err error) {
	err = s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if err := r.tenantExists(rd, t); err != nil {
			return err
		}
		all, err = s.groups().Items(rd, t, greengrass)
		return err
	})
	return all, err
}

func (s *Server) listGreengrass(r *request) (any, error) {
	t := core.TenantID(r.PathValue("tenant"))
	all, err := s.items(r, t)
	if err != nil {
		return nil, err
	}
	page, next, err := window(r, all, func(x dialect.Item) string { return x.ID })
	out := admin.Page[admin.GreengrassGroup]{Items: []admin.GreengrassGroup{}, Next: next}
	for _, x := range page {
		g, err := greengrassOf(t, x)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, g)
	}
	return out, err
}

func noGreengrass(err error, t core.TenantID, id string) error {
	return explain(err, core.ErrNotFound, "tenant %s has no Greengrass group %.64q", t, id)
}

func (s *Server) showGreengrass(r *request) (any, error) {
	t, id := core.TenantID(r.PathValue("tenant")), r.PathValue("id")
	all, err := s.items(r, t)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(x dialect.Item) bool { return x.ID == id })
	if i < 0 {
		return nil, noGreengrass(core.ErrNotFound, t, id)
	}
	return greengrassOf(t, all[i])
}

func (s *Server) setGreengrass(r *request) (any, error) {
	t := core.TenantID(r.PathValue("tenant"))
	value, err := json.Marshal(r.body)
	if err != nil {
		return nil, err
	}
	item := dialect.Item{ID: r.PathValue("id"), Value: value}
	err = s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		return reveal(s.groups().SetItem(tx, t, greengrass, item), core.ErrInvalid, core.ErrTooLarge)
	})
	if err != nil {
		return nil, err
	}
	return greengrassOf(t, item)
}

func (s *Server) deleteGreengrass(r *request) (any, error) {
	t, id := core.TenantID(r.PathValue("tenant")), r.PathValue("id")
	return nil, s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		return noGreengrass(s.groups().DeleteItem(tx, t, greengrass, id), t, id)
	})
}
