package crash

import (
	"encoding/json"
	"fmt"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// The interfaces of the test. All values are strings, so that each can say which one it is.
const (
	ifGuaranteed       = "org.fairlead.crash.Guaranteed"       // of devices, QoS 1
	ifUnique           = "org.fairlead.crash.Unique"           // of devices, QoS 2
	ifUnreliable       = "org.fairlead.crash.Unreliable"       // of devices, QoS 0
	ifProps            = "org.fairlead.crash.Properties"       // of devices
	ifServerProps      = "org.fairlead.crash.ServerProperties" // of the server
	ifServerGuaranteed = "org.fairlead.crash.ServerGuaranteed"
	ifServerUnique     = "org.fairlead.crash.ServerUnique"
)

// qos is the quality of service of each interface's messages.
var qos = map[string]byte{
	ifGuaranteed: 1, ifUnique: 2, ifUnreliable: 0, ifProps: 2, ifServerProps: 2, ifServerGuaranteed: 1, ifServerUnique: 2,
}

// serverOwned are those that a device subscribes to.
var serverOwned = []string{ifServerProps, ifServerGuaranteed, ifServerUnique}

func datastream(name, ownership, reliability string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"interface_name":%q,"version_major":1,"version_minor":0,"type":"datastream","ownership":%q,
		"mappings":[{"endpoint":"/%%{path}/value","type":"string","reliability":%q}]}`, name, ownership, reliability))
}

func properties(name, ownership string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"interface_name":%q,"version_major":1,"version_minor":0,"type":"properties","ownership":%q,
		"mappings":[{"endpoint":"/%%{path}/value","type":"string","allow_unset":true}]}`, name, ownership))
}

// definitions of the interfaces above.
func definitions() []json.RawMessage {
	return []json.RawMessage{
		datastream(ifGuaranteed, "device", "guaranteed"),
		datastream(ifUnique, "device", "unique"),
		datastream(ifUnreliable, "device", "unreliable"),
		properties(ifProps, "device"),
		properties(ifServerProps, "server"),
		datastream(ifServerGuaranteed, "server", "guaranteed"),
		datastream(ifServerUnique, "server", "unique"),
	}
}

// introspection is what every device declares.
func introspection() []byte {
	m := map[string]astartewire.InterfaceVersion{}
	for name := range qos {
		m[name] = astartewire.InterfaceVersion{Major: 1}
	}
	return astartewire.AppendIntrospection(nil, m)
}

// payload is the message for a value; nil is an unset property.
func payload(value *string) []byte {
	if value == nil {
		return nil
	}
	b, doc := astartewire.BeginDocument(nil)
	b = astartewire.AppendString(b, "v", *value)
	return astartewire.EndDocument(b, doc)
}
