// Package engine keeps a device connected to its platform and loses nothing on the way: the part that all platform packages of the SDK
// share. It speaks MQTT and knows no platform.
//
//	e, err := engine.New(engine.Config{
//		Prepare: func(ctx context.Context, a engine.Attempt) (*engine.Connection, error) {
//			return &engine.Connection{
//				Dialer:  mqttclient.Dialer{Address: "hub.example:8883", TLS: &tls.Config{GetClientCertificate: id.GetClientCertificate}},
//				Connect: mqtt.Connect{ClientID: "pump-7", KeepAlive: 60},
//			}, nil
//		},
//		Outbox: box,
//		Decode: func(m *outbox.Entry) (mqtt.Publish, error) {
//			return mqtt.Publish{Topic: m.Header, Payload: m.Payload, QoS: 1}, nil
//		},
//		OnEvent: func(ev engine.Event) { log.Println(ev.Kind, ev.Err) },
//	})
//	if err != nil {
//		return err
//	}
//	err = e.Register(engine.Subscription{
//		Subscription: mqtt.Subscription{Filter: "pump-7/commands/#", QoS: 1},
//		Handler:      func(m *mqttclient.Message) { ... },
//	})
//	...
//	return e.Run(ctx) // until ctx ends
//
// # One connection
//
// Run prepares ([Config.Prepare]), dials, and sends CONNECT. Then, in this order:
//
//  1. The session repeats what was in flight, if the server still knows it (package mqttclient).
//  2. Subscriptions that the server does not know: all of them in a new session, otherwise those that changed.
//  3. [Config.Start] sends what the platform wants first.
//  4. When all of that is acknowledged the connection is there for everybody: [Engine.Publish], [Engine.Request], and the outbox.
//
// When the connection ends, everything begins anew after a pause ([Backoff]).
//
// With [Config.HangUps], after a connection that the server has ended with messages in flight, subscriptions come first, then PINGREQ,
// and then the rest, one message at a time, until as many were acknowledged.
//
// # Three ways out
//
//   - The outbox, for what must not get lost. Messages leave in its order, a window of them at once, and each is deleted after its own
//     acknowledgement. [Engine.Append] gives a receipt.
//   - [Engine.Publish] and [Engine.Send], for what is worth nothing later. They go around the outbox.
//   - [Engine.Request], for what has an answer.
//
// # Callbacks
//
// Handlers and the hooks whose names begin with On are called one at a time, in order, by one goroutine. They may call the engine and
// wait for it: acknowledgements and answers to requests come by another goroutine. A handler that does not keep up fills a queue
// ([Config.MaxQueued]); then the connection is not read on unless the message has QoS 0, which is dropped and counted. Servers stop by
// themselves before that: no message is acknowledged before its handlers have returned, and servers have few on the way (mosquitto 20,
// AWS IoT 100, VerneMQ as configured by Astarte 100).
//
// # How platforms map on it
//
// Astarte. Prepare asks Pairing over HTTP (certificate if there is none or an expired one, broker URL) and returns the address; a refusal
// there is a failed attempt like any other, with the advice of its Retry-After. Start: if not [Start.Fresh], nothing; otherwise
// introspection, emptyCache, the properties that are set and their list, by [Start.Send], pipelined. The subscriptions have gone out
// before, as emptyCache is answered at once. Fresh is also true when the connection was lost before all of that was acknowledged,
// although the server then says that the session is present. Data: interface, path and QoS in the header of the outbox's message;
// properties the same. Adding an interface while connected: Register, then Publish of the introspection. The Renewer of package identity
// renews the certificate and calls Reconnect.
//
// AWS IoT. With version 5, AdoptSession. Prepare signs the WebSocket's target anew for each dial, or sets ALPN and certificate; RenewAt
// is for SigV4 (24 h) and STS. Backoff with NoJitter is the documented progressive back-off, base, max and stable time. Offline queue: an
// outbox in memory or a file, MaxMessages and policy as configured, [Config.DrainInterval] the draining frequency, which counts for what
// was queued before the connection came. Synchronous calls: Publish, Subscribe with a deadline; asynchronous ones: [Engine.Send]. Shadows
// and jobs: Request, with a Reply that makes the key of topic and client token, which accepted and rejected have in common; not
// acknowledged before the handler returns, so that manual acknowledgement needs no more than ManualAck.
//
// Azure IoT Hub and Device Provisioning. Prepare makes the SAS token and sets RenewAt before its end: the connection is replaced at a
// quiet moment, without a message lost, because the protocol knows no other way. Request ids are the keys ($rid); answers come by the
// subscriptions to $iothub/twin/res/# or $dps/registrations/res/#, whose Reply reads them from the topic. Provisioning is a run of its
// own, with Permanent for what the service refuses, and ends by its context. Spotflow's SDK speaks the same.
package engine
