// Package api is the hub's own HTTP API: whether it is alive and ready, which anybody may ask, and the admin API below
// /v1, which takes the admin token. The platforms' APIs belong to their dialects.
package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Config configures [New]. Token, Ready and Status are required.
type Config struct {
	Token string // bearer token of the admin API
	// Ready returns why the hub cannot serve now, nil if it can.
	Ready func() error
	// Status is called for /v1/status.
	Status func(context.Context) (admin.Status, error)
	// Served says what else this hub serves, for those who asked for something that is not there:
	// "the Astarte APIs below /pairing, ...". May be empty.
	Served string
	Logger *slog.Logger // nil: discard
}

type server struct {
	cfg   Config
	token [sha256.Size]byte
}

// New returns the handler of the API; it answers every request.
func New(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &server{cfg: cfg, token: sha256.Sum256([]byte(cfg.Token))}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.read(s.healthz))
	mux.HandleFunc("/readyz", s.read(s.readyz))
	mux.HandleFunc("/v1/status", s.admin(s.read(s.status)))
	mux.HandleFunc("/v1/", s.admin(s.nothing))
	mux.HandleFunc("/", s.nothing)
	return mux
}

// healthz answers as long as the process does: a supervisor that restarts it for less would only make things worse.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Ready(); err != nil {
		reply(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "reason": err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (s *server) status(w http.ResponseWriter, r *http.Request) {
	st, err := s.cfg.Status(r.Context())
	if err != nil {
		s.fail(w, r, fmt.Errorf("status: %w", err))
		return
	}
	reply(w, http.StatusOK, st)
}

func (s *server) nothing(w http.ResponseWriter, r *http.Request) {
	served := "This is a Fairlead hub: its admin API is below /v1, /healthz and /readyz tell how it is"
	if s.cfg.Served != "" {
		served += ", and it serves " + s.cfg.Served
	}
	refuse(w, core.ErrNotFound, fmt.Sprintf("nothing is served for %s %.200q. %s.", r.Method, r.URL.Path, served))
}

// read lets GET and HEAD through.
func (s *server) read(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			reply(w, http.StatusMethodNotAllowed, admin.ErrorBody{Error: admin.Error{
				Kind: core.ErrInvalid.Error(), Message: fmt.Sprintf("%s can only be read: use GET", r.URL.Path),
			}})
			return
		}
		next(w, r)
	}
}

// admin lets the owner of the admin token through. Hashes are compared, so that neither content nor length shows in
// the time it takes.
func (s *server) admin(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], s.token[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="fairlead"`)
			refuse(w, core.ErrUnauthenticated, `the admin API wants "Authorization: Bearer TOKEN"; `+
				"`fairlead env` prints the token")
			return
		}
		next(w, r)
	}
}

// codes is the only place where this API turns a kind of failure into a number; the first match wins.
var codes = []struct {
	kind error
	code int
}{
	{core.ErrInvalid, http.StatusBadRequest},
	{core.ErrUnauthenticated, http.StatusUnauthorized},
	{core.ErrDenied, http.StatusForbidden},
	{core.ErrNotFound, http.StatusNotFound},
	{core.ErrConflict, http.StatusConflict},
	{core.ErrTooLarge, http.StatusRequestEntityTooLarge},
	{core.ErrUnreachable, http.StatusConflict},
	{core.ErrStorage, http.StatusServiceUnavailable},
	{core.ErrStopping, http.StatusServiceUnavailable},
}

// code returns the status code for an error, and its kind; 500 and nil for an error without a kind.
func code(err error) (int, error) {
	for _, c := range codes {
		if errors.Is(err, c.kind) {
			return c.code, c.kind
		}
	}
	return http.StatusInternalServerError, nil
}

// fail answers with the kind of an error; what exactly happened is in the log only.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, kind := code(err)
	if r.Context().Err() == nil { // the caller is still there, so it was not the caller's going that failed us
		s.cfg.Logger.Warn("admin request failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	text := "internal error"
	if kind != nil {
		text = kind.Error()
	}
	reply(w, status, admin.ErrorBody{Error: admin.Error{Kind: text, Message: text + "; see the hub's log"}})
}

// refuse answers a request that is the caller's mistake.
func refuse(w http.ResponseWriter, kind error, message string) {
	status, _ := code(kind)
	reply(w, status, admin.ErrorBody{Error: admin.Error{Kind: kind.Error(), Message: message}})
}

func reply(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, `{"error":{"kind":"internal error","message":"internal error"}}`, http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a caller that has gone needs no answer
}
