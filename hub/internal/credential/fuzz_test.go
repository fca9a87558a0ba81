package credential

import (
	"context"
	"testing"
	"time"
)

// FuzzHash: a hash in storage may be anything; it opens nothing then, and does not make the hub compute for long.
func FuzzHash(f *testing.F) {
	h := NewHasher(1)
	good, err := h.Hash(context.Background(), "a long password")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(string(HashPassword("made")))
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg")
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg")
	f.Fuzz(func(t *testing.T, text string) {
		p, salt, key, err := parseArgon(text)
		if err != nil {
			return
		}
		if len(salt) < 8 || len(key) < 16 || p.memoryKiB > 1<<20 || p.passes > 16 || p.passes == 0 || p.threads == 0 {
			t.Fatalf("took %+v", p)
		}
		if p.memoryKiB > 64 || p.passes > 1 {
			return // it would take long
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if ok, err := h.Check(ctx, []byte(text), []byte("not this one")); ok {
			t.Errorf("%q is opened by anything: %v", text, err)
		}
	})
}
