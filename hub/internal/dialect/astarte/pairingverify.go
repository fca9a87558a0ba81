package astarte

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// spacedTime is how Pairing writes instants: unlike the other services with a space instead of the T.
const spacedTime = "2006-01-02 15:04:05.000Z"

// causes are the platform's names for what is wrong with a certificate; the first match wins.
var causes = []struct {
	err  error
	name string
}{
	{ca.ErrExpired, "EXPIRED"},
	{ca.ErrNotYetValid, "EXPIRED"}, // the platform's validation has one name for both ends
	{ca.ErrUnknownIssuer, "INVALID_ISSUER"},
	{ca.ErrBadSignature, "INVALID_SIGNATURE"},
	{ca.ErrKeyUsage, "INVALID_KEY_USAGE"},
	{errRevoked, "REVOKED"},
}

var (
	errRevoked = errors.New("certificate is revoked")
	errForeign = errors.New("certificate was not issued to this device")
)

// verifyCredentials tells a device whether its certificate would open the broker. The rule that matters is that it agrees with
// [Dialect.SignIn]: the Python SDK asks right after each lost connection, and the answer "invalid" for a certificate
// that still opens, or any failure, makes it unusable until its program restarts (observed with astarte-device-sdk
// 0.14.0). So a superseded certificate is valid, and nothing is written here, so that a full disk is no failure.
func verifyCredentials(c *call) (reply, error) {
	m, err := c.object()
	if err != nil {
		return reply{}, err
	}
	errs := fieldErrors{}
	text := m.text("client_crt", errs)
	if err := errs.err(); err != nil {
		return reply{}, err
	}
	until, reason, err := c.checkCertificate(text)
	if err != nil {
		return reply{}, err
	}
	stamp := func() string { return c.d.cfg.Now().UTC().Format(spacedTime) }
	if reason == nil {
		return success(map[string]any{"valid": true, "timestamp": stamp(), "until": until.UTC().Format(spacedTime)}), nil
	}
	cause := "INVALID"
	for _, known := range causes {
		if errors.Is(reason, known.err) {
			cause = known.name
			break
		}
	}
	if err := c.api.held.wait(c.ctx(), c.device.Num); err != nil {
		return reply{}, err
	}
	return success(map[string]any{"valid": false, "timestamp": stamp(), "cause": cause, "details": nil}), nil
}

// checkCertificate returns why a certificate does not open the broker for the device, and its end if it does.
func (c *call) checkCertificate(text string) (until time.Time, reason, err error) {
	crt, reason := ca.ParseCertificate([]byte(text))
	if reason != nil {
		return until, reason, nil
	}
	if reason := c.d.cfg.CA.Verify(crt); reason != nil {
		return until, reason, nil
	}
	err = c.view(func(rd store.Reader) error {
		rec, err := rd.Certificate(ca.SerialString(crt.SerialNumber))
		switch {
		case errors.Is(err, core.ErrNotFound):
			reason = errForeign
		case err != nil:
			return err
		case rec.Device != c.device.Num:
			reason = errForeign
		case rec.State == core.CertificateRevoked:
			reason = errRevoked
		}
		return nil
	})
	return crt.NotAfter, reason, err
}

// holdFor is how long after an answer "invalid" the next one to the same device is held back. A Python device that got
// one after a disconnection asks again without any pause, hundreds of times a second, for ever; it waits 30 s for an
// answer (both observed with astarte-device-sdk 0.14.0).
const holdFor = 5 * time.Second

const (
	maxHeld      = 1_024  // waiting requests; more are answered at once
	maxHoldNames = 16_384 // devices remembered; beyond that the oldest memory is given up
)

// A holdback slows down whoever is told "invalid" repeatedly. Its zero value is ready.
type holdback struct {
	mu      sync.Mutex
	last    map[core.DeviceNum]time.Time // of the latest such answer, those still to come included
	waiting int
}

// wait returns when the device may have its answer, or when the client has gone away.
func (h *holdback) wait(ctx context.Context, n core.DeviceNum) error {
	pause, held := h.enter(n, time.Now())
	if !held {
		return nil
	}
	defer h.leave()
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter notes an answer to the device, and returns how long it is to be held back.
func (h *holdback) enter(n core.DeviceNum, now time.Time) (pause time.Duration, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last == nil {
		h.last = map[core.DeviceNum]time.Time{}
	}
	at, known := h.last[n]
	if !known && len(h.last) >= maxHoldNames {
		h.forget(now)
	}
	if !known || now.Sub(at) >= holdFor || h.waiting >= maxHeld {
		h.last[n] = now
		return 0, false
	}
	if due := at.Add(holdFor); due.After(now) {
		pause = due.Sub(now)
	}
	pause = min(pause, holdFor) // several requests at once wait together, not behind each other
	h.last[n] = now.Add(pause)
	h.waiting++
	return pause, true
}

// forget drops what no longer matters, and everything if that is not enough.
func (h *holdback) forget(now time.Time) {
	for n, at := range h.last {
		if now.Sub(at) >= holdFor {
			delete(h.last, n)
		}
	}
	if len(h.last) >= maxHoldNames {
		clear(h.last)
	}
}

func (h *holdback) leave() {
	h.mu.Lock()
	h.waiting--
	h.mu.Unlock()
}

// tellVersion tells the release of the platform that is answered as.
func tellVersion(c *call) (reply, error) { return success(c.d.cfg.Version), nil }

// tellHealth answers with an empty body, as the platform's services do.
func tellHealth(*call) (reply, error) { return emptyReply(http.StatusOK), nil }
