package accesskey

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/seal"
)

func TestPass(t *testing.T) {
	g := newRig(t)
	ends := time.Date(2026, 5, 6, 8, 0, 0, 0, time.UTC)
	p, s, err := g.Lend("a", "cert/1", ends)
	if err != nil || !strings.HasPrefix(p.ID, "ASIA") || s.Secret == "" || s.Token == "" {
		t.Fatalf("got %+v, %+v, %v", p, s, err)
	}
	got, secret, ok := g.Pass(p.ID, s.Token)
	if !ok || got != p || secret != s {
		t.Errorf("got %+v, %+v, %v, want %+v, %+v", got, secret, ok, p, s)
	}
	if got.Expired(ends.Add(-time.Second)) || !got.Expired(ends) {
		t.Error("it does not expire when it should")
	}
	if _, _, err := g.find(p.ID, ends.Add(-time.Hour)); err == nil {
		t.Error("a pass is kept somewhere")
	}
	other, _, err := g.Lend("b", "cert/2", ends)
	if err != nil {
		t.Fatal(err)
	}
	_, kept := g.make("a", "other", ends.AddDate(10, 0, 0))
	stranger, err := seal.New(append(make([]byte, 31), 1))
	if err != nil {
		t.Fatal(err)
	}
	_, strange, err := New(g.config(stranger)).Lend("a", "cert/1", ends)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct{ id, token string }{
		"of another":     {other.ID, s.Token},
		"none":           {p.ID, ""},
		"of a key":       {p.ID, kept.Token},
		"of another hub": {p.ID, strange.Token},
		"cut":            {p.ID, s.Token[:len(s.Token)-1]},
		"changed":        {p.ID, strings.Replace(s.Token, s.Token[20:21], map[bool]string{true: "B", false: "A"}[s.Token[20] == 'A'], 1)},
		"no base64":      {p.ID, tokenMark + "%"},
		"of a secret":    {p.ID, tokenMark + base64.RawURLEncoding.EncodeToString(g.seal.Seal([]byte(`{"id":"`+p.ID+`"}`), "aws/a/accesskey/"+p.ID))},
		"no JSON":        {p.ID, tokenMark + base64.RawURLEncoding.EncodeToString(g.seal.Seal([]byte(`{`), g.passLabel()))},
		"large":          {p.ID, tokenMark + strings.Repeat("A", maxToken+1)},
	} {
		if _, _, ok := g.Pass(x.id, x.token); ok {
			t.Errorf("%s: the token is taken", name)
		}
	}
}

func FuzzPass(f *testing.F) {
	k, err := seal.New(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	ks := New(Config{Seal: k, Dialect: "x", Temporary: "ASIA"})
	p, s, err := ks.Lend("a", "cert/1", time.Unix(1, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Token)
	f.Add(tokenMark)
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, ok := ks.Pass(p.ID, token); ok && token != s.Token {
			t.Errorf("%q is taken", token)
		}
	})
}
