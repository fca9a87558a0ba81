package awsiot

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// An authority is a registered one that is ACTIVE, ready to verify.
type authority struct {
	caCertificate
	account account
	*ca.Foreign
}

// readAuthorities returns the authorities of all accounts by their subject as it is in certificates, the first registered first. They are kept because
// each handshake with a certificate that is not ours asks for them.
func (d *Dialect) readAuthorities(ctx context.Context) (map[string][]*authority, error) {
	byName := map[string][]*authority{}
	err := d.view(ctx, func(rd store.Reader) error {
		all, err := accounts(rd)
		if err != nil {
			return err
		}
		for _, a := range all {
			list, _, err := caCertificates(rd, a.Tenant, "", 0)
			if err != nil {
				return err
			}
			for _, c := range list {
				f, err := ca.ParseForeign([]byte(c.PEM))
				if err != nil || c.Status != statusActive {
					continue
				}
				name := string(f.Certificate.RawSubject)
				byName[name] = append(byName[name], &authority{c, a, f})
			}
		}
		for _, list := range byName {
			slices.SortStableFunc(list, func(a, b *authority) int { return a.Created.Compare(b.Created) })
		}
		return nil
	})
	return byName, err
}

// issuer returns the registered authority that has signed a certificate which is valid now, for a connection to a host. One that
// was registered without a proof counts in the account that the server name means, and nowhere else: anybody can register anybody's
// (AWS IoT guide, "Registering a CA certificate in SNI_ONLY mode"). Errors are those of ca.CA.Verify; ca.ErrUnknownIssuer: none has.
func (d *Dialect) issuer(ctx context.Context, host string, leaf *x509.Certificate) (*authority, error) {
	meant, named := d.tenantOf(host), namedTenant(host)
	by, err := d.issuerOf(ctx, leaf, func(a *authority) bool { return a.account.Tenant == named })
	if named != "" && by != nil {
		return by, err
	}
	return d.issuerOf(ctx, leaf, func(a *authority) bool { return a.Mode != modeSNIOnly || a.account.Tenant == meant })
}

// issuerOf returns the first registered of those authorities that counts and has signed a certificate.
func (d *Dialect) issuerOf(ctx context.Context, leaf *x509.Certificate, counts func(*authority) bool) (*authority, error) {
	byName, err := d.authorities.get(func() (map[string][]*authority, error) { return d.readAuthorities(ctx) })
	if err != nil {
		return nil, fmt.Errorf("registered authorities: %w", err)
	}
	failed := fmt.Errorf("verify certificate: %w: %w %.200q", core.ErrUnauthenticated, ca.ErrUnknownIssuer, leaf.Issuer.String())
	for _, a := range byName[string(leaf.RawIssuer)] {
		if !counts(a) {
			continue
		}
		err := a.Verify(leaf, d.cfg.Now())
		if err == nil {
			return a, nil
		}
		if !errors.Is(err, ca.ErrBadSignature) { // else another one of the same name may have signed it
			failed = err
		}
	}
	return nil, failed
}

// registerUnknown puts a certificate on record at its first connection, which it ends: just-in-time registration. The account
// is told, and activates it; or it is provisioned by the authority's template. (AWS IoT guide, "Just-in-time registration".)
func (d *Dialect) registerUnknown(ctx context.Context, by *authority, leaf *x509.Certificate) error {
	now := d.cfg.Now()
	c := certificate{
		ID: certificateID(leaf.Raw), PEM: string(pemOf(leaf.Raw)), CA: by.ID, Status: statusPendingActivation, Mode: modeDefault, Version: 1,
		Created: now, Changed: now, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
	err := d.write(ctx, by.account.Tenant, func(tx *commit.Tx) error {
		return d.insertCertificate(tx, by.account.Tenant, c)
	})
	if err != nil && !errors.Is(err, core.ErrConflict) {
		return fmt.Errorf("register certificate %s: %w", c.ID, err)
	}
	if err := d.announce(ctx, by.account, c); err != nil {
		return err
	}
	return silent("certificate "+c.ID+" was registered now, and is PENDING_ACTIVATION", "Activate it: `aws iot update-certificate --new-status ACTIVE --certificate-id "+c.ID+"`.")
}

// announce tells the account of a certificate that was registered by its authority and waits to be activated, and provisions
// its device if the authority has a template.
func (d *Dialect) announce(ctx context.Context, a account, c certificate) error {
	err := d.write(ctx, a.Tenant, func(tx *commit.Tx) error {
		now := strconv.FormatInt(millis(tx.Now()), 10)
		payload, err := json.Marshal(map[string]any{
			"certificateId": c.ID, "caCertificateId": c.CA, "timestamp": millis(tx.Now()), "certificateStatus": statusPendingActivation,
			"awsAccountId": a.ID, "certificateRegistrationTimestamp": now,
		})
		if err != nil {
			return err
		}
		if err := d.publishAll(tx, a.Tenant, core.Message{Topic: "$aws/events/certificates/registered/" + c.CA, Payload: payload, QoS: 1}); err != nil {
			return err
		}
		return d.provisionJustInTime(tx, a, c)
	})
	if err != nil {
		return fmt.Errorf("certificate %s: %w", c.ID, err)
	}
	return nil
}
