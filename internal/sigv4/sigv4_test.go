package sigv4

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// suite has values of the public AWS Signature Version 4 test suite (the set "aws4_testsuite", as AWS's SDKs carry it); its
// credentials and its time are those below.
var suite = []struct {
	name   string
	r      Request
	signed string
	want   string
}{
	{"get-vanilla", Request{Method: "GET"}, "host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-query-order-key-case", Request{Method: "GET", Query: "Param2=value2&Param1=value1"}, "host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"get-vanilla-empty-query-key", Request{Method: "GET", Query: "Param1=value1"}, "host;x-amz-date", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
	{"post-vanilla", Request{Method: "POST"}, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-header-key-case", Request{Method: "POST"}, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-header-key-sort", Request{Method: "POST", Header: map[string][]string{"My-Header1": {"value1"}}}, "host;my-header1;x-amz-date", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{"get-header-value-trim", Request{Method: "GET", Header: map[string][]string{"My-Header1": {" value1"}, "My-Header2": {`"a   b   c"`}}}, "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{"get-vanilla-with-session-token", Request{Method: "POST", Header: map[string][]string{keyToken: {"AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="}}}, "host;x-amz-date;x-amz-security-token", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
}

func TestSuite(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, c := range suite {
		t.Run(c.name, func(t *testing.T) {
			c.r.Host = "example.amazonaws.com"
			header := map[string][]string{"x-amz-date": {"20150830T123600Z"}}
			for k, v := range c.r.Header {
				header[k] = v
			}
			c.r.Header = header
			header["Authorization"] = []string{Algorithm + " Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,SignedHeaders=" + c.signed + ",Signature=" + c.want}
			s, err := Parse(&c.r)
			if err != nil {
				t.Fatal(err)
			}
			cred := Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", SessionToken: s.Token}
			if err := s.Verify(&c.r, cred, Window{Now: at}); err != nil {
				t.Error(err)
			}
		})
	}
}

// recorded returns the requests of a file of vectors, with the name of each.
func recorded(t testing.TB, file string) (names []string, all []Request) {
	t.Helper()
	raw, err := os.ReadFile("../../testdata/vectors/aws/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Name, Text string }
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		names = append(names, v.Name)
		all = append(all, parsed(t, v.Text))
	}
	return names, all
}

// parsed is what a server sees of a request in a file, where the texts stand for bytes (Latin-1).
func parsed(t testing.TB, text string) Request {
	t.Helper()
	raw := make([]byte, 0, len(text))
	for _, r := range text {
		raw = append(raw, byte(r))
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(raw))))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header, Hash: Hash(body)}
}

func keyOf(id string) Credentials {
	c := Credentials{AccessKeyID: id, SecretAccessKey: "secretTest"}
	if id == "AKIDENV" {
		c.SecretAccessKey = "s"
	}
	return c
}

// TestRecorded verifies what official clients have sent, and that each change to it is noticed.
func TestRecorded(t *testing.T) {
	for _, file := range []string{"http-requests.json", "websocket-requests.json"} {
		names, all := recorded(t, file)
		verified := 0
		for i, r := range all {
			if !Signed(&r) {
				continue // a custom authorizer's
			}
			t.Run(names[i], func(t *testing.T) {
				verified++
				s, err := Parse(&r)
				if err != nil {
					t.Fatal(err)
				}
				c, w := keyOf(s.AccessKeyID), Window{Now: s.At, Expires: time.Hour}
				c.SessionToken = s.Token
				if err := s.Verify(&r, c, w); err != nil {
					t.Fatal(err)
				}
				tampered := r
				tampered.Method = "PUT"
				if r.Method == "PUT" {
					tampered.Method = "GET"
				}
				for name, changed := range map[string]Request{
					"method": tampered, "path": with(r, func(r *Request) { r.Path += "x" }),
					"query": with(r, func(r *Request) { r.Query += "&x=y" }),
					"host":  with(r, func(r *Request) { r.Host += ":1" }),
					"body":  with(r, func(r *Request) { r.Hash = Hash([]byte("else")) }),
				} {
					if err := s.Verify(&changed, c, w); !errors.Is(err, ErrMismatch) {
						t.Errorf("changed %s: %v, want %v", name, err, ErrMismatch)
					}
				}
			})
		}
		if verified < 8 {
			t.Errorf("%s: %d signed requests, want more", file, verified)
		}
	}
}

func with(r Request, change func(*Request)) Request {
	change(&r)
	return r
}

// TestPresignAsClients makes the URLs that official clients make, byte for byte.
func TestPresignAsClients(t *testing.T) {
	names, all := recorded(t, "websocket-requests.json")
	made := 0
	for i, r := range all {
		s, err := Parse(&r)
		if err != nil || strings.Contains(names[i], "port") && r.Host == "" {
			continue
		}
		// Only v1 has the parameters in our order; the signature itself is the same whatever the order.
		o := PresignOptions{Expires: s.Expires}
		for _, h := range s.signed {
			if h != "host" {
				o.Headers = append(o.Headers, h)
			}
		}
		c := keyOf(s.AccessKeyID)
		c.SessionToken = s.Token
		bare := r
		bare.Query = ""
		query := Presign(bare, c, s.Scope, s.At, o)
		if got, want := value(query, keySignature), value(r.Query, keySignature); got != want {
			t.Errorf("%s: signature %s, want %s", names[i], got, want)
		}
		if got, want := value(query, keySignedHeaders), value(r.Query, keySignedHeaders); got != want {
			t.Errorf("%s: signed headers %s, want %s", names[i], got, want)
		}
		if strings.HasPrefix(names[i], "v1-") && s.Token == "" && query != r.Query {
			t.Errorf("%s: query\n%s, want\n%s", names[i], query, r.Query)
		}
		made++
	}
	if made < 8 {
		t.Errorf("%d requests, want more", made)
	}
}

func value(query, name string) string {
	for _, p := range params(query) {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// TestGuide has the values of AWS IoT's own form, computed independently.
func TestGuide(t *testing.T) {
	at := time.Date(2017, 6, 28, 20, 48, 45, 0, time.UTC)
	c := Credentials{AccessKeyID: "TRUSTMETHISIDISFAKE0", SecretAccessKey: "trustMeThisSecretKeyIsSoFakeAaBbCc00Dd11"}
	r := Request{Method: "GET", Path: "/mqtt", Host: "data.iot.us-east-1.amazonaws.com"}
	for _, token := range []string{"", "any/token+=="} {
		c.SessionToken = token
		q := Presign(r, c, Scope{"us-east-1", "iotdata"}, at, PresignOptions{Expires: 24 * time.Hour})
		if got, want := value(q, keySignature), "b79a4d7e31ccbf96b22d93cce1b500b9ee611ec966159547e140ae32e4dcebed"; got != want {
			t.Errorf("with token %q: %s, want %s", token, got, want)
		}
	}
	at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c = Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secretExample"}
	r.Host = "hub.example.org:8444"
	q := Presign(r, c, Scope{"eu-west-1", "iotdevicegateway"}, at, PresignOptions{})
	if got, want := value(q, keySignature), "595e0c1b8f30a9c529baa06faacc8bd1a78468b310334747915f47eadfeefc2c"; got != want {
		t.Errorf("without Expires: %s, want %s", got, want)
	}
	r = Request{Method: "POST", Path: "/topics/a%2Fb", Query: "qos=1", Host: "hub.example.org:8443", Hash: Hash([]byte("hi"))}
	headers := Sign(r, c, Scope{"eu-west-1", "iotdata"}, at)
	want := []Header{
		{"X-Amz-Date", "20260101T000000Z"},
		{"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/iotdata/aws4_request, SignedHeaders=host;x-amz-date, Signature=2fc313f9976e05e4bdb8a39e5402389035b044b71412974f50769ab593b50214"},
	}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}
	temporary := Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: "t+/="}
	scope := Scope{"eu-west-1", "iotdevicegateway"}
	presigned := func(c Credentials, o PresignOptions) Request {
		r := Request{Method: "GET", Path: "/mqtt", Host: "h"}
		r.Query = Presign(r, c, scope, at, o)
		return r
	}
	signed := func(c Credentials) Request {
		r := Request{Method: "POST", Path: "/things/a", Host: "h", Header: map[string][]string{"Content-Type": {"application/json"}}}
		for _, h := range Sign(r, c, scope, at) {
			r.Header[h.Name] = []string{h.Value}
		}
		return r
	}
	header := func(name, value string) Request {
		r := signed(c)
		if r.Header[name] = []string{value}; value == "" {
			delete(r.Header, name)
		}
		return r
	}
	auth := func(old, new string) Request {
		r := signed(c)
		return header("Authorization", strings.Replace(r.Header["Authorization"][0], old, new, 1))
	}
	query := func(old, new string) Request {
		r := presigned(c, PresignOptions{Expires: time.Minute})
		r.Query = strings.Replace(r.Query, old, new, 1)
		return r
	}
	expires := PresignOptions{Expires: time.Minute}
	for _, tc := range []struct {
		name string
		r    Request
		c    Credentials
		now  time.Duration // after it was signed
		want error
	}{
		{"header", signed(c), c, 0, nil},
		{"header, token", signed(temporary), temporary, 0, nil},
		{"header, no token", signed(c), temporary, 0, ErrToken},
		{"header, needless token", signed(temporary), c, 0, ErrToken},
		{"header, clock behind", signed(c), c, -time.Minute, nil},
		{"header, clock far behind", signed(c), c, -time.Minute - time.Second, ErrExpired},
		{"header, old", signed(c), c, time.Minute + time.Second, ErrExpired},
		{"other secret", signed(c), Credentials{SecretAccessKey: "secret2"}, 0, ErrMismatch},
		{"changed content type", header("Content-Type", "text/plain"), c, 0, ErrMismatch},
		{"no date", header("X-Amz-Date", ""), c, 0, ErrIncomplete},
		{"bad date", header("X-Amz-Date", "2026"), c, 0, ErrIncomplete},
		{"date of another day", header("X-Amz-Date", "20260102T000000Z"), c, 0, ErrMismatch},
		{"basic", header("Authorization", "Basic eDp5"), c, 0, ErrIncomplete},
		{"no credential", auth("Credential=", "Cred="), c, 0, ErrIncomplete},
		{"short credential", auth("/aws4_request", ""), c, 0, ErrIncomplete},
		{"host not signed", auth("content-type;host;", "content-type;"), c, 0, ErrMismatch},
		{"no signature", auth("Signature=", "Sig="), c, 0, ErrIncomplete},
		{"short signature", auth("Signature=", "Signature=00"), c, 0, ErrMismatch},
		{"many headers", auth("content-type;", strings.Repeat("a;b;", 60)), c, 0, ErrIncomplete},
		{"none", Request{Method: "GET", Path: "/", Host: "h"}, c, 0, ErrMissing},

		{"query", presigned(c, expires), c, 0, nil},
		{"query, at its end", presigned(c, expires), c, time.Minute, nil},
		{"query, too late", presigned(c, expires), c, time.Minute + time.Second, ErrExpired},
		{"query, early", presigned(c, expires), c, -2 * time.Minute, ErrExpired},
		{"query, no time", presigned(c, PresignOptions{}), c, time.Hour, nil},
		{"query, no time, too late", presigned(c, PresignOptions{}), c, time.Hour + time.Second, ErrExpired},
		{"query, token unsigned", presigned(temporary, expires), temporary, 0, nil},
		{"query, token signed", presigned(temporary, PresignOptions{SignToken: true}), temporary, 0, nil},
		{"query, token missing", presigned(c, expires), temporary, 0, ErrToken},
		{"query, empty token", query("&X-Amz-Signature", "&X-Amz-Security-Token=&X-Amz-Signature"), c, 0, nil},
		{"query, other algorithm", query("HMAC", "HMAC2"), c, 0, ErrIncomplete},
		{"query, twice", query("&X-Amz-Date", "&X-Amz-Date=1&X-Amz-Date"), c, 0, ErrIncomplete},
		{"query, for ever", query("Expires=60", "Expires=604801"), c, 0, ErrIncomplete},
		{"query, longer", query("Expires=60", "Expires=61"), c, 0, ErrMismatch},
		{"query, no signature", query("X-Amz-Signature", "x"), c, 0, ErrIncomplete},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := Parse(&tc.r)
			if err == nil {
				err = s.Verify(&tc.r, tc.c, Window{Now: at.Add(tc.now), Skew: time.Minute, Expires: time.Hour})
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}
