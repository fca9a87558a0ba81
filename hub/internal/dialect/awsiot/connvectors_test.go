package awsiot

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// TestConnectVectors lets in what the official clients send.
func TestConnectVectors(t *testing.T) {
	text, err := os.ReadFile("../../../../testdata/vectors/aws/mqtt-connect.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Name, Hex string }
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	g := newConnRig(t)
	g.policy("p", allow("*", "*"))
	crt, _ := g.enrol([]string{"p"})
	tried := 0
	for _, v := range vectors {
		raw, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		f, err := mqtt.NewFrameReader(bufio.NewReader(bytes.NewReader(raw)), len(raw)).Next()
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		var p mqtt.Connect
		if err := p.Decode(f, 0); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if strings.Contains(p.Username, authorizerName) {
			continue // see TestAuthorizersLetIn
		}
		tried++
		if ack := g.tryConnect(crt, p); ack.Code != 0 {
			t.Errorf("%s: got %#x", v.Name, ack.Code)
		}
	}
	if tried < 20 {
		t.Errorf("only %d vectors were tried", tried)
	}
}

// A change between sign-in and session counts.
func TestChangeWhileSigningIn(t *testing.T) {
	g := newConnRig(t)
	g.policy("p", permissive...)
	crt, id := g.enrol([]string{"p"})
	leaf, err := x509.ParseCertificate(crt.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	signIn := func() (core.Grant, dialect.Link) {
		t.Helper()
		grant, l, err := g.d.SignIn(t.Context(), core.Claim{Version: 4, ClientID: "pump", CleanStart: true, Certificate: leaf})
		if err != nil {
			t.Fatal(err)
		}
		return grant, l
	}
	connected := func(l dialect.Link) error {
		return g.committer.Do(t.Context(), func(tx *commit.Tx) error { return l.Connected(tx, dialect.Presence{}) })
	}
	grant, l := signIn()
	g.do(func(tx *commit.Tx) error { return g.d.detachPolicy(tx, testTenant, "p", certResource+id) })
	if err := connected(l); err != nil {
		t.Fatal(err)
	}
	if grant.Rules.Publish("pump/t", false) == nil {
		t.Error("the policy counts that was detached meanwhile")
	}
	g.do(func(tx *commit.Tx) error { return g.d.attachPolicy(tx, testTenant, "p", certResource+id) })
	if err := grant.Rules.Publish("pump/t", false); err != nil {
		t.Errorf("the policy does not count that was attached: %v", err)
	}
	_, l = signIn()
	g.setStatus(id, statusInactive)
	if err := connected(l); !isRefusal(err) {
		t.Errorf("got %v, want a refusal: the certificate was deactivated meanwhile", err)
	}
}
