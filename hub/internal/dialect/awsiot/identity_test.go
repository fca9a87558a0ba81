package awsiot

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

const (
	askIdentity = "Action=GetCallerIdentity&Version=2011-06-15"
	formType    = "application/x-www-form-urlencoded; charset=utf-8"
)

// signedFor makes a request of the Query protocol.
func (g *httpRig) signedFor(method, target, body, service, region string, key sigv4.Credentials) *http.Request {
	r := httptest.NewRequest(method, "https://hub.example.org"+target, strings.NewReader(body))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", formType)
	}
	for _, h := range sigv4.Sign(sigv4.Request{
		Method: method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header, Hash: sigv4.Hash([]byte(body)),
	}, key, sigv4.Scope{Region: region, Service: service}, g.clock()) {
		r.Header.Set(h.Name, h.Value)
	}
	return r
}

func TestGetCallerIdentity(t *testing.T) {
	g := newHTTPRig(t)
	for name, r := range map[string]*http.Request{
		"POST":            g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, g.key),
		"GET":             g.signedFor("GET", "/?"+askIdentity, "", "sts", DefaultRegion, g.key),
		"global endpoint": g.signedFor("POST", "/", askIdentity, "sts", "us-east-1", g.key),
	} {
		w := g.send(r)
		var got struct {
			XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
			Result  struct {
				Arn, UserId, Account string //nolint:revive // named as in the answer
			} `xml:"GetCallerIdentityResult"`
			RequestID string `xml:"ResponseMetadata>RequestId"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/xml" {
			t.Fatalf("%s: got %d %s: %v", name, w.Code, w.Body, err)
		}
		account := accountID(testTenant)
		if got.Result.Account != account || got.Result.Arn != "arn:aws:iam::"+account+":user/test" || got.RequestID == "" ||
			!regexp.MustCompile(`^AIDA[A-Z0-9]{10,}$`).MatchString(got.Result.UserId) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// Names of keys are free text, names of users are not; a key that expires brings a token.
func TestCallerOfATemporaryKey(t *testing.T) {
	g := newHTTPRig(t)
	var key sigv4.Credentials
	g.do(func(tx *commit.Tx) error {
		k, s, err := g.d.keys.Make(tx, testTenant, "Frau Müller's <laptop>", g.clock().Add(time.Hour))
		key = sigv4.Credentials{AccessKeyID: k.ID, SecretAccessKey: s.Secret, SessionToken: s.Token}
		return err
	})
	w := g.send(g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, key))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), ":user/Frau-M-ller-s--laptop-</Arn>") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if got := (&signer{account: account{ID: "1"}, key: accesskey.Key{ID: "ASIAXYZ"}, certificate: "c0ffee"}); got.arn() != "arn:aws:sts::1:assumed-role/device/c0ffee" ||
		got.userID() != "AROAXYZ:c0ffee" {
		t.Errorf("a pass: got %s, %s", got.arn(), got.userID())
	}
	if got := (&signer{key: accesskey.Key{ID: "ASIAXYZ", Name: strings.Repeat("x", 100)}}); len(got.arn()) > 100 || got.userID() != "AIDAXYZ" {
		t.Errorf("got %s, %s", got.arn(), got.userID())
	}
}

func TestCallerIsRefused(t *testing.T) {
	g := newHTTPRig(t)
	wrong, unknown := g.key, g.key
	wrong.SecretAccessKey += "x"
	unknown.AccessKeyID = "AKIANOBODYKNOWSTHIS"
	late := g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, g.key)
	late.Header.Set("X-Amz-Date", g.clock().Add(-time.Hour).UTC().Format("20060102T150405Z"))
	halved := g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, g.key)
	halved.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
	for name, c := range map[string]struct {
		r      *http.Request
		status int
		code   string
	}{
		"wrong secret":         {g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, wrong), 403, "SignatureDoesNotMatch"},
		"unknown key":          {g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, unknown), 403, "InvalidClientTokenId"},
		"another region":       {g.signedFor("POST", "/", askIdentity, "sts", "eu-west-1", g.key), 403, "SignatureDoesNotMatch"},
		"another service":      {g.signedFor("POST", "/", "Action=ListUsers&Version=2010-05-08", "iam", DefaultRegion, g.key), 403, "SignatureDoesNotMatch"},
		"signed for IoT":       {g.signedFor("POST", "/", askIdentity, serviceControl, DefaultRegion, g.key), 403, "SignatureDoesNotMatch"},
		"another date":         {late, 403, "SignatureDoesNotMatch"},
		"half a signature":     {halved, 403, "IncompleteSignature"},
		"another action":       {g.signedFor("POST", "/", "Action=AssumeRole&Version=2011-06-15", "sts", DefaultRegion, g.key), 400, "InvalidAction"},
		"another version":      {g.signedFor("POST", "/", "Action=GetCallerIdentity&Version=1", "sts", DefaultRegion, g.key), 400, "InvalidAction"},
		"malformed parameters": {g.signedFor("POST", "/", "Action=%zz", "sts", DefaultRegion, g.key), 400, "MalformedQueryString"},
	} {
		w := g.send(c.r)
		var got struct {
			XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
			Type    string   `xml:"Error>Type"`
			Code    string   `xml:"Error>Code"`
			Message string   `xml:"Error>Message"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != c.status || got.Code != c.code || got.Type != "Sender" || got.Message == "" {
			t.Errorf("%s: got %d %s, want %d %s", name, w.Code, w.Body, c.status, c.code)
		}
	}
	if got, want := g.send(g.signedFor("GET", "/things", "", serviceControl, "eu-west-1", g.key)).Body.String(), `in \"`+DefaultRegion+`\"`; !strings.Contains(got, want) {
		t.Errorf("another region: got %s, want the one that there is, %s", got, want)
	}
	if r := g.signedFor("GET", "/things", "", "sts", DefaultRegion, g.key); g.send(r).Code != http.StatusForbidden {
		t.Error("a signature for STS opens IoT")
	}
}

// Too many requests: the data planes say so by a number that the control plane has not.
func TestThrottling(t *testing.T) {
	g := newHTTPRig(t)
	for p, want := range map[plane]int{data: 429, jobsData: 429, control: 400} {
		w := httptest.NewRecorder()
		c := &call{d: g.d, id: "1", op: &operation{service: p}}
		if got := c.answer(w, nil, refuse(throttling, "slow down")); got != want || w.Code != want || w.Header().Get("x-amzn-ErrorType") != throttling {
			t.Errorf("%v: got %d, %v, want %d", p, got, w, want)
		}
	}
}
