// Package astarte is a device SDK for the Astarte platform: it registers devices, keeps them connected over MQTT, sends their data and
// receives what Astarte sends them.
//
// # What Astarte is about
//
// A device belongs to a realm, and has an ID of 128 bits. It declares interfaces: each is a set of endpoints, such as
// "/%{room}/temperature", with the types of their values, written down in JSON and known to device and realm alike. An interface belongs
// to the device or to the server, who sends its data, and is one of two kinds:
//
//   - a datastream: values that come one after the other, one endpoint at a time or together as an object;
//   - properties: values that stay until they are set anew or unset.
//
// # A device
//
// Somebody who may do so registers the device, once, which gives a credentials secret:
//
//	pairing := &astarte.Pairing{URL: "https://api.astarte.example/pairing", Realm: "test"}
//	id := astarte.NamedDeviceID(namespace, serialNumber)
//	secret, err := pairing.Register(ctx, id, token)
//
// The secret goes to the device, which does everything else by itself:
//
//	device, err := astarte.New(astarte.Config{
//		PairingURL: "https://api.astarte.example/pairing", Realm: "test", DeviceID: id, CredentialsSecret: secret,
//		Dir:        "/var/lib/thermometer",
//		Interfaces: []*astarte.Interface{climate},
//		OnData:     func(d astarte.Data) { fmt.Println(d.Interface, d.Path, d.Value) },
//	})
//	if err != nil {
//		return err
//	}
//	defer device.Close()
//	go device.Run(ctx) // connects, and stays connected until ctx ends
//
//	err = device.Send(ctx, "org.example.Climate", "/kitchen/temperature", 21.5, nil)
//
// Run makes a key, gets a certificate for it from Pairing, connects to the broker, declares the interfaces and tells Astarte the
// properties. It reconnects when the connection is lost, and renews the certificate after two thirds of its life, or when Astarte does
// not accept it any more. It gives up only when ctx ends; [Config.OnConnection] and the logger say what is wrong. To learn of a wrong
// secret or address at once, call [Device.Pair] before it.
//
// # What is sent while there is no connection
//
// The definition of an interface says so, for each endpoint of a datastream, under "retention", and after how many seconds a value is of
// no use any more under "expiry":
//
//   - "discard", the default: nothing is kept, and [Device.Send] fails with [ErrDisconnected];
//   - "volatile": values are kept in memory;
//   - "stored": values are kept in [Config.Outbox], which survives power cuts if it is in a file. Each is deleted when Astarte has
//     acknowledged it.
//
// "reliability" chooses the quality of service: "unreliable" 0, "guaranteed" 1, "unique" 2. Values of one endpoint arrive in the order in
// which they were sent. After a crash, or a lost session, one may arrive twice.
//
// Properties are always stored before anything else happens, and sent when there is a connection.
//
// # Values
//
// The Go type of a value is that of its mapping, see [Type]. As with the official SDKs an integer is no double, and the reverse: for a
// double send 7.0, not 7. A mapping with "explicit_timestamp" needs [SendOptions.Time], all others refuse it. What an interface does not
// allow is a [*ValidationError], before anything was stored or sent.
//
// # Errors
//
// Every error that a program may want to act on wraps one of the kinds of package fairlead, or one of the Err values here, which do so.
// What Astarte refuses is a [fairlead.PlatformError] with the HTTP status or MQTT return code.
//
// # Files
//
// In Config.Dir there are crypto/device.key with mode 0600, crypto/device.crt, and properties.log. One process at a time can use a folder.
//
// # Tests
//
// Package hub/hubtest runs an Astarte inside a Go test. This package's own tests use it, and compare with what astarte-device-sdk 0.14.0
// for Python sends; docs/coverage/astarte.md maps each item of that SDK to one of ours. conformance/astartego runs the same scenarios as
// that SDK does against the built hub, kills devices, and breaks their network.
//
// Not there: the message hub (gRPC), which is a later part.
package astarte
