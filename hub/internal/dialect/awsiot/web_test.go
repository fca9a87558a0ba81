package awsiot

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// accessKey makes an access key.
func (g *connRig) accessKey() sigv4.Credentials {
	g.Helper()
	var k accesskey.Key
	var s accesskey.Secret
	g.do(func(tx *commit.Tx) (err error) {
		k, s, err = g.d.keys.Make(tx, testTenant, "test", time.Time{})
		return err
	})
	return sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: s.Secret}
}

// A connection lasts no longer than what has opened it.
func TestLifetimeOfCredentials(t *testing.T) {
	g := newConnRig(t)
	var k accesskey.Key
	var s accesskey.Secret
	g.do(func(tx *commit.Tx) (err error) {
		k, s, err = g.d.keys.Make(tx, testTenant, "test", tx.Now().Add(time.Hour))
		return err
	})
	c := sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: s.Secret, SessionToken: s.Token}
	grant, _, err := g.d.SignIn(t.Context(), webClaim("pump", g.presign(c, serviceData, DefaultRegion)))
	if err != nil || grant.Lifetime > time.Hour || grant.Lifetime <= 0 {
		t.Errorf("access key: got %v, %v, want an hour at most", grant.Lifetime, err)
	}

	crt, id := g.enrol(nil)
	g.do(func(tx *commit.Tx) error {
		x, err := readCertificate(tx, testTenant, id)
		if err != nil {
			return err
		}
		x.Claim, x.ClaimEnds = "t", tx.Now().Add(claimLife)
		return g.d.updateCertificate(tx, testTenant, x)
	})
	grant, _, err = g.d.SignIn(t.Context(), g.claim(crt, "pump"))
	if err != nil || grant.Lifetime > claimLife || grant.Lifetime <= 0 {
		t.Errorf("claim certificate: got %v, %v, want %v at most", grant.Lifetime, err, claimLife)
	}
}

// webClaim is what a client says that comes by WebSocket.
func webClaim(clientID, query string) core.Claim {
	return core.Claim{
		Remote: netip.MustParseAddrPort("10.1.2.3:4567"), Version: 4, ClientID: clientID, CleanStart: true,
		Path: webSocketPath, Web: &core.WebRequest{Host: "hub.example.org", Query: query, Header: map[string][]string{}},
	}
}

// presign returns the query of a signed request for a WebSocket.
func (g *connRig) presign(c sigv4.Credentials, service, region string) string {
	return sigv4.Presign(sigv4.Request{Method: http.MethodGet, Path: webSocketPath, Host: "hub.example.org"}, c,
		sigv4.Scope{Region: region, Service: service}, g.now(), sigv4.PresignOptions{})
}

func TestSignedWebSocket(t *testing.T) {
	g := newConnRig(t)
	key := g.accessKey()
	g.thing(thing{Name: "pump"})
	for _, service := range []string{serviceData, serviceGateway} {
		grant, _, err := g.d.SignIn(t.Context(), webClaim("pump", g.presign(key, service, DefaultRegion)))
		if err != nil {
			t.Fatalf("%s: %v", service, err)
		}
		if grant.Session != sessionKey(testTenant, "pump") || grant.Device == 0 || grant.Lifetime != 24*time.Hour {
			t.Errorf("got %+v", grant)
		}
		if err := errors.Join(grant.Rules.Publish("any", true), grant.Rules.Subscribe("#")); err != nil || !grant.Rules.Receive("any") {
			t.Errorf("an access key may not do everything: %v", err)
		}
		if grant.Rules.Publish("$aws/things/pump/shadow/update/accepted", false) == nil {
			t.Error("it may publish what is the hub's to say")
		}
	}
	wrong := key
	wrong.SecretAccessKey += "x"
	for name, query := range map[string]string{
		"wrong secret":   g.presign(wrong, serviceData, DefaultRegion),
		"unknown key":    g.presign(sigv4.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}, serviceData, DefaultRegion),
		"other service":  g.presign(key, "s3", DefaultRegion),
		"other region":   g.presign(key, serviceData, "eu-west-1"),
		"half a request": "X-Amz-Algorithm=AWS4-HMAC-SHA256",
	} {
		if _, _, err := g.d.SignIn(t.Context(), webClaim("pump", query)); !errors.Is(err, core.ErrUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, _, err := g.d.SignIn(t.Context(), webClaim("pump", "")); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("unsigned: got %v, want to leave it to others", err)
	}
	// An access key that is deleted while its client signs in opens nothing any more, and neither does it later.
	_, l, err := g.d.SignIn(t.Context(), webClaim("pump", g.presign(key, serviceData, DefaultRegion)))
	if err != nil {
		t.Fatal(err)
	}
	g.do(func(tx *commit.Tx) error { return g.d.keys.Delete(tx, testTenant, key.AccessKeyID) })
	if err := g.committer.Do(t.Context(), func(tx *commit.Tx) error { return l.Connected(tx, dialect.Presence{}) }); err == nil {
		t.Error("connected with an access key that was deleted meanwhile")
	}
}

func TestUpgradeRefused(t *testing.T) {
	g := newConnRig(t)
	key := g.accessKey()
	wrong := key
	wrong.SecretAccessKey += "x"
	try := func(query string) (*http.Response, bool) {
		r := httptest.NewRequest(http.MethodGet, "https://hub.example.org"+webSocketPath+"?"+query, nil)
		w := httptest.NewRecorder()
		proceed := g.d.Upgrade(w, r)
		return w.Result(), proceed
	}
	if _, ok := try(g.presign(key, serviceData, DefaultRegion)); !ok {
		t.Error("a right request was refused")
	}
	if _, ok := try("x=y"); !ok {
		t.Error("a request was refused that is not signed")
	}
	res, ok := try(g.presign(wrong, serviceData, DefaultRegion))
	var body struct{ Message, TraceID string }
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	if ok || res.StatusCode != 403 || res.Header.Get("X-Amzn-Errortype") != "ForbiddenException" || body.Message == "" || body.TraceID == "" {
		t.Errorf("got %v, %d, %v, %+v", ok, res.StatusCode, res.Header, body)
	}
	if !g.refusedFor("signature") {
		t.Error("operators are not told")
	}
}

func TestAuthorizersLetIn(t *testing.T) {
	g := newConnRig(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	sign := func(token string) string {
		sum := sha256.Sum256([]byte(token))
		s, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(s)
	}
	put := func(a authorizer) {
		g.do(func(tx *commit.Tx) error { return g.d.putAuthorizer(tx, testTenant, a) })
	}
	g.policy("sensors", allow("iot:*", "arn:client/${iot:ClientId}"), allow("iot:Publish", "arn:topic/${iot:ClientId}"))
	const function = "arn:aws:lambda:us-east-1:123456789012:function:sensors"
	put(authorizer{Name: "signed", Function: function, Active: true, TokenKey: "token", Keys: map[string]string{"k": public}})
	put(authorizer{Name: "open", Function: function, Active: true, Unsigned: true})
	put(authorizer{Name: "off", Function: function, Unsigned: true})
	query := func(name, token, signature string) string {
		return "x-amz-customauthorizer-name=" + name + "&token=" + token + "&x-amz-customauthorizer-signature=" + url.QueryEscape(signature)
	}
	byName := func(username string) core.Claim {
		return core.Claim{Version: 4, ClientID: "d", Username: username, HasUsername: true, ALPN: "mqtt"}
	}
	byHeader := webClaim("d", "")
	byHeader.Web.Header = map[string][]string{
		"X-Amz-Customauthorizer-Name": {"signed"}, "Token": {"abc"}, "X-Amz-Customauthorizer-Signature": {sign("abc")},
	}
	byDefault := byName("somebody")
	byDefault.ServerName = "acme.iot.us-east-1.amazonaws.localhost"
	unnamed := byName("somebody")
	for name, c := range map[string]struct {
		claim core.Claim
		want  error
	}{
		"user name":          {byName("u?" + query("signed", "abc", sign("abc"))), nil},
		"user name with SDK": {byName("u?" + query("signed", "abc", sign("abc")) + "?SDK=Python&Version=1.6.2"), nil},
		"query":              {webClaim("d", query("signed", "abc", sign("abc"))), nil},
		"header":             {byHeader, nil},
		"unsigned":           {byName("?x-amz-customauthorizer-name=open"), nil},
		"default":            {byDefault, nil},
		"other token":        {byName("?" + query("signed", "abd", sign("abc"))), core.ErrDenied},
		"no signature":       {byName("?x-amz-customauthorizer-name=signed&token=abc"), core.ErrDenied},
		"not active":         {byName("?x-amz-customauthorizer-name=off"), core.ErrDenied},
		"unknown":            {byName("?x-amz-customauthorizer-name=none"), core.ErrDenied},
		"no authorizer":      {unnamed, dialect.ErrNotMine},
	} {
		if name == "default" {
			g.do(func(tx *commit.Tx) error {
				a, err := readAccount(tx, testTenant)
				if err != nil {
					return err
				}
				a.DefaultAuthorizer = "open"
				return g.d.putAccount(tx, a)
			})
		}
		grant, _, err := g.d.SignIn(t.Context(), c.claim)
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if err == nil && (grant.Rules.Publish("d", false) != nil || grant.Rules.Publish("e", false) == nil || grant.Lifetime != customLife) {
			t.Errorf("%s: not under its policy", name)
		}
	}
	// Names of accounts that are not there leave nothing behind.
	stranger := byName("?x-amz-customauthorizer-name=open")
	stranger.ServerName = "nobody.iot.us-east-1.amazonaws.localhost"
	if _, _, err := g.d.SignIn(t.Context(), stranger); !errors.Is(err, dialect.ErrNotMine) {
		t.Errorf("another account: got %v", err)
	}
	if n := len(g.d.live.accounts); n != 1 {
		t.Errorf("%d accounts are kept in memory, want 1", n)
	}
	// Who has no policy may not even connect.
	g.do(func(tx *commit.Tx) error { return g.d.deletePolicy(tx, testTenant, "sensors") })
	if _, _, err := g.d.SignIn(context.Background(), byName("?x-amz-customauthorizer-name=open")); !errors.Is(err, core.ErrDenied) {
		t.Errorf("without a policy: got %v", err)
	}
}

func TestParseUsername(t *testing.T) {
	for name, want := range map[string]struct {
		user string
		keys map[string]string
	}{
		"":                              {"", nil},
		"pump":                          {"pump", nil},
		"?SDK=Python&Version=1.6.2":     {"", nil},
		"pump?SDK=PythonV2&Version=1.0": {"pump", nil},
		"u?x-amz-customauthorizer-name=n&tok=v?SDK=Python&Version=1.6.2":                                                                    {"u", map[string]string{"x-amz-customauthorizer-name": "n", "tok": "v"}},
		"u?tok=v&SDK=IoTDeviceSDK/Python&Platform=Unix&Metadata=(CRTVersion=0.36.1;IoTSDKVersion=1.31.0;IoTSDKFeature=F/3;IoTSDKMetrics=1)": {"u", map[string]string{"tok": "v"}},
		"u?sig=a%2Bb%3D&plus=a+b": {"u", map[string]string{"sig": "a+b=", "plus": "a+b"}},
		"u?bad=%zz&x":             {"u", map[string]string{"bad": "%zz"}},
	} {
		user, params := parseUsername(name)
		if user != want.user || len(params) != len(want.keys) {
			t.Errorf("%q: got %q, %v", name, user, params)
		}
		for k, v := range want.keys {
			if params[k] != v {
				t.Errorf("%q: %s: got %q, want %q", name, k, params[k], v)
			}
		}
	}
}

// Whoever comes has signatures checked with an account's keys, which must not be so large that this takes long.
func TestSizeOfTokenKeys(t *testing.T) {
	for bits, want := range map[uint]bool{2048: true, 4096: true, 4104: false, 16384: false} {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537})
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		if got := rsaKey(string(text)) != nil; got != want {
			t.Errorf("%d bits: taken %v, want %v", bits, got, want)
		}
	}
}

// One parameter that cannot be read takes none of the others along.
func TestParseLogin(t *testing.T) {
	const good = authorizerName + "=n&tok=a%20b"
	for _, query := range []string{good, good + "&x=1;2", "x;y&" + good, good + "&bad=%zz", "%zz&" + good, good + "&&=&=x", good + "&twice=1&twice=2"} {
		l := parseLogin(webClaim("pump", query))
		if !l.custom || l.value(authorizerName) != "n" || l.value("tok") != "a b" || l.value("twice") != "" {
			t.Errorf("%q: got %+v", query, l.params)
		}
	}
	l := parseLogin(webClaim("pump", good+"&x=1;2"))
	if got := l.value("x"); got != "1;2" {
		t.Errorf("got %q", got)
	}
	c := webClaim("pump", "tok=web")
	c.Username = "u?tok=user"
	if l := parseLogin(c); l.value("tok") != "user" {
		t.Errorf("got %q, want what the user name says", l.value("tok"))
	}
}

func FuzzParseUsername(f *testing.F) {
	f.Add("u?x-amz-customauthorizer-name=n&tok=v?SDK=Python&Version=1.6.2")
	f.Fuzz(func(t *testing.T, s string) {
		user, _ := parseUsername(s)
		if !strings.HasPrefix(s, user) {
			t.Errorf("%q: user %q", s, user)
		}
	})
}
