package mqtt

import (
	"bufio"
	"bytes"
	"testing"
)

// frame cuts exactly one frame out of raw.
func frame(t testing.TB, raw []byte) Frame {
	t.Helper()
	f, err := NewFrameReader(bufio.NewReader(bytes.NewReader(raw)), MaxRemainingBytes).Next()
	if err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	return f
}
