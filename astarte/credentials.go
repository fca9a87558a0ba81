package astarte

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

// Credentials are a device's key and certificate in a folder, device.key and device.crt, and the way to get new ones. The key is made on the
// device and never leaves it. A [Device] uses them by itself. All fields are required. Its methods may not be called concurrently.
type Credentials struct {
	Pairing  *Pairing
	DeviceID string
	Secret   identity.Secret // the credentials secret
	Dir      string          // folders that do not exist are made

	// Key is a key from elsewhere, such as a TPM: then no device.key is written. nil: the key in the folder, which is made if there is none.
	Key crypto.Signer
}

func (c *Credentials) keyFile() string  { return filepath.Join(c.Dir, "device.key") }
func (c *Credentials) certFile() string { return filepath.Join(c.Dir, "device.crt") }

// CSR makes a certificate signing request for a device in PEM, as the official SDKs do: for the common name REALM/DEVICE of the
// organisation "Devices".
func CSR(key crypto.Signer, realm, deviceID string) ([]byte, error) {
	return identity.CSR(key, identity.Request{Subject: pkix.Name{Organization: []string{"Devices"}, CommonName: realm + "/" + deviceID}})
}

func (c *Credentials) key() (crypto.Signer, error) {
	if c.Key != nil {
		return c.Key, nil
	}
	return identity.LoadOrMakeKey(c.keyFile())
}

// CSR returns a certificate signing request for the device's key, which is made and stored if there is none.
func (c *Credentials) CSR() ([]byte, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	return CSR(key, c.Pairing.Realm, c.DeviceID)
}

// Load returns the key and certificate in the folder. The error wraps fairlead.ErrNotFound if there is none, fairlead.ErrConflict if they
// do not belong together.
func (c *Credentials) Load() (*identity.Identity, error) {
	if c.Key == nil {
		return identity.Load(c.keyFile(), c.certFile())
	}
	chain, err := identity.LoadChain(c.certFile())
	if err != nil {
		return nil, err
	}
	return identity.New(c.Key, chain)
}

// Obtain gets a new certificate for the device's key and stores both.
func (c *Credentials) Obtain(ctx context.Context) (*identity.Identity, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	csr, err := CSR(key, c.Pairing.Realm, c.DeviceID)
	if err != nil {
		return nil, err
	}
	chain, err := c.Pairing.Certificate(ctx, c.DeviceID, c.Secret, csr)
	if err != nil {
		return nil, err
	}
	// Checked before the file is written, so that an answer that makes no sense does not destroy what works.
	if err := identity.CheckFit(chain[0], key); err != nil {
		return nil, fmt.Errorf("certificate for %q: %w", c.DeviceID, err)
	}
	if err := identity.SaveChain(c.certFile(), chain); err != nil {
		return nil, err
	}
	return c.Load()
}

// Import stores a certificate, in PEM, that came another way. The error wraps fairlead.ErrConflict if it does not belong to the device's key.
func (c *Credentials) Import(certificate []byte) (*identity.Identity, error) {
	chain, err := identity.ParseChain(certificate)
	if err != nil {
		return nil, err
	}
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	if err := identity.CheckFit(chain[0], key); err != nil {
		return nil, fmt.Errorf("import certificate: %w", err)
	}
	if err := identity.SaveChain(c.certFile(), chain); err != nil {
		return nil, err
	}
	return c.Load()
}

// Usable tells whether there is a certificate that Astarte accepts, and asks it. That there is none, or one that has expired or
// belongs to another key, is no error, and needs no question.
func (c *Credentials) Usable(ctx context.Context) (bool, error) {
	id, err := c.Load()
	if errors.Is(err, fairlead.ErrNotFound) || errors.Is(err, fairlead.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if id.Check() != nil {
		return false, nil
	}
	v, err := c.Pairing.Verify(ctx, c.DeviceID, c.Secret, chainOf(id))
	return v.Valid, err
}

// Renew gets a new certificate for the key of an identity and puts it into use there, as soon as it is stored.
func (c *Credentials) Renew(ctx context.Context, id *identity.Identity) error {
	csr, err := CSR(id.Key(), c.Pairing.Realm, c.DeviceID)
	if err != nil {
		return err
	}
	chain, err := c.Pairing.Certificate(ctx, c.DeviceID, c.Secret, csr)
	if err != nil {
		return err
	}
	if c.Key != nil { // the identity has no files
		if err := identity.CheckFit(chain[0], c.Key); err != nil {
			return fmt.Errorf("certificate for %q: %w", c.DeviceID, err)
		}
		if err := identity.SaveChain(c.certFile(), chain); err != nil {
			return err
		}
	}
	return id.Renew(chain)
}

func chainOf(id *identity.Identity) []*x509.Certificate { return []*x509.Certificate{id.Certificate()} }
