package core

import "time"

// A Scope says what a token of the admin API may do; each one includes those before it.
type Scope uint8

// The scopes. The numbers are stored.
const (
	ScopeRead  Scope = 1 // look at everything
	ScopeWrite Scope = 2 // and change devices: credentials, certificates
	ScopeAdmin Scope = 3 // and manage tenants and tokens
)

// Scopes lists the scopes, the narrowest first.
var Scopes = []Scope{ScopeRead, ScopeWrite, ScopeAdmin}

func (s Scope) String() string {
	switch s {
	case ScopeRead:
		return "read"
	case ScopeWrite:
		return "write"
	case ScopeAdmin:
		return "admin"
	}
	return "none"
}

// A Token is what the hub keeps of a token of the admin API. The token itself is told to its maker once.
type Token struct {
	ID      string   // public: to name the token by
	Hash    [32]byte // SHA-256 of the token, which has at least 128 random bits
	Name    string   // what it is for, in its maker's words
	Scope   Scope
	Tenant  TenantID // the only tenant that it opens; "": all
	Created time.Time
	Expires time.Time // zero: never
}
