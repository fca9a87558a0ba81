package astartewire

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

const exampleID = "Vi3j3M8YVpOPyuzqk8sg5A" // in the vectors

func TestParseDeviceID(t *testing.T) {
	for _, c := range []struct {
		name, in string
		id       string
		err      error // of ParseDeviceID; only ErrExtendedDeviceID leaves ParseExtendedDeviceID without error
	}{
		{"canonical", exampleID, exampleID, nil},
		{"padded", exampleID + "==", exampleID, nil},
		{"bits behind the 128th", "Vi3j3M8YVpOPyuzqk8sg5B", exampleID, nil},
		{"the same, padded", "Vi3j3M8YVpOPyuzqk8sg5P==", exampleID, nil},
		{"padding cut", exampleID + "=", "", ErrDeviceID},
		{"padding too long", exampleID + "===", "", ErrDeviceID},
		{"standard alphabet", "Vi3j3M8YVpOPyuzqk8sg+A", "", ErrDeviceID},
		{"slash", "Vi3j3M8YVpOPyuzqk8sg/A", "", ErrDeviceID},
		{"URL-safe alphabet", "Vi3j3M8YVpOPyuzqk8s-_A", "Vi3j3M8YVpOPyuzqk8s-_A", nil},
		{"short", "Vi3j3M8YVpOPyuzqk8sg5", "", ErrDeviceID},
		{"empty", "", "", ErrDeviceID},
		{"24 characters, 144 bits", exampleID + "AA", exampleID, ErrExtendedDeviceID},
		{"23 characters, 136 bits", exampleID + "A", exampleID, ErrExtendedDeviceID},
		{"23 characters, padded", exampleID + "A=", exampleID, ErrExtendedDeviceID},
		{"very long", exampleID + strings.Repeat("AAAA", 50), exampleID, ErrExtendedDeviceID},
		{"extended and prefix not canonical", "Vi3j3M8YVpOPyuzqk8sg5BAA", exampleID, ErrExtendedDeviceID},
		{"length that base64 cannot have", exampleID + "AAA", "", ErrDeviceID},
		{"line break", "Vi3j3M8YVpO\nPyuzqk8sg5A", "", ErrDeviceID},
		{"space", "Vi3j3M8YVpO Pyuzqk8sg5A", "", ErrDeviceID},
		{"not ASCII", "Vi3j3M8YVpOPyuzqk8sgä", "", ErrDeviceID},
	} {
		id, err := ParseDeviceID(c.in)
		if !errors.Is(err, c.err) || err == nil && id != c.id {
			t.Errorf("%s: ParseDeviceID: got %q, %v, want %q, %v", c.name, id, err, c.id, c.err)
		}
		want := c.err
		if errors.Is(want, ErrExtendedDeviceID) {
			want = nil
		}
		id, err = ParseExtendedDeviceID(c.in)
		if !errors.Is(err, want) || id != c.id {
			t.Errorf("%s: ParseExtendedDeviceID: got %q, %v, want %q, %v", c.name, id, err, c.id, want)
		}
	}
}

// TestDeviceIDFromName has the check vector that Python's uuid5 and astartectl give.
func TestDeviceIDFromName(t *testing.T) {
	namespace := [16]byte(mustHex(t, "f79ad91fc6384889ae749d001a3b4cf8"))
	if got := DeviceIDFromName(namespace, []byte("sn-0001")); got != exampleID {
		t.Errorf("got %s, want %s", got, exampleID)
	}
	b, err := DeviceIDBytes(exampleID)
	if want := [16]byte(mustHex(t, "562de3dccf1856938fcaecea93cb20e4")); b != want || err != nil {
		t.Errorf("got %x, %v, want %x", b, err, want)
	}
	if got := DeviceIDFromBytes(b); got != exampleID {
		t.Errorf("got %s, want %s", got, exampleID)
	}
	if _, err := DeviceIDBytes("?"); !errors.Is(err, ErrDeviceID) {
		t.Errorf("got %v, want %v", err, ErrDeviceID)
	}
}

func TestRandomDeviceID(t *testing.T) {
	a, b := RandomDeviceID(), RandomDeviceID()
	raw, err := DeviceIDBytes(a)
	if a == b || err != nil || raw[6]>>4 != 4 || raw[8]>>6 != 2 {
		t.Errorf("got %s (%x), then %s, %v", a, raw, b, err)
	}
}

// FuzzDeviceID compares with a decoder that works bit by bit.
func FuzzDeviceID(f *testing.F) {
	for _, s := range []string{exampleID, exampleID + "==", exampleID + "AA", "", "=", "\r\n", exampleID[:21] + "_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, extended, ok := slowDeviceID(s)
		id, err := ParseDeviceID(s)
		ext, extErr := ParseExtendedDeviceID(s)
		switch {
		case !ok && (err != ErrDeviceID || extErr != ErrDeviceID):
			t.Errorf("%q: got %v, %v, want ErrDeviceID", s, err, extErr)
		case ok && (extErr != nil || ext != want):
			t.Errorf("%q: got %q, %v, want %q", s, ext, extErr, want)
		case ok && extended && err != ErrExtendedDeviceID:
			t.Errorf("%q: got %v, want ErrExtendedDeviceID", s, err)
		case ok && !extended && (err != nil || id != want):
			t.Errorf("%q: got %q, %v, want %q", s, id, err, want)
		}
		if again, err := ParseDeviceID(want); ok && (err != nil || again != want) {
			t.Errorf("canonical %q: got %q, %v", want, again, err)
		}
	})
}

func slowDeviceID(s string) (id string, extended, ok bool) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := strings.TrimRight(s, "=")
	if pad := len(s) - len(text); pad > 0 && (len(s)%4 != 0 || pad > 2) || len(text)%4 == 1 || len(text) < 22 {
		return "", false, false
	}
	var bits []int
	for _, c := range text {
		v := strings.IndexRune(alphabet, c)
		if v < 0 {
			return "", false, false
		}
		for i := 5; i >= 0; i-- {
			bits = append(bits, v>>i&1)
		}
	}
	canonical := make([]byte, 22)
	for i := range canonical {
		v := 0
		for k := range 6 {
			v <<= 1
			if at := 6*i + k; at < 128 {
				v |= bits[at]
			}
		}
		canonical[i] = alphabet[v]
	}
	return string(canonical), len(bits)/8 > 16, true
}

func TestValidRealm(t *testing.T) {
	pattern := regexp.MustCompile(`^[a-z][a-z0-9]{0,47}$`)
	for _, name := range []string{
		"", "a", "test", "test1", "1test", "Test", "te-st", "te_st", "te st", "tést", "astarte", "astarte1", "system",
		"systemx", "system_x", strings.Repeat("a", 48), strings.Repeat("a", 49), "a\n",
	} {
		want := pattern.MatchString(name) && name != "astarte" && name != "system"
		if got := ValidRealm(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}
