package awsiot

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"slices"
	"testing"
)

func TestValues(t *testing.T) {
	v := &values{
		clientID: "pump", sourceIP: "10.0.0.1", domain: "hub.example.org", connect: []string{"LastWill"},
		thing: &thing{Name: "pump", Type: "pumps", Attributes: map[string]string{"site": "north", "empty": ""}}, attached: true,
		certificate: &x509.Certificate{
			Raw: []byte("der"), SerialNumber: big.NewInt(0xabc), EmailAddresses: []string{"a@example.org"}, DNSNames: []string{"x", "y"},
			IPAddresses: []net.IP{net.IPv4(10, 0, 0, 2)},
			Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{
				{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "first"},
				{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "second"},
				{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "Acme"},
			}},
			Issuer: pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "DE"}}},
		},
	}
	detached := *v
	detached.attached = false
	bare := &values{}
	for name, want := range map[string][]string{
		"iot:ClientId": {"pump"}, "iot:Clientid": {"pump"}, "aws:SourceIp": {"10.0.0.1"}, "iot:DomainName": {"hub.example.org"}, "iot:ConnectAttributes": {"LastWill"},
		"iot:Connection.Thing.IsAttached": {"true"}, "iot:Connection.Thing.ThingName": {"pump"}, "iot:Thing.ThingName": {"pump"},
		"iot:Connection.Thing.ThingTypeName": {"pumps"}, "iot:Connection.Thing.Attributes[site]": {"north"}, "iot:Connection.Thing.Attributes[empty]": nil,
		"iot:Connection.Thing.Attributes[none]": nil, "iot:Connection.Thing.Attributes[site": nil, "iot:Connection.Thing.Foo": nil,
		"iot:CertificateId": {certificateID([]byte("der"))}, "iot:Certificate.SerialNumber": {"0abc"},
		"iot:Certificate.Subject.CommonName": {"first"}, "iot:Certificate.Subject.CommonName.0": {"first"}, "iot:Certificate.Subject.CommonName.1": {"second"},
		"iot:Certificate.Subject.CommonName.2": nil, "iot:Certificate.Subject.CommonName.-1": nil, "iot:Certificate.Subject.CommonName.x": nil,
		"iot:Certificate.Subject.CommonName.List": {"first", "second"}, "iot:Certificate.Subject.Organization": {"Acme"}, "iot:Certificate.Subject.Nothing": nil,
		"iot:Certificate.Issuer.Country": {"DE"}, "iot:Certificate.Subject.AlternativeName.DNSName.1": {"y"},
		"iot:Certificate.Subject.AlternativeName.RFC822Name": {"a@example.org"}, "iot:Certificate.Subject.AlternativeName.IPAddress": {"10.0.0.2"},
		"IOT:CLIENTID": {"pump"}, "aws:sourceIP": {"10.0.0.1"}, "iot:connection.thing.thingname": {"pump"}, "iot:Connection.Thing.attributes[site]": {"north"},
		"iot:Connection.Thing.Attributes[Site]": nil, "iot:certificate.Subject.CommonName": {"first"},
		"iot:Certificate.Nothing": nil, "iot:Nothing": nil, "": nil,
	} {
		if got := v.Value(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		if got := bare.Value(name); len(got) > 0 && name != "iot:Connection.Thing.IsAttached" {
			t.Errorf("%s: got %q of nothing", name, got)
		}
	}
	if got := detached.Value("iot:Connection.Thing.ThingName"); got != nil {
		t.Errorf("a thing that is not attached: got %q", got)
	}
	if got := detached.Value("iot:Connection.Thing.IsAttached"); !slices.Equal(got, []string{"false"}) {
		t.Errorf("a thing that is not attached: got %q", got)
	}
}
