package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// A scenario is one request and what must come of it. Each has the world of its own that fill makes.
type scenario struct {
	name  string
	do    string
	token string // "": readAll
	body  string
	code  int // 0: 200
	want  []string
	not   []string
	event string // the kind of the event that it makes, "" for none
	after func(*testing.T, *rig)
}

const (
	pump  = "/v1/devices/astarte/acme/pump-1"
	other = "/v1/devices/astarte/other/pump-1"
)

var hubScenarios = []scenario{
	{name: "the document, for anybody", do: "GET /v1/openapi.json", token: "none", want: []string{`"openapi": "3.1.0"`}},
	{name: "root, for anybody", do: "GET /v1/ca/root.pem", token: "none", want: []string{"-----BEGIN CERTIFICATE-----"}},
	{name: "status", do: "GET /v1/status", want: []string{`"version": "v1.2.3"`}},
	{name: "status for one tenant", do: "GET /v1/status", token: readAcme, code: 403, want: []string{"for acme only"}},
	{name: "addresses for one tenant", do: "GET /v1/addresses", token: readAcme, want: []string{`"mqtt": "mqtts://hub:8883"`}},
	{name: "revocation list", do: "GET /v1/ca/crl"},
	{name: "revocation list of nobody", do: "GET /v1/ca/crl?issuer=00", code: 404, want: []string{"no issuing certificate"}},
	{name: "revocation list for one tenant", do: "GET /v1/ca/crl", token: readAcme, code: 403},
	{name: "method", do: "PUT /v1/tenants", code: 405, want: []string{"method not allowed"}},
	{name: "head", do: "HEAD /v1/tenants"},

	{name: "tenants", do: "GET /v1/tenants", want: []string{`"id": "acme"`, `"id": "other"`, `"created": "2026-05-06T11:00:00Z"`}, not: []string{"next"}},
	{name: "tenants of one", do: "GET /v1/tenants", token: readAcme, want: []string{`"acme"`}, not: []string{`"other"`}},
	{name: "tenant", do: "GET /v1/tenants/acme", want: []string{`"total": 3`, `"connected": 2`}},
	{name: "no tenant", do: "GET /v1/tenants/none", code: 404, want: []string{`there is no tenant \"none\"`}},
	{name: "another's tenant", do: "GET /v1/tenants/other", token: readAcme, code: 404, want: []string{`there is no tenant \"other\"`}},
	{name: "create tenant", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"new"}`, code: 201, want: []string{`"id": "new"`}, event: "tenant.created"},
	{name: "create tenant again", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"acme"}`, code: 409, want: []string{"it exists"}},
	{name: "create tenant with a bad name", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"A b"}`, code: 400, want: []string{"tenant id"}},
	{name: "create tenant as writer", do: "POST /v1/tenants", token: writeAll, body: `{"id":"new"}`, code: 403, want: []string{"scope admin", "this one has write"}},
	{name: "create tenant as one", do: "POST /v1/tenants", token: adminAcme, body: `{"id":"new"}`, code: 403, want: []string{"all tenants"}},
	{name: "delete tenant", do: "DELETE /v1/tenants/acme", token: ownerToken, code: 202, want: []string{`"deleting": true`}, after: func(t *testing.T, g *rig) {
		if got, want := g.left(), []string{"acme: tenant deleted"}; !slices.Equal(got, want) {
			t.Errorf("disconnected %v, want %v", got, want)
		}
		for _, c := range []struct {
			do, token, body string
			code            int
		}{
			{"GET /v1/tenants/acme", readAcme, "", 401},
			{"GET /v1/tenants/acme", readAll, "", 200},
			{"DELETE /v1/tenants/acme", ownerToken, "", 202},
			{"POST /v1/tenants", ownerToken, `{"id":"acme"}`, 409},
			{"POST /v1/devices", ownerToken, `{"dialect":"mqtt","tenant":"acme","id":"new"}`, 404},
			{"GET /v1/tenants/other", readAll, "", 200},
		} {
			if w := g.call(c.do, c.token, c.body); w.Code != c.code {
				t.Errorf("%s: got %d, want %d: %s", c.do, w.Code, c.code, w.Body)
			}
		}
	}},
	{name: "delete no tenant", do: "DELETE /v1/tenants/none", token: ownerToken, code: 404},
	{name: "delete tenant as writer", do: "DELETE /v1/tenants/acme", token: writeAll, code: 403},
	{name: "delete tenant as its own", do: "DELETE /v1/tenants/acme", token: adminAcme, code: 403},
	{name: "unknown field", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"new","x":1}`, code: 400, want: []string{`unknown field \"x\"`, "there is: id"}},
	{name: "field in other case", do: "POST /v1/tenants", token: ownerToken, body: `{"ID":"new"}`, code: 400, want: []string{`unknown field \"ID\"`}},
	{name: "field twice", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"a","id":"b"}`, code: 400, want: []string{"twice"}},
	{name: "field missing", do: "POST /v1/tenants", token: ownerToken, body: `{}`, code: 400, want: []string{"id is missing"}},
	{name: "field null", do: "POST /v1/tenants", token: ownerToken, body: `{"id":null}`, code: 400, want: []string{"null"}},
	{name: "field of another type", do: "POST /v1/tenants", token: ownerToken, body: `{"id":1}`, code: 400, want: []string{"cannot be a number"}},
	{name: "two bodies", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"new"}{}`, code: 400, want: []string{"not one JSON object"}},
	{name: "no object", do: "POST /v1/tenants", token: ownerToken, body: `["id"]`, code: 400, want: []string{"not one JSON object"}},
	{name: "not UTF-8", do: "POST /v1/tenants", token: ownerToken, body: "{\"id\":\"\xff\"}", code: 400, want: []string{"not UTF-8"}},
	{name: "large body", do: "POST /v1/tenants", token: ownerToken, body: `{"id":"` + strings.Repeat("x", maxBodyBytes) + `"}`, code: 413, want: []string{"65536 bytes"}},
	{name: "no media type", do: "POST /v1/tenants", token: ownerToken, code: 415, want: []string{"application/json"}},
}

var deviceScenarios = []scenario{
	{name: "devices", do: "GET /v1/devices", want: []string{`"pump-1"`, `"pump-2"`, `"lamp"`, `"tenant": "other"`}, not: []string{"next", "credentials", "sent", "details"}},
	{name: "devices of one", do: "GET /v1/devices", token: readAcme, want: []string{`"lamp"`}, not: []string{`"other"`}},
	{name: "devices of a tenant", do: "GET /v1/devices?tenant=other", want: []string{`"tenant": "other"`}, not: []string{`"acme"`}},
	{name: "devices of another's tenant", do: "GET /v1/devices?tenant=other", token: readAcme, code: 404, want: []string{"there is no tenant"}},
	{name: "devices of no tenant", do: "GET /v1/devices?tenant=none", code: 404},
	{name: "devices of a dialect", do: "GET /v1/devices?dialect=mqtt", want: []string{`"lamp"`}, not: []string{"pump"}},
	{name: "devices by prefix", do: "GET /v1/devices?prefix=pump-2", want: []string{"pump-2"}, not: []string{"pump-1", "lamp"}},
	{name: "devices by id", do: "GET /v1/devices?id=pump-1", want: []string{`"tenant": "other"`, `"tenant": "acme"`}, not: []string{"pump-2", "lamp"}},
	{name: "devices by half an id", do: "GET /v1/devices?id=pump", want: []string{`"items": []`}},
	{name: "connected devices", do: "GET /v1/devices?connected=true&tenant=acme", want: []string{"pump-1", "lamp", `"last_address": "192.0.2.9"`}, not: []string{"pump-2"}},
	{name: "devices that are not", do: "GET /v1/devices?connected=false&tenant=acme", want: []string{"pump-2"}, not: []string{"pump-1"}},
	{name: "flag", do: "GET /v1/devices?connected=1", code: 400, want: []string{"true or false"}},
	{name: "no devices", do: "GET /v1/devices?prefix=none", want: []string{`"items": []`}},
	{name: "bad limit", do: "GET /v1/devices?limit=1001", code: 400, want: []string{"from 1 to 1000"}},
	{name: "bad cursor", do: "GET /v1/devices?cursor=x", code: 400, want: []string{"cursor"}},
	{name: "cursor of another form", do: "GET /v1/devices?cursor=MQ", code: 400, want: []string{"cursor"}},
	{name: "cursor into another's tenant", do: "GET /v1/devices?cursor=" + must(makeCursor(core.DeviceKey{Tenant: "other"})), token: readAcme, want: []string{`"items": []`}},
	{name: "unknown parameter", do: "GET /v1/devices?tennant=acme", code: 400, want: []string{`unknown parameter \"tennant\"`, "there is: tenant"}},
	{name: "parameter twice", do: "GET /v1/devices?tenant=acme&tenant=other", code: 400, want: []string{"2 times"}},
	{name: "malformed query", do: "GET /v1/devices?tenant=%zz", code: 400, want: []string{"malformed"}},
	{name: "parameter that is not UTF-8", do: "GET /v1/devices?prefix=%ff", code: 400, want: []string{"UTF-8"}},

	{name: "device", do: "GET " + pump, want: []string{`"id": "pump-1"`, `"registered": true`, `"scope": "org.example.Temps v1.0"`, `"bytes": 300`, `"name": "nickname"`, `"value": "little pump-1"`}, not: []string{"secret"}},
	{name: "device without credentials", do: "GET /v1/devices/mqtt/acme/lamp", want: []string{`"id": "lamp"`}, not: []string{"credentials", "details"}},
	{name: "no device", do: "GET /v1/devices/astarte/acme/none", code: 404, want: []string{"there is no device", "astarte/acme/none"}},
	{name: "another's device", do: "GET " + other, token: readAcme, code: 404, want: []string{"there is no device"}},
	{name: "parameter where there is none", do: "GET " + pump + "?limit=1", code: 400, want: []string{"there is: none"}},

	{name: "delete", do: "DELETE " + pump, token: writeAcme, code: 204, event: "device.deleted", after: func(t *testing.T, g *rig) {
		if got, want := g.left(), []string{"1: device deleted"}; !slices.Equal(got, want) {
			t.Errorf("disconnected %v, want %v", got, want)
		}
		for _, what := range []string{"GET " + pump, "DELETE " + pump, "GET " + pump + "/samples?channel=all:1", "GET /v1/certificates/a0002"} {
			if w := g.call(what, writeAcme, ""); w.Code != 404 {
				t.Errorf("%s: got %d", what, w.Code)
			}
		}
	}},
	{name: "delete as reader", do: "DELETE " + pump, code: 403},
	{name: "delete another's", do: "DELETE " + other, token: writeAcme, code: 404, after: func(t *testing.T, g *rig) {
		if w := g.call("GET "+other, readAll, ""); w.Code != 200 {
			t.Errorf("then: got %d", w.Code)
		}
	}},

	{name: "credentials", do: "GET " + pump + "/credentials", want: []string{`"inhibited": false`, `"last_address": "192.0.2.7"`}},
	{name: "no credentials", do: "GET /v1/devices/mqtt/acme/lamp/credentials", code: 404, want: []string{"never registered"}},
	{name: "inhibit", do: "PUT " + pump + "/credentials", token: writeAcme, body: `{"inhibited":true}`, want: []string{`"inhibited": true`}, event: "credentials.inhibited", after: func(t *testing.T, g *rig) {
		if e := g.enrolment(1); !e.Inhibited || len(e.SecretHash) == 0 {
			t.Errorf("got %+v", e)
		}
	}},
	{name: "allow what is allowed", do: "PUT " + pump + "/credentials", token: writeAcme, body: `{"inhibited":false}`, want: []string{`"inhibited": false`}},
	{name: "inhibit without saying so", do: "PUT " + pump + "/credentials", token: writeAcme, body: `{}`, code: 400, want: []string{"inhibited is missing"}},
	{name: "inhibit as reader", do: "PUT " + pump + "/credentials", body: `{"inhibited":true}`, code: 403},
	{name: "inhibit another's", do: "PUT " + other + "/credentials", token: writeAcme, body: `{"inhibited":true}`, code: 404},

	{name: "certificates", do: "GET " + pump + "/certificates", want: []string{`"serial": "a0002"`, `"state": "active"`, `"state": "superseded"`}},
	{name: "certificates of another's", do: "GET " + other + "/certificates", token: readAcme, code: 404},
	{name: "certificate", do: "GET /v1/certificates/a0000", want: []string{`"id": "pump-1"`, `"sha256": "0000`}},
	{name: "no certificate", do: "GET /v1/certificates/00", code: 404, want: []string{"there is no certificate"}},
	{name: "another's certificate", do: "GET /v1/certificates/a3000", token: readAcme, code: 404, want: []string{"there is no certificate"}},
	{name: "revoke", do: "POST /v1/certificates/a0002/revoke", token: writeAcme, want: []string{`"state": "revoked"`}, event: "certificate.revoked", after: func(t *testing.T, g *rig) {
		if got, want := g.left(), []string{"1: certificate revoked"}; !slices.Equal(got, want) {
			t.Errorf("disconnected %v, want %v", got, want)
		}
		w := g.call("POST /v1/certificates/a0002/revoke", writeAcme, "")
		if got := g.left(); w.Code != 200 || len(got) != 1 {
			t.Errorf("again: got %d, disconnected %v", w.Code, got)
		}
	}},
	{name: "revoke another's", do: "POST /v1/certificates/a3002/revoke", token: writeAcme, code: 404, after: func(t *testing.T, g *rig) {
		if got := g.left(); len(got) != 0 {
			t.Errorf("disconnected %v", got)
		}
	}},
	{name: "revoke as reader", do: "POST /v1/certificates/a0002/revoke", code: 403},
}

var dataScenarios = []scenario{
	{name: "channels", do: "GET " + pump + "/channels", want: []string{`"all:1"`, `"temps:1/a"`, `"temps:1/b"`, `"value": 4.5`, `"at": "2026-05-06T12:00:02Z"`, `"received": "2026-05-06T12:00:02.0015Z"`}},
	{name: "channels by prefix", do: "GET " + pump + "/channels?prefix=temps:1/", want: []string{"temps:1/a"}, not: []string{"all:1"}},
	{name: "channels of another's", do: "GET " + other + "/channels", token: readAcme, code: 404},
	{name: "samples", do: "GET " + pump + "/samples?channel=temps:1/a", want: []string{`"value": 0.5`, `"value": 4.5`}, not: []string{"next"}},
	{name: "samples backwards", do: "GET " + pump + "/samples?channel=temps:1/a&backwards=true&limit=1", want: []string{`"value": 4.5`, "next"}, not: []string{"0.5"}},
	{name: "samples since", do: "GET " + pump + "/samples?channel=temps:1/a&since=2026-05-06T12:00:02Z", want: []string{`"value": 4.5`}, not: []string{"3.5"}},
	{name: "samples to, in another zone", do: "GET " + pump + "/samples?channel=temps:1/a&to=2026-05-06T14:00:01%2B02:00", want: []string{`"value": 1.5`}, not: []string{"2.5"}},
	{name: "samples of no channel", do: "GET " + pump + "/samples", code: 400, want: []string{"channel is missing"}},
	{name: "samples of a channel that is not there", do: "GET " + pump + "/samples?channel=none", want: []string{`"items": []`}},
	{name: "samples at no time", do: "GET " + pump + "/samples?channel=x&since=now", code: 400, want: []string{"2006-01-02T15:04:05Z"}},
	{name: "samples of another's", do: "GET " + other + "/samples?channel=temps:1/a", token: readAcme, code: 404},
	{name: "samples behind nothing", do: "GET " + pump + "/samples?channel=x&cursor=" + must(makeCursor(sampleMark{})), code: 400, want: []string{"cursor"}},
	{name: "values of every type", do: "GET " + pump + "/samples?channel=all:1", want: []string{
		`"value": 9007199254740991`, `"value": "9007199254740992"`, `"type": "bytes"`, `"value": "AP8="`, `"value": "2026-05-06T12:00:00.000001Z"`,
	}},

	{name: "documents", do: "GET " + pump + "/documents", want: []string{`"document": ""`, `"document": "conf:2"`, `"side": "desired"`, `"value": "1152921504606846976"`}},
	{name: "one document", do: "GET " + pump + "/documents?document=conf:1", want: []string{`"conf:1"`}, not: []string{`"conf:2"`, `"document": ""`}},
	{name: "the document without a name", do: "GET " + pump + "/documents?document=", want: []string{`"document": ""`}, not: []string{"conf"}},
	{name: "one side", do: "GET " + pump + "/documents?side=reported", want: []string{`"reported"`}, not: []string{`"desired"`}},
	{name: "no such side", do: "GET " + pump + "/documents?side=left", code: 400, want: []string{"desired, reported"}},
	{name: "change what is desired", do: "PATCH " + pump + "/documents", token: writeAll, body: `{"document":"conf:2","desired":{"a":{"b":null}}}`, code: 204, event: "document.changed"},
	{name: "change what is desired, refused by the platform", do: "PATCH " + pump + "/documents", token: writeAll, body: `{"desired":5}`, code: 400, want: []string{"no object"}, not: []string{"invalid: "}},
	{name: "change what is desired, refused with help", do: "PATCH " + pump + "/documents", token: writeAll, body: `{"document":"none","desired":{}}`, code: 404, want: []string{`"message": "no document of that name"`, `"help": "Make one."`}},
	{name: "change what is desired of a device without documents", do: "PATCH /v1/devices/mqtt/acme/lamp/documents", token: writeAll, body: `{"desired":{}}`, code: 400, want: []string{"devices of mqtt have no documents"}},
	{name: "change nothing", do: "PATCH " + pump + "/documents", token: writeAll, body: `{}`, code: 400, want: []string{"desired is missing"}},
	{name: "documents of another's", do: "GET " + other + "/documents", token: readAcme, code: 404},

	{name: "events", do: "GET /v1/events", want: []string{`"seq": 1`, `"kind": "device.connected"`, `"last": 6`, `"more": false`, `"token.created"`}, not: []string{"gap"}},
	{name: "events of one", do: "GET /v1/events", token: readAcme, want: []string{`"document.changed"`, `"last": 6`}, not: []string{`"other"`, "token.created"}},
	{name: "events after", do: "GET /v1/events?after=3&limit=1", want: []string{`"seq": 4`, `"last": 4`, `"more": true`}, not: []string{`"seq": 5`}},
	{name: "events of a device", do: "GET /v1/events?device=astarte/acme/pump-1", want: []string{`"seq": 1`, `"seq": 5`}, not: []string{`"seq": 2`}},
	{name: "events of a kind", do: "GET /v1/events?kind=document.changed,device.deleted", want: []string{`"seq": 5`}, not: []string{`"seq": 1,`}},
	{name: "values in events", do: "GET /v1/events?after=4&limit=1", want: []string{`"new": {`, `"type": "int"`, `"value": "1152921504606846976"`}, not: []string{`"old"`}},
	{name: "events of no kind", do: "GET /v1/events?kind=foo", code: 400, want: []string{"there is no kind", "device.connected"}},
	{name: "events backwards", do: "GET /v1/events?backwards=true&limit=2", want: []string{`"seq": 6`, `"seq": 5`, `"last": 5`, `"more": true`}, not: []string{`"seq": 4`}},
	{name: "events backwards, further", do: "GET /v1/events?backwards=true&before=2", want: []string{`"seq": 1`, `"last": 1`, `"more": false`}, not: []string{`"seq": 2`}},
	{name: "events of one backwards", do: "GET /v1/events?backwards=true", token: readAcme, want: []string{`"document.changed"`}, not: []string{`"other"`, "token.created"}},
	{name: "events of a device backwards", do: "GET /v1/events?backwards=true&limit=1&device=astarte/acme/pump-1", want: []string{`"seq": 5`, `"more": true`}, not: []string{`"seq": 1,`}},
	{name: "events of a kind backwards", do: "GET /v1/events?backwards=true&kind=device.connected", not: []string{"document.changed"}},
	{name: "before without backwards", do: "GET /v1/events?before=3", code: 400},
	{name: "events of another's tenant", do: "GET /v1/events?tenant=other", token: readAcme, code: 404},
	{name: "events of another's device", do: "GET /v1/events?device=astarte/other/pump-1", token: readAcme, code: 404},
	{name: "events of a device in another tenant", do: "GET /v1/events?tenant=acme&device=astarte/other/pump-1", code: 404},
	{name: "events of no device", do: "GET /v1/events?device=pump-1", code: 400, want: []string{"dialect/tenant/id"}},
	{name: "events of the future", do: "GET /v1/events?after=99", want: []string{`"gap": true`, `"last": 6`}},
	{name: "stream of another's tenant", do: "GET /v1/events/stream?tenant=other", token: readAcme, code: 404},
	{name: "stream from nowhere", do: "GET /v1/events/stream?after=-2", code: 400},
}

var awsScenarios = []scenario{
	{name: "access keys", do: "GET /v1/tenants/acme/access-keys", want: []string{`"id": "AKIAACME"`}, not: []string{"secret"}},
	{name: "delete an access key", do: "DELETE /v1/tenants/acme/access-keys/AKIAACME", token: adminAcme, code: 204, event: "accesskey.deleted"},
	{name: "make an access key", do: "POST /v1/tenants/acme/access-keys", token: adminAcme, body: `{"name":"n"}`, code: 201, want: []string{`"id": "AKIA`, `"secret": "`}, not: []string{"session_token"}, event: "accesskey.created"},
	{name: "make one that ends", do: "POST /v1/tenants/acme/access-keys", token: ownerToken, body: `{"expires":"2099-01-01T00:00:00Z"}`, code: 201, want: []string{`"id": "ASIA`, `"session_token": "`}, event: "accesskey.created"},
	{name: "make one that has ended", do: "POST /v1/tenants/acme/access-keys", token: ownerToken, body: `{"expires":"2000-01-01T00:00:00Z"}`, code: 400},
	{name: "make one for another's tenant", do: "POST /v1/tenants/other/access-keys", token: adminAcme, body: `{}`, code: 404},
	{name: "delete no access key", do: "DELETE /v1/tenants/acme/access-keys/AKIANONE", token: ownerToken, code: 404, want: []string{"AKIANONE"}},
	{name: "groups", do: "GET /v1/tenants/acme/greengrass", want: []string{`"id": "hall"`}},
	{name: "show a group", do: "GET /v1/tenants/acme/greengrass/hall", want: []string{`"thing": "core1"`, `"host": "192.0.2.1"`}},
	{name: "delete a group", do: "DELETE /v1/tenants/acme/greengrass/hall", token: writeAcme, code: 204},
	{name: "make a group", do: "PUT /v1/tenants/acme/greengrass/g", token: writeAcme, body: `{"cores":[{"thing":"core1","ways":[{"id":"a","host":"192.0.2.1","port":8883}]}],"devices":["x"]}`, want: []string{`"id": "g"`, `"port": 8883`, `"cas": []`}},
	{name: "make a group of nothing", do: "PUT /v1/tenants/acme/greengrass/g", token: writeAcme, body: `{"cores":[]}`, code: 400, want: []string{"0 cores"}},
	{name: "show no group", do: "GET /v1/tenants/acme/greengrass/none", code: 404},
	{name: "delete no group", do: "DELETE /v1/tenants/acme/greengrass/none", token: writeAcme, code: 404},
}

var tokenScenarios = []scenario{
	{name: "tokens", do: "GET /v1/tokens", token: ownerToken, want: []string{`"t-read"`, `"t-acme-read"`, `"expires": "2026-05-06T12:00:00Z"`}, not: []string{"hash"}},
	{name: "tokens of one tenant", do: "GET /v1/tokens", token: adminAcme, want: []string{`"t-acme-read"`}, not: []string{`"t-read"`}},
	{name: "tokens as writer", do: "GET /v1/tokens", token: writeAll, code: 403},
	{name: "self", do: "GET /v1/tokens/self", token: readAcme, want: []string{`"scope": "read"`, `"tenant": "acme"`}},
	{name: "self as owner", do: "GET /v1/tokens/self", token: ownerToken, want: []string{`"scope": "admin"`, "data folder"}},
	{name: "token", do: "GET /v1/tokens/t-read", token: ownerToken, want: []string{`"name": "read all"`}},
	{name: "no token", do: "GET /v1/tokens/none", token: ownerToken, code: 404, want: []string{"there is no token"}},
	{name: "another's token", do: "GET /v1/tokens/t-read", token: adminAcme, code: 404},
	{name: "create token", do: "POST /v1/tokens", token: ownerToken, body: `{"name":"n","scope":"write","tenant":"acme","expires":"2027-01-01T00:00:00Z"}`, code: 201, want: []string{`"token": "fairlead_`, `"expires": "2027-01-01T00:00:00Z"`}, event: "token.created"},
	{name: "create token of the own tenant", do: "POST /v1/tokens", token: adminAcme, body: `{"name":"n","scope":"admin"}`, code: 201, want: []string{`"tenant": "acme"`}, event: "token.created"},
	{name: "create token of another tenant", do: "POST /v1/tokens", token: adminAcme, body: `{"name":"n","scope":"read","tenant":"other"}`, code: 403},
	{name: "create token of no tenant", do: "POST /v1/tokens", token: ownerToken, body: `{"name":"n","scope":"read","tenant":"none"}`, code: 404},
	{name: "create token of no scope", do: "POST /v1/tokens", token: ownerToken, body: `{"name":"n","scope":"root"}`, code: 400, want: []string{"read, write, admin"}},
	{name: "create token at no time", do: "POST /v1/tokens", token: ownerToken, body: `{"name":"n","scope":"read","expires":"soon"}`, code: 400, want: []string{"soon"}},
	{name: "create token that has ended", do: "POST /v1/tokens", token: ownerToken, body: `{"name":"n","scope":"read","expires":"2020-01-01T00:00:00Z"}`, code: 400, want: []string{"expired already"}},
	{name: "create token as writer", do: "POST /v1/tokens", token: writeAll, body: `{"name":"n","scope":"read"}`, code: 403},
	{name: "revoke token", do: "DELETE /v1/tokens/t-read", token: ownerToken, code: 204, event: "token.revoked", after: func(t *testing.T, g *rig) {
		if w := g.call("GET /v1/tenants", readAll, ""); w.Code != 401 {
			t.Errorf("with the revoked token: got %d", w.Code)
		}
	}},
	{name: "revoke another's token", do: "DELETE /v1/tokens/t-read", token: adminAcme, code: 404, after: func(t *testing.T, g *rig) {
		if w := g.call("GET /v1/tenants", readAll, ""); w.Code != 200 {
			t.Errorf("with the token: got %d", w.Code)
		}
	}},
}

func (g *rig) enrolment(n core.DeviceNum) (e core.Enrolment) {
	g.Helper()
	g.view(func(rd store.Reader) (err error) { e, err = rd.Enrolment(n); return err })
	return e
}

func (g *rig) view(f func(store.Reader) error) {
	g.Helper()
	if err := g.store.View(g.Context(), f); err != nil {
		g.Fatal(err)
	}
}

// TestScenarios also checks that each answer is one that the OpenAPI document has, and that each operation of the
// document has a scenario in which it succeeds.
func TestScenarios(t *testing.T) {
	c := newChecker(t)
	seen := map[string]bool{"GET /v1/events/stream": true, "POST /v1/backup": true} // see stream_test.go, and backup_test.go of package hub
	for _, list := range [][]scenario{hubScenarios, deviceScenarios, dataScenarios, mqttScenarios, tokenScenarios, plainScenarios, awsScenarios} {
		for _, sc := range list {
			t.Run(sc.name, func(t *testing.T) { sc.run(t, c, seen) })
		}
	}
	for _, rt := range (&Server{}).routes() {
		if name := rt.method + " " + rt.path; !seen[name] {
			t.Errorf("%s has no scenario in which it succeeds", name)
		}
	}
}

func (sc scenario) run(t *testing.T, c *checker, seen map[string]bool) {
	g := newRig(t, nil)
	if sc.token == "" {
		sc.token = readAll
	} else if sc.token == "none" {
		sc.token = ""
	}
	if sc.code == 0 {
		sc.code = http.StatusOK
	}
	w := g.call(sc.do, sc.token, sc.body)
	if w.Code != sc.code {
		t.Fatalf("got %d %s, want %d", w.Code, w.Body, sc.code)
	}
	for _, want := range sc.want {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("want %s in\n%s", want, w.Body)
		}
	}
	for _, not := range sc.not {
		if strings.Contains(w.Body.String(), not) {
			t.Errorf("want no %s in\n%s", not, w.Body)
		}
	}
	method, target, _ := strings.Cut(sc.do, " ")
	method = strings.Replace(method, "HEAD", "GET", 1)
	_, pattern := g.mux.Handler(httptest.NewRequest(method, target, nil))
	if w.Code != http.StatusMethodNotAllowed {
		if bad := c.answer(method, pattern, w.Code, w.Header().Get("Content-Type"), w.Body.Bytes()); bad != "" {
			t.Errorf("the answer is not what the OpenAPI document says: %s\n%s", bad, w.Body)
		}
	}
	if sc.code < 300 {
		seen[method+" "+pattern] = true
	}
	g.view(func(rd store.Reader) error {
		list, err := rd.Events(6, 10)
		got := ""
		for _, e := range list {
			got += string(e.Kind)
		}
		if got != sc.event {
			t.Errorf("got event %q, want %q", got, sc.event)
		}
		return err
	})
	if sc.after != nil {
		sc.after(t, g)
	}
}
