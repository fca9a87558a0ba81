package astarte

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

const (
	appDevices    = "/appengine/v1/test/devices"
	appInterfaces = appDevices + "/" + testID + "/interfaces"
)

func TestDeviceList(t *testing.T) {
	s := newSite(t)
	s.run(t, []scenario{
		{name: "no devices", do: "GET " + appDevices, status: 200, want: `{"data":[],"links":{"self":"/v1/test/devices?limit=1000"}}`},
		{name: "no stats", do: "GET /appengine/v1/test/stats/devices", status: 200, want: `{"data":{"total_devices":0,"connected_devices":0}}`},
	})
	ids := []string{testID, "AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBA"}
	for _, id := range ids {
		s.secret(id)
	}
	s.run(t, []scenario{
		{name: "all", do: "GET " + appDevices, status: 200, want: `{"data":["` + strings.Join(ids, `","`) + `"],"links":{"self":"/v1/test/devices?limit=1000"}}`},
		{
			name: "full page", do: "GET " + appDevices + "?limit=2", status: 200,
			want: `{"data":["` + ids[0] + `","` + ids[1] + `"],"links":{"self":"/v1/test/devices?limit=2","next":"/v1/test/devices?from_token=2&limit=2"}}`,
		},
		{
			name: "last page", do: "GET " + appDevices + "?from_token=2&limit=2", status: 200,
			want: `{"data":["` + ids[2] + `"],"links":{"self":"/v1/test/devices?from_token=2&limit=2"}}`,
		},
		{
			name: "full last page gives an empty one more", do: "GET " + appDevices + "?limit=3", status: 200,
			want: `~"next":"/v1/test/devices?from_token=3&limit=3"`,
		},
		{name: "after the end", do: "GET " + appDevices + "?from_token=3&limit=3", status: 200, want: `{"data":[],"links":{"self":"/v1/test/devices?from_token=3&limit=3"}}`},
		{name: "details", do: "GET " + appDevices + "?details=true&limit=1", status: 200, want: `~"next":"/v1/test/devices?details=true&from_token=1&limit=1"`},
		{name: "details are objects", do: "GET " + appDevices + "?details=true&limit=1", status: 200, want: `~{"data":[{"id":"` + ids[0] + `","connected":false`},
		{name: "limit 0", do: "GET " + appDevices + "?limit=0", status: 422, want: `{"errors":{"limit":["must be greater than 0"]}}`},
		{name: "limit is no number", do: "GET " + appDevices + "?limit=x", status: 422, want: `{"errors":{"limit":["is invalid"]}}`},
		{name: "all wrong", do: "GET " + appDevices + "?from_token=x&details=maybe", status: 422, want: `{"errors":{"from_token":["is invalid"],"details":["is invalid"]}}`},
		{name: "absurd limit", do: "GET " + appDevices + "?limit=99999999999", status: 200, want: `~?limit=10000"`},
	})
}

// TestDeviceDetail follows a device from its registration to its disconnection.
func TestDeviceDetail(t *testing.T) {
	s := newSite(t, temps, draft)
	object := func(connected, introspection, counts, last, first, previous string) string {
		return `{"data":{"id":"` + testID + `","connected":` + connected + `,"introspection":` + introspection + `,` + counts + `,` + last + `,` +
			`"credentials_inhibited":false,"first_registration":"2026-05-06T07:08:09.000Z",` + first + `,"aliases":{},"attributes":{},"groups":[],` +
			`"previous_interfaces":` + previous + `,"deletion_in_progress":false}}`
	}
	const none, never = `"total_received_msgs":0,"total_received_bytes":0`, `"last_connection":null,"last_disconnection":null,"last_seen_ip":null`
	secret := s.secret(testID)
	do := "GET " + appDevices + "/" + testID
	s.run(t, []scenario{
		{name: "unknown", do: "GET " + appDevices + "/AAAAAAAAAAAAAAAAAAAAAA", status: 404, want: detailBody("Device not found")},
		{name: "no id", do: "GET " + appDevices + "/x", status: 400, want: detailBody("Bad request")},
		{name: "extended id", do: "GET " + appDevices + "/" + testID + "AAAAAA", status: 400, want: detailBody("Bad request")},
		{name: "registered", do: do, status: 200, want: object("false", "{}", none, never, `"last_credentials_request_ip":null,"first_credentials_request":null`, "[]")},
	})
	s.now = s.now.Add(time.Second)
	crt := s.certificate(secret)
	dev := s.found()
	c := s.connect(dev, crt)
	c.declares("org.example.Draft:0:1")
	c.declares("org.example.Temps:1:0")
	c.publish("/org.example.Temps/a/temp", v(t, astartewire.TypeDouble, 1.5))
	const asked = `"last_credentials_request_ip":"10.0.0.9","first_credentials_request":"2026-05-06T07:08:10.000Z"`
	const declared = `{"org.example.Temps":{"major":1,"minor":0,"exchanged_msgs":1,"exchanged_bytes":40}}`
	const before = `[{"name":"org.example.Draft","major":0,"minor":1,"exchanged_msgs":0,"exchanged_bytes":0}]`
	const counts = `"total_received_msgs":3,"total_received_bytes":82` // two introspections of 21 bytes and the value
	s.run(t, []scenario{
		{name: "connected", do: do, status: 200, want: object("true", declared, counts, `"last_connection":"2026-05-06T07:08:10.000Z","last_disconnection":null,"last_seen_ip":"10.0.0.9"`, asked, before)},
		{name: "stats", do: "GET /appengine/v1/test/stats/devices", status: 200, want: `{"data":{"total_devices":1,"connected_devices":1}}`},
		{name: "interfaces", do: "GET " + appInterfaces, status: 200, want: `{"data":["org.example.Temps"]}`},
		{name: "interfaces of none", do: "GET " + appDevices + "/AAAAAAAAAAAAAAAAAAAAAA/interfaces", status: 404, want: detailBody("Device not found")},
	})
	s.now = s.now.Add(time.Second)
	c.disconnect()
	s.run(t, []scenario{
		{name: "disconnected", do: do, status: 200, want: object("false", declared, counts, `"last_connection":"2026-05-06T07:08:10.000Z","last_disconnection":"2026-05-06T07:08:11.000Z","last_seen_ip":"10.0.0.9"`, asked, before)},
	})
}
