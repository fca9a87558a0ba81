package outbox_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/outbox"
)

// open opens an outbox that closes with the test.
func open(t testing.TB, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	if cfg.Store == nil {
		cfg.Store = outbox.NewMemory()
	}
	o, err := outbox.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return o
}

func add(t testing.TB, o *outbox.Outbox, m outbox.Message) outbox.ID {
	t.Helper()
	id, err := o.Append(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func text(s string) outbox.Message { return outbox.Message{Payload: []byte(s)} }

// rest returns the payloads that a new reader finds.
func rest(t testing.TB, o *outbox.Outbox) []string {
	t.Helper()
	return read(t, o.Reader())
}

var errNoMore = errors.New("no more")

// read returns what there is for the reader.
func read(t testing.TB, r *outbox.Reader) []string {
	t.Helper()
	var all []string
	for _, e := range readEntries(t, r) {
		all = append(all, string(e.Payload))
	}
	return all
}

func readEntries(t testing.TB, r *outbox.Reader) []outbox.Entry {
	t.Helper()
	var all []outbox.Entry
	for {
		page, err := r.Poll(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// faulty is a store whose writes fail or wait on demand.
type faulty struct {
	outbox.Store
	fail func(add []outbox.Record, remove []uint64) error
}

func (f *faulty) Write(add []outbox.Record, remove []uint64) ([]outbox.Removed, error) {
	if f.fail != nil {
		if err := f.fail(add, remove); err != nil {
			return nil, err
		}
	}
	return f.Store.Write(add, remove)
}

const hour = time.Hour
