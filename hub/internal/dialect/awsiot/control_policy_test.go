package awsiot

import (
	"encoding/json"
	"testing"
)

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
