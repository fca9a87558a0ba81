package ca

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// The files of the folder, see the package comment.
const (
	rootCert, rootKey                   = "root.pem", "root.key"
	issuingCert, issuingKey             = "issuing.pem", "issuing.key"
	nextCert, nextKey                   = "issuing.next.pem", "issuing.next.key"
	serverCert, serverKey               = "server.pem", "server.key"
	modeKey, modeCert       fs.FileMode = 0o600, 0o644
	maxFileBytes                        = 64 << 10
)

// posix tells whether file modes mean something.
const posix = runtime.GOOS != "windows" && runtime.GOOS != "plan9"

// folder is the folder of the files.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

// make creates the folder if it is not there, durably, and refuses one in which anybody may replace files.
func (d folder) make() error {
	fi, err := os.Stat(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return storageError(durable.MakeDir(string(d)))
	}
	if err != nil {
		return storageError(err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder", d)
	}
	if posix && fi.Mode()&0o002 != 0 {
		return fmt.Errorf("%s has mode %04o: anybody may replace its files; use chmod 700", d, fi.Mode().Perm())
	}
	return nil
}

func (d folder) exists(name string) (bool, error) {
	_, err := os.Lstat(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, storageError(err)
}

// read returns a file's content. A key that others than its owner may read is refused: it has to count as known.
func (d folder) read(name string, secret bool) ([]byte, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	if private, err := durable.Private(f); err != nil {
		return nil, err
	} else if secret && !private {
		return nil, fmt.Errorf("%s has mode %04o: others may read this private key; use chmod 600, or a new key if they did",
			f.Name(), fi.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(b) > maxFileBytes {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), maxFileBytes)
	}
	return b, err
}

// write puts a whole, synced file in place, in one step. It replaces what is there. A key is never open to others, not even for a
// moment.
func (d folder) write(name string, content []byte, mode fs.FileMode) error {
	return storageError(durable.WriteFile(d.path(name), content, mode))
}

func (d folder) rename(from, to string) error {
	return storageError(durable.Rename(d.path(from), d.path(to)))
}

func (d folder) remove(name string) error { return storageError(durable.Remove(d.path(name))) }

func (d folder) writeCertificate(name string, certs ...*x509.Certificate) error {
	var b []byte
	for _, c := range certs {
		b = append(b, encodeCertificate(c.Raw)...)
	}
	return d.write(name, b, modeCert)
}

func (d folder) writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return d.write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), modeKey)
}

func (d folder) readCertificate(name string) (*x509.Certificate, error) {
	b, err := d.read(name, false)
	if err != nil {
		return nil, err
	}
	c, err := ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(name), err)
	}
	return c, nil
}

func (d folder) readKey(name string) (crypto.Signer, error) {
	b, err := d.read(name, true)
	if err != nil {
		return nil, err
	}
	der, err := oneBlock(b, maxFileBytes, "PRIVATE KEY")
	if err != nil {
		return nil, fmt.Errorf("%s: %w (unencrypted PKCS#8; openssl pkcs8 -topk8 -nocrypt converts)", d.path(name), err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: private key: %v", d.path(name), err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", d.path(name), key)
	}
	if err := checkKey(signer.Public()); err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(name), err)
	}
	return signer, nil
}

// storageError marks an error of the file system as core.ErrStorage; nil stays nil.
func storageError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", core.ErrStorage, err)
}
