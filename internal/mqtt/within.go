package mqtt

// AppendWithin appends a packet that may have at most limit bytes, the receiver's maximum packet size; 0 is no limit.
// Where the packet is too long it leaves out what the specification says to leave out then: the user properties, and if
// that does not help, the reason string too. fits is false if it is too long all the same; then b comes back as it was.
// User properties of PUBLISH and of what clients ask for are part of the message and stay.
func AppendWithin(b []byte, p Packet, v Version, limit uint32) (out []byte, fits bool) {
	within := func() bool {
		out = p.Append(b, v)
		return limit == 0 || uint64(len(out)-len(b)) <= uint64(limit)
	}
	if within() {
		return out, true
	}
	var user *[]UserProperty
	var reason *string
	switch q := p.(type) { // copies: the packet stays as it is
	case *ConnAck:
		c := *q
		p, user, reason = &c, &c.User, &c.Reason
	case *Ack:
		c := *q
		p, user, reason = &c, &c.User, &c.Reason
	case *SubAck:
		c := *q
		p, user, reason = &c, &c.User, &c.Reason
	case *Disconnect:
		c := *q
		p, user, reason = &c, &c.User, &c.Reason
	case *Auth:
		c := *q
		p, user, reason = &c, &c.User, &c.Reason
	default:
		return b, false
	}
	if *user = nil; within() {
		return out, true
	}
	if *reason = ""; within() {
		return out, true
	}
	return b, false
}
