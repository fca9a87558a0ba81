// Package fairlead holds the words that all packages of the device SDK share: kinds of errors, the form in which a
// platform's refusal is reported, and the states of a connection.
//
// Programs import one of the platform packages beside it and seldom need more from here than the kinds:
//
//	if err := send(); errors.Is(err, fairlead.ErrFull) {
//		// the outbox is full: slow down
//	}
//
// It imports nothing but the standard library.
package fairlead
