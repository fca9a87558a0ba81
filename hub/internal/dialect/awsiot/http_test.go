package awsiot

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/seal"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
	"github.com/google/go-cmp/cmp"
)

// An httpRig is the dialect with keys and an authority, asked over HTTP.
type httpRig struct {
	*serviceRig
	key    sigv4.Credentials
	shown  *x509.Certificate // client certificate; then nothing is signed
	values map[string]string // captured from answers
}

func newHTTPRig(tb testing.TB) *httpRig {
	tb.Helper()
	g := &httpRig{serviceRig: newServiceRig(tb), values: map[string]string{}}
	authority, err := ca.Open(ca.Config{Dir: tb.TempDir(), Now: g.clock})
	if err != nil {
		tb.Fatal(err)
	}
	k, err := seal.New(make([]byte, 32))
	if err != nil {
		tb.Fatal(err)
	}
	g.d = New(Config{Committer: g.c, Store: g.store, Broker: g.broker, CA: authority, Secrets: k, Now: g.clock, ShadowsPerSecond: -1})
	g.do(func(tx *commit.Tx) error {
		made, secret, err := g.d.keys.Make(tx, testTenant, "test", time.Time{})
		g.key = sigv4.Credentials{AccessKeyID: made.ID, SecretAccessKey: secret.Secret}
		return err
	})
	return g
}

// request makes one, "GET /things?x=y", signed for a service unless a client certificate is shown.
func (g *httpRig) request(what, service, body string, header map[string]string) *http.Request {
	g.Helper()
	method, target, _ := strings.Cut(what, " ")
	r := httptest.NewRequest(method, "https://hub.example.org"+target, strings.NewReader(body))
	for k, v := range header {
		r.Header.Set(k, v)
	}
	if g.shown != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{g.shown}}
		return r
	}
	for _, h := range sigv4.Sign(sigv4.Request{
		Method: method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header, Hash: sigv4.Hash([]byte(body)),
	}, g.key, sigv4.Scope{Region: DefaultRegion, Service: service}, g.clock()) {
		r.Header.Set(h.Name, h.Value)
	}
	return r
}

func (g *httpRig) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	if !g.d.Serves(r) {
		g.Errorf("%s %s is not served", r.Method, r.URL)
	}
	g.d.Handler().ServeHTTP(w, r)
	return w
}

// A step is a request of a story, and what has to come of it.
type step struct {
	do      string // "GET /things"; ${name} is a captured value, and ${name|path} its escaped form
	service string // "": the control plane
	body    string
	header  map[string]string
	// want is the name of the error, "" for success; has is text of the answer that must be there, no what must not.
	want    string
	has, no []string
	capture map[string]string // of members of the answer, by the name to keep them under
}

var placeholder = regexp.MustCompile(`\$\{(\w+)(\|path)?\}`)

func (g *httpRig) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(s string) string {
		m := placeholder.FindStringSubmatch(s)
		v, ok := g.values[m[1]]
		if !ok {
			g.Errorf("nothing was captured as %s", m[1])
		}
		if m[2] != "" {
			return url.PathEscape(v)
		}
		return v
	})
}

// tell goes through the steps of a story.
func (g *httpRig) tell(steps ...step) {
	g.Helper()
	for i, s := range steps {
		service := s.service
		if service == "" {
			service = serviceControl
		}
		header := map[string]string{}
		for k, v := range s.header {
			header[k] = g.fill(v)
		}
		body := g.fill(s.body)
		if json.Valid([]byte(body)) {
			header["Content-Type"] = "application/json"
		}
		w := g.send(g.request(g.fill(s.do), service, body, header))
		answer := w.Body.String()
		name := w.Header().Get("x-amzn-ErrorType")
		if name != s.want || (w.Code == http.StatusOK) != (s.want == "") || w.Header().Get("x-amzn-RequestId") == "" {
			g.Fatalf("step %d, %s %s: got %d %s %s, want %q", i, s.do, body, w.Code, name, answer, s.want)
		}
		if s.want != "" && w.Code != statuses[s.want] {
			g.Errorf("step %d, %s: got status %d, want %d", i, s.do, w.Code, statuses[s.want])
		}
		for _, text := range s.has {
			if !strings.Contains(answer, g.fill(text)) {
				g.Errorf("step %d, %s: %q is not in\n%s", i, s.do, g.fill(text), answer)
			}
		}
		for _, text := range s.no {
			if strings.Contains(answer, g.fill(text)) {
				g.Errorf("step %d, %s: %q is in\n%s", i, s.do, g.fill(text), answer)
			}
		}
		if len(s.capture) == 0 {
			continue
		}
		var members map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &members); err != nil {
			g.Fatalf("step %d, %s: %v", i, s.do, err)
		}
		for as, member := range s.capture {
			text, ok := members[member].(string)
			if !ok {
				g.Fatalf("step %d, %s: no %s in %s", i, s.do, member, answer)
			}
			g.values[as] = text
		}
	}
}

// TestModel compares what there is with the platform's list: same methods, same paths.
func TestModel(t *testing.T) {
	model := map[string]operation{}
	for _, op := range model_(t) {
		model[op.name] = op
	}
	have := 0
	for _, op := range operations() {
		if op.service != control || op.do == nil {
			continue
		}
		have++
		want, ok := model[op.name]
		if !ok || want.method != op.method || want.path != op.path {
			t.Errorf("%s is %s %s, want %s %s", op.name, op.method, op.path, want.method, want.path)
		}
	}
	if have < 90 {
		t.Errorf("%d operations, want more", have)
	}
}

func model_(t *testing.T) []operation {
	t.Helper()
	all := model()
	if len(all) < 250 {
		t.Fatalf("%d operations in the model", len(all))
	}
	return all
}

// TestEveryErrorHasAStatus checks the table of kinds and that of names.
func TestEveryErrorHasAStatus(t *testing.T) {
	for _, kind := range core.Kinds {
		if e := awsErrorOf(kind); e.status() == http.StatusInternalServerError {
			t.Errorf("%v has no name", kind)
		}
	}
	for _, a := range answers {
		if statuses[a.name] == 0 {
			t.Errorf("%s has no status", a.name)
		}
	}
	if e := awsErrorOf(errors.New("secret detail")); e.status() != 500 || strings.Contains(e.message, "secret") {
		t.Errorf("an unknown error is told: %v", e)
	}
}

// TestRecordedRequests sends what boto3 has sent, and wants each to find its operation.
func TestRecordedRequests(t *testing.T) {
	raw, err := os.ReadFile("../../../../testdata/vectors/aws/http-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name    string
		Decoded struct{ SigningService string }
	}
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	rt := newRouter(operations())
	for _, v := range vectors {
		f := strings.Fields(v.Name)
		if len(f) < 3 {
			continue
		}
		u, err := url.Parse(f[2])
		if err != nil || v.Decoded.SigningService == serviceJobs {
			continue
		}
		if _, _, err := rt.find(serviceOf(v.Decoded.SigningService), f[1], u.EscapedPath()); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func TestRouter(t *testing.T) {
	rt := newRouter(operations())
	for _, c := range []struct {
		service plane
		method  string
		path    string
		name    string
		labels  map[string]string
	}{
		{control, "PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup", map[string]string{}},
		{control, "POST", "/thing-groups/addThingToThingGroup", "CreateThingGroup", map[string]string{"thingGroupName": "addThingToThingGroup"}},
		{control, "GET", "/things/jobs", "DescribeThing", map[string]string{"thingName": "jobs"}},
		{control, "GET", "/authorizers/", "ListAuthorizers", map[string]string{}},
		{control, "POST", "/attached-policies/arn%3Aaws%3Aiot%3Ax%3Acert%2Fa", "ListAttachedPolicies", map[string]string{"target": "arn:aws:iot:x:cert/a"}},
		{data, "POST", "/topics/a%2Fb", "Publish", map[string]string{"topic": "a/b"}},
		{data, "POST", "/topics/a/b/", "Publish", map[string]string{"topic": "a/b/"}},
		{data, "GET", "/retainedMessage/a%2Fb", "GetRetainedMessage", map[string]string{"topic": "a/b"}},
		{data, "GET", "/retainedMessage", "ListRetainedMessages", map[string]string{}},
		{planes, "GET", "/greengrass/discover/thing/a", "Discover", map[string]string{"thingName": "a"}},
		{planes, "GET", "/things/a/shadow", "GetThingShadow", map[string]string{"thingName": "a"}},
		{planes, "GET", "/things/a", "", nil},
		{control, "GET", "/things/a/shadow", "", nil},
		{data, "GET", "/topics/a", "", nil},
		{control, "GET", "/", "", nil},
		{control, "GET", "/things/%zz", "", nil},
		{control, "BREW", "/things/a", "", nil},
	} {
		op, labels, err := rt.find(c.service, c.method, c.path)
		name := ""
		if err == nil {
			name = op.name
		}
		if name != c.name || err == nil && cmp.Diff(c.labels, labels) != "" {
			t.Errorf("%s %s: got %q %v, want %q %v", c.method, c.path, name, labels, c.name, c.labels)
		}
	}
}

func TestSignatures(t *testing.T) {
	g := newHTTPRig(t)
	good := g.key
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"good":           {func(*http.Request) {}, ""},
		"unsigned":       {func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationTokenException"},
		"unknown key":    {func(r *http.Request) { replaceAuth(r, good.AccessKeyID, "AKIANOBODY") }, "UnrecognizedClientException"},
		"changed":        {func(r *http.Request) { r.URL.RawQuery = "maxResults=7" }, "InvalidSignatureException"},
		"broken":         {func(r *http.Request) { replaceAuth(r, "SignedHeaders=", "X=") }, "IncompleteSignatureException"},
		"needless token": {func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") }, "UnrecognizedClientException"},
	} {
		r := g.request("GET /things", serviceControl, "", nil)
		c.change(r)
		w := httptest.NewRecorder()
		g.d.Handler().ServeHTTP(w, r)
		if got := w.Header().Get("x-amzn-ErrorType"); got != c.want || c.want != "" && w.Code != http.StatusForbidden {
			t.Errorf("%s: got %d %s %s, want %s", name, w.Code, got, w.Body, c.want)
		}
	}
	g.tell(step{do: "GET /things", service: "s3", want: "InvalidSignatureException"})
	r := g.request("GET /things", serviceControl, "", nil)
	g.advance(16 * time.Minute)
	if w := g.send(r); w.Header().Get("x-amzn-ErrorType") != "InvalidSignatureException" || !strings.Contains(w.Body.String(), "expired") {
		t.Errorf("an old signature: %d %s", w.Code, w.Body)
	}
	g.key.SecretAccessKey = "other"
	g.tell(step{do: "POST /things/x", body: `{}`, want: "InvalidSignatureException"})
	g.key = good
	g.tell(step{do: "GET /things/x", want: notFound})
}

func replaceAuth(r *http.Request, old, new string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, new, 1))
}

// TestBounds sends what is too large, and what is no JSON.
func TestBounds(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /things/a", body: `{"attributePayload":7}`, want: invalidRequest},
		step{do: "POST /things/a", body: `{`, want: invalidRequest},
		step{do: "POST /things/a", body: `{"a":"` + strings.Repeat("x", maxHTTPBody) + `"}`, want: tooLarge},
		step{do: "POST /things/a%20b", body: `{}`, want: invalidRequest, has: []string{"Value 'a b' at 'thingName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9:_-]+"}},
		step{do: "POST /things/" + strings.Repeat("x", 129), body: `{}`, want: invalidRequest, has: []string{"length less than or equal to 128"}},
		step{do: "GET /things?maxResults=0", want: invalidRequest},
		step{do: "GET /things?maxResults=251", want: invalidRequest},
		step{do: "GET /things?nextToken=*", want: invalidRequest},
		step{do: "GET /streams", want: invalidRequest, has: []string{"ListStreams is not supported by this hub"}},
		step{do: "GET /nothing", want: notFound},
	)
	// A body that never ends, with a known key: no more than the bound is read.
	r := g.request("POST /things/a", serviceControl, "", nil)
	r.Body, r.ContentLength = endless{}, -1
	if w := g.send(r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("an endless body: %d %s", w.Code, w.Body)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }
func (endless) Close() error               { return nil }

// TestPanic: a handler that panics answers, and the hub goes on.
func TestPanic(t *testing.T) {
	g := newHTTPRig(t)
	g.d.cfg.Broker = nil
	g.tell(step{do: "GET /connections/x", service: serviceData, want: internalFailure})
}

var update = flag.Bool("update", false, "write docs/coverage/aws-iot-api.md anew")

// notes say what is particular about an operation here.
var notes = map[string]string{
	"CreateAuthorizer":            "there is no function to call: the account's policy of the function's name decides",
	"CreateJob":                   "`documentSource`, placeholders for presigned URLs and `documentParameters` are refused: there is no S3 here, and no managed template",
	"CreateJobTemplate":           "as with CreateJob",
	"CreateKeysAndCertificate":    "the certificate ends with the hub's issuing certificate, not in 2049",
	"CreateProvisioningTemplate":  "pre-provisioning hooks are refused",
	"UpdateProvisioningTemplate":  "pre-provisioning hooks are refused",
	"DeleteThingType":             "at once after its deprecation; the service has one wait five minutes",
	"AssumeRoleWithCertificate":   "the credentials open what the certificate's policies allow, and nothing of the control plane; see [aws.md](../aws.md#credentials-for-devices)",
	"CreateRoleAlias":             "the role is kept and shown; it gives no rights here",
	"DescribeEndpoint":            "the host of the request, without its port, whatever the type",
	"SearchIndex":                 "`thingName`, `thingId`, `thingTypeName`, `thingGroupNames` (those that a thing is in itself), `attributes.NAME`, `connectivity.connected`; wildcards, AND, OR, NOT, parentheses; no ranges, no shadows",
	"SendDirectMessage":           "`confirmation` and `timeout` have no effect: it is answered once the message is queued, without waiting for PUBACK, and a client that does not subscribe to the topic gets it with QoS 0",
	"GetConnection":               "`disconnectReason` is forgotten when the hub ends; no `targetIp`, `targetPort`, `vpcEndpointId`",
	"UpdateEventConfigurations":   "all kinds are kept; published are those about things, types, groups, and jobs",
	"UpdateIndexingConfiguration": "is kept; everything is searchable always",
}

// TestAPICoverage compares the page with what there is.
func TestAPICoverage(t *testing.T) {
	const file = "../../../../docs/coverage/aws-iot-api.md"
	planeNames := map[plane]string{control: "Control plane (`iot`)", data: "Data plane (`iot-data`)", jobsData: "Jobs data plane (`iot-jobs-data`)", discovery: "Greengrass discovery", provider: "Credentials provider"}
	var b strings.Builder
	b.WriteString("# Coverage: the HTTP APIs of AWS IoT\n\nEvery operation of the service models (botocore 1.44.5, read 2026-11). The page is made by `go test ./hub/internal/dialect/awsiot -run TestAPICoverage -update`, and a test compares it\n" +
		"with the table of routes. What is not there is answered with `InvalidRequestException` and a message that says so; nothing is changed.\n" +
		"The behaviour of those that are there is tested by the stories in `control_test.go`, `control_policy_test.go`, `control_search_test.go`, `data_test.go`, `provider_test.go` and `provision_test.go` of `hub/internal/dialect/awsiot`.\n")
	all := operations()
	slices.SortStableFunc(all, func(a, b operation) int { return strings.Compare(a.name, b.name) })
	for _, p := range []plane{control, data, jobsData, discovery, provider} {
		have, total := 0, 0
		var rows strings.Builder
		for _, op := range all {
			if op.service != p {
				continue
			}
			total++
			state := "no"
			if op.do != nil {
				have++
				if state = "yes"; notes[op.name] != "" {
					state += ": " + notes[op.name]
				}
			}
			fmt.Fprintf(&rows, "| %s | `%s %s` | %s |\n", op.name, op.method, op.path, state)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%d of %d.\n\n| Operation | Request | Here |\n|---|---|---|\n%s", planeNames[p], have, total, rows.String())
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("the page is not up to date: %s", diff)
	}
}
