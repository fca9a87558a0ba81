// Package mqtttest holds the doubles for tests of MQTT code: a [Client] that does exactly what the test tells it, to
// test brokers, and a scripted server, to test clients. In a script the rare failure reads like the protocol's own
// sequence chart:
//
//	peer := mqtttest.Script(t,
//		mqtttest.Expect(mqtt.Connect{ClientID: "pump-7"}), mqtttest.Send(mqtt.ConnAck{}),
//		mqtttest.Expect(mqtt.Publish{Topic: []byte("dt/temp")}), mqtttest.Hangup(), // the ack never leaves
//		mqtttest.Expect(mqtt.Connect{ClientID: "pump-7"}), mqtttest.Send(mqtt.ConnAck{SessionPresent: true}),
//		mqtttest.Expect(mqtt.Publish{Topic: []byte("dt/temp"), Dup: true}), mqtttest.Send(mqtt.Ack{Type: mqtt.TypePubAck}),
//	)
//	conn, err := peer.Dial(ctx)
//
// Both work in a testing/synctest bubble when their connections come from memnet.
package mqtttest
