package astarte

import (
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead"
)

// What can go wrong beyond the kinds of package fairlead. Each wraps one of those, so that errors.Is finds either.
var (
	// ErrInterfaceNotFound means that the device does not declare an interface of that name.
	ErrInterfaceNotFound = fmt.Errorf("interface not declared: %w", fairlead.ErrNotFound)
	// ErrAlreadyRegistered means that the device has been registered and has had a certificate since. An operator can unregister it.
	ErrAlreadyRegistered = fmt.Errorf("device already registered: %w", fairlead.ErrConflict)
	// ErrDisconnected means that the value was dropped, because there is no connection and its mapping's retention is discard.
	ErrDisconnected = fmt.Errorf("not connected: %w", fairlead.ErrUnavailable)
	// ErrToken means that no token could be made of a realm's private key.
	ErrToken = fmt.Errorf("cannot make a token: %w", fairlead.ErrInvalid)
)

// A ValidationError says why a value may not be sent, before anything was stored or sent. It unwraps to fairlead.ErrInvalid, or to
// fairlead.ErrTooLarge if the value is of the right type but exceeds the platform's limits.
type ValidationError struct {
	Interface string
	Path      string // "" if the path does not matter
	Key       string // of an object's member; "" if it is not about one
	Problem   string
	Kind      error
}

// Error names interface, path and key.
func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString(e.Interface)
	if e.Path != "" {
		fmt.Fprintf(&b, " %.200q", e.Path)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, " key %.64q", e.Key)
	}
	fmt.Fprintf(&b, ": %s", e.Problem)
	return b.String()
}

// Unwrap returns Kind.
func (e *ValidationError) Unwrap() error { return e.Kind }

// An InterfaceError says what is wrong with the definition of an interface. It unwraps to fairlead.ErrInvalid.
type InterfaceError struct {
	File    string // "" if it did not come from a file
	Problem string
}

// Error names the file.
func (e *InterfaceError) Error() string {
	if e.File != "" {
		return fmt.Sprintf("interface file %s: %s", e.File, e.Problem)
	}
	return "interface: " + e.Problem
}

// Unwrap returns fairlead.ErrInvalid.
func (e *InterfaceError) Unwrap() error { return fairlead.ErrInvalid }
