package refusal

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A Reason is why in one word, for metrics and programs. There are few, and they stay what they are.
type Reason string

// Reasons lists all reasons that there are.
var Reasons = []Reason{
	"busy", "certificate_expired", "certificate_key", "certificate_not_yet_valid", "certificate_unknown_issuer", "certificate_unusable",
	"client_id", "credentials", "denied", "hub_certificate_expired", "hub_certificate_rejected", "hub_untrusted", "limit", "lost",
	"mqtt_malformed", "mqtt_version", "not_mqtt", "not_tls", "other", "stopping", "storage", "timeout", "tls_failed", "tls_version",
	"topic", "unknown_client",
}

// cause is what operators are told.
type cause struct {
	reason     Reason
	text, hint string
}

// explain says in plain words what happened; who has refused knows best.
func explain(r core.Refusal) cause {
	c := general(r)
	var known *core.HelpError
	if errors.As(r.Err, &known) {
		c.text = text(known)
		if known.Help != "" {
			c.hint = known.Help
		}
	}
	return c
}

// general says what there is to say about a kind of refusal.
func general(r core.Refusal) cause {
	for _, f := range []func(core.Refusal) (cause, bool){explainCertificate, explainTLS, explainMQTT, explainKind} {
		if c, ok := f(r); ok {
			if c.text == "" {
				c.text = text(r.Err)
			}
			return c
		}
	}
	return cause{"other", text(r.Err), "See the hub's log."}
}

// text returns the words of an error, which come from outside in part.
func text(err error) string {
	if err == nil {
		return ""
	}
	const most = 300
	s := plain(strings.ToValidUTF8(err.Error(), "�"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// plain removes what errors have for programs: whose sign-in it was, before the rest, and the words for kinds.
func plain(s string) string {
	if who, rest, ok := strings.Cut(s, " sign-in: "); ok && !strings.Contains(who, " ") {
		s = rest
	}
	return core.PlainText(s)
}

// explainCertificate explains what the hub finds wrong with the client's certificate.
func explainCertificate(r core.Refusal) (cause, bool) {
	ends := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	crt := r.Claim.Certificate
	switch {
	case errors.Is(r.Err, ca.ErrUnknownIssuer):
		return cause{
			"certificate_unknown_issuer", "the client's certificate was not issued by this hub",
			"The device may have been set up for another hub, or this hub's data folder may be new: let the device register again, so that it gets a certificate of this hub. " +
				"If an authority of your own has issued it, register that: `fairlead authority add FILE --tenant TENANT`.",
		}, true
	case errors.Is(r.Err, ca.ErrBadSignature):
		return cause{
			"certificate_unknown_issuer", "the client's certificate names this hub as its issuer, but was not signed by it",
			"This is an imitation, or a hub of the same name with another data folder issued it. Let the device register again.",
		}, true
	case errors.Is(r.Err, ca.ErrExpired):
		c := cause{reason: "certificate_expired", hint: "Let the device fetch a new certificate; is the clock of this machine right?"}
		if crt != nil {
			c.text = "the client's certificate expired at " + ends(crt.NotAfter)
		}
		return c, true
	case errors.Is(r.Err, ca.ErrNotYetValid):
		c := cause{reason: "certificate_not_yet_valid", hint: "Is the clock of this machine right?"}
		if crt != nil {
			c.text = "the client's certificate is valid from " + ends(crt.NotBefore) + " on only"
		}
		return c, true
	case errors.Is(r.Err, ca.ErrKeyUsage), errors.Is(r.Err, ca.ErrMalformed) && r.Stage == core.StageTLS:
		return cause{reason: "certificate_unusable", hint: "Use the certificate that was issued to the device, not one of a server or of an authority."}, true
	}
	return cause{}, false
}

// alerts are what clients say when they end a handshake: the texts of crypto/tls for the alerts of RFC 8446 section 6.2.
var alerts = map[string]cause{
	"tls: unknown certificate authority": untrusted,
	"tls: bad certificate":               rejected,
	"tls: unknown certificate":           rejected,
	"tls: unsupported certificate":       rejected,
	"tls: revoked certificate":           rejected,
	"tls: expired certificate": {
		"hub_certificate_expired", "the client finds that the hub's certificate has expired or is not valid yet",
		"Look at the client's clock: a device without a battery may begin in 1970. The hub renews its own certificate by itself.",
	},
	"tls: protocol version not supported": {
		"tls_version", "the client does not speak the version of TLS that the hub chose", "The hub speaks TLS 1.2 and 1.3: does the client?",
	},
	"tls: no application protocol": {"tls_failed", "the client asked for an application protocol (ALPN) that the hub does not have", "Use the port for MQTT, without ALPN or with \"mqtt\"."},
	"tls: handshake failure":       {"tls_failed", "the client found no common way to encrypt", "Compare the ciphers and curves of the client with those of TLS 1.2 and 1.3 in Go."},
	"tls: user canceled":           {"lost", "the client broke the handshake off", "See the client's log."},
}

var (
	untrusted = cause{
		"hub_untrusted", "the client does not trust this hub: it does not know the hub's certificate authority",
		"Give the client the hub's root certificate: `fairlead cert root > root.pem`, then for instance mosquitto_pub --cafile root.pem.",
	}
	rejected = cause{
		"hub_certificate_rejected", "the client does not accept the hub's certificate: it does not trust the hub's certificate authority, or connects to a name that is not in the certificate",
		"Give the client the hub's root certificate (`fairlead cert root`), and let it connect to a name that the hub was told: --name at its start.",
	}
)

// explainTLS explains why a handshake ended. crypto/tls has no types for most of it, so its texts are compared; they are
// checked against real handshakes in the tests.
func explainTLS(r core.Refusal) (cause, bool) {
	if r.Stage != core.StageTLS || r.Err == nil {
		return cause{}, false
	}
	var op *net.OpError
	if r.Alert != 0 {
		op = &net.OpError{Err: tls.AlertError(r.Alert)}
	}
	if op != nil || errors.As(r.Err, &op) && op.Op == "remote error" && op.Err != nil {
		if c, ok := alerts[op.Err.Error()]; ok {
			return c, true
		}
		return cause{
			"tls_failed", "the client ended the handshake: " + text(op.Err),
			"See the client's log. If it says something about certificates, give it the hub's root certificate: `fairlead cert root`.",
		}, true
	}
	var header tls.RecordHeaderError
	if errors.As(r.Err, &header) {
		return notTLS(header.RecordHeader), true
	}
	s := r.Err.Error()
	switch {
	case errors.Is(r.Err, os.ErrDeadlineExceeded), errors.Is(r.Err, context.DeadlineExceeded):
		return cause{"timeout", "the client did not complete the TLS handshake in time", "Is the line very slow, or is it no TLS client?"}, true
	case errors.Is(r.Err, io.EOF), errors.Is(r.Err, io.ErrUnexpectedEOF), errors.Is(r.Err, syscall.ECONNRESET), errors.Is(r.Err, syscall.EPIPE):
		return cause{
			"lost", "the client closed the connection during the TLS handshake without saying why",
			"Often it does not trust the hub's certificate: give it the hub's root certificate, `fairlead cert root`. Else see the client's log. A scan of ports and a health check look the same.",
		}, true
	case strings.Contains(s, "unsupported versions"), strings.Contains(s, "protocol version not supported"):
		return cause{"tls_version", "the client speaks no version of TLS that the hub does", "The hub speaks TLS 1.2 and 1.3: does the client?"}, true
	case strings.Contains(s, "no cipher suite supported"), strings.Contains(s, "no ECDHE curve"), strings.Contains(s, "no common"),
		strings.Contains(s, "doesn't support any of the certificate's signature algorithms"), strings.Contains(s, "unsupported signature algorithms"):
		return cause{"tls_failed", "the client and the hub have no way to encrypt in common", "The hub's certificate has an ECDSA P-256 key: the client must be able to do that, and TLS 1.2 with ECDHE and AES-GCM or ChaCha20."}, true
	case strings.Contains(s, "invalid signature by the client certificate"):
		return cause{"certificate_key", "the client's private key does not belong to its certificate", "Give the device the key and the certificate that were made together, or let it fetch a new certificate."}, true
	case strings.Contains(s, "bad record MAC"):
		return cause{"tls_failed", "the client sent a record that does not decrypt", "The connection was tampered with or damaged on its way, or the client's TLS library has a bug."}, true
	case strings.Contains(s, "failed to parse certificate"), strings.Contains(s, "client's certificate"):
		return cause{reason: "certificate_unusable", hint: "See what certificate the device has: openssl x509 -noout -text -in FILE."}, true
	case errors.Is(r.Err, context.Canceled):
		return cause{"stopping", "the hub was stopping", "The client comes back by itself."}, true
	}
	return cause{reason: "tls_failed", hint: "See the client's log."}, true
}

// notTLS looks at the first bytes of what is no TLS.
func notTLS(head [5]byte) cause {
	c := cause{"not_tls", "the client does not speak TLS", "This port is for TLS only."}
	switch {
	case head[0] == 0x10:
		c.text = "the client speaks MQTT without TLS"
		c.hint = "This port is for MQTT over TLS: switch TLS on at the client (mosquitto_pub --cafile root.pem), with the root certificate from `fairlead cert root`."
	case strings.HasPrefix("GET POST HEAD PUT CONN OPTIO", string(head[:3])):
		c.text, c.hint = "the client speaks HTTP without TLS", "This port is for MQTT over TLS: the HTTP APIs are on the HTTPS port."
	case string(head[:4]) == "SSH-":
		c.text = "the client speaks SSH"
	}
	return c
}

// explainMQTT explains why CONNECT was not understood.
func explainMQTT(r core.Refusal) (cause, bool) {
	if r.Stage != core.StageConnect {
		return cause{}, false
	}
	var e *mqtt.Error
	switch {
	case errors.Is(r.Err, mqtt.ErrVersion):
		return cause{reason: "mqtt_version", hint: "Let the client speak a version of MQTT that this hub has."}, true
	case errors.As(r.Err, &e):
		return cause{reason: "mqtt_malformed", hint: "The client's first packet is no CONNECT that MQTT allows: see the client's log, or its library's version."}, true
	case errors.Is(r.Err, os.ErrDeadlineExceeded):
		return cause{"timeout", "the client connected and then sent no CONNECT", "Does the client speak MQTT? A health check of a port looks the same."}, true
	case errors.Is(r.Err, io.EOF), errors.Is(r.Err, io.ErrUnexpectedEOF), errors.Is(r.Err, syscall.ECONNRESET):
		return cause{
			"lost", "the client went away before it had sent CONNECT",
			"With TLS 1.3 a client that rejects the hub's certificate can look like this: see the client's log. A scan of ports and a health check do too.",
		}, true
	}
	// In TLS 1.3 the handshake is over for us before the client has checked our certificate.
	tlsCause, _ := explainTLS(core.Refusal{Stage: core.StageTLS, Err: r.Err})
	if tlsCause.reason != "" && tlsCause.text != "" {
		return tlsCause, true
	}
	return cause{reason: "not_mqtt", hint: "Is this client meant to speak MQTT, with TLS on this port?"}, true
}

// kinds says what the kinds of failure mean to who wants to connect; the first match wins.
var kinds = []struct {
	kind   error
	reason Reason
	hint   string
}{
	{core.ErrFull, "limit", "See docs/limits.md for the limit, and how to raise it."},
	{core.ErrSessions, "limit", "See docs/limits.md. A client that uses a new client id each time leaves a session behind each time: `fairlead session list` shows them."},
	{core.ErrReconnect, "limit", "See aws_service_limits in docs/limits.md: a client id may connect once a second. Two clients with the same id end each other's connections, and come here soon."},
	{core.ErrRate, "limit", "See aws_service_limits in docs/limits.md: messages beyond a hundred in a second are discarded."},
	{core.ErrBusy, "busy", "Thousands of clients connect at the same moment: those that come back after a while will be let in."},
	{core.ErrUnknownClient, "unknown_client", "It showed no certificate and no user name that a platform of this hub recognises: does the device have what it was given, and does the client send it?"},
	{core.ErrUnauthenticated, "credentials", "The credentials are wrong or missing: compare them with those that the device was given."},
	{core.ErrStorage, "storage", "The hub could not read or write its database: see the hub's log, and free space on its disk."},
	{core.ErrStopping, "stopping", "The hub was stopping: the client comes back by itself."},
	{core.ErrTooLarge, "limit", "A limit of the hub or of the tenant is reached."},
	{core.ErrInvalid, "client_id", "The client id, or another field of CONNECT, breaks a rule of the platform."},
	{core.ErrNotFound, "denied", "What the client names is not there: has the device been deleted, or does it mean another tenant?"},
	{core.ErrDenied, "denied", "The client is known and may not do this: see `fairlead device show` and `fairlead cert list`."},
	{context.Canceled, "stopping", "The hub was stopping: the client comes back by itself."},
	{context.DeadlineExceeded, "timeout", "The hub is very busy: see its metrics."},
}

func explainKind(r core.Refusal) (cause, bool) {
	if errors.Is(r.Err, core.ErrUnknownClient) && r.Claim.Certificate == nil && !r.Claim.HasUsername {
		return cause{
			"unknown_client", "no platform of this hub knows this client: it sent neither a certificate nor a user name",
			"An Astarte device needs the certificate that it was issued, a plain MQTT device that or a user name and a password: `fairlead device add DEVICE` makes one and prints them. " +
				"Has the device what it needs, and does its client send it?",
		}, true
	}
	switch {
	case errors.Is(r.Err, core.ErrRate): // wherever it was
	case r.Stage == core.StagePublish:
		return cause{reason: "topic", hint: "The device may not publish there: compare the topic with what its platform allows, and the device id in it with the device's."}, true
	case r.Stage == core.StageSubscribe:
		return cause{reason: "topic", hint: "The device may not subscribe to that: compare the filter with what its platform allows, and the device id in it with the device's."}, true
	}
	for _, k := range kinds {
		if errors.Is(r.Err, k.kind) {
			return cause{reason: k.reason, hint: k.hint}, true
		}
	}
	return cause{}, false
}
