package mqtt

// Return codes of CONNACK in versions 3.1 and 3.1.1.
const (
	ConnAckAccepted       = 0
	ConnAckBadVersion     = 1 // unacceptable protocol version
	ConnAckBadClientID    = 2 // identifier rejected
	ConnAckUnavailable    = 3 // server unavailable
	ConnAckBadCredentials = 4 // bad user name or password
	ConnAckNotAuthorized  = 5
)

// ConnAck answers a CONNECT.
type ConnAck struct {
	SessionPresent bool
	Code           byte // one of the ConnAck constants
}

// Decode reads a CONNACK. It lets reserved return codes through: all but 0 are refusals, and the number is worth
// more to the user than our complaint about it.
func (p *ConnAck) Decode(f Frame, _ Version) error {
	*p = ConnAck{}
	if err := f.check(TypeConnAck); err != nil {
		return err
	}
	if len(f.Body) != 2 {
		return malformed("CONNACK with %d bytes, must be 2", len(f.Body))
	}
	if f.Body[0] > 1 {
		return malformed("CONNACK with reserved flags %#x", f.Body[0])
	}
	p.SessionPresent, p.Code = f.Body[0] == 1, f.Body[1]
	if p.SessionPresent && p.Code != ConnAckAccepted {
		return violation(ReasonProtocolError, "CONNACK with code %d and a session", p.Code)
	}
	return nil
}

// Append appends the packet.
func (p *ConnAck) Append(b []byte, _ Version) []byte {
	var flags byte
	if p.SessionPresent {
		flags = 1
	}
	return append(b, byte(TypeConnAck)<<4, 2, flags, p.Code)
}
