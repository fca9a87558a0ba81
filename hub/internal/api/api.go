// Package api is the hub's own HTTP API: whether it is alive and ready, which anybody may ask, its metrics, and the
// admin API below /v1. The platforms' APIs belong to their dialects.
//
// What there is, is the table in routes.go. The OpenAPI document openapi.json is made from it by the tests and served as
// it is; TestOpenAPI says how.
package api

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/guess"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Config configures [New]. Token, Ready, Status, Backup, Store, Committer, Broker, CA and Keys are required.
type Config struct {
	Token string // bearer token of the hub's owner
	// Ready returns why the hub cannot serve now, nil if it can.
	Ready func() error
	// Status is called for /v1/status.
	Status func(context.Context) (admin.Status, error)

	// Backup makes a backup for /v1/backup.
	Backup func(context.Context) (Backup, error)

	Store     store.Store
	Committer *commit.Committer
	Broker    Broker
	CA        CA
	// Directors change what is desired of devices, by dialect.
	Directors map[string]Director
	// Describers know more about devices, by dialect.
	Describers map[string]dialect.Describer
	// Curators keep what operators edit, by dialect: that of "aws" its Greengrass groups.
	Curators map[string]dialect.Curator
	// Hasher computes the hashes of passwords that operators choose; nil: one of its own.
	Hasher   *credential.Hasher
	Refusals *refusal.Log // nil: there are none
	Keys     *accesskey.Keys

	// Deleted is called when a device or a tenant has been deleted, and what it has stored is to be swept away. nil: nobody is told.
	Deleted func()
	// Stats gets the counters; nil: nobody reads them.
	Stats *Stats
	// Metrics serves /metrics, for tokens that may read everything. nil: nothing is there.
	Metrics http.Handler
	// Served says what else this hub serves, for those who asked for something that is not there:
	// "the Astarte APIs below /pairing, ...". May be empty.
	Served string
	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now

	heartbeat time.Duration // of streams; 0: the constant of that name
}

// Broker is what the API asks of the MQTT broker.
type Broker interface {
	// DisconnectDevice ends the connections of a device. Its sessions stay.
	DisconnectDevice(tx *commit.Tx, n core.DeviceNum, reason string) error
	// Publish queues a message for every session of a tenant and dialect that has a matching subscription, and returns how
	// many took it.
	Publish(tx *commit.Tx, t core.TenantID, dialect string, m core.Message) (reached int, err error)
	// Connections returns the open connections that q selects, by tenant, dialect and client id.
	Connections(q core.SessionQuery) []core.Connection
	// Connection returns the open connection of a session.
	Connection(k core.SessionKey) (core.Connection, bool)
	// DisconnectClient ends the connection of a session, and reports whether there was one. The session stays.
	DisconnectClient(k core.SessionKey, reason string) bool
	// SessionStates returns what is known of some sessions; those that are not there are left out.
	SessionStates(ctx context.Context, keys []core.SessionKey) (map[core.SessionKey]core.SessionState, error)
	// SessionFilters returns the filters of a session's subscriptions, sorted, as many as can be shown.
	SessionFilters(ctx context.Context, k core.SessionKey) ([]string, error)
	// ForgetDevice forgets all sessions of a device, and ends their connections.
	ForgetDevice(tx *commit.Tx, n core.DeviceNum, reason string) error
	// CloseTenant ends the connections of a tenant that is to be deleted, and lets nobody in any more.
	CloseTenant(tx *commit.Tx, t core.TenantID)
	// ForgetSession forgets a session with everything in it and ends its connection. One that is not there is
	// core.ErrNotFound.
	ForgetSession(tx *commit.Tx, k core.SessionKey) error
}

// CA is what the API asks of the certificate authority.
type CA interface {
	RootPEM() []byte
	CRL(authorityKeyID string, revoked []ca.Revocation) ([]byte, error)
	IssuerKeyID() string
	SignDevice(csr *x509.CertificateRequest, l ca.Leaf) (ca.Issued, error)
	SignDeviceKey(pub crypto.PublicKey, l ca.Leaf) (ca.Issued, error)
}

// A Server is the API; it answers every request.
type Server struct {
	cfg     Config
	token   [sha256.Size]byte
	mux     *http.ServeMux
	limiter guess.Limiter
	streams streams
	stopped chan struct{}
	stop    sync.Once
}

// Stats counts; all counters only grow, except the gauge Streams.
type Stats struct {
	SignInsFailed, SignInsLimited atomic.Int64
	Streams                       atomic.Int64 // open now
}

// readTimeout bounds how long a request may read in storage, or wait for the disk.
const readTimeout = 30 * time.Second

//go:embed openapi.json
var openAPI []byte

// New returns the API.
func New(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Refusals == nil {
		cfg.Refusals = refusal.New(refusal.Config{Known: func(core.TenantID) bool { return false }})
	}
	if cfg.Deleted == nil {
		cfg.Deleted = func() {}
	}
	if cfg.Stats == nil {
		cfg.Stats = new(Stats)
	}
	if cfg.Hasher == nil {
		cfg.Hasher = credential.NewHasher(1)
	}
	if cfg.heartbeat == 0 {
		cfg.heartbeat = heartbeat
	}
	s := &Server{cfg: cfg, token: sha256.Sum256([]byte(cfg.Token)), mux: http.NewServeMux(), stopped: make(chan struct{})}
	s.mux.HandleFunc("/healthz", s.page(s.healthz))
	s.mux.HandleFunc("/readyz", s.page(s.readyz))
	if cfg.Metrics != nil {
		s.mux.HandleFunc("/metrics", s.page(s.metrics))
	}
	s.mux.HandleFunc(docsPath, s.page(s.docs))
	s.mux.HandleFunc("/v1", s.forBrowsers(s.nothing))
	s.mux.HandleFunc("/v1/{$}", s.forBrowsers(s.unknown))
	s.mux.HandleFunc("/{$}", s.forBrowsers(s.nothing))
	s.mux.HandleFunc("/v1/", s.unknown)
	s.mux.HandleFunc("/", s.nothing)
	byPath := map[string][]*route{}
	for _, rt := range s.routes() {
		byPath[rt.path] = append(byPath[rt.path], &rt)
	}
	for path, list := range byPath {
		s.mux.HandleFunc(path, s.endpoint(list))
	}
	return s
}

// Stop ends all streams, and those to come, so that an orderly stop of the HTTP server need not wait for them.
func (s *Server) Stop() { s.stop.Do(func() { close(s.stopped) }) }

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// endpoint serves what is at one path.
func (s *Server) endpoint(list []*route) http.HandlerFunc {
	var allow []string
	for _, rt := range list {
		allow = append(allow, rt.method)
		if rt.method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	return func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		i := slices.IndexFunc(list, func(rt *route) bool { return rt.method == method })
		if i < 0 {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.fail(w, r, refuse(errMethod, "%.20q is not for %s", r.Method, r.URL.Path))
			return
		}
		if err := s.serve(w, r, list[i]); err != nil {
			s.fail(w, r, err)
		}
	}
}

// serve answers a request for a route, or returns why it is refused.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt *route) error {
	q := &request{Request: r}
	var err error
	if rt.scope != 0 {
		if q.caller, err = s.signIn(r); err == nil {
			err = authorize(q.caller, rt)
		}
	}
	if err != nil {
		return err
	}
	if q.params, err = parseQuery(r.URL.RawQuery, rt.params); err != nil {
		return err
	}
	if rt.body != nil {
		if q.body, err = readBody(w, r, rt.body); err != nil {
			return err
		}
	}
	if rt.stream != nil {
		return rt.stream(w, q)
	}
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	q.Request = r.WithContext(ctx)
	answer, err := rt.do(q)
	if errors.Is(err, context.DeadlineExceeded) {
		return refuse(errTimeout, "not done after %v", readTimeout)
	} else if err != nil {
		return err
	}
	status := rt.status
	if status == 0 {
		status = http.StatusOK
	}
	switch content, isRaw := answer.([]byte); {
	case isRaw:
		send(w, status, rt.media, content)
	case answer == nil:
		w.WriteHeader(status)
	default:
		reply(w, status, answer)
	}
	return nil
}

// healthz answers as long as the process does: a supervisor that restarts it for less would only make things worse.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Ready(); err != nil {
		reply(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "reason": err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "ready"})
}

// metrics takes a token from everywhere: "only from this machine" would mean everybody behind a proxy on it.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	t, err := s.signIn(r)
	if err == nil {
		err = authorize(t, &route{method: http.MethodGet, path: "/metrics", scope: core.ScopeRead, whole: true})
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.cfg.Metrics.ServeHTTP(w, r)
}

// page lets GET and HEAD through.
func (s *Server) page(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.fail(w, r, refuse(errMethod, "%s can only be read", r.URL.Path))
			return
		}
		next(w, r)
	}
}

// unknown tells only those who have a token that there is nothing.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	if _, err := s.signIn(r); err != nil {
		s.fail(w, r, err)
		return
	}
	s.nothing(w, r)
}

func (s *Server) nothing(w http.ResponseWriter, r *http.Request) {
	served := "This is a Fairlead hub: its admin API is below /v1, /v1/docs describes it for people and /v1/openapi.json for programs, /healthz and /readyz tell how the hub is"
	if s.cfg.Served != "" {
		served += ", and it serves " + s.cfg.Served
	}
	s.fail(w, r, &problem{
		kind: core.ErrNotFound, message: fmt.Sprintf("nothing is served for %.20s %.200q", r.Method, r.URL.Path), help: served + ".",
	})
}
