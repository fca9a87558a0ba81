package awsiot

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strconv"
	"strings"
)

// values are what the variables and condition keys of policies stand for, on one connection or for one request. They
// implement policy.Values. They do not change. (AWS IoT guide, "Basic AWS IoT Core policy variables", "Thing policy
// variables", "X.509 Certificate AWS IoT Core policy variables", read 2026-11.)
type values struct {
	clientID string
	sourceIP string
	domain   string // server name
	// thing is the registry's thing of the connection; attached says that it is attached to the certificate, without which its
	// variables have no values.
	thing       *thing
	attached    bool
	certificate *x509.Certificate
	connect     []string // iot:ConnectAttributes
}

// Value implements policy.Values. Names are taken in any case, as the platform does, but for those of attributes and of fields of
// certificates.
func (v *values) Value(name string) []string {
	switch strings.ToLower(name) {
	case "iot:clientid":
		return some(v.clientID)
	case "aws:sourceip":
		return some(v.sourceIP)
	case "iot:domainname":
		return some(v.domain)
	case "iot:connectattributes":
		return v.connect
	case "iot:connection.thing.isattached":
		return []string{strconv.FormatBool(v.thing != nil && v.attached)}
	case "iot:thing.thingname": // as it was called before
		return v.ofThing("ThingName")
	case "iot:certificateid":
		if v.certificate != nil {
			return []string{certificateID(v.certificate.Raw)}
		}
		return nil
	}
	if rest, ok := cutPrefixFold(name, "iot:Connection.Thing."); ok {
		return v.ofThing(rest)
	}
	if rest, ok := cutPrefixFold(name, "iot:Certificate."); ok && v.certificate != nil {
		return v.ofCertificate(rest)
	}
	return nil
}

// cutPrefixFold is strings.CutPrefix for a prefix in any case.
func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (v *values) ofThing(name string) []string {
	if v.thing == nil || !v.attached {
		return nil
	}
	switch strings.ToLower(name) {
	case "thingname":
		return []string{v.thing.Name}
	case "thingtypename":
		return some(v.thing.Type)
	}
	if rest, ok := cutPrefixFold(name, "Attributes["); ok {
		if attr, ok := strings.CutSuffix(rest, "]"); ok {
			return some(v.thing.Attributes[attr])
		}
	}
	return nil
}

func (v *values) ofCertificate(name string) []string {
	side, field, _ := strings.Cut(name, ".")
	switch side {
	case "SerialNumber":
		return []string{hex.EncodeToString(v.certificate.SerialNumber.Bytes())}
	case "Subject":
		if rest, ok := strings.CutPrefix(field, "AlternativeName."); ok {
			return indexed(rest, v.alternative)
		}
		return ofName(&v.certificate.Subject, field)
	case "Issuer":
		return ofName(&v.certificate.Issuer, field)
	}
	return nil
}

// alternative returns the subject's alternative names of a kind.
func (v *values) alternative(kind string) (list []string) {
	c := v.certificate
	switch kind {
	case "RFC822Name":
		return c.EmailAddresses
	case "DNSName":
		return c.DNSNames
	case "UniformResourceIdentifier":
		for _, u := range c.URIs {
			list = append(list, u.String())
		}
	case "IPAddress":
		for _, a := range c.IPAddresses {
			list = append(list, a.String())
		}
	}
	return list
}

// nameFields are the object identifiers of what names in certificates consist of (X.520, RFC 2985).
var nameFields = map[string]asn1.ObjectIdentifier{
	"CommonName":                 {2, 5, 4, 3},
	"Surname":                    {2, 5, 4, 4},
	"SerialNumber":               {2, 5, 4, 5},
	"Country":                    {2, 5, 4, 6},
	"State":                      {2, 5, 4, 8},
	"Organization":               {2, 5, 4, 10},
	"OrganizationalUnit":         {2, 5, 4, 11},
	"Title":                      {2, 5, 4, 12},
	"GivenName":                  {2, 5, 4, 42},
	"Initials":                   {2, 5, 4, 43},
	"GenerationQualifier":        {2, 5, 4, 44},
	"DistinguishedNameQualifier": {2, 5, 4, 46},
	"Pseudonym":                  {2, 5, 4, 65},
}

// ofName returns a part of a name.
func ofName(n *pkix.Name, field string) []string {
	return indexed(field, func(field string) (list []string) {
		for _, a := range n.Names {
			if s, ok := a.Value.(string); ok && a.Type.Equal(nameFields[field]) {
				list = append(list, s)
			}
		}
		return list
	})
}

// indexed reads FIELD, the first value, FIELD.N, that of an index, and FIELD.List, all.
func indexed(name string, all func(field string) []string) []string {
	field, index, found := strings.Cut(name, ".")
	list := all(field)
	if found && index == "List" {
		return list
	}
	n := 0
	if found {
		var err error
		if n, err = strconv.Atoi(index); err != nil || n < 0 {
			return nil
		}
	}
	if n >= len(list) {
		return nil
	}
	return list[n : n+1]
}
