package awsiot

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	keyCert     = "cert/"
	keyCertTime = "cert-time/"
	keyCertEmit = "cert-emit/"
	keyCertCA   = "cert-ca/"
	keyCACert   = "cacert/"
)

// States of certificates, in the platform's words.
const (
	statusActive            = "ACTIVE"
	statusInactive          = "INACTIVE"
	statusRevoked           = "REVOKED"
	statusPendingTransfer   = "PENDING_TRANSFER"
	statusPendingActivation = "PENDING_ACTIVATION"
)

// Modes of certificates: the second is of those that were registered without their authority.
const (
	modeDefault = "DEFAULT"
	modeSNIOnly = "SNI_ONLY"
)

// issuedName is the common name of certificates that our CA signs for this dialect, the platform's own.
const issuedName = "AWS IoT Certificate"

// A certificate is one that devices can sign in with: of our CA, or registered.
type certificate struct {
	ID      string `json:"id"` // SHA-256 of the DER form, see certificateID
	PEM     string `json:"pem"`
	CA      string `json:"ca,omitempty"` // id of the authority registered here that signed it
	Status  string `json:"status"`
	Mode    string `json:"mode"`
	Version int64  `json:"version"` // counts changes; the platform's customerVersion

	Created   time.Time `json:"created"`
	Changed   time.Time `json:"changed"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`

	// Ownership is the SHA-256 of the token that fleet provisioning gave out for it, which counts until OwnershipEnds; nil:
	// none, or it is used.
	Ownership     []byte    `json:"ownership,omitempty"`
	OwnershipEnds time.Time `json:"ownershipEnds,omitzero"`
	// Claim is the provisioning template that a claim certificate of a trusted user is for, which opens until ClaimEnds.
	Claim     string    `json:"claim,omitempty"`
	ClaimEnds time.Time `json:"claimEnds,omitzero"`
	// Transfer is the last transfer to or from another account; PreviousOwner is the number of that which it came from.
	Transfer      *transfer `json:"transfer,omitempty"`
	PreviousOwner string    `json:"previousOwner,omitempty"`
}

// certificateID returns the id of a certificate in DER form.
func certificateID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

func readCertificate(rd store.RecordReader, t core.TenantID, id string) (c certificate, err error) {
	return c, readRecord(rd, t, keyCert+id, &c)
}

// certificateTime is the part of an index key that has certificates in the order of their making, or in the inverse order.
func certificateTime(c *certificate, ascending bool) string {
	us := c.Created.UnixMicro()
	if !ascending {
		us = math.MaxInt64 - us
	}
	return fmt.Sprintf("%019d/%s", us, c.ID)
}

// certificates returns a page of certificates in the order of their making. after and next are opaque places, "" for the
// beginning and the end.
func certificates(rd store.RecordReader, t core.TenantID, ascending bool, after string, limit int) (list []certificate, next string, err error) {
	prefix := keyCertEmit
	if ascending {
		prefix = keyCertTime
	}
	places, more, err := names(rd, t, prefix, after, limit)
	if err != nil {
		return nil, "", err
	}
	const stamp = 20 // digits and the slash
	for _, p := range places {
		if len(p) < stamp {
			continue
		}
		c, err := readCertificate(rd, t, p[stamp:])
		if err != nil {
			return nil, "", err
		}
		list = append(list, c)
	}
	if more {
		next = places[len(places)-1]
	}
	return list, next, nil
}

// certificatesOfCA returns a page of the ids of certificates that an authority has signed.
func certificatesOfCA(rd store.RecordReader, t core.TenantID, ca, after string, limit int) ([]string, bool, error) {
	return names(rd, t, keyCertCA+ca+"/", after, limit)
}

// insertCertificate enters a new certificate; core.ErrConflict if it is on record.
func (d *Dialect) insertCertificate(tx *commit.Tx, t core.TenantID, c certificate) error {
	known, err := hasRecord(tx, t, keyCert+c.ID)
	if err != nil {
		return err
	}
	if known {
		return fmt.Errorf("certificate %s: %w", c.ID, core.ErrConflict)
	}
	if c.CA != "" {
		if err := tx.PutRecord(t, Name, keyCertCA+c.CA+"/"+c.ID, nil); err != nil {
			return err
		}
	}
	return errors.Join(
		tx.PutRecord(t, Name, keyCertTime+certificateTime(&c, true), nil),
		tx.PutRecord(t, Name, keyCertEmit+certificateTime(&c, false), nil),
		writeRecord(tx, t, keyCert+c.ID, c))
}

// updateCertificate writes a certificate that is on record; ID, PEM, CA and Created stay as they are. One that is not ACTIVE
// any more ends the connections that were made with it.
func (d *Dialect) updateCertificate(tx *commit.Tx, t core.TenantID, c certificate) error {
	c.Changed = tx.Now()
	c.Version++
	if err := writeRecord(tx, t, keyCert+c.ID, c); err != nil {
		return err
	}
	if err := d.changed(tx, t, certResource+c.ID); err != nil {
		return err
	}
	if c.Status != statusActive {
		return d.disconnectPrincipal(tx, t, certResource+c.ID)
	}
	return nil
}

// deleteCertificate deletes a certificate, with what is attached to it and what it is attached to.
func (d *Dialect) deleteCertificate(tx *commit.Tx, t core.TenantID, id string) error {
	c, err := readCertificate(tx, t, id)
	if err != nil {
		return err
	}
	attached, err := principalThings(tx, t, certResource+id)
	if err != nil {
		return err
	}
	for _, a := range attached {
		if err := d.detachPrincipal(tx, t, a.Thing, a.Principal); err != nil {
			return err
		}
	}
	policies, _, err := policiesOf(tx, t, certResource+id, "", 0)
	if err != nil {
		return err
	}
	for _, p := range policies {
		if err := d.detachPolicy(tx, t, p, certResource+id); err != nil {
			return err
		}
	}
	if c.CA != "" {
		if err := tx.DeleteRecord(t, Name, keyCertCA+c.CA+"/"+id); err != nil {
			return err
		}
	}
	err = errors.Join(
		tx.DeleteRecord(t, Name, keyCertTime+certificateTime(&c, true)),
		tx.DeleteRecord(t, Name, keyCertEmit+certificateTime(&c, false)),
		tx.DeleteRecord(t, Name, keyCert+id))
	if err != nil {
		return err
	}
	if err := d.changed(tx, t, certResource+id); err != nil {
		return err
	}
	return d.disconnectPrincipal(tx, t, certResource+id)
}

// A caCertificate is an authority that signs certificates of the account's devices.
type caCertificate struct {
	ID     string `json:"id"` // SHA-256 of the DER form
	PEM    string `json:"pem"`
	Status string `json:"status"`
	Mode   string `json:"mode"`
	// AutoRegister has certificates of this authority registered when they first connect.
	AutoRegister bool `json:"autoRegister,omitempty"`
	// Template, TemplateBody and RoleARN are the registration configuration: what is made of such a device.
	Template     string    `json:"template,omitempty"`
	TemplateBody string    `json:"templateBody,omitempty"`
	RoleARN      string    `json:"roleArn,omitempty"`
	Version      int64     `json:"version"`
	Created      time.Time `json:"created"`
	Changed      time.Time `json:"changed"`
	NotBefore    time.Time `json:"notBefore"`
	NotAfter     time.Time `json:"notAfter"`
}

func readCACertificate(rd store.RecordReader, t core.TenantID, id string) (c caCertificate, err error) {
	return c, readRecord(rd, t, keyCACert+id, &c)
}

// caCertificates returns a page of authorities by id.
func caCertificates(rd store.RecordReader, t core.TenantID, after string, limit int) ([]caCertificate, bool, error) {
	return records[caCertificate](rd, t, keyCACert, after, limit)
}

func (d *Dialect) putCACertificate(tx *commit.Tx, t core.TenantID, c caCertificate) error {
	if err := writeRecord(tx, t, keyCACert+c.ID, c); err != nil {
		return err
	}
	return d.changed(tx, t, keyCACert+c.ID)
}

func (d *Dialect) deleteCACertificate(tx *commit.Tx, t core.TenantID, id string) error {
	if err := tx.DeleteRecord(t, Name, keyCACert+id); err != nil {
		return err
	}
	return d.changed(tx, t, keyCACert+id)
}
