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
// Every packet has the same pair of methods (see [Packet]) and takes the protocol version as an argument; the
// versions differ in the bytes, not in the Go types. Version 3.1.1 is complete. The forms of 3.1 and 5 are not
// there yet: a CONNECT that asks for them is reported as [ErrVersion], so no session can have such a version.
//
// References in the form [MQTT-3.1.2-24] are the numbered statements of "MQTT Version 3.1.1", OASIS Standard,
// 29 October 2014.
package mqtt
