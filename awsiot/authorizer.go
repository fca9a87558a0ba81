package awsiot

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// An Authorizer is an AWS Lambda function of the account that decides who may connect ("Custom authentication and authorization", read
// 2026-11). The zero value stands for the account's default authorizer.
type Authorizer struct {
	// Name is the authorizer's. "": the default one.
	Name string
	// TokenName is the authorizer's tokenKeyName, and Token what it is to check. Both or none.
	TokenName string
	Token     identity.Secret
	// Signature is the token's, in base64, by the key that the authorizer knows. "": it wants none.
	Signature string
	// Place is where all of that is sent. The zero value is [InUsername].
	Place AuthorizerPlace
}

// AuthorizerPlace is where an [Authorizer] is named to AWS IoT.
type AuthorizerPlace uint8

// The places. The last two are those of a WebSocket's request: they need [Config.WebSocket], and leave the user name to the program.
const (
	InUsername AuthorizerPlace = iota // the user name in CONNECT, behind a question mark
	InHeader                          // header lines
	InQuery                           // the query
)

// String returns the place in words.
func (p AuthorizerPlace) String() string {
	switch p {
	case InUsername:
		return "user name"
	case InHeader:
		return "header"
	case InQuery:
		return "query"
	}
	return fmt.Sprintf("place %d", uint8(p))
}

func (a *Authorizer) check(webSocket bool) error {
	if (a.TokenName == "") != a.Token.IsZero() {
		return errors.New("Authorizer has a token without a name, or a name without a token")
	}
	if a.Signature != "" && a.TokenName == "" {
		return errors.New("Authorizer has a signature, and no token")
	}
	if strings.ContainsAny(a.TokenName, "?&=") || !validText(a.TokenName) {
		return fmt.Errorf("Authorizer has token name %.200q", a.TokenName)
	}
	switch a.Place {
	case InUsername:
		return nil
	case InHeader:
		for _, f := range a.fields() {
			if !headerName(f[0]) || !headerValue(f[1]) {
				return fmt.Errorf("Authorizer has %.200q, which no header line can carry: its name, or its value", f[0])
			}
		}
	case InQuery:
	default:
		return fmt.Errorf("Authorizer has %v", a.Place)
	}
	if !webSocket {
		return fmt.Errorf("Authorizer is to be in the %v of a request, and there is none without WebSocket", a.Place)
	}
	return nil
}

// headerName tells whether s is a token of RFC 9110 section 5.6.2.
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// headerValue tells whether a server reads s as it stands here: visible ASCII, and spaces within.
func headerValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == strings.TrimSpace(s)
}

// fields are the names and values that AWS IoT reads.
func (a *Authorizer) fields() (all [][2]string) {
	if a.Name != "" {
		all = append(all, [2]string{"x-amz-customauthorizer-name", a.Name})
	}
	if a.Signature != "" {
		all = append(all, [2]string{"x-amz-customauthorizer-signature", a.Signature})
	}
	if a.TokenName != "" {
		all = append(all, [2]string{a.TokenName, a.Token.Reveal()})
	}
	return all
}

// request puts them into the request of a WebSocket, if that is their place.
func (a *Authorizer) request(w *mqttclient.WebSocket) {
	switch a.Place {
	case InHeader:
		w.Header = append(w.Header, a.fields()...)
	case InQuery:
		for i, f := range a.fields() {
			sep := "&"
			if i == 0 {
				sep = "?"
			}
			w.Target += sep + escape(f[0]) + "=" + escape(f[1])
		}
	case InUsername:
	}
}

// escape encodes what may not stand in a query, and leaves slashes: so do the official SDKs (observed with awsiotsdk 1.31.0).
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
