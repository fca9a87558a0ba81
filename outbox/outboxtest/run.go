package outboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/outbox"
)

// Open opens the store that is kept in dir, or makes one. It reports failures with t.Fatal; closing is the suite's.
type Open func(t testing.TB, dir string) outbox.Store

// Run checks what every driver has to do.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, outbox.Store)
	}{
		{"order", testOrder},
		{"range", testRange},
		{"stop", testStop},
		{"content", testContent},
		{"slices", testSlices},
		{"remove", testRemove},
		{"expiring", testExpiring},
		{"context", testContext},
		{"model", testModel},
		{"together", testTogether},
		{"close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir())
			defer mustClose(t, s)
			c.test(t, s)
		})
	}
}

// RunDurable is [Run] for drivers that keep records over a restart, and checks that they do.
func RunDurable(t *testing.T, open Open) {
	Run(t, open)
	t.Run("reopen", func(t *testing.T) { testReopen(t, open) })
}

// at is some time in whole microseconds.
func at(second int) time.Time { return time.Date(2026, 11, 21, 14, 30, second, 123456000, time.UTC) }

func rec(key uint64, payload string) outbox.Record {
	return outbox.Record{Key: key, Accepted: at(0), Payload: []byte(payload)}
}

const end = uint64(1<<63 - 1)

func write(t testing.TB, s outbox.Store, add []outbox.Record, remove ...uint64) []outbox.Removed {
	t.Helper()
	removed, err := s.Write(add, remove)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return removed
}

// scan returns copies.
func scan(t testing.TB, s outbox.Store, from, to uint64) []outbox.Record {
	t.Helper()
	var all []outbox.Record
	if err := s.Scan(context.Background(), from, to, collect(&all)); err != nil {
		t.Fatalf("scan: %v", err)
	}
	return all
}

func collect(all *[]outbox.Record) func(outbox.Record) bool {
	return func(r outbox.Record) bool {
		r.Header, r.Payload = bytes.Clone(r.Header), bytes.Clone(r.Payload)
		*all = append(*all, r)
		return true
	}
}

func keys(records []outbox.Record) []uint64 {
	all := []uint64{}
	for _, r := range records {
		all = append(all, r.Key)
	}
	return all
}

func same(t testing.TB, what string, want, got any) {
	t.Helper()
	// Byte by byte, as cmp would, megabytes take half a minute.
	fast := cmp.FilterValues(func(a, b []byte) bool { return len(a)+len(b) > 0 }, cmp.Comparer(bytes.Equal))
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), fast); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func mustClose(t testing.TB, s outbox.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func testOrder(t *testing.T, s outbox.Store) {
	line := func(rank, n uint64) uint64 { return rank<<55 | n }
	write(t, s, []outbox.Record{rec(line(127, 1), "a"), rec(line(0, 2), "b"), rec(line(255, 3), "c")})
	write(t, s, []outbox.Record{rec(line(127, 4), "d"), rec(line(255, 5), "e"), rec(line(0, 6), "f")})
	same(t, "keys", []uint64{line(0, 2), line(0, 6), line(127, 1), line(127, 4), line(255, 3), line(255, 5)}, keys(scan(t, s, 0, end)))
}

func testRange(t *testing.T, s outbox.Store) {
	same(t, "empty store", []uint64{}, keys(scan(t, s, 0, end)))
	write(t, s, []outbox.Record{rec(0, ""), rec(1, ""), rec(5, ""), rec(9, ""), rec(end-1, "")})
	for _, c := range []struct {
		from, to uint64
		want     []uint64
	}{
		{0, end, []uint64{0, 1, 5, 9, end - 1}},
		{1, 9, []uint64{1, 5}},
		{2, 5, nil},
		{5, 6, []uint64{5}},
		{6, end, []uint64{9, end - 1}},
		{9, 5, nil},
		{end - 1, end, []uint64{end - 1}},
	} {
		same(t, fmt.Sprintf("[%d, %d)", c.from, c.to), c.want, keys(scan(t, s, c.from, c.to)))
	}
}

func testStop(t *testing.T, s outbox.Store) {
	write(t, s, []outbox.Record{rec(1, ""), rec(2, ""), rec(3, "")})
	n := 0
	if err := s.Scan(t.Context(), 0, end, func(outbox.Record) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("got %d records, %v; want to be stopped after 2", n, err)
	}
	write(t, s, []outbox.Record{rec(4, "")}) // a stopped scan holds nothing
}

func testContent(t *testing.T, s outbox.Store) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 5<<16)
	want := []outbox.Record{
		{Key: 1, Accepted: at(1), Expires: at(2), Header: []byte("header"), Payload: []byte("payload")},
		{Key: 2, Accepted: at(1)},
		{Key: 3, Accepted: time.Unix(0, 0).UTC(), Header: []byte{0, 0xff, 0}, Payload: big},
		{Key: 4, Accepted: at(3), Expires: at(3).Add(time.Microsecond), Header: bytes.Repeat([]byte("h"), 65535)},
	}
	for _, r := range want {
		write(t, s, []outbox.Record{r})
	}
	same(t, "records", want, scan(t, s, 0, end))
}

// testSlices sees to it that neither side keeps the other's memory.
func testSlices(t *testing.T, s outbox.Store) {
	r := rec(1, "payload")
	r.Header = []byte("header")
	write(t, s, []outbox.Record{r, rec(2, "a longer payload")})
	clear(r.Header)
	clear(r.Payload)
	got := scan(t, s, 0, end)
	if string(got[0].Header) != "header" || string(got[0].Payload) != "payload" || string(got[1].Payload) != "a longer payload" {
		t.Errorf("got %v", got)
	}
}

func testRemove(t *testing.T, s outbox.Store) {
	sized := rec(2, "12345")
	sized.Header = []byte("123")
	write(t, s, []outbox.Record{rec(1, "1"), sized, rec(3, ""), rec(1<<55, "4")})
	removed := write(t, s, []outbox.Record{rec(1<<55|5, "")}, 3, 77, 2, 2, 1<<55, end)
	slices.SortFunc(removed, func(a, b outbox.Removed) int { return int(a.Size - b.Size) })
	same(t, "removed", []outbox.Removed{{Key: 3}, {Key: 1 << 55, Size: 1}, {Key: 2, Size: 8}}, removed)
	same(t, "left", []uint64{1, 1<<55 | 5}, keys(scan(t, s, 0, end)))
	same(t, "again", []outbox.Removed(nil), write(t, s, nil, 3, 2))
	write(t, s, nil)
}

func testExpiring(t *testing.T, s outbox.Store) {
	for i, second := range []int{3, 0, 1, 2, 0, 4} { // 0: never
		r := rec(uint64(i), "x")
		if second > 0 {
			r.Expires = at(second)
		}
		write(t, s, []outbox.Record{r})
	}
	write(t, s, nil, 3)
	var all []outbox.Record
	if err := s.Expiring(t.Context(), collect(&all)); err != nil {
		t.Fatal(err)
	}
	same(t, "in the order of expiry", []uint64{2, 0, 5}, keys(all))
	if string(all[0].Payload) != "x" || !all[0].Expires.Equal(at(1)) {
		t.Errorf("got %v", all[0])
	}
	n := 0
	if err := s.Expiring(t.Context(), func(outbox.Record) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("got %d records, %v; want to be stopped after 1", n, err)
	}
}

func testContext(t *testing.T, s outbox.Store) {
	write(t, s, []outbox.Record{rec(1, ""), rec(2, "")})
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := s.Scan(ctx, 0, end, func(outbox.Record) bool { n++; cancel(); return true })
	if n != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d records, %v; want one and the context's error", n, err)
	}
	same(t, "another context", 2, len(scan(t, s, 0, end)))
}

// testModel compares the store with a map over many random writes.
func testModel(t *testing.T, s outbox.Store) {
	rnd := rand.New(rand.NewPCG(1, 2))
	model := map[uint64]outbox.Record{}
	number := uint64(0)
	for round := range 300 {
		var add []outbox.Record
		remove := []uint64{}
		for range rnd.IntN(20) {
			number++
			r := rec(rnd.Uint64N(4)*85<<55|number, fmt.Sprint(number))
			if rnd.IntN(2) == 0 {
				r.Expires = at(rnd.IntN(60))
			}
			add = append(add, r)
		}
		for k := range model {
			if rnd.IntN(2+round%20) == 0 == (round%3 == 0) { // few, or nearly all: whole stretches of neighbours
				remove = append(remove, k)
			}
		}
		got := []uint64{}
		for _, r := range write(t, s, add, remove...) {
			got = append(got, r.Key)
			if want := model[r.Key]; r.Size != want.Size() {
				t.Errorf("removed %d of size %d, want %d", r.Key, r.Size, want.Size())
			}
		}
		slices.Sort(got)
		slices.Sort(remove)
		same(t, "removed", remove, got)
		for _, k := range remove {
			delete(model, k)
		}
		for _, r := range add {
			model[r.Key] = r
		}
	}
	var want []outbox.Record
	for _, k := range slices.Sorted(maps.Keys(model)) {
		want = append(want, model[k])
	}
	same(t, "records", want, scan(t, s, 0, end))
}

// testTogether reads and writes at the same time. What a scan sees has no holes, since records are removed from the front.
func testTogether(t *testing.T, s outbox.Store) {
	const n = 400
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range uint64(n) {
			var remove []uint64
			if i >= 50 {
				remove = []uint64{i - 50}
			}
			if _, err := s.Write([]outbox.Record{rec(i, fmt.Sprint(i))}, remove); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				next := uint64(0)
				err := s.Scan(t.Context(), 0, end, func(r outbox.Record) bool {
					if next > 0 && r.Key != next || string(r.Payload) != fmt.Sprint(r.Key) {
						t.Errorf("got %d with payload %q, want %d", r.Key, r.Payload, next)
					}
					next = r.Key + 1
					return true
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	same(t, "left", 50, len(scan(t, s, 0, end)))
}

func testClose(t *testing.T, s outbox.Store) {
	write(t, s, []outbox.Record{rec(1, "")})
	mustClose(t, s)
	mustClose(t, s)
	_, err := s.Write([]outbox.Record{rec(2, "")}, nil)
	for what, err := range map[string]error{
		"write":    err,
		"scan":     s.Scan(t.Context(), 0, end, func(outbox.Record) bool { return true }),
		"expiring": s.Expiring(t.Context(), func(outbox.Record) bool { return true }),
	} {
		if !errors.Is(err, fairlead.ErrClosed) {
			t.Errorf("%s after Close: got %v, want ErrClosed", what, err)
		}
	}
}

func testReopen(t *testing.T, open Open) {
	dir := t.TempDir()
	s := open(t, dir)
	r := rec(1, "payload")
	r.Header, r.Expires = []byte("header"), at(5)
	write(t, s, []outbox.Record{r, rec(2, "gone"), rec(3, "")})
	write(t, s, nil, 2)
	mustClose(t, s)
	for range 2 {
		s = open(t, dir)
		same(t, "records", []outbox.Record{r, rec(3, "")}, scan(t, s, 0, end))
		mustClose(t, s)
	}
	s = open(t, dir)
	defer mustClose(t, s)
	write(t, s, []outbox.Record{rec(4, "")}, 1)
	same(t, "keys", []uint64{3, 4}, keys(scan(t, s, 0, end)))
}
