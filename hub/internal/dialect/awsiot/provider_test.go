package awsiot

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

const testRole = `"roleArn":"arn:aws:iam::123456789012:role/devices"`

func TestRoleAliases(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /role-aliases/cameras", body: `{` + testRole + `,"credentialDurationSeconds":900,"tags":[{"Key":"k","Value":"v"}]}`, has: []string{`"roleAlias":"cameras"`, `:rolealias/cameras"`}, capture: map[string]string{"arn": "roleAliasArn"}},
		step{do: "POST /role-aliases/cameras", body: `{` + testRole + `}`, want: alreadyExists, has: []string{`"resourceArn":"${arn}"`}},
		step{do: "GET /role-aliases/cameras", has: []string{`"credentialDurationSeconds":900`, testRole, `"roleAliasArn":"${arn}"`, `"owner":"`, `"creationDate":1778051289.000`}},
		step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`{"Key":"k","Value":"v"}`}},
		step{do: "PUT /role-aliases/cameras", body: `{"credentialDurationSeconds":43200}`, has: []string{`"roleAliasArn":"${arn}"`}},
		step{do: "GET /role-aliases/cameras", has: []string{`"credentialDurationSeconds":43200`, testRole}},
		step{do: "PUT /role-aliases/cameras", body: `{"credentialDurationSeconds":899}`, want: invalidRequest},
		step{do: "PUT /role-aliases/cameras", body: `{"roleArn":"arn:aws:iam::123456789012:user/x"}`, want: invalidRequest},
		step{do: "PUT /role-aliases/none", body: `{}`, want: notFound},
		step{do: "POST /role-aliases/a%20b", body: `{` + testRole + `}`, want: invalidRequest},
		step{do: "POST /role-aliases/b", body: `{}`, want: invalidRequest},
		step{do: "POST /role-aliases/doors", body: `{` + testRole + `}`},
		step{do: "GET /role-aliases/doors", has: []string{`"credentialDurationSeconds":3600`}},
		step{do: "GET /role-aliases?pageSize=1", has: []string{`"roleAliases":["cameras"]`}, capture: map[string]string{"next": "nextMarker"}},
		step{do: "GET /role-aliases?pageSize=1&marker=${next|path}", has: []string{`"roleAliases":["doors"]`}, no: []string{"nextMarker"}},
		step{do: "DELETE /role-aliases/cameras"},
		step{do: "DELETE /role-aliases/cameras", want: notFound},
		step{do: "GET /role-aliases/cameras", want: notFound},
		step{do: "GET /tags?resourceArn=${arn|path}", want: notFound},
	)
}

// lend asks the provider for credentials and signs with them from now on.
func (g *httpRig) lend(alias, thing string) (expires time.Time) {
	g.Helper()
	w := g.send(g.request("GET /role-aliases/"+alias+"/credentials", "", "", map[string]string{thingNameHeader: thing}))
	var answer struct {
		Credentials struct {
			AccessKeyID     string    `json:"accessKeyId"`
			SecretAccessKey string    `json:"secretAccessKey"`
			SessionToken    string    `json:"sessionToken"`
			Expiration      time.Time `json:"expiration"`
		} `json:"credentials"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		g.Fatalf("got %d, %s", w.Code, w.Body)
	}
	c := answer.Credentials
	g.shown, g.key = nil, sigv4.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	return c.Expiration
}

// TestCredentialsProvider has a device lend itself credentials, and checks what they open: what its certificate does, while it
// does, and nothing of the control plane.
func TestCredentialsProvider(t *testing.T) {
	g := newHTTPRig(t)
	operator := g.key
	g.tell(
		step{do: "POST /role-aliases/cameras", body: `{` + testRole + `}`},
		step{do: "POST /things/T"}, step{do: "POST /things/U"},
	)
	const assume = `{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:aws:iot:*:*:rolealias/cameras","Condition":{"StringEquals":{"iot:Connection.Thing.ThingName":"T"}}}`
	g.certify(`{"Version":"2012-10-17","Statement":[` + assume + `,{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/mine"},{"Effect":"Allow","Action":"iot:GetThingShadow","Resource":"arn:aws:iot:*:*:thing/T"}]}`)
	device := g.shown
	g.shown = nil
	g.tell(step{do: "PUT /things/T/principals", header: map[string]string{"x-amzn-principal": "${arn}"}})
	g.shown = device
	get := func(alias, thing, want string) step {
		return step{do: "GET /role-aliases/" + alias + "/credentials", header: map[string]string{thingNameHeader: thing}, want: want}
	}
	g.tell(
		get("cameras", "", forbidden),
		get("cameras", "U", forbidden),
		get("doors", "T", forbidden),
		step{do: "POST /role-aliases/cameras/credentials", want: methodNotAllowed},
		step{do: "GET /role-aliases/cameras", want: notFound}, // no certificate's business
	)
	g.shown = nil
	g.tell(get("cameras", "T", notFound)) // nor is this any signature's
	g.shown = device
	if expires := g.lend("cameras", "T"); !expires.Equal(g.clock().Add(time.Hour)) {
		t.Errorf("the credentials expire at %v", expires)
	}
	pass := g.key
	g.tell(
		step{do: "POST /topics/mine", service: serviceData, body: "x"},
		step{do: "POST /topics/mine", service: serviceGateway, body: "x"},
		step{do: "POST /topics/other", service: serviceData, body: "x", want: forbidden},
		step{do: "GET /things/T/shadow", service: serviceData, want: notFound},
		step{do: "GET /things/U/shadow", service: serviceData, want: forbidden},
		step{do: "GET /things/T/jobs", service: serviceJobs, want: forbidden},
		step{do: "GET /things", want: forbidden},
		step{do: "POST /things/V", want: forbidden},
		step{do: "GET /role-aliases/cameras", want: forbidden},
		step{do: "POST /policies/all", body: policyBody(`{"Version":"2012-10-17","Statement":[]}`), want: forbidden},
	)
	if w := g.send(g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, pass)); !strings.Contains(w.Body.String(), ":assumed-role/device/"+g.values["id"]+"</Arn>") {
		t.Errorf("the identity is %d, %s", w.Code, w.Body)
	}
	as := func(k sigv4.Credentials, s ...step) {
		t.Helper()
		g.key = k
		g.tell(s...)
	}
	wrong := pass
	wrong.SecretAccessKey += "x"
	as(wrong, step{do: "POST /topics/mine", service: serviceData, body: "x", want: "InvalidSignatureException"})
	wrong = pass
	wrong.AccessKeyID = "ASIAAAAAAAAAAAAAAAAA"
	as(wrong, step{do: "POST /topics/mine", service: serviceData, body: "x", want: "UnrecognizedClientException"})
	wrong = pass
	wrong.SessionToken = ""
	as(wrong, step{do: "POST /topics/mine", service: serviceData, body: "x", want: "UnrecognizedClientException"})

	as(operator, step{do: "PUT /certificates/${id}?newStatus=INACTIVE"})
	as(pass, step{do: "POST /topics/mine", service: serviceData, body: "x", want: forbidden})
	if w := g.send(g.signedFor("POST", "/", askIdentity, "sts", DefaultRegion, pass)); w.Code != http.StatusForbidden {
		t.Errorf("the identity of what opens nothing is %d, %s", w.Code, w.Body)
	}
	as(operator, step{do: "PUT /certificates/${id}?newStatus=ACTIVE"})
	as(pass, step{do: "POST /topics/mine", service: serviceData, body: "x"})
	g.advance(time.Hour)
	as(pass, step{do: "POST /topics/mine", service: serviceData, body: "x", want: "ExpiredTokenException"})

	g.shown = device
	g.lend("cameras", "T")
	pass = g.key
	as(operator, step{do: "PUT /certificates/${id}?newStatus=INACTIVE"}, step{do: "DELETE /things/T/principals", header: map[string]string{"x-amzn-principal": "${arn}"}}, step{do: "DELETE /certificates/${id}?forceDelete=true"})
	as(pass, step{do: "POST /topics/mine", service: serviceData, body: "x", want: forbidden})
}

func TestAliasThatIsNotThere(t *testing.T) {
	g := newHTTPRig(t)
	g.certify(`{"Version":"2012-10-17","Statement":[` + allow(actionAssumeRole, "*") + `]}`)
	g.tell(step{do: "GET /role-aliases/none/credentials", want: notFound})
}

// TestWebSocketOfAPass connects with a URL that is signed with lent credentials: the connection is the certificate's.
func TestWebSocketOfAPass(t *testing.T) {
	g := newConnRig(t)
	g.thing(thing{Name: "pump"})
	g.policy("p", allow(actionConnect, "arn:client/pump"), allow(actionPublish, "arn:topic/${iot:Connection.Thing.ThingName}/*"))
	_, id := g.enrol([]string{"p"}, "pump")
	lend := func(t core.TenantID) sigv4.Credentials {
		p, s, err := g.d.keys.Lend(t, certResource+id, g.now().Add(time.Hour))
		if err != nil {
			g.Fatal(err)
		}
		return sigv4.Credentials{AccessKeyID: p.ID, SecretAccessKey: s.Secret, SessionToken: s.Token}
	}
	pass := lend(testTenant)
	grant, l, err := g.d.SignIn(t.Context(), webClaim("pump", g.presign(pass, serviceGateway, DefaultRegion)))
	if err != nil {
		t.Fatal(err)
	}
	if grant.Device == 0 || grant.Lifetime > time.Hour || l.(*link).principal != certResource+id {
		t.Errorf("got %+v", grant)
	}
	if err := grant.Rules.Publish("pump/x", false); err != nil {
		t.Errorf("it may not do what the certificate may: %v", err)
	}
	if grant.Rules.Publish("other", false) == nil || grant.Rules.Subscribe("#") == nil || grant.Rules.Receive("any") {
		t.Error("it may do more than the certificate")
	}
	if _, _, err := g.d.SignIn(t.Context(), webClaim("valve", g.presign(pass, serviceGateway, DefaultRegion))); !errors.Is(err, core.ErrDenied) {
		t.Errorf("as another client: %v", err)
	}
	if _, _, err := g.d.SignIn(t.Context(), webClaim("pump", g.presign(lend("nobody"), serviceGateway, DefaultRegion))); !errors.Is(err, core.ErrUnauthenticated) {
		t.Errorf("in an account that is not there: %v", err)
	}
	g.do(func(tx *commit.Tx) error { return l.Connected(tx, dialect.Presence{}) })
	g.setStatus(id, statusInactive)
	if _, _, err := g.d.SignIn(t.Context(), webClaim("pump", g.presign(pass, serviceGateway, DefaultRegion))); !errors.Is(err, core.ErrDenied) {
		t.Errorf("with a certificate that is INACTIVE: %v", err)
	}
	if g.d.live.links[liveKey{testTenant, certResource + id}] == nil {
		t.Error("the connection would not be found when the certificate is withdrawn")
	}
}
