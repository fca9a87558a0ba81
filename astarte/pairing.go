package astarte

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

// Pairing is a client of Astarte's Pairing API: it registers devices, and gets certificates and the broker's address for them. A [Device]
// uses one by itself; use it directly to register devices. URL and Realm are required; every other field works at zero. Its methods may
// be called from any goroutine.
//
// What Astarte refuses is a [fairlead.PlatformError] whose Code is the HTTP status. Answers that cannot be understood are one, too.
type Pairing struct {
	// URL is where the Pairing API is, such as "https://api.astarte.example/pairing".
	URL string
	// Realm is the realm's name.
	Realm string
	// HTTP makes the requests. nil: one that trusts the system's authorities. To trust others, or to go through a proxy, give one with
	// its own transport.
	HTTP *http.Client
	// Timeout bounds each request. 0: 30 seconds, as in the official SDK.
	Timeout time.Duration
}

// Transport is how a device reaches its realm's broker.
type Transport struct {
	Version   string // Astarte's
	Status    string // the device's: "pending" before its first certificate, "confirmed", or "inhibited"
	BrokerURL string // "mqtts://broker.astarte.example:8883/"

	Host string // of BrokerURL
	Port int    // of BrokerURL
}

// Verdict is what Astarte says about a certificate.
type Verdict struct {
	Valid bool
	Until time.Time // the certificate's end; the zero time if it is not valid
	Cause string    // why it is not valid, the platform's word: "EXPIRED", "INVALID_ISSUER", ...
}

// Register registers a device with a token that allows it, and returns the device's credentials secret, which opens the rest of this API
// to it. It can be repeated until the device has its first certificate, and returns another secret each time; after that the error wraps
// [ErrAlreadyRegistered].
func (p *Pairing) Register(ctx context.Context, deviceID string, token identity.Secret) (identity.Secret, error) {
	return p.RegisterWith(ctx, deviceID, token, nil)
}

// RegisterWith is Register for a device whose interfaces are to be known before it connects.
func (p *Pairing) RegisterWith(ctx context.Context, deviceID string, token identity.Secret, in Introspection) (identity.Secret, error) {
	data := map[string]any{"hw_id": deviceID}
	if len(in) > 0 {
		initial := map[string]any{}
		for name, i := range in {
			initial[name] = map[string]int{"major": i.Major(), "minor": i.Minor()}
		}
		data["initial_introspection"] = initial
	}
	var answer struct {
		Secret string `json:"credentials_secret"`
	}
	r := request{op: "register " + strconv.Quote(deviceID), method: http.MethodPost, path: "/agent/devices", token: token, body: data, want: http.StatusCreated}
	if err := p.do(ctx, r, &answer); err != nil {
		return identity.Secret{}, err
	}
	if answer.Secret == "" {
		return identity.Secret{}, r.odd("there is no credentials_secret")
	}
	return identity.NewSecret(answer.Secret), nil
}

// RegisterWithKey registers a device with the realm's private key, see [RegistrationToken] and [identity.LoadKey].
func (p *Pairing) RegisterWithKey(ctx context.Context, deviceID string, realmKey crypto.Signer) (identity.Secret, error) {
	t, err := RegistrationToken(realmKey, agentTokenLife)
	if err != nil {
		return identity.Secret{}, fmt.Errorf("register %q: %w", deviceID, err)
	}
	return p.Register(ctx, deviceID, t.Value)
}

// RegisterWithKeyFile is RegisterWithKey with a key in a file in PEM. The error wraps [ErrToken] if the file is not there or holds no
// usable key.
func (p *Pairing) RegisterWithKeyFile(ctx context.Context, deviceID, file string) (identity.Secret, error) {
	key, err := identity.LoadKey(file)
	if err != nil {
		return identity.Secret{}, fmt.Errorf("register %q: %w: %w", deviceID, ErrToken, err)
	}
	return p.RegisterWithKey(ctx, deviceID, key)
}

// Unregister makes Astarte forget a device's credentials secret, so that it can be registered anew. Its data stays. A connection, and the
// certificate, go on working until they end.
func (p *Pairing) Unregister(ctx context.Context, deviceID string, token identity.Secret) error {
	return p.do(ctx, request{
		op: "unregister " + strconv.Quote(deviceID), method: http.MethodDelete, path: "/agent/devices/" + url.PathEscape(deviceID), token: token, want: http.StatusNoContent,
	}, nil)
}

// Transport asks how a device reaches the broker.
func (p *Pairing) Transport(ctx context.Context, deviceID string, secret identity.Secret) (Transport, error) {
	var answer struct {
		Version   string `json:"version"`
		Status    string `json:"status"`
		Protocols struct {
			V1 struct {
				BrokerURL string `json:"broker_url"`
			} `json:"astarte_mqtt_v1"`
		} `json:"protocols"`
	}
	r := request{op: "transport information of " + strconv.Quote(deviceID), method: http.MethodGet, path: devicePath(deviceID), token: secret, want: http.StatusOK}
	if err := p.do(ctx, r, &answer); err != nil {
		return Transport{}, err
	}
	t := Transport{Version: answer.Version, Status: answer.Status, BrokerURL: answer.Protocols.V1.BrokerURL}
	u, err := url.Parse(t.BrokerURL)
	if err == nil {
		t.Host = u.Hostname()
		t.Port, err = strconv.Atoi(u.Port())
	}
	if err != nil || t.Host == "" || t.Port < 1 || t.Port > 65535 {
		return Transport{}, r.odd(fmt.Sprintf("broker_url is %.200q, want host and port", t.BrokerURL))
	}
	return t, nil
}

// Certificate has a certificate issued for a certificate signing request in PEM, see [CSR].
func (p *Pairing) Certificate(ctx context.Context, deviceID string, secret identity.Secret, csr []byte) ([]*x509.Certificate, error) {
	var answer struct {
		Certificate string `json:"client_crt"`
	}
	r := request{
		op: "certificate for " + strconv.Quote(deviceID), method: http.MethodPost, path: devicePath(deviceID) + "/protocols/astarte_mqtt_v1/credentials", token: secret,
		body: map[string]string{"csr": string(csr)}, want: http.StatusCreated,
	}
	if err := p.do(ctx, r, &answer); err != nil {
		return nil, err
	}
	chain, err := identity.ParseChain([]byte(answer.Certificate))
	if err != nil {
		return nil, r.odd("client_crt: " + err.Error())
	}
	// The broker knows a device by this name. Another one would be refused there, for a reason that nobody would guess.
	if got, want := chain[0].Subject.CommonName, p.Realm+"/"+deviceID; got != want {
		return nil, r.odd(fmt.Sprintf("the certificate is for %.200q, want %q", got, want))
	}
	return chain, nil
}

// Verify asks Astarte whether it would accept a certificate.
func (p *Pairing) Verify(ctx context.Context, deviceID string, secret identity.Secret, chain []*x509.Certificate) (Verdict, error) {
	var answer struct {
		Valid *bool  `json:"valid"`
		Until string `json:"until"`
		Cause string `json:"cause"`
	}
	if len(chain) == 0 {
		return Verdict{}, fmt.Errorf("verify certificate of %q: %w: there is none", deviceID, fairlead.ErrInvalid)
	}
	r := request{
		op: "verify certificate of " + strconv.Quote(deviceID), method: http.MethodPost, path: devicePath(deviceID) + "/protocols/astarte_mqtt_v1/credentials/verify",
		token: secret, body: map[string]string{"client_crt": string(identity.EncodeChain(chain[:1]))}, want: http.StatusOK,
	}
	if err := p.do(ctx, r, &answer); err != nil {
		return Verdict{}, err
	}
	if answer.Valid == nil {
		return Verdict{}, r.odd(`"valid" is missing`)
	}
	// Astarte puts a space between date and time. A time that cannot be read is no reason to doubt the verdict.
	until, _ := time.Parse(time.RFC3339, strings.Replace(answer.Until, " ", "T", 1))
	return Verdict{Valid: *answer.Valid, Until: until, Cause: answer.Cause}, nil
}

func devicePath(deviceID string) string { return "/devices/" + url.PathEscape(deviceID) }

// A request is one call of the API.
type request struct {
	op, method, path string
	token            identity.Secret
	body             any // the "data"
	want             int // the only status that is a success
}

// odd is the error for an answer that is no refusal and makes no sense either. The same question may get a better answer
// later: behind load balancers such things pass.
func (r *request) odd(problem string) error {
	return &fairlead.PlatformError{Op: r.op, Detail: problem, Kind: fairlead.ErrUnavailable}
}

// maxAnswerBytes is more than any answer has.
const maxAnswerBytes = 1 << 20

func (p *Pairing) do(ctx context.Context, r request, answer any) error {
	if p.URL == "" || !ValidRealm(p.Realm) {
		return fmt.Errorf("%s: %w: URL is %q and realm %q", r.op, fairlead.ErrInvalid, p.URL, p.Realm)
	}
	timeout := p.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body io.Reader = http.NoBody
	if r.body != nil {
		b, err := json.Marshal(map[string]any{"data": r.body})
		if err != nil {
			return fmt.Errorf("%s: %w", r.op, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, strings.TrimRight(p.URL, "/")+"/v1/"+p.Realm+r.path, body)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.op, fairlead.ErrInvalid, err)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+r.token.Reveal())
	client := p.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.op, fairlead.ErrUnavailable, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err != nil {
		return fmt.Errorf("%s: %w: %w", r.op, fairlead.ErrUnavailable, err)
	}
	if len(b) > maxAnswerBytes {
		return r.odd(fmt.Sprintf("the answer has more than %d bytes", maxAnswerBytes))
	}
	if res.StatusCode != r.want {
		return r.refusal(res, b)
	}
	if answer == nil {
		return nil
	}
	var whole struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &whole); err != nil || len(whole.Data) == 0 {
		return r.odd(`the answer is no JSON object with "data"`)
	}
	if err := json.Unmarshal(whole.Data, answer); err != nil {
		return r.odd("the answer cannot be read: " + err.Error())
	}
	return nil
}

// kinds is the one place where an HTTP status becomes a kind.
var kinds = map[int]error{
	http.StatusBadRequest:            fairlead.ErrInvalid,
	http.StatusUnauthorized:          fairlead.ErrUnauthenticated,
	http.StatusForbidden:             fairlead.ErrDenied,
	http.StatusNotFound:              fairlead.ErrNotFound,
	http.StatusConflict:              fairlead.ErrConflict,
	http.StatusRequestEntityTooLarge: fairlead.ErrTooLarge,
	http.StatusUnprocessableEntity:   fairlead.ErrInvalid,
	http.StatusTooManyRequests:       fairlead.ErrThrottled,
}

// alreadyRegistered is what Astarte says; the official SDK takes any 422 for it, which hides mistakes.
const alreadyRegistered = "already registered"

func (r *request) refusal(res *http.Response, body []byte) error {
	e := &fairlead.PlatformError{Op: r.op, Code: strconv.Itoa(res.StatusCode), Detail: detail(body), Kind: kinds[res.StatusCode]}
	if e.Kind == nil && (res.StatusCode >= 500 || res.StatusCode == http.StatusRequestTimeout) {
		e.Kind = fairlead.ErrUnavailable
	}
	if res.StatusCode == http.StatusUnprocessableEntity && strings.Contains(strings.ToLower(e.Detail), alreadyRegistered) {
		e.Kind = ErrAlreadyRegistered
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(min(s, 86_400)) * time.Second
	}
	return e
}

// maxDetail bounds what of an answer gets into an error.
const maxDetail = 1000

// detail returns what Astarte says in its usual form, {"errors":{"detail":"..."}}, or what is within "errors", or the text.
func detail(body []byte) string {
	var e struct {
		Errors json.RawMessage `json:"errors"`
	}
	text := string(body)
	if json.Unmarshal(body, &e) == nil && len(e.Errors) > 0 {
		text = string(e.Errors)
		var one struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(e.Errors, &one) == nil && one.Detail != "" {
			text = one.Detail
		}
	}
	if len(text) > maxDetail {
		text = text[:maxDetail]
	}
	return strings.TrimSpace(text)
}
