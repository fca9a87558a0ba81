package hub

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// certificateCheck is how often, at most, the files of a server certificate are looked at.
const certificateCheck = 10 * time.Second

// certificate is a server certificate in files that somebody else keeps up to date, such as a client of a public
// authority. It is read anew by the handshake that finds the files changed, so there is nothing to tell the hub.
type certificate struct {
	file, key string
	log       *slog.Logger
	now       func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]stamp // of the files when they were read last, whether or not that went well
	checked time.Time
}

// stamp tells one version of a file from another.
type stamp struct {
	changed time.Time
	size    int64
}

func openCertificate(file, key string, log *slog.Logger) (*certificate, error) {
	c := &certificate{file: file, key: key, log: log, now: time.Now}
	var err error
	if c.stamp, err = c.look(); err == nil {
		c.current, err = c.read()
	}
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	c.checked = c.now()
	return c, nil
}

func (c *certificate) read() (*tls.Certificate, error) {
	crt, err := tls.LoadX509KeyPair(c.file, c.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", c.file, c.key, err)
	}
	return &crt, nil
}

func (c *certificate) look() (s [2]stamp, err error) {
	for i, name := range []string{c.file, c.key} {
		var st fs.FileInfo
		if st, err = os.Stat(name); err != nil {
			return s, err
		}
		s[i] = stamp{st.ModTime(), st.Size()}
	}
	return s, nil
}

// get is the field GetCertificate of tls.Config. What cannot be read leaves the old certificate in use, because half of a
// renewal may be on the disk at this moment.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.checked) < certificateCheck {
		return c.current, nil
	}
	c.checked = now
	s, err := c.look()
	if err == nil && s == c.stamp {
		return c.current, nil
	}
	c.stamp = s // a failure is told once for each change
	if err == nil {
		var crt *tls.Certificate
		if crt, err = c.read(); err == nil {
			c.current = crt
			c.log.Info("server certificate read anew", "file", c.file, "until", crt.Leaf.NotAfter)
			return crt, nil
		}
	}
	c.log.Warn("server certificate not read anew; the old one stays in use", "until", c.current.Leaf.NotAfter, "err", err)
	return c.current, nil
}

// name is one that the certificate is for, "" if it has no plain name.
func (c *certificate) name() string {
	leaf := c.current.Leaf
	for _, name := range leaf.DNSNames {
		if name[0] != '*' {
			return name
		}
	}
	if len(leaf.IPAddresses) > 0 {
		return leaf.IPAddresses[0].String()
	}
	return ""
}

// trusted returns the file with what clients have to trust. A program of ours trusts a certificate that is in it as it is,
// whoever issued it.
func (h *Hub) trusted(p *parts) string {
	if h.cfg.CertificateFile == "" {
		return p.ca.RootPath()
	}
	if abs, err := filepath.Abs(h.cfg.CertificateFile); err == nil {
		return abs
	}
	return h.cfg.CertificateFile
}
