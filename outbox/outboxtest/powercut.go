package outboxtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/outbox"
)

// fates are the kinds of power cuts.
var fates = []struct {
	name     string
	survives fate
}{
	{"nothing that was not synced survives", func(*rand.Rand) bool { return false }},
	{"everything survives, as after kill -9", func(*rand.Rand) bool { return true }},
	{"half of the sectors survive", func(r *rand.Rand) bool { return r.IntN(2) == 0 }},
	{"nearly everything survives", func(r *rand.Rand) bool { return r.IntN(8) > 0 }},
}

// moment is what the store has promised when so many operations had been recorded.
type moment struct {
	ops    int
	before map[uint64]string // acknowledged
	after  map[uint64]string // what is being written comes on top; the same as before if nothing is
}

// PowerCuts has a store, whose writes are recorded on disk, do some work: records of all sizes come and go, and it is closed and opened. Then
// it opens, for every single write to the disk, what a power cut right after that write could have left, in each of several
// ways, and checks that everything acknowledged is there, nothing whose removal was acknowledged, nothing twice and nothing else, in order, and
// that the write that was under way is there wholly or not at all; and that the store works.
//
// The number of writes to the store is that of steps; 25 will do, and cost some seconds.
func PowerCuts(t *testing.T, disk *Disk, open Open, steps int) {
	dir := t.TempDir()
	disk.watch(dir)
	moments := work(t, disk, open, dir, steps)
	disk.watch("")
	kinds := map[opKind]int{}
	for _, op := range disk.ops {
		kinds[op.kind]++
	}
	t.Logf("%d writes of the store made %d writes of the disk, %d truncations, %d syncs, %d removals", steps, kinds[opWrite], kinds[opTruncate], kinds[opSync], kinds[opRemove])

	rnd := rand.New(rand.NewPCG(3, 4))
	now := image{}
	at := 0
	cuts := 0
	for i, op := range disk.ops {
		now.apply(op)
		for at+1 < len(moments) && moments[at+1].ops <= i {
			at++
		}
		if op.kind == opSync {
			continue // leaves no more than the next write does
		}
		// All kinds for removals and the like, which are few; else one after another.
		for k, fate := range fates {
			if op.kind == opWrite && k != i%len(fates) {
				continue
			}
			cuts++
			cut := t.TempDir()
			now.write(t, cut, fate.survives, rnd)
			if problem := survey(t, open, cut, moments[at]); problem != "" {
				t.Errorf("power cut after operation %d of %d (%v of %s), %s: %s", i, len(disk.ops), op.kind, op.path, fate.name, problem)
			}
			if err := os.RemoveAll(cut); err != nil {
				t.Fatal(err)
			}
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d power cuts", cuts)
	if cuts < steps {
		t.Errorf("only %d operations were recorded for %d writes: is the store's disk recorded at all?", cuts, steps)
	}
}

// String returns the operation's name.
func (k opKind) String() string {
	return [...]string{"write", "truncation", "sync", "removal"}[k]
}

// work uses a store and returns what it has promised when.
func work(t *testing.T, disk *Disk, open Open, dir string, steps int) []moment {
	rnd := rand.New(rand.NewPCG(1, 2))
	state := map[uint64]string{}
	moments := []moment{{0, state, state}}
	s := open(t, dir)
	number := uint64(0)
	for step := range steps {
		after := maps.Clone(state)
		var add []outbox.Record
		for range rnd.IntN(5) {
			number++
			size := rnd.IntN(50)
			if rnd.IntN(6) == 0 {
				size = rnd.IntN(20_000)
			}
			r := rec(rnd.Uint64N(3)*100<<55|number, "")
			r.Header = fmt.Appendf(nil, "header %d", number)
			r.Payload = []byte(text(number, size))
			if rnd.IntN(3) == 0 {
				r.Expires = at(int(number % 60))
			}
			add = append(add, r)
			after[r.Key] = string(r.Payload)
		}
		var remove []uint64
		for _, k := range slices.Sorted(maps.Keys(state)) {
			if rnd.IntN(4) == 0 {
				remove = append(remove, k)
				delete(after, k)
			}
		}
		moments = append(moments, moment{disk.now(), state, after})
		write(t, s, add, remove...)
		state = after
		moments = append(moments, moment{disk.now(), state, state})
		if step%10 == 9 {
			mustClose(t, s)
			s = open(t, dir)
		}
	}
	mustClose(t, s)
	return moments
}

// text is a payload that no other record has, nor a part of another.
func text(number uint64, size int) string {
	rnd := rand.New(rand.NewPCG(number, 0))
	b := fmt.Appendf(nil, "%d:", number)
	for range size {
		b = append(b, byte('a'+rnd.IntN(26)))
	}
	return string(b)
}

// survey opens what a power cut has left, and returns what is wrong.
func survey(t *testing.T, open Open, dir string, m moment) (problem string) {
	s := open(t, dir)
	defer mustClose(t, s)
	found := map[uint64]string{}
	records := scan(t, s, 0, end)
	for i, r := range records {
		if i > 0 && records[i-1].Key >= r.Key {
			return fmt.Sprintf("record %x comes after %x", r.Key, records[i-1].Key)
		}
		if want := fmt.Sprintf("header %d", r.Key&(1<<55-1)); string(r.Header) != want {
			return fmt.Sprintf("record %x: got header %q, want %q", r.Key, r.Header, want)
		}
		found[r.Key] = string(r.Payload)
	}
	expiring := 0
	if err := s.Expiring(t.Context(), func(outbox.Record) bool { expiring++; return true }); err != nil {
		return fmt.Sprintf("expiring: %v", err)
	}
	for _, r := range records {
		if !r.Expires.IsZero() {
			expiring--
		}
	}
	if expiring != 0 {
		return fmt.Sprintf("Expiring shows %d too many", expiring)
	}
	if !maps.Equal(found, m.before) && !maps.Equal(found, m.after) {
		return fmt.Sprintf("neither what was acknowledged nor that and what was under way (-acknowledged +found):\n%s",
			cmp.Diff(sizes(m.before), sizes(found)))
	}
	if _, err := s.Write([]outbox.Record{rec(end-1, "afterwards")}, nil); err != nil {
		return fmt.Sprintf("write afterwards: %v", err)
	}
	if n := len(scan(t, s, 0, end)); n != len(found)+1 {
		return fmt.Sprintf("%d records after one more write, want %d", n, len(found)+1)
	}
	if leftover, _ := filepath.Glob(filepath.Join(dir, "*damaged*")); leftover != nil {
		return fmt.Sprintf("taken for damaged: %q", leftover)
	}
	return ""
}

func sizes(m map[uint64]string) map[string]int {
	all := map[string]int{}
	for k, v := range m {
		all[fmt.Sprintf("%x", k)] = len(v)
	}
	return all
}
