package mqtt

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// maxClientIDBytes bounds client ids, which are part of keys in storage.
const maxClientIDBytes = 1024

// anonymousDevice is the device of all who sign in without credentials, where that is allowed.
const anonymousDevice core.DeviceID = "anonymous"

// A proof is who a client has proven to be, and how.
type proof struct {
	credential.Holder
	serial    string    // of the certificate of our CA that was shown, "" if none was
	authority string    // that has signed the certificate, "" if that is ours
	ends      time.Time // of what it was proven with; zero: never
	anonymous bool
	opening   *registry.Opening[credential.Holder] // what the certificate of our CA opens; nil: it was none
}

// SignIn implements dialect.Dialect. A certificate that opens a device comes first, then user name and password.
func (d *Dialect) SignIn(ctx context.Context, c core.Claim) (core.Grant, dialect.Link, error) {
	if len(c.ClientID) > maxClientIDBytes {
		return core.Grant{}, nil, fmt.Errorf("%w: client id of %d bytes, at most %d are possible", core.ErrInvalid, len(c.ClientID), maxClientIDBytes)
	}
	p, err := d.certificate(ctx, c)
	if errors.Is(err, dialect.ErrNotMine) {
		switch {
		case c.HasUsername:
			p, err = d.password(ctx, c)
		case d.cfg.Anonymous && c.Plain && d.cfg.DefaultTenant != "":
			p, err = d.nobody(ctx)
		}
	}
	if err == nil && p.Enrolment.Inhibited { // only who has proven to be the device is told
		err = inhibited(p.DeviceKey)
	}
	switch {
	case errors.Is(err, dialect.ErrNotMine):
		return core.Grant{}, nil, err
	case err != nil:
		k := p.DeviceKey
		if k.Tenant == "" {
			k, _ = d.Identify(c)
		}
		return core.Grant{}, nil, &core.SignInError{Device: k, Proven: errors.Is(err, core.ErrDenied) && p.ID != "", Err: err}
	}
	return d.grant(c, p)
}

// grant says what a device may do that has proven who it is.
func (d *Dialect) grant(c core.Claim, p proof) (core.Grant, dialect.Link, error) {
	g := core.Grant{Device: p.Num, Retain: true, Authority: p.authority}
	if c.ClientID == "" {
		g.Assigned = "auto-" + rand.Text()
	}
	clientID := cmp.Or(c.ClientID, g.Assigned)
	if p.anonymous {
		g.Session = sessionKey(p.Tenant, "", clientID) // no device's
		g.Publish, g.Subscribe, g.Dollar = []string{"#"}, []string{"#"}, true
		g.Limits.Sessions, g.Limits.DeviceFilters, g.Limits.DeviceUnread = -1, -1, -1 // they are many clients, not one device
		return g, newLink(d, p), nil
	}
	g.Session = sessionKey(p.Tenant, p.ID, clientID)
	var err error
	if g.Publish, g.Subscribe, err = p.Grants.For(p.DeviceKey); err != nil {
		return core.Grant{}, nil, fmt.Errorf("grants of %s: %w", p.DeviceKey, err)
	}
	if !p.ends.IsZero() {
		g.Lifetime = max(p.ends.Sub(d.cfg.Now()), 1)
	}
	return g, newLink(d, p), nil
}

// sessionKey returns the key of a session. Client ids are free, so the device is part of the key: no device can take the
// session of another one, whatever client id it uses. Ids of devices have no slash, so that no two pairs are one key.
func sessionKey(t core.TenantID, id core.DeviceID, clientID string) core.SessionKey {
	return core.SessionKey{Tenant: t, Dialect: Name, ClientID: string(id) + "/" + clientID}
}

// identifyTimeout bounds the wait for the list of registered authorities when somebody has been refused.
const identifyTimeout = time.Second

// Identify implements dialect.Identifier. A name counts in the tenant that it is a name in: that of a certificate in its
// authority's, whose operators would else not see it and those of the default tenant would. A certificate of nobody's
// authority belongs to no tenant, whatever its name is.
func (d *Dialect) Identify(c core.Claim) (core.DeviceKey, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), identifyTimeout)
	defer cancel()
	if c.Certificate != nil {
		if a, err := d.issuer(ctx, c.Certificate); a != nil {
			return a.names(c.Certificate), true
		} else if !errors.Is(err, ca.ErrUnknownIssuer) {
			return core.DeviceKey{}, false
		}
	}
	if c.HasUsername {
		k, ok := d.user(c.Username)
		switch {
		case k.Tenant.Validate() != nil:
			return core.DeviceKey{}, false
		case !ok || c.Password == nil: // without a password it may be a token, which is a secret
			k.ID = ""
		}
		return k, true
	}
	if c.Certificate == nil {
		return core.DeviceKey{}, false
	}
	switch err := d.cfg.CA.Verify(c.Certificate); {
	case errors.Is(err, ca.ErrUnknownIssuer), errors.Is(err, ca.ErrBadSignature):
		return core.DeviceKey{}, false
	}
	if !strings.Contains(c.Certificate.Subject.CommonName, "/") { // ours have TENANT/DEVICE
		return core.DeviceKey{}, false
	}
	return d.user(c.Certificate.Subject.CommonName)
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

// certificate finds the device that a certificate opens; dialect.ErrNotMine if it is none of ours.
func (d *Dialect) certificate(ctx context.Context, c core.Claim) (proof, error) {
	if c.Certificate == nil {
		return proof{}, dialect.ErrNotMine
	}
	err := d.cfg.CA.Verify(c.Certificate)
	switch {
	case err == nil:
		return d.issued(ctx, c)
	case errors.Is(err, ca.ErrUnknownIssuer):
		return d.foreign(ctx, c)
	}
	return proof{}, err
}

// issued finds the device that a certificate of our CA was issued to. What name is in it does not matter: other dialects
// have certificates signed whose name their device has chosen.
func (d *Dialect) issued(ctx context.Context, c core.Claim) (p proof, err error) {
	p.serial, p.ends = ca.SerialString(c.Certificate.SerialNumber), c.Certificate.NotAfter
	p.opening, err = d.recall.Find(c.Certificate.Raw, func() (h credential.Holder, n core.DeviceNum, err error) {
		err = d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
			h, err = onRecord(rd, p.serial, c.Certificate.Raw)
			return err
		})
		return h, h.Num, err
	})
	p.Holder = p.opening.Value
	return p, err
}

// onRecord returns the device that a certificate opens, which there may be in case of an error, too.
func onRecord(rd store.Reader, serial string, der []byte) (h credential.Holder, err error) {
	crt, err := rd.Certificate(serial)
	if errors.Is(err, core.ErrNotFound) {
		return h, fmt.Errorf("%w: certificate is not on record", core.ErrUnauthenticated)
	} else if err != nil {
		return h, err
	}
	dev, err := rd.DeviceByNum(crt.Device)
	if err == nil && dev.Dialect != Name {
		return h, dialect.ErrNotMine
	} else if errors.Is(err, core.ErrNotFound) || err == nil && crt.SHA256 != sha256.Sum256(der) {
		return h, fmt.Errorf("%w: certificate belongs to no device", core.ErrUnauthenticated)
	} else if err != nil {
		return h, err
	}
	if h, err = credential.Of(rd, dev); err != nil {
		return h, err
	}
	if crt.State == core.CertificateRevoked {
		return h, revoked(dev.DeviceKey)
	}
	return h, nil // a superseded one opens too, until it ends or is revoked: devices change it when they can
}

// foreign finds the device that the certificate of a registered authority names, and makes it where that is wanted. Whom
// the certificate names is in the proof too when there is an error, as far as its authority is known.
func (d *Dialect) foreign(ctx context.Context, c core.Claim) (p proof, err error) {
	a, err := d.issuer(ctx, c.Certificate)
	if errors.Is(err, ca.ErrUnknownIssuer) {
		return p, dialect.ErrNotMine
	}
	if a != nil {
		p.DeviceKey = a.names(c.Certificate)
	}
	if err != nil {
		return p, err
	}
	k := deviceKey(a.Tenant, core.DeviceID(c.Certificate.Subject.CommonName))
	if err := k.ID.Validate(); err != nil {
		return p, fmt.Errorf("%w: the certificate's common name is no device id: %v", core.ErrUnauthenticated, err)
	}
	p.ends, p.authority = c.Certificate.NotAfter, a.ID
	var may func(*commit.Tx) error
	if a.Register {
		may = func(tx *commit.Tx) error { return d.mayRegister(tx, k.Tenant) }
	}
	p.Holder, err = d.find(ctx, k, may)
	p.DeviceKey = k
	if errors.Is(err, core.ErrNotFound) {
		err = unregistered(k)
	}
	return p, err
}

// nobody is who signs in without credentials.
func (d *Dialect) nobody(ctx context.Context) (p proof, err error) {
	p.anonymous = true
	p.Holder, err = d.find(ctx, deviceKey(d.cfg.DefaultTenant, anonymousDevice), func(*commit.Tx) error { return nil })
	return p, err
}

// find returns a device, and makes it if it is not there and that is wanted: if may is not nil and has nothing against it. That is done before the connection is sure to
// come about, because its session needs the device's number; the device has been let in then, connected or not.
func (d *Dialect) find(ctx context.Context, k core.DeviceKey, may func(*commit.Tx) error) (h credential.Holder, err error) {
	err = d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		h, err = credential.Find(rd, k)
		return err
	})
	if may == nil || !errors.Is(err, core.ErrNotFound) {
		return h, err
	}
	err = d.cfg.Committer.Do(ctx, func(tx *commit.Tx) (err error) {
		if h, err = credential.Find(tx, k); errors.Is(err, core.ErrNotFound) {
			if err := may(tx); err != nil {
				return err
			}
			if _, err = credential.Add(tx, k, nil, nil); err == nil {
				h, err = credential.Find(tx, k) // as storage has it, in whose precision Connected compares times
			}
		}
		return err
	})
	return h, err
}
