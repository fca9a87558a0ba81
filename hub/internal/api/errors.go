package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Kinds of refusals that only HTTP knows.
var (
	errMethod   = errors.New("method not allowed")
	errTooMany  = errors.New("too many requests")
	errMedia    = errors.New("unsupported media type")
	errTimeout  = errors.New("timeout")
	errInternal = errors.New("internal error")
)

// codes is the only place where this API turns a kind of failure into a number; the first match wins. help is what to
// do where the refusal itself does not say.
var codes = []struct {
	kind error
	code int
	help string
}{
	{errMethod, http.StatusMethodNotAllowed, "Use one of the methods in the Allow header."},
	{errTooMany, http.StatusTooManyRequests, "Wait as long as the Retry-After header says."},
	{errTimeout, http.StatusGatewayTimeout, "The hub is very busy, or much was asked for: ask for less, or later. A change may have been made: look."},
	{errMedia, http.StatusUnsupportedMediaType, "Send JSON, with Content-Type: application/json."},
	{core.ErrInvalid, http.StatusBadRequest, "Correct the request; /v1/openapi.json describes what it may be."},
	{core.ErrUnauthenticated, http.StatusUnauthorized, `Send "Authorization: Bearer TOKEN"; ` + "`fairlead env` prints a token, `fairlead token create` makes one."},
	{core.ErrDenied, http.StatusForbidden, "Use a token that may do this."},
	{core.ErrNotFound, http.StatusNotFound, "Look at the list of what there is; a token for one tenant sees that tenant only."},
	{core.ErrConflict, http.StatusConflict, "Look at what there is now, and decide again."},
	{core.ErrTooLarge, http.StatusRequestEntityTooLarge, "Ask for less, or remove what is not needed any more."},
	{core.ErrUnreachable, http.StatusConflict, "Try again when the device has connected."},
	{core.ErrStorage, http.StatusServiceUnavailable, "Nothing was changed. See the hub's log, free space on its disk, and try again."},
	{core.ErrStopping, http.StatusServiceUnavailable, "Nothing was changed. Try again when the hub is up again."},
}

// code returns the status code for an error, what to do and its kind; 500 for an error without a kind.
func code(err error) (status int, help string, kind error) {
	for _, c := range codes {
		if errors.Is(err, c.kind) {
			return c.code, c.help, c.kind
		}
	}
	return http.StatusInternalServerError, "See the hub's log; please report it.", errInternal
}

// A problem is a refusal in words for the caller. Everything else that fails is told by its kind alone, because what
// exactly happened may be nobody's business but the operator's; that is in the log.
type problem struct {
	kind    error
	message string
	help    string // "": that of the kind
	retry   time.Duration
}

func (p *problem) Error() string { return p.message }
func (p *problem) Unwrap() error { return p.kind }

func refuse(kind error, format string, args ...any) *problem {
	return &problem{kind: kind, message: fmt.Sprintf(format, args...)}
}

// explain turns an error of one kind into a problem that says so in the given words, and leaves others as they are.
func explain(err, kind error, format string, args ...any) error {
	if errors.Is(err, kind) {
		return refuse(kind, format, args...)
	}
	return err
}

// reveal is explain with the words of the error itself, and its help if it has some: where it comes from rules about the
// caller's own input.
func reveal(err error, kinds ...error) error {
	for _, k := range kinds {
		if errors.Is(err, k) {
			p := refuse(k, "%s", core.Plain(err))
			var known *core.HelpError
			if errors.As(err, &known) {
				p.help = known.Help
			}
			return p
		}
	}
	return err
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, help, kind := code(err)
	body := admin.Error{Kind: kind.Error(), Message: kind.Error(), Help: help}
	var p *problem
	switch {
	case errors.As(err, &p):
		body.Message = p.message
		if p.help != "" {
			body.Help = p.help
		}
		if p.retry > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
		}
	case r.Context().Err() == nil: // the caller is still there, so it was not the caller's going that failed us
		s.cfg.Logger.Warn("admin request failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="fairlead"`)
	}
	reply(w, status, admin.ErrorBody{Error: body})
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"error":{"kind":"internal error","message":"internal error","help":""}}`)
	}
	send(w, status, "application/json", append(text, '\n'))
}

func send(w http.ResponseWriter, status int, media string, content []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(content) // a caller that has gone needs no answer
}
