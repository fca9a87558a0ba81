package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t testing.TB, cfg Config) *CA {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newECDSA(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign has a certificate signed for a new key.
func sign(t testing.TB, c *CA, l Leaf) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := newECDSA(t)
	issued, err := c.SignDeviceKey(key.Public(), l)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, issued.PEM), key
}

func parse(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	crt, err := ParseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	return crt
}

func csrPEM(t testing.TB, key crypto.Signer, subject pkix.Name) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// vectorCSR returns the request that the official Astarte SDK for Python sends, as PEM.
func vectorCSR(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../../testdata/vectors/astarte/csr.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Name, Hex string }
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.Name == "csr" {
			der, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		}
	}
	t.Fatal("csr.json has no vector csr")
	return nil
}

func TestSignVector(t *testing.T) {
	k := newClock()
	c := open(t, Config{Now: k.now})
	csr, err := ParseCSR(vectorCSR(t))
	if err != nil {
		t.Fatal(err)
	}
	issued, err := c.SignDevice(csr, Leaf{CommonName: "realm/id"})
	if err != nil {
		t.Fatal(err)
	}
	crt := parse(t, issued.PEM)
	if got, want := crt.Subject.String(), "CN=realm/id,O=Devices"; got != want {
		t.Errorf("subject: got %s, want %s", got, want)
	}
	if !csr.PublicKey.(*ecdsa.PublicKey).Equal(crt.PublicKey) {
		t.Error("certificate is not for the key of the request")
	}
	if crt.IsCA || !crt.BasicConstraintsValid || crt.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("CA %v, constraints %v, usage %v", crt.IsCA, crt.BasicConstraintsValid, crt.KeyUsage)
	}
	if len(crt.ExtKeyUsage) != 1 || crt.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("extended usage: got %v, want client authentication alone", crt.ExtKeyUsage)
	}
	if len(crt.SubjectKeyId) != 20 || hex.EncodeToString(crt.AuthorityKeyId) != issued.AuthorityKeyID {
		t.Errorf("key identifiers: %x below %x, issued says %s", crt.SubjectKeyId, crt.AuthorityKeyId, issued.AuthorityKeyID)
	}
	if got := SerialString(crt.SerialNumber); got != issued.Serial || len(got) != 32 {
		t.Errorf("serial: got %s, issued says %s, want 32 digits", got, issued.Serial)
	}
	if issued.SHA256 != sha256.Sum256(crt.Raw) {
		t.Error("SHA256 is not that of the certificate")
	}
	if !crt.NotBefore.Equal(issued.NotBefore) || !crt.NotAfter.Equal(issued.NotAfter) {
		t.Errorf("dates: certificate %v to %v, issued says %v to %v", crt.NotBefore, crt.NotAfter, issued.NotBefore, issued.NotAfter)
	}
	if got := k.now().Sub(crt.NotBefore); got != backdate {
		t.Errorf("begins %v before now, want %v", got, backdate)
	}
	if got := crt.NotAfter.Sub(k.now()); got != DefaultDeviceLifetime {
		t.Errorf("ends %v from now, want %v", got, DefaultDeviceLifetime)
	}
	if err := c.Verify(crt); err != nil {
		t.Error(err)
	}
}

func TestSignRefuses(t *testing.T) {
	c := open(t, Config{})
	long := make([]byte, 256)
	for i := range long {
		long[i] = 'a'
	}
	pub := newECDSA(t).Public()
	for name, tt := range map[string]struct {
		pub  crypto.PublicKey
		leaf Leaf
	}{
		"no name":           {pub, Leaf{}},
		"long name":         {pub, Leaf{CommonName: string(long)}},
		"NUL in name":       {pub, Leaf{CommonName: "a\x00b"}},
		"name not UTF-8":    {pub, Leaf{CommonName: "\xff"}},
		"long organization": {pub, Leaf{CommonName: "a", Organization: string(long[:65])}},
		"negative lifetime": {pub, Leaf{CommonName: "a", Lifetime: -1}},
		"no key":            {nil, Leaf{CommonName: "a"}},
		"nil key":           {(*ecdsa.PublicKey)(nil), Leaf{CommonName: "a"}},
		"not a key":         {"key", Leaf{CommonName: "a"}},
	} {
		if _, err := c.SignDeviceKey(tt.pub, tt.leaf); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %v, want an error of kind invalid", name, err)
		}
	}
	if _, err := c.SignDevice(nil, Leaf{CommonName: "a"}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("no request: got %v", err)
	}
}

// A request may say anything about its subject: only an organization that can stand in a certificate survives.
func TestSignIgnoresSubject(t *testing.T) {
	c := open(t, Config{})
	for name, tt := range map[string]struct {
		subject pkix.Name
		leaf    Leaf
		want    string
	}{
		"other name":   {pkix.Name{CommonName: "admin", Country: []string{"IT"}}, Leaf{CommonName: "dev"}, "CN=dev"},
		"control":      {pkix.Name{Organization: []string{"a\nb"}}, Leaf{CommonName: "dev"}, "CN=dev"},
		"first of two": {pkix.Name{Organization: []string{"A", "B"}}, Leaf{CommonName: "dev"}, "CN=dev,O=A"},
		"ours wins":    {pkix.Name{Organization: []string{"A"}}, Leaf{CommonName: "dev", Organization: "Us"}, "CN=dev,O=Us"},
	} {
		csr, err := ParseCSR(csrPEM(t, newECDSA(t), tt.subject))
		if err != nil {
			t.Fatal(name, err)
		}
		issued, err := c.SignDevice(csr, tt.leaf)
		if err != nil {
			t.Fatal(name, err)
		}
		if got := parse(t, issued.PEM).Subject.String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

// A certificate never outlives the one that signs it, else it would seem valid and be refused.
func TestSignClamps(t *testing.T) {
	c := open(t, Config{IssuingLifetime: 100 * time.Hour})
	crt, _ := sign(t, c, Leaf{CommonName: "a", Lifetime: 1 << 62})
	if want := c.state.Load().issuing.cert.NotAfter; !crt.NotAfter.Equal(want) {
		t.Errorf("ends %v, want %v as the issuing certificate", crt.NotAfter, want)
	}
	if err := c.Verify(crt); err != nil {
		t.Error(err)
	}
}

// The certificates of every algorithm hold in a mutual handshake in which the device sends its own certificate only.
func TestHandshake(t *testing.T) {
	for _, alg := range []Algorithm{ECDSAP256, RSA2048} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s/%s", alg, tls.VersionName(version)), func(t *testing.T) {
				c := open(t, Config{Algorithm: alg})
				get, err := c.GetCertificate([]string{"localhost", "*.example.org", "127.0.0.1", "::1"})
				if err != nil {
					t.Fatal(err)
				}
				server := &tls.Config{
					GetCertificate: get, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.ClientPool(), MaxVersion: version,
				}
				crt, key := sign(t, c, Leaf{CommonName: "realm/id"})
				roots := x509.NewCertPool()
				roots.AppendCertsFromPEM(c.RootPEM())
				for _, name := range []string{"localhost", "hub.example.org", "127.0.0.1", "::1"} {
					handshake(t, server, &tls.Config{
						RootCAs: roots, ServerName: name,
						Certificates: []tls.Certificate{{Certificate: [][]byte{crt.Raw}, PrivateKey: key}},
					})
				}
			})
		}
	}
}

func handshake(t *testing.T, server, client *tls.Config) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(a, server).Handshake() }()
	conn := tls.Client(b, client)
	// The server of TLS 1.3 judges the client's certificate after the client is through, hence both ends.
	go func() { conn.Read(make([]byte, 1)) }()
	if err := conn.Handshake(); err != nil {
		t.Errorf("%s: client: %v", client.ServerName, err)
		a.Close()
	}
	if err := <-done; err != nil {
		t.Errorf("%s: server: %v", client.ServerName, err)
	}
}

func TestConcurrent(t *testing.T) {
	c := open(t, Config{})
	key := newECDSA(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	serials := map[string]bool{}
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				issued, err := c.SignDeviceKey(key.Public(), Leaf{CommonName: fmt.Sprintf("%d-%d", g, i)})
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Verify(parse(t, issued.PEM)); err != nil {
					t.Error(err)
				}
				mu.Lock()
				serials[issued.Serial] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(serials) != 160 {
		t.Errorf("%d serial numbers for 160 certificates", len(serials))
	}
}

func BenchmarkSignDevice(b *testing.B) {
	for _, alg := range []Algorithm{ECDSAP256, RSA2048} {
		b.Run(string(alg), func(b *testing.B) {
			c := open(b, Config{Algorithm: alg})
			csr, err := ParseCSR(vectorCSR(b))
			if err != nil {
				b.Fatal(err)
			}
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := c.SignDevice(csr, Leaf{CommonName: "realm/id"}); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	c := open(b, Config{})
	crt, _ := sign(b, c, Leaf{CommonName: "realm/id"})
	for b.Loop() {
		if err := c.Verify(crt); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCSR(b *testing.B) {
	text := vectorCSR(b)
	for b.Loop() {
		if _, err := ParseCSR(text); err != nil {
			b.Fatal(err)
		}
	}
}
