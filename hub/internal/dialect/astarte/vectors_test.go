package astarte

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// seen is a message that an official client sent; see testdata/vectors/astarte.
type seen struct {
	Name    string
	Hex     string
	Decoded struct{ Topic string }

	payload []byte
}

func loadSeen(tb testing.TB, file string) []seen {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "testdata", "vectors", "astarte", file))
	if err != nil {
		tb.Fatal(err)
	}
	var vs []seen
	if err := json.Unmarshal(raw, &vs); err != nil {
		tb.Fatal(err)
	}
	for i := range vs {
		if vs[i].payload, err = hex.DecodeString(vs[i].Hex); err != nil {
			tb.Fatal(err)
		}
	}
	return vs
}

// captured returns the definition of one of the interfaces that the captures were made with.
func captured(name, kind, aggregation, endpoint, extra string) string {
	var mappings []string
	for _, typ := range astartewire.Types {
		mappings = append(mappings, `{"endpoint":"`+endpoint+`/`+typ.String()+`_endpoint","type":"`+typ.String()+`"`+extra+`}`)
	}
	return `{"interface_name":"org.example.capture.` + name + `","version_major":1,"version_minor":0,"type":"` + kind +
		`","ownership":"device","aggregation":"` + aggregation + `","mappings":[` + strings.Join(mappings, ",") + `]}`
}

// TestWhatOfficialClientsSend feeds the messages that astarte-device-sdk 0.14.0 was seen to send.
func TestWhatOfficialClientsSend(t *testing.T) {
	r := newRig(t)
	r.realm("test",
		captured("Types", "datastream", "individual", "", ""), captured("Timed", "datastream", "individual", "", `,"explicit_timestamp":true`),
		captured("Props", "properties", "individual", "", `,"allow_unset":true`),
		captured("Obj", "datastream", "object", "/%{id}", ""), captured("ObjT", "datastream", "object", "/%{id}", `,"explicit_timestamp":true`),
		`{"interface_name":"org.example.capture.Qos","version_major":1,"version_minor":0,"type":"datastream","ownership":"device","mappings":[
			{"endpoint":"/q0","type":"integer"},{"endpoint":"/q1","type":"integer"},{"endpoint":"/q2","type":"integer"}]}`)
	c := r.online()
	var declared []string
	for _, name := range r.current("test").names() {
		declared = append(declared, name+":1:0")
	}
	c.declares(declared...)
	values := 0
	for _, vec := range loadSeen(t, "bson.json") {
		topic, ok := strings.CutPrefix(vec.Decoded.Topic, c.base)
		if !ok {
			t.Fatalf("%s: topic %q", vec.Name, vec.Decoded.Topic)
		}
		c.publish(topic, vec.payload)
		var want []string
		switch vec.Name {
		case "individual_binaryblob_1":
			want = []string{"unset_on_datastream"} // an empty blob cannot be told from an unset
		case "param_path":
			want = []string{"mapping_not_found"} // made with endpoints that overlap, which no realm installs
		}
		wantList(t, vec.Name, c.faults(), want...)
		c.forgetEvents()
		if len(want) == 0 && !strings.Contains(topic, "Props") {
			values++
		}
	}
	c.view(func(rd store.Reader) error {
		all, err := rd.Series(c.dev.Num, "org.example.capture.")
		for _, s := range all {
			values -= len(c.samples(s.Channel))
		}
		return err
	})
	if values != 0 {
		t.Errorf("%d values are missing", values)
	}
	// All types were set, and one property was unset afterwards.
	if got := c.entries("org.example.capture.Props:1", core.Reported); len(got) != len(astartewire.Types)-1 {
		t.Errorf("properties: got %v", got)
	}
}
