package ca

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// authority is a certificate that signs others, and its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Open loads the authority of a folder. In an empty one it makes a new root and issuing certificate; what a crash
// while doing so has left it completes. Anything else that is missing or does not fit together is an error that
// names the file and what to do, and nothing is changed then: a new key in place of a lost one would shut out every
// device in the field. If the issuing certificate is near its end, or past it, Open renews it.
func Open(cfg Config) (*CA, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &CA{cfg: cfg}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("open CA: %w", err)
	}
	return c, nil
}

func (c *CA) dir() folder { return folder(c.cfg.Dir) }

func (c *CA) open() error {
	now := c.cfg.Now().UTC().Truncate(time.Second)
	if err := c.dir().make(); err != nil {
		return err
	}
	if err := c.finishRenewal(); err != nil {
		return err
	}
	root, err := c.openRoot(now)
	if err != nil {
		return err
	}
	issuing, err := c.openIssuing(root, now)
	if err != nil {
		return err
	}
	old, err := c.earlierIssuing(root)
	if err != nil {
		return err
	}
	c.state.Store(newState(root, issuing, old))
	if left := root.cert.NotAfter.Sub(now); left < root.cert.NotAfter.Sub(root.cert.NotBefore)/10 {
		c.cfg.Logger.Warn("root certificate ends soon: give clients a new one in time", "until", root.cert.NotAfter)
	}
	_, err = c.issuer(now) // renews it if due; an error means that it cannot sign
	return err
}

// openRoot loads the root, or makes it.
func (c *CA) openRoot(now time.Time) (authority, error) {
	cert, key, err := c.load(rootCert, rootKey)
	if err != nil {
		return authority{}, err
	}
	if cert == nil {
		return c.makeRoot(key, now)
	}
	path := c.dir().path(rootCert)
	switch {
	case key == nil && !c.cfg.OfflineRoot:
		return authority{}, fmt.Errorf("%s is missing although %s is there: restore it, or set OfflineRoot if it is kept elsewhere",
			c.dir().path(rootKey), rootCert)
	case !within(cert, now):
		return authority{}, fmt.Errorf("%s is valid from %s to %s, now is %s: if the clock is right, a new root is needed",
			path, stamp(cert.NotBefore), stamp(cert.NotAfter), stamp(now))
	case !bytes.Equal(cert.RawIssuer, cert.RawSubject) || cert.CheckSignatureFrom(cert) != nil:
		return authority{}, fmt.Errorf("%s is not signed by itself: not a root certificate", path)
	}
	return authority{cert, key}, checkAuthority(path, cert)
}

// makeRoot makes the root certificate, for the key that a crash has left or, if key is nil, for a new one.
func (c *CA) makeRoot(key crypto.Signer, now time.Time) (authority, error) {
	// If anything stands that comes after the root, this is no first start: the root is lost, not missing.
	later, err := filepath.Glob(c.dir().path("issuing*.[pk]e[my]"))
	if err != nil {
		return authority{}, err
	}
	if len(later) > 0 {
		return authority{}, fmt.Errorf("%s is missing although %s is there: restore it, or begin with an empty folder",
			c.dir().path(rootCert), filepath.Base(later[0]))
	}
	if key == nil {
		if c.cfg.OfflineRoot {
			return authority{}, fmt.Errorf("%s is missing, and with the root's key elsewhere none can be made", c.dir().path(rootCert))
		}
		if key, err = c.newKey(rootKey); err != nil {
			return authority{}, err
		}
	}
	root, err := c.signAuthority(authority{}, key, now)
	if err != nil {
		return authority{}, err
	}
	if err := c.dir().writeCertificate(rootCert, root.cert); err != nil {
		return authority{}, err
	}
	c.cfg.Logger.Info("root certificate made", "file", c.dir().path(rootCert), "until", root.cert.NotAfter)
	return root, nil
}

// openIssuing loads the issuing certificate, or makes it.
func (c *CA) openIssuing(root authority, now time.Time) (authority, error) {
	cert, key, err := c.load(issuingCert, issuingKey)
	if err != nil {
		return authority{}, err
	}
	path := c.dir().path(issuingCert)
	switch {
	case cert == nil && root.key == nil:
		return authority{}, fmt.Errorf("%s is missing, and without %s none can be made", path, rootKey)
	case cert == nil:
		return c.makeIssuing(root, key, now)
	case key == nil:
		return authority{}, fmt.Errorf("%s is missing although %s is there: restore it; if it is lost, rename %[2]s to %s, and a new pair is made",
			c.dir().path(issuingKey), issuingCert, archiveName(cert)+".pem")
	}
	return authority{cert, key}, checkIssuing(path, cert, root)
}

// makeIssuing makes the first issuing certificate, for the key that a crash has left or, if key is nil, for a new one.
func (c *CA) makeIssuing(root authority, key crypto.Signer, now time.Time) (authority, error) {
	var err error
	if key == nil {
		if key, err = c.newKey(issuingKey); err != nil {
			return authority{}, err
		}
	}
	issuing, err := c.signAuthority(root, key, now)
	if err != nil {
		return authority{}, err
	}
	if err := c.dir().writeCertificate(issuingCert, issuing.cert); err != nil {
		return authority{}, err
	}
	c.cfg.Logger.Info("issuing certificate made", "until", issuing.cert.NotAfter)
	return issuing, nil
}

// load reads a certificate and its key; what has no file is nil.
func (c *CA) load(certName, keyName string) (cert *x509.Certificate, key crypto.Signer, err error) {
	d := c.dir()
	haveCert, err := d.exists(certName)
	if err != nil {
		return nil, nil, err
	}
	haveKey, err := d.exists(keyName)
	if err != nil {
		return nil, nil, err
	}
	if haveCert {
		if cert, err = d.readCertificate(certName); err != nil {
			return nil, nil, err
		}
	}
	if haveKey {
		if key, err = d.readKey(keyName); err != nil {
			return nil, nil, err
		}
	}
	if haveCert && haveKey && !sameKey(key, cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s: restore the pair", d.path(keyName), certName)
	}
	return cert, key, nil
}

func (c *CA) newKey(file string) (crypto.Signer, error) {
	key, err := c.cfg.Algorithm.newKey()
	if err != nil {
		return nil, err
	}
	return key, c.dir().writeKey(file, key)
}

// signAuthority makes a certificate that may sign others: an issuing one below parent, or a root if parent is empty.
//
// Names end with a part of the key's hash. So no two authorities have one name, which verifiers that go by names
// would mix up; and a certificate made again for the same key takes the place of the first one exactly.
func (c *CA) signAuthority(parent authority, key crypto.Signer, now time.Time) (authority, error) {
	id, err := keyID(key.Public())
	if err != nil {
		return authority{}, err
	}
	role, lifetime := "issuing", c.cfg.IssuingLifetime
	if parent.cert == nil {
		role, lifetime = "root", c.cfg.RootLifetime
	}
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s %s %x", c.cfg.CommonName, role, id[:4])},
		NotBefore:             now.Add(-min(backdateCA, lifetime/10)),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          id,
	}
	if parent.cert == nil {
		tmpl.MaxPathLen = 1
		parent = authority{tmpl, key}
	} else {
		tmpl.MaxPathLenZero = true
		tmpl.NotAfter = earlier(tmpl.NotAfter, parent.cert.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent.cert, key.Public(), parent.key)
	if err != nil {
		return authority{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return authority{cert, key}, err
}

// checkIssuing reports what makes a certificate unfit to be an issuing one of root.
func checkIssuing(path string, cert *x509.Certificate, root authority) error {
	if !bytes.Equal(cert.RawIssuer, root.cert.RawSubject) || cert.CheckSignatureFrom(root.cert) != nil {
		return fmt.Errorf("%s is not signed by %s: restore the files that belong together", path, rootCert)
	}
	return checkAuthority(path, cert)
}

// checkAuthority reports what makes a certificate unfit to sign others.
func checkAuthority(path string, cert *x509.Certificate) error {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return fmt.Errorf("%s is not the certificate of an authority", path)
	case cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s may not sign certificates", path)
	case len(cert.SubjectKeyId) == 0:
		return fmt.Errorf("%s has no subject key identifier", path)
	}
	return nil
}

// archiveName returns the name, without ending, under which an earlier issuing certificate is kept.
func archiveName(cert *x509.Certificate) string {
	return "issuing-" + hex.EncodeToString(cert.SubjectKeyId)
}

// earlierIssuing loads the certificates of earlier issuers.
func (c *CA) earlierIssuing(root authority) ([]*x509.Certificate, error) {
	files, err := filepath.Glob(c.dir().path("issuing-*.pem"))
	if err != nil {
		return nil, err
	}
	var old []*x509.Certificate
	for _, f := range files {
		cert, err := c.dir().readCertificate(filepath.Base(f))
		if err != nil {
			return nil, err
		}
		if err := checkIssuing(f, cert, root); err != nil {
			return nil, err
		}
		old = append(old, cert)
	}
	return old, nil
}

// renew makes a new issuing key and certificate and returns the state with them. The files change in such an order
// that finishRenewal can tell after a crash whether the new pair or the old one is in use.
func (c *CA) renew(st *state, now time.Time) (*state, error) {
	if st.root.key == nil {
		return nil, errors.New("the root's key is kept elsewhere: sign a new one there")
	}
	d, archive := c.dir(), archiveName(st.issuing.cert)
	// An attempt that the disk has cut off may be half way; going on from there keeps the files in order.
	if err := c.finishRenewal(); err != nil {
		return nil, err
	}
	if found, err := c.openIssuing(st.root, now); err != nil {
		return nil, err
	} else if !found.cert.Equal(st.issuing.cert) {
		return c.renewed(st.root, found)
	}
	if err := d.writeKey(archive+".key", st.issuing.key); err != nil {
		return nil, err
	}
	if err := d.writeCertificate(archive+".pem", st.issuing.cert); err != nil {
		return nil, err
	}
	key, err := c.newKey(nextKey)
	if err != nil {
		return nil, err
	}
	issuing, err := c.signAuthority(st.root, key, now)
	if err != nil {
		return nil, err
	}
	if err := d.writeCertificate(nextCert, issuing.cert); err != nil {
		return nil, err
	}
	if err := d.rename(nextKey, issuingKey); err != nil {
		return nil, err
	}
	if err := d.rename(nextCert, issuingCert); err != nil {
		return nil, err
	}
	return c.renewed(st.root, issuing)
}

func (c *CA) renewed(root, issuing authority) (*state, error) {
	old, err := c.earlierIssuing(root)
	if err != nil {
		return nil, err
	}
	c.cfg.Logger.Info("issuing certificate renewed", "until", issuing.cert.NotAfter)
	return newState(root, issuing, old), nil
}

// finishRenewal completes a renewal that a crash has cut off, if its key was in place already, and else undoes it.
func (c *CA) finishRenewal() error {
	d := c.dir()
	haveKey, err := d.exists(nextKey)
	if err != nil {
		return err
	}
	haveCert, err := d.exists(nextCert)
	if err != nil {
		return err
	}
	switch {
	case haveKey: // the pair in use was not touched, and nothing was signed with the new one
		if err := d.remove(nextCert); err != nil { // first: alone, it would look like the next case
			return err
		}
		return d.remove(nextKey)
	case haveCert:
		cert, err := d.readCertificate(nextCert)
		if err != nil {
			return err
		}
		key, err := d.readKey(issuingKey)
		if err != nil {
			return err
		}
		if !sameKey(key, cert.PublicKey) {
			return fmt.Errorf("%s is not the key of %s: restore the pair, or remove the latter", d.path(issuingKey), nextCert)
		}
		return d.rename(nextCert, issuingCert)
	}
	return nil
}
