// Package realm does what those do who run a realm of Astarte: it installs interfaces, registers devices and sends them something, with the realm's private key.
package realm

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// tokenLife is how long a token for one request is good.
const tokenLife = time.Minute

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// A Realm is a realm of a hub, with everything that it takes to run it; see [Open].
type Realm struct {
	Name       string
	PairingURL string
	baseURL    string
	key        crypto.Signer
	http       *http.Client
}

// Open returns the realm that the variables of "fairlead env astarte" point to, reached by client.
func Open(env map[string]string, client *http.Client) (*Realm, error) {
	key, err := identity.LoadKey(env["ASTARTE_REALM_PRIVATE_KEY"])
	if err != nil {
		return nil, fmt.Errorf("key of the realm: %w", err)
	}
	return &Realm{Name: env["ASTARTE_REALM"], PairingURL: env["ASTARTE_PAIRING_URL"], baseURL: env["ASTARTE_BASE_URL"], key: key, http: client}, nil
}

// Token returns a token that opens all APIs of the realm for some time.
func (r *Realm) Token(life time.Duration) (string, error) {
	now := time.Now()
	all := []string{".*::.*"}
	claims, err := json.Marshal(map[string]any{
		"iat": now.Unix(), "exp": now.Add(life).Unix(),
		astartewire.ClaimPairing: all, astartewire.ClaimRealmManagement: all, astartewire.ClaimAppEngine: all,
	})
	if err != nil {
		return "", err
	}
	return astartewire.SignToken(r.key, claims)
}

// A RefusalError is what one of the realm's APIs has answered instead of a success.
type RefusalError struct {
	Op     string
	Status int
	Body   string
}

func (e *RefusalError) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.Op, e.Status, e.Body)
}

// Install installs an interface, or, where it is installed already with a lower minor version, the newer one.
func (r *Realm) Install(ctx context.Context, definition []byte) (*astarte.Interface, error) {
	i, err := astarte.ParseInterface(definition)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"data": json.RawMessage(definition)}
	err = r.do(ctx, "install "+i.Name(), http.MethodPost, "/realmmanagement/v1/"+r.Name+"/interfaces", body)
	var refusal *RefusalError
	if !errors.As(err, &refusal) || refusal.Status != http.StatusConflict {
		return i, err
	}
	path := fmt.Sprintf("/realmmanagement/v1/%s/interfaces/%s/%d", r.Name, i.Name(), i.Major())
	var there struct {
		Data struct {
			Minor int `json:"version_minor"`
		} `json:"data"`
	}
	if err := r.call(ctx, "read "+i.Name(), http.MethodGet, path, nil, &there); err != nil {
		return i, err
	}
	if there.Data.Minor >= i.Minor() {
		return i, nil
	}
	return i, r.do(ctx, "update "+i.Name(), http.MethodPut, path, body)
}

// Register registers a device and returns its credentials secret. One that has been there before, certificate and all, is registered anew: what it had opens nothing any more.
func (r *Realm) Register(ctx context.Context, deviceID string) (identity.Secret, error) {
	pairing := &astarte.Pairing{URL: r.PairingURL, Realm: r.Name, HTTP: r.http}
	secret, err := pairing.RegisterWithKey(ctx, deviceID, r.key)
	if !errors.Is(err, astarte.ErrAlreadyRegistered) {
		return secret, err
	}
	token, err := astarte.RegistrationToken(r.key, tokenLife)
	if err != nil {
		return identity.Secret{}, err
	}
	if err := pairing.Unregister(ctx, deviceID, token.Value); err != nil {
		return identity.Secret{}, err
	}
	return pairing.RegisterWithKey(ctx, deviceID, r.key)
}

// Send sets a property of a device, or sends it a value, on an interface that the server owns; the value is JSON.
func (r *Realm) Send(ctx context.Context, deviceID, name, path string, value json.RawMessage) error {
	return r.do(ctx, "send to "+deviceID, http.MethodPost, "/appengine/v1/"+r.Name+"/devices/"+deviceID+"/interfaces/"+name+path, map[string]any{"data": value})
}

func (r *Realm) do(ctx context.Context, op, method, path string, body any) error {
	return r.call(ctx, op, method, path, body, nil)
}

// call makes a request; into may be nil.
func (r *Realm) call(ctx context.Context, op, method, path string, body, into any) error {
	var in io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		in = bytes.NewReader(text)
	}
	token, err := r.Token(tokenLife)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.baseURL+path, in)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := r.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return &RefusalError{Op: op, Status: res.StatusCode, Body: string(bytes.TrimSpace(text))}
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}
