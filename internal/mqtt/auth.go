package mqtt

// Auth is a step of an enhanced authentication, in either direction. Version 5 only. It owns its memory.
type Auth struct {
	Code   ReasonCode // ReasonSuccess, ReasonContinueAuthentication or ReasonReauthenticate
	Method Optional[string]
	Data   []byte // nil if there is none
	Reason string // for people; empty if there is none
	User   []UserProperty
}

var authProperties = propertySet(propAuthMethod, propAuthData, propReasonString, propUser)

// Decode reads an AUTH. It has a method, unless the packet is nothing but its header, which means success.
func (p *Auth) Decode(f Frame, v Version) error {
	*p = Auth{}
	if err := f.check(TypeAuth, v); err != nil {
		return err
	}
	if v != V5 {
		return violation(ReasonProtocolError, "AUTH in version %v", v)
	}
	if len(f.Body) == 0 {
		return nil
	}
	d := fields{t: TypeAuth, b: f.Body}
	p.Code = ReasonCode(d.byte("reason code"))
	if err := p.Code.check(TypeAuth); err != nil {
		return err
	}
	rest := d.beginProperties()
	for id := d.property(authProperties, repeatedUser); id != 0; id = d.property(authProperties, repeatedUser) {
		switch id {
		case propAuthMethod:
			p.Method = Some(d.propertyText(id))
		case propAuthData:
			p.Data = d.data(id)
		case propReasonString:
			p.Reason = d.propertyText(id)
		case propUser:
			d.user(&p.User)
		}
	}
	d.endProperties(rest)
	if d.err == nil && !p.Method.Present {
		return violation(ReasonProtocolError, "AUTH without an authentication method")
	}
	return d.end()
}

// Append appends the packet, in the shortest form that says all. There is no form before version 5.
func (p *Auth) Append(b []byte, _ Version) []byte {
	b, start := begin(append(b, byte(TypeAuth)<<4))
	if p.Code == 0 && !p.Method.Present && p.Data == nil && p.Reason == "" && len(p.User) == 0 {
		return end(b, start)
	}
	b, block := begin(append(b, byte(p.Code)))
	b = appendAuth(b, p.Method, p.Data)
	b = appendText(b, propReasonString, p.Reason)
	b = end(appendUser(b, p.User), block)
	return end(b, start)
}

// appendAuth appends the properties of an enhanced authentication.
func appendAuth(b []byte, method Optional[string], data []byte) []byte {
	if method.Present {
		b = appendBytes(append(b, propAuthMethod), method.Value)
	}
	return appendData(b, propAuthData, data)
}

// CheckSender reports a code that only the other end may send: the error is an *Error.
func (p *Auth) CheckSender(by Sender) error { return p.Code.checkSender(by, TypeAuth) }
