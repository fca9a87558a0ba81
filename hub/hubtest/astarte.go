package hubtest

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Astarte is a realm of the hub, with the means of those who run one: installing interfaces, registering devices, reading what they have sent, and sending them
// something.
type Astarte struct {
	Name       string // of the realm
	PairingURL string // for devices
	BaseURL    string // below it are /appengine, /realmmanagement, ...
	KeyFile    string // the realm's private key

	hub *Hub
}

// Astarte returns the realm for development.
func (h *Hub) Astarte(tb testing.TB) *Astarte {
	tb.Helper()
	env := h.Env(tb, "astarte")
	return &Astarte{Name: env["ASTARTE_REALM"], PairingURL: env["ASTARTE_PAIRING_URL"], BaseURL: env["ASTARTE_BASE_URL"], KeyFile: env["ASTARTE_REALM_PRIVATE_KEY"], hub: h}
}

// An Answer is what one of the realm's APIs has answered.
type Answer struct {
	Status int
	Data   json.RawMessage // the "data" of a success
	Body   []byte
}

// Decode reads the data into a variable.
func (a Answer) Decode(tb testing.TB, into any) {
	tb.Helper()
	if err := json.Unmarshal(a.Data, into); err != nil {
		tb.Fatalf("hubtest: status %d, %s: %v", a.Status, a.Body, err)
	}
}

// Token returns a token that opens all APIs of the realm.
func (a *Astarte) Token(tb testing.TB) identity.Secret {
	tb.Helper()
	text, err := os.ReadFile(a.KeyFile)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		tb.Fatalf("hubtest: %s: no PEM", a.KeyFile)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		tb.Fatalf("hubtest: %s: %v", a.KeyFile, err)
	}
	claims, err := json.Marshal(map[string]any{
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		astartewire.ClaimPairing: []string{".*::.*"}, astartewire.ClaimRealmManagement: []string{".*::.*"}, astartewire.ClaimAppEngine: []string{".*::.*"},
	})
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	token, err := astartewire.SignToken(key, claims)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	return identity.NewSecret(token)
}

// Do calls one of the realm's APIs: "appengine", "realmmanagement" or "pairing", with a path behind the realm's name, such as "devices/..." for AppEngine, and
// data that is sent as {"data": ...}, nil for none. Any status is an answer.
func (a *Astarte) Do(tb testing.TB, api, method, path string, data any) Answer {
	tb.Helper()
	var body io.Reader = http.NoBody
	if data != nil {
		b, err := json.Marshal(map[string]any{"data": data})
		if err != nil {
			tb.Fatalf("hubtest: %v", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(tb.Context(), method, a.BaseURL+"/"+api+"/v1/"+a.Name+"/"+strings.TrimPrefix(path, "/"), body)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token(tb).Reveal())
	req.Header.Set("Content-Type", "application/json")
	// Through a client of its own, so that the test may take the device's network away.
	res, err := a.hub.staff.Do(req)
	if err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	defer res.Body.Close()
	answer := Answer{Status: res.StatusCode}
	if answer.Body, err = io.ReadAll(res.Body); err != nil {
		tb.Fatalf("hubtest: %v", err)
	}
	var whole struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(answer.Body, &whole) == nil {
		answer.Data = whole.Data
	}
	return answer
}

// want fails the test unless the status is one of the successes.
func (a *Astarte) want(tb testing.TB, api, method, path string, data any) Answer {
	tb.Helper()
	answer := a.Do(tb, api, method, path, data)
	if answer.Status < 200 || answer.Status > 299 {
		tb.Fatalf("hubtest: %s %s: status %d: %s", method, path, answer.Status, answer.Body)
	}
	return answer
}

// Install installs interfaces by their definitions in JSON.
func (a *Astarte) Install(tb testing.TB, definitions ...string) {
	tb.Helper()
	for _, d := range definitions {
		a.want(tb, "realmmanagement", http.MethodPost, "interfaces", json.RawMessage(d))
	}
}

// Register registers a device and returns its credentials secret.
func (a *Astarte) Register(tb testing.TB, deviceID string) identity.Secret {
	tb.Helper()
	var data struct {
		Secret string `json:"credentials_secret"`
	}
	a.want(tb, "pairing", http.MethodPost, "agent/devices", map[string]string{"hw_id": deviceID}).Decode(tb, &data)
	return identity.NewSecret(data.Secret)
}

// Get reads from AppEngine what is at a path behind the realm's name.
func (a *Astarte) Get(tb testing.TB, path string) Answer {
	tb.Helper()
	return a.Do(tb, "appengine", http.MethodGet, path, nil)
}

// Values reads the values of one of a device's interfaces.
func (a *Astarte) Values(tb testing.TB, deviceID, name string) Answer {
	tb.Helper()
	return a.Get(tb, "devices/"+deviceID+"/interfaces/"+name)
}

// Send sets a property of a device, or sends it a value or an object, on an interface that the server owns.
func (a *Astarte) Send(tb testing.TB, deviceID, name, path string, value any) {
	tb.Helper()
	a.want(tb, "appengine", http.MethodPost, "devices/"+deviceID+"/interfaces/"+name+path, value)
}

// Unset unsets a property of a device on an interface that the server owns.
func (a *Astarte) Unset(tb testing.TB, deviceID, name, path string) {
	tb.Helper()
	a.want(tb, "appengine", http.MethodDelete, "devices/"+deviceID+"/interfaces/"+name+path, nil)
}

// Await asks AppEngine for a path until the answer is what the test waits for, and returns that.
func (a *Astarte) Await(tb testing.TB, path string, done func(Answer) bool) (answer Answer) {
	tb.Helper()
	await(tb, func() (bool, string) {
		answer = a.Get(tb, path)
		return done(answer), fmt.Sprintf("GET %s: still status %d: %s", path, answer.Status, answer.Body)
	})
	return answer
}
