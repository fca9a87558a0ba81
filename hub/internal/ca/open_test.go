package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// snapshot returns the content of every file of a folder.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, e := range must(os.ReadDir(dir)) {
		files[e.Name()] = string(must(os.ReadFile(filepath.Join(dir, e.Name()))))
	}
	return files
}

// folderOf makes a folder with files, with the modes that they should have.
func folderOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		mode := modeCert
		if strings.HasSuffix(name, ".key") {
			mode = modeKey
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func same(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, content := range a {
		if b[name] != content {
			return false
		}
	}
	return true
}

func TestOpenEmpty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "ca")
	k := newClock()
	c := open(t, Config{Dir: dir, CommonName: "Acme", Now: k.now})
	if _, err := c.GetCertificate([]string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": 0o700 | fs.ModeDir, rootCert: modeCert, rootKey: modeKey, issuingCert: modeCert, issuingKey: modeKey,
		serverCert: modeCert, serverKey: modeKey,
	} {
		if got := must(os.Stat(filepath.Join(dir, name))).Mode(); got != want {
			t.Errorf("%s: mode %v, want %v", name, got, want)
		}
	}
	if got, want := c.RootPath(), filepath.Join(dir, "root.pem"); got != want {
		t.Errorf("root path: got %s, want %s", got, want)
	}
	if !bytes.Equal(c.RootPEM(), must(os.ReadFile(c.RootPath()))) {
		t.Error("RootPEM and the file at RootPath differ")
	}

	root, issuing := c.state.Load().root.cert, c.state.Load().issuing.cert
	if !root.IsCA || root.MaxPathLen != 1 || !issuing.IsCA || issuing.MaxPathLen != 0 || !issuing.MaxPathLenZero {
		t.Errorf("path lengths: root %d, issuing %d (%v)", root.MaxPathLen, issuing.MaxPathLen, issuing.MaxPathLenZero)
	}
	if !strings.HasPrefix(root.Subject.CommonName, "Acme root ") || !strings.HasPrefix(issuing.Subject.CommonName, "Acme issuing ") {
		t.Errorf("names: root %s, issuing %s", root.Subject, issuing.Subject)
	}
	if len(root.SubjectKeyId) == 0 || !bytes.Equal(issuing.AuthorityKeyId, root.SubjectKeyId) {
		t.Errorf("key identifiers: root %x, issuing below %x", root.SubjectKeyId, issuing.AuthorityKeyId)
	}
	if root.NotAfter.Year() > 2049 {
		t.Errorf("root ends %v, in another time format than before 2050", root.NotAfter)
	}

	before := snapshot(t, dir)
	again := open(t, Config{Dir: dir, Algorithm: RSA2048, Now: k.now}) // the algorithm is for new keys only
	if !again.state.Load().issuing.cert.Equal(issuing) || !same(before, snapshot(t, dir)) {
		t.Error("opening again changed something")
	}
}

func TestOpenRefusesConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no folder": {}, "algorithm": {Dir: "x", Algorithm: "rsa-1024"}, "long name": {Dir: "x", CommonName: strings.Repeat("a", 41)},
		"name": {Dir: "x", CommonName: "a\nb"}, "lifetime": {Dir: "x", DeviceLifetime: -1},
	} {
		if _, err := Open(cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a bad configuration made a folder")
	}
}

// What a crash at any moment of the first start leaves is completed with the keys that are there.
func TestOpenCompletes(t *testing.T) {
	whole := snapshot(t, open(t, Config{}).cfg.Dir)
	order := []string{rootKey, rootCert, issuingKey, issuingCert}
	for n := range order {
		for _, torn := range []bool{false, true} {
			files := map[string]string{}
			for _, name := range order[:n] {
				files[name] = whole[name]
			}
			if torn { // in the middle of a write
				files[order[n]+".tmp"] = whole[order[n]][:20]
			}
			dir := folderOf(t, files)
			c, err := Open(Config{Dir: dir})
			if err != nil {
				t.Errorf("%d files, torn %v: %v", n, torn, err)
				continue
			}
			crt, _ := sign(t, c, Leaf{CommonName: "a"})
			if err := c.Verify(crt); err != nil {
				t.Errorf("%d files, torn %v: %v", n, torn, err)
			}
			after := snapshot(t, dir)
			for name, content := range files {
				if !strings.HasSuffix(name, ".tmp") && after[name] != content {
					t.Errorf("%d files, torn %v: %s was replaced", n, torn, name)
				}
			}
			if len(after) != len(order) {
				t.Errorf("%d files, torn %v: left %d files, want %d", n, torn, len(after), len(order))
			}
		}
	}
}

// What a crash does not explain is an error that names the file, and nothing is changed.
func TestOpenRefuses(t *testing.T) {
	k := newClock()
	whole := snapshot(t, open(t, Config{Now: k.now}).cfg.Dir)
	other := snapshot(t, open(t, Config{Now: k.now}).cfg.Dir)
	leaf, key := sign(t, open(t, Config{Dir: folderOf(t, whole), Now: k.now}), Leaf{CommonName: "a"})
	leafDir := folder(t.TempDir())
	if err := leafDir.writeKey("k", key); err != nil {
		t.Fatal(err)
	}
	leafKey := string(must(os.ReadFile(leafDir.path("k"))))

	for name, tt := range map[string]struct {
		change map[string]string // "": remove
		later  time.Duration
		cfg    Config
		want   string // in the error
	}{
		"root certificate lost":       {change: map[string]string{rootCert: ""}, want: rootCert},
		"root lost":                   {change: map[string]string{rootCert: "", rootKey: ""}, want: rootCert},
		"root key lost":               {change: map[string]string{rootKey: ""}, want: rootKey},
		"issuing key lost":            {change: map[string]string{issuingKey: ""}, want: issuingKey},
		"root certificate of another": {change: map[string]string{rootCert: other[rootCert]}, want: rootKey},
		"root of another":             {change: map[string]string{rootCert: other[rootCert], rootKey: other[rootKey]}, want: issuingCert},
		"issuing key of another":      {change: map[string]string{issuingKey: other[issuingKey]}, want: issuingKey},
		"issuing of another":          {change: map[string]string{issuingKey: other[issuingKey], issuingCert: other[issuingCert]}, want: issuingCert},
		"earlier one of another":      {change: map[string]string{"issuing-1.pem": other[issuingCert]}, want: "issuing-1.pem"},
		"earlier one broken":          {change: map[string]string{"issuing-1.pem": "x"}, want: "issuing-1.pem"},
		"issuing as root":             {change: map[string]string{rootCert: whole[issuingCert], rootKey: whole[issuingKey]}, want: rootCert},
		"device as issuing": {
			change: map[string]string{issuingCert: string(encodeCertificate(leaf.Raw)), issuingKey: leafKey}, want: issuingCert,
		},
		"root certificate empty":  {change: map[string]string{rootCert: "\n"}, want: rootCert},
		"root key empty":          {change: map[string]string{rootKey: "\n"}, want: rootKey},
		"issuing key broken":      {change: map[string]string{issuingKey: whole[issuingKey][:100]}, want: issuingKey},
		"issuing key encrypted":   {change: map[string]string{issuingKey: strings.ReplaceAll(whole[issuingKey], "PRIVATE", "ENCRYPTED PRIVATE")}, want: "PKCS#8"},
		"chain as issuing":        {change: map[string]string{issuingCert: whole[issuingCert] + whole[rootCert]}, want: issuingCert},
		"file too long":           {change: map[string]string{issuingCert: strings.Repeat(" ", maxFileBytes+1)}, want: issuingCert},
		"root ended":              {later: DefaultRootLifetime + time.Hour, want: rootCert},
		"root of tomorrow":        {later: -48 * time.Hour, want: "clock"},
		"renewal of another":      {change: map[string]string{nextCert: other[issuingCert]}, want: nextCert},
		"offline, no root":        {change: map[string]string{rootCert: "", rootKey: "", issuingCert: "", issuingKey: ""}, cfg: Config{OfflineRoot: true}, want: rootCert},
		"offline, no issuing":     {change: map[string]string{rootKey: "", issuingCert: ""}, cfg: Config{OfflineRoot: true}, want: issuingCert},
		"offline, issuing ended":  {change: map[string]string{rootKey: ""}, later: DefaultIssuingLifetime + time.Hour, cfg: Config{OfflineRoot: true}, want: "elsewhere"},
		"offline, begun, no root": {change: map[string]string{rootCert: "", rootKey: ""}, cfg: Config{OfflineRoot: true}, want: rootCert},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for n, content := range whole {
				files[n] = content
			}
			for n, content := range tt.change {
				if files[n] = content; content == "" {
					delete(files, n)
				}
			}
			cfg := tt.cfg
			cfg.Dir = folderOf(t, files)
			cfg.Now = func() time.Time { return k.now().Add(tt.later) }
			_, err := Open(cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if !same(files, snapshot(t, cfg.Dir)) {
				t.Error("files were changed")
			}
		})
	}
}

func TestOpenRefusesModes(t *testing.T) {
	if !posix {
		t.Skip("file modes mean nothing here")
	}
	files := snapshot(t, open(t, Config{}).cfg.Dir)
	for _, name := range []string{rootKey, issuingKey} {
		for _, mode := range []fs.FileMode{0o644, 0o640, 0o602} {
			dir := folderOf(t, files)
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with mode %v: got %v", name, mode, err)
			}
		}
	}
	dir := folderOf(t, files)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "0777") {
		t.Errorf("folder open to all: got %v", err)
	}
	if _, err := Open(Config{Dir: filepath.Join(folderOf(t, files), rootCert)}); err == nil {
		t.Error("opened a file as a folder")
	}
}

func TestOfflineRoot(t *testing.T) {
	k := newClock()
	files := snapshot(t, open(t, Config{Now: k.now}).cfg.Dir)
	delete(files, rootKey)
	c := open(t, Config{Dir: folderOf(t, files), OfflineRoot: true, Now: k.now})
	k.add(DefaultIssuingLifetime * 4 / 5) // renewal is due, and impossible
	crt, _ := sign(t, c, Leaf{CommonName: "a"})
	if err := c.Verify(crt); err != nil {
		t.Error(err)
	}
	k.add(DefaultIssuingLifetime)
	if _, err := c.SignDeviceKey(newECDSA(t).Public(), Leaf{CommonName: "a"}); err == nil {
		t.Error("signed with an issuing certificate that has ended")
	}
}

// An operator may put certificates of an own PKI in the folder: other names, other keys, the root's key elsewhere.
func TestOwnPKI(t *testing.T) {
	now := time.Now()
	ca := func(name string, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(3, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent = tmpl
		}
		return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by))))
	}
	rootKey := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	root := ca("Corporate", nil, rootKey, rootKey)
	d := folder(t.TempDir())
	if err := errors.Join(
		d.writeCertificate(rootCert, root), d.writeCertificate(issuingCert, ca("Plant 7", root, key, rootKey)), d.writeKey(issuingKey, key),
	); err != nil {
		t.Fatal(err)
	}
	c := open(t, Config{Dir: string(d), OfflineRoot: true})
	crt, _ := sign(t, c, Leaf{CommonName: "a"})
	if crt.Issuer.CommonName != "Plant 7" {
		t.Errorf("signed by %v", crt.Issuer)
	}
	if err := c.Verify(crt); err != nil {
		t.Error(err)
	}
	if _, err := c.GetCertificate([]string{"localhost"}); err != nil {
		t.Error(err)
	}
}

func TestRenewal(t *testing.T) {
	k := newClock()
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Now: k.now})
	first := c.state.Load().issuing.cert
	early, _ := sign(t, c, Leaf{CommonName: "early", Lifetime: DefaultIssuingLifetime})

	k.add(DefaultIssuingLifetime * 7 / 10) // while running
	late, _ := sign(t, c, Leaf{CommonName: "late"})
	second := c.state.Load().issuing.cert
	if second.Equal(first) || bytes.Equal(second.SubjectKeyId, first.SubjectKeyId) || bytes.Equal(second.RawSubject, first.RawSubject) {
		t.Fatalf("not renewed, or with the same key or name: %v, %v", first.Subject, second.Subject)
	}
	if second.NotAfter.Before(k.now().Add(DefaultIssuingLifetime)) {
		t.Errorf("ends %v, want a whole life from %v", second.NotAfter, k.now())
	}
	check := func(when string, c *CA) {
		t.Helper()
		for _, crt := range []*struct {
			name string
			err  error
		}{{"early", c.Verify(early)}, {"late", c.Verify(late)}} {
			if crt.err != nil {
				t.Errorf("%s: %s: %v", when, crt.name, crt.err)
			}
		}
	}
	check("after renewal", c)
	check("after a restart", open(t, Config{Dir: dir, Now: k.now}))

	k.add(DefaultIssuingLifetime * 8 / 10) // while stopped, and past the end of the first
	c = open(t, Config{Dir: dir, Now: k.now})
	third := c.state.Load().issuing.cert
	if third.Equal(second) {
		t.Error("not renewed when opened")
	}
	if err := c.Verify(early); !errors.Is(err, ErrExpired) {
		t.Errorf("early: got %v, want expired", err)
	}
	if err := c.Verify(late); !errors.Is(err, ErrExpired) { // three months, long over
		t.Errorf("late: got %v, want expired", err)
	}
	if root := c.state.Load().root.cert; !third.NotAfter.Equal(root.NotAfter) {
		t.Errorf("third ends %v, want %v with the root", third.NotAfter, root.NotAfter)
	}
	// It ends with the root, so another one would not last longer: no renewal up to the end.
	k.add(third.NotAfter.Sub(k.now()) - time.Hour)
	sign(t, c, Leaf{CommonName: "a"})
	if !c.state.Load().issuing.cert.Equal(third) {
		t.Error("renewed without gain")
	}
	if got := len(must(filepath.Glob(filepath.Join(dir, "issuing-*.key")))); got != 2 {
		t.Errorf("%d keys of earlier ones are kept, want 2", got)
	}
}

// A clock that was years ahead for a while must not stop the hub after it was set right.
func TestRenewalAfterWrongClock(t *testing.T) {
	k := newClock()
	dir := t.TempDir()
	open(t, Config{Dir: dir, Now: k.now})
	k.add(DefaultIssuingLifetime * 4 / 5)
	open(t, Config{Dir: dir, Now: k.now})
	k.add(-DefaultIssuingLifetime * 4 / 5)
	c := open(t, Config{Dir: dir, Now: k.now})
	crt, _ := sign(t, c, Leaf{CommonName: "a"})
	if err := c.Verify(crt); err != nil {
		t.Error(err)
	}
}

// A disk that refuses does not stop the signing, and renewal succeeds once it does not.
func TestRenewalOnFailingDisk(t *testing.T) {
	for _, obstacle := range []string{nextKey + ".tmp", nextCert + ".tmp", issuingKey, issuingCert} {
		t.Run(obstacle, func(t *testing.T) {
			k := newClock()
			dir := t.TempDir()
			c := open(t, Config{Dir: dir, Now: k.now})
			first := c.state.Load().issuing.cert
			// A folder with content in the way of a file can be neither removed nor replaced.
			path, aside := filepath.Join(dir, obstacle), filepath.Join(dir, "aside")
			moved := os.Rename(path, aside) == nil
			if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			k.add(DefaultIssuingLifetime * 7 / 10)
			before, _ := sign(t, c, Leaf{CommonName: "a"})
			if !c.state.Load().issuing.cert.Equal(first) {
				t.Fatal("renewed, although the disk refused")
			}

			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if moved {
				if err := os.Rename(aside, path); err != nil {
					t.Fatal(err)
				}
			}
			sign(t, c, Leaf{CommonName: "a"})
			if !c.state.Load().issuing.cert.Equal(first) {
				t.Error("tried again at once")
			}
			k.add(retryRenewal)
			after, _ := sign(t, c, Leaf{CommonName: "a"})
			if c.state.Load().issuing.cert.Equal(first) {
				t.Error("not renewed when the disk was well again")
			}
			again := open(t, Config{Dir: dir, Now: k.now})
			for _, c := range []*CA{c, again} {
				if err := errors.Join(c.Verify(before), c.Verify(after)); err != nil {
					t.Error(err)
				}
			}
			if !again.state.Load().issuing.cert.Equal(c.state.Load().issuing.cert) {
				t.Error("files and memory differ")
			}
		})
	}
}

func TestOpenOnFailingDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, issuingKey+".tmp", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, core.ErrStorage) {
		t.Errorf("got %v, want an error of kind storage", err)
	}
}
