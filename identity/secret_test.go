package identity_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
)

const word = "hunter2hunter2"

// TestSecretHides looks for the content in everything that prints.
func TestSecretHides(t *testing.T) {
	s := identity.NewSecret(word)
	type config struct {
		Public identity.Secret
		hidden identity.Secret
		Deep   map[string][]*identity.Secret
	}
	c := config{s, s, map[string][]*identity.Secret{"a": {&s}}}
	outputs := map[string]string{"error": fmt.Errorf("with %v: %w", s, errors.New("x")).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s", "%p", "%w"} {
		for name, v := range map[string]any{"value": s, "pointer": &s, "struct": c, "pointer to struct": &c, "slice": []any{s, c}} {
			outputs[verb+" of "+name] = fmt.Sprintf(verb, v)
		}
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "secret", s, "pointer", &s, "config", c, slog.Group("g", "s", s))
	}
	outputs["slog"] = log.String()
	for name, v := range map[string]any{"json": c, "json of secret": s, "json of map": map[string]any{"s": s}, "json key": map[identity.Secret]int{s: 1}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		outputs[name] = string(b)
	}
	hex := fmt.Sprintf("%x", word)
	for what, out := range outputs {
		if strings.Contains(out, word) || strings.Contains(strings.ToLower(out), hex) || strings.Contains(out, fmt.Sprint([]byte(word))) {
			t.Errorf("%s shows the secret: %s", what, out)
		}
		if out == "" {
			t.Errorf("%s is empty", what)
		}
	}
	if got := s.Reveal(); got != word {
		t.Errorf("Reveal: got %q", got)
	}
}

func TestSecret(t *testing.T) {
	var none identity.Secret
	s := identity.NewSecret(word)
	if !none.IsZero() || s.IsZero() || !identity.NewSecret("").IsZero() || none.String() != "" || none.Reveal() != "" {
		t.Error("the zero value is not the empty secret")
	}
	if !s.Equal(identity.NewSecret(word)) || s.Equal(none) || s.Equal(identity.NewSecret(word+"!")) || !none.Equal(none) {
		t.Error("Equal is wrong")
	}
	var c struct{ Token identity.Secret }
	if err := json.Unmarshal([]byte(`{"Token":"`+word+`"}`), &c); err != nil || c.Token.Reveal() != word {
		t.Errorf("from JSON: %v", err)
	}
	out, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &c); err == nil {
		t.Error("what was hidden was read back as if it were the secret")
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "token")
	if _, err := identity.LoadSecret(path); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("no file: got %v", err)
	}
	if err := identity.SaveSecret(path, identity.Secret{}); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("empty: got %v", err)
	}
	if err := identity.SaveSecret(path, identity.NewSecret(word)); err != nil {
		t.Fatal(err)
	}
	s, err := identity.LoadSecret(path)
	if err != nil || s.Reveal() != word {
		t.Errorf("got %q, %v", s.Reveal(), err)
	}
	if runtime.GOOS != "windows" {
		_ = os.Chmod(path, 0o640)
		if _, err := identity.LoadSecret(path); !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), "0640") {
			t.Errorf("open to others: got %v", err)
		}
	}
	_ = os.WriteFile(path, []byte(" \n"), 0o600)
	_ = os.Chmod(path, 0o600)
	if _, err := identity.LoadSecret(path); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("blank: got %v", err)
	}
	_ = os.WriteFile(path, make([]byte, 1<<20), 0o600)
	if _, err := identity.LoadSecret(path); !errors.Is(err, fairlead.ErrTooLarge) {
		t.Errorf("large: got %v", err)
	}
	if _, err := identity.LoadSecret(filepath.Dir(path)); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("folder: got %v", err)
	}
}
