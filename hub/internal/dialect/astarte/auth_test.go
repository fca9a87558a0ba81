package astarte

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

func ecKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// TestAlgorithms tries every algorithm that the library knows on every kind of key: nine of them open, each on its own.
func TestAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{
		"RSA": rsaKey, "P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384()), "P-521": ecKey(t, elliptic.P521()),
	}
	opens := map[string]string{
		"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
		"ES256": "P-256", "ES384": "P-384", "ES512": "P-521",
	}
	for name, key := range keys {
		public := publicPEM(t, key)
		k, err := parsePublicKey([]byte(public))
		if err != nil {
			t.Fatal(err)
		}
		for _, alg := range jwt.GetAlgorithms() {
			method := jwt.GetSigningMethod(alg)
			var signer any
			switch {
			case strings.HasPrefix(alg, "HS"):
				signer = []byte(public) // the known attack: the public key as a shared secret
			case alg == "none":
				signer = jwt.UnsafeAllowNoneSignatureType
			case alg == "EdDSA":
				signer = edKey
			default:
				signer = keys[opens[alg]]
			}
			_, err := k.claims(mint(t, method, signer, everything), time.Now)
			if good := opens[alg] == name; good != (err == nil) {
				t.Errorf("%s on a key %s: got %v, want it to open: %v", alg, name, err, good)
			} else if err != nil && !errors.Is(err, errToken) {
				t.Errorf("%s on a key %s: got %v, want %v", alg, name, err, errToken)
			}
		}
	}
}

func TestPublicKey(t *testing.T) {
	good := publicPEM(t, ecKey(t, elliptic.P256()))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(ecKey(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no PEM": "x", "two": good + good, "P-224": publicPEM(t, ecKey(t, elliptic.P224())), "Ed25519": publicPEM(t, edKey),
		"private":                    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"private under a wrong name": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: private})),
		"huge":                       good + strings.Repeat("\n", maxPublicKeyPEM),
	} {
		if _, err := parsePublicKey([]byte(text)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, core.ErrInvalid)
		}
	}
	if _, err := parsePublicKey([]byte("comment\n" + good)); err != nil {
		t.Errorf("good: got %v", err)
	}
}

func TestTokens(t *testing.T) {
	s := newSite(t)
	at := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(s.now.Add(d)) }
	with := func(extra jwt.MapClaims) string {
		c := jwt.MapClaims{"a_rma": []string{".*::.*"}}
		for k, v := range extra {
			c[k] = v
		}
		return "Bearer " + mint(s, jwt.SigningMethodES256, s.key, c)
	}
	entry := func(entries ...any) string { return with(jwt.MapClaims{"a_rma": entries}) }
	other := ecKey(t, elliptic.P256())
	const auth, limit = "GET /realmmanagement/v1/test/config/auth", "GET /realmmanagement/v1/test/config/device_registration_limit"
	refused := func(path string) string {
		return detailBody("Unauthorized access to GET " + path + ". Please verify your permissions")
	}
	missing, invalid := detailBody("Missing authorization token"), detailBody("Invalid JWT token")
	s.run(t, []scenario{
		{name: "good for ever", do: limit, auth: with(nil), status: 200, want: `{"data":null}`},
		{name: "scheme in any case", do: limit, auth: "bEaReR:   " + s.token(), status: 200, want: `{"data":null}`},
		{name: "no header", do: limit, auth: "-", status: 401, want: missing},
		{name: "another scheme", do: limit, auth: "Basic eDp5", status: 401, want: missing},
		{name: "huge header", do: limit, auth: "Bearer " + strings.Repeat("a", maxTokenBytes), status: 401, want: missing},
		{name: "no token", do: limit, auth: "Bearer x.y.z", status: 401, want: invalid},
		{name: "another key", do: limit, auth: "Bearer " + mint(s, jwt.SigningMethodES256, other, everything), status: 401, want: invalid},
		{name: "not expired", do: limit, auth: with(jwt.MapClaims{"exp": at(time.Second)}), status: 200, want: `{"data":null}`},
		{name: "expired", do: limit, auth: with(jwt.MapClaims{"exp": at(-time.Second)}), status: 401, want: invalid},
		{name: "exp is no number", do: limit, auth: with(jwt.MapClaims{"exp": "tomorrow"}), status: 401, want: invalid},
		{name: "begun", do: limit, auth: with(jwt.MapClaims{"nbf": at(0)}), status: 200, want: `{"data":null}`},
		{name: "not begun", do: limit, auth: with(jwt.MapClaims{"nbf": at(time.Minute)}), status: 401, want: invalid},
		{name: "from the future", do: limit, auth: with(jwt.MapClaims{"iat": at(time.Hour)}), status: 200, want: `{"data":null}`},
		{name: "odd iss, aud and sub", do: limit, auth: with(jwt.MapClaims{"iss": 1, "aud": []any{1}, "sub": nil}), status: 200, want: `{"data":null}`},
		{name: "entry for the path", do: limit, auth: entry("GET::config/device_.*"), status: 200, want: `{"data":null}`},
		{name: "entry for a part of the path", do: limit, auth: entry("GET::config"), status: 403, want: refused("/v1/test/config/device_registration_limit")},
		{name: "entry for another method", do: limit, auth: entry("POST::.*"), status: 403, want: refused("/v1/test/config/device_registration_limit")},
		{name: "HEAD counts as GET", do: "HEAD" + limit[3:], auth: entry("GET::.*"), status: 200, want: `{"data":null}`},
		{name: "one of several", do: limit, auth: entry("(", 7, nil, "x", "GET::config/.*"), status: 200, want: `{"data":null}`},
		{name: "claim is no list", do: limit, auth: with(jwt.MapClaims{"a_rma": ".*::.*"}), status: 403, want: "~Please verify"},
		{name: "claim of another API", do: auth, auth: "Bearer " + mint(s, jwt.SigningMethodES256, s.key, jwt.MapClaims{"a_aea": []string{".*::.*"}}), status: 403, want: "~Please verify"},
		{name: "the path as the service sees it", do: "GET //realmmanagement//v1/test/config/auth?x=1", auth: entry(), status: 403, want: refused("//v1/test/config/auth")},

		{name: "unknown realm in Realm Management", do: "GET /realmmanagement/v1/nowhere/interfaces", auth: "-", status: 403, want: detailBody("Forbidden")},
		{name: "unknown realm in Pairing", do: "POST /pairing/v1/nowhere/agent/devices", status: 403, want: detailBody("Forbidden")},
		{name: "unknown realm in Pairing for a device", do: "GET /pairing/v1/nowhere/devices/" + testID, auth: "-", status: 403, want: detailBody("Forbidden")},
		{name: "impossible realm", do: "GET /realmmanagement/v1/No-Realm/interfaces", status: 403, want: detailBody("Forbidden")},
		{name: "unknown realm in AppEngine", do: "GET /appengine/v1/nowhere/devices", status: 401, want: invalid},
		{name: "unknown realm in AppEngine without token", do: "GET /appengine/v1/nowhere/devices", auth: "-", status: 401, want: missing},

		{name: "housekeeping", do: "GET /housekeeping/v1/realms", status: 200, want: `{"data":["test"]}`},
		{name: "housekeeping paths have no realm", do: "GET /housekeeping/v1/realms/test", auth: "Bearer " + mint(s, jwt.SigningMethodES256, s.key, jwt.MapClaims{"a_ha": []string{"GET::realms/test"}}), status: 200, want: "~realm_name"},
		{name: "housekeeping with another key", do: "GET /housekeeping/v1/realms", auth: "Bearer " + mint(s, jwt.SigningMethodES256, other, everything), status: 401, want: invalid},
	})
}

func TestHousekeepingKeys(t *testing.T) {
	s := newSite(t)
	s.d.http.developed.Store(nil)
	const do = "GET /housekeeping/v1/realms"
	s.run(t, []scenario{{name: "no key at all", do: do, status: 401, want: detailBody("Invalid JWT token")}})
	s.d.cfg.HousekeepingKeyPEM = []byte(publicPEM(t, s.key))
	s.h = newAPI(s.d)
	s.run(t, []scenario{{name: "configured key", do: do, status: 200, want: `{"data":["test"]}`}})
	s.d.cfg.HousekeepingKeyPEM = []byte("nonsense")
	s.h = newAPI(s.d)
	s.run(t, []scenario{{name: "unusable key", do: do, status: 401, want: detailBody("Invalid JWT token")}})
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer abc")
	f.Add("bearer:\tabc def")
	f.Fuzz(func(t *testing.T, text string) {
		token, found := bearerToken(http.Header{"Authorization": {text}})
		if found && (!strings.HasSuffix(text, token) || !strings.Contains(strings.ToLower(text), "bearer")) {
			t.Errorf("%q: got %q", text, token)
		}
		k := &tokenKey{public: ecKey(t, elliptic.P256()).Public(), methods: []string{"ES256"}}
		if _, err := k.claims(token, time.Now); err == nil {
			t.Errorf("%q opened a fresh key", token)
		}
	})
}
