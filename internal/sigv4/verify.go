package sigv4

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Why a request is refused. What [Parse] and [Signature.Verify] return wraps one of them and says more; it holds nothing
// secret. ErrUnknownKey is for who looks the key up.
var (
	ErrMissing    = errors.New("missing authentication token")
	ErrIncomplete = errors.New("incomplete signature")
	ErrUnknownKey = errors.New("unknown access key")
	ErrToken      = errors.New("invalid security token")
	ErrMismatch   = errors.New("signature does not match")
	ErrExpired    = errors.New("signature expired")
)

// Bounds on what is looked at before anybody has proven anything.
const (
	maxSignedHeaders = 100
	maxExpires       = 7 * 24 * time.Hour
)

// A Signature is one that a request carries. Nothing in it is certain before [Signature.Verify].
type Signature struct {
	AccessKeyID string
	Scope       Scope
	At          time.Time // when it was made
	// Presigned says that it is in the query, so that it is good for Expires; of one in the headers the time must be close.
	Presigned bool
	Expires   time.Duration // 0: not said
	Token     string        // session token, "" if there is none

	signed []string
	sum    [32]byte
}

// Signed reports whether a request carries a signature, or parts of one, in its headers or its query.
func Signed(r *Request) bool {
	if v := r.values("authorization"); len(v) > 0 && strings.HasPrefix(v[0], "AWS4-") {
		return true
	}
	for _, p := range params(r.Query) {
		if p.name == keyAlgorithm || p.name == keySignature || p.name == keyCredential {
			return true
		}
	}
	return false
}

// Parse finds the signature of a request: that of the Authorization header if there is one, else that of the query.
func Parse(r *Request) (*Signature, error) {
	if v := r.values("authorization"); len(v) > 0 {
		return parseHeader(r, v)
	}
	return parseQuery(r)
}

func parseHeader(r *Request, values []string) (*Signature, error) {
	algorithm, rest, _ := strings.Cut(values[0], " ")
	if len(values) != 1 || algorithm != Algorithm {
		return nil, fmt.Errorf("%w: the Authorization header must have one signature of %s", ErrIncomplete, Algorithm)
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := parts[name]; !ok || twice {
			return nil, fmt.Errorf("%w: the Authorization header must be of the form name=value, name=value", ErrIncomplete)
		}
		parts[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if parts[name] == "" {
			return nil, fmt.Errorf("%w: Authorization header requires '%s' parameter", ErrIncomplete, name)
		}
	}
	date, ok := r.header(keyDate)
	if !ok {
		return nil, fmt.Errorf("%w: Authorization header requires existence of a '%s' header", ErrIncomplete, keyDate)
	}
	token := ""
	if v := r.values(strings.ToLower(keyToken)); len(v) > 0 {
		token = v[0]
	}
	return fill(&Signature{Token: token}, parts["Credential"], date, parts["SignedHeaders"], parts["Signature"])
}

func parseQuery(r *Request) (*Signature, error) {
	found := map[string]string{}
	for _, p := range params(r.Query) {
		if !strings.HasPrefix(p.name, "X-Amz-") {
			continue
		}
		if _, twice := found[p.name]; twice {
			return nil, fmt.Errorf("%w: the query has %s twice", ErrIncomplete, p.name)
		}
		found[p.name] = p.value
	}
	if len(found) == 0 {
		return nil, ErrMissing
	}
	if found[keyAlgorithm] != Algorithm {
		return nil, fmt.Errorf("%w: the query must have %s=%s", ErrIncomplete, keyAlgorithm, Algorithm)
	}
	for _, name := range []string{keyCredential, keyDate, keySignedHeaders, keySignature} {
		if found[name] == "" {
			return nil, fmt.Errorf("%w: AWS query-string parameters must include '%s'", ErrIncomplete, name)
		}
	}
	s := &Signature{Presigned: true, Token: found[keyToken]}
	if text, ok := found[keyExpires]; ok {
		n, err := strconv.ParseUint(text, 10, 32)
		s.Expires = time.Duration(n) * time.Second
		if err != nil || n == 0 || s.Expires > maxExpires {
			return nil, fmt.Errorf("%w: '%s' must be 1 to %d seconds", ErrIncomplete, keyExpires, maxExpires/time.Second)
		}
	}
	return fill(s, found[keyCredential], found[keyDate], found[keySignedHeaders], found[keySignature])
}

// fill completes a signature from the four texts that both forms have.
func fill(s *Signature, credential, date, headers, sum string) (*Signature, error) {
	// An access key has no slash, so that the scope is what follows the first one.
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || parts[0] == "" || parts[4] != terminator {
		return nil, fmt.Errorf("%w: Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/%s",
			ErrIncomplete, terminator)
	}
	s.AccessKeyID, s.Scope = parts[0], Scope{Region: parts[2], Service: parts[3]}
	at, err := time.Parse(dateForm, date)
	if err != nil {
		return nil, fmt.Errorf("%w: Date must be in ISO-8601 'basic format'. Got %q", ErrIncomplete, date)
	}
	if s.At = at; parts[1] != date[:8] {
		return nil, fmt.Errorf("%w: Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: %q != %q",
			ErrMismatch, parts[1], date[:8])
	}
	s.signed = strings.Split(strings.ToLower(headers), ";")
	if len(s.signed) > maxSignedHeaders {
		return nil, fmt.Errorf("%w: %d signed headers, at most %d", ErrIncomplete, len(s.signed), maxSignedHeaders)
	}
	slices.Sort(s.signed)
	if s.signed = slices.Compact(s.signed); !slices.Contains(s.signed, "host") {
		return nil, fmt.Errorf("%w: 'Host' must be a 'SignedHeader' in the AWS Authorization", ErrMismatch)
	}
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != len(s.sum) {
		return nil, fmt.Errorf("%w: the signature has %d characters, want %d hexadecimal digits", ErrMismatch, len(sum), 2*len(s.sum))
	} else {
		s.sum = [32]byte(raw)
	}
	return s, nil
}

// A Window says which times are accepted.
type Window struct {
	Now  time.Time
	Skew time.Duration // how far the clocks of both sides may be apart
	// Expires is for presigned URLs that do not say how long they are good.
	Expires time.Duration
}

// Verify checks the signature of a request against the credentials that belong to its access key, then the session token,
// then the time. It takes as long for a wrong signature as for a right one.
func (s *Signature) Verify(r *Request, c Credentials, w Window) error {
	if !s.matches(r, c.SecretAccessKey) {
		return fmt.Errorf("%w: the request signature we calculated does not match the signature you provided", ErrMismatch)
	}
	if subtle.ConstantTimeCompare([]byte(s.Token), []byte(c.SessionToken)) != 1 {
		return fmt.Errorf("%w: it is not that of the access key", ErrToken)
	}
	return s.within(w)
}

func (s *Signature) matches(r *Request, secret string) bool {
	if !s.Presigned {
		want := signature(secret, s.Scope, s.At, r.canonical(everything, s.signed))
		return hmac.Equal(want[:], s.sum[:])
	}
	// AWS IoT's clients append the token after signing, other signers cover it; both forms are common. Where there is
	// no token it is one computation.
	unsigned := signature(secret, s.Scope, s.At, r.canonical(func(name string) bool {
		return name != keySignature && name != keyToken
	}, s.signed))
	ok := subtle.ConstantTimeCompare(unsigned[:], s.sum[:])
	if s.Token != "" {
		covered := signature(secret, s.Scope, s.At, r.canonical(func(name string) bool { return name != keySignature }, s.signed))
		ok |= subtle.ConstantTimeCompare(covered[:], s.sum[:])
	}
	return ok == 1
}

func (s *Signature) within(w Window) error {
	if early := w.Now.Add(w.Skew); s.At.After(early) {
		return fmt.Errorf("%w: Signature not yet current: %s is still later than %s", ErrExpired, stamp(s.At), stamp(early))
	}
	life := w.Skew
	if s.Presigned {
		if life = s.Expires; life == 0 {
			life = w.Expires
		}
	}
	if late := w.Now.Add(-life); s.At.Before(late) {
		return fmt.Errorf("%w: Signature expired: %s is now earlier than %s", ErrExpired, stamp(s.At), stamp(late))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(dateForm) }
