package identity

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// An Identity is a private key with its certificate chain. It can be replaced while it is in use: connections keep what they began with, new ones
// get the new one. Its methods may be called from any goroutine.
type Identity struct {
	keyFile, certFile string // "" if it came from elsewhere

	save    sync.Mutex // held while files are read or written
	mu      sync.RWMutex
	current *tls.Certificate // never changed, only replaced
}

// New makes an Identity of a key and its certificates, the device's own first. They are not stored in files. The error wraps fairlead.ErrConflict
// if the certificate belongs to another key. Whether it has expired is not looked at, see [Identity.Check].
func New(key crypto.Signer, chain []*x509.Certificate) (*Identity, error) {
	id := &Identity{}
	if err := id.set(key, chain); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return id, nil
}

// Load reads key and certificates from files. The error wraps fairlead.ErrNotFound if one of them does not exist.
func Load(keyFile, certFile string) (*Identity, error) {
	id := &Identity{keyFile: keyFile, certFile: certFile}
	if err := id.Reload(); err != nil {
		return nil, err
	}
	return id, nil
}

// Save makes an Identity of a key and its certificates and writes both into files, durably.
func Save(keyFile, certFile string, key crypto.Signer, chain []*x509.Certificate) (*Identity, error) {
	id := &Identity{keyFile: keyFile, certFile: certFile}
	if err := id.Replace(key, chain); err != nil {
		return nil, err
	}
	return id, nil
}

func (id *Identity) set(key crypto.Signer, chain []*x509.Certificate) error {
	if key == nil || len(chain) == 0 {
		return fmt.Errorf("%w: there is no key or no certificate", fairlead.ErrInvalid)
	}
	if err := CheckFit(chain[0], key); err != nil {
		return err
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, one := range chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.current = c
	return nil
}

// next is where a new key waits for its certificate to be in place. Two files cannot be replaced in one step:
//
//  1. the new key is written beside the old one;
//  2. the certificate is replaced;
//  3. the new key is renamed.
//
// After a power cut between 2 and 3 the certificate belongs to the key that waits, and Reload takes the third step.
func (id *Identity) next() string { return id.keyFile + ".next" }

// Reload reads the files anew, if the identity came from files: somebody may have replaced them. After an error everything stays as it was.
func (id *Identity) Reload() error {
	if id.keyFile == "" {
		return nil
	}
	id.save.Lock()
	defer id.save.Unlock()
	chain, err := LoadChain(id.certFile)
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	key, err := LoadKey(id.keyFile)
	if err == nil {
		err = CheckFit(chain[0], key)
	}
	if err != nil {
		waiting, e := LoadKey(id.next())
		if e != nil || CheckFit(chain[0], waiting) != nil {
			return fmt.Errorf("identity: %s and %s: %w", id.keyFile, id.certFile, err)
		}
		if err := durable.Rename(id.next(), id.keyFile); err != nil {
			return fmt.Errorf("identity: %w: %w", fairlead.ErrStorage, err)
		}
		key = waiting
	}
	if err := id.set(key, chain); err != nil {
		return fmt.Errorf("identity: %s and %s: %w", id.keyFile, id.certFile, err)
	}
	return nil
}

// Renew replaces the certificates and keeps the key. If the identity has files they are replaced, durably. After an error everything stays as it was.
func (id *Identity) Renew(chain []*x509.Certificate) error {
	id.save.Lock()
	defer id.save.Unlock()
	err := id.check(id.Key(), chain)
	if err == nil && id.certFile != "" {
		err = SaveChain(id.certFile, chain)
	}
	if err == nil {
		err = id.set(id.Key(), chain)
	}
	if err != nil {
		return fmt.Errorf("renew identity: %w", err)
	}
	return nil
}

// Replace replaces key and certificates. If the identity has files they are replaced, durably and together. After an error everything stays as it was.
func (id *Identity) Replace(key crypto.Signer, chain []*x509.Certificate) error {
	id.save.Lock()
	defer id.save.Unlock()
	err := id.check(key, chain)
	if err == nil && id.keyFile != "" {
		err = id.write(key, chain)
	}
	if err == nil {
		err = id.set(key, chain)
	}
	if err != nil {
		return fmt.Errorf("replace identity: %w", err)
	}
	return nil
}

func (id *Identity) check(key crypto.Signer, chain []*x509.Certificate) error {
	if key == nil || len(chain) == 0 {
		return fmt.Errorf("%w: there is no key or no certificate", fairlead.ErrInvalid)
	}
	return CheckFit(chain[0], key)
}

func (id *Identity) write(key crypto.Signer, chain []*x509.Certificate) error {
	if err := SaveKey(id.next(), key); err != nil {
		return err
	}
	if err := SaveChain(id.certFile, chain); err != nil {
		return err
	}
	if err := durable.Rename(id.next(), id.keyFile); err != nil {
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	return nil
}

func (id *Identity) get() *tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.current
}

// Key returns the private key.
func (id *Identity) Key() crypto.Signer {
	if c := id.get(); c != nil {
		return c.PrivateKey.(crypto.Signer) // set put it there
	}
	return nil
}

// Certificate returns the device's own certificate.
func (id *Identity) Certificate() *x509.Certificate { return id.get().Leaf }

// TLS returns key and certificates for a connection. The caller must not change it.
func (id *Identity) TLS() *tls.Certificate { return id.get() }

// GetClientCertificate is for the field of that name in [tls.Config]: each handshake gets what is current. The device has only this certificate, so
// it is offered whatever authorities the server names. An expired one fails here, with a clear error, rather than at the server.
func (id *Identity) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c := id.get()
	if err := CheckTime(c.Leaf, time.Now()); err != nil {
		return nil, err
	}
	return c, nil
}

// Check returns an error that wraps fairlead.ErrExpired if the certificate is not valid now.
func (id *Identity) Check() error { return CheckTime(id.Certificate(), time.Now()) }

// Life returns the time in which the certificate is valid; see [Renewer].
func (id *Identity) Life() (from, to time.Time) {
	c := id.Certificate()
	return c.NotBefore, c.NotAfter
}

// Remove deletes the files, such as when the platform has revoked the certificate and the device has to be registered anew. The Identity stays usable.
func (id *Identity) Remove() error {
	if id.keyFile == "" {
		return nil
	}
	id.save.Lock()
	defer id.save.Unlock()
	// The certificate first: a key without it is what LoadOrMakeKey understands.
	err := errors.Join(durable.Remove(id.certFile), durable.Remove(id.next()), durable.Remove(id.keyFile))
	if err != nil {
		return fmt.Errorf("remove identity: %w: %w", fairlead.ErrStorage, err)
	}
	return nil
}
