package awsiot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
)

// What can go wrong beyond the kinds of package fairlead. Each wraps one of those, or an error of the standard library, so that errors.Is
// finds either.
var (
	// ErrTimeout means that [Config.OperationTimeout] or [Config.RequestTimeout] has passed. Whether what was asked for has happened is
	// unknown.
	ErrTimeout = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	// ErrQueued means that a message was accepted and not acknowledged in time: it is kept, and will be sent.
	ErrQueued = fmt.Errorf("the message waits to be sent: %w", fairlead.ErrUnavailable)
	// ErrQueueFull means that a message was dropped, because the offline queue has [OfflineQueue.Size] of them.
	ErrQueueFull = fmt.Errorf("offline queue: %w", fairlead.ErrFull)
	// ErrQueueDisabled means that a message was dropped, because there is no connection and nothing may keep it.
	ErrQueueDisabled = fmt.Errorf("not connected, and no queue keeps the message: %w", fairlead.ErrUnavailable)
	// ErrHungUp means that AWS IoT has hung up again and again instead of acknowledging a message, which was given up: see
	// [Config.MaxHangUps]. Most likely no policy allows it. It wraps fairlead.ErrDenied.
	ErrHungUp = engine.ErrHungUp
	// ErrNoCredentials means that a [CredentialsProvider] has looked everywhere it knows and found none.
	ErrNoCredentials = fmt.Errorf("no AWS credentials: %w", fairlead.ErrNotFound)
	// ErrNoJob means that there is no pending job.
	ErrNoJob = fmt.Errorf("no pending job: %w", fairlead.ErrNotFound)
)

// isRefusal tells whether an attempt to connect failed in a way that waiting does not cure: AWS IoT has said no, its certificate is not
// one that we trust, or there are no credentials.
func isRefusal(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.Is(err, fairlead.ErrDenied) || errors.Is(err, fairlead.ErrUnauthenticated) || errors.Is(err, fairlead.ErrInvalid) ||
		errors.Is(err, ErrNoCredentials) || errors.Is(err, fairlead.ErrExpired) || errors.As(err, &verification)
}
