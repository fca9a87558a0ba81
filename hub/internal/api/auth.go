package api

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/access"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// owner is the token in the hub's data folder: whoever can read that is the hub's owner.
var owner = core.Token{Name: "the token in the hub's data folder", Scope: core.ScopeAdmin}

// maxTokenBytes bounds what is looked at; the hub's own tokens have 35.
const maxTokenBytes = 4096

// signIn finds out who is calling.
func (s *Server) signIn(r *http.Request) (core.Token, error) {
	var addr netip.Addr
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr = ap.Addr()
	}
	if wait := s.limiter.Wait(addr, s.cfg.Now()); wait > 0 {
		s.cfg.Stats.SignInsLimited.Add(1)
		return core.Token{}, &problem{
			kind: errTooMany, message: "too many requests with wrong tokens have come from this address", retry: wait,
		}
	}
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	text = strings.TrimSpace(text)
	if !strings.EqualFold(scheme, "Bearer") || text == "" {
		return core.Token{}, refuse(core.ErrUnauthenticated, "the admin API wants a token")
	}
	if len(text) <= maxTokenBytes {
		t, err := s.find(r.Context(), access.Hash(text))
		switch {
		case errors.Is(err, access.ErrExpired):
			return core.Token{}, refuse(core.ErrUnauthenticated, "the token has expired")
		case !errors.Is(err, access.ErrUnknown):
			return t, err
		}
	}
	s.limiter.Fail(addr, s.cfg.Now())
	s.cfg.Stats.SignInsFailed.Add(1)
	s.cfg.Logger.Info("admin request refused: unknown token", "remote", addr.String(), "method", r.Method, "path", r.URL.Path)
	return core.Token{}, refuse(core.ErrUnauthenticated, "the token is not known, or was revoked")
}

// find finds a token by its hash; hashes are compared, so that the time this takes tells nothing about a token.
func (s *Server) find(ctx context.Context, hash [32]byte) (t core.Token, err error) {
	if subtle.ConstantTimeCompare(hash[:], s.token[:]) == 1 {
		return owner, nil
	}
	err = s.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		t, err = access.Find(rd, hash, s.cfg.Now())
		return err
	})
	return t, err
}

// authorize checks that a token may use a route at all; what it may see there is for the route to say.
func authorize(t core.Token, rt *route) error {
	switch {
	case t.Scope < rt.scope:
		return refuse(core.ErrDenied, "%s %s takes a token of scope %s, this one has %s", rt.method, rt.path, rt.scope, t.Scope)
	case rt.whole && t.Tenant != "":
		return refuse(core.ErrDenied, "%s %s takes a token for all tenants, this one is for %s only", rt.method, rt.path, t.Tenant)
	}
	return nil
}

// by names the caller's token in the log.
func (r *request) by() string { return cmp.Or(r.caller.ID, "owner") }

// sees reports whether the caller may know of a tenant.
func (r *request) sees(t core.TenantID) bool { return r.caller.Tenant == "" || r.caller.Tenant == t }

// tenantParam returns the tenant that a list is restricted to: by a parameter, or because the caller sees no other; ""
// is all.
func (r *request) tenantParam(rd store.Reader) (core.TenantID, error) {
	t := core.TenantID(r.text("tenant"))
	if t == "" {
		return r.caller.Tenant, nil
	}
	return t, r.tenantExists(rd, t)
}

func (r *request) tenantExists(rd store.Reader, t core.TenantID) error {
	err := core.ErrNotFound
	if r.sees(t) {
		_, err = rd.Tenant(t)
	}
	return explain(err, core.ErrNotFound, "there is no tenant %.64q", string(t))
}
