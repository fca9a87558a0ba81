package awsiot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
)

// lender answers like the credentials provider: each key has a number, and lasts an hour.
type lender struct {
	mu     sync.Mutex
	asked  int
	answer func(w http.ResponseWriter) // nil: a key
	last   *http.Request
}

func (l *lender) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	l.last = r
	if l.answer != nil {
		l.answer(w)
		return
	}
	fmt.Fprintf(w, `{"credentials":{"accessKeyId":"ASIA%d","secretAccessKey":"s%d","sessionToken":"t%d","expiration":"%s"}}`, l.asked, l.asked, l.asked, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func (l *lender) will(answer func(http.ResponseWriter)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

func (l *lender) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// lends returns a provider that asks l over mutual TLS.
func lends(t *testing.T, l http.Handler) *RoleAliasCredentials {
	t.Helper()
	d, _ := greengrass(t, l.ServeHTTP)
	return &RoleAliasCredentials{Endpoint: endpoint, RoleAlias: "door cameras", ThingName: "pump-7", Identity: d.Identity, RootCAs: d.RootCAs, Dial: d.Dial}
}

// A key is kept for half of its life, however many ask; and until it ends if there is no other one.
func TestRoleAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lender{}
		p := lends(t, l)
		want := func(key string, asked int) {
			t.Helper()
			c, err := p.Retrieve(t.Context())
			if err != nil || c.AccessKeyID != key || c.SecretAccessKey.Reveal() != strings.Replace(key, "ASIA", "s", 1) || c.SessionToken.Reveal() != strings.Replace(key, "ASIA", "t", 1) {
				t.Errorf("got %s, %v, want %s", c.AccessKeyID, err, key)
			}
			if left := time.Until(c.Expires); left <= 0 || left > time.Hour {
				t.Errorf("ends after %v", left)
			}
			if got := l.count(); got != asked {
				t.Errorf("asked %d times, want %d", got, asked)
			}
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { want("ASIA1", 1) })
		}
		all.Wait()
		if r := l.last; r.Host != endpoint || r.RequestURI != "/role-aliases/door%20cameras/credentials" || r.Header.Get("X-Amzn-Iot-Thingname") != "pump-7" || r.TLS.PeerCertificates[0].Subject.CommonName != "pump-7" {
			t.Errorf("asked %+v", r)
		}
		time.Sleep(29 * time.Minute)
		want("ASIA1", 1)
		time.Sleep(time.Minute)
		want("ASIA2", 2)
		time.Sleep(31 * time.Minute)
		l.will(func(w http.ResponseWriter) { http.Error(w, `{"message":"later"}`, http.StatusServiceUnavailable) })
		want("ASIA2", 3)
		want("ASIA2", 3) // not at once again
		time.Sleep(time.Minute)
		want("ASIA2", 4)
		time.Sleep(28 * time.Minute)
		if _, err := p.Retrieve(t.Context()); !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("when the key has ended: %v", err)
		}
		l.will(nil)
		want("ASIA6", 6)
	})
}

func TestRoleAliasRefused(t *testing.T) {
	l := &lender{}
	p := lends(t, l)
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	const key = `"accessKeyId":"a","secretAccessKey":"secret"`
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		kind   error
		code   string
	}{
		"no policy":   {status(403, `{"message":"Access Denied"}`), fairlead.ErrDenied, "403"},
		"no alias":    {status(404, `{"message":"Role alias does not exist"}`), fairlead.ErrNotFound, "404"},
		"too often":   {status(429, ``), fairlead.ErrThrottled, "429"},
		"redirection": {status(302, ``), fairlead.ErrUnavailable, "302"},
		"no JSON":     {status(200, `<html>`), fairlead.ErrUnavailable, ""},
		"no token":    {status(200, `{"credentials":{`+key+`,"expiration":"2030-01-01T00:00:00Z"}}`), fairlead.ErrUnavailable, ""},
		"no end":      {status(200, `{"credentials":{`+key+`,"sessionToken":"t"}}`), fairlead.ErrUnavailable, ""},
		"a bad end":   {status(200, `{"credentials":{`+key+`,"sessionToken":"t","expiration":"soon"}}`), fairlead.ErrUnavailable, ""},
		"too long":    {status(200, strings.Repeat(" ", maxRoleAliasBytes)), fairlead.ErrUnavailable, ""},
	} {
		l.will(tt.answer)
		_, err := p.Retrieve(t.Context())
		var refusal *fairlead.PlatformError
		if !errors.Is(err, tt.kind) && !(tt.code == "302" && err != nil) || errors.As(err, &refusal) != (tt.code != "") || refusal != nil && refusal.Code != tt.code || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Retrieve(ctx); !errors.Is(err, fairlead.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for name, spoil := range map[string]func(*RoleAliasCredentials){
		"Identity":   func(p *RoleAliasCredentials) { p.Identity = nil },
		"alias":      func(p *RoleAliasCredentials) { p.RoleAlias = "" },
		"endpoint":   func(p *RoleAliasCredentials) { p.Endpoint = "https://x" },
		"ThingName ": func(p *RoleAliasCredentials) { p.ThingName = "a\r\nHost: b" },
	} {
		bad := &RoleAliasCredentials{Endpoint: endpoint, RoleAlias: "a", Identity: p.Identity}
		spoil(bad)
		if _, err := bad.Retrieve(t.Context()); !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An answer that never comes ends with the time that it has.
func TestRoleAliasTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		p := lends(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
		start := time.Now()
		if _, err := p.Retrieve(t.Context()); !errors.Is(err, ErrTimeout) || !errors.Is(err, fairlead.ErrUnavailable) || time.Since(start) != roleAliasTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		close(done)
	})
}

func FuzzLent(f *testing.F) {
	f.Add([]byte(`{"credentials":{"accessKeyId":"a","secretAccessKey":"s","sessionToken":"t","expiration":"2030-01-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseLent(body)
		if (err == nil) == (c.AccessKeyID == "" || c.SecretAccessKey.IsZero() || c.SessionToken.IsZero() || c.Expires.IsZero()) {
			t.Errorf("%+v, %v", c, err)
		}
	})
}
