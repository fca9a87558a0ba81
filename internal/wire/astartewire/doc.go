// Package astartewire holds the wire formats of the Astarte platform: device ids, introspection, purge lists, BSON
// payloads, interface definitions, and the checks that the platform applies to them. The device SDK and the hub
// share it, so that both ends agree by construction. It does no I/O and imports only the standard library.
//
// One message of a device is read in three steps:
//
//	p, err := astartewire.ParsePayload(payload)   // structure; the value aliases payload
//	m, err := iface.Resolve("/room1/temperature")  // which mapping the path means
//	err = m.Type.Check(p.Value)                    // type and size
//
// None of the three allocates for ordinary input. Object interfaces use [Interface.ResolveObject] and [Object.Check].
//
// Facts come from the public sources of the platform (astarte-platform/astarte 1.4.0-rc.4 with its libraries
// astarte_core and cyanide, read 2026-11; "Astarte MQTT v1 protocol" and "Interface" of its documentation) and from
// watching its official clients ("observed", with the vectors in testdata/vectors/astarte). Where we differ from the
// platform on purpose, the comment says so.
package astartewire
