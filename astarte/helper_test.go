package astarte

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// device is the device of the vectors.
const device = "Vi3j3M8YVpOPyuzqk8sg5A"

// A vector is one entry of testdata/vectors/astarte.
type vector struct {
	Name, What, Hex, Text string
	Decoded               json.RawMessage
}

func loadVectors(tb testing.TB, file string) []vector {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "astarte", file))
	if err != nil {
		tb.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return vs
}

func (v vector) bytes(tb testing.TB) []byte {
	tb.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (v vector) decode(tb testing.TB, into any) {
	tb.Helper()
	if err := json.Unmarshal(v.Decoded, into); err != nil {
		tb.Fatalf("%s: %v", v.Name, err)
	}
}

// capture returns the interfaces that were used when the vectors were captured.
func capture(tb testing.TB) Introspection {
	tb.Helper()
	all := func(prefix, extra string) string {
		var m []string
		for _, t := range []Type{
			Double, Integer, Boolean, LongInteger, String, BinaryBlob, Datetime, DoubleArray, IntegerArray, BooleanArray, LongIntegerArray, StringArray, BinaryBlobArray, DatetimeArray,
		} {
			m = append(m, fmt.Sprintf(`{"endpoint":"%s/%s_endpoint","type":%q%s}`, prefix, t, t, extra))
		}
		return strings.Join(m, ",")
	}
	in := Introspection{}
	add := func(name, kind, owner, extra, mappings string) {
		i, err := ParseInterface([]byte(fmt.Sprintf(
			`{"interface_name":"org.example.capture.%s","version_major":1,"version_minor":0,"type":%q,"ownership":%q%s,"mappings":[%s]}`, name, kind, owner, extra, mappings)))
		if err != nil {
			tb.Fatal(err)
		}
		in.Add(i)
	}
	const object = `,"aggregation":"object"`
	add("Types", "datastream", "device", "", all("", ""))
	add("Timed", "datastream", "device", "", all("", `,"explicit_timestamp":true,"reliability":"guaranteed"`))
	add("Props", "properties", "device", "", all("", `,"allow_unset":true`))
	add("Obj", "datastream", "device", object, all("/%{p}", `,"reliability":"unique"`))
	add("ObjT", "datastream", "device", object, all("/%{p}", `,"explicit_timestamp":true`))
	add("Qos", "datastream", "device", "", `{"endpoint":"/q0","type":"integer"},{"endpoint":"/q1","type":"integer","reliability":"guaranteed"},`+
		`{"endpoint":"/q2","type":"integer","reliability":"unique"}`)
	// In the capture this endpoint was Qos' too; the platform would have refused that, and so does ParseInterface.
	add("QosV", "datastream", "device", "", `{"endpoint":"/%{p}/v","type":"integer"}`)
	add("ServerData", "datastream", "server", "", all("", ""))
	add("ServerProps", "properties", "server", "", all("", `,"allow_unset":true`))
	add("ServerPropsFixed", "properties", "server", "", `{"endpoint":"/x","type":"integer"}`)
	add("ServerObj", "datastream", "server", object, `{"endpoint":"/%{p}/a","type":"integer"},{"endpoint":"/%{p}/b","type":"string"}`)
	add("Param", "datastream", "server", "", `{"endpoint":"/%{p}/v","type":"string"}`)
	add("DevProps", "properties", "device", "", `{"endpoint":"/a","type":"integer"}`)
	return in
}

var someTime = time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
