package identity_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/identity"
)

// dir is where the examples keep files.
var dir string

func TestMain(m *testing.M) {
	var err error
	if dir, err = os.MkdirTemp("", "identity"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	key, err := identity.NewKey()
	if err != nil {
		panic(err)
	}
	csr, err := identity.CSR(key, identity.Request{Subject: pkix.Name{CommonName: "pump-7"}})
	if err != nil {
		panic(err)
	}
	chain, err := identity.ParseChain(authority(csr))
	if err != nil {
		panic(err)
	}
	if _, err := identity.Save(filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt"), key, chain); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// authority signs a request for the examples.
func authority(csr []byte) []byte {
	key, err := identity.NewKey()
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(csr)
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: r.Subject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, r.PublicKey, key)
	return pemOf("CERTIFICATE", der, err)
}
