package awsiot

import (
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/google/go-cmp/cmp"
)

// fleetTemplate uses each function that templates have.
const fleetTemplate = `{
 "Parameters": {"SerialNumber": {"Type": "String"}, "Site": {"Type": "String", "Default": "hall"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
 "Mappings": {"LocationTable": {"hall": {"url": "https://hall.example.org", "n": "1"}}},
 "Resources": {
  "thing": {"Type": "AWS::IoT::Thing", "OverrideSettings": {"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "DO_NOTHING"}, "Properties": {
   "ThingName": {"Fn::Join": ["-", ["dev", {"Ref": "SerialNumber"}]]},
   "AttributePayload": {"site": {"Ref": "Site"}, "last": {"Fn::Select": ["1", {"Fn::Split": ["|", "a|b|c"]}]}, "fix": "x"},
   "ThingGroups": ["g", {"Fn::Sub": "${Site}-group"}]}},
  "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "active"}},
  "named": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "p"}},
  "inline": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": {"Fn::Sub": ["arn:aws:iot:r:a:client/${N}${!x}", {"N": {"Ref": "SerialNumber"}}]}}]}}}},
 "DeviceConfiguration": {"url": {"Fn::FindInMap": ["LocationTable", {"Ref": "Site"}, "url"]}, "plain": "1"}}`

func TestTemplate(t *testing.T) {
	x, err := parseTemplate(fleetTemplate)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.checkFleet(); err != nil {
		t.Error(err)
	}
	got, err := x.evaluate(map[string]string{"SerialNumber": "7", certificateIDParameter: "c", "Unknown": "is ignored"})
	if err != nil {
		t.Fatal(err)
	}
	want := &provision{
		Thing: &provisionThing{
			Name: "dev-7", Attributes: map[string]string{"site": "hall", "last": "b", "fix": "x"}, Groups: []string{"g", "hall-group"},
			Override: map[string]string{"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "DO_NOTHING"},
		},
		Certificate: &provisionCertificate{ID: "c", Status: statusActive},
		Policies: []provisionPolicy{
			{Document: `{"Statement":[{"Action":"iot:Connect","Effect":"Allow","Resource":"arn:aws:iot:r:a:client/7${x}"}],"Version":"2012-10-17"}`},
			{Name: "p"},
		},
		DeviceConfiguration: map[string]string{"url": "https://hall.example.org", "plain": "1"},
		names:               map[string]string{resourceThing: "thing", resourceCertificate: "certificate", resourcePolicy: "named"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(provision{})); diff != "" {
		t.Error(diff)
	}
}

// A device chooses its parameters, and must not choose what its policy means.
func TestTemplateParameterInPolicy(t *testing.T) {
	x, err := parseTemplate(fleetTemplate)
	if err != nil {
		t.Fatal(err)
	}
	for _, serial := range []string{"*", "a?", "${iot:ClientId}", "$", `x","arn:*`, `\`} {
		params := map[string]string{"SerialNumber": serial, certificateIDParameter: "c"}
		if p, err := x.evaluateFor(params, true); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %+v, %v", serial, p, err)
		}
		if _, err := x.evaluateFor(params, false); err != nil {
			t.Errorf("%s, of an operator: %v", serial, err)
		}
	}
	elsewhere, err := parseTemplate(strings.Replace(fleetTemplate, `{"N": {"Ref": "SerialNumber"}}`, `{"N": "fixed"}`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.evaluateFor(map[string]string{"SerialNumber": "a*", certificateIDParameter: "c"}, true); err != nil {
		t.Errorf("in nothing but a name: %v", err)
	}
}

func TestTemplateRefused(t *testing.T) {
	certificate := `"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}`
	resources := func(more string) string {
		return `{"Parameters":{"P":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{` + certificate + more + `}}`
	}
	thing := func(name string) string {
		return `,"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":` + name + `}}`
	}
	for what, body := range map[string]string{
		"nothing":                "",
		"no JSON":                "{",
		"two":                    "{}{}",
		"no resources":           `{"Resources":{}}`,
		"no certificate":         `{"Resources":{"p":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"p"}}}}`,
		"another type":           resources(`,"x":{"Type":"AWS::S3::Bucket"}`),
		"two things":             resources(thing(`"a"`) + strings.Replace(thing(`"b"`), `"t"`, `"u"`, 1)),
		"override":               resources(`,"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a"},"OverrideSettings":{"ThingTypeName":"MERGE"}}`),
		"a number as parameter":  `{"Parameters":{"P":{"Type":"Number"}},"Resources":{` + certificate + `}}`,
		"long":                   resources(thing(`"` + strings.Repeat("x", maxTemplateChars) + `"`)),
		"no name":                resources(thing(`""`)),
		"unknown parameter":      resources(thing(`{"Ref":"none"}`)),
		"missing parameter":      strings.Replace(resources(thing(`{"Ref":"Q"}`)), `"P":`, `"Q":{"Type":"String"},"P":`, 1),
		"unknown function":       resources(thing(`{"Fn::Base64":"x"}`)),
		"index":                  resources(thing(`{"Fn::Select":["3",["a"]]}`)),
		"negative index":         resources(thing(`{"Fn::Select":["-1",["a"]]}`)),
		"no map":                 resources(thing(`{"Fn::FindInMap":["a","b","c"]}`)),
		"join of a text":         resources(thing(`{"Fn::Join":["","a"]}`)),
		"arguments":              resources(thing(`{"Fn::Join":[""]}`)),
		"open placeholder":       resources(thing(`{"Fn::Sub":"${P"}`)),
		"a list as name":         resources(thing(`["a"]`)),
		"policy without":         resources(`,"p":{"Type":"AWS::IoT::Policy","Properties":{}}`),
		"policy with both":       resources(`,"p":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"a","PolicyDocument":"{}"}}`),
		"certificate of two":     strings.Replace(resources(""), `"Properties":{`, `"Properties":{"CertificatePem":"x",`, 1),
		"certificate's status":   strings.Replace(resources(""), `"Properties":{`, `"Properties":{"Status":"REVOKED",`, 1),
		"attributes as a list":   resources(`,"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a","AttributePayload":[]}}`),
		"groups as a text":       resources(`,"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"a","ThingGroups":"g"}}`),
		"configuration an array": strings.Replace(resources(""), `{"Parameters"`, `{"DeviceConfiguration":{"a":[]},"Parameters"`, 1),
	} {
		x, err := parseTemplate(body)
		if err == nil {
			_, err = x.evaluate(map[string]string{"P": "p", certificateIDParameter: "c"})
		}
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	// What a template makes is bounded, whatever it repeats.
	body := resources(thing(`{"Fn::Sub":"` + strings.Repeat("${P}", 2000) + `"}`))
	x, err := parseTemplate(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.evaluate(map[string]string{"P": strings.Repeat("x", 100_000), certificateIDParameter: "c"}); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a template that repeats: got %v", err)
	}
	if x, err = parseTemplate(`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":"abc"}}}}`); err != nil {
		t.Fatal(err)
	}
	if err := x.checkFleet(); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a certificate by its name: got %v", err)
	}
}

// FuzzTemplate: whatever a template is, it gives the same twice, and never more than it may.
func FuzzTemplate(f *testing.F) {
	f.Add(fleetTemplate, "7")
	f.Add(`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Fn::Sub":["${a}",{"a":{"Fn::Sub":"${!b}"}}]}}}}}`, "")
	f.Fuzz(func(t *testing.T, body, value string) {
		x, err := parseTemplate(body)
		if err != nil {
			return
		}
		_ = x.checkFleet()
		params := map[string]string{"SerialNumber": value, certificateIDParameter: "c"}
		first, err := x.evaluate(params)
		second, err2 := x.evaluate(params)
		if (err == nil) != (err2 == nil) || err == nil && cmp.Diff(first, second, cmp.AllowUnexported(provision{})) != "" {
			t.Fatalf("%v and %v, %v and %v", first, second, err, err2)
		}
	})
}
