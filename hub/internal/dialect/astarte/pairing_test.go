package astarte

import (
	"bufio"
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	agentDevices = "/pairing/v1/test/agent/devices"
	pairDevice   = "/pairing/v1/test/devices/" + testID
	credentials  = pairDevice + "/protocols/astarte_mqtt_v1/credentials"
)

func TestRegister(t *testing.T) {
	s := newSite(t)
	do := "POST " + agentDevices
	id := func(x string) string { return `{"data":{"hw_id":` + x + `}}` }
	in := func(x string) string { return `{"data":{"hw_id":"` + testID + `","initial_introspection":` + x + `}}` }
	const badID = `{"errors":{"hw_id":["is not a valid base64 encoded 128 bits id"]}}`
	s.run(t, []scenario{
		{name: "no id", do: do, body: `{"data":{}}`, status: 422, want: `{"errors":{"hw_id":["can't be blank"]}}`},
		{name: "null", do: do, body: id(`null`), status: 422, want: `{"errors":{"hw_id":["can't be blank"]}}`},
		{name: "blank", do: do, body: id(`" "`), status: 422, want: `{"errors":{"hw_id":["can't be blank"]}}`},
		{name: "no text", do: do, body: id(`7`), status: 422, want: `{"errors":{"hw_id":["is invalid"]}}`},
		{name: "too short", do: do, body: id(`"Vi3j3M8YVpOPyuzqk8sg"`), status: 422, want: badID},
		{name: "other alphabet", do: do, body: id(`"Vi3j3M8YVpOPyuzqk8s+/A"`), status: 422, want: badID},
		{name: "introspection is no object", do: do, body: in(`[]`), status: 422, want: `{"errors":{"initial_introspection":["is invalid"]}}`},
		{name: "introspection without minor", do: do, body: in(`{"a.B":{"major":1}}`), status: 422, want: `{"errors":{"initial_introspection":["has invalid format for interface a.B"]}}`},
		{name: "introspection of no interface", do: do, body: in(`{"a;B:1":{"major":1,"minor":0}}`), status: 422, want: `{"errors":{"initial_introspection":["has invalid format for interface a;B:1"]}}`},
		{name: "introspection with fraction", do: do, body: in(`{"a.B":{"major":1.5,"minor":0}}`), status: 422, want: `{"errors":{"initial_introspection":["has invalid format for interface a.B"]}}`},
		{name: "negative", do: do, body: in(`{"a.B":{"major":1,"minor":-1}}`), status: 422, want: `{"errors":{"initial_introspection":["has negative versions in interface a.B"]}}`},
		{name: "nothing was registered", do: "GET /appengine/v1/test/stats/devices", status: 200, want: `{"data":{"total_devices":0,"connected_devices":0}}`},
		{name: "registered", do: do, body: in(`{"a.B":{"major":1,"minor":2}}`), status: 201, want: `~{"data":{"credentials_secret":"`},
		{name: "shown with its introspection", do: "GET /appengine/v1/test/devices/" + testID + "/interfaces", status: 200, want: `{"data":["a.B"]}`},
		{name: "padded, the same device", do: do, body: id(`"` + testID + `=="`), status: 201, want: `~credentials_secret`},
		{name: "introspection is reset", do: "GET /appengine/v1/test/devices/" + testID + "/interfaces", status: 200, want: `{"data":[]}`},
		{name: "longer, of which 128 bits count", do: do, body: id(`"` + testID + `AAAAAA"`), status: 201, want: `~credentials_secret`},
		{name: "one device", do: "GET /appengine/v1/test/stats/devices", status: 200, want: `{"data":{"total_devices":1,"connected_devices":0}}`},
	})
}

// TestRegisterAgain follows one device: the secret can be had again until the first certificate, then not before it is
// unregistered.
func TestRegisterAgain(t *testing.T) {
	s := newSite(t)
	first, second := s.secret(testID), s.secret(testID)
	body := `{"data":{"hw_id":"` + testID + `"}}`
	request := csr(t, s.key, "whatever")
	s.run(t, []scenario{
		{name: "the first secret is gone", do: "GET " + pairDevice, auth: first, status: 403, want: detailBody("Forbidden")},
		{name: "pending", do: "GET " + pairDevice, auth: second, status: 200, want: infoBody("pending")},
		{name: "certificate", do: "POST " + credentials, auth: second, body: request, status: 201, want: "~BEGIN CERTIFICATE"},
		{name: "confirmed", do: "GET " + pairDevice, auth: second, status: 200, want: infoBody("confirmed")},
		{name: "taken", do: "POST " + agentDevices, body: body, status: 422, want: detailBody("Device already registered")},
		{name: "unregistered", do: "DELETE " + agentDevices + "/" + testID, status: 204},
		{name: "unregistered again", do: "DELETE " + agentDevices + "/" + testID, status: 204},
		{name: "the secret is gone", do: "GET " + pairDevice, auth: second, status: 403, want: detailBody("Forbidden")},
		{name: "registered anew", do: "POST " + agentDevices, body: body, status: 201, want: "~credentials_secret"},
		{name: "unregister an unknown one", do: "DELETE " + agentDevices + "/AAAAAAAAAAAAAAAAAAAAAA", status: 404, want: detailBody("Device not found")},
		{name: "unregister nonsense", do: "DELETE " + agentDevices + "/x", status: 400, want: detailBody("Bad request")},
		{name: "unregister an extended id", do: "DELETE " + agentDevices + "/" + testID + "AAAAAA", status: 400, want: detailBody("Bad request")},
	})
}

func infoBody(status string) string {
	return `{"data":{"version":"1.2.0","status":"` + status + `","protocols":{"astarte_mqtt_v1":{"broker_url":"mqtts://hub.example.com:8883/"}}}}`
}

func TestRegistrationLimit(t *testing.T) {
	s := newSite(t)
	s.secret(testID)
	s.must("PATCH /housekeeping/v1/realms/test", `{"data":{"device_registration_limit":1}}`)
	s.run(t, []scenario{
		{name: "known", do: "POST " + agentDevices, body: `{"data":{"hw_id":"` + testID + `"}}`, status: 201, want: "~credentials_secret"},
		{name: "one too many", do: "POST " + agentDevices, body: `{"data":{"hw_id":"AAAAAAAAAAAAAAAAAAAAAA"}}`, status: 422, want: detailBody("Device registration limit reached")},
	})
}

func TestDeviceAuthentication(t *testing.T) {
	s := newSite(t)
	secret := s.secret(testID)
	do := "GET " + pairDevice
	s.run(t, []scenario{
		{name: "no header", do: do, auth: "-", status: 401, want: detailBody("Unauthorized")},
		{name: "another scheme", do: do, auth: "Basic x", status: 401, want: detailBody("Unauthorized")},
		{name: "wrong", do: do, auth: "Bearer " + strings.Repeat("A", 43) + "=", status: 403, want: detailBody("Forbidden")},
		{name: "a token is no secret", do: do, status: 403, want: detailBody("Forbidden")},
		{name: "unknown device", do: "GET /pairing/v1/test/devices/AAAAAAAAAAAAAAAAAAAAAA", auth: secret, status: 404, want: detailBody("Device not found")},
		{name: "no device id", do: "GET /pairing/v1/test/devices/x", auth: secret, status: 400, want: detailBody("Bad request")},
		{name: "bearer with colon", do: do, auth: "bearer:" + strings.TrimPrefix(secret, "Bearer"), status: 200, want: infoBody("pending")},
		{name: "extended id", do: "GET /pairing/v1/test/devices/" + testID + "AAAAAA", auth: secret, status: 200, want: infoBody("pending")},
	})
}

func TestCredentials(t *testing.T) {
	s := newSite(t)
	secret := s.secret(testID)
	do := "POST " + credentials
	request := csr(t, s.key, "evil/AAAAAAAAAAAAAAAAAAAAAA")
	s.run(t, []scenario{
		{name: "blank", do: do, auth: secret, body: `{"data":{"csr":""}}`, status: 422, want: `{"errors":{"csr":["can't be blank"]}}`},
		{name: "no PEM", do: do, auth: secret, body: `{"data":{"csr":"x"}}`, status: 422, want: `{"errors":{"csr":["is not a valid PEM CSR"]}}`},
		{name: "two", do: do, auth: secret, body: strings.Replace(request, `"}`, strings.Split(request, `"`)[5]+`"}`, 1), status: 422, want: `{"errors":{"csr":["is not a valid PEM CSR"]}}`},
		{name: "a key that is too weak", do: do, auth: secret, body: csr(t, ecKey(t, elliptic.P224()), "x"), status: 422, want: `{"errors":{"csr":["is not a valid PEM CSR"]}}`},
		{name: "good", do: do, auth: secret, body: request, status: 201, want: "~BEGIN CERTIFICATE"},
	})
	s.now = s.now.Add(time.Hour)
	crt := s.certificate(secret)
	if crt.Subject.CommonName != "test/"+testID {
		t.Errorf("common name: got %q", crt.Subject.CommonName)
	}
	s.view(func(rd store.Reader) error {
		dev, err := rd.Device(deviceKey("test", testID))
		if err != nil {
			return err
		}
		all, err := rd.Certificates(dev.Num)
		if len(all) != 2 || all[0].State != core.CertificateSuperseded || all[1].State != core.CertificateActive {
			t.Errorf("certificates: got %+v, want one superseded and one active", all)
		}
		e, _ := rd.Enrolment(dev.Num)
		if !e.FirstCredentials.Equal(s.now.Add(-time.Hour)) || e.LastCredentialsAddr != "10.0.0.9" {
			t.Errorf("enrolment: got %+v", e)
		}
		return err
	})
	s.inhibit(true)
	s.run(t, []scenario{
		{name: "inhibited", do: do, auth: secret, body: request, status: 403, want: detailBody("Forbidden")},
		{name: "inhibited is shown", do: "GET " + pairDevice, auth: secret, status: 200, want: infoBody("inhibited")},
	})
}

// inhibit forbids the device certificates, or allows them.
func (s *site) inhibit(on bool) {
	s.Helper()
	s.do(func(tx *commit.Tx) error {
		dev, err := tx.Device(deviceKey("test", testID))
		if err != nil {
			return err
		}
		return registry.SetInhibited(tx, dev.Num, on)
	})
}

// certificate has a certificate signed for the device.
func (s *site) certificate(secret string) *x509.Certificate {
	s.Helper()
	status, _, body := s.ask(scenario{do: "POST " + credentials, auth: secret, body: csr(s, s.key, "x")})
	var got struct{ Data map[string]string }
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 201 {
		s.Fatalf("got %d %s", status, body)
	}
	block, rest := pem.Decode([]byte(got.Data["client_crt"]))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		s.Fatalf("got %s, want exactly one PEM block", body)
	}
	crt, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.Fatal(err)
	}
	return crt
}

func crtBody(tb testing.TB, crt *x509.Certificate) string {
	return dataBody(tb, map[string]string{"client_crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: crt.Raw}))})
}

func TestVerify(t *testing.T) {
	s := newSite(t)
	secret := s.secret(testID)
	crt := s.certificate(secret)
	s.certificate(secret) // supersedes it
	s.secret("AAAAAAAAAAAAAAAAAAAAAA")
	foreign, _ := s.sign("test/" + testID) // by our CA, but not on record
	stranger := newRig(t)
	unknown, _ := stranger.sign("test/" + testID)
	forged := *crt
	forged.Raw = bytes.Clone(crt.Raw)
	forged.Raw[len(forged.Raw)-5] ^= 1 // within the signature
	server, err := s.ca.ServerCertificate([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	do := "POST " + credentials + "/verify"
	until := crt.NotAfter.UTC().Format("2006-01-02 15:04:05.000Z")
	bad := func(cause string) string {
		return `{"data":{"valid":false,"timestamp":"2026-05-06 07:08:09.000Z","cause":"` + cause + `","details":null}}`
	}
	release := func(s *site) { clear(s.d.http.api.held.last) } // else the next "invalid" would wait
	all := []scenario{
		{name: "superseded is valid", body: crtBody(t, crt), status: 200, want: `{"data":{"valid":true,"timestamp":"2026-05-06 07:08:09.000Z","until":"` + until + `"}}`},
		{name: "blank", body: `{"data":{}}`, status: 422, want: `{"errors":{"client_crt":["can't be blank"]}}`},
		{name: "no PEM", body: `{"data":{"client_crt":"x"}}`, status: 200, want: bad("INVALID")},
		{name: "not on record", body: crtBody(t, foreign), status: 200, want: bad("INVALID")},
		{name: "another CA", body: crtBody(t, unknown), status: 200, want: bad("INVALID_ISSUER")},
		{name: "forged", body: crtBody(t, &forged), status: 200, want: bad("INVALID_SIGNATURE")},
		{name: "of a server", body: crtBody(t, server.Leaf), status: 200, want: bad("INVALID_KEY_USAGE")},
		{name: "revoked", given: func(s *site) {
			release(s)
			s.do(func(tx *commit.Tx) error { return registry.Revoke(tx, crt.SerialNumber.Text(16)) })
		}, body: crtBody(t, crt), status: 200, want: bad("REVOKED")},
	}
	for i := range all {
		all[i].do, all[i].auth = do, secret
		if all[i].given == nil {
			all[i].given = release
		}
	}
	s.run(t, all)
}

// TestVerifyAgreesWithSignIn: what Pairing calls valid opens the broker, and nothing else does.
func TestVerifyAgreesWithSignIn(t *testing.T) {
	s := newSite(t)
	secret := s.secret(testID)
	first, second := s.certificate(secret), s.certificate(secret)
	stray, _ := s.sign("test/" + testID)
	s.do(func(tx *commit.Tx) error { return registry.Revoke(tx, second.SerialNumber.Text(16)) })
	for name, crt := range map[string]*x509.Certificate{"superseded": first, "revoked": second, "not on record": stray} {
		clear(s.d.http.api.held.last)
		_, _, body := s.ask(scenario{do: "POST " + credentials + "/verify", auth: secret, body: crtBody(t, crt)})
		_, _, err := s.d.SignIn(t.Context(), core.Claim{Certificate: crt})
		if valid := strings.Contains(body, `"valid":true`); valid != (err == nil) {
			t.Errorf("%s: verify says %s, sign-in %v", name, body, err)
		}
	}
}

func TestHoldback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h holdback
		took := func(ctx context.Context, n core.DeviceNum) (time.Duration, error) {
			start := time.Now()
			err := h.wait(ctx, n)
			return time.Since(start), err
		}
		check := func(what string, n core.DeviceNum, want time.Duration) {
			t.Helper()
			if got, err := took(t.Context(), n); got != want || err != nil {
				t.Errorf("%s: got %v %v, want %v", what, got, err, want)
			}
		}
		check("first", 1, 0)
		check("second", 1, holdFor)
		check("third", 1, holdFor)
		check("another device", 2, 0)
		time.Sleep(holdFor / 2) // of the bubble's clock
		check("a little later", 1, holdFor/2)
		time.Sleep(holdFor)
		check("much later", 1, 0)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := took(ctx, 1); got != time.Second || err == nil {
			t.Errorf("client gone: got %v %v, want 1s and an error", got, err)
		}
		if h.waiting != 0 {
			t.Errorf("waiting: got %d, want 0", h.waiting)
		}
		h.waiting = maxHeld
		check("too many wait", 1, 0)
		for n := range core.DeviceNum(3 * maxHoldNames) {
			h.enter(n, time.Now())
		}
		if len(h.last) > maxHoldNames {
			t.Errorf("devices remembered: got %d, want at most %d", len(h.last), maxHoldNames)
		}
	})
}

// TestFullDisk: a device can still ask where the broker is and whether its certificate is good, for the Python SDK never
// comes back from any other answer; what would have to be written is refused in the platform's form.
func TestFullDisk(t *testing.T) {
	s := newSite(t)
	secret := s.secret(testID)
	crt := s.certificate(secret)
	s.d.cfg.Committer = brokenCommitter(t, s)
	s.run(t, []scenario{
		{name: "info", do: "GET " + pairDevice, auth: secret, status: 200, want: infoBody("confirmed")},
		{name: "verify", do: "POST " + credentials + "/verify", auth: secret, body: crtBody(t, crt), status: 200, want: `~"valid":true`},
		{
			name: "register", do: "POST " + agentDevices, body: `{"data":{"hw_id":"AAAAAAAAAAAAAAAAAAAAAA"}}`, status: 503,
			want: detailBody("Storage unavailable, try again later"), check: func(s *site, h http.Header) { s.header(h, "Retry-After", "5") },
		},
		{name: "credentials", do: "POST " + credentials, auth: secret, body: csr(t, s.key, "x"), status: 503, want: detailBody("Storage unavailable, try again later")},
		{name: "unregister", do: "DELETE " + agentDevices + "/" + testID, status: 503, want: detailBody("Storage unavailable, try again later")},
		{name: "install", do: "POST /realmmanagement/v1/test/interfaces", body: `{"data":` + temps + `}`, status: 503, want: detailBody("Storage unavailable, try again later")},
		{name: "read", do: "GET /appengine/v1/test/stats/devices", status: 200, want: `{"data":{"total_devices":1,"connected_devices":0}}`},
	})
}

// fullStore is a store whose disk accepts nothing more.
type fullStore struct{ store.Store }

func (fullStore) Update(func(store.Tx) error) error { return core.ErrStorage }

func brokenCommitter(t *testing.T, s *site) *commit.Committer {
	t.Helper()
	c := commit.New(commit.Config{Store: fullStore{s.store}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return c
}

// A vector is one observation of testdata/vectors/astarte.
type vector struct {
	Name, What, Direction, Text string
	Decoded                     struct {
		Status int `json:"reply_status"`
		Raised string
		Str    string
	}
}

func vectors(t *testing.T, file string) []vector {
	t.Helper()
	b, err := os.ReadFile("../../../../testdata/vectors/astarte/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestObservedRequests feeds what the official SDK was seen to send, byte for byte except for the token, to the handler.
func TestObservedRequests(t *testing.T) {
	s := newSite(t)
	secret := strings.TrimPrefix(s.secret(testID), "Bearer ")
	agent := mint(t, jwt.SigningMethodES256, s.key, jwt.MapClaims{"a_pa": []string{".*::.*"}})
	for _, v := range vectors(t, "pairing_http.json") {
		if v.Text == "" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			text := strings.NewReplacer("TOKEN.OF.AGENT", agent, "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAxMjM=", secret).Replace(v.Text)
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			s.h.ServeHTTP(w, r)
			body, err := io.ReadAll(w.Result().Body)
			if err != nil {
				t.Fatal(err)
			}
			status := v.Decoded.Status
			if status == 0 {
				status = http.StatusCreated // of the one vector without: credentials
			}
			if w.Code != status {
				t.Errorf("got %d %s, want %d", w.Code, body, status)
			}
			if strings.HasPrefix(v.Name, "register") { // it changed the secret
				var got struct{ Data map[string]string }
				if err := json.Unmarshal(body, &got); err != nil {
					t.Fatal(err)
				}
				secret = got.Data["credentials_secret"]
			}
		})
	}
}

// TestObservedReactions checks that the statuses of our refusals are those that the SDK turns into the exceptions which
// its documentation promises.
func TestObservedReactions(t *testing.T) {
	raised := map[string]string{}
	for _, v := range vectors(t, "pairing_errors.json") {
		raised[v.Name] = v.Decoded.Raised
	}
	s := newSite(t)
	secret := s.secret(testID)
	s.certificate(secret)
	for _, c := range []struct {
		scenario
		vector, exception string
	}{
		{scenario{do: "POST " + agentDevices, body: `{"data":{"hw_id":"` + testID + `"}}`}, "register_422_json", "DeviceAlreadyRegisteredError"},
		{scenario{do: "POST " + agentDevices, auth: "-", body: `{}`}, "register_401_json", "AuthorizationError"},
		{scenario{do: "POST /pairing/v1/nowhere/agent/devices", body: `{}`}, "register_403_json", "AuthorizationError"},
		{scenario{do: "POST " + credentials, auth: "-"}, "credentials_401_json", "AuthorizationError"},
		{scenario{do: "POST " + credentials, auth: "Bearer x"}, "credentials_403_json", "AuthorizationError"},
		{scenario{do: "GET /pairing/v1/test/devices/AAAAAAAAAAAAAAAAAAAAAA", auth: "Bearer x"}, "info_404_json", "APIError"},
		{scenario{do: "POST " + credentials + "/verify", auth: "Bearer x"}, "verify_403", "AuthorizationError"},
	} {
		status, _, body := s.ask(c.scenario)
		if !strings.Contains(c.vector, strconv.Itoa(status)) {
			t.Errorf("%s: got %d %s", c.vector, status, body)
		}
		if !strings.HasSuffix(raised[c.vector], "."+c.exception) {
			t.Errorf("%s: the SDK raised %s, want %s", c.vector, raised[c.vector], c.exception)
		}
	}
}
