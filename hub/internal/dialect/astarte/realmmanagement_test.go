package astarte

import (
	"crypto/elliptic"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// edited returns the body with a definition in which old is replaced.
func edited(def string, oldnew ...string) string {
	return `{"data":` + strings.NewReplacer(oldnew...).Replace(def) + `}`
}

func TestInterfaces(t *testing.T) {
	s := newSite(t)
	const all = "/realmmanagement/v1/test/interfaces"
	const one = all + "/org.example.Draft"
	update := func(oldnew ...string) string {
		return edited(draft, append(oldnew, `"version_minor":1`, `"version_minor":2`)...)
	}
	s.must("PATCH /housekeeping/v1/realms/test", `{"data":{"datastream_maximum_storage_retention":3600}}`)
	s.run(t, []scenario{
		{name: "none", do: "GET " + all, status: 200, want: `{"data":[]}`},
		{name: "none, in detail", do: "GET " + all + "?detailed=true", status: 200, want: `{"data":[]}`},
		{name: "no definition", do: "POST " + all, body: `{"data":[]}`, status: 400, want: detailBody("Bad request")},
		{name: "empty definition", do: "POST " + all, body: `{"data":{}}`, status: 422, want: `~"interface_name":["can't be blank"]`},
		{name: "wrong mapping", do: "POST " + all, body: edited(draft, `"/a"`, `"bad"`), status: 422, want: `{"errors":{"mappings":[{"endpoint":["has invalid format"]}]}}`},
		{name: "overlap", do: "POST " + all, body: edited(draft, `[{`, `[{"endpoint":"/%{x}","type":"integer"},{`), status: 422, want: detailBody("Overlapping endpoints in interface mappings")},
		{
			name: "kept too long", do: "POST " + all, status: 422, want: detailBody("database_retention_ttl exceeds the maximum storage retention"),
			body: edited(draft, `"type":"integer"`, `"type":"integer","database_retention_policy":"use_ttl","database_retention_ttl":3601`),
		},
		{
			name: "installed", do: "POST " + all + "?async_operation=false", body: edited(draft), status: 201,
			check: func(s *site, h http.Header) { s.header(h, "Location", "/v1/test/interfaces/org.example.Draft/0") },
		},
		{name: "installed already", do: "POST " + all, body: edited(draft), status: 409, want: detailBody("Interface already exists")},
		{name: "another spelling", do: "POST " + all, body: edited(draft, "org.example.Draft", "org.Ex-Ample.DRAFT"), status: 409, want: "~Interface name collision detected."},
		{name: "another major", do: "POST " + all, body: edited(draft, `"version_major":0`, `"version_major":2`), status: 201},
		{name: "names", do: "GET " + all, status: 200, want: `{"data":["org.example.Draft"]}`},
		{name: "majors", do: "GET " + one, status: 200, want: `{"data":[0,2]}`},
		{name: "majors of none", do: "GET " + all + "/org.example.None", status: 404, want: detailBody("Interface not found")},
		{name: "definition", do: "GET " + one + "/0", status: 200, want: `{"data":` + draft + `}`},
		{name: "in detail", do: "GET " + all + "?detailed=true", status: 200, want: `{"data":[` + draft + `,` + strings.Replace(draft, `"version_major":0`, `"version_major":2`, 1) + `]}`},
		{name: "no such major", do: "GET " + one + "/1", status: 404, want: detailBody("Interface not found")},
		{name: "no major", do: "GET " + one + "/x", status: 404, want: detailBody("Invalid major version")},

		{name: "update: no major", do: "PUT " + one + "/x", body: update(), status: 404, want: detailBody("Invalid major version")},
		{name: "update: invalid", do: "PUT " + one + "/0", body: update(`"integer"`, `"number"`), status: 422, want: `{"errors":{"mappings":[{"type":["is invalid"]}]}}`},
		{name: "update: another name", do: "PUT " + one + "/0", body: update("Draft", "Other"), status: 409, want: detailBody("Interface name doesn't match the one in the interface json")},
		{name: "update: another major", do: "PUT " + one + "/2", body: update(), status: 409, want: detailBody("Interface major version doesn't match the one in the interface json")},
		{name: "update: not installed", do: "PUT " + one + "/7", body: update(`"version_major":0`, `"version_major":7`), status: 404, want: detailBody("Interface major not found")},
		{name: "update: another owner", do: "PUT " + one + "/0", body: update(`"device"`, `"server"`), status: 409, want: detailBody("Invalid update")},
		{name: "update: the same minor", do: "PUT " + one + "/0", body: edited(draft), status: 409, want: detailBody("Interface minor version was not increased")},
		{name: "update: lower minor", do: "PUT " + one + "/2", body: edited(draft, `"version_major":0`, `"version_major":2`, `"version_minor":1`, `"version_minor":0`), status: 409, want: detailBody("Interface downgrade not allowed")},
		{name: "update: endpoint is missing", do: "PUT " + one + "/0", body: update(`"/a"`, `"/b"`), status: 409, want: detailBody("Interface update has missing endpoints")},
		{name: "update: another type", do: "PUT " + one + "/0", body: update(`"integer"`, `"string"`), status: 409, want: detailBody("Interface update contains incompatible endpoint changes")},
		{name: "updated", do: "PUT " + one + "/0?async_operation=false", body: update(`[{`, `[{"endpoint":"/b","type":"string"},{`), status: 204},
		{name: "with its new endpoint", do: "GET " + one + "/0", status: 200, want: `~"/b"`},

		{name: "delete what is no draft", do: "DELETE " + one + "/2", status: 403, want: detailBody("Interface can't be deleted")},
		{name: "delete none", do: "DELETE " + all + "/org.example.None/0", status: 404, want: detailBody("Interface not found")},
		{name: "delete no major", do: "DELETE " + one + "/x", status: 404, want: detailBody("Invalid major version")},
		{
			name: "delete what is in use", do: "DELETE " + one + "/0", status: 403, want: detailBody("Interface can't be deleted since it's currently used"),
			given: func(s *site) {
				s.must("POST "+agentDevices, `{"data":{"hw_id":"`+testID+`","initial_introspection":{"org.example.Draft":{"major":0,"minor":1}}}}`)
			},
		},
		{
			name: "deleted", do: "DELETE " + one + "/0", status: 204,
			given: func(s *site) { s.secret(testID) }, // registered again without an introspection
		},
		{name: "gone", do: "GET " + one, status: 200, want: `{"data":[2]}`},
	})
}

func TestRealmConfig(t *testing.T) {
	s := newSite(t)
	const auth = "/realmmanagement/v1/test/config/auth"
	other := ecKey(t, elliptic.P384())
	s.run(t, []scenario{
		{name: "key", do: "GET " + auth, status: 200, want: dataBody(t, map[string]string{"jwt_public_key_pem": publicPEM(t, s.key)})},
		{name: "no key", do: "PUT " + auth, body: `{"data":{}}`, status: 422, want: `{"errors":{"jwt_public_key_pem":["can't be blank"]}}`},
		{name: "bad key", do: "PUT " + auth, body: `{"data":{"jwt_public_key_pem":"x"}}`, status: 422, want: `{"errors":{"jwt_public_key_pem":["is not a valid PEM public key"]}}`},
		{name: "changed", do: "PUT " + auth, body: dataBody(t, map[string]string{"jwt_public_key_pem": publicPEM(t, other)}), status: 204},
		{name: "the old key opens nothing", do: "GET " + auth, status: 401, want: detailBody("Invalid JWT token")},
		{name: "the new one does", do: "GET " + auth, auth: "Bearer " + mint(t, jwt.SigningMethodES384, other, everything), status: 200, want: "~PUBLIC KEY"},
	})
}
