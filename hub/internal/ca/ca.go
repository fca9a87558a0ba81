package ca

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Lifetimes that apply where Config says nothing. The root ends before 2050 as long as possible: from then on
// certificates carry another time format, which some small TLS stacks in devices do not read.
const (
	DefaultRootLifetime    = 20 * 365 * 24 * time.Hour
	DefaultIssuingLifetime = 10 * 365 * 24 * time.Hour
	DefaultDeviceLifetime  = 2190 * time.Hour // three months; the default of an Astarte CA, read 2026-11
	DefaultServerLifetime  = 90 * 24 * time.Hour
	DefaultCRLLifetime     = 7 * 24 * time.Hour
)

const (
	// backdate is how long before its making a certificate begins, because clocks of devices are behind at times.
	// Certificates of short life begin a tenth of it before, so that the thirds of a life keep their meaning.
	backdate = 10 * time.Minute
	// backdateCA is the same for root and issuing certificates, generous because they are made long before use.
	backdateCA = 24 * time.Hour
	// retryRenewal is the pause after a renewal that did not succeed.
	retryRenewal = time.Minute
)

// Config says where the authority lives and how it signs. Dir is required.
type Config struct {
	// Dir is the folder of the files; it is created, with mode 0700, if it does not exist.
	Dir string
	// CommonName begins the names of the root and issuing certificates. "Fairlead" if empty; at most 40 bytes.
	CommonName string
	// Algorithm is for keys made from now on: root, issuing and server. ECDSA P-256 if empty.
	// Existing keys are used whatever they are.
	Algorithm Algorithm
	// OfflineRoot allows that root.key is absent, because it is kept elsewhere. The issuing certificate
	// cannot be renewed then; a warning is logged when it should be.
	OfflineRoot bool

	// Lifetimes; the Default constants where zero. None outlives the certificate that signs it.
	RootLifetime, IssuingLifetime, DeviceLifetime, ServerLifetime, CRLLifetime time.Duration

	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Logger gets what happens to the files of the authority; nil discards it.
	Logger *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Dir == "" {
		return cfg, fmt.Errorf("open CA: Dir is empty")
	}
	dir, err := filepath.Abs(cfg.Dir) // RootPath is handed to other programs, which run elsewhere
	if err != nil {
		return cfg, fmt.Errorf("open CA: %w", err)
	}
	cfg.Dir = dir
	if cfg.CommonName == "" {
		cfg.CommonName = "Fairlead"
	}
	if len(cfg.CommonName) > 40 || !printable(cfg.CommonName) {
		return cfg, fmt.Errorf("open CA: common name %q: want at most 40 bytes of printable text", cfg.CommonName)
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = ECDSAP256
	}
	if !cfg.Algorithm.valid() {
		return cfg, fmt.Errorf("open CA: algorithm %q: want one of %v", cfg.Algorithm, algorithms)
	}
	for _, l := range []struct {
		name string
		d    *time.Duration
		def  time.Duration
	}{
		{"root", &cfg.RootLifetime, DefaultRootLifetime},
		{"issuing", &cfg.IssuingLifetime, DefaultIssuingLifetime},
		{"device", &cfg.DeviceLifetime, DefaultDeviceLifetime},
		{"server", &cfg.ServerLifetime, DefaultServerLifetime},
		{"CRL", &cfg.CRLLifetime, DefaultCRLLifetime},
	} {
		if *l.d < 0 {
			return cfg, fmt.Errorf("open CA: %s lifetime is negative: %v", l.name, *l.d)
		}
		if *l.d == 0 {
			*l.d = l.def
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// CA is an open authority. All its methods may be called concurrently.
type CA struct {
	cfg   Config
	state atomic.Pointer[state]

	signatures signatures // of our own issuers on devices' certificates

	renewal sync.Mutex // held while the issuing certificate is renewed
	retryAt time.Time  // no renewal before
	failure error      // of the last attempt
}

// state is everything that a renewal of the issuing certificate changes; it is replaced as a whole.
type state struct {
	root, issuing authority // the root's key is nil if it is kept elsewhere
	issuers       []*x509.Certificate
	pool          *x509.CertPool
	renewAt       time.Time // zero: never
}

// newState builds the state from checked certificates. old are the earlier issuing certificates.
func newState(root, issuing authority, old []*x509.Certificate) *state {
	st := &state{root: root, issuing: issuing, pool: x509.NewCertPool()}
	st.issuers = append([]*x509.Certificate{issuing.cert, root.cert}, old...)
	for _, c := range st.issuers {
		st.pool.AddCert(c)
	}
	// An issuing certificate that ends with its root cannot be replaced by one that lasts longer.
	if issuing.cert.NotAfter.Before(root.cert.NotAfter) {
		st.renewAt = twoThirds(issuing.cert)
	}
	return st
}

// twoThirds returns the moment at which two thirds of a certificate's life are over.
func twoThirds(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// RootPEM returns the root certificate, which clients must trust. The caller owns the slice.
func (c *CA) RootPEM() []byte { return encodeCertificate(c.state.Load().root.cert.Raw) }

// RootPath returns the absolute name of the file that holds the root certificate.
func (c *CA) RootPath() string { return filepath.Join(c.cfg.Dir, rootCert) }

// ClientPool returns the certificates that may sign device certificates: the issuing one, earlier ones, and the
// root. As the issuing certificates are in it, a device need not send them, and one signature check suffices.
//
// The issuing certificate may be renewed while the hub runs, and the pool is then another one. So a listener that
// lives long calls this for each connection (tls.Config.GetConfigForClient), or lets crypto/tls only request the
// certificate and checks it with [CA.Verify]. The caller must not change the pool.
func (c *CA) ClientPool() *x509.CertPool { return c.state.Load().pool }

// issuer returns the state to sign with, after renewing the issuing certificate if that is due.
func (c *CA) issuer(now time.Time) (*state, error) {
	st := c.state.Load()
	if !due(st, now) {
		return st, usable(st, now, nil)
	}
	if within(st.issuing.cert, now) {
		if !c.renewal.TryLock() {
			return st, nil // somebody is at it; this one is good meanwhile
		}
	} else {
		c.renewal.Lock()
	}
	defer c.renewal.Unlock()
	st = c.state.Load()
	if due(st, now) && !now.Before(c.retryAt) {
		next, err := c.renew(st, now)
		if c.failure = err; err != nil {
			c.retryAt = now.Add(retryRenewal)
			c.cfg.Logger.Warn("issuing certificate not renewed", "until", st.issuing.cert.NotAfter, "err", err)
		} else {
			st = next
			c.state.Store(st)
		}
	}
	return st, usable(st, now, c.failure)
}

// usable reports an issuing certificate that is not valid now, with the reason why there is no newer one.
func usable(st *state, now time.Time, renewal error) error {
	crt := st.issuing.cert
	if within(crt, now) {
		return nil
	}
	err := fmt.Errorf("issuing certificate is valid from %s to %s, now is %s", stamp(crt.NotBefore), stamp(crt.NotAfter), stamp(now))
	if renewal != nil {
		err = fmt.Errorf("%w; renewal: %w", err, renewal)
	}
	return err
}

// due tells whether the issuing certificate should be renewed. One from the future, which a wrong clock made, counts
// as due too: else setting the clock right would stop the hub.
func due(st *state, now time.Time) bool {
	return now.Before(st.issuing.cert.NotBefore) || !st.renewAt.IsZero() && !now.Before(st.renewAt)
}

// within tells whether now lies in the validity of a certificate.
func within(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && !now.After(c.NotAfter)
}

// find returns our certificate that claims to have signed leaf, nil if there is none.
func (st *state) find(leaf *x509.Certificate) *x509.Certificate {
	for _, c := range st.issuers {
		if !bytes.Equal(c.RawSubject, leaf.RawIssuer) {
			continue
		}
		if len(leaf.AuthorityKeyId) == 0 || bytes.Equal(c.SubjectKeyId, leaf.AuthorityKeyId) {
			return c
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
