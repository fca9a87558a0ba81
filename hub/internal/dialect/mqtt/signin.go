package mqtt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// maxClientIDBytes bounds client ids, which are part of keys in storage.
const maxClientIDBytes = 1024

// failureStep is what refusals of a password are delayed to a multiple of, so that the time they take tells neither whether
// there is such a device nor how its password is kept.
const failureStep = 100 * time.Millisecond

// Why a password does not open a device. Operators see which it is; clients get one answer to all of them.
var (
	errUser     = fmt.Errorf("%w: no device is called by this user name, which is TENANT/DEVICE, or DEVICE where there is a default tenant", core.ErrUnauthenticated)
	errPassword = fmt.Errorf("%w: wrong password, or a token that has expired", core.ErrUnauthenticated)
)

// SignIn implements dialect.Dialect.
func (d *Dialect) SignIn(ctx context.Context, c core.Claim) (core.Grant, dialect.Link, error) {
	if len(c.ClientID) > maxClientIDBytes {
		return core.Grant{}, nil, fmt.Errorf("%w: client id of %d bytes, at most %d are possible", core.ErrInvalid, len(c.ClientID), maxClientIDBytes)
	}
	if !c.HasUsername {
		return core.Grant{}, nil, dialect.ErrNotMine
	}
	h, life, err := d.password(ctx, c)
	if err != nil {
		k, _ := d.Identify(c)
		return core.Grant{}, nil, &core.SignInError{Device: k, Proven: errors.Is(err, core.ErrDenied), Err: err}
	}
	return d.grant(c, h, life)
}

// grant says what a device may do that has proven who it is.
func (d *Dialect) grant(c core.Claim, h credential.Holder, life time.Duration) (core.Grant, dialect.Link, error) {
	publish, subscribe, err := h.Grants.For(h.DeviceKey)
	if err != nil {
		return core.Grant{}, nil, fmt.Errorf("grants of %s: %w", h.DeviceKey, err)
	}
	return core.Grant{
		Session:   sessionKey(h.DeviceKey, c.ClientID),
		Device:    h.Num,
		Publish:   publish,
		Subscribe: subscribe,
		Retain:    true,
		Lifetime:  life,
	}, newLink(d, h), nil
}

// sessionKey returns the key of a session. Client ids are free, so the device is part of the key: no device can take the
// session of another one, whatever client id it uses. Ids of devices have no slash, so that no two pairs are one key.
func sessionKey(k core.DeviceKey, clientID string) core.SessionKey {
	if clientID == "" {
		clientID = "auto-" + rand.Text() // the client does not want a session that it could come back to
	}
	return core.SessionKey{Tenant: k.Tenant, Dialect: Name, ClientID: string(k.ID) + "/" + clientID}
}

// Identify implements dialect.Identifier.
func (d *Dialect) Identify(c core.Claim) (core.DeviceKey, bool) {
	if !c.HasUsername {
		return core.DeviceKey{}, false
	}
	return d.user(c.Username)
}

// user reads a user name: DEVICE or TENANT/DEVICE.
func (d *Dialect) user(name string) (core.DeviceKey, bool) {
	tenant, id, found := strings.Cut(name, "/")
	if !found {
		tenant, id = string(d.cfg.DefaultTenant), name
	}
	k := deviceKey(core.TenantID(tenant), core.DeviceID(id))
	return k, k.Tenant.Validate() == nil && k.ID.Validate() == nil
}

// password finds the device that user name and password open, and for how long.
func (d *Dialect) password(ctx context.Context, c core.Claim) (credential.Holder, time.Duration, error) {
	start := time.Now()
	h, life, err := d.checkPassword(ctx, c)
	if errors.Is(err, core.ErrUnauthenticated) {
		delay(ctx, start)
	}
	return h, life, err
}

// delay waits until a multiple of failureStep has passed since start.
func delay(ctx context.Context, start time.Time) {
	rest := failureStep - time.Since(start)%failureStep
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (d *Dialect) checkPassword(ctx context.Context, c core.Claim) (h credential.Holder, life time.Duration, err error) {
	k, ok := d.user(c.Username)
	if !ok {
		return h, 0, errUser
	}
	err = d.cfg.Store.View(ctx, func(rd store.Reader) error {
		var err error
		h, err = credential.Find(rd, k)
		return err
	})
	if errors.Is(err, core.ErrNotFound) {
		return h, 0, errUser
	} else if err != nil {
		return h, 0, fmt.Errorf("sign in %s: %w", k, err)
	}
	now := d.cfg.Now()
	t, isToken := h.Token(c.Password, now)
	if isToken {
		life = t.Expires.Sub(now)
	} else if ok, err = d.cfg.Hasher.Check(ctx, h.Enrolment.SecretHash, c.Password); err != nil {
		return h, 0, fmt.Errorf("sign in %s: %w", k, err)
	} else if !ok {
		return h, 0, errPassword
	}
	return h, life, inhibited(h)
}

// inhibited refuses a device that an operator keeps out. Only who has proven to be the device is told.
func inhibited(h credential.Holder) error {
	if h.Enrolment.Inhibited {
		return fmt.Errorf("sign in %s: %w: credentials are inhibited", h.DeviceKey, core.ErrDenied)
	}
	return nil
}
