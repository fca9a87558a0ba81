// Package mqttclient is the client's end of an MQTT session: versions 3.1, 3.1.1 and 5, QoS 0, 1 and 2 in both directions,
// over any number of connections, one at a time.
//
// A [Session] outlives its connections: it remembers what is in flight, and goes on with it when the server still knows the
// session. A [Dialer] makes connections: TLS with ALPN, WebSocket, through a proxy, or over whatever its Dial hook returns.
//
//	s, err := mqttclient.NewSession(mqttclient.Config{
//		Receive: func(m *mqttclient.Message) { fmt.Println(m.Topic); m.Ack() },
//	})
//	if err != nil {
//		return err
//	}
//	dialer := mqttclient.Dialer{Address: "hub.example:8883", TLS: &tls.Config{Certificates: certificates}}
//	conn, err := dialer.Dial(ctx)
//	if err != nil {
//		return err
//	}
//	// Run returns when the connection has ended and everything that it started.
//	err = s.Run(ctx, conn, mqtt.Connect{ClientID: "pump-7", KeepAlive: 60}, func(c mqttclient.Connected) {
//		go func() { codes, err := s.Subscribe(ctx, mqtt.Subscribe{Subscriptions: filters}) ... }()
//	})
//
// It does not reconnect, knows no outbox and calls everything back on the goroutine that reads: package engine, above it,
// is what the platform packages stand on.
//
// # What is sent again
//
// A message with QoS 1 or 2 that was handed to [Session.Send] is in flight until its last acknowledgement (PUBACK,
// PUBCOMP). When a connection ends it stays so. If the server still has the session on the next connection, what is in flight is sent
// again, in order, with DUP, or PUBREL where PUBREC had come: before anything new. If it has not, what is in flight ends with
// [ErrSessionLost], and whoever sent it decides.
//
// A message with QoS 0 ends when its bytes were handed to the connection, or with that one's error.
//
// # After a restart of the process
//
// A Session keeps its state in memory. A new process that meets a session of its predecessor on the server, and goes on with it ([Config.AdoptSession]), may use a packet identifier
// again for which the server still holds a QoS 2 message, and the server would take the new message for the old one and drop it.
// So a new Session that finds the server's session present sends PUBREL for all its identifiers, and its first QoS 2 message when the answer
// is there; a server answers with PUBCOMP whether it knows the identifier or not (MQTT 3.1.1 section 4.4, MQTT 5.0 section 4.3.3).
//
// # Deadlines
//
// Every wait has an end: for CONNACK ([Config.ConnectTimeout]), for acknowledgements ([Config.AckTimeout]), for an answer to PINGREQ
// ([Config.PingTimeout]), for a peer that does not read ([Config.WriteTimeout]). Each ends the connection, because MQTT has no
// other way to repeat. While Receive holds the reading goroutine up the clocks stand still: that is our slowness, not the peer's.
package mqttclient
