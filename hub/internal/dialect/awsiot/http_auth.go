package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
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
)

// How far the clocks of a client and of the hub may be apart, and how long a presigned URL is good that does not say so.
const (
	signatureSkew = 15 * time.Minute
	presignedLife = 24 * time.Hour
)

// errScope means that a request is signed for another service or region than those that it came to.
var errScope = fmt.Errorf("%w: credential is scoped to another service or region", sigv4.ErrMismatch)

// A signer is who signed a request: an access key of an account. It may do everything there.
type signer struct {
	account account
	key     accesskey.Key
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
	key, secret, err := d.cfg.Keys.Find(ctx, sig.AccessKeyID, now)
	if errors.Is(err, core.ErrNotFound) {
		return nil, fmt.Errorf("%w %.64q", sigv4.ErrUnknownKey, sig.AccessKeyID)
	} else if err != nil {
		return nil, err
	}
	err = sig.Verify(r, sigv4.Credentials{AccessKeyID: key.ID, SecretAccessKey: secret.Secret, SessionToken: secret.Token},
		sigv4.Window{Now: now, Skew: signatureSkew, Expires: presignedLife})
	if err != nil {
		return nil, err
	}
	a, err := d.account(ctx, key)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(services, sig.Scope.Service) || sig.Scope.Region != a.Region {
		return nil, fmt.Errorf("%w: %.64q in %.64q", errScope, sig.Scope.Service, sig.Scope.Region)
	}
	return &signer{account: a, key: key}, nil
}

// knownKey reports a signature by a key that is not there, before the body of a request is read for it.
func (d *Dialect) knownKey(ctx context.Context, sig *sigv4.Signature) error {
	_, _, err := d.cfg.Keys.Find(ctx, sig.AccessKeyID, d.cfg.Now())
	if errors.Is(err, core.ErrNotFound) {
		return fmt.Errorf("%w %.64q", sigv4.ErrUnknownKey, sig.AccessKeyID)
	}
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
	c.account, c.certificate = a, id
	if now := c.d.cfg.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return fmt.Errorf("%w: certificate %s is not valid now", core.ErrDenied, id)
	}
	v := values{domain: c.r.TLS.ServerName, certificate: leaf}
	if remote, err := netip.ParseAddrPort(c.r.RemoteAddr); err == nil {
		v.sourceIP = remote.Addr().Unmap().String()
	}
	return c.view(func(rd store.Reader) error {
		if open, err := isOpen(rd, a.Tenant); err != nil {
			return err
		} else if !open {
			return errClosed
		}
		papers, err := c.d.papersOf(rd, a.Tenant, id, v)
		if err == nil {
			c.bound = papers.bind()
		}
		return err
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
