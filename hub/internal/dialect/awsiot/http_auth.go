package awsiot

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// Names of services in what is signed. Clients of the WebSocket endpoint use two for the same one (observed: AWSIoTPythonSDK
// 1.6.2 the first, the others the second).
const (
	serviceControl = "iot"
	serviceData    = "iotdata"
	serviceGateway = "iotdevicegateway"
	serviceJobs    = "iot-jobs-data"

	serviceIdentity = "sts"
)

// How far the clocks of a client and of the hub may be apart, and how long a presigned URL is good that does not say so.
const (
	signatureSkew = 15 * time.Minute
	presignedLife = 24 * time.Hour
)

// errScope means that a request is signed for another service or region than those that it came to.
var errScope = fmt.Errorf("%w: credential is scoped to another service or region", sigv4.ErrMismatch)

// errTokenExpired means that a request is signed with a pass whose time is over.
var errTokenExpired = fmt.Errorf("%w: the security token has expired", core.ErrUnauthenticated)

// A signer is who signed a request: an access key of an account, which may do everything there, or a pass that the credentials
// provider has given a device.
type signer struct {
	account account
	key     accesskey.Key
	// certificate is the id of that which a pass stands for, "" for an access key: the bearer may do what the certificate may, at
	// the time of use, and nothing else.
	certificate string
}

// principal returns the signer as what the principals of connections are.
func (s *signer) principal() string { return keyAccessKey + s.key.ID }

// verifySigned returns who signed a request, for one of some services. The error wraps one of package sigv4's, or is storage's.
func (d *Dialect) verifySigned(ctx context.Context, r *sigv4.Request, services ...string) (*signer, error) {
	sig, err := sigv4.Parse(r)
	if err != nil {
		return nil, err
	}
	return d.verifySignature(ctx, r, sig, services)
}

// verifySignature is verifySigned for a signature that has been taken out of the request.
func (d *Dialect) verifySignature(ctx context.Context, r *sigv4.Request, sig *sigv4.Signature, services []string) (*signer, error) {
	now := d.cfg.Now()
	s, secret, err := d.signingKey(ctx, sig)
	if err != nil {
		return nil, err
	}
	err = sig.Verify(r, sigv4.Credentials{AccessKeyID: s.key.ID, SecretAccessKey: secret.Secret, SessionToken: secret.Token},
		sigv4.Window{Now: now, Skew: signatureSkew, Expires: presignedLife})
	if err != nil {
		return nil, err
	}
	if s.certificate == "" {
		s.account, err = d.account(ctx, s.key)
	} else {
		s.account, err = d.accountOfPass(ctx, s.key)
	}
	if err != nil {
		return nil, err
	}
	global := sig.Scope.Service == serviceIdentity && sig.Scope.Region == globalRegion
	if !slices.Contains(services, sig.Scope.Service) || sig.Scope.Region != s.account.Region && !global {
		return nil, fmt.Errorf("%w: %.64q in %.64q; here is %s in %q", errScope,
			sig.Scope.Service, sig.Scope.Region, strings.Join(services, ", "), s.account.Region)
	}
	return s, nil
}

// signingKey finds the access key or the pass that a signature is said to be made with.
func (d *Dialect) signingKey(ctx context.Context, sig *sigv4.Signature) (*signer, accesskey.Secret, error) {
	now := d.cfg.Now()
	if p, secret, ok := d.keys.Pass(sig.AccessKeyID, sig.Token); ok {
		if p.Expired(now) {
			return nil, accesskey.Secret{}, fmt.Errorf("%w: access key %.64q", errTokenExpired, p.ID)
		}
		return &signer{key: accesskey.Key{ID: p.ID, Tenant: p.Tenant, Expires: p.Expires}, certificate: certificateOf(p.For)}, secret, nil
	}
	key, secret, err := d.keys.Find(ctx, sig.AccessKeyID, now)
	if errors.Is(err, core.ErrNotFound) {
		return nil, accesskey.Secret{}, fmt.Errorf("%w %.64q", sigv4.ErrUnknownKey, sig.AccessKeyID)
	} else if err != nil {
		return nil, accesskey.Secret{}, err
	}
	return &signer{key: key}, secret, nil
}

// knownKey reports a signature by a key that is not there, before the body of a request is read for it.
func (d *Dialect) knownKey(ctx context.Context, sig *sigv4.Signature) error {
	_, _, err := d.signingKey(ctx, sig)
	return err
}

// account returns the account of an access key, and makes it when it is asked for first: having a key is enough. Keys are
// kept in memory, so that it is looked whether this one is on disk still: those of a tenant that is being deleted, or was,
// open nothing, whoever has its name now.
func (d *Dialect) account(ctx context.Context, k accesskey.Key) (a account, err error) {
	made := false
	err = d.view(ctx, func(rd store.Reader) error {
		known, err := hasRecord(rd, k.Tenant, keyAccessKey+k.ID)
		if err == nil && known {
			known, err = isOpen(rd, k.Tenant)
		}
		if err != nil {
			return err
		} else if !known {
			return fmt.Errorf("%w %.64q", sigv4.ErrUnknownKey, k.ID)
		}
		a, err = readAccount(rd, k.Tenant)
		made, err = present(err)
		return err
	})
	if err != nil || made {
		return a, err
	}
	err = d.write(ctx, k.Tenant, func(tx *commit.Tx) (err error) {
		a, err = d.makeAccount(tx, k.Tenant)
		return err
	})
	return a, err
}

// accountOfPass returns the account that a pass belongs to. If it is not there any more, nor is what the pass stands for.
func (d *Dialect) accountOfPass(ctx context.Context, k accesskey.Key) (a account, err error) {
	err = d.view(ctx, func(rd store.Reader) error {
		a, err = readAccount(rd, k.Tenant)
		return err
	})
	if errors.Is(err, core.ErrNotFound) {
		err = fmt.Errorf("%w %.64q", sigv4.ErrUnknownKey, k.ID)
	}
	return a, err
}

// isOpen reports whether a tenant is there and is not being deleted.
func isOpen(rd interface {
	Tenant(id core.TenantID) (core.Tenant, error)
}, t core.TenantID,
) (bool, error) {
	x, err := rd.Tenant(t)
	found, err := present(err)
	return found && !x.Deleting, err
}

var errClosed = fmt.Errorf("%w: the account is being deleted", core.ErrDenied)

// write runs f in a transaction, unless the tenant is being deleted, or was meanwhile: records that are written then would be
// those of the next one of its name.
func (d *Dialect) write(ctx context.Context, t core.TenantID, f func(*commit.Tx) error) error {
	return d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
		if open, err := isOpen(tx, t); err != nil {
			return err
		} else if !open {
			return errClosed
		}
		return f(tx)
	})
}

// forgetAccessKey ends the connections of an access key that has been deleted.
func (d *Dialect) forgetAccessKey(tx *commit.Tx, e core.Event) error {
	var key struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(e.Data, &key); err != nil {
		return fmt.Errorf("event %s: %w: %v", e.Kind, core.ErrInvalid, err)
	}
	d.standing(e.Device.Tenant).changing(tx)
	return d.disconnectPrincipal(tx, e.Device.Tenant, keyAccessKey+key.ID)
}

// authenticateCertificate finds the certificate that the client has shown: it is on record, ACTIVE, and valid now. What it may
// do is decided by its policies, in which a request has no client id, and so no thing.
func (c *call) authenticateCertificate() error {
	if c.r.TLS == nil || len(c.r.TLS.PeerCertificates) == 0 {
		return sigv4.ErrMissing
	}
	leaf := c.r.TLS.PeerCertificates[0]
	id := certificateID(leaf.Raw)
	a, _, err := c.d.findCertificate(c.ctx(), c.r.TLS.ServerName, leaf)
	if errors.Is(err, core.ErrNotFound) {
		// Of a registered authority's it may be the first connection.
		err = c.d.unknownCertificate(c.ctx(), core.Claim{Certificate: leaf, ServerName: c.r.TLS.ServerName})
		if errors.Is(err, dialect.ErrNotMine) {
			err = fmt.Errorf("%w: certificate %s is not on record", core.ErrDenied, id)
		}
	}
	if err != nil {
		return err
	}
	return c.standFor(a, id, leaf)
}

// authenticatePass has a request that was signed with a pass be one of the certificate that the pass stands for.
func (c *call) authenticatePass() error {
	a, id := c.signer.account, c.signer.certificate
	c.pass, c.signer = c.signer, nil
	_, leaf, err := c.d.leafOf(c.ctx(), a.Tenant, id)
	if err != nil {
		return err
	}
	return c.standFor(a, id, leaf)
}

// leafOf returns a certificate on record. One that is not there any more opens nothing.
func (d *Dialect) leafOf(ctx context.Context, t core.TenantID, id string) (crt certificate, leaf *x509.Certificate, err error) {
	err = d.view(ctx, func(rd store.Reader) (err error) {
		crt, err = readCertificate(rd, t, id)
		if errors.Is(err, core.ErrNotFound) {
			return silent("certificate "+id+" has been deleted", "Register it again, or give the device another one.")
		} else if err != nil {
			return err
		}
		if leaf, err = ca.ParseCertificate([]byte(crt.PEM)); err != nil {
			return fmt.Errorf("certificate %s: %w: %v", id, core.ErrStorage, err)
		}
		return nil
	})
	return crt, leaf, err
}

// standFor makes the request one of a certificate's.
func (c *call) standFor(a account, id string, leaf *x509.Certificate) error {
	c.account, c.certificate = a, id
	if !c.d.validNow(leaf) {
		return fmt.Errorf("%w: certificate %s is not valid now", core.ErrDenied, id)
	}
	v := values{certificate: leaf}
	if c.r.TLS != nil {
		v.domain = c.r.TLS.ServerName
	}
	if remote, err := netip.ParseAddrPort(c.r.RemoteAddr); err == nil {
		v.sourceIP = remote.Addr().Unmap().String()
	}
	if c.op != nil && c.op.service == provider {
		v.clientID = c.r.Header.Get(thingNameHeader) // which names the thing that policies may ask about
	}
	return c.view(func(rd store.Reader) error {
		if open, err := isOpen(rd, a.Tenant); err != nil {
			return err
		} else if !open {
			return errClosed
		}
		papers, err := c.d.papersOf(rd, a.Tenant, id, v)
		if err != nil {
			return err
		}
		papers.values.clientID = ""
		c.thing, c.bound = papers.values.thing, papers.bind()
		return nil
	})
}

// authorize decides whether the caller may do the operation: an access key may do everything in its account, a certificate
// what its policies say of it.
func (c *call) authorize() error {
	if c.signer != nil {
		return nil
	}
	if c.op.action == "" {
		return fmt.Errorf("%w: %s needs an access key", core.ErrDenied, c.op.name)
	}
	return c.allowed(c.op.action, c.op.resource(c))
}

// allowed asks the policies of the caller's certificate about an action. resource is what follows the beginning of the ARN.
func (c *call) allowed(action, resource string) error {
	if c.signer != nil {
		return nil
	}
	arn := resource
	if resource != "*" {
		arn = c.account.arn(resource)
	}
	if policy.Decide(c.bound, action, arn) != policy.Allowed {
		return fmt.Errorf("%w: no policy of certificate %s allows %s on %.300s", core.ErrDenied, c.certificate, action, arn)
	}
	return nil
}
