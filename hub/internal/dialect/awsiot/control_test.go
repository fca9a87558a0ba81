package awsiot

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func TestThings(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /things/a", body: `{"thingTypeName":"pump"}`, want: notFound},
		step{do: "POST /thing-types/pump", body: `{"thingTypeProperties":{"thingTypeDescription":"d","searchableAttributes":["x"]}}`, has: []string{`thingtype/pump"`}},
		step{do: "POST /thing-types/pump", body: `{"thingTypeProperties":{"thingTypeDescription":"d","searchableAttributes":["x"]}}`},
		step{do: "POST /thing-types/pump", body: `{}`, want: alreadyExists, has: []string{`"resourceId":"pump"`}},
		step{do: "POST /things/a", body: `{"thingTypeName":"pump","attributePayload":{"attributes":{"x":"1","y":"2"}}}`, has: []string{`"thingArn":"arn:aws:iot:us-east-1:`}, capture: map[string]string{"id": "thingId"}},
		step{do: "POST /things/a", body: `{"thingTypeName":"pump","attributePayload":{"attributes":{"x":"1","y":"2"}}}`, has: []string{"${id}"}},
		step{do: "POST /things/a", body: `{}`, want: alreadyExists, has: []string{`"resourceArn":"arn:aws:iot:us-east-1:`, `:thing/a"`}},
		step{do: "POST /things/b", body: `{"attributePayload":{"attributes":{"a":"1","b":"1","c":"1","d":"1"}}}`, want: invalidRequest},
		step{do: "POST /things/b", body: `{"attributePayload":{"attributes":{"a b":"1"}}}`, want: invalidRequest},
		step{do: "POST /things/b"},
		step{do: "POST /things/c", body: `{"attributePayload":{"attributes":{"x":"12"}}}`},
		step{do: "GET /things/a", has: []string{`"defaultClientId":"a"`, `"version":1`, `"x":"1"`, `"thingTypeName":"pump"`}},
		step{do: "GET /things/none", want: notFound},
		step{do: "GET /things", has: []string{`"thingName":"a"`, `"thingName":"b"`}, no: []string{"nextToken"}},
		step{do: "GET /things?thingTypeName=pump", has: []string{`"a"`}, no: []string{`"thingName":"b"`}},
		step{do: "GET /things?attributeName=x&attributeValue=1", has: []string{`"thingName":"a"`}, no: []string{`"thingName":"c"`}},
		step{do: "GET /things?attributeName=x&attributeValue=1&usePrefixAttributeValue=true", has: []string{`"thingName":"a"`, `"thingName":"c"`}},
		step{do: "GET /things?maxResults=2", has: []string{`"b"`}, no: []string{`"thingName":"c"`}, capture: map[string]string{"next": "nextToken"}},
		step{do: "GET /things?maxResults=2&nextToken=${next|path}", has: []string{`"thingName":"c"`}, no: []string{`"b"`, "nextToken"}},

		step{do: "PATCH /things/a", body: `{"expectedVersion":2}`, want: versionConflict},
		step{do: "PATCH /things/a", body: `{"expectedVersion":1,"attributePayload":{"attributes":{"y":"","z":"3"},"merge":true}}`},
		step{do: "GET /things/a", has: []string{`"version":2`, `"x":"1"`, `"z":"3"`}, no: []string{`"y"`}},
		step{do: "PATCH /things/a", body: `{"removeThingType":true,"thingTypeName":"pump"}`, want: invalidRequest},
		step{do: "PATCH /things/a", body: `{"removeThingType":true,"attributePayload":{"attributes":{"q":"1"}}}`},
		step{do: "GET /things/a", has: []string{`"q":"1"`, `"version":3`}, no: []string{`"x"`, "thingTypeName"}},
		step{do: "GET /things?thingTypeName=pump", no: []string{`"thingName"`}},
		step{do: "PATCH /things/none", body: `{}`, want: notFound},

		step{do: "DELETE /things/a?expectedVersion=1", want: versionConflict},
		step{do: "DELETE /things/a"},
		step{do: "DELETE /things/a"},
		step{do: "GET /things/a", want: notFound},
		step{do: "POST /things/b/connectivity-data", has: []string{`"connected":false`}},
	)
}

func TestThingTypes(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /thing-types/pump", body: `{"tags":[{"Key":"k","Value":"v"}]}`},
		step{do: "POST /thing-types/pumpjack", body: `{}`},
		step{do: "POST /thing-types/valve", body: `{"thingTypeProperties":{"searchableAttributes":["a","b","c","d"]}}`, want: invalidRequest},
		step{do: "GET /thing-types?thingTypeName=pump", has: []string{`"pumpjack"`, `"pump"`}},
		step{do: "GET /thing-types?thingTypeName=pumpj", has: []string{`"pumpjack"`}, no: []string{`"pump"`}},
		step{do: "GET /thing-types/pump", has: []string{`"deprecated":false`, `"creationDate":1778051289.`}},
		step{do: "PATCH /thing-types/pump", body: `{"thingTypeProperties":{"thingTypeDescription":"x"}}`},
		step{do: "GET /thing-types/pump", has: []string{`"thingTypeDescription":"x"`}},
		step{do: "POST /things/a", body: `{"thingTypeName":"pump"}`},
		step{do: "DELETE /thing-types/pump", want: invalidRequest},
		step{do: "POST /thing-types/pump/deprecate", body: `{}`},
		step{do: "GET /thing-types/pump", has: []string{`"deprecated":true`, `"deprecationDate":`}},
		step{do: "POST /things/b", body: `{"thingTypeName":"pump"}`, want: invalidRequest, has: []string{"Can not create new thing with depreated thing type:pump"}},
		step{do: "DELETE /thing-types/pump", want: invalidRequest},
		step{do: "DELETE /things/a"},
		step{do: "DELETE /thing-types/pump"},
		step{do: "DELETE /thing-types/pump"},
		step{do: "GET /thing-types/pump", want: notFound},
		step{do: "POST /thing-types/pumpjack/deprecate", body: `{"undoDeprecate":false}`},
		step{do: "POST /thing-types/pumpjack/deprecate", body: `{"undoDeprecate":true}`},
		step{do: "POST /things/b", body: `{"thingTypeName":"pumpjack"}`},
	)
}

func TestGroups(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /thing-groups/root", body: `{"thingGroupProperties":{"thingGroupDescription":"d","attributePayload":{"attributes":{"a":"b"}}}}`, capture: map[string]string{"arn": "thingGroupArn"}},
		step{do: "POST /thing-groups/root", body: `{"thingGroupProperties":{"thingGroupDescription":"d","attributePayload":{"attributes":{"a":"b"}}}}`},
		step{do: "POST /thing-groups/root", body: `{}`, want: alreadyExists},
		step{do: "POST /thing-groups/mid", body: `{"parentGroupName":"root"}`},
		step{do: "POST /thing-groups/leaf", body: `{"parentGroupName":"mid"}`},
		step{do: "POST /thing-groups/lost", body: `{"parentGroupName":"none"}`, want: notFound},
		step{do: "POST /thing-groups/other", body: `{}`},
		step{do: "GET /thing-groups/leaf", has: []string{`"parentGroupName":"mid"`, `"rootToParentThingGroups":[{"groupName":"root"`, `{"groupName":"mid"`}},
		step{do: "GET /thing-groups", has: []string{`"leaf"`, `"mid"`, `"other"`, `"root"`}},
		step{do: "GET /thing-groups?recursive=false", has: []string{`"other"`, `"root"`}, no: []string{`"leaf"`}},
		step{do: "GET /thing-groups?parentGroup=root", has: []string{`"leaf"`, `"mid"`}, no: []string{`"other"`}},
		step{do: "GET /thing-groups?parentGroup=root&recursive=false", has: []string{`"mid"`}, no: []string{`"leaf"`}},
		step{do: "GET /thing-groups?namePrefixFilter=le", has: []string{`"leaf"`}, no: []string{`"mid"`}},
		step{do: "PATCH /thing-groups/root", body: `{}`, want: invalidRequest},
		step{do: "PATCH /thing-groups/root", body: `{"thingGroupProperties":{"thingGroupDescription":"e"},"expectedVersion":1}`, has: []string{`"version":2`}},
		step{do: "PATCH /thing-groups/root", body: `{"thingGroupProperties":{},"expectedVersion":1}`, want: versionConflict},
		step{do: "GET /thing-groups/root", has: []string{`"thingGroupDescription":"e"`, `"a":"b"`}},

		step{do: "POST /things/x", body: `{}`},
		step{do: "POST /things/y", body: `{}`},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"leaf","thingName":"x"}`},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"leaf","thingName":"x"}`},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"mid","thingName":"x"}`, want: invalidRequest},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupArn":"${arn}","thingName":"y"}`},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupArn":"${arn}x","thingName":"y"}`, want: notFound},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupArn":"arn:aws:iot:x","thingName":"y"}`, want: invalidRequest},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"leaf","thingName":"none"}`, want: notFound},
		step{do: "GET /thing-groups/leaf/things", has: []string{`["x"]`}},
		step{do: "GET /thing-groups/root/things", has: []string{`["y"]`}},
		step{do: "GET /thing-groups/root/things?recursive=true", has: []string{`["x","y"]`}},
		step{do: "GET /thing-groups/root/things?recursive=true&maxResults=1", has: []string{`["x"]`}, capture: map[string]string{"next": "nextToken"}},
		step{do: "GET /thing-groups/root/things?recursive=true&maxResults=1&nextToken=${next|path}", has: []string{`["y"]`}, no: []string{"nextToken"}},
		step{do: "GET /things/x/thing-groups", has: []string{`"leaf"`}},
		step{do: "DELETE /thing-groups/root", want: invalidRequest, has: []string{"child groups"}},
		step{do: "PUT /thing-groups/updateThingGroupsForThing", body: `{"thingName":"x","thingGroupsToAdd":["mid","other"],"thingGroupsToRemove":["leaf"]}`},
		step{do: "GET /things/x/thing-groups", has: []string{`"mid"`, `"other"`}, no: []string{`"leaf"`}},
		step{do: "PUT /thing-groups/removeThingFromThingGroup", body: `{"thingGroupName":"other","thingName":"x"}`},
		step{do: "PUT /thing-groups/removeThingFromThingGroup", body: `{"thingGroupName":"other","thingName":"x"}`},
		step{do: "DELETE /thing-groups/leaf"},
		step{do: "DELETE /thing-groups/mid"},
		step{do: "GET /things/x/thing-groups", no: []string{`"mid"`}},
		step{do: "DELETE /thing-groups/root"},
		step{do: "DELETE /thing-groups/root"},
	)
}

func TestBillingGroupsAndTags(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /billing-groups/b1", body: `{"billingGroupProperties":{"billingGroupDescription":"d"},"tags":[{"Key":"k","Value":"v"}]}`, capture: map[string]string{"arn": "billingGroupArn"}},
		step{do: "POST /billing-groups/b1", body: `{}`, want: alreadyExists},
		step{do: "POST /billing-groups/b2", body: `{}`},
		step{do: "POST /things/x", body: `{"billingGroupName":"b1"}`},
		step{do: "POST /things/y", body: `{"billingGroupName":"none"}`, want: notFound},
		step{do: "GET /billing-groups/b1/things", has: []string{`["x"]`}},
		step{do: "PUT /billing-groups/addThingToBillingGroup", body: `{"billingGroupName":"b2","thingName":"x"}`, want: invalidRequest},
		step{do: "DELETE /billing-groups/b1", want: invalidRequest},
		step{do: "PUT /billing-groups/removeThingFromBillingGroup", body: `{"billingGroupArn":"${arn}","thingName":"x"}`},
		step{do: "GET /billing-groups/b1/things", has: []string{`[]`}},
		step{do: "PUT /billing-groups/addThingToBillingGroup", body: `{"billingGroupName":"b2","thingName":"x"}`},
		step{do: "GET /things/x", has: []string{`"billingGroupName":"b2"`, `"version":3`}},
		step{do: "GET /billing-groups?namePrefixFilter=b", has: []string{`"b1"`, `"b2"`}},
		step{do: "GET /billing-groups?maxResults=1&namePrefixFilter=b", capture: map[string]string{"next": "nextToken"}},
		step{do: "GET /billing-groups?maxResults=1&namePrefixFilter=b&nextToken=${next|path}", has: []string{`"b2"`}, no: []string{`"b1"`}},
		step{do: "PATCH /billing-groups/b1", body: `{"billingGroupProperties":{"billingGroupDescription":"e"}}`, has: []string{`"version":2`}},
		step{do: "GET /billing-groups/b1", has: []string{`"e"`}},
		step{do: "DELETE /things/x"},
		step{do: "DELETE /billing-groups/b2"},

		step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`{"Key":"k","Value":"v"}`}},
		step{do: "POST /tags", body: `{"resourceArn":"${arn}","tags":[{"Key":"k","Value":"w"},{"Key":"l","Value":""}]}`},
		step{do: "GET /tags?resourceArn=${arn|path}", has: []string{`{"Key":"k","Value":"w"}`, `"l"`}, no: []string{`"v"`}},
		step{do: "POST /untag", body: `{"resourceArn":"${arn}","tagKeys":["k"]}`},
		step{do: "GET /tags?resourceArn=${arn|path}", no: []string{`"k"`}},
		step{do: "GET /tags?resourceArn=${arn|path}x", want: notFound},
		step{do: "GET /tags?resourceArn=x", want: invalidRequest},
	)
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

func policyBody(document string) string {
	b, err := json.Marshal(map[string]string{"policyDocument": document})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestPolicies(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /policies/p", body: policyBody(`{"Version":`), want: "MalformedPolicyException"},
		step{do: "POST /policies/p", body: `{}`, want: invalidRequest},
		step{do: "POST /policies/p%20q", body: policyBody(allowAll), want: invalidRequest},
		step{do: "POST /policies/p", body: policyBody(allowAll), has: []string{`"policyVersionId":"1"`, `:policy/p"`}},
		step{do: "POST /policies/p", body: policyBody(allowAll), want: alreadyExists, has: []string{"Policy cannot be created - name already exists (name=p)"}},
		step{do: "POST /policies/q", body: policyBody(allowAll)},
		step{do: "GET /policies/p", has: []string{`"defaultVersionId":"1"`}},
		step{do: "GET /policies/none", want: notFound},
		step{do: "GET /policies", has: []string{`"p"`, `"q"`}},
		step{do: "GET /policies?pageSize=1", has: []string{`"p"`}, no: []string{`"q"`}, capture: map[string]string{"next": "nextMarker"}},
		step{do: "GET /policies?pageSize=1&marker=${next|path}", has: []string{`"q"`}, no: []string{`"p"`, "nextMarker"}},
		step{do: "GET /policies?pageSize=1&isAscendingOrder=false", has: []string{`"q"`}, no: []string{`"p"`}},

		step{do: "POST /policies/p/version?setAsDefault=true", body: policyBody(allowAll), has: []string{`"policyVersionId":"2"`, `"isDefaultVersion":true`}},
		step{do: "POST /policies/p/version", body: policyBody(allowAll)},
		step{do: "POST /policies/p/version", body: policyBody(allowAll)},
		step{do: "POST /policies/p/version", body: policyBody(allowAll)},
		step{do: "POST /policies/p/version", body: policyBody(allowAll), want: "VersionsLimitExceededException", has: []string{"already has the maximum number of versions (5)"}},
		step{do: "DELETE /policies/p/version/2", want: invalidRequest, has: []string{"Cannot delete the default version of a policy"}},
		step{do: "DELETE /policies/p/version/5"},
		step{do: "POST /policies/p/version", body: policyBody(allowAll), has: []string{`"policyVersionId":"6"`}},
		step{do: "PATCH /policies/p/version/9", want: notFound},
		step{do: "PATCH /policies/p/version/6"},
		step{do: "GET /policies/p/version/6", has: []string{`"isDefaultVersion":true`}},
		step{do: "GET /policies/p/version", has: []string{`"versionId":"6","isDefaultVersion":true`, `"versionId":"1"`}},
		step{do: "DELETE /policies/p", want: deleteConflict, has: []string{"one or more policy versions"}},

		step{do: "POST /keys-and-certificate?setAsActive=true", capture: map[string]string{"arn": "certificateArn", "id": "certificateId"}},
		step{do: "PUT /target-policies/q", body: `{"target":"${arn}"}`},
		step{do: "PUT /target-policies/q", body: `{"target":"${arn}"}`},
		step{do: "PUT /target-policies/q", body: `{"target":"arn:x"}`, want: invalidRequest},
		step{do: "PUT /target-policies/none", body: `{"target":"${arn}"}`, want: notFound},
		step{do: "POST /attached-policies/${arn|path}", has: []string{`"policyName":"q"`}},
		step{do: "POST /policy-targets/q", has: []string{"${arn}"}},
		step{do: "GET /principal-policies", header: map[string]string{"x-amzn-iot-principal": "${arn}"}, has: []string{`"q"`}},
		step{do: "GET /policy-principals", header: map[string]string{"x-amzn-iot-policy": "q"}, has: []string{"${arn}"}},
		step{do: "DELETE /policies/q", want: deleteConflict, has: []string{"attached to one or more principals (name=q)"}},
		step{do: "POST /target-policies/q", body: `{"target":"${arn}"}`},
		step{do: "POST /target-policies/q", body: `{"target":"${arn}"}`, want: notFound},
		step{do: "PUT /principal-policies/q", header: map[string]string{"x-amzn-iot-principal": "${arn}"}},
		step{do: "DELETE /principal-policies/q", header: map[string]string{"x-amzn-iot-principal": "${arn}"}},
		step{do: "DELETE /policies/q"},
		step{do: "DELETE /policies/q", want: notFound},

		step{do: "POST /thing-groups/root", body: `{}`},
		step{do: "POST /thing-groups/leaf", body: `{"parentGroupName":"root"}`, capture: map[string]string{"leaf": "thingGroupArn"}},
		step{do: "GET /thing-groups/root", capture: map[string]string{"root": "thingGroupArn"}},
		step{do: "PUT /target-policies/p", body: `{"target":"${root}"}`},
		step{do: "POST /attached-policies/${leaf|path}", has: []string{"[]"}},
		step{do: "POST /attached-policies/${leaf|path}?recursive=true", has: []string{`"p"`}},
	)
}

func TestControlCertificates(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{
			do: "POST /keys-and-certificate?setAsActive=true", has: []string{"BEGIN RSA PRIVATE KEY", "BEGIN PUBLIC KEY", "BEGIN CERTIFICATE"},
			capture: map[string]string{"arn": "certificateArn", "id": "certificateId", "pem": "certificatePem"},
		},
		step{do: "GET /certificates/${id}", has: []string{`"status":"ACTIVE"`, `"certificateMode":"DEFAULT"`, `"notAfter":`}},
		step{do: "GET /certificates/" + strings.Repeat("0", 64), want: notFound},
		step{do: "GET /certificates/abc", want: invalidRequest},
		step{do: "POST /certificates", body: `{"certificateSigningRequest":"nonsense"}`, want: invalidRequest},
		step{do: "DELETE /certificates/${id}", want: certificateState, has: []string{"Certificate must be deactivated (not ACTIVE) before deletion."}},
		step{do: "POST /things/x", body: `{}`},
		step{do: "PUT /things/x/principals", header: map[string]string{"x-amzn-principal": "${arn}"}},
		step{do: "PUT /things/x/principals", header: map[string]string{"x-amzn-principal": "${arn}"}},
		step{do: "PUT /things/x/principals", want: invalidRequest},
		step{do: "PUT /things/x/principals", header: map[string]string{"x-amzn-principal": "${arn}0"}, want: invalidRequest},
		step{do: "GET /things/x/principals", has: []string{"${arn}"}},
		step{do: "GET /things/x/principals-v2", has: []string{`"thingPrincipalType":"NON_EXCLUSIVE_THING"`}},
		step{do: "GET /principals/things", header: map[string]string{"x-amzn-principal": "${arn}"}, has: []string{`["x"]`}},
		step{do: "GET /principals/things-v2", header: map[string]string{"x-amzn-principal": "${arn}"}, has: []string{`"thingName":"x"`}},
		step{do: "DELETE /things/x", want: invalidRequest, has: []string{"Cannot delete. Thing x is still attached to one or more principals"}},
		step{do: "PUT /certificates/${id}?newStatus=PENDING_TRANSFER", want: invalidRequest},
		step{do: "PUT /certificates/${id}?newStatus=INACTIVE"},
		step{do: "PUT /certificates/${id}?newStatus=INACTIVE"},
		step{do: "GET /certificates/${id}", has: []string{`"status":"INACTIVE"`, `"customerVersion":2`}},
		step{do: "DELETE /certificates/${id}", want: deleteConflict, has: []string{"Things must be detached before deletion (arn: ${arn})"}},
		step{do: "DELETE /things/x/principals", header: map[string]string{"x-amzn-principal": "${arn}"}},
		step{do: "DELETE /things/x/principals", header: map[string]string{"x-amzn-principal": "${arn}"}, want: notFound},
		step{do: "POST /policies/p", body: policyBody(allowAll)},
		step{do: "PUT /target-policies/p", body: `{"target":"${arn}"}`},
		step{do: "DELETE /certificates/${id}", want: deleteConflict, has: []string{"Certificate policies must be detached before deletion"}},
		step{do: "DELETE /certificates/${id}?forceDelete=true"},
		step{do: "GET /certificates/${id}", want: notFound},
		step{do: "DELETE /policies/p"},
		step{do: "GET /certificates", has: []string{`"certificates":[]`}},
	)
	// What was ours can be registered again, as somebody else's can.
	register, err := json.Marshal(map[string]string{"certificatePem": g.values["pem"], "status": "ACTIVE"})
	if err != nil {
		t.Fatal(err)
	}
	g.tell(
		step{do: "POST /certificate/register-no-ca", body: string(register), has: []string{"${id}"}},
		step{do: "POST /certificate/register-no-ca", body: string(register), want: alreadyExists, has: []string{"The certificate is already provisioned or registered", `"resourceId":"${id}"`}},
		step{do: "POST /certificate/register", body: string(register), want: badCertificate},
		step{do: "POST /certificate/register-no-ca", body: `{"certificatePem":"x"}`, want: badCertificate},
		step{do: "GET /certificates/${id}", has: []string{`"certificateMode":"SNI_ONLY"`}},
	)
	for range 3 {
		g.advance(time.Second)
		g.tell(step{do: "POST /keys-and-certificate"})
	}
	g.tell(
		step{do: "GET /certificates?pageSize=3&isAscendingOrder=true", has: []string{"${id}"}, capture: map[string]string{"next": "nextMarker"}},
		step{do: "GET /certificates?pageSize=3&isAscendingOrder=true&marker=${next|path}", no: []string{"${id}", "nextMarker"}},
		step{do: "GET /certificates?pageSize=3", no: []string{"${id}"}},
	)
}

func TestSettings(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "GET /endpoint?endpointType=iot%3AData-ATS", has: []string{`"endpointAddress":"hub.example.org"`}},
		step{do: "GET /endpoint?endpointType=x", want: invalidRequest},
		step{do: "GET /event-configurations", has: []string{`"THING":{"Enabled":false}`}},
		step{do: "PATCH /event-configurations", body: `{"eventConfigurations":{"NONE":{"Enabled":true}}}`, want: invalidRequest},
		step{do: "PATCH /event-configurations", body: `{"eventConfigurations":{"THING":{"Enabled":true},"THING_GROUP":{"Enabled":true},"THING_GROUP_MEMBERSHIP":{"Enabled":true}}}`},
		step{do: "GET /event-configurations", has: []string{`"THING":{"Enabled":true}`}},
		step{do: "POST /things/x", body: `{"attributePayload":{"attributes":{"a":"b"}}}`},
		step{do: "POST /thing-groups/g", body: `{}`},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"g","thingName":"x"}`},
		step{do: "DELETE /things/x"},
		step{do: "GET /indexing/config", has: []string{`"thingIndexingMode"`}},
		step{do: "POST /indexing/config", body: `{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY"}}`},
		step{do: "GET /indexing/config", has: []string{`"thingIndexingMode":"REGISTRY"`, "thingGroupIndexingMode"}},
		step{do: "GET /registrationcode", capture: map[string]string{"code": "registrationCode"}},
		step{do: "GET /registrationcode", has: []string{"${code}"}},
		step{do: "DELETE /registrationcode"},
		step{do: "GET /registrationcode", no: []string{"${code}"}},
	)
	var topics []string
	for _, s := range g.heard() {
		topics = append(topics, s.Topic)
		if s.Topic == "$aws/events/thing/x/created" && !strings.Contains(s.Payload, `"operation":"CREATED"`) {
			t.Errorf("event %s", s.Payload)
		}
	}
	want := "$aws/events/thing/x/created $aws/events/thingGroup/g/created $aws/events/thingGroupMembership/thingGroup/g/thing/x/added $aws/events/thing/x/deleted"
	if got := strings.Join(topics, " "); got != want {
		t.Errorf("events\n%s, want\n%s", got, want)
	}
}

func TestAuthorizers(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /authorizer/a", body: `{"authorizerFunctionArn":"arn:aws:lambda:x:function:f"}`, want: invalidRequest},
		step{do: "POST /authorizer/a", body: `{"authorizerFunctionArn":"arn:aws:lambda:x:function:f","signingDisabled":true}`},
		step{do: "POST /authorizer/a", body: `{"authorizerFunctionArn":"arn:aws:lambda:x:function:f","signingDisabled":true}`, want: alreadyExists},
		step{do: "GET /default-authorizer", want: notFound},
		step{do: "POST /default-authorizer", body: `{"authorizerName":"none"}`, want: notFound},
		step{do: "POST /default-authorizer", body: `{"authorizerName":"a"}`},
		step{do: "GET /default-authorizer", has: []string{`"authorizerName":"a"`}},
		step{do: "GET /authorizer/a", has: []string{`"status":"ACTIVE"`}},
		step{do: "GET /authorizers/", has: []string{`"a"`}},
		step{do: "DELETE /authorizer/a", want: deleteConflict},
		step{do: "PUT /authorizer/a", body: `{"status":"INACTIVE"}`},
		step{do: "DELETE /default-authorizer"},
		step{do: "DELETE /authorizer/a"},
		step{do: "GET /authorizer/a", want: notFound},
	)
}

func TestSearch(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /thing-types/pump", body: `{}`},
		step{do: "POST /thing-groups/root", body: `{}`},
		step{do: "POST /thing-groups/hall", body: `{"parentGroupName":"root"}`},
	)
	for i := range 30 {
		body := fmt.Sprintf(`{"attributePayload":{"attributes":{"n":"%d","side":"%s"}}}`, i, []string{"left", "right"}[i%2])
		if i%3 == 0 {
			body = strings.Replace(body, "{", `{"thingTypeName":"pump",`, 1)
		}
		g.tell(step{do: fmt.Sprintf("POST /things/t%02d", i), body: body})
	}
	g.tell(step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"hall","thingName":"t05"}`})
	find := func(query string) string {
		t.Helper()
		body, err := json.Marshal(map[string]any{"queryString": query, "maxResults": 100})
		if err != nil {
			t.Fatal(err)
		}
		w := g.send(g.request("POST /indices/search", serviceControl, string(body), map[string]string{"Content-Type": "application/json"}))
		var out struct {
			Things []struct{ ThingName string }
		}
		if w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &out) != nil {
			return w.Header().Get("x-amzn-ErrorType")
		}
		names := []string{}
		for _, x := range out.Things {
			names = append(names, x.ThingName)
		}
		return strings.Join(names, " ")
	}
	for query, want := range map[string]string{
		"thingName:t03":    "t03",
		"t03":              "t03",
		"thingName:t0*":    "t00 t01 t02 t03 t04 t05 t06 t07 t08 t09",
		"thingName:t?9":    "t09 t19 t29",
		"attributes.n:7":   "t07",
		`attributes.n:"7"`: "t07",
		"attributes.n:2? AND attributes.side:left": "t20 t22 t24 t26 t28",
		"attributes.n:2? attributes.side:left":     "t20 t22 t24 t26 t28",
		"thingTypeName:pump AND thingName:t1*":     "t12 t15 t18",
		"thingTypeName:pump AND NOT thingName:t*":  "",
		"thingName:t01 OR thingName:t02":           "t01 t02",
		"(t01 OR t02) AND attributes.side:right":   "t01",
		"t01 OR t02 AND attributes.side:right":     "t01",
		"thingGroupNames:hall":                     "t05",
		"thingGroupNames:root":                     "",
		"thingGroupNames:h* AND thingName:t0*":     "t05",
		"connectivity.connected:true":              "",
		"connectivity.connected:false AND t03":     "t03",
		"attributes.none:x":                        "",
		"*":                                        "t00 t01 t02 t03 t04 t05 t06 t07 t08 t09 t10 t11 t12 t13 t14 t15 t16 t17 t18 t19 t20 t21 t22 t23 t24 t25 t26 t27 t28 t29",
		"":                                         "InvalidQueryException",
		"(t01":                                     "InvalidQueryException",
		"t01)":                                     "InvalidQueryException",
		"shadow.x:1":                               "InvalidQueryException",
		"attributes.n>3":                           "",
		"AND":                                      "",
		"attributes.n:[1 TO 3]":                    "InvalidQueryException",
		strings.Repeat("(", 20) + "t" + strings.Repeat(")", 20): "InvalidQueryException",
		strings.Repeat("t01 ", 13):                              "InvalidQueryException",
	} {
		if got := find(query); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	g.tell(
		step{do: "POST /indices/search", body: `{"queryString":"thingName:t*","maxResults":2}`, has: []string{`"t01"`}, no: []string{`"t02"`}, capture: map[string]string{"next": "nextToken"}},
		step{do: "POST /indices/search", body: `{"queryString":"thingName:t*","maxResults":2,"nextToken":"${next}"}`, has: []string{`"t02"`, `"t03"`}, no: []string{`"t01"`}},
		step{do: "POST /indices/search", body: `{"indexName":"AWS_ThingGroups","queryString":"parentGroupNames:root"}`, has: []string{`"hall"`}},
		step{do: "POST /indices/search", body: `{"indexName":"x","queryString":"a"}`, want: notFound},
		step{do: "GET /indices", has: []string{"AWS_Things"}},
		step{do: "GET /indices/AWS_Things", has: []string{"ACTIVE"}},
	)
}

// FuzzQuery wants an answer to every query, and the same from what is looked at as from everything.
func FuzzQuery(f *testing.F) {
	f.Add(`attributes.a:x* AND (NOT thingName:"b c" OR -t)`, "x1")
	f.Fuzz(func(t *testing.T, text, value string) {
		q, err := parseQuery(text)
		if err != nil {
			return
		}
		if checkAttributes(map[string]string{"a": value}) != nil {
			return
		}
		raw, err := json.Marshal(thing{Name: "t", ID: "i", Attributes: map[string]string{"a": value}})
		if err != nil {
			t.Fatal(err)
		}
		ok := q.matches(func(field string) []string {
			return map[string][]string{"thingName": {"t"}, "thingId": {"i"}, "attributes.a": some(value)}[field]
		})
		if ok && !containsAll(raw, q.needles()) {
			t.Errorf("%q matches, and would not be looked at: %q", text, q.needles())
		}
	})
}

// TestTenantsDoNotMeetOverHTTP: a key of one account sees nothing of another.
func TestTenantsDoNotMeetOverHTTP(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(step{do: "POST /things/x", body: `{}`}, step{do: "POST /policies/p", body: policyBody(allowAll)})
	g.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: "other"}); err != nil {
			return err
		}
		k, s, err := g.d.keys.Make(tx, "other", "", time.Time{})
		g.key.AccessKeyID, g.key.SecretAccessKey = k.ID, s.Secret
		return err
	})
	g.tell(
		step{do: "GET /things/x", want: notFound},
		step{do: "GET /things", has: []string{`"things":[]`}},
		step{do: "GET /policies", has: []string{`"policies":[]`}},
		step{do: "POST /things/x", body: `{}`},
	)
	g.view(func(rd store.Reader) error {
		mine, err := readAccount(rd, testTenant)
		if err != nil {
			return err
		}
		theirs, err := readAccount(rd, "other")
		if err == nil && mine.ID == theirs.ID {
			t.Errorf("both accounts are %s", mine.ID)
		}
		return err
	})
}

func TestJobsOverHTTP(t *testing.T) {
	g := newHTTPRig(t)
	g.tell(
		step{do: "POST /things/x", body: `{}`, capture: map[string]string{"arn": "thingArn"}},
		step{do: "POST /things/jobs", body: `{}`},
		step{do: "PUT /jobs/j", body: `{"targets":["${arn}0"],"document":"{}"}`, want: notFound},
		step{do: "PUT /jobs/j", body: `{"targets":["${arn}"],"document":"{\"op\":\"reboot\"}","description":"d"}`, has: []string{`"jobId":"j"`, `:job/j"`}},
		step{do: "PUT /jobs/j", body: `{"targets":["${arn}"],"document":"{}"}`, want: alreadyExists, has: []string{`"resourceId":"j"`}},
		step{do: "PUT /jobs/j%20j", body: `{"targets":["${arn}"],"document":"{}"}`, want: invalidRequest},
		step{do: "GET /jobs/j", has: []string{`"status":"IN_PROGRESS"`}},
		step{do: "GET /jobs/none", want: notFound},
		step{do: "GET /jobs/j/job-document", has: []string{"reboot"}},
		step{do: "GET /jobs", has: []string{`"jobId":"j"`}},
		step{do: "GET /jobs?maxResults=0", want: invalidRequest},
		step{do: "GET /jobs/j/things", has: []string{"${arn}", `"QUEUED"`}},
		step{do: "GET /things/x/jobs", has: []string{`"jobId":"j"`}},
		step{do: "GET /things/x/jobs/j", has: []string{`"execution":{"jobId":"j"`, `"thingArn"`}},
		step{do: "GET /things/x/jobs", service: serviceJobs, has: []string{`"queuedJobs":[{"jobId":"j"`}},
		step{do: "PUT /things/x/jobs/$next", service: serviceJobs, body: `{"statusDetails":{"a":"b"}}`, has: []string{`"status":"IN_PROGRESS"`, `"jobDocument":"{`}},
		step{do: "GET /things/x/jobs/%24next?includeJobDocument=false", service: serviceJobs, has: []string{`"jobId":"j"`}, no: []string{"jobDocument"}},
		step{do: "POST /things/x/jobs/j", service: serviceJobs, body: `{"status":"SUCCEEDED","expectedVersion":7}`, want: "InvalidStateTransitionException"},
		step{do: "POST /things/x/jobs/j", service: serviceJobs, body: `{"status":"SUCCEEDED"}`},
		step{do: "GET /things/x/jobs/j", service: serviceJobs, want: "TerminalStateException"},
		step{do: "GET /jobs/j", has: []string{`"status":"COMPLETED"`, `"numberOfSucceededThings":1`}},
		step{do: "DELETE /things/x/jobs/j/executionNumber/none", want: invalidRequest},
		step{do: "PUT /jobs/k", body: `{"targets":["${arn}"],"document":"{}"}`},
		step{do: "PUT /jobs/k/cancel", body: `{"reasonCode":"a b"}`, want: invalidRequest},
		step{do: "PUT /jobs/k/cancel?force=true", body: `{"reasonCode":"R","comment":"c"}`},
		step{do: "GET /jobs/k", has: []string{`"status":"CANCELED"`, `"reasonCode":"R"`}},
		step{do: "PUT /job-templates/t", body: `{"document":"{}","description":"d"}`},
		step{do: "GET /job-templates/t", has: []string{`"description":"d"`}},
		step{do: "GET /job-templates", has: []string{`"jobTemplateId":"t"`}},
		step{do: "DELETE /job-templates/t"},
		step{do: "GET /job-templates/t", want: notFound},
		step{do: "DELETE /jobs/j"},
		step{do: "GET /things/jobs", has: []string{`"thingName":"jobs"`}},
	)
}

func TestAuthorizationQuestions(t *testing.T) {
	g := newHTTPRig(t)
	own := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}/*"},
		{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/x/secret"}]}`
	g.tell(
		step{do: "POST /policies/own", body: policyBody(own)},
		step{do: "POST /policies/all", body: policyBody(allowAll)},
		step{do: "POST /policies/ofgroup", body: policyBody(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`)},
		step{do: "POST /keys-and-certificate", capture: map[string]string{"arn": "certificateArn"}},
		step{do: "POST /thing-groups/g", body: `{}`, capture: map[string]string{"group": "thingGroupArn"}},
		step{do: "POST /things/x", body: `{}`},
		step{do: "PUT /thing-groups/addThingToThingGroup", body: `{"thingGroupName":"g","thingName":"x"}`},
		step{do: "PUT /things/x/principals", header: map[string]string{"x-amzn-principal": "${arn}"}},
		step{do: "PUT /target-policies/own", body: `{"target":"${arn}"}`},
		step{do: "PUT /target-policies/ofgroup", body: `{"target":"${group}"}`},
		step{do: "POST /effective-policies", body: `{}`, want: invalidRequest},
		step{do: "POST /effective-policies?thingName=none", body: `{}`, want: notFound},
		step{do: "POST /effective-policies", body: `{"principal":"${arn}"}`, has: []string{`"policyName":"own"`, "ThingName"}, no: []string{"ofgroup"}},
		step{do: "POST /effective-policies?thingName=x", body: `{"principal":"${arn}"}`, has: []string{`"own"`, `"ofgroup"`}},
		step{do: "POST /test-authorization", body: `{"authInfos":[]}`, want: invalidRequest},
		step{do: "POST /test-authorization", body: `{"authInfos":[{"actionType":"FLY","resources":[]}]}`, want: invalidRequest},
	)
	for _, c := range []struct{ client, action, resource, more, want string }{
		{"x", "PUBLISH", "topic/x/a", "", "ALLOWED"},
		{"y", "PUBLISH", "topic/x/a", "", "IMPLICIT_DENY"},
		{"x", "PUBLISH", "topic/y/a", "", "IMPLICIT_DENY"},
		{"x", "PUBLISH", "topic/y/a", `,"policyNamesToAdd":["all"]`, "ALLOWED"},
		{"x", "PUBLISH", "topic/x/a", `,"policyNamesToSkip":["own"]`, "IMPLICIT_DENY"},
		{"x", "PUBLISH", "topic/x/secret", `,"policyNamesToAdd":["all"]`, "EXPLICIT_DENY"},
		{"x", "CONNECT", "client/x", "", "ALLOWED"},
		{"x", "SUBSCRIBE", "topicfilter/x/#", "", "IMPLICIT_DENY"},
	} {
		g.tell(step{
			do:   "POST /test-authorization?clientId=" + c.client,
			body: `{"principal":"${arn}","authInfos":[{"actionType":"` + c.action + `","resources":["` + g.a.arn(c.resource) + `"]}]` + c.more + `}`,
			has:  []string{`"authDecision":"` + c.want + `"`},
		})
	}
	g.tell(step{do: "POST /test-authorization", body: `{"authInfos":[{"actionType":"PUBLISH","resources":["x"]}],"policyNamesToAdd":["none"]}`, want: notFound})
}
