package sigv4

import (
	"errors"
	"testing"
	"time"
)

// FuzzSign signs whatever a request may be, in both forms, and wants it verified.
func FuzzSign(f *testing.F) {
	f.Add("GET", "/mqtt", "", "hub.example.org:8443", "Content-Type", "a  b", "tok/en+==")
	f.Add("POST", "/topics/a%2Fb", "qos=1&x=%zz&y=a+b&=&&z", "h", "x-amzn-principal", "arn:aws", "")
	f.Fuzz(func(t *testing.T, method, path, query, host, name, value, token string) {
		c := Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret", SessionToken: token}
		s, at := Scope{"eu-west-1", "iotdata"}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		r := Request{Method: method, Path: path, Query: query, Host: host, Header: map[string][]string{name: {value}}}
		for _, h := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
			r2 := Request{Header: r.Header}
			if len(r2.values(lower(h))) > 0 {
				return
			}
		}
		signed := r
		signed.Header = map[string][]string{name: {value}}
		for _, h := range Sign(r, c, s, at) {
			signed.Header[h.Name] = []string{h.Value}
		}
		verify(t, "header", signed, c, at)

		for _, p := range params(query) {
			if len(p.name) >= 6 && p.name[:6] == "X-Amz-" {
				return
			}
		}
		for _, o := range []PresignOptions{{}, {Expires: time.Minute, SignToken: true}} {
			presigned := r
			presigned.Query = Presign(r, c, s, at, o)
			verify(t, "query", presigned, c, at)
		}
	})
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func verify(t *testing.T, form string, r Request, c Credentials, at time.Time) {
	t.Helper()
	s, err := Parse(&r)
	if err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	if err := s.Verify(&r, c, Window{Now: at, Expires: time.Hour}); err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	c.SecretAccessKey += "x"
	if err := s.Verify(&r, c, Window{Now: at, Expires: time.Hour}); !errors.Is(err, ErrMismatch) {
		t.Fatalf("%s: with another secret: %v", form, err)
	}
}

// FuzzParse wants an answer to whatever a peer sends.
func FuzzParse(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=A/20260101/r/s/aws4_request, SignedHeaders=host, Signature=00", "20260101T000000Z", "")
	_, all := recorded(f, "websocket-requests.json")
	for _, r := range all {
		f.Add("", "", r.Query)
	}
	f.Fuzz(func(t *testing.T, auth, date, query string) {
		r := Request{Method: "GET", Path: "/mqtt", Host: "h", Query: query, Header: map[string][]string{}}
		if auth != "" {
			r.Header["Authorization"], r.Header["X-Amz-Date"] = []string{auth}, []string{date}
		}
		s, err := Parse(&r)
		if err != nil {
			return
		}
		if err := s.Verify(&r, Credentials{SecretAccessKey: "not this one"}, Window{Now: s.At}); !errors.Is(err, ErrMismatch) {
			t.Fatalf("verified: %v", err)
		}
	})
}
