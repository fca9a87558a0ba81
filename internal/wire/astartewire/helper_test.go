package astartewire

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A vector is one entry of testdata/vectors/astarte.
type vector struct {
	Name, Source, What, Transport, Direction string
	Hex                                      string
	Decoded                                  json.RawMessage
}

func loadVectors(tb testing.TB, file string) []vector {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "vectors", "astarte", file))
	if err != nil {
		tb.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return vs
}

func mustHex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// publishPayload returns topic and payload of an MQTT 3.1.1 PUBLISH packet.
func publishPayload(tb testing.TB, packet []byte) (topic string, payload []byte) {
	tb.Helper()
	if len(packet) < 2 || packet[0]>>4 != 3 {
		tb.Fatalf("no PUBLISH packet: %x", packet)
	}
	qos := packet[0] >> 1 & 3
	i := 1
	for packet[i]&0x80 != 0 { // the remaining length
		i++
	}
	rest := packet[i+1:]
	n := int(rest[0])<<8 | int(rest[1])
	topic, rest = string(rest[2:2+n]), rest[2+n:]
	if qos > 0 {
		rest = rest[2:]
	}
	return topic, rest
}

func mustInterface(tb testing.TB, definition string) *Interface {
	tb.Helper()
	i, err := ParseInterface([]byte(definition))
	if err != nil {
		tb.Fatalf("%s: %v", definition, err)
	}
	return i
}

// datastream returns the definition of an individual datastream with the endpoints, all of one type.
func datastream(typ Type, endpoints ...string) string {
	var mappings []string
	for _, e := range endpoints {
		mappings = append(mappings, fmt.Sprintf(`{"endpoint":%q,"type":%q}`, e, typ))
	}
	return fmt.Sprintf(`{"interface_name":"org.example.T","version_major":0,"version_minor":1,"type":"datastream",`+
		`"ownership":"device","mappings":[%s]}`, strings.Join(mappings, ","))
}

// objectDefinition returns the definition of an object interface with n doubles.
func objectDefinition(n int) string {
	var mappings []string
	for i := range n {
		mappings = append(mappings,
			fmt.Sprintf(`{"endpoint":"/%%{room}/sensor_%d","type":"double","explicit_timestamp":true}`, i))
	}
	return `{"interface_name":"org.example.O","version_major":1,"version_minor":0,"type":"datastream",` +
		`"ownership":"device","aggregation":"object","mappings":[` + strings.Join(mappings, ",") + `]}`
}
