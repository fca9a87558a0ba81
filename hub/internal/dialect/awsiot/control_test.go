package awsiot

import (
	"encoding/json"
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
		step{do: "POST /tags", body: `{"resourceArn":"${arn}","tags":[{"Key":"aws:k","Value":"w"}]}`, want: invalidRequest},
		step{do: "POST /untag", body: `{"resourceArn":"${arn}","tagKeys":["k"]}`},
		step{do: "GET /tags?resourceArn=${arn|path}", no: []string{`"k"`}},
		step{do: "GET /tags?resourceArn=${arn|path}x", want: notFound},
		step{do: "GET /tags?resourceArn=x", want: invalidRequest},
	)
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

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
