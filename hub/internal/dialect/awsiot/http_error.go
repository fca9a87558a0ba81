package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// An awsError is a failure in the platform's words. Clients find its class by its name.
type awsError struct {
	name    string // "ResourceNotFoundException"
	message string
	extra   map[string]string // further members of the answer
}

func (e *awsError) Error() string { return e.name + ": " + e.message }

// Unwrap returns the kind that the status stands for.
func (e *awsError) Unwrap() error {
	switch statuses[e.name] {
	case http.StatusNotFound:
		return core.ErrNotFound
	case http.StatusForbidden, http.StatusUnauthorized:
		return core.ErrDenied
	case http.StatusConflict:
		return core.ErrConflict
	case http.StatusRequestEntityTooLarge, http.StatusGone, http.StatusTooManyRequests:
		return core.ErrTooLarge
	}
	return core.ErrInvalid
}

// refuse returns the error of that name.
func refuse(name, format string, args ...any) *awsError {
	return &awsError{name: name, message: fmt.Sprintf(format, args...)}
}

// Names of errors that are used in many places.
const (
	invalidRequest   = "InvalidRequestException"
	notFound         = "ResourceNotFoundException"
	alreadyExists    = "ResourceAlreadyExistsException"
	limitExceeded    = "LimitExceededException"
	versionConflict  = "VersionConflictException"
	deleteConflict   = "DeleteConflictException"
	certificateState = "CertificateStateException"
	badCertificate   = "CertificateValidationException"
	forbidden        = "ForbiddenException"
	internalFailure  = "InternalFailureException"
	unavailable      = "ServiceUnavailableException"
	methodNotAllowed = "MethodNotAllowedException"
	tooLarge         = "RequestEntityTooLargeException"
	throttling       = "ThrottlingException"
)

// statuses are the HTTP statuses of errors (AWS IoT API reference, "Errors" of each action, read 2026-11; those of
// signatures are common to AWS's services).
var statuses = map[string]int{
	invalidRequest:                         http.StatusBadRequest,
	"MalformedPolicyException":             http.StatusBadRequest,
	badCertificate:                         http.StatusBadRequest,
	"RegistrationCodeValidationException":  http.StatusBadRequest,
	"ResourceRegistrationFailureException": http.StatusBadRequest,
	"InvalidQueryException":                http.StatusBadRequest,
	"IndexNotReadyException":               http.StatusBadRequest,
	throttling:                             http.StatusTooManyRequests, // see answerError
	"InvalidAggregationException":          http.StatusBadRequest,

	"UnauthorizedException": http.StatusUnauthorized,
	forbidden:               http.StatusForbidden,

	"MissingAuthenticationTokenException": http.StatusForbidden,
	"IncompleteSignatureException":        http.StatusForbidden,
	"InvalidSignatureException":           http.StatusForbidden,
	"UnrecognizedClientException":         http.StatusForbidden,
	"ExpiredTokenException":               http.StatusForbidden,

	notFound:                 http.StatusNotFound,
	"NotConfiguredException": http.StatusNotFound,
	methodNotAllowed:         http.StatusMethodNotAllowed,
	certificateState:         http.StatusNotAcceptable,

	"CertificateConflictException":         http.StatusConflict,
	"ConflictException":                    http.StatusConflict,
	"ConflictingResourceUpdateException":   http.StatusConflict,
	deleteConflict:                         http.StatusConflict,
	"InvalidStateTransitionException":      http.StatusConflict,
	alreadyExists:                          http.StatusConflict,
	"TransferConflictException":            http.StatusConflict,
	versionConflict:                        http.StatusConflict,
	"VersionsLimitExceededException":       http.StatusConflict,
	limitExceeded:                          http.StatusGone,
	"TerminalStateException":               http.StatusGone,
	"TransferAlreadyCompletedException":    http.StatusGone,
	tooLarge:                               http.StatusRequestEntityTooLarge,
	"UnsupportedDocumentEncodingException": http.StatusUnsupportedMediaType,

	internalFailure: http.StatusInternalServerError,
	unavailable:     http.StatusServiceUnavailable,
}

// answers is where this dialect's HTTP side turns failures that have no name of the platform's into one; the first match wins.
var answers = []struct {
	err  error
	name string
	text string // "": that of the error
}{
	{sigv4.ErrMissing, "MissingAuthenticationTokenException", "Missing Authentication Token"},
	{sigv4.ErrIncomplete, "IncompleteSignatureException", ""},
	{sigv4.ErrUnknownKey, "UnrecognizedClientException", "The security token included in the request is invalid."},
	{sigv4.ErrToken, "UnrecognizedClientException", "The security token included in the request is invalid."},
	{errTokenExpired, "ExpiredTokenException", "The security token included in the request is expired"},
	{errScope, "InvalidSignatureException", ""},
	{sigv4.ErrMismatch, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."},
	{sigv4.ErrExpired, "InvalidSignatureException", ""},

	{context.Canceled, unavailable, "The request was given up"},
	{context.DeadlineExceeded, unavailable, "The request took too long"},
	{core.ErrStorage, unavailable, "Storage is unavailable, try again later"},
	{core.ErrStopping, unavailable, "The hub is stopping, try again later"},
	{core.ErrInvalid, invalidRequest, ""},
	{core.ErrUnauthenticated, forbidden, "Forbidden"},
	{core.ErrDenied, forbidden, "Forbidden"},
	{core.ErrNotFound, notFound, "The resource does not exist."},
	{core.ErrConflict, "ConflictException", "The resource has been changed."},
	{core.ErrTooLarge, tooLarge, ""},
	{core.ErrUnreachable, unavailable, "The device cannot be reached"},
}

// awsErrorOf returns what a failure is in the platform's words.
func awsErrorOf(err error) *awsError {
	var own *awsError
	if errors.As(err, &own) {
		return own
	}
	for _, a := range answers {
		if errors.Is(err, a.err) {
			if a.text == "" {
				return &awsError{name: a.name, message: err.Error()}
			}
			return &awsError{name: a.name, message: a.text}
		}
	}
	return &awsError{name: internalFailure, message: "Internal failure"} // a mistake of ours, to be found in the log
}

// status returns the HTTP status of an error.
func (e *awsError) status() int {
	if s := statuses[e.name]; s != 0 {
		return s
	}
	return http.StatusBadRequest
}

// body returns the body of the answer. traceID is what the data plane calls the request's id; "": the control plane has none.
func (e *awsError) body(traceID string) []byte {
	m := map[string]string{"message": e.message, "__type": e.name}
	for k, v := range e.extra {
		m[k] = v
	}
	if traceID != "" {
		m["traceId"] = traceID
	}
	b, err := json.Marshal(m)
	if err != nil {
		return []byte("{}")
	}
	return b
}

// writeError answers a request that has failed, also one that asked for a WebSocket.
func writeError(w http.ResponseWriter, e *awsError, status int, requestID, traceID string) {
	body := e.body(traceID)
	h := w.Header()
	h.Set("x-amzn-ErrorType", e.name)
	h.Set("x-amzn-RequestId", requestID)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone away needs no answer
}
