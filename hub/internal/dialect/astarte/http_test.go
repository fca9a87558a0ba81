package astarte

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
)

// A site is a rig with its HTTP APIs, a realm "test" and one key for everything.
type site struct {
	*rig
	h http.Handler
}

func newSite(tb testing.TB, definitions ...string) *site {
	tb.Helper()
	r := newRig(tb)
	r.d.cfg.BrokerURL = func(host string) string { return "mqtts://" + host + ":8883/" }
	key, err := parsePublicKey([]byte(publicPEM(tb, r.key)))
	if err != nil {
		tb.Fatal(err)
	}
	r.d.http.developed.Store(key)
	r.do(func(tx *commit.Tx) error {
		return r.d.createRealm(tx, realmConfig{Name: "test", PublicKeyPEM: publicPEM(tb, r.key)})
	})
	for _, def := range definitions {
		if err := r.install("test", def); err != nil {
			tb.Fatal(err)
		}
	}
	return &site{rig: r, h: r.d.Handler()}
}

func publicPEM(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func mint(tb testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	tb.Helper()
	s, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// everything are the claims that open all APIs.
var everything = jwt.MapClaims{"a_pa": []string{".*::.*"}, "a_rma": []string{".*::.*"}, "a_aea": []string{".*::.*"}, "a_ha": []string{".*::.*"}}

// token returns a token that opens all APIs.
func (s *site) token() string { return mint(s, jwt.SigningMethodES256, s.key, everything) }

// A scenario is one request and what it should lead to.
type scenario struct {
	name  string
	given func(*site) // before the request; nil: nothing
	do    string      // "METHOD PATH"
	// auth is the Authorization header; "" is a token that opens everything, "-" no header.
	auth   string
	header map[string]string
	body   string

	status int
	want   string // the whole body as JSON, "" for an empty one; "~TEXT" for one that contains TEXT
	check  func(*site, http.Header)
}

func (s *site) run(t *testing.T, all []scenario) {
	t.Helper()
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			if c.given != nil {
				c.given(s)
			}
			status, header, body := s.ask(c)
			if status != c.status {
				t.Errorf("status: got %d %s, want %d", status, body, c.status)
			}
			if text, part := strings.CutPrefix(c.want, "~"); part {
				if !strings.Contains(body, text) {
					t.Errorf("body: got %s, want something with %s", body, text)
				}
			} else if diff := cmp.Diff(parsed(t, c.want), parsed(t, body)); diff != "" {
				t.Errorf("body: got %s\nwant -, got +:\n%s", body, diff)
			}
			if body != "" && header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("content type: got %q", header.Get("Content-Type"))
			}
			if c.check != nil {
				c.check(s, header)
			}
		})
	}
}

func parsed(t *testing.T, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber() // 20 is not 20.0
	var x any
	if err := dec.Decode(&x); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return x
}

func (s *site) ask(c scenario) (int, http.Header, string) {
	s.Helper()
	method, path, _ := strings.Cut(c.do, " ")
	r := httptest.NewRequest(method, "https://hub.example.com:8443"+path, strings.NewReader(c.body))
	r.RemoteAddr = "10.0.0.9:12345"
	switch c.auth {
	case "":
		r.Header.Set("Authorization", "Bearer "+s.token())
	case "-":
	default:
		r.Header.Set("Authorization", c.auth)
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for k, v := range c.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		s.Fatal(err)
	}
	return w.Code, w.Header(), string(body)
}

func (s *site) header(h http.Header, name, want string) {
	s.Helper()
	if got := h.Get(name); got != want {
		s.Errorf("%s: got %q, want %q", name, got, want)
	}
}

// must makes a request that succeeds and returns the body's "data".
func (s *site) must(do, body string) any {
	s.Helper()
	status, _, got := s.ask(scenario{do: do, body: body})
	if status/100 != 2 {
		s.Fatalf("%s: got %d %s", do, status, got)
	}
	if got == "" {
		return nil
	}
	var reply struct{ Data any }
	if err := json.Unmarshal([]byte(got), &reply); err != nil {
		s.Fatal(err)
	}
	return reply.Data
}

// secret registers a device and returns the header that its secret makes.
func (s *site) secret(id string) string {
	s.Helper()
	data := s.must("POST /pairing/v1/test/agent/devices", `{"data":{"hw_id":"`+id+`"}}`)
	return "Bearer " + data.(map[string]any)["credentials_secret"].(string)
}

// csr returns the body of a request for a certificate.
func csr(tb testing.TB, key *ecdsa.PrivateKey, cn string) string {
	tb.Helper()
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn, Organization: []string{"Devices"}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		tb.Fatal(err)
	}
	return dataBody(tb, map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
}

func dataBody(tb testing.TB, data any) string {
	tb.Helper()
	b, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func detailBody(text string) string {
	b, _ := json.Marshal(map[string]any{"errors": map[string]string{"detail": text}})
	return string(b)
}

func TestForm(t *testing.T) {
	s := newSite(t)
	const devices = "GET /appengine/v1/test/devices"
	s.run(t, []scenario{
		{name: "health has no auth and no body", do: "GET /pairing/health", auth: "-", status: 200},
		{name: "realm health", do: "GET /pairing/v1/test/health", auth: "-", status: 200},
		{name: "version", do: "GET /appengine/version", auth: "-", status: 200, want: `{"data":"1.2.0"}`},
		{name: "realm version", do: "GET /realmmanagement/v1/test/version", status: 200, want: `{"data":"1.2.0"}`},
		{name: "housekeeping version", do: "GET /housekeeping/v1/version", status: 200, want: `{"data":"1.2.0"}`},
		{name: "HEAD", do: "HEAD /pairing/version", auth: "-", status: 200, want: `{"data":"1.2.0"}`},
		{name: "slashes of a base URL", do: "GET //pairing///v1//test/version/", status: 200, want: `{"data":"1.2.0"}`},
		{name: "unknown route of Pairing", do: "GET /pairing/v1/test/nothing", status: 404, want: detailBody("Page not found")},
		{name: "unknown route of Housekeeping", do: "GET /housekeeping/v2/realms", status: 404, want: detailBody("Page not found")},
		{name: "unknown route of AppEngine", do: "GET /appengine/v1/test/nothing", status: 404, want: detailBody("Not found")},
		{name: "unknown route of Realm Management", do: "GET /realmmanagement", status: 404, want: detailBody("Not found")},
		{name: "no method", do: "POST /appengine/v1/test/devices", status: 404, want: detailBody("Not found")},
		{name: "for later", do: "GET /realmmanagement/v1/test/triggers", status: 404, want: detailBody("Not found")},
		{name: "no service", do: "GET /nothing", status: 404, want: detailBody("Not found")},
		{name: "segment is no text", do: "GET /appengine/v1/test/devices/%ff", status: 400, want: detailBody("Bad request")},
		{name: "accepts HTML only", do: devices, header: map[string]string{"Accept": "text/html"}, status: 406, want: detailBody("Not acceptable")},
		{name: "accepts all but JSON", do: devices, header: map[string]string{"Accept": "application/json;q=0, text/*"}, status: 406, want: detailBody("Not acceptable")},
		{name: "accepts anything", do: "GET /pairing/v1/test/version", header: map[string]string{"Accept": "text/html, */*;q=0.1"}, status: 200, want: `{"data":"1.2.0"}`},
		{
			name: "body of another type", do: "POST /pairing/v1/test/agent/devices", body: "hw_id=1", status: 415,
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, want: detailBody("Unsupported media type"),
		},
		{name: "no JSON", do: "POST /pairing/v1/test/agent/devices", body: `{"data":`, status: 400, want: detailBody("Bad request")},
		{name: "no object", do: "POST /pairing/v1/test/agent/devices", body: `[1]`, status: 400, want: detailBody("Bad request")},
		{name: "no data", do: "POST /pairing/v1/test/agent/devices", body: `{"Data":{}}`, status: 400, want: detailBody("Bad request")},
		{name: "data is no object", do: "POST /pairing/v1/test/agent/devices", body: `{"data":"x"}`, status: 400, want: detailBody("Bad request")},
		{name: "no text", do: "POST /pairing/v1/test/agent/devices", body: "{\"data\":{\"hw_id\":\"\xff\"}}", status: 400, want: detailBody("Bad request")},
		{name: "no body", do: "POST /pairing/v1/test/agent/devices", status: 400, want: detailBody("Bad request")},
		{
			name: "too large", do: "POST /pairing/v1/test/agent/devices", status: 413,
			body: `{"data":{"hw_id":"` + strings.Repeat("A", maxBodyBytes) + `"}}`, want: detailBody("Request entity too large"),
		},
		{
			name: "preflight", do: "OPTIONS /appengine/v1/test/devices", auth: "-", status: 204,
			header: map[string]string{"Origin": "https://dash.example.com", "Access-Control-Request-Headers": "authorization"},
			check: func(s *site, h http.Header) {
				if h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "PATCH") ||
					!strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "authorization") {
					s.Errorf("preflight: got %v", h)
				}
			},
		},
		{
			name: "another origin", do: devices, status: 200, want: `{"data":[],"links":{"self":"/v1/test/devices?limit=1000"}}`,
			check: func(s *site, h http.Header) {
				s.header(h, "Access-Control-Allow-Origin", "*")
			},
		},
	})
}

func TestServes(t *testing.T) {
	d := New(Config{})
	for path, serves := range map[string]bool{
		"/pairing/v1/test/x": true, "/pairing": true, "//pairing//v1": true, "/appengine/": true, "/realmmanagement/health": true,
		"/housekeeping/v1/realms": true, "/": false, "/v1/test": false, "/pairings/v1": false, "/%70airing/v1": false, "/x/pairing": false,
	} {
		r := httptest.NewRequest("GET", path, nil)
		if got := d.Serves(r); got != serves {
			t.Errorf("%s: got %v, want %v", path, got, serves)
		}
	}
}

// TestPanicIsAnswered: a mistake of ours must not leave the Python SDK without an answer.
func TestPanicIsAnswered(t *testing.T) {
	s := newSite(t)
	a := &api{d: s.d, routes: compileRoutes([]route{{pairing, get, "/health", accessOpen, func(*call) (reply, error) { panic("x") }}})}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/pairing/health", nil))
	if w.Code != 500 || w.Body.String() != detailBody("Internal server error") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// TestStopping: what cannot be stored any more is refused in the platform's form.
func TestStopping(t *testing.T) {
	s := newSite(t)
	s.d.cfg.Committer = commit.New(commit.Config{Store: s.store})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := s.d.cfg.Committer.Run(ctx); err != nil {
		t.Fatal(err)
	}
	s.run(t, []scenario{{
		name: "register", do: "POST /pairing/v1/test/agent/devices", body: `{"data":{"hw_id":"` + testID + `"}}`,
		status: 503, want: detailBody("Server is stopping, try again later"),
		check: func(s *site, h http.Header) {
			s.header(h, "Retry-After", "5")
		},
	}})
}

func FuzzRequest(f *testing.F) {
	for _, r := range routes {
		f.Add(r.method, "/"+r.service.prefix+strings.NewReplacer("{realm}", "test", "{device}", testID, "{interface}", "org.example.Temps",
			"{major}", "1", "{path...}", "room1/temp").Replace(r.pattern), `{"data":{}}`, true)
	}
	f.Add("POST", "/pairing/v1/test/agent/devices", `{"data":{"hw_id":"`+testID+`","initial_introspection":{"a.B":{"major":1,"minor":-1}}}}`, true)
	f.Add("PUT", "/appengine/v1/test/devices/"+testID+"/interfaces/org.example.Target/room1/target", `{"data":1.5}`, true)
	f.Add("GET", "/appengine/v1/test/devices/"+testID+"/interfaces/org.example.Temps/room1/temp?since=2026-01-01T00:00:00Z&limit=3&format=table", "", true)
	f.Add("GET", "/appengine/v1/test/devices?limit=-1&from_token=x", "", true)
	f.Add("POST", "/housekeeping/v1/realms", `{"data":{"realm_name":"a","replication_class":"NetworkTopologyStrategy"}}`, true)
	s := newSite(f, temps, target1, commands, position, flat, move, config)
	secret := s.secret(testID)
	token := "Bearer " + s.token()
	f.Fuzz(func(t *testing.T, method, target, body string, asUser bool) {
		r, err := http.NewRequest(method, "https://hub.example.com", strings.NewReader(body))
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		u, err := r.URL.Parse("https://hub.example.com" + target)
		if err != nil {
			return
		}
		r.URL, r.RemoteAddr = u, "10.0.0.9:1"
		auth := secret
		if asUser {
			auth = token
		}
		r.Header.Set("Authorization", auth)
		// A repeated "invalid" to the device is held back; nobody waits for that here.
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		w := httptest.NewRecorder()
		s.h.ServeHTTP(w, r.WithContext(ctx))
		stop()
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s %s: got 500 %s", method, target, w.Body)
		}
		if w.Code >= 400 && !strings.HasPrefix(w.Body.String(), `{"errors":{`) || w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s: got %d %s", method, target, w.Code, w.Body)
		}
	})
}
