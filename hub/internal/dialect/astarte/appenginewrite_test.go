package astarte

import (
	"testing"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

func TestWrite(t *testing.T) {
	s := newSite(t, temps, target1, commands, move, config)
	s.declared("org.example.Temps:1:0", "org.example.Target:1:0", "org.example.Commands:1:0", "org.example.Move:1:0", "org.example.Config:1:0")
	const in = appInterfaces
	s.run(t, []scenario{
		{name: "property", do: "PUT " + in + "/org.example.Target/room1/target", body: `{"data":21}`, status: 200, want: `{"data":21}`},
		{name: "is stored as a double", do: "GET " + in + "/org.example.Target/room1/target", status: 200, want: `{"data":21.0}`},
		{name: "POST is the same", do: "POST " + in + "/org.example.Target/a/name", body: `{"data":"x"}`, status: 200, want: `{"data":"x"}`},
		{name: "longinteger in a string, echoed as sent", do: "PUT " + in + "/org.example.Target/a/count", body: `{"data":"1152921504606846976"}`, status: 200, want: `{"data":"1152921504606846976"}`},
		{name: "and shown as a number", do: "GET " + in + "/org.example.Target/a/count", status: 200, want: `{"data":1152921504606846976}`},
		{name: "no data", do: "PUT " + in + "/org.example.Target/a/name", body: `{}`, status: 400, want: detailBody("Bad request")},
		{name: "wrong type", do: "PUT " + in + "/org.example.Target/a/name", body: `{"data":7}`, status: 422, want: `{"errors":{"detail":"Unexpected value type","expected_type":"string"}}`},
		{name: "null", do: "PUT " + in + "/org.example.Target/a/name", body: `{"data":null}`, status: 422, want: `{"errors":{"detail":"Unexpected value type","expected_type":"string"}}`},
		{name: "device-owned", do: "PUT " + in + "/org.example.Config/a/blob", body: `{"data":""}`, status: 405, want: detailBody("Cannot write to device owned resource")},
		{name: "no endpoint", do: "PUT " + in + "/org.example.Target/a/b", body: `{"data":1}`, status: 400, want: detailBody("Endpoint not found")},
		{name: "partial path", do: "PUT " + in + "/org.example.Target/room1", body: `{"data":1}`, status: 405, want: detailBody("Cannot write to read-only resource")},
		{name: "no path", do: "PUT " + in + "/org.example.Target", body: `{"data":1}`, status: 405, want: detailBody("Cannot write to read-only resource")},
		{name: "not declared", do: "PUT " + in + "/org.example.None/x", body: `{"data":1}`, status: 404, want: detailBody("Interface not found in device introspection")},
		{name: "unknown device", do: "PUT " + appDevices + "/AAAAAAAAAAAAAAAAAAAAAA/interfaces/org.example.Target/a/name", body: `{"data":"x"}`, status: 404, want: detailBody("Device not found")},

		{name: "unreliable to nobody is stored", do: "POST " + in + "/org.example.Commands/blink", body: `{"data":true}`, status: 200, want: `{"data":true}`},
		{name: "its sample", do: "GET " + in + "/org.example.Commands/blink", status: 200, want: `{"data":[{"timestamp":"2026-05-06T07:08:09.000Z","value":true}]}`},
		{name: "guaranteed to nobody is refused", do: "POST " + in + "/org.example.Commands/beep", body: `{"data":1}`, status: 503, want: detailBody("Cannot push to device")},
		{name: "and not stored", do: "GET " + in + "/org.example.Commands/beep", status: 404, want: detailBody("Path not found")},
		{name: "datetime with a space", do: "POST " + in + "/org.example.Commands/boom", body: `{"data":"2022-11-22 10:11:21"}`, status: 422, want: `{"errors":{"detail":"Unexpected value type","expected_type":"datetime"}}`},

		{name: "object: no object", do: "POST " + in + "/org.example.Move/to", body: `{"data":1}`, status: 422, want: `{"errors":{"detail":"Unexpected value type","expected_type":"object"}}`},
		{name: "object: wrong type of a key", do: "POST " + in + "/org.example.Move/to", body: `{"data":{"x":"1","y":1}}`, status: 422, want: `{"errors":{"detail":"Unexpected value type","expected_type":"integer"}}`},
		{name: "object: unknown key", do: "POST " + in + "/org.example.Move/to", body: `{"data":{"z":1}}`, status: 400, want: detailBody("Unexpected object key")},
		{name: "object: required key", do: "POST " + in + "/org.example.Move/to", body: `{"data":{"x":1}}`, status: 422, want: detailBody("Missing required mapping key")},
		{name: "object: wrong path", do: "POST " + in + "/org.example.Move/to/x", body: `{"data":1}`, status: 404, want: detailBody("Mapping not found")},

		{name: "unset", do: "DELETE " + in + "/org.example.Target/room1/target", status: 204},
		{name: "is gone", do: "GET " + in + "/org.example.Target/room1/target", status: 200, want: `{"data":{}}`},
		{name: "unset again", do: "DELETE " + in + "/org.example.Target/room1/target", status: 204},
		{name: "unset not allowed", do: "DELETE " + in + "/org.example.Target/a/name", status: 422, want: detailBody("Unset not allowed")},
		{name: "unset a datastream", do: "DELETE " + in + "/org.example.Commands/blink", status: 422, want: detailBody("Unset not allowed")},
		{name: "unset the device's", do: "DELETE " + in + "/org.example.Config/a/blob", status: 405, want: detailBody("Cannot write to device owned resource")},
		{name: "unset a partial path", do: "DELETE " + in + "/org.example.Target/room1", status: 405, want: detailBody("Cannot write to read-only resource")},
		{name: "unset nothing", do: "DELETE " + in + "/org.example.Target/a/b", status: 400, want: detailBody("Endpoint not found")},
	})
}

// TestWriteToDevice: what AppEngine accepts has reached the device's session.
func TestWriteToDevice(t *testing.T) {
	s := newSite(t, target1, commands)
	crt := s.certificate(s.secret(testID))
	c := s.connect(s.found(), crt, "/org.example.Target/#", "/org.example.Commands/#")
	c.declares("org.example.Target:1:0", "org.example.Commands:1:0")
	s.broker.take()
	s.must("POST "+appInterfaces+"/org.example.Commands/beep", `{"data":7}`)
	s.must("PUT "+appInterfaces+"/org.example.Target/a/name", `{"data":"hi"}`)
	s.must("PUT "+appInterfaces+"/org.example.Target/a/count", `{"data":1}`)
	s.must("DELETE "+appInterfaces+"/org.example.Target/a/count", "")
	sent := s.broker.take()
	want := []struct {
		topic, payload string
		qos            byte
	}{
		{"/org.example.Commands/beep", string(v(t, astartewire.TypeInteger, int64(7))), 1},
		{"/org.example.Target/a/name", string(v(t, astartewire.TypeString, "hi")), 2},
		{"/org.example.Target/a/count", string(v(t, astartewire.TypeLongInteger, int64(1))), 2},
		{"/org.example.Target/a/count", "", 2},
	}
	if len(sent) != len(want) {
		t.Fatalf("got %d messages %v, want %d", len(sent), sent, len(want))
	}
	for i, m := range sent {
		if w := want[i]; m.Topic != "test/"+testID+w.topic || string(m.Payload) != w.payload || m.QoS != w.qos {
			t.Errorf("message %d: got %s %x QoS %d, want %s %x QoS %d", i, m.Topic, m.Payload, m.QoS, w.topic, w.payload, w.qos)
		}
	}
}
