package awsiot_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/identity"
)

// tenant is that of the account.
const tenant = "dev"

// foreignRoot is an authority that nobody on the hub comes from: that of another hub.
func foreignRoot(t *testing.T) string {
	t.Helper()
	pem, err := os.ReadFile(hubtest.New(t).State().CA)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem)
}

// discovery asks with the certificate of the ready thing.
func (a *account) discovery() *awsiot.Discovery {
	return &awsiot.Discovery{Endpoint: net.JoinHostPort("127.0.0.1", a.env["AWS_IOT_HTTPS_PORT"]), Identity: a.id, RootCAs: a.Roots(), Dial: a.Dial}
}

// A thing asks where its cores are, and connects to the first one that answers and that its group's authorities vouch for.
func TestHubDiscovery(t *testing.T) {
	a := newAccount(t)
	d, thing := a.discovery(), a.env["AWS_IOT_THING_NAME"]
	var refusal *fairlead.PlatformError
	if _, err := d.Discover(soonAfter(t), thing); !errors.As(err, &refusal) || refusal.Code != "404" || !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("no group: %v", err)
	}

	port, err := strconv.Atoi(a.env["AWS_IOT_MQTT_PORT"])
	if err != nil {
		t.Fatal(err)
	}
	way := admin.GreengrassWay{ID: "lan", Host: "127.0.0.1", Port: port, Metadata: "shelf 3"}
	groups := map[string]admin.SetGreengrassGroup{
		"a-foreign": { // it answers, and its certificate is from somebody else
			Cores: []admin.GreengrassCore{{Thing: "impostor", Ways: []admin.GreengrassWay{way}}}, CAs: []string{foreignRoot(t)}, Devices: []string{thing},
		},
		"b-home": {
			Cores: []admin.GreengrassCore{
				{Thing: "asleep", Ways: []admin.GreengrassWay{{ID: "x", Host: "127.0.0.1", Port: 1}}},
				{Thing: "core", Ways: []admin.GreengrassWay{{ID: "y", Host: "127.0.0.1", Port: 2}, way}},
			},
			Devices: []string{"neighbour", thing},
		},
		"c-elsewhere": {Cores: []admin.GreengrassCore{{Thing: "core", Ways: []admin.GreengrassWay{way}}}, Devices: []string{"neighbour"}},
	}
	for id, g := range groups {
		if _, err := a.Admin(t).SetGreengrassGroup(soonAfter(t), tenant, id, g); err != nil {
			t.Fatal(err)
		}
	}
	info, err := d.Discover(soonAfter(t), thing)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Groups()) != 2 || len(info.Cores()) != 3 || len(info.CAs()) != 2 {
		t.Fatalf("%s", info.JSON)
	}
	home, ok := info.Group("b-home")
	if !ok || len(home.Cores) != 2 {
		t.Fatalf("%+v", home)
	}
	arn := strings.TrimSuffix(home.Cores[0].CoreThingARN, "asleep") + "core"
	core, ok := home.Core(arn)
	if !ok || !strings.HasPrefix(arn, "arn:aws:iot:"+a.env["AWS_DEFAULT_REGION"]+":") {
		t.Fatalf("no core %s in %+v", arn, home)
	}
	if lan, ok := core.ConnectivityInfo("lan"); !ok || lan != (awsiot.ConnectivityInfo{ID: "lan", Host: "127.0.0.1", Port: port, Metadata: "shelf 3"}) {
		t.Errorf("%+v", lan)
	}

	cfg := a.config()
	cfg.Endpoint, cfg.RootCAs = "", nil // both come from discovery
	cfg, reached, err := info.Connect(soonAfter(t), cfg)
	if err != nil || reached.CoreThingARN != arn {
		t.Fatalf("reached %+v, %v", reached, err)
	}
	if err := online(t, cfg).Publish(soonAfter(t), "to/core", awsiot.AtLeastOnce, []byte("hello"), nil); err != nil {
		t.Error(err)
	}

	// Another thing's groups are not its business, and a certificate has to be there.
	a.must(t, "iot", "POST", "/things/neighbour", map[string]any{})
	made := a.must(t, "iot", "POST", "/keys-and-certificate?setAsActive=true", map[string]any{})
	stranger := *d
	stranger.Identity = parseIdentity(t, made)
	if _, err := stranger.Discover(soonAfter(t), thing); !errors.Is(err, fairlead.ErrDenied) {
		t.Errorf("no policy: %v", err)
	}
	if err := a.Admin(t).DeleteGreengrassGroup(soonAfter(t), tenant, "b-home"); err != nil {
		t.Fatal(err)
	}
	if info, err = d.Discover(soonAfter(t), thing); err != nil || len(info.Groups()) != 1 {
		t.Errorf("after the group has gone: %v", err)
	}
	if _, _, err := info.Connect(soonAfter(t), a.config()); err == nil {
		t.Error("connected to a core of another authority")
	}
}

// parseIdentity reads what CreateKeysAndCertificate returns.
func parseIdentity(t *testing.T, made map[string]any) *identity.Identity {
	t.Helper()
	pair, _ := made["keyPair"].(map[string]any)
	key, _ := pair["PrivateKey"].(string)
	crt, _ := made["certificatePem"].(string)
	k, err := identity.ParseKey([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.ParseChain([]byte(crt))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(k, chain)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A token that the authorizer's key has signed lets in, wherever it is sent, with the rights that the authorizer gives; any other does not.
func TestHubAuthorizer(t *testing.T) {
	a := newAccount(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	a.must(t, "iot", "POST", "/policies/visitors", map[string]any{"policyDocument": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:*:*:topic/hall/*"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:*:*:topicfilter/hall/*"}]}`})
	a.must(t, "iot", "POST", "/authorizer/doorman", map[string]any{
		"authorizerFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:visitors", "tokenKeyName": "x-ticket", "status": "ACTIVE",
		"tokenSigningPublicKeys": map[string]string{"k1": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
	})
	const token = "T/1000 + more"
	sum := sha256.Sum256([]byte(token))
	signed, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	good := awsiot.Authorizer{Name: "doorman", TokenName: "x-ticket", Token: identity.NewSecret(token), Signature: base64.StdEncoding.EncodeToString(signed)}
	for name, tt := range map[string]struct {
		place     awsiot.AuthorizerPlace
		webSocket bool
	}{
		"MQTT":                  {},
		"WebSocket":             {awsiot.InUsername, true},
		"WebSocket, in headers": {awsiot.InHeader, true},
		"WebSocket, in a query": {awsiot.InQuery, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := a.config()
			cfg.Endpoint, cfg.Identity, cfg.WebSocket = net.JoinHostPort("127.0.0.1", a.env["AWS_IOT_HTTPS_PORT"]), nil, tt.webSocket
			cfg.ClientID, cfg.ThingName = strings.ReplaceAll(name, " ", "-"), ""
			cfg.Username, cfg.Password = "guest", identity.NewSecret("pass")
			by := good
			by.Place, cfg.Authorizer = tt.place, &by
			c := online(t, cfg)
			got := make(chan *awsiot.Message, 1)
			if _, err := c.Subscribe(soonAfter(t), "hall/bell", awsiot.AtLeastOnce, func(m *awsiot.Message) { got <- m }, nil); err != nil {
				t.Fatal(err)
			}
			if err := c.Publish(soonAfter(t), "hall/bell", awsiot.AtLeastOnce, []byte("ring"), nil); err != nil {
				t.Fatal(err)
			}
			if m := next(t, got); string(m.Payload) != "ring" {
				t.Errorf("%+v", m)
			}
			if err := c.Publish(soonAfter(t), "cellar/bell", awsiot.AtLeastOnce, nil, nil); !errors.Is(err, fairlead.ErrDenied) {
				t.Errorf("what the authorizer's policy does not allow: %v", err)
			}
			for name, spoil := range map[string]func(*awsiot.Authorizer){
				"another token":     func(a *awsiot.Authorizer) { a.Token = identity.NewSecret("T-1001") },
				"another signature": func(a *awsiot.Authorizer) { a.Signature = base64.StdEncoding.EncodeToString(make([]byte, len(signed))) },
				"no signature":      func(a *awsiot.Authorizer) { a.Signature = "" },
				"nobody's name":     func(a *awsiot.Authorizer) { a.Name = "nobody" },
			} {
				wrong := by
				spoil(&wrong)
				cfg.Authorizer = &wrong
				if err := refused(t, cfg); !errors.Is(err, fairlead.ErrDenied) && !errors.Is(err, fairlead.ErrUnauthenticated) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// refused returns why a client is not let in.
func refused(t *testing.T, cfg awsiot.Config) error {
	t.Helper()
	c, err := awsiot.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	err = c.Await(soonAfter(t))
	cancel()
	<-done
	return err
}

// An access key that is lent for the certificate opens a signed WebSocket, with the rights of the certificate.
func TestHubRoleAlias(t *testing.T) {
	a := newAccount(t)
	a.must(t, "iot", "POST", "/role-aliases/cameras", map[string]any{"roleArn": "arn:aws:iam::123456789012:role/cameras", "credentialDurationSeconds": 900})
	https := net.JoinHostPort("127.0.0.1", a.env["AWS_IOT_HTTPS_PORT"])
	lent := &awsiot.RoleAliasCredentials{Endpoint: https, RoleAlias: "cameras", ThingName: a.env["AWS_IOT_THING_NAME"], Identity: a.id, RootCAs: a.Roots(), Dial: a.Dial}
	key, err := lent.Retrieve(soonAfter(t))
	if err != nil || key.AccessKeyID == a.env["AWS_ACCESS_KEY_ID"] || time.Until(key.Expires) > 15*time.Minute {
		t.Fatalf("%+v, %v", key, err)
	}
	cfg := a.config()
	cfg.Endpoint, cfg.Identity, cfg.Region, cfg.Credentials = https, nil, a.env["AWS_DEFAULT_REGION"], lent
	if err := online(t, cfg).Publish(soonAfter(t), "dt/x", awsiot.AtLeastOnce, []byte("x"), nil); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*awsiot.RoleAliasCredentials){
		"no policy":      func(p *awsiot.RoleAliasCredentials) { p.Identity, p.ThingName = parseIdentity(t, a.narrow(t)), "" },
		"another's name": func(p *awsiot.RoleAliasCredentials) { p.ThingName = "neighbour" },
		"no such alias":  func(p *awsiot.RoleAliasCredentials) { p.RoleAlias = "none" },
	} {
		bad := &awsiot.RoleAliasCredentials{Endpoint: https, RoleAlias: "cameras", ThingName: lent.ThingName, Identity: a.id, RootCAs: a.Roots(), Dial: a.Dial}
		spoil(bad)
		var refusal *fairlead.PlatformError
		if _, err := bad.Retrieve(soonAfter(t)); !errors.As(err, &refusal) || !errors.Is(err, fairlead.ErrDenied) && !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A message that nobody has acknowledged comes again on the next connection.
func TestHubHold(t *testing.T) {
	a := newAccount(t)
	sender := a.config()
	sender.ThingName, sender.ClientID = "", "sender"
	from := online(t, sender)
	type held struct {
		*awsiot.Message
		ack func()
	}
	got := make(chan held, 10)
	to := online(t, a.config())
	if _, err := to.Subscribe(soonAfter(t), "cmd/x", awsiot.AtLeastOnce, func(m *awsiot.Message) { got <- held{m, m.Hold()} }, nil); err != nil {
		t.Fatal(err)
	}
	if err := from.Publish(soonAfter(t), "cmd/x", awsiot.AtLeastOnce, []byte("1"), nil); err != nil {
		t.Fatal(err)
	}
	next(t, got)
	to.Reconnect()
	again := next(t, got)
	if string(again.Payload) != "1" || !again.Dup {
		t.Errorf("%+v", again.Message)
	}
	again.ack()
	again.ack() // has no effect
	if err := from.Publish(soonAfter(t), "cmd/x", awsiot.AtLeastOnce, []byte("2"), nil); err != nil {
		t.Fatal(err)
	}
	if m := next(t, got); string(m.Payload) != "2" {
		t.Errorf("%+v", m.Message)
	}
}
