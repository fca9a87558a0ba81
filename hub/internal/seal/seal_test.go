package seal

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestSeal(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	k, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", st, err)
	}
	secret := []byte("a secret")
	sealed := k.Seal(secret, "aws/dev/AKID")
	if bytes.Contains(sealed, secret) {
		t.Error("the secret is in clear")
	}
	if bytes.Equal(sealed, k.Seal(secret, "aws/dev/AKID")) {
		t.Error("the same secret is sealed to the same bytes")
	}
	again, err := OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(sealed, "aws/dev/AKID"); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("opened: %q, %v", got, err)
	}
	if got, err := again.Open(sealed, "aws/other/AKID"); err == nil {
		t.Errorf("opened under another label: %q", got)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := again.Open(changed, "aws/dev/AKID"); err == nil {
			t.Errorf("opened with byte %d changed: %q", i, got)
		}
	}
	for _, short := range [][]byte{nil, {version}, sealed[:10]} {
		if _, err := again.Open(short, "aws/dev/AKID"); err == nil {
			t.Errorf("opened %d bytes", len(short))
		}
	}
	other, err := OpenFile(name + "2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(sealed, "aws/dev/AKID"); err == nil || strings.Contains(err.Error(), "a secret") {
		t.Errorf("with another key: %v", err)
	}
}

func TestBadFile(t *testing.T) {
	for _, text := range []string{"", "00", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFile(name); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestNew(t *testing.T) {
	if _, err := New(make([]byte, 16)); err == nil {
		t.Error("16 bytes: no error")
	}
}
