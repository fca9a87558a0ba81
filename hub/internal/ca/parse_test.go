package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestParseCSRAccepts(t *testing.T) {
	_, ed := must2(ed25519.GenerateKey(rand.Reader))
	c := open(t, Config{})
	accept := func(name string, text []byte) {
		t.Helper()
		csr, err := ParseCSR(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		issued, err := c.SignDevice(csr, Leaf{CommonName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if err := c.Verify(parse(t, issued.PEM)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, key := range map[string]crypto.Signer{
		"P-256": newECDSA(t), "P-384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-521": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), "Ed25519": ed,
	} {
		accept(name, csrPEM(t, key, pkix.Name{}))
	}
	for _, file := range []string{"rsa2048text", "rsa3072sha1", "rsa4096"} {
		accept(file, must(os.ReadFile("testdata/csr/"+file+".pem")))
	}

	text := string(csrPEM(t, newECDSA(t), pkix.Name{}))
	for name, text := range map[string]string{
		"older block type": strings.ReplaceAll(text, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"),
		"text around":      "Certificate Request:\n    Data:\n" + text + "\nthe end\n",
		"no last newline":  strings.TrimSpace(text),
		"CRLF":             strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		accept(name, []byte(text))
	}
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func TestParseCSRRefuses(t *testing.T) {
	good := csrPEM(t, newECDSA(t), pkix.Name{CommonName: "a"})
	block, _ := pem.Decode(good)
	crt, _ := sign(t, open(t, Config{}), Leaf{CommonName: "a"})

	flipped := bytes.Clone(block.Bytes)
	flipped[len(flipped)-1] ^= 1
	// The name is signed too: another one after the fact has to show.
	renamed := bytes.Replace(block.Bytes, []byte{0x0c, 1, 'a'}, []byte{0x0c, 1, 'b'}, 1)
	if bytes.Equal(renamed, block.Bytes) {
		renamed = bytes.Replace(block.Bytes, []byte{0x13, 1, 'a'}, []byte{0x13, 1, 'b'}, 1)
	}
	request := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	}

	for name, tt := range map[string]struct {
		text string
		want error
	}{
		"empty":               {"", ErrMalformed},
		"no PEM":              {"certificate please", ErrMalformed},
		"DER":                 {string(block.Bytes), ErrMalformed},
		"two blocks":          {string(good) + string(good), ErrMalformed},
		"certificate after":   {string(good) + string(encodeCertificate(crt.Raw)), ErrMalformed},
		"broken block before": {"-----BEGIN CERTIFICATE REQUEST-----\n!!\n" + string(good), ErrMalformed},
		"begun block after":   {string(good) + "-----BEGIN ", ErrMalformed},
		"certificate":         {string(encodeCertificate(crt.Raw)), ErrMalformed},
		"certificate as CSR":  {request(crt.Raw), ErrMalformed},
		"headers":             {strings.Replace(string(good), "REQUEST-----\n", "REQUEST-----\nProc-Type: 4,ENCRYPTED\n\n", 1), ErrMalformed},
		"no DER":              {request([]byte("hello")), ErrMalformed},
		"empty block":         {request(nil), ErrMalformed},
		"bytes after":         {request(append(bytes.Clone(block.Bytes), 0)), ErrMalformed},
		"cut":                 {request(block.Bytes[:len(block.Bytes)-1]), ErrMalformed},
		"huge":                {string(good) + strings.Repeat("\n", MaxCSRBytes), ErrMalformed},
		"other signature":     {request(flipped), ErrBadSignature},
		"other name":          {request(renamed), ErrBadSignature},
	} {
		csr, err := ParseCSR([]byte(tt.text))
		if !errors.Is(err, tt.want) || !errors.Is(err, core.ErrInvalid) || csr != nil {
			t.Errorf("%s: got %v, want %v of kind invalid", name, err, tt.want)
		}
	}
}

// Requests that openssl 3.0 made.
func TestParseCSRRefusesKeys(t *testing.T) {
	for file, want := range map[string]error{
		"rsa1024": ErrKey, "rsa2047": ErrKey, "rsa4104": ErrKey, "p224": ErrKey, "dsa": ErrKey, "ed448": ErrKey,
		"secp256k1": ErrMalformed, // crypto/x509 does not know the curve
		"md5":       ErrBadSignature,
	} {
		csr, err := ParseCSR(must(os.ReadFile("testdata/csr/" + file + ".pem")))
		if !errors.Is(err, want) || !errors.Is(err, core.ErrInvalid) || csr != nil {
			t.Errorf("%s: got %v, want %v of kind invalid", file, err, want)
		}
	}
}

func TestParseCertificateRefuses(t *testing.T) {
	crt, _ := sign(t, open(t, Config{}), Leaf{CommonName: "a"})
	good := string(encodeCertificate(crt.Raw))
	for name, text := range map[string]string{
		"empty": "", "two": good + good, "CSR": string(csrPEM(t, newECDSA(t), pkix.Name{})), "huge": good + strings.Repeat(" ", MaxCertificateBytes),
		"bytes after": string(encodeCertificate(append(bytes.Clone(crt.Raw), 0))), "cut": string(encodeCertificate(crt.Raw[:len(crt.Raw)-1])),
	} {
		if crt, err := ParseCertificate([]byte(text)); !errors.Is(err, ErrMalformed) || !errors.Is(err, core.ErrInvalid) || crt != nil {
			t.Errorf("%s: got %v, want malformed, of kind invalid", name, err)
		}
	}
}

func FuzzParseCSR(f *testing.F) {
	f.Add(vectorCSR(f))
	for _, file := range must(filepath.Glob("testdata/csr/*.pem")) {
		f.Add(must(os.ReadFile(file)))
	}
	c := open(f, Config{})
	f.Fuzz(func(t *testing.T, text []byte) {
		csr, err := ParseCSR(text)
		if err != nil {
			return
		}
		// Whatever is accepted can be signed, and the certificate has our name.
		issued, err := c.SignDevice(csr, Leaf{CommonName: "us"})
		if err != nil {
			t.Fatal(err)
		}
		crt := parse(t, issued.PEM)
		if crt.Subject.CommonName != "us" || crt.IsCA || c.Verify(crt) != nil {
			t.Errorf("signed %v for %q", crt.Subject, text)
		}
	})
}

// The fuzzer gets DER as well as PEM, because it does not find through the base64 by itself.
func FuzzParseCSRDER(f *testing.F) {
	block, _ := pem.Decode(vectorCSR(f))
	f.Add(block.Bytes)
	f.Fuzz(func(t *testing.T, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		if csr, err := ParseCSR(text); err == nil && !bytes.Equal(csr.Raw, der) {
			t.Errorf("got %x, want %x", csr.Raw, der)
		}
	})
}

func FuzzParseCertificate(f *testing.F) {
	c := open(f, Config{})
	crt, _ := sign(f, c, Leaf{CommonName: "a"})
	f.Add(crt.Raw, true)
	f.Add(c.RootPEM(), false)
	f.Fuzz(func(t *testing.T, b []byte, der bool) {
		if der {
			b = encodeCertificate(b)
		}
		got, err := ParseCertificate(b)
		if err != nil {
			return
		}
		if err := c.Verify(got); err == nil && !got.Equal(crt) {
			t.Errorf("accepted a certificate that was never signed: %x", got.Raw)
		}
	})
}
