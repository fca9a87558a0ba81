package astartewire

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// purgeList returns a list with the text, a header of zero and Go's zlib form of it.
func purgeList(text string) []byte {
	var buf bytes.Buffer
	buf.Write([]byte{0, 0, 0, 0})
	w := zlib.NewWriter(&buf)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return buf.Bytes()
}

func TestParsePurgeList(t *testing.T) {
	example := mustHex(t, "00000021 789ccb2f4ad74bad48cc2dc849d50bd04fb4ce47e127e9270300cdab0baf")
	badSum := bytes.Clone(example)
	badSum[len(badSum)-1]++
	for _, c := range []struct {
		name string
		in   []byte
		want []string
		err  error
	}{
		{"example", example, []string{"org.example.P/a", "org.example.P/b/c"}, nil},
		{"little endian header", append([]byte{0x21, 0, 0, 0}, example[4:]...), []string{"org.example.P/a", "org.example.P/b/c"}, nil},
		{"four zero bytes", []byte{0, 0, 0, 0}, nil, nil},
		{"four other bytes", []byte{0, 0, 0, 1}, nil, ErrPurgeList},
		{"Python's and Rust's empty list", mustHex(t, "00000000789c030000000001"), nil, nil},
		{"Go's empty list", mustHex(t, "00000000789c010000ffff00000001"), nil, nil},
		{"items without slash", purgeList("a/b;c;;/d;e/f;"), []string{"a/b", "e/f"}, nil},
		{"nothing", nil, nil, ErrPurgeList},
		{"three bytes", []byte{0, 0, 0}, nil, ErrPurgeList},
		{"truncated", example[:len(example)-5], nil, ErrPurgeList},
		{"checksum cut", example[:len(example)-1], nil, ErrPurgeList},
		{"wrong checksum", badSum, nil, ErrPurgeList},
		{"trailing byte", append(bytes.Clone(example), 0), nil, ErrPurgeList},
		{"not zlib", append([]byte{0, 0, 0, 0}, "a/b;c/d"...), nil, ErrPurgeList},
		{"not UTF-8", purgeList("a/\xff"), nil, ErrPurgeList},
		{"largest", purgeList("a/" + strings.Repeat("b", MaxPurgeText-3)), []string{"a/" + strings.Repeat("b", MaxPurgeText-3)}, nil},
		{"too large", purgeList("a/" + strings.Repeat("b", MaxPurgeText-2)), nil, ErrPurgeList},
		{"much too large", purgeList(strings.Repeat("b", 3*MaxPurgeText)), nil, ErrPurgeList},
	} {
		got, err := ParsePurgeList(c.in)
		if !errors.Is(err, c.err) || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %d items, %v, want %d, %v", c.name, len(got), err, len(c.want), c.err)
		}
	}
}

func TestParsePlainPurgeList(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, "\x00\x00\x00\x00": nil, "a/b;c/d": {"a/b", "c/d"},
	} {
		if got, err := ParsePlainPurgeList([]byte(in)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"a/\xff", strings.Repeat("x", MaxPurgeText)} {
		if _, err := ParsePlainPurgeList([]byte(in)); !errors.Is(err, ErrPurgeList) {
			t.Errorf("%.10q: got %v, want %v", in, err, ErrPurgeList)
		}
	}
	if got := string(AppendPlainPurgeList(nil, []string{"a/b", "c/d"})); got != "a/b;c/d" {
		t.Errorf("got %q", got)
	}
}

func TestAppendPurgeList(t *testing.T) {
	if got, want := AppendPurgeList(nil, nil), mustHex(t, "00000000789c030000000001"); !bytes.Equal(got, want) {
		t.Errorf("empty list: got %x, want %x", got, want)
	}
	for range 3 { // the compressor is used again
		b := AppendPurgeList([]byte("begin"), []string{"org.example.P/a", "org.example.P/b/c"})
		rest, ok := bytes.CutPrefix(b, []byte("begin"))
		if !ok || binary.BigEndian.Uint32(rest) != 33 {
			t.Fatalf("got %x", b)
		}
		if items, err := ParsePurgeList(rest); err != nil || len(items) != 2 {
			t.Errorf("got %q, %v", items, err)
		}
	}
}

func TestSplitPurgeItem(t *testing.T) {
	for item, want := range map[string][2]string{
		"org.example.P/b/c": {"org.example.P", "/b/c"}, "x": {"x", ""}, "/a": {"", "/a"},
	} {
		if name, path := SplitPurgeItem(item); name != want[0] || path != want[1] {
			t.Errorf("%q: got %q, %q", item, name, path)
		}
	}
}

// FuzzPurgeList reads arbitrary bytes, and what the writer makes of arbitrary items.
func FuzzPurgeList(f *testing.F) {
	for _, v := range loadVectors(f, "properties.json") {
		f.Add(mustHex(f, v.Hex))
	}
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte("a/b;c/d"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if items, err := ParsePurgeList(b); err == nil {
			for _, item := range items {
				if name, path := SplitPurgeItem(item); name == "" || path == "" || !utf8.ValidString(item) {
					t.Errorf("item %q", item)
				}
			}
		}
		items, err := ParsePlainPurgeList(b)
		if err != nil {
			return
		}
		again, err := ParsePurgeList(AppendPurgeList(nil, items))
		if err != nil || !slices.Equal(items, again) {
			t.Errorf("got %q, %v, want %q", again, err, items)
		}
	})
}

func BenchmarkPurgeList(b *testing.B) {
	var items []string
	for i := range 20 {
		items = append(items, fmt.Sprintf("org.example.capture.Props/room%d/setting", i))
	}
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = AppendPurgeList(buf[:0], items)
		if _, err := ParsePurgeList(buf); err != nil {
			b.Fatal(err)
		}
	}
}
