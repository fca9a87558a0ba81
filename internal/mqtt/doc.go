// Package mqtt is the MQTT codec that the device engine and the hub's broker share: it turns bytes into packets
// and packets into bytes, and does nothing else. It starts no goroutine, opens no connection and keeps no session.
//
// A connection is read in two steps. A [FrameReader] cuts the byte stream into frames without copying; then the
// type named by [Frame.Type] decodes the body:
//
//	frames := mqtt.NewFrameReader(bufio.NewReader(conn), 64<<10)
//	f, err := frames.Next()
//	...
//	var p mqtt.Publish
//	if err := p.Decode(f, mqtt.V311); err != nil {
//		return err // *mqtt.Error: the peer broke the protocol, close the connection
//	}
//
// Decoding is strict: what the specification forbids is an [Error], never a guess, so that code behind the codec
// can trust every field. Encoding appends to a slice of the caller, so that many packets share one write.
//
// Every packet has the same pair of methods (see [Packet]) and takes the protocol version as an argument: 3.1, 3.1.1
// or 5. The versions differ in the bytes, not in the Go types; a field that a version has no place for is left out by
// Append and zero after Decode. What only one end of a connection may say is let through, so that both ends can use
// the codec, and reported by the methods named CheckSender.
//
// References in the form [MQTT-3.1.2-24] are the numbered statements of the specifications: "MQTT Version 3.1.1", OASIS
// Standard, 29 October 2014, and in what concerns version 5 "MQTT Version 5.0", OASIS Standard, 7 March 2019. Version 3.1
// is "MQTT V3.1 Protocol Specification", IBM and Eurotech, 2010, which numbers nothing.
package mqtt
