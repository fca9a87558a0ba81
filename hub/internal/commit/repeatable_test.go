package commit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// together hands in the operations so that one transaction gets all of them, and returns their errors.
func together(t *testing.T, f *fixture, repeatable []bool, ops ...func(*commit.Tx) error) []error {
	t.Helper()
	o := newOwner("", nil)
	b := &commit.Batch{Owner: o}
	errs := make([]error, len(ops))
	done := make(chan struct{})
	for i, do := range ops {
		add := b.Do
		if repeatable[i] {
			add = b.DoRepeatable
		}
		add(do, func(err error) {
			if errs[i] = err; i == len(ops)-1 {
				close(done)
			}
		})
	}
	submit(t, f, b)
	<-done
	return errs
}

// TestRepeatable: operations that may run twice do without savepoints, and one that refuses is undone alone all the same.
func TestRepeatable(t *testing.T) {
	refusing := func(tx *commit.Tx) error { return errors.Join(insert("x")(tx), errRefused) }
	nested := func(tx *commit.Tx) error { // goes on after what it tried was refused
		_ = tx.Savepoint(func() error { return refusing(tx) })
		return insert("n")(tx)
	}
	panicking := func(tx *commit.Tx) error { _ = insert("p")(tx); panic("a bug") }
	yes := []bool{true, true, true}
	for name, c := range map[string]struct {
		second     func(*commit.Tx) error
		repeatable []bool
		updates    int
		saves      int
		runs       int // of the first operation
		want       string
		refused    bool
	}{
		"all succeed":       {insert("b"), yes, 1, 0, 1, "abc", false},
		"one refuses":       {refusing, yes, 2, 3, 2, "ac", true},
		"one panics":        {panicking, yes, 2, 3, 2, "ac", true},
		"a part is refused": {nested, yes, 2, 4, 2, "acn", false},
		"one must not":      {insert("b"), []bool{true, false, true}, 1, 3, 1, "abc", false},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			memory, after, runs := 0, 0, 0
			first := func(tx *commit.Tx) error {
				runs++
				memory++
				tx.Undo(func() { memory-- })
				tx.After(func() { after++ })
				return insert("a")(tx)
			}
			errs := together(t, f, c.repeatable, first, c.second, insert("c"))
			f.stop()
			if got := tenants(t, f); got != c.want {
				t.Errorf("got tenants %q, want %q", got, c.want)
			}
			if errs[0] != nil || (errs[1] != nil) != c.refused || errs[2] != nil {
				t.Errorf("got errors %v, want one of the second: %v", errs, c.refused)
			}
			if memory != 1 || after != 1 || runs != c.runs {
				t.Errorf("got %d in memory, %d after, %d runs; want 1, 1, %d", memory, after, runs, c.runs)
			}
			if f.store.updates != c.updates || f.store.saves != c.saves {
				t.Errorf("got %d transactions and %d savepoints, want %d and %d", f.store.updates, f.store.saves, c.updates, c.saves)
			}
			if n := strings.Count(f.log.String(), "it was undone"); name == "one panics" && n != 1 {
				t.Errorf("a panic was logged %d times", n)
			}
		})
	}
}

// TestWary: whoever is refused again and again does not have the others' work done twice.
func TestWary(t *testing.T) {
	f := start(t, nil)
	runs := 0
	refuse := func(*commit.Tx) error { runs++; return errRefused }
	const n = 10
	for range n {
		if err := f.DoRepeatable(t.Context(), refuse); !errors.Is(err, errRefused) {
			t.Errorf("got %v, want the refusal", err)
		}
	}
	if runs != n+1 {
		t.Errorf("%d refusals took %d runs", n, runs)
	}
	for range 100 {
		if err := f.DoRepeatable(t.Context(), func(*commit.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.DoRepeatable(t.Context(), refuse); err == nil || runs != n+3 {
		t.Errorf("got %v and %d runs; savepoints are made for ever", err, runs)
	}
}

// TestRepeatableStorageFails: what the disk refuses is not tried again.
func TestRepeatableStorageFails(t *testing.T) {
	f := start(t, nil)
	if err := f.DoRepeatable(t.Context(), func(*commit.Tx) error { return core.ErrStorage }); !errors.Is(err, core.ErrStorage) {
		t.Errorf("got %v, want core.ErrStorage", err)
	}
	if got := f.store.count(); got != 1 {
		t.Errorf("tried %d times", got)
	}
}
