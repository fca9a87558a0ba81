package astarte

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// tokenFrom signs a token with the key in a file.
func tokenFrom(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parsePrivateKey(text)
	if err != nil {
		t.Fatal(err)
	}
	if k, isRSA := key.(*rsa.PrivateKey); isRSA {
		return "Bearer " + mint(t, jwt.SigningMethodRS256, k, everything)
	}
	return "Bearer " + mint(t, jwt.SigningMethodES256, key.(*ecdsa.PrivateKey), everything)
}

func TestDevelop(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	e := dialect.Development{Tenant: "dev", Dir: dir, BaseURL: "https://localhost:8443", Host: "localhost", HTTPSPort: 8443, MQTTPort: 8883}
	r.do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: "dev", Created: r.now}) })
	realmFile, housekeepingFile := filepath.Join(dir, "astarte_realm_private.pem"), filepath.Join(dir, "astarte_housekeeping_private.pem")
	want := map[string]string{
		"ASTARTE_REALM": "dev", "ASTARTE_REALM_PRIVATE_KEY": realmFile, "ASTARTE_HOUSEKEEPING_PRIVATE_KEY": housekeepingFile,
		"ASTARTE_BASE_URL": "https://localhost:8443", "ASTARTE_PAIRING_URL": "https://localhost:8443/pairing",
		"ASTARTE_APPENGINE_URL": "https://localhost:8443/appengine", "ASTARTE_REALM_MANAGEMENT_URL": "https://localhost:8443/realmmanagement",
		"ASTARTE_HOUSEKEEPING_URL": "https://localhost:8443/housekeeping",
	}
	develop := func() {
		t.Helper()
		got, err := r.d.Develop(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("want -, got +:\n%s", diff)
		}
	}
	// opens checks that the keys in the files open what they should.
	opens := func(what string) {
		t.Helper()
		s := &site{rig: r, h: r.d.Handler()}
		for do, file := range map[string]string{"GET /realmmanagement/v1/dev/interfaces": realmFile, "GET /housekeeping/v1/realms": housekeepingFile} {
			if status, _, body := s.ask(scenario{do: do, auth: tokenFrom(t, file)}); status != 200 {
				t.Errorf("%s: %s: got %d %s", what, do, status, body)
			}
		}
	}
	develop()
	opens("first run")
	before, err := os.ReadFile(realmFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(realmFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v %v, want 0600", info.Mode(), err)
	}
	if err := r.install("dev", temps); err != nil {
		t.Fatal(err)
	}

	r.d = New(r.d.cfg) // as after a restart
	develop()
	opens("second run")
	if after, err := os.ReadFile(realmFile); err != nil || string(after) != string(before) {
		t.Errorf("the key has changed: %v", err)
	}
	if r.current("dev").iface("org.example.Temps", 1) == nil {
		t.Errorf("the realm has lost its interface")
	}

	// A developer brings an RSA key, which one helper of the Python SDK wants.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(realmFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	develop()
	opens("another key")
	if left, err := filepath.Glob(filepath.Join(dir, "*.pem.*")); err != nil || len(left) > 0 {
		t.Errorf("files left behind: %v %v", left, err)
	}
}

func TestDevelopRefuses(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	if _, err := r.d.Develop(t.Context(), dialect.Development{Tenant: "No Realm", Dir: dir}); err == nil {
		t.Errorf("impossible realm: got no error")
	}
	if err := os.WriteFile(filepath.Join(dir, realmKeyFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := r.d.Develop(t.Context(), dialect.Development{Tenant: "dev", Dir: dir})
	if err == nil || !strings.Contains(err.Error(), realmKeyFile) {
		t.Errorf("broken key: got %v, want an error that names the file", err)
	}
	if _, err := r.d.Develop(t.Context(), dialect.Development{Tenant: "dev", Dir: filepath.Join(dir, "none")}); err == nil {
		t.Errorf("no folder: got no error")
	}
}
