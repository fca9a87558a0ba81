package awsiot

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awscbor"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

const smallTemplate = `{"Parameters":{"SerialNumber":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},
 "Resources":{"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Fn::Join":["",["dev-",{"Ref":"SerialNumber"}]]},"AttributePayload":{"made":"here"}},
   "OverrideSettings":{"AttributePayload":"FAIL"}},
  "certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"Active"}},
  "policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"fleet-default"}}},
 "DeviceConfiguration":{"url":"https://example.org"}}`

func templateBody(name, body string, enabled bool) string {
	b, err := json.Marshal(map[string]any{"templateName": name, "templateBody": body, "enabled": enabled, "provisioningRoleArn": "arn:aws:iam::1:role/r"})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestTemplatesOverHTTP(t *testing.T) {
	g := newHTTPRig(t)
	version, err := json.Marshal(map[string]string{"templateBody": smallTemplate})
	if err != nil {
		t.Fatal(err)
	}
	g.tell(
		step{do: "POST /provisioning-templates", body: templateBody("t", "{", true), want: invalidRequest},
		step{do: "POST /provisioning-templates", body: templateBody("a b", smallTemplate, true), want: invalidRequest},
		step{do: "POST /provisioning-templates", body: `{"templateName":"t"}`, want: invalidRequest},
		step{do: "POST /provisioning-templates", body: strings.Replace(templateBody("t", smallTemplate, true), "{", `{"preProvisioningHook":{"targetArn":"x"},`, 1), want: invalidRequest, has: []string{"hooks are not supported"}},
		step{do: "POST /provisioning-templates", body: templateBody("t", smallTemplate, true), has: []string{`:provisioningtemplate/t"`, `"defaultVersionId":1`}},
		step{do: "POST /provisioning-templates", body: templateBody("t", smallTemplate, true), want: alreadyExists},
		step{do: "GET /provisioning-templates/t", has: []string{`"enabled":true`, `"type":"FLEET_PROVISIONING"`}},
		step{do: "GET /provisioning-templates", has: []string{`"templateName":"t"`}},
		step{do: "PATCH /provisioning-templates/t", body: `{"enabled":false,"description":"d"}`},
		step{do: "GET /provisioning-templates/t", has: []string{`"enabled":false`, `"description":"d"`}},
		step{do: "POST /provisioning-templates/t/versions?setAsDefault=true", body: string(version), has: []string{`"versionId":2`}},
		step{do: "GET /provisioning-templates/t/versions", has: []string{`"versionId":2`, `"versionId":1`}},
		step{do: "GET /provisioning-templates/t/versions/2", has: []string{`"isDefaultVersion":true`}},
		step{do: "GET /provisioning-templates/t/versions/9", want: notFound},
		step{do: "DELETE /provisioning-templates/t", want: deleteConflict},
		step{do: "DELETE /provisioning-templates/t/versions/2", want: deleteConflict},
		step{do: "DELETE /provisioning-templates/t/versions/1"},
		step{do: "PATCH /provisioning-templates/t", body: `{"defaultVersionId":1}`, want: notFound},
		step{do: "POST /provisioning-templates/t/provisioning-claim", has: []string{`"expiration":`, "RSA PRIVATE KEY"}, capture: map[string]string{"claim": "certificateId"}},
		step{do: "GET /certificates", no: []string{"${claim}"}},
		step{do: "DELETE /provisioning-templates/t"},
		step{do: "GET /provisioning-templates/t", want: notFound},
	)
	// A claim that is over is forgotten when the next one is made.
	g.advance(claimLife + time.Second)
	g.tell(
		step{do: "POST /provisioning-templates", body: templateBody("t", smallTemplate, true)},
		step{do: "POST /provisioning-templates/t/provisioning-claim"},
	)
	g.view(func(rd store.Reader) error {
		if found, err := present(second(readCertificate(rd, testTenant, g.values["claim"]))); err != nil || found {
			t.Errorf("the old claim: %v, %v", found, err)
		}
		return nil
	})
}

func second[T any](_ T, err error) error { return err }

func TestRegisterThing(t *testing.T) {
	g := newHTTPRig(t)
	request := func(body string, params map[string]string) string {
		b, err := json.Marshal(map[string]any{"templateBody": body, "parameters": params})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	g.tell(
		step{do: "POST /policies/fleet-default", body: policyBody(allowAll)},
		step{do: "POST /keys-and-certificate", capture: map[string]string{"id": "certificateId", "arn": "certificateArn"}},
	)
	params := map[string]string{"SerialNumber": "1", certificateIDParameter: g.values["id"]}
	g.tell(
		step{do: "POST /things", body: request("{}", params), want: invalidRequest},
		step{do: "POST /things", body: request(smallTemplate, nil), want: invalidRequest, has: []string{"parameter"}},
		step{do: "POST /things", body: request(smallTemplate, params), has: []string{`"thing":"arn:aws:iot:us-east-1:`, `:thing/dev-1"`, `"certificate":"${arn}"`, `:policy/fleet-default"`}},
		step{do: "GET /certificates/${id}", has: []string{`"status":"ACTIVE"`}},
		step{do: "GET /things/dev-1/principals", has: []string{"${arn}"}},
		step{do: "POST /things", body: request(smallTemplate, params)},
		step{do: "PATCH /things/dev-1", body: `{"attributePayload":{"attributes":{"made":"elsewhere"}}}`},
		step{do: "POST /things", body: request(smallTemplate, params), want: "ConflictingResourceUpdateException"},
		// What fails half-way has made nothing.
		step{do: "POST /things", body: request(strings.Replace(smallTemplate, "fleet-default", "none", 1), map[string]string{"SerialNumber": "2", certificateIDParameter: g.values["id"]}), want: notFound},
		step{do: "GET /things/dev-2", want: notFound},
	)
}

// TestFleetProvisioning does what a device does that has a claim certificate, in both formats.
func TestFleetProvisioning(t *testing.T) {
	for _, format := range []string{"json", "cbor"} {
		t.Run(format, func(t *testing.T) {
			g := newHTTPRig(t)
			g.tell(
				step{do: "POST /policies/fleet-default", body: policyBody(allowAll)},
				step{do: "POST /provisioning-templates", body: templateBody("t", smallTemplate, true)},
				step{do: "POST /provisioning-templates", body: templateBody("off", smallTemplate, false)},
			)
			marshal, unmarshal := json.Marshal, json.Unmarshal
			if format == "cbor" {
				marshal, unmarshal = awscbor.Marshal, awscbor.Unmarshal
			}
			device := g.sender("claimer")
			ask := func(topic string, request, reply any) string {
				t.Helper()
				payload, err := marshal(request)
				if err != nil {
					t.Fatal(err)
				}
				g.say(device, topic+" "+string(payload))
				heard := g.heard()
				if len(heard) != 1 || heard[0].To != "claimer" {
					t.Fatalf("%s: heard %+v", topic, heard)
				}
				if err := unmarshal([]byte(heard[0].Payload), reply); err != nil {
					t.Fatal(err)
				}
				return strings.TrimPrefix(heard[0].Topic, topic)
			}
			var crt awswire.CertificateReply
			if got := ask("$aws/certificates/create/"+format, map[string]any{}, &crt); got != "/accepted" || !strings.Contains(crt.PrivateKey, "RSA PRIVATE KEY") {
				t.Fatalf("create: %s %+v", got, crt)
			}
			status := func(want string) {
				t.Helper()
				g.view(func(rd store.Reader) error {
					c, err := readCertificate(rd, testTenant, crt.CertificateID)
					if err != nil || c.Status != want {
						t.Errorf("certificate is %s, %v; want %s", c.Status, err, want)
					}
					return nil
				})
			}
			status(statusPendingActivation)
			register := func(template, token string, params map[string]string) (string, string, string) {
				var out struct{ ThingName, ErrorCode string }
				topic := "$aws/provisioning-templates/" + template + "/provision/" + format
				got := ask(topic, awswire.ProvisionRequest{CertificateOwnershipToken: token, Parameters: params}, &out)
				return got, out.ThingName, out.ErrorCode
			}
			serial := map[string]string{"SerialNumber": "1"}
			token := crt.CertificateOwnershipToken
			for _, c := range []struct {
				template, token string
				params          map[string]string
				code            string
			}{
				{"t", "x", serial, awswire.ProvisionInvalidToken},
				{"t", token + "x", serial, awswire.ProvisionInvalidToken},
				{"t", "", serial, awswire.ProvisionInvalidToken},
				{"t", token, nil, awswire.ProvisionInvalidParameters},
				{"t", token, map[string]string{"SerialNumber": "a b"}, awswire.ProvisionInvalidParameters},
				{"none", token, serial, awswire.ProvisionNotFound},
				{"off", token, serial, awswire.ProvisionAccessDenied},
			} {
				if got, _, code := register(c.template, c.token, c.params); got != "/rejected" || code != c.code {
					t.Errorf("%+v: %s %s", c, got, code)
				}
			}
			status(statusPendingActivation)
			if got, name, code := register("t", token, serial); got != "/accepted" || name != "dev-1" {
				t.Fatalf("provision: %s %s %s", got, name, code)
			}
			status(statusActive)
			if got, _, code := register("t", token, serial); got != "/rejected" || code != awswire.ProvisionInvalidToken {
				t.Errorf("a token twice: %s %s", got, code)
			}
			// One that nobody provisions is forgotten after an hour, when the next one is made.
			var late awswire.CertificateReply
			ask("$aws/certificates/create/"+format, map[string]any{}, &late)
			g.advance(ownershipLife)
			if got, _, code := register("t", late.CertificateOwnershipToken, serial); got != "/rejected" || code != awswire.ProvisionInvalidToken {
				t.Errorf("an old token: %s %s", got, code)
			}
			g.advance(time.Second)
			ask("$aws/certificates/create/"+format, map[string]any{}, &crt)
			g.view(func(rd store.Reader) error {
				if found, err := present(second(readCertificate(rd, testTenant, late.CertificateID))); err != nil || found {
					t.Errorf("the old certificate: %v, %v", found, err)
				}
				return nil
			})
			var refused awswire.ProvisionRejection
			if got := ask("$aws/certificates/create-from-csr/"+format, awswire.CSRRequest{CertificateSigningRequest: "x"}, &refused); got != "/rejected" || refused.StatusCode != 400 {
				t.Errorf("a bad request: %s %+v", got, refused)
			}
		})
	}
}

// TestJustInTimeProvisioning applies the template of an authority to a certificate that it has signed.
func TestJustInTimeProvisioning(t *testing.T) {
	body := strings.NewReplacer(`"SerialNumber":{"Type":"String"},`, "", `{"Ref":"SerialNumber"}`, `{"Ref":"AWS::IoT::Certificate::Id"}`).Replace(smallTemplate)
	for name, c := range map[string]struct {
		body, want string
	}{
		"fits":          {body, statusActive},
		"does not fit":  {smallTemplate, statusPendingActivation},
		"has none":      {"", statusPendingActivation},
		"wants nothing": {strings.Replace(body, "fleet-default", "none", 1), statusPendingActivation},
	} {
		t.Run(name, func(t *testing.T) {
			g := newHTTPRig(t)
			g.tell(step{do: "POST /policies/fleet-default", body: policyBody(allowAll)})
			_, pub, err := newKeyPair(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			crt, err := g.d.issue(pub, statusPendingActivation)
			if err != nil {
				t.Fatal(err)
			}
			crt.CA = strings.Repeat("a", 64)
			g.do(func(tx *commit.Tx) error {
				return errors.Join(
					g.d.putCACertificate(tx, testTenant, caCertificate{ID: crt.CA, PEM: string(g.d.cfg.CA.RootPEM()), Status: statusActive, TemplateBody: c.body}),
					g.d.insertCertificate(tx, testTenant, crt))
			})
			g.do(func(tx *commit.Tx) error { return g.d.provisionJustInTime(tx, g.a, crt) })
			g.view(func(rd store.Reader) error {
				got, err := readCertificate(rd, testTenant, crt.ID)
				if err != nil || got.Status != c.want {
					t.Errorf("status %s, %v; want %s", got.Status, err, c.want)
				}
				things, err := principalThings(rd, testTenant, certResource+crt.ID)
				if (c.want == statusActive) != (len(things) == 1) {
					t.Errorf("things %v, %v", things, err)
				}
				return err
			})
		})
	}
}
