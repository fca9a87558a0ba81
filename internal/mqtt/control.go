package mqtt

// PingReq asks the server for a sign of life.
type PingReq struct{}

// Decode reads a PINGREQ.
func (*PingReq) Decode(f Frame, v Version) error { return f.checkEmpty(TypePingReq, v) }

// Append appends the packet.
func (*PingReq) Append(b []byte, _ Version) []byte { return AppendPingReq(b) }

// PingResp answers a PINGREQ.
type PingResp struct{}

// Decode reads a PINGRESP.
func (*PingResp) Decode(f Frame, v Version) error { return f.checkEmpty(TypePingResp, v) }

// Append appends the packet.
func (*PingResp) Append(b []byte, _ Version) []byte { return AppendPingResp(b) }

// AppendPingReq appends a PINGREQ, which is the same in every version.
func AppendPingReq(b []byte) []byte { return appendHeader(b, TypePingReq, 0, 0) }

// AppendPingResp appends a PINGRESP, which is the same in every version.
func AppendPingResp(b []byte) []byte { return appendHeader(b, TypePingResp, 0, 0) }

// checkEmpty checks a packet that consists of its header.
func (f Frame) checkEmpty(t Type, v Version) error {
	if err := f.check(t, v); err != nil {
		return err
	}
	if len(f.Body) != 0 {
		return malformed("%v with %d bytes, must be 0", t, len(f.Body))
	}
	return nil
}

// Disconnect is the last packet of a client that leaves on purpose, so that its will is not published. In version 5
// both ends may send it, and it says why. It owns its memory.
type Disconnect struct {
	// Version 5 only.
	Code            ReasonCode
	SessionExpiry   Optional[uint32] // seconds; absent: as in CONNECT. From clients only
	ServerReference string           // from servers only; empty if absent
	Reason          string           // for people; empty if absent
	User            []UserProperty
}

var disconnectProperties = propertySet(propSessionExpiry, propReasonString, propUser, propServerReference)

// Decode reads a DISCONNECT.
func (p *Disconnect) Decode(f Frame, v Version) error {
	*p = Disconnect{}
	if v != V5 || len(f.Body) == 0 {
		return f.checkEmpty(TypeDisconnect, v)
	}
	if err := f.check(TypeDisconnect, v); err != nil {
		return err
	}
	d := fields{t: TypeDisconnect, b: f.Body}
	p.Code = ReasonCode(d.byte("reason code"))
	if err := p.Code.check(TypeDisconnect); err != nil {
		return err
	}
	if len(d.b) == 0 { // no property length means no properties
		return nil
	}
	rest := d.beginProperties()
	for id := d.property(disconnectProperties, repeatedUser); id != 0; id = d.property(disconnectProperties, repeatedUser) {
		switch id {
		case propSessionExpiry:
			p.SessionExpiry = Some(d.uint32(propertyNames[id]))
		case propServerReference:
			p.ServerReference = d.propertyText(id)
		case propReasonString:
			p.Reason = d.propertyText(id)
		case propUser:
			d.user(&p.User)
		}
	}
	d.endProperties(rest)
	return d.end()
}

// Append appends the packet, in the shortest form that says all.
func (p *Disconnect) Append(b []byte, v Version) []byte {
	bare := !p.SessionExpiry.Present && p.ServerReference == "" && p.Reason == "" && len(p.User) == 0
	if v != V5 || bare && p.Code == 0 {
		return appendHeader(b, TypeDisconnect, 0, 0)
	}
	b, start := begin(append(b, byte(TypeDisconnect)<<4))
	b = append(b, byte(p.Code))
	if bare {
		return end(b, start)
	}
	b, block := begin(b)
	b = appendOptional32(b, propSessionExpiry, p.SessionExpiry)
	b = appendText(b, propServerReference, p.ServerReference)
	b = appendText(b, propReasonString, p.Reason)
	b = end(appendUser(b, p.User), block)
	return end(b, start)
}

// CheckSender reports what only the other end may send: the error is an *Error. [MQTT-3.14.2-2]
func (p *Disconnect) CheckSender(by Sender) error {
	if by == Server && p.SessionExpiry.Present {
		return violation(ReasonProtocolError, "DISCONNECT with a session expiry interval from a server")
	}
	if by == Client && p.ServerReference != "" {
		return violation(ReasonProtocolError, "DISCONNECT with a server reference from a client")
	}
	return p.Code.checkSender(by, TypeDisconnect)
}
