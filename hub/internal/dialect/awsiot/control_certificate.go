package awsiot

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var certificateOperations = []operation{
	{name: "CreateKeysAndCertificate", method: post, path: "/keys-and-certificate", do: (*call).createKeysAndCertificate},
	{name: "CreateCertificateFromCsr", method: post, path: "/certificates", do: (*call).createCertificateFromCSR},
	{name: "RegisterCertificate", method: post, path: "/certificate/register", do: (*call).registerCertificate},
	{name: "RegisterCertificateWithoutCA", method: post, path: "/certificate/register-no-ca", do: (*call).registerCertificateWithoutCA},
	{name: "DescribeCertificate", method: get, path: "/certificates/{certificateId}", do: (*call).describeCertificate},
	{name: "ListCertificates", method: get, path: "/certificates", do: (*call).listCertificates},
	{name: "ListCertificatesByCA", method: get, path: "/certificates-by-ca/{caCertificateId}", do: (*call).listCertificatesByCA},
	{name: "UpdateCertificate", method: put, path: "/certificates/{certificateId}", do: (*call).updateCertificate},
	{name: "DeleteCertificate", method: remove, path: "/certificates/{certificateId}", do: (*call).deleteCertificate},
}

// issuedUntil is when certificates end that the platform issues. Ours end with the hub's issuing certificate, if that is
// earlier.
var issuedUntil = time.Date(2049, time.December, 31, 23, 59, 59, 0, time.UTC)

// keyMaking bounds how many RSA keys are made at once: each takes a processor for a tenth of a second.
var keyMaking = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// A keyPair is a private key that was made for a client, which is told it once.
type keyPair struct {
	PublicKey  string `json:"PublicKey"`
	PrivateKey string `json:"PrivateKey"`
}

// newKeyPair makes an RSA key of 2048 bits, as the platform does.
func newKeyPair(ctx context.Context) (keyPair, crypto.PublicKey, error) {
	select {
	case keyMaking <- struct{}{}:
	case <-ctx.Done():
		return keyPair{}, nil, ctx.Err()
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	<-keyMaking
	if err != nil {
		return keyPair{}, nil, fmt.Errorf("make a key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return keyPair{}, nil, fmt.Errorf("make a key: %w", err)
	}
	return keyPair{
		PublicKey:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		PrivateKey: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}, &key.PublicKey, nil
}

// issue has our CA sign a certificate. It is on no record yet.
func (d *Dialect) issue(pub crypto.PublicKey, status string) (certificate, error) {
	issued, err := d.cfg.CA.SignDeviceKey(pub, ca.Leaf{CommonName: issuedName, Lifetime: issuedUntil.Sub(d.cfg.Now())})
	if err != nil {
		return certificate{}, err
	}
	leaf, err := ca.ParseCertificate(issued.PEM)
	if err != nil {
		return certificate{}, err
	}
	return d.certificateRecord(leaf, string(issued.PEM), status), nil
}

// certificateRecord is what is kept of a certificate.
func (d *Dialect) certificateRecord(leaf *x509.Certificate, text, status string) certificate {
	now := d.cfg.Now()
	return certificate{
		ID: certificateID(leaf.Raw), PEM: text, Status: status, Mode: modeDefault, Version: 1,
		Created: now, Changed: now, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
}

// activeIf is the status that "setAsActive" asks for.
func activeIf(active bool) string {
	if active {
		return statusActive
	}
	return statusInactive
}

// createdCertificate enters a certificate that was issued, and returns the answer about it.
func (c *call) createdCertificate(crt certificate, keys *keyPair) (any, error) {
	err := c.do(func(tx *commit.Tx) error { return c.d.insertCertificate(tx, c.tenant(), crt) })
	if err != nil {
		return nil, err
	}
	return struct {
		Arn  string   `json:"certificateArn"`
		ID   string   `json:"certificateId"`
		PEM  string   `json:"certificatePem"`
		Keys *keyPair `json:"keyPair,omitempty"`
	}{c.account.arn(certResource + crt.ID), crt.ID, crt.PEM, keys}, nil
}

func (c *call) createKeysAndCertificate() (any, error) {
	active, err := c.flag("setAsActive", false)
	if err != nil {
		return nil, err
	}
	keys, pub, err := newKeyPair(c.ctx())
	if err != nil {
		return nil, err
	}
	crt, err := c.d.issue(pub, activeIf(active))
	if err != nil {
		return nil, err
	}
	return c.createdCertificate(crt, &keys)
}

func (c *call) createCertificateFromCSR() (any, error) {
	var in struct {
		CSR string `json:"certificateSigningRequest"`
	}
	active, err := c.flag("setAsActive", false)
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	csr, err := ca.ParseCSR([]byte(in.CSR))
	if err != nil {
		return nil, refuse(invalidRequest, "CSR is invalid: %v", err)
	}
	crt, err := c.d.issue(csr.PublicKey, activeIf(active))
	if err != nil {
		return nil, err
	}
	return c.createdCertificate(crt, nil)
}

// A registration is a request to register a certificate of somebody else.
type registration struct {
	PEM    string `json:"certificatePem"`
	CAPEM  string `json:"caCertificatePem"`
	Status string `json:"status"`
}

// registrationRequest reads one, with its certificate.
func (c *call) registrationRequest() (r registration, leaf *x509.Certificate, err error) {
	active, err := c.flag("setAsActive", false)
	if err == nil {
		err = c.decode(&r)
	}
	if err != nil {
		return r, nil, err
	}
	if r.Status == "" {
		r.Status = activeIf(active)
	}
	if !slices.Contains([]string{statusActive, statusInactive, statusRevoked}, r.Status) {
		return r, nil, refuse(invalidRequest, "The status %.40s cannot be given to a certificate that is registered.", r.Status)
	}
	leaf, err = ca.ParseCertificate([]byte(r.PEM))
	if err != nil {
		return r, nil, refuse(badCertificate, "The certificate cannot be read: %v", err)
	}
	return r, leaf, c.d.mayBeRegistered(leaf)
}

// mayBeRegistered refuses certificates that our CA has signed for devices of other platforms: whoever registered one of those
// would have taken another tenant's device away.
func (d *Dialect) mayBeRegistered(leaf *x509.Certificate) error {
	if d.elsewhere(leaf) {
		return refuse(badCertificate, "The certificate was issued by this hub for a device of another platform.")
	}
	return nil
}

// elsewhere reports whether a certificate names our CA, which has signed it for a device of another platform then, if at all.
func (d *Dialect) elsewhere(leaf *x509.Certificate) bool {
	return leaf.Subject.CommonName != issuedName && !errors.Is(d.cfg.CA.Verify(leaf), ca.ErrUnknownIssuer)
}

func (c *call) registered(crt certificate) (any, error) {
	err := c.do(func(tx *commit.Tx) error { return c.d.insertCertificate(tx, c.tenant(), crt) })
	if errors.Is(err, core.ErrConflict) {
		return nil, c.exists(crt.ID, certResource+crt.ID, "The certificate is already provisioned or registered")
	} else if err != nil {
		return nil, err
	}
	return map[string]any{"certificateArn": c.account.arn(certResource + crt.ID), "certificateId": crt.ID}, nil
}

func (c *call) registerCertificate() (any, error) {
	r, leaf, err := c.registrationRequest()
	if err != nil {
		return nil, err
	}
	var by caCertificate
	err = c.view(func(rd store.Reader) error {
		by, err = authorityOf(rd, c.tenant(), leaf, r.CAPEM)
		return err
	})
	if err != nil {
		return nil, err
	}
	crt := c.d.certificateRecord(leaf, r.PEM, r.Status)
	crt.CA, crt.Mode = by.ID, by.Mode
	return c.registered(crt)
}

func (c *call) registerCertificateWithoutCA() (any, error) {
	r, leaf, err := c.registrationRequest()
	if err != nil {
		return nil, err
	}
	crt := c.d.certificateRecord(leaf, r.PEM, r.Status)
	crt.Mode = modeSNIOnly
	return c.registered(crt)
}

// authorityOf returns the registered authority that has signed a certificate: the one that is given in PEM, else whichever it
// is.
func authorityOf(rd store.RecordReader, t core.TenantID, leaf *x509.Certificate, text string) (caCertificate, error) {
	given := ""
	if text != "" {
		crt, err := ca.ParseCertificate([]byte(text))
		if err != nil {
			return caCertificate{}, refuse(badCertificate, "The CA certificate cannot be read: %v", err)
		}
		given = certificateID(crt.Raw)
	}
	all, _, err := caCertificates(rd, t, "", 0)
	if err != nil {
		return caCertificate{}, err
	}
	for _, by := range all {
		if given != "" && by.ID != given {
			continue
		}
		authority, err := ca.ParseCertificate([]byte(by.PEM))
		if err != nil {
			return caCertificate{}, err
		}
		if leaf.CheckSignatureFrom(authority) == nil {
			return by, nil
		}
	}
	if given != "" {
		return caCertificate{}, refuse(badCertificate, "The CA certificate is not registered, or has not signed the certificate.")
	}
	return caCertificate{}, refuse(badCertificate, "No registered CA certificate has signed the certificate.")
}

func noCertificate(err error, id string) error {
	return missing(err, "The certificate given in the principal does not exist: %s", id)
}

func (c *call) describeCertificate() (any, error) {
	id, err := c.label("certificateId", certificateIDConstraint)
	if err != nil {
		return nil, err
	}
	var crt certificate
	err = c.view(func(rd store.Reader) (err error) {
		crt, err = readCertificate(rd, c.tenant(), id)
		return noCertificate(err, id)
	})
	if err != nil {
		return nil, err
	}
	description := map[string]any{
		"certificateArn": c.account.arn(certResource + id), "certificateId": id, "status": crt.Status, "certificatePem": crt.PEM,
		"ownedBy": c.account.ID, "creationDate": epoch(crt.Created), "lastModifiedDate": epoch(crt.Changed), "customerVersion": crt.Version,
		"transferData": crt.Transfer.data(), "generationId": fmt.Sprint(crt.Version), "certificateMode": crt.Mode,
		"validity": map[string]any{"notBefore": epoch(crt.NotBefore), "notAfter": epoch(crt.NotAfter)},
	}
	if crt.CA != "" {
		description["caCertificateId"] = crt.CA
	}
	if crt.PreviousOwner != "" {
		description["previousOwnedBy"] = crt.PreviousOwner
	}
	return map[string]any{"certificateDescription": description}, nil
}

// A certificateSummary is a certificate in a list.
type certificateSummary struct {
	Arn     string `json:"certificateArn"`
	ID      string `json:"certificateId"`
	Status  string `json:"status"`
	Mode    string `json:"certificateMode,omitempty"`
	Created epoch  `json:"creationDate"`
}

type certificatePage struct {
	List []certificateSummary `json:"certificates"`
	Next string               `json:"nextMarker,omitempty"`
}

func (c *call) certificateSummary(crt *certificate) certificateSummary {
	return certificateSummary{c.account.arn(certResource + crt.ID), crt.ID, crt.Status, crt.Mode, epoch(crt.Created)}
}

func (c *call) listCertificates() (any, error) {
	p, err := c.marked()
	ascending, aerr := c.flag("isAscendingOrder", false)
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	out := certificatePage{List: []certificateSummary{}}
	err = c.view(func(rd store.Reader) error {
		list, next, err := certificates(rd, c.tenant(), ascending, p.after, p.limit)
		for i := range list {
			if list[i].Claim == "" { // claims of trusted users are not shown
				out.List = append(out.List, c.certificateSummary(&list[i]))
			}
		}
		out.Next = nextToken(next, next != "")
		return err
	})
	return out, err
}

func (c *call) listCertificatesByCA() (any, error) {
	id, err := c.label("caCertificateId", certificateIDConstraint)
	p, perr := c.marked()
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	out := certificatePage{List: []certificateSummary{}}
	err = c.view(func(rd store.Reader) error {
		ids, more, err := certificatesOfCA(rd, c.tenant(), id, p.after, p.limit)
		if err != nil {
			return err
		}
		for _, id := range ids {
			crt, err := readCertificate(rd, c.tenant(), id)
			if err != nil {
				return err
			}
			out.List = append(out.List, c.certificateSummary(&crt))
		}
		out.Next = nextToken(lastOf(ids), more)
		return nil
	})
	return out, err
}

func (c *call) updateCertificate() (any, error) {
	id, err := c.label("certificateId", certificateIDConstraint)
	if err != nil {
		return nil, err
	}
	status := c.query.Get("newStatus")
	known := []string{statusActive, statusInactive, statusRevoked, statusPendingTransfer, "REGISTER_INACTIVE", statusPendingActivation}
	if !slices.Contains(known, status) {
		return nil, invalidValue(status, "newStatus", "Member must satisfy enum value set: [ACTIVE, INACTIVE, REVOKED, PENDING_TRANSFER, REGISTER_INACTIVE, PENDING_ACTIVATION]")
	}
	if !slices.Contains(known[:3], status) {
		return nil, refuse(invalidRequest, "A certificate cannot be set to %s.", status)
	}
	return nil, c.do(func(tx *commit.Tx) error {
		crt, err := readCertificate(tx, c.tenant(), id)
		if err != nil {
			return noCertificate(err, id)
		}
		if err := crt.settled(); err != nil {
			return err
		}
		if crt.Status == status {
			return nil
		}
		crt.Status = status
		return c.d.updateCertificate(tx, c.tenant(), crt)
	})
}

func (c *call) deleteCertificate() (any, error) {
	id, err := c.label("certificateId", certificateIDConstraint)
	force, ferr := c.flag("forceDelete", false)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		crt, err := readCertificate(tx, c.tenant(), id)
		if err != nil {
			return noCertificate(err, id)
		}
		if crt.Status == statusActive {
			return refuse(certificateState, "Certificate must be deactivated (not ACTIVE) before deletion.")
		}
		if err := crt.settled(); err != nil {
			return err
		}
		arn := c.account.arn(certResource + id)
		attached, err := principalThings(tx, c.tenant(), certResource+id)
		if err != nil {
			return err
		}
		if len(attached) > 0 {
			return refuse(deleteConflict, "Things must be detached before deletion (arn: %s)", arn)
		}
		policies, _, err := policiesOf(tx, c.tenant(), certResource+id, "", 1)
		if err != nil {
			return err
		}
		if len(policies) > 0 && !force {
			return refuse(deleteConflict, "Certificate policies must be detached before deletion (arn: %s)", arn)
		}
		return c.d.deleteCertificate(tx, c.tenant(), id)
	})
}
