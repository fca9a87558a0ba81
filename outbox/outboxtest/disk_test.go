package outboxtest

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// left returns what a power cut leaves of a file, "-" if there is none.
func left(t *testing.T, ops []diskOp, survives fate) string {
	t.Helper()
	m := image{}
	for _, op := range ops {
		op.path = "f"
		m.apply(op)
	}
	dir := t.TempDir()
	m.write(t, dir, survives, rand.New(rand.NewPCG(0, 0)))
	b, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil {
		return "-"
	}
	return string(b)
}

func TestDisk(t *testing.T) {
	block := func(s string, n int) []byte { return bytes.Repeat([]byte(s), n*sector) }
	str := func(b ...[]byte) string { return string(bytes.Join(b, nil)) }
	w := func(off int, b []byte) diskOp { return diskOp{off: int64(off), data: b} }
	sync := diskOp{kind: opSync}
	nth := 0
	for name, c := range map[string]struct {
		ops                    []diskOp
		none, all, everySecond string
	}{
		"nothing synced": {
			[]diskOp{w(0, block("a", 4))},
			str(block("\x00", 4)), str(block("a", 4)), str(block("\x00", 1), block("a", 1), block("\x00", 1), block("a", 1)),
		},
		"written over": {
			[]diskOp{w(0, block("a", 2)), sync, w(0, block("b", 2))},
			str(block("a", 2)), str(block("b", 2)), str(block("a", 1), block("b", 1)),
		},
		"less than a sector": {
			[]diskOp{w(0, []byte("aaaa")), sync, w(1, []byte("bb"))},
			"aaaa", "abba", "aaaa",
		},
		"synced":    {[]diskOp{w(0, block("a", 2)), sync}, str(block("a", 2)), str(block("a", 2)), str(block("a", 2))},
		"truncated": {[]diskOp{w(0, block("a", 2)), sync, {kind: opTruncate, off: 3}}, "aaa", "aaa", "aaa"},
		"removed":   {[]diskOp{w(0, block("a", 2)), sync, {kind: opRemove}}, "-", "-", "-"},
	} {
		nth = 0
		for i, got := range []string{
			left(t, c.ops, fates[0].survives),
			left(t, c.ops, fates[1].survives),
			left(t, c.ops, func(*rand.Rand) bool { nth++; return nth%2 == 0 }),
		} {
			if want := []string{c.none, c.all, c.everySecond}[i]; got != want {
				t.Errorf("%s, case %d: got %q, want %q", name, i, got, want)
			}
		}
	}
}

func TestDiskWatch(t *testing.T) {
	d := &Disk{}
	x := filepath.FromSlash("/x")
	f, g := filepath.Join(x, "f"), filepath.Join(x, "g")
	d.Write(f, 0, []byte("before"))
	d.watch(x)
	d.Write(f, 0, []byte("a"))
	d.Write(filepath.FromSlash("/y/f"), 0, []byte("elsewhere"))
	d.Sync(f)
	d.Remove(f)
	d.Truncate(g, 7)
	d.watch("")
	d.Write(f, 0, []byte("after"))
	if len(d.ops) != 4 || d.ops[0].path != "f" || d.now() != 4 {
		t.Errorf("got %v", d.ops)
	}
}
