package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// signatures remembers signatures that were found good, because checking one is a tenth of what a connection costs: each
// is needed in the handshake and again at sign-in, and when devices come back after a cut they all come at once. Only
// what can never change is remembered, that this issuer has signed this very certificate; times and revocations are
// looked at each time. The zero value is ready, and safe for concurrent use.
type signatures struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]struct{} // old ones are forgotten when there are too many young ones
}

// remembered bounds the young ones: a megabyte in all at most.
const remembered = 8192

// check is leaf.CheckSignatureFrom(issuer). Both have been parsed from their Raw form. s may be nil: nothing is remembered.
func (s *signatures) check(leaf, issuer *x509.Certificate) error {
	if s == nil {
		return leaf.CheckSignatureFrom(issuer)
	}
	h := sha256.New()
	h.Write(issuer.Raw) // its DER form says where it ends
	h.Write(leaf.Raw)
	key := [sha256.Size]byte(h.Sum(nil))
	if s.known(key) {
		return nil
	}
	if err := leaf.CheckSignatureFrom(issuer); err != nil {
		return err
	}
	s.remember(key)
	return nil
}

func (s *signatures) known(key [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[key]; ok {
		return true
	}
	_, ok := s.old[key]
	if ok {
		s.add(key) // whoever comes back again and again stays
	}
	return ok
}

func (s *signatures) remember(key [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(key)
}

func (s *signatures) add(key [sha256.Size]byte) {
	if s.young == nil || len(s.young) >= remembered {
		s.young, s.old = map[[sha256.Size]byte]struct{}{}, s.young
	}
	s.young[key] = struct{}{}
}
