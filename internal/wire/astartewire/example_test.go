package astartewire_test

import (
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A device sends a temperature; the server decides whether to take it.
func Example() {
	iface, err := astartewire.ParseInterface([]byte(`{
		"interface_name": "org.example.Climate", "version_major": 1, "version_minor": 0,
		"type": "datastream", "ownership": "device",
		"mappings": [{"endpoint": "/%{room}/temperature", "type": "double", "explicit_timestamp": true}]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}

	// The device.
	payload, doc := astartewire.BeginDocument(nil)
	payload = astartewire.AppendDouble(payload, "v", 21.5)
	payload = astartewire.AppendDatetime(payload, "t", 1_700_000_000_000)
	payload = astartewire.EndDocument(payload, doc)

	// The server.
	p, err := astartewire.ParsePayload(payload)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := iface.Resolve("/kitchen/temperature")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Type, m.Type.Check(p.Value), p.Value.Float(), p.TimeMillis)
	_, err = iface.Resolve("/kitchen")
	fmt.Println(err)
	// Output:
	// double <nil> 21.5 1700000000000
	// ambiguous path
}
