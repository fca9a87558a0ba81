package mqtt

// PingReq asks the server for a sign of life.
type PingReq struct{}

// Decode reads a PINGREQ.
func (*PingReq) Decode(f Frame, _ Version) error { return f.checkEmpty(TypePingReq) }

// Append appends the packet.
func (*PingReq) Append(b []byte, _ Version) []byte { return AppendPingReq(b) }

// PingResp answers a PINGREQ.
type PingResp struct{}

// Decode reads a PINGRESP.
func (*PingResp) Decode(f Frame, _ Version) error { return f.checkEmpty(TypePingResp) }

// Append appends the packet.
func (*PingResp) Append(b []byte, _ Version) []byte { return AppendPingResp(b) }

// Disconnect is the last packet of a client that leaves on purpose, so that its will is not published.
type Disconnect struct{}

// Decode reads a DISCONNECT.
func (*Disconnect) Decode(f Frame, _ Version) error { return f.checkEmpty(TypeDisconnect) }

// Append appends the packet.
func (*Disconnect) Append(b []byte, _ Version) []byte {
	return appendHeader(b, TypeDisconnect, 0, 0)
}

// AppendPingReq appends a PINGREQ, which is the same in every version.
func AppendPingReq(b []byte) []byte { return appendHeader(b, TypePingReq, 0, 0) }

// AppendPingResp appends a PINGRESP, which is the same in every version.
func AppendPingResp(b []byte) []byte { return appendHeader(b, TypePingResp, 0, 0) }

// checkEmpty checks a packet that consists of its header.
func (f Frame) checkEmpty(t Type) error {
	if err := f.check(t); err != nil {
		return err
	}
	if len(f.Body) != 0 {
		return malformed("%v with %d bytes, must be 0", t, len(f.Body))
	}
	return nil
}
