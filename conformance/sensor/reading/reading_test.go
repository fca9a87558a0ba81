package reading

import "testing"

func TestValue(t *testing.T) {
	for _, n := range []uint64{0, 1, 1 << 40} {
		v := Value(n)
		if got, ok := Number(v); got != n || !ok {
			t.Errorf("got %d, %v; want %d", got, ok, n)
		}
		v[len(v)-1]++
		if _, ok := Number(v); ok {
			t.Errorf("%d: damaged noise is taken for a reading", n)
		}
	}
	if _, ok := Number(nil); ok {
		t.Error("nothing is taken for a reading")
	}
}
