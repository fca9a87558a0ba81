package astarte

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// An answer is the platform's reply to a failure.
type answer struct {
	status int
	detail string
}

// answers is the only place where this dialect turns a failure into status and text; the first match wins. Texts are the
// platform's, from the error views and fallback controllers of its four services (read 2026-11), where it has one.
var answers = []struct {
	err error
	answer
}{
	{errBadRequest, answer{http.StatusBadRequest, "Bad request"}},
	{errNoToken, answer{http.StatusUnauthorized, "Missing authorization token"}},
	{errToken, answer{http.StatusUnauthorized, "Invalid JWT token"}},
	{errNoSecret, answer{http.StatusUnauthorized, "Unauthorized"}},
	{errUnknownRealm, answer{http.StatusForbidden, "Forbidden"}},
	{errDevice, answer{http.StatusNotFound, "Device not found"}},
	{errNotAcceptable, answer{http.StatusNotAcceptable, "Not acceptable"}},
	{errMediaType, answer{http.StatusUnsupportedMediaType, "Unsupported media type"}},

	{registry.ErrRegistered, answer{http.StatusUnprocessableEntity, "Device already registered"}},
	{registry.ErrLimit, answer{http.StatusUnprocessableEntity, "Device registration limit reached"}}, // ours; the platform fails with 500
	{registry.ErrSecret, answer{http.StatusForbidden, "Forbidden"}},
	{registry.ErrInhibited, answer{http.StatusForbidden, "Forbidden"}}, // ours; the platform fails with 500

	{astartewire.ErrMalformedInterface, answer{http.StatusBadRequest, "Bad request"}},
	{astartewire.ErrOverlap, answer{http.StatusUnprocessableEntity, "Overlapping endpoints in interface mappings"}},
	{astartewire.ErrNameMismatch, answer{http.StatusConflict, "Interface name doesn't match the one in the interface json"}},
	{astartewire.ErrMajorMismatch, answer{http.StatusConflict, "Interface major version doesn't match the one in the interface json"}},
	{astartewire.ErrInvalidUpdate, answer{http.StatusConflict, "Invalid update"}},
	{astartewire.ErrMinorNotIncreased, answer{http.StatusConflict, "Interface minor version was not increased"}},
	{astartewire.ErrDowngrade, answer{http.StatusConflict, "Interface downgrade not allowed"}},
	{astartewire.ErrMissingEndpoints, answer{http.StatusConflict, "Interface update has missing endpoints"}},
	{astartewire.ErrIncompatibleUpdate, answer{http.StatusConflict, "Interface update contains incompatible endpoint changes"}},

	{errInterfaceExists, answer{http.StatusConflict, "Interface already exists"}},
	{errNameCollision, answer{http.StatusConflict, "Interface name collision detected. Make sure that the difference between " +
		"two interface names is not limited to the casing or the presence of hyphens."}},
	{errInterfaceNotFound, answer{http.StatusNotFound, "Interface not found"}},
	{errMajorNotFound, answer{http.StatusNotFound, "Interface major not found"}},
	{errNotDraft, answer{http.StatusForbidden, "Interface can't be deleted"}},
	{errInterfaceInUse, answer{http.StatusForbidden, "Interface can't be deleted since it's currently used"}},
	{errRetentionTooLong, answer{http.StatusUnprocessableEntity, "database_retention_ttl exceeds the maximum storage retention"}},
	{errUpdateRefused, answer{http.StatusConflict, "Invalid update"}},                   // after the reasons above, which come with it
	{errRealmNameInvalid, answer{http.StatusUnprocessableEntity, "Invalid realm name"}}, // found before, as an error of the field
	{errRealmAlreadyExists, answer{http.StatusConflict, "Realm already exists"}},

	{errDeviceOwned, answer{http.StatusMethodNotAllowed, "Cannot write to device owned resource"}},
	{errEndpointNotFound, answer{http.StatusBadRequest, "Endpoint not found"}},
	{errObjectPath, answer{http.StatusNotFound, "Mapping not found"}}, // ours; the platform renders the text of its 500
	{errPartialPath, answer{http.StatusMethodNotAllowed, "Cannot write to read-only resource"}},
	{errValueSize, answer{http.StatusUnprocessableEntity, "Value size exceeds size limits"}},
	{errObjectKey, answer{http.StatusBadRequest, "Unexpected object key"}},
	{errMissingKey, answer{http.StatusUnprocessableEntity, "Missing required mapping key"}},
	{errUnsetNotAllowed, answer{http.StatusUnprocessableEntity, "Unset not allowed"}},

	{errBodyTooLarge, answer{http.StatusRequestEntityTooLarge, "Request entity too large"}},
	{context.Canceled, answer{http.StatusServiceUnavailable, "Request timed out"}},
	{context.DeadlineExceeded, answer{http.StatusServiceUnavailable, "Request timed out"}},
	{errPanic, unknown},

	// The kinds of package core, for what has no text of its own. Storage comes before the rest: a full disk is what
	// matters, whatever was attempted.
	{core.ErrStorage, answer{http.StatusServiceUnavailable, "Storage unavailable, try again later"}},
	{core.ErrStopping, answer{http.StatusServiceUnavailable, "Server is stopping, try again later"}},
	{core.ErrInvalid, answer{http.StatusBadRequest, "Bad request"}},
	{core.ErrUnauthenticated, answer{http.StatusUnauthorized, "Unauthorized"}},
	{core.ErrDenied, answer{http.StatusForbidden, "Forbidden"}},
	{core.ErrNotFound, answer{http.StatusNotFound, "Not found"}},
	{core.ErrConflict, answer{http.StatusConflict, "Conflict"}},
	{core.ErrTooLarge, answer{http.StatusRequestEntityTooLarge, "Request entity too large"}},
	{core.ErrUnreachable, answer{http.StatusServiceUnavailable, "Cannot push to device"}},
}

// unknown is the answer to what the table does not have: our mistake, to be found in the log.
var unknown = answer{http.StatusInternalServerError, "Internal server error"}

// retryAfter is the hint, in seconds, that goes with each 503.
const retryAfter = "5"

// answerTo returns status and "errors" object of the reply to err.
func answerTo(err error) (status int, errs any) {
	var perm *permissionError
	if errors.As(err, &perm) {
		return http.StatusForbidden, detail(perm.Error())
	}
	var fields fieldErrors
	if errors.As(err, &fields) {
		return http.StatusUnprocessableEntity, fields
	}
	var definition *astartewire.FieldErrors
	if errors.As(err, &definition) {
		return http.StatusUnprocessableEntity, definition
	}
	var typ *typeError
	if errors.As(err, &typ) {
		return http.StatusUnprocessableEntity, map[string]any{"detail": "Unexpected value type", "expected_type": typ.expected}
	}
	var own *replyError
	if errors.As(err, &own) {
		return own.status, detail(own.detail)
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			return a.status, detail(a.detail)
		}
	}
	return unknown.status, detail(unknown.detail)
}

func detail(text string) map[string]any { return map[string]any{"detail": text} }

// fieldErrors are the messages of a 422, by field.
type fieldErrors map[string][]string

func (e fieldErrors) Error() string {
	text, err := json.Marshal(map[string][]string(e))
	if err != nil {
		return "invalid fields"
	}
	return "invalid fields " + string(text)
}

func (e fieldErrors) Unwrap() error { return core.ErrInvalid }

// Texts of field errors: Ecto's, which the platform validates with.
const (
	msgBlank     = "can't be blank"
	msgInvalid   = "is invalid"
	msgReserved  = "is reserved"
	msgConflicts = "conflicts already set parameter"
)

// A replyError is a failure that only one route has, with its answer.
type replyError struct {
	answer
}

func (e *replyError) Error() string { return e.detail }

func failure(status int, detail string) error { return &replyError{answer{status, detail}} }
