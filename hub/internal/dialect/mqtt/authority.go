package mqtt

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// authorities are the foreign authorities of all tenants, kept because each handshake with a certificate that is not ours
// asks for them.
type authorities struct {
	mu      sync.Mutex
	open    int                     // transactions that change something, and are not over
	changes int                     // counts their beginnings and ends
	byName  map[string][]*authority // by the subject as it is in certificates; nil: to be read
}

type authority struct {
	credential.Authority
	*ca.Foreign
}

// changing has them read anew: each time until the transaction is over, so that who then hears that it is on disk never
// meets what was before.
func (a *authorities) changing(tx *commit.Tx) {
	a.change(1)
	tx.After(func() { a.change(-1) })
	tx.Undo(func() { a.change(-1) })
}

func (a *authorities) change(open int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open += open
	a.changes++
	a.byName = nil
}

// issuers returns the authorities that may have signed a certificate.
func (d *Dialect) issuers(ctx context.Context, leaf *x509.Certificate) ([]*authority, error) {
	a := &d.authorities
	a.mu.Lock()
	known, before := a.byName, a.changes
	a.mu.Unlock()
	if known == nil {
		var err error
		if known, err = d.readAuthorities(ctx); err != nil {
			return nil, fmt.Errorf("registered authorities: %w", err)
		}
		a.mu.Lock()
		if a.changes == before && a.open == 0 {
			a.byName = known
		}
		a.mu.Unlock()
	}
	return known[string(leaf.RawIssuer)], nil
}

func (d *Dialect) readAuthorities(ctx context.Context) (map[string][]*authority, error) {
	var all []credential.Authority
	err := d.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
		all, err = credential.AllAuthorities(rd)
		return err
	})
	known := map[string][]*authority{}
	for _, a := range all {
		f, err := ca.ParseForeign([]byte(a.PEM))
		if err != nil {
			d.log.Warn("registered authority not usable", "authority", a.ID, "tenant", string(a.Tenant), "err", err)
			continue
		}
		name := string(f.Certificate.RawSubject)
		known[name] = append(known[name], &authority{a, f})
	}
	return known, err
}

// VerifyForeign tells whether a certificate was signed by an authority that a tenant has registered, and is valid now. Its
// errors are those of ca.CA.Verify.
func (d *Dialect) VerifyForeign(ctx context.Context, leaf *x509.Certificate) error {
	_, err := d.issuer(ctx, leaf)
	return err
}

// issuer returns the authority that has signed a certificate. It does so with an error too, if that is about the
// certificate's dates or use and not about whose it is.
func (d *Dialect) issuer(ctx context.Context, leaf *x509.Certificate) (signer *authority, err error) {
	list, err := d.issuers(ctx, leaf)
	if err != nil {
		return nil, err
	}
	failed := fmt.Errorf("verify certificate: %w: %w %.200q", core.ErrUnauthenticated, ca.ErrUnknownIssuer, leaf.Issuer.String())
	for _, a := range list {
		err := a.Verify(leaf, d.cfg.Now())
		if err == nil {
			return a, nil
		}
		// Another one of the same name may have signed it; nothing is said of the dates of what is not theirs.
		if !errors.Is(err, ca.ErrBadSignature) {
			signer, failed = a, err
		}
	}
	return signer, failed
}

// names returns whom a certificate of the authority names. Without an id it is nobody whom the tenant could have.
func (a *authority) names(leaf *x509.Certificate) core.DeviceKey {
	k := deviceKey(a.Tenant, core.DeviceID(leaf.Subject.CommonName))
	if k.ID.Validate() != nil {
		k.ID = ""
	}
	return k
}
