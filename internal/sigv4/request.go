package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Algorithm is the only one there is.
const Algorithm = "AWS4-HMAC-SHA256"

// EmptyHash is the hash of an empty body.
const EmptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Names of query parameters, and of headers.
const (
	keyAlgorithm     = "X-Amz-Algorithm"
	keyCredential    = "X-Amz-Credential"
	keyDate          = "X-Amz-Date"
	keyExpires       = "X-Amz-Expires"
	keySignedHeaders = "X-Amz-SignedHeaders"
	keySignature     = "X-Amz-Signature"
	keyToken         = "X-Amz-Security-Token"
	keyAuthorization = "Authorization"

	dateForm   = "20060102T150405Z"
	terminator = "aws4_request"
)

// A Request is what a signature covers.
type Request struct {
	Method string
	// Path is the path as it is sent, with its escapes: that of url.URL.EscapedPath. "" is "/".
	Path string
	// Query is the query as it is sent, without "?".
	Query string
	// Host is the value of the Host header, exactly as it is sent.
	Host string
	// Header has the other headers, under names of any case: an http.Header will do.
	Header map[string][]string
	// Hash is the SHA-256 of the body in lower-case hexadecimal; "" is that of an empty body.
	Hash string
}

// Hash returns what [Request.Hash] is for a body.
func Hash(body []byte) string {
	h := sha256.Sum256(body)
	return hex.EncodeToString(h[:])
}

// canonical returns the canonical request with those query parameters that keep wants, and the named headers, which are in lower
// case and sorted. A header that is missing counts as empty.
func (r *Request) canonical(keep func(name string) bool, headers []string) string {
	var b strings.Builder
	b.WriteString(r.Method)
	b.WriteByte('\n')
	if r.Path == "" {
		b.WriteByte('/')
	}
	encode(&b, r.Path, true)
	b.WriteByte('\n')
	for i, p := range canonicalQuery(r.Query, keep) {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p)
	}
	b.WriteByte('\n')
	for _, name := range headers {
		b.WriteString(name)
		b.WriteByte(':')
		for i, v := range r.values(name) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Join(strings.Fields(v), " "))
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.WriteString(strings.Join(headers, ";"))
	b.WriteByte('\n')
	if r.Hash == "" {
		b.WriteString(EmptyHash)
	}
	b.WriteString(r.Hash)
	return b.String()
}

// values returns the values of a header whose name is in lower case.
func (r *Request) values(name string) []string {
	if name == "host" {
		return []string{r.Host}
	}
	var found []string
	for k, v := range r.Header {
		if strings.EqualFold(k, name) {
			found = append(found, v...)
		}
	}
	return found
}

// header returns the value of a header that has exactly one.
func (r *Request) header(name string) (value string, ok bool) {
	v := r.values(strings.ToLower(name))
	if len(v) != 1 {
		return "", false
	}
	return v[0], true
}

// A param is a decoded parameter of a query.
type param struct{ name, value string }

// params takes a query apart. A "+" is a space, as it is for whoever reads the query afterwards (net/url): what is signed
// must mean the same to both. An escape that is none is left as it is.
func params(query string) []param {
	var all []param
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		all = append(all, param{decode(name), decode(value)})
	}
	return all
}

// canonicalQuery returns the encoded parameters that keep wants, sorted by encoded name, then by value.
func canonicalQuery(query string, keep func(name string) bool) []string {
	type pair struct{ name, value string }
	var all []pair
	for _, p := range params(query) {
		if keep(p.name) {
			all = append(all, pair{encoded(p.name), encoded(p.value)})
		}
	}
	slices.SortFunc(all, func(a, b pair) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.value, b.value)
	})
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = p.name + "=" + p.value
	}
	return texts
}

func encoded(s string) string {
	var b strings.Builder
	encode(&b, s, false)
	return b.String()
}

// encode writes s with everything escaped but RFC 3986's unreserved characters, and slashes if they are to stay.
func encode(b *strings.Builder, s string, slashes bool) {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '-', c == '_', c == '.', c == '~', c == '/' && slashes:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
}

func decode(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(s) {
			if hi, lo := digit(s[i+1]), digit(s[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// digit returns the value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
