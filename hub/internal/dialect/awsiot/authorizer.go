package awsiot

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Names of what custom authorizers are told by, in user names, queries and headers (AWS IoT guide, "Connecting to AWS IoT Core
// by using custom authentication").
const (
	authorizerName      = "x-amz-customauthorizer-name"
	authorizerSignature = "x-amz-customauthorizer-signature"
)

// A login is what a client says of a custom authorizer.
type login struct {
	custom bool // it names one, or signs a token
	user   string
	params map[string]string
	header map[string][]string // of the WebSocket's request; nil: none
}

// value returns a parameter by its name: of the user name, the query or the headers.
func (l *login) value(name string) string {
	if v, ok := l.params[name]; ok {
		return v
	}
	for k, v := range l.header {
		if strings.EqualFold(k, name) && len(v) == 1 {
			return v[0]
		}
	}
	return ""
}

// parseLogin reads it out of a claim.
func parseLogin(c core.Claim) login {
	var l login
	l.user, l.params = parseUsername(c.Username)
	if c.Web != nil {
		l.header = c.Web.Header
		for k, v := range queryOf(c.Web.Query) {
			if _, known := l.params[k]; !known && len(v) == 1 {
				l.params[k] = v[0]
			}
		}
	}
	l.custom = l.value(authorizerName) != "" || l.value(authorizerSignature) != ""
	return l
}

// queryOf takes the query of a WebSocket's request apart. Unlike url.ParseQuery it has a semicolon for what it is, and passes over
// what it cannot read: one bad parameter must not make another one that says who signs in go away.
func queryOf(query string) url.Values {
	all := url.Values{}
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		name, kerr := url.QueryUnescape(k)
		value, verr := url.QueryUnescape(v)
		if kerr == nil && verr == nil && name != "" {
			all.Add(name, value)
		}
	}
	return all
}

// parseUsername takes a user name apart: NAME?KEY=VALUE&... with what SDKs append to count their users. That begins with "?"
// in AWSIoTPythonSDK even if there is a query already, and has characters in it that no query may have (observed with 1.6.2 and
// with awsiotsdk 1.31.0), so it is cut off first.
func parseUsername(s string) (user string, params map[string]string) {
	if i := max(strings.LastIndex(s, "?SDK="), strings.LastIndex(s, "&SDK=")); i >= 0 {
		s = s[:i]
	}
	params = map[string]string{}
	user, query, _ := strings.Cut(s, "?")
	for pair := range strings.SplitSeq(query, "&") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		if plain, err := url.PathUnescape(v); err == nil { // a plus sign is one: signatures have it
			v = plain
		}
		params[k] = v
	}
	return user, params
}

// byAuthorizer lets a client in by a custom authorizer: the one that it names, or the default one of the account that the
// server name means.
func (d *Dialect) byAuthorizer(ctx context.Context, c core.Claim, l login) (*caller, uint64, error) {
	t := d.tenantOf(c.ServerName)
	if t == "" || !l.custom && !accountHost(c.ServerName) {
		return nil, 0, dialect.ErrNotMine
	}
	all, err := d.allAccounts(ctx)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(all, func(a account) bool { return a.Tenant == t })
	if i < 0 { // a stranger may name any host: nothing is kept of it
		return nil, 0, dialect.ErrNotMine
	}
	a := all[i]
	seen := d.standing(t).changes.Load()
	var by authorizer
	err = d.view(ctx, func(rd store.Reader) (err error) {
		name := l.value(authorizerName)
		if name == "" {
			name = a.DefaultAuthorizer
		}
		if name == "" {
			return core.ErrNotFound
		}
		by, err = readAuthorizer(rd, t, name)
		return err
	})
	switch {
	case errors.Is(err, core.ErrNotFound) && !l.custom:
		return nil, 0, dialect.ErrNotMine
	case errors.Is(err, core.ErrNotFound):
		err = &core.HelpError{
			Text: fmt.Sprintf("there is no custom authorizer %.128q in account %s", l.value(authorizerName), t),
			Help: "Compare the name with `aws iot list-authorizers`.", Err: core.ErrDenied,
		}
	case err == nil:
		err = by.check(&l)
	}
	if err != nil {
		return nil, 0, &core.SignInError{Device: core.DeviceKey{Tenant: t, Dialect: Name}, Err: err}
	}
	v := d.valuesOf(c)
	return &caller{
		account: a, principal: keyAuthorizer + by.Name, thing: thingName(c.ClientID), life: customLife, expires: "CUSTOMAUTH_TTL_EXPIRATION",
		load: func(rd store.RecordReader) (*papers, error) {
			slot, err := d.slot(rd, t, by.policy())
			return &papers{values: v, policies: []*policySlot{slot}}, err
		},
	}, seen, nil
}

// accountHost reports whether a server name is one of those that DescribeEndpoint tells.
func accountHost(host string) bool {
	_, rest, _ := strings.Cut(strings.ToLower(host), ".")
	return strings.HasPrefix(rest, "iot.") && strings.Contains(rest, ".amazonaws.")
}

// policy returns the name of the policy that counts for whom the authorizer lets in.
func (a *authorizer) policy() string {
	return a.Function[strings.LastIndexByte(a.Function, ':')+1:]
}

// check looks at the signature of the token.
func (a *authorizer) check(l *login) error {
	refuse := func(text, help string) error {
		return &core.HelpError{Text: fmt.Sprintf("custom authorizer %s: %s", a.Name, text), Help: help, Err: core.ErrDenied}
	}
	if !a.Active {
		return refuse("is not active", "Activate it: `aws iot update-authorizer --status ACTIVE --authorizer-name "+a.Name+"`.")
	}
	if a.Unsigned {
		return nil
	}
	token := l.value(a.TokenKey)
	signature, err := base64.StdEncoding.DecodeString(l.value(authorizerSignature))
	if token == "" || err != nil || len(signature) == 0 {
		return refuse(fmt.Sprintf("no token under %q, or no signature", a.TokenKey),
			"The client has to send both, as "+a.TokenKey+" and "+authorizerSignature+".")
	}
	sum := sha256.Sum256([]byte(token))
	for _, text := range a.Keys {
		if k := rsaKey(text); k != nil && rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], signature) == nil {
			return nil
		}
	}
	return refuse("none of its keys has signed the token", "Compare the key that signs with those of `aws iot describe-authorizer`.")
}

// Bounds of the keys of custom authorizers: strangers have their signatures checked with them. (API reference,
// "CreateAuthorizer", has the length.)
const (
	maxTokenKeyChars = 5120
	maxTokenKeyBits  = 4096
)

// rsaKey reads a public key in PEM; nil if it is none, or too large a one.
func rsaKey(text string) *rsa.PublicKey {
	if len(text) > maxTokenKeyChars {
		return nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil
	}
	pub, ok := k.(*rsa.PublicKey)
	if !ok || pub.N.BitLen() > maxTokenKeyBits {
		return nil
	}
	return pub
}
