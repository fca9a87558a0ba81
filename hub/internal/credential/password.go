package credential

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

const (
	// MinPasswordBytes is the length of the shortest password that may be chosen.
	MinPasswordBytes = 8
	// MaxPasswordBytes is the length of the longest one, and of anything that is taken for a password at all.
	MaxPasswordBytes = 256
)

// argon are the parameters of Argon2id for new hashes: the second recommendation of OWASP's "Password Storage Cheat Sheet"
// (read 2026-11), 19 MiB, two passes. Each hash carries its own.
var argon = argonParameters{memoryKiB: 19 << 10, passes: 2, threads: 1}

type argonParameters struct {
	memoryKiB, passes uint32
	threads           uint8
}

const (
	argonSalt = 16
	argonKey  = 32
)

// argonPrefix begins the text form of such a hash, the one of the reference implementation:
// $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY.
const argonPrefix = "$argon2id$"

// NewPassword makes a password of 256 random bits, 43 characters that need no quotes in a shell nor in a URL and do not
// look like a flag, and the hash that is kept of it.
func NewPassword() (text string, hash []byte) {
	text = newSecret()
	return text, HashPassword(text)
}

func newSecret() string {
	for {
		var b [32]byte
		rand.Read(b[:]) // never fails, see crypto/rand
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' && s[0] != '_' {
			return s
		}
	}
}

// Made reports whether a text has the form of what [NewPassword] makes.
func Made(text string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(b) == 32
}

// HashPassword returns what is kept of a password of [NewPassword]. It is for secrets of 256 random bits only; one that can
// be guessed needs [Hasher.Hash].
func HashPassword(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// A Hasher computes slow hashes, a few at a time, and remembers which passwords were right, so that a fleet that returns
// after a failure of the network does not wait for them. What it remembers is keyed with a secret of this process. The zero
// Hasher is not ready; see [NewHasher]. Its methods may be called concurrently.
type Hasher struct {
	busy chan struct{}
	key  []byte

	mu    sync.Mutex
	right map[[sha256.Size]byte]struct{}
}

// maxRight bounds the passwords that a Hasher remembers, 32 bytes each.
const maxRight = 100_000

// NewHasher returns a Hasher that computes at most so many hashes at once: each takes a processor and 19 MiB for about
// 30 ms.
func NewHasher(parallel int) *Hasher {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return &Hasher{busy: make(chan struct{}, max(parallel, 1)), key: key, right: map[[sha256.Size]byte]struct{}{}}
}

// Hash returns what is kept of a password that somebody has chosen. The error is core.ErrInvalid for one that is too short
// or too long, or that of ctx.
func (h *Hasher) Hash(ctx context.Context, password string) ([]byte, error) {
	if n := len(password); n < MinPasswordBytes || n > MaxPasswordBytes {
		return nil, fmt.Errorf("%w: password of %d bytes, want %d to %d", core.ErrInvalid, n, MinPasswordBytes, MaxPasswordBytes)
	}
	salt := make([]byte, argonSalt)
	rand.Read(salt) // never fails
	key, err := h.compute(ctx, []byte(password), salt, argon, argonKey)
	if err != nil {
		return nil, err
	}
	enc := base64.RawStdEncoding
	return fmt.Appendf(nil, argonPrefix+"v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		argon.memoryKiB, argon.passes, argon.threads, enc.EncodeToString(salt), enc.EncodeToString(key)), nil
}

func (h *Hasher) compute(ctx context.Context, password, salt []byte, p argonParameters, size uint32) ([]byte, error) {
	select {
	case h.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.busy }()
	return argon2.IDKey(password, salt, p.passes, p.memoryKiB, p.threads, size), nil
}

// Guessable reports whether a hash is one of a password that somebody has chosen, so that it has to be guarded from guessing.
func Guessable(hash []byte) bool { return strings.HasPrefix(string(hash), argonPrefix) }

// Check tells whether a password is the one that a hash was made of. The time that it takes does not tell how much of it is
// right. The error is that of ctx, or core.ErrStorage for a hash that is none.
func (h *Hasher) Check(ctx context.Context, hash, password []byte) (bool, error) {
	if len(password) == 0 || len(password) > MaxPasswordBytes || len(hash) == 0 {
		return false, nil
	}
	if !Guessable(hash) {
		return subtle.ConstantTimeCompare(hash, HashPassword(string(password))) == 1, nil
	}
	known := h.mark(hash, password)
	h.mu.Lock()
	_, ok := h.right[known]
	h.mu.Unlock()
	if ok {
		return true, nil
	}
	p, salt, want, err := parseArgon(string(hash))
	if err != nil {
		return false, fmt.Errorf("%w: stored password hash: %v", core.ErrStorage, err)
	}
	got, err := h.compute(ctx, password, salt, p, uint32(len(want)))
	if err != nil || subtle.ConstantTimeCompare(got, want) != 1 {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.right) >= maxRight {
		clear(h.right) // rare, and costs no more than a restart does
	}
	h.right[known] = struct{}{}
	return true, nil
}

// mark names a pair of hash and password. A changed password has another hash, so what was right before is not any more.
func (h *Hasher) mark(hash, password []byte) (m [sha256.Size]byte) {
	mac := hmac.New(sha256.New, h.key)
	mac.Write(hash) // has a fixed end: the hash of one password is no prefix of another's
	mac.Write(password)
	mac.Sum(m[:0])
	return m
}

var errHash = errors.New("malformed")

// parseArgon reads what Hash writes.
func parseArgon(text string) (p argonParameters, salt, key []byte, err error) {
	part := strings.Split(text, "$")
	if len(part) != 6 || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &p.memoryKiB, &p.passes, &p.threads); err != nil {
		return p, nil, nil, errHash
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(part[4])
	key, err2 := base64.RawStdEncoding.DecodeString(part[5])
	const mostKiB, mostPasses = 1 << 20, 16
	if err := errors.Join(err1, err2); err != nil || len(key) < 16 || len(key) > 64 || len(salt) < 8 ||
		p.memoryKiB > mostKiB || p.passes == 0 || p.passes > mostPasses || p.threads == 0 {
		return p, nil, nil, errHash
	}
	return p, salt, key, nil
}
