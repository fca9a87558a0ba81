package astarte

import (
	"net/http"
	"strings"
	"testing"
)

func TestHousekeeping(t *testing.T) {
	s := newSite(t)
	key := publicPEM(t, s.key)
	create := func(extra string) string {
		return strings.Replace(dataBody(t, map[string]string{"realm_name": "other", "jwt_public_key_pem": key}), `"realm_name"`, extra+`"realm_name"`, 1)
	}
	object := func(name, rest string) string {
		return strings.Replace(dataBody(t, map[string]string{"realm_name": name, "jwt_public_key_pem": key}), `"realm_name"`, rest+`,"realm_name"`, 1)
	}
	const simple, unlimited = `"replication_class":"SimpleStrategy","replication_factor":1`, `"device_registration_limit":null,"datastream_maximum_storage_retention":null`
	const do, one = "POST /housekeeping/v1/realms", "/housekeeping/v1/realms/other"
	s.run(t, []scenario{
		{name: "list", do: "GET /housekeeping/v1/realms", status: 200, want: `{"data":["test"]}`},
		{name: "no name, no key", do: do, body: `{"data":{}}`, status: 422, want: `{"errors":{"realm_name":["can't be blank"],"jwt_public_key_pem":["can't be blank"]}}`},
		{name: "bad name, bad key", do: do, body: `{"data":{"realm_name":"No","jwt_public_key_pem":"x"}}`, status: 422, want: `{"errors":{"realm_name":["is invalid"],"jwt_public_key_pem":["is not a valid PEM public key"]}}`},
		{name: "reserved name", do: do, body: strings.Replace(create(""), "other", "astarte", 1), status: 422, want: `{"errors":{"realm_name":["is reserved"]}}`},
		{name: "reserved beginning", do: do, body: strings.Replace(create(""), "other", "system_x", 1), status: 422, want: `{"errors":{"realm_name":["is reserved"]}}`},
		{name: "negative limit", do: do, body: create(`"device_registration_limit":-1,`), status: 422, want: `{"errors":{"device_registration_limit":["must be greater than or equal to 0"]}}`},
		{name: "limit is no number", do: do, body: create(`"device_registration_limit":"many",`), status: 422, want: `{"errors":{"device_registration_limit":["is invalid"]}}`},
		{name: "unknown replication", do: do, body: create(`"replication_class":"Both",`), status: 422, want: `{"errors":{"replication_class":["is invalid"]}}`},
		{name: "no datacenters", do: do, body: create(`"replication_class":"NetworkTopologyStrategy",`), status: 422, want: `{"errors":{"datacenter_replication_factors":["can't be blank"]}}`},
		{name: "no copies", do: do, body: create(`"replication_factor":0,`), status: 422, want: `{"errors":{"replication_factor":["must be greater than 0"]}}`},
		{name: "nothing was created", do: "GET " + one, status: 404, want: detailBody("realm not found")},
		{
			name: "created", do: do + "?async_operation=false", body: create(""), status: 201, want: object("other", simple+","+unlimited),
			check: func(s *site, h http.Header) { s.header(h, "Location", "/v1/realms/other") },
		},
		{name: "exists", do: do, body: create(""), status: 409, want: detailBody("Realm already exists")},
		{name: "listed", do: "GET /housekeeping/v1/realms", status: 200, want: `{"data":["other","test"]}`},
		{name: "shown", do: "GET " + one, status: 200, want: object("other", simple+","+unlimited)},
		{name: "usable at once", do: "GET /appengine/v1/other/devices", status: 200, want: `~"data":[]`},
		{name: "limits", do: "PATCH " + one, body: `{"data":{"device_registration_limit":7,"datastream_maximum_storage_retention":60,"realm_name":"x"}}`, status: 200, want: object("other", simple+`,"device_registration_limit":7,"datastream_maximum_storage_retention":60`)},
		{
			name: "merge patch", do: "PATCH " + one, header: map[string]string{"Content-Type": "application/merge-patch+json"},
			body: `{"data":{"device_registration_limit":null}}`, status: 200, want: object("other", simple+`,"device_registration_limit":null,"datastream_maximum_storage_retention":60`),
		},
		{name: "shown in Realm Management", do: "GET /realmmanagement/v1/other/config/datastream_maximum_storage_retention", status: 200, want: `{"data":60}`},
		{name: "no limit there", do: "GET /realmmanagement/v1/other/config/device_registration_limit", status: 200, want: `{"data":null}`},
		{name: "patch with a bad key", do: "PATCH " + one, body: `{"data":{"jwt_public_key_pem":null}}`, status: 422, want: `{"errors":{"jwt_public_key_pem":["can't be blank"]}}`},
		{name: "patch of none", do: "PATCH /housekeeping/v1/realms/nowhere", body: `{"data":{}}`, status: 404, want: detailBody("realm not found")},
		{name: "deletion", do: "DELETE " + one, status: 405, want: detailBody("Realm deletion disabled")},
		{
			name: "several datacenters", do: do, status: 201,
			body: strings.Replace(create(`"replication_class":"NetworkTopologyStrategy","datacenter_replication_factors":{"a":3},`), "other", "third", 1),
			want: object("third", `"replication_class":"NetworkTopologyStrategy","datacenter_replication_factors":{"a":3},`+unlimited),
		},
	})
}
