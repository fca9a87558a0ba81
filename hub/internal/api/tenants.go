package api

import (
	"errors"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/access"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// window returns the page of a sorted list that a request asks for. The list is whole in memory, so this is for what
// operators make by hand. id is what it is sorted by.
func window[T any](r *request, list []T, id func(T) string) (page []T, next string, err error) {
	after := ""
	if _, err := r.cursor(&after); err != nil {
		return nil, "", err
	}
	page = []T{}
	for _, x := range list {
		if after != "" && id(x) <= after {
			continue
		}
		if len(page) == r.limit() {
			next, err = makeCursor(id(page[len(page)-1]))
			return page, next, err
		}
		page = append(page, x)
	}
	return page, "", nil
}

func (s *Server) listTenants(r *request) (any, error) {
	var all []core.Tenant
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if r.caller.Tenant == "" {
			all, err = rd.Tenants()
			return err
		}
		t, err := rd.Tenant(r.caller.Tenant)
		all = []core.Tenant{t}
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := window(r, all, func(t core.Tenant) string { return string(t.ID) })
	if err != nil {
		return nil, err
	}
	out := admin.Page[admin.Tenant]{Items: []admin.Tenant{}, Next: next}
	for _, t := range page {
		out.Items = append(out.Items, tenantOf(t))
	}
	return out, nil
}

func tenantOf(t core.Tenant) admin.Tenant {
	return admin.Tenant{ID: string(t.ID), Created: admin.NewTime(t.Created), Deleting: t.Deleting}
}

// deleteTenant closes the tenant; the sweeper does the rest.
func (s *Server) deleteTenant(r *request) (any, error) {
	id := core.TenantID(r.PathValue("tenant"))
	var t core.Tenant
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if t, err = registry.CloseTenant(tx, id); err == nil {
			s.cfg.Broker.CloseTenant(tx, id)
		}
		return err
	})
	if err != nil {
		return nil, explain(err, core.ErrNotFound, "there is no tenant %.64q", string(id))
	}
	s.cfg.Logger.Info("tenant is being deleted, for an operator", "tenant", string(id), "token", r.by())
	s.cfg.Deleted()
	return tenantOf(t), nil
}

func (s *Server) createTenant(r *request) (any, error) {
	id := core.TenantID(r.body.(*admin.NewTenant).ID)
	var made core.Tenant
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		made, err = registry.CreateTenant(tx, id)
		return err
	})
	if err != nil {
		return nil, reveal(err, core.ErrInvalid, core.ErrConflict)
	}
	return tenantOf(made), nil
}

func (s *Server) showTenant(r *request) (any, error) {
	id := core.TenantID(r.PathValue("tenant"))
	var t core.Tenant
	var n admin.Devices
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if err := r.tenantExists(rd, id); err != nil {
			return err
		}
		if t, err = rd.Tenant(id); err != nil {
			return err
		}
		n.Total, n.Connected, err = rd.CountDevices(id, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	out := tenantOf(t)
	out.Devices = &n
	return out, nil
}

func (s *Server) listTokens(r *request) (any, error) {
	var all []core.Token
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		list, err := rd.Tokens()
		for _, t := range list {
			if r.sees(t.Tenant) {
				all = append(all, t)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := window(r, all, func(t core.Token) string { return t.ID })
	if err != nil {
		return nil, err
	}
	out := admin.Page[admin.Token]{Items: []admin.Token{}, Next: next}
	for _, t := range page {
		out.Items = append(out.Items, tokenOf(t))
	}
	return out, nil
}

func tokenOf(t core.Token) admin.Token {
	return admin.Token{
		ID: t.ID, Name: t.Name, Scope: t.Scope.String(), Tenant: string(t.Tenant),
		Created: admin.NewTime(t.Created), Expires: admin.NewTime(t.Expires),
	}
}

func (s *Server) createToken(r *request) (any, error) {
	in := r.body.(*admin.NewToken)
	text, hash := access.NewToken()
	t := core.Token{ID: access.NewID(), Hash: hash, Name: in.Name, Tenant: core.TenantID(in.Tenant), Expires: in.Expires.Time}
	for _, scope := range core.Scopes {
		if scope.String() == in.Scope {
			t.Scope = scope
		}
	}
	if t.Tenant == "" {
		t.Tenant = r.caller.Tenant
	}
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		t, err = access.Create(tx, r.caller, t)
		return err
	})
	switch {
	case errors.Is(err, core.ErrNotFound):
		return nil, refuse(core.ErrNotFound, "there is no tenant %.64q", in.Tenant)
	case err != nil:
		return nil, reveal(err, core.ErrInvalid, core.ErrDenied, core.ErrTooLarge)
	}
	return admin.CreatedToken{Token: tokenOf(t), Secret: text}, nil
}

func (s *Server) showToken(r *request) (any, error) {
	var t core.Token
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		t, err = access.Visible(rd, r.caller, r.PathValue("id"))
		return err
	})
	if err != nil {
		return nil, explain(err, core.ErrNotFound, "there is no token %.64q", r.PathValue("id"))
	}
	return tokenOf(t), nil
}

func (s *Server) revokeToken(r *request) (any, error) {
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		return access.Revoke(tx, r.caller, r.PathValue("id"))
	})
	return nil, explain(err, core.ErrNotFound, "there is no token %.64q", r.PathValue("id"))
}
