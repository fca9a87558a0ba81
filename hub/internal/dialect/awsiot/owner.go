package awsiot

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// findCertificate finds a certificate on record: in the account that the server name names, else in the one with the best claim
// to it. Anybody can register a certificate without proving anything, and certificates are no secret: such a claim yields to one
// that was proven (by our CA, or by a registered authority that the account has proven to own), and to an earlier one.
func (d *Dialect) findCertificate(ctx context.Context, host string, leaf *x509.Certificate) (a account, crt certificate, err error) {
	all, err := d.allAccounts(ctx)
	if err != nil || len(all) == 0 {
		return a, crt, errors.Join(err, core.ErrNotFound)
	}
	id, named := certificateID(leaf.Raw), namedTenant(host)
	found := false
	err = d.view(ctx, func(rd store.Reader) error {
		for _, x := range all {
			c, err := readCertificate(rd, x.Tenant, id)
			if errors.Is(err, core.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			if x.Tenant == named {
				a, crt, found = x, c, true
				return nil
			}
			if !found || c.better(&crt) {
				a, crt, found = x, c, true
			}
		}
		return nil
	})
	if err == nil && found && crt.Mode == modeSNIOnly && a.Tenant != named {
		by, ierr := d.issuer(ctx, host, leaf)
		if errors.Is(ierr, core.ErrStorage) {
			return a, crt, ierr
		}
		found = by == nil || by.account.Tenant == a.Tenant
	}
	if err == nil && !found {
		err = core.ErrNotFound
	}
	return a, crt, err
}

// better reports whether the claim to a certificate that a record stands for goes before that of another account's record.
func (c *certificate) better(than *certificate) bool {
	if proven := c.Mode != modeSNIOnly; proven != (than.Mode != modeSNIOnly) {
		return proven
	}
	return c.Created.Before(than.Created)
}

// allAccounts returns the accounts of all tenants.
func (d *Dialect) allAccounts(ctx context.Context) ([]account, error) {
	return d.accounts.get(func() (all []account, err error) {
		err = d.view(ctx, func(rd store.Reader) (err error) {
			all, err = accounts(rd)
			return err
		})
		return all, err
	})
}
