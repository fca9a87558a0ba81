package astartewire

import (
	"bytes"
	"testing"
)

// benchInterface is a datastream interface as devices have it: a few fixed endpoints and some with a parameter.
func benchInterface(tb testing.TB) *Interface {
	tb.Helper()
	return mustInterface(tb, `{"interface_name":"org.example.bench.Sensors","version_major":1,"version_minor":0,
		"type":"datastream","ownership":"device","mappings":[
		{"endpoint":"/blob","type":"binaryblob","reliability":"guaranteed"},
		{"endpoint":"/rooms/%{room}/blob","type":"binaryblob","reliability":"guaranteed"},
		{"endpoint":"/rooms/%{room}/temperature","type":"double"},
		{"endpoint":"/rooms/%{room}/state/mode","type":"string"}]}`)
}

func benchBlob() []byte {
	b, doc := BeginDocument(nil)
	b = AppendBinary(b, "v", bytes.Repeat([]byte{0xa5}, 128))
	return EndDocument(b, doc)
}

// BenchmarkReceive is the hub's work here for one message with a binaryblob of 128 bytes.
func BenchmarkReceive(b *testing.B) {
	iface, payload := benchInterface(b), benchBlob()
	for _, path := range []string{"/blob", "/rooms/kitchen/blob"} {
		b.Run(path[1:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := ParsePayload(payload)
				if err != nil {
					b.Fatal(err)
				}
				m, err := iface.Resolve(path)
				if err != nil {
					b.Fatal(err)
				}
				if err := m.Type.Check(p.Value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceiveObject is the same for an object of ten doubles with a timestamp.
func BenchmarkReceiveObject(b *testing.B) {
	iface := mustInterface(b, objectDefinition(10))
	payload, doc := BeginDocument(nil)
	payload, v := BeginSubdocument(payload, "v")
	for _, m := range iface.Mappings {
		payload = AppendDouble(payload, m.Key(), 21.5)
	}
	payload = EndDocument(payload, v)
	payload = AppendDatetime(payload, "t", 1_700_000_000_000)
	payload = EndDocument(payload, doc)
	b.ReportAllocs()
	for b.Loop() {
		p, err := ParsePayload(payload)
		if err != nil {
			b.Fatal(err)
		}
		o, err := iface.ResolveObject("/kitchen")
		if err != nil {
			b.Fatal(err)
		}
		if err := o.Check(p.Value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePayload(b *testing.B) {
	payload := benchBlob()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePayload(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPayload(b *testing.B) {
	blob := bytes.Repeat([]byte{0xa5}, 128)
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		p, doc := BeginDocument(buf[:0])
		p = AppendBinary(p, "v", blob)
		_ = EndDocument(p, doc)
	}
}
