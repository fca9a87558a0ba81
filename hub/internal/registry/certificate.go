package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// MayHaveCertificate reports, as [ErrInhibited], that no certificate may be signed for a device. [Issue] checks it again.
func MayHaveCertificate(e core.Enrolment) error {
	if e.Inhibited {
		return ErrInhibited
	}
	return nil
}

// Issue records a certificate that the CA has signed for a device, and makes it the device's active one: those before
// are superseded. as is the enrolment that the device was authenticated by; signing takes time, and if the device was
// unregistered, registered anew or inhibited meanwhile, the certificate is refused and must not be handed out.
func Issue(tx Tx, d core.Device, as core.Enrolment, c core.Certificate, addr string) error {
	e, err := tx.Enrolment(d.Num)
	if err != nil {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, err)
	}
	if len(e.SecretHash) == 0 || !bytes.Equal(e.SecretHash, as.SecretHash) {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, ErrSecret)
	}
	return issue(tx, d, e, c, addr)
}

// IssueDirectly is [Issue] where an operator asks, and not the device with its secret, which it need not have.
func IssueDirectly(tx Tx, d core.Device, c core.Certificate) error {
	e, err := tx.Enrolment(d.Num)
	if errors.Is(err, core.ErrNotFound) {
		e = core.Enrolment{Device: d.Num}
	} else if err != nil {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, err)
	}
	return issue(tx, d, e, c, e.LastCredentialsAddr)
}

func issue(tx Tx, d core.Device, e core.Enrolment, c core.Certificate, addr string) error {
	if err := MayHaveCertificate(e); err != nil {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, err)
	}
	if err := supersede(tx, d.Num); err != nil {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, err)
	}
	c.Device, c.State, c.Changed = d.Num, core.CertificateActive, tx.Now()
	if err := tx.PutCertificate(c); err != nil {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, err)
	}
	if e.FirstCredentials.IsZero() {
		e.FirstCredentials = tx.Now()
	}
	e.LastCredentialsAddr = addr
	if err := tx.PutEnrolment(e); err != nil {
		return fmt.Errorf("issue certificate to %s: %w", d.DeviceKey, err)
	}
	return emitSerial(tx, d, core.CertificateIssued, c.Serial)
}

func emitSerial(tx Tx, d core.Device, kind core.EventKind, serial string) error {
	data, err := json.Marshal(struct {
		Serial string `json:"serial"`
	}{serial})
	if err != nil {
		return err
	}
	return tx.Emit(core.Event{Device: d.DeviceKey, Num: d.Num, Kind: kind, Data: data})
}

func supersede(tx Tx, n core.DeviceNum) error {
	all, err := tx.Certificates(n)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.State != core.CertificateActive {
			continue
		}
		c.State, c.Changed = core.CertificateSuperseded, tx.Now()
		if err := tx.PutCertificate(c); err != nil {
			return err
		}
	}
	return nil
}

// Revoke withdraws a certificate for good. One that is revoked already stays as it is, without an event. That the device's
// connection ends is the caller's business.
func Revoke(tx Tx, serial string) error {
	c, err := tx.Certificate(serial)
	if err != nil {
		return fmt.Errorf("revoke certificate %.64q: %w", serial, err)
	}
	if c.State == core.CertificateRevoked {
		return nil
	}
	d, err := tx.DeviceByNum(c.Device)
	if err != nil {
		return fmt.Errorf("revoke certificate %.64q: %w", serial, err)
	}
	c.State, c.Changed = core.CertificateRevoked, tx.Now()
	if err := tx.PutCertificate(c); err != nil {
		return fmt.Errorf("revoke certificate %.64q: %w", serial, err)
	}
	return emitSerial(tx, d, core.CertificateRevocation, serial)
}
