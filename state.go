package fairlead

import "fmt"

// ConnectionState says how far a device is from its platform. The platform packages have it under the same name.
type ConnectionState uint8

// The states, with the numbers of the official Astarte SDK.
const (
	Connecting   ConnectionState = iota + 1 // tries to connect, or waits before it tries again
	Connected                               // what is sent goes out at once
	Disconnected                            // Run does not run
)

// String returns the state in a word.
func (s ConnectionState) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	}
	return fmt.Sprintf("state %d", uint8(s))
}
