package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Credentials are an access key. A SessionToken comes with temporary ones.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
}

// A Scope says what a signature is good for, besides its day.
type Scope struct{ Region, Service string }

// signature computes the signature of a canonical request.
func signature(secret string, s Scope, at time.Time, canonical string) [32]byte {
	date := at.UTC().Format(dateForm)
	key := []byte("AWS4" + secret)
	for _, part := range []string{date[:8], s.Region, s.Service, terminator} {
		key = sum(key, part)
	}
	text := strings.Join([]string{Algorithm, date, s.text(at), Hash([]byte(canonical))}, "\n")
	return [32]byte(sum(key, text))
}

func (s Scope) text(at time.Time) string {
	return at.UTC().Format(dateForm)[:8] + "/" + s.Region + "/" + s.Service + "/" + terminator
}

func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// A Header is one that [Sign] wants to be sent.
type Header struct{ Name, Value string }

// Sign returns the headers that have to be added to a request so that it is signed: X-Amz-Date, X-Amz-Security-Token if
// there is one, and Authorization. They cover the host, the content type and all headers whose name begins with "x-amz"; r is
// not changed.
func Sign(r Request, c Credentials, s Scope, at time.Time) []Header {
	added := []Header{{keyDate, at.UTC().Format(dateForm)}}
	if c.SessionToken != "" {
		added = append(added, Header{keyToken, c.SessionToken})
	}
	header := maps.Clone(r.Header)
	if header == nil {
		header = map[string][]string{}
	}
	for name := range r.Header {
		for _, a := range added {
			if strings.EqualFold(name, a.Name) {
				delete(header, name)
			}
		}
	}
	for _, a := range added {
		header[a.Name] = []string{a.Value}
	}
	r.Header = header
	signed := []string{"host"}
	for name := range header {
		name = strings.ToLower(name)
		if name == "content-type" || strings.HasPrefix(name, "x-amz") {
			signed = append(signed, name)
		}
	}
	slices.Sort(signed)
	signed = slices.Compact(signed)
	sig := signature(c.SecretAccessKey, s, at, r.canonical(everything, signed))
	return append(added, Header{keyAuthorization, Algorithm + " Credential=" + c.AccessKeyID + "/" + s.text(at) +
		", SignedHeaders=" + strings.Join(signed, ";") + ", Signature=" + hex.EncodeToString(sig[:])})
}

// PresignOptions say what differs between presigned URLs.
type PresignOptions struct {
	// Expires is how long the URL may be used, in whole seconds; 0 leaves it to the service.
	Expires time.Duration
	// Headers are signed besides "host", in lower case.
	Headers []string
	// SignToken covers the session token by the signature, as services other than AWS IoT's WebSocket endpoint want it.
	SignToken bool
}

// Presign returns the query that makes a URL usable without further credentials; a query that r has comes first in it. The
// zero options make the URL of a WebSocket handshake with AWS IoT.
func Presign(r Request, c Credentials, s Scope, at time.Time, o PresignOptions) (query string) {
	signed := append([]string{"host"}, o.Headers...)
	slices.Sort(signed)
	add := func(name, value string) {
		if r.Query != "" {
			r.Query += "&"
		}
		r.Query += name + "=" + encoded(value)
	}
	add(keyAlgorithm, Algorithm)
	add(keyCredential, c.AccessKeyID+"/"+s.text(at))
	add(keyDate, at.UTC().Format(dateForm))
	if o.Expires > 0 {
		add(keyExpires, strconv.FormatInt(int64(o.Expires/time.Second), 10))
	}
	add(keySignedHeaders, strings.Join(signed, ";"))
	if o.SignToken && c.SessionToken != "" {
		add(keyToken, c.SessionToken)
	}
	sig := signature(c.SecretAccessKey, s, at, r.canonical(everything, signed))
	add(keySignature, hex.EncodeToString(sig[:]))
	if !o.SignToken && c.SessionToken != "" {
		add(keyToken, c.SessionToken)
	}
	return r.Query
}

func everything(string) bool { return true }
