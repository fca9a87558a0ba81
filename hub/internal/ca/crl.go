package ca

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// Reason says why a certificate was revoked, with the numbers of RFC 5280, section 5.3.1.
type Reason int

// The reasons that the hub has use for.
const (
	ReasonUnspecified          Reason = 0
	ReasonKeyCompromise        Reason = 1
	ReasonSuperseded           Reason = 4
	ReasonCessationOfOperation Reason = 5
)

// Revocation is one line of a revocation list.
type Revocation struct {
	Serial string // as in Issued
	At     time.Time
	Reason Reason
}

// CRL returns a revocation list of the certificates that one issuing certificate has signed, in DER. authorityKeyID
// names it as Issued does; empty means the one in use. An earlier one has its own list, signed with its own key,
// because verifiers look for a list of the issuer that the certificate names.
//
// The list is valid for Config.CRLLifetime, and its number grows with the clock.
//
// The error wraps [core.ErrNotFound] for an unknown authorityKeyID and [core.ErrInvalid] for a bad serial number.
func (c *CA) CRL(authorityKeyID string, revoked []Revocation) ([]byte, error) {
	der, err := c.crl(authorityKeyID, revoked)
	if err != nil {
		return nil, fmt.Errorf("sign revocation list: %w", err)
	}
	return der, nil
}

func (c *CA) crl(authorityKeyID string, revoked []Revocation) ([]byte, error) {
	now := c.cfg.Now().UTC()
	issuer, err := c.revoker(authorityKeyID)
	if err != nil {
		return nil, err
	}
	list := &x509.RevocationList{
		Number:     big.NewInt(now.UnixNano()),
		ThisUpdate: now.Add(-min(backdate, c.cfg.CRLLifetime/10)),
		NextUpdate: now.Add(c.cfg.CRLLifetime),
	}
	for _, r := range revoked {
		n, err := parseSerial(r.Serial)
		if err != nil {
			return nil, fmt.Errorf("%w: serial number %.80q: %v", core.ErrInvalid, r.Serial, err)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: n, RevocationTime: r.At.UTC(), ReasonCode: int(r.Reason),
		})
	}
	return x509.CreateRevocationList(rand.Reader, list, issuer.cert, issuer.key)
}

// revoker returns the issuing certificate, present or earlier, that authorityKeyID names. Keys of earlier ones are
// read when needed only.
func (c *CA) revoker(authorityKeyID string) (authority, error) {
	st := c.state.Load()
	if authorityKeyID == "" || authorityKeyID == hex.EncodeToString(st.issuing.cert.SubjectKeyId) {
		return st.issuing, nil
	}
	for _, cert := range st.issuers {
		if cert == st.root.cert || authorityKeyID != hex.EncodeToString(cert.SubjectKeyId) {
			continue
		}
		key, err := c.dir().readKey(archiveName(cert) + ".key")
		if err != nil {
			return authority{}, err
		}
		if !sameKey(key, cert.PublicKey) {
			return authority{}, fmt.Errorf("%s is not the key of its certificate", c.dir().path(archiveName(cert)+".key"))
		}
		return authority{cert, key}, nil
	}
	return authority{}, fmt.Errorf("%w: no issuing certificate has key identifier %.80q", core.ErrNotFound, authorityKeyID)
}

// IssuerKeyID returns the key identifier of the issuing certificate in use, as Issued.AuthorityKeyID does.
func (c *CA) IssuerKeyID() string {
	return hex.EncodeToString(c.state.Load().issuing.cert.SubjectKeyId)
}
