package astarte

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// httpSide is what [Dialect] holds for the HTTP APIs; its zero value is ready.
type httpSide struct {
	once      sync.Once
	api       *api
	developed atomic.Pointer[tokenKey] // of [Dialect.Develop], beside the configured one
}

// Serves reports whether a request is for one of the platform's APIs: they are told apart by the path's first segment.
func (d *Dialect) Serves(r *http.Request) bool {
	s, _ := serviceOf(r.URL.EscapedPath())
	return s != nil
}

// Handler serves the platform's four HTTP APIs.
func (d *Dialect) Handler() http.Handler {
	d.http.once.Do(func() { d.http.api = newAPI(d) })
	return d.http.api
}

// api answers the requests of all four services.
type api struct {
	d            *Dialect
	routes       map[*service][]compiledRoute
	housekeeping *tokenKey // configured; nil: none
	held         holdback
	reads        chan struct{} // one token for each query for data that runs, see call.read
}

func newAPI(d *Dialect) *api {
	a := &api{d: d, routes: compileRoutes(routes), reads: make(chan struct{}, concurrentReads)}
	if len(d.cfg.HousekeepingKeyPEM) > 0 {
		k, err := parsePublicKey(d.cfg.HousekeepingKeyPEM)
		if err != nil {
			d.log.Error("housekeeping key is unusable; realms cannot be managed", "err", err)
		}
		a.housekeeping = k
	}
	return a
}

// serviceOf returns the service that an escaped path is for, and the rest of the path.
func serviceOf(escaped string) (*service, string) {
	path := strings.TrimLeft(escaped, "/")
	first, rest, _ := strings.Cut(path, "/")
	for _, s := range services {
		if first == s.prefix {
			return s, "/" + rest
		}
	}
	return nil, ""
}

// A call is one request on its way through the API.
type call struct {
	api     *api
	d       *Dialect
	r       *http.Request
	service *service
	method  string            // as it is routed
	path    string            // as the service sees it, without the prefix: "/v1/test/devices"
	below   string            // decoded, what follows the realm (in Housekeeping the version); tokens are tested against it
	params  map[string]string // of the route

	realm     *realm         // except in Housekeeping and on open routes
	device    core.Device    // this and the next on device routes
	enrolment core.Enrolment // the one that the secret opened
}

// ctx is the request's: it ends when the client goes away.
func (c *call) ctx() context.Context { return c.r.Context() }

// view runs fn on a snapshot of storage.
func (c *call) view(fn func(store.Reader) error) error { return c.d.cfg.Store.View(c.ctx(), fn) }

// addr returns the client's IP address. Proxies are not believed: anybody can write their headers.
func (c *call) addr() string {
	ap, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return ""
	}
	return ap.Addr().Unmap().WithZone("").String()
}

// A reply is a success. Its body is {"data":data}, with links or metadata behind it: astarte-go finds the payload by
// looking for the first "data" (read 2026-11). Without data the body is empty.
type reply struct {
	status   int
	data     any
	links    any
	metadata any
	location string
}

// noData is the data of replies with an empty body.
type noData struct{}

func emptyReply(status int) reply { return reply{status: status, data: noData{}} }

func success(data any) reply { return reply{status: http.StatusOK, data: data} }

// ServeHTTP answers one request. Whatever happens the reply is JSON (or empty, where the platform's is), because the
// Python SDK fails in unforeseen ways on anything else (observed with astarte-device-sdk 0.14.0).
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := a.d.cfg.Now()
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*") // the platform's dashboard is a web page of another origin
	if r.Method == http.MethodOptions {
		preflight(w)
		return
	}
	c := &call{api: a, d: a.d, r: r, method: routeMethod(r)}
	rep, err := a.handle(c)
	status, body := encode(rep, err)
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	if rep.location != "" && err == nil {
		h.Set("Location", rep.location)
	}
	h.Set("Cache-Control", "max-age=0, private, must-revalidate") // as the platform's servers
	if len(body) > 0 {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away needs no answer
	a.log(c, status, start, err)
}

// preflight answers the question that browsers ask before a request from another origin.
func preflight(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization,Content-Type,Accept,Origin,User-Agent,DNT,Cache-Control,"+
		"X-Mx-ReqToken,Keep-Alive,X-Requested-With,If-Modified-Since,X-CSRF-Token")
	h.Set("Access-Control-Max-Age", "1728000") // seconds
	w.WriteHeader(http.StatusNoContent)
}

// handle finds the route, lets the caller in and does what is asked.
func (a *api) handle(c *call) (rep reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.d.log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
			rep, err = reply{}, errPanic
		}
	}()
	c.service, c.path = serviceOf(c.r.URL.EscapedPath())
	if c.service == nil {
		return reply{}, failure(http.StatusNotFound, "Not found")
	}
	segs, valid := segments(c.path)
	if !valid {
		return reply{}, errBadRequest
	}
	var rt *route
	if rt, c.params = find(a.routes[c.service], c.method, segs); rt == nil || rt.handle == nil {
		return reply{}, failure(http.StatusNotFound, c.service.notFound)
	}
	c.below = strings.Join(segs[min(len(segs), c.service.depth):], "/")
	if !acceptsJSON(c.r.Header) {
		return reply{}, errNotAcceptable
	}
	if err := a.admit(c, rt.access); err != nil {
		return reply{}, err
	}
	return rt.handle(c)
}

// admit checks that the caller may use the route.
func (a *api) admit(c *call, need access) error {
	switch {
	case need == accessOpen:
		return nil
	case c.service == housekeeping:
		return c.authorize(a.housekeeping, c.d.http.developed.Load())
	}
	err := c.loadRealm()
	if c.service == appEngine {
		// Here the token is looked at first, and an unknown realm has no key that it could verify with.
		if _, found := bearerToken(c.r.Header); !found {
			return errNoToken
		}
		if errors.Is(err, errUnknownRealm) {
			return errToken
		}
	}
	if err != nil {
		return err
	}
	if need == accessDevice {
		return c.authenticate()
	}
	key, err := parsePublicKey([]byte(c.realm.PublicKeyPEM))
	if err != nil {
		return err
	}
	return c.authorize(key)
}

func (c *call) loadRealm() error {
	name := c.params["realm"]
	if !astartewire.ValidRealm(name) {
		return errUnknownRealm
	}
	r, err := c.d.realm(c.ctx(), core.TenantID(name))
	if errors.Is(err, core.ErrNotFound) {
		return errUnknownRealm
	}
	c.realm = r
	return err
}

// authenticate lets a device in by its credentials secret. Reading suffices for it, so that a device whose connection
// broke can ask for its certificate's state also while the disk is full: the Python SDK never comes back if it cannot.
func (c *call) authenticate() error {
	secret, found := bearerToken(c.r.Header)
	if !found {
		return errNoSecret
	}
	id, err := astartewire.ParseExtendedDeviceID(c.params["device"])
	if err != nil {
		return errBadRequest
	}
	err = c.view(func(rd store.Reader) (err error) {
		c.device, c.enrolment, err = registry.Authenticate(rd, deviceKey(c.realm.Name, id), secret)
		return err
	})
	if errors.Is(err, core.ErrNotFound) {
		return errDevice
	}
	return err
}

// encode returns status and body of the reply.
func encode(rep reply, err error) (int, []byte) {
	if err == nil {
		if _, none := rep.data.(noData); none {
			return rep.status, nil
		}
		body, err := marshal(struct {
			Data     any `json:"data"`
			Links    any `json:"links,omitempty"`
			Metadata any `json:"metadata,omitempty"`
		}{rep.data, rep.links, rep.metadata})
		if err == nil {
			return rep.status, body
		}
	}
	status, errs := answerTo(err)
	body, err := marshal(map[string]any{"errors": errs})
	if err != nil {
		return http.StatusInternalServerError, []byte(`{"errors":{"detail":"Internal server error"}}`)
	}
	return status, body
}

// marshal writes JSON without escaping characters that only matter inside HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// refused tells Config.Refused of a request whose credentials were wrong or missing.
func (a *api) refused(c *call, status int, err error) {
	if a.d.cfg.Refused == nil {
		return
	}
	remote, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	r := core.Refusal{
		Stage: core.StageHTTP, Claim: core.Claim{Remote: remote, ServerName: c.r.Host}, TLS: c.r.TLS, Code: fmt.Sprintf("HTTP %d", status),
		Err:    fmt.Errorf("%s request %s %s: %w", c.service.prefix, c.r.Method, c.path, err),
		Device: core.DeviceKey{Tenant: core.TenantID(c.params["realm"]), Dialect: dialectName},
	}
	if id, perr := astartewire.ParseExtendedDeviceID(c.params["device"]); perr == nil {
		r.Device.ID = core.DeviceID(id)
	}
	a.d.cfg.Refused(r)
}

// log writes what became of a request. Tokens, secrets and bodies are in none of these attributes.
func (a *api) log(c *call, status int, start time.Time, err error) {
	if status == http.StatusUnauthorized || status == http.StatusForbidden || c.service == pairing && errors.Is(err, errDevice) {
		a.refused(c, status, err)
	}
	level, msg := slog.LevelDebug, "request"
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		level, msg = slog.LevelInfo, "request refused"
	case status == http.StatusInternalServerError:
		level, msg = slog.LevelError, "request failed"
	}
	if !a.d.log.Enabled(c.ctx(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", c.r.Method), slog.String("path", c.r.URL.EscapedPath()), slog.Int("status", status),
		slog.String("addr", c.addr()), slog.Duration("took", a.d.cfg.Now().Sub(start)),
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	a.d.log.LogAttrs(c.ctx(), level, msg, attrs...)
}
