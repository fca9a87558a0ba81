package astarte

import (
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Reasons to refuse a change of a realm's interfaces. Status and text of the answers are the HTTP side's; those of an
// update are astartewire's, from [astartewire.Interface.CheckUpdate].
var (
	errInterfaceExists    = refusal("interface already exists", core.ErrConflict)
	errNameCollision      = refusal("interface name collides with another spelling", core.ErrConflict)
	errInterfaceNotFound  = refusal("interface not found", core.ErrNotFound)
	errMajorNotFound      = refusal("interface major version not found", core.ErrNotFound)
	errNotDraft           = refusal("only interfaces of major version 0 can be deleted", core.ErrDenied)
	errInterfaceInUse     = refusal("interface is in use", core.ErrDenied)
	errRetentionTooLong   = refusal("database_retention_ttl exceeds the realm's maximum", core.ErrInvalid)
	errUpdateRefused      = refusal("interface update refused", core.ErrConflict) // beside the reason of astartewire
	errRealmNameInvalid   = refusal("realm name not allowed", core.ErrInvalid)
	errRealmAlreadyExists = refusal("realm already exists", core.ErrConflict)
)

// Reasons to refuse server-owned data.
var (
	errDeviceOwned      = refusal("interface is owned by the device", core.ErrDenied)
	errEndpointNotFound = refusal("path belongs to no endpoint", core.ErrInvalid)
	errObjectPath       = refusal("path is not that of the object", core.ErrNotFound)
	errPartialPath      = refusal("path stops short of the endpoints", core.ErrDenied)
	errValueSize        = refusal("value too large", core.ErrTooLarge)
	errObjectKey        = refusal("unexpected object key", core.ErrInvalid)
	errMissingKey       = refusal("missing required object key", core.ErrInvalid)
	errUnsetNotAllowed  = refusal("unset not allowed", core.ErrInvalid)
)

// A typeError refuses a server-owned value of the wrong type.
type typeError struct {
	expected string // a mapping's type, or "object"
}

func (e *typeError) Error() string { return fmt.Sprintf("unexpected value type, want %s", e.expected) }
func (e *typeError) Unwrap() error { return core.ErrInvalid }

// refusal returns an error with its own identity that is of a kind of package core.
func refusal(text string, kind error) error { return &refusalError{text, kind} }

type refusalError struct {
	text string
	kind error
}

func (e *refusalError) Error() string { return e.text }
func (e *refusalError) Unwrap() error { return e.kind }

// valueError turns astartewire's reason against a value of type t, or of an object, into ours.
func valueError(t astartewire.Type, err error) error {
	expected := t.String()
	var k *astartewire.KeyError
	if errors.As(err, &k) {
		expected = k.ExpectedType()
	}
	switch {
	case errors.Is(err, astartewire.ErrUnexpectedKey):
		return fmt.Errorf("%w: %w", errObjectKey, err)
	case errors.Is(err, astartewire.ErrMissingKey):
		return fmt.Errorf("%w: %w", errMissingKey, err)
	case errors.Is(err, astartewire.ErrSizeExceeded):
		return fmt.Errorf("%w: %w", errValueSize, err)
	}
	return &typeError{expected}
}
