package awsiot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// maxHTTPBody bounds the bodies of requests. The largest that the platform has are a payload of 128 KiB and a message of
// certificates; those of signed requests are read whole before anything is believed, but not before the access key is found.
const maxHTTPBody = 256 << 10

// openPrefixes begin the paths that devices ask for with a client certificate, so that the platform is known by nothing
// else. All other requests are ours because they are signed.
var openPrefixes = []string{
	"/topics/", "/things/", "/greengrass/discover/", "/retainedMessage", "/api/things/shadow/", "/connections/", "/role-aliases/",
}

// Serves reports whether a request is for one of the platform's APIs: it is signed, has one of the paths that devices ask for,
// or goes to one of the platform's host names.
func (d *Dialect) Serves(r *http.Request) bool {
	if signed(r) {
		return true
	}
	path := r.URL.EscapedPath()
	for _, p := range openPrefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	// A client that forgot to sign shall be told so in the platform's words; one that shows credentials of another kind is
	// none of ours.
	return (strings.Contains(r.Host, ".amazonaws.") || r.Header.Get("Authorization") == "") && d.routes().known(path)
}

// signed reports whether a request is signed, or tries to be.
func signed(r *http.Request) bool {
	if strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") {
		return true
	}
	return strings.Contains(r.URL.RawQuery, "X-Amz-") && sigv4.Signed(&sigv4.Request{Query: r.URL.RawQuery})
}

// Handler serves the platform's APIs: control plane, data plane, jobs data plane and Greengrass discovery.
func (d *Dialect) Handler() http.Handler { return http.HandlerFunc(d.serveHTTP) }

// routes are those of all operations; they are compiled once.
func (d *Dialect) routes() *router {
	return compiledOperations()
}

var compiledOperations = sync.OnceValue(func() *router { return newRouter(operations()) })

// A call is one request on its way.
type call struct {
	d  *Dialect
	r  *http.Request
	id string // of the request, for the answer
	op *operation
	// inXML says that the request is one of the Query protocol, whose answers are XML.
	inXML bool

	labels map[string]string // of the path, decoded
	query  url.Values
	body   []byte

	account     account
	signer      *signer         // nil: a certificate
	pass        *signer         // who has signed with a pass; signer is nil then
	certificate string          // id of the certificate that the client has shown, or that a pass stands for, if no key signed
	thing       *thing          // that the certificate's policies may ask about; nil: none
	bound       []*policy.Bound // its policies
}

func (c *call) ctx() context.Context { return c.r.Context() }

func (c *call) tenant() core.TenantID { return c.account.Tenant }

// view runs f on a snapshot.
func (c *call) view(f func(store.Reader) error) error { return c.d.view(c.ctx(), f) }

// A rawReply is a success whose body is not JSON of ours: a shadow.
type rawReply []byte

// A literalReply is sent with the names of headers in lower case, whatever became of the request: AWSIoTPythonSDK looks for
// them so (observed with 1.6.2).
type literalReply struct {
	status int
	body   []byte
}

func (d *Dialect) serveHTTP(w http.ResponseWriter, r *http.Request) {
	start := d.cfg.Now()
	c := &call{d: d, r: r, id: newUUID()}
	reply, err := c.handle()
	status := c.answer(w, reply, err)
	d.logRequest(c, status, start, err)
}

// answer writes the answer and returns its status.
func (c *call) answer(w http.ResponseWriter, reply any, err error) int {
	literal, ok := reply.(literalReply)
	if err != nil && c.op != nil && c.op.service == discovery {
		literal, ok, err = discoveryError(err, c.id), true, nil
	}
	if ok && err == nil {
		writeLiteral(w, literal, c.id)
		return literal.status
	}
	var body []byte
	switch reply := reply.(type) {
	case nil:
		body = []byte("{}")
	case rawReply:
		body = reply
	case xmlReply:
		body = reply
	default:
		if err == nil {
			body, err = marshalJSON(reply)
		}
	}
	if err != nil {
		return c.answerError(w, awsErrorOf(err))
	}
	if c.inXML {
		writeXML(w, http.StatusOK, c.id, body)
		return http.StatusOK
	}
	h := w.Header()
	h.Set("x-amzn-RequestId", c.id)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // a client that has gone away needs no answer
	return http.StatusOK
}

// answerError answers with an error and returns its status.
func (c *call) answerError(w http.ResponseWriter, e *awsError) int {
	status, trace := e.status(), ""
	if c.op == nil || c.op.service != control {
		trace = c.id
	}
	if e.name == throttling && trace == "" {
		status = http.StatusBadRequest // the control plane's is older than the number
	}
	if c.inXML {
		writeXML(w, status, c.id, queryError(e, status, c.id))
	} else {
		writeError(w, e, status, c.id, trace)
	}
	return status
}

// marshalJSON writes JSON without escaping characters that only matter inside HTML.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// handle lets the caller in, finds the operation and does it.
func (c *call) handle() (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.d.log.Error("handler panicked", "panic", p, "stack", string(debug.Stack()))
			reply, err = nil, refuse(internalFailure, "Internal failure")
		}
	}()
	var sig *sigv4.Signature
	req := c.signedRequest()
	service := planes // what a client certificate opens
	c.inXML = asksQuery(c.r)
	if signed(c.r) {
		if sig, err = sigv4.Parse(req); err != nil {
			return nil, err
		}
		if c.inXML {
			return c.answerQuery(sig, req)
		}
		service = serviceOf(sig.Scope.Service)
	}
	op, labels, err := c.d.routes().find(service, c.r.Method, c.r.URL.EscapedPath())
	c.op, c.labels = op, labels
	if err := c.authenticate(sig, req); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return nil, refuse(invalidRequest, "The query of the request is malformed.")
	}
	if op.do == nil {
		return nil, refuse(invalidRequest, "%s is not supported by this hub.", op.name)
	}
	if err := c.authorize(); err != nil {
		return nil, err
	}
	return op.do(c)
}

// signedRequest is the request as it is signed, but for its body.
func (c *call) signedRequest() *sigv4.Request {
	return &sigv4.Request{
		Method: c.r.Method, Path: c.r.URL.EscapedPath(), Query: c.r.URL.RawQuery, Host: c.r.Host, Header: c.r.Header,
	}
}

// authenticate finds out who the caller is: who signed the request, else whose certificate was shown.
func (c *call) authenticate(sig *sigv4.Signature, req *sigv4.Request) (err error) {
	if sig == nil {
		if err := c.authenticateCertificate(); err != nil {
			return err
		}
		return c.readBody()
	}
	if err := c.d.knownKey(c.ctx(), sig); err != nil {
		return err
	}
	if err := c.readBody(); err != nil {
		return err
	}
	req.Hash = sigv4.Hash(c.body)
	names := signingNames
	if c.inXML {
		names = identityNames
	}
	c.signer, err = c.d.verifySignature(c.ctx(), req, sig, names)
	if err != nil {
		return err
	}
	if c.account = c.signer.account; c.signer.certificate != "" {
		return c.authenticatePass()
	}
	return nil
}

func (c *call) readBody() error {
	if c.r.ContentLength > maxHTTPBody {
		return refuse(tooLarge, "The request is larger than %d bytes.", maxHTTPBody)
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxHTTPBody+1))
	if err != nil {
		return fmt.Errorf("%w: read the request: %v", core.ErrInvalid, err)
	}
	if c.body = body; len(body) > maxHTTPBody {
		return refuse(tooLarge, "The request is larger than %d bytes.", maxHTTPBody)
	}
	return nil
}

// writeLiteral takes the connection over and writes an answer by hand. Where that cannot be (HTTP/2) net/http does it.
func writeLiteral(w http.ResponseWriter, l literalReply, id string) {
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("x-amzn-RequestId", id)
		w.WriteHeader(l.status)
		_, _ = w.Write(l.body)
		return
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(literalTimeout))
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\nx-amzn-requestid: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s",
		l.status, http.StatusText(l.status), id, len(l.body), l.body)
}

const literalTimeout = 15 * time.Second

// refusedStatuses are those of answers that are about who the caller is.
var refusedStatuses = []int{http.StatusUnauthorized, http.StatusForbidden}

// logRequest writes the access log, and tells of refusals.
func (d *Dialect) logRequest(c *call, status int, start time.Time, err error) {
	if slices.Contains(refusedStatuses, status) && d.cfg.Refused != nil {
		remote, _ := netip.ParseAddrPort(c.r.RemoteAddr)
		claim := core.Claim{Remote: remote, Path: c.r.URL.EscapedPath()}
		if c.r.TLS != nil && len(c.r.TLS.PeerCertificates) > 0 {
			claim.Certificate = c.r.TLS.PeerCertificates[0]
		}
		d.cfg.Refused(core.Refusal{
			At: d.cfg.Now(), Stage: core.StageHTTP, Claim: claim, TLS: c.r.TLS,
			Device: core.DeviceKey{Tenant: c.account.Tenant, Dialect: Name}, Code: "HTTP " + strconv.Itoa(status), Err: err,
		})
	}
	level, msg := slog.LevelDebug, "request"
	switch {
	case slices.Contains(refusedStatuses, status):
		level, msg = slog.LevelInfo, "request refused"
	case status == http.StatusInternalServerError:
		level, msg = slog.LevelError, "request failed"
	}
	if !d.log.Enabled(c.ctx(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", c.r.Method), slog.String("path", c.r.URL.EscapedPath()), slog.Int("status", status),
		slog.String("remote", c.r.RemoteAddr), slog.Duration("took", d.cfg.Now().Sub(start)),
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	d.log.LogAttrs(c.ctx(), level, msg, attrs...)
}
