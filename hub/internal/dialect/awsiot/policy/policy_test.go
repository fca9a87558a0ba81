package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

type values map[string][]string

func (v values) Value(name string) []string { return v[name] }

const arn = "arn:aws:iot:us-east-1:123456789012:"

// doc makes a document of statements.
func doc(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

func allow(action, resource string) string {
	return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
}

func deny(action, resource string) string {
	return strings.Replace(allow(action, resource), "Allow", "Deny", 1)
}

func TestDecide(t *testing.T) {
	conn := values{
		"iot:ClientId": {"pump-7"}, "iot:Connection.Thing.ThingName": {"pump-7"}, "aws:SourceIp": {"10.1.2.3"},
		"iot:Connection.Thing.IsAttached": {"true"}, "iot:ConnectAttributes": {"PersistentConnect", "LastWill"},
		"iot:Connection.Thing.Attributes[site]": {"north"}, "iot:Certificate.Subject.CommonName.List": {"a", "b"},
		"iot:Certificate.Issuer.CommonName": {"x#y"},
	}
	for name, c := range map[string]struct {
		doc, action, resource string
		want                  Decision
	}{
		"exact":                     {doc(allow("iot:Publish", arn+"topic/a")), "iot:Publish", "topic/a", Allowed},
		"other topic":               {doc(allow("iot:Publish", arn+"topic/a")), "iot:Publish", "topic/ab", Unmentioned},
		"other account":             {doc(allow("iot:Publish", strings.Replace(arn, "1234", "9999", 1)+"topic/a")), "iot:Publish", "topic/a", Unmentioned},
		"other action":              {doc(allow("iot:Publish", arn+"topic/a")), "iot:Subscribe", "topic/a", Unmentioned},
		"case of action":            {doc(allow("iot:publish", arn+"topic/a")), "iot:Publish", "topic/a", Allowed},
		"wildcard action":           {doc(allow("iot:*", "*")), "iot:Connect", "client/x", Allowed},
		"everything":                {doc(allow("*", "*")), "greengrass:Discover", "thing/x", Allowed},
		"part of action":            {doc(allow("iot:Pub*", "*")), "iot:Publish", "topic/x", Allowed},
		"star crosses levels":       {doc(allow("iot:Publish", arn+"topic/a/*")), "iot:Publish", "topic/a/b/c", Allowed},
		"star is not the parent":    {doc(allow("iot:Publish", arn+"topic/a/*")), "iot:Publish", "topic/a", Unmentioned},
		"question mark":             {doc(allow("iot:Publish", arn+"topic/a?c")), "iot:Publish", "topic/aüc", Allowed},
		"question mark is one":      {doc(allow("iot:Publish", arn+"topic/a?c")), "iot:Publish", "topic/abbc", Unmentioned},
		"MQTT wildcards are text":   {doc(allow("iot:Subscribe", arn+"topicfilter/a/#")), "iot:Subscribe", "topicfilter/a/b", Unmentioned},
		"filter under a star":       {doc(allow("iot:Subscribe", arn+"topicfilter/a/*")), "iot:Subscribe", "topicfilter/a/#", Allowed},
		"deny wins":                 {doc(allow("iot:*", "*") + "," + deny("iot:Publish", arn+"topic/a")), "iot:Publish", "topic/a", Denied},
		"deny first":                {doc(deny("iot:Publish", arn+"topic/a") + "," + allow("iot:*", "*")), "iot:Publish", "topic/a", Denied},
		"variable":                  {doc(allow("iot:Publish", arn+"topic/${iot:ClientId}/*")), "iot:Publish", "topic/pump-7/t", Allowed},
		"variable, another's":       {doc(allow("iot:Publish", arn+"topic/${iot:ClientId}/*")), "iot:Publish", "topic/pump-8/t", Unmentioned},
		"attribute":                 {doc(allow("iot:Publish", arn+"topic/${iot:Connection.Thing.Attributes[site]}")), "iot:Publish", "topic/north", Allowed},
		"unknown variable":          {doc(allow("iot:Publish", arn+"topic/${iot:Nothing}")), "iot:Publish", "topic/", Unmentioned},
		"value with a wildcard":     {doc(allow("iot:Publish", arn+"topic/${iot:Certificate.Issuer.CommonName}")), "iot:Publish", "topic/x#y", Unmentioned},
		"variable of several":       {doc(allow("iot:Publish", arn+"topic/${iot:Certificate.Subject.CommonName.List}")), "iot:Publish", "topic/a", Unmentioned},
		"escapes":                   {doc(allow("iot:Publish", arn+"topic/${*}${?}${$}")), "iot:Publish", "topic/*?$", Allowed},
		"escapes are no wildcards":  {doc(allow("iot:Publish", arn+"topic/${*}")), "iot:Publish", "topic/abc", Unmentioned},
		"2008 has no variables":     {strings.Replace(doc(allow("iot:Publish", arn+"topic/${iot:ClientId}")), "2012", "2008", 1), "iot:Publish", "topic/pump-7", Unmentioned},
		"one statement, no list":    {`{"Version":"2012-10-17","Statement":` + allow("iot:*", "*") + `}`, "iot:Connect", "client/x", Allowed},
		"lists":                     {doc(`{"Effect":"Allow","Action":["iot:Connect","iot:Publish"],"Resource":["` + arn + `client/a","` + arn + `topic/b"]}`), "iot:Publish", "topic/b", Allowed},
		"not resource":              {doc(`{"Effect":"Allow","Action":"iot:Publish","NotResource":"` + arn + `topic/a"}`), "iot:Publish", "topic/b", Allowed},
		"not resource, that one":    {doc(`{"Effect":"Allow","Action":"iot:Publish","NotResource":"` + arn + `topic/a"}`), "iot:Publish", "topic/a", Unmentioned},
		"not resource, unknown":     {doc(`{"Effect":"Allow","Action":"iot:Publish","NotResource":"` + arn + `topic/${iot:Nothing}"}`), "iot:Publish", "topic/a", Unmentioned},
		"deny not unknown resource": {doc(allow("*", "*") + `,{"Effect":"Deny","Action":"iot:Publish","NotResource":"` + arn + `topic/${iot:Nothing}"}`), "iot:Publish", "topic/a", Denied},
		"not action":                {doc(`{"Effect":"Allow","NotAction":"iot:Connect","Resource":"*"}`), "iot:Publish", "topic/a", Allowed},
		"address":                   {condition1("IpAddress", "aws:SourceIp", `["10.0.0.0/8","::1"]`), "iot:Publish", "topic/a", Allowed},
		"address elsewhere":         {condition1("IpAddress", "aws:SourceIp", `"10.2.0.0/16"`), "iot:Publish", "topic/a", Unmentioned},
		"not an address":            {condition1("NotIpAddress", "aws:SourceIp", `"10.2.0.0/16"`), "iot:Publish", "topic/a", Allowed},
		"bool":                      {condition1("Bool", "iot:Connection.Thing.IsAttached", `"true"`), "iot:Publish", "topic/a", Allowed},
		"bool as such":              {condition1("Bool", "iot:Connection.Thing.IsAttached", `[true]`), "iot:Publish", "topic/a", Allowed},
		"bool, not":                 {condition1("Bool", "iot:Connection.Thing.IsAttached", `"false"`), "iot:Publish", "topic/a", Unmentioned},
		"like":                      {condition1("StringLike", "iot:ClientId", `"pump-*"`), "iot:Publish", "topic/a", Allowed},
		"equals takes no wildcard":  {condition1("StringEquals", "iot:ClientId", `"pump-*"`), "iot:Publish", "topic/a", Unmentioned},
		"missing key":               {condition1("StringEquals", "iot:Nothing", `"x"`), "iot:Publish", "topic/a", Unmentioned},
		"missing key, negated":      {condition1("StringNotEquals", "iot:Nothing", `"x"`), "iot:Publish", "topic/a", Allowed},
		"missing key, if exists":    {condition1("StringEqualsIfExists", "iot:Nothing", `"x"`), "iot:Publish", "topic/a", Allowed},
		"null":                      {condition1("Null", "iot:Nothing", `"true"`), "iot:Publish", "topic/a", Allowed},
		"not null":                  {condition1("Null", "iot:ClientId", `"true"`), "iot:Publish", "topic/a", Unmentioned},
		"for all":                   {condition1("ForAllValues:StringEquals", "iot:ConnectAttributes", `["PersistentConnect","LastWill"]`), "iot:Publish", "topic/a", Allowed},
		"for all, one too many":     {condition1("ForAllValues:StringEquals", "iot:ConnectAttributes", `["LastWill"]`), "iot:Publish", "topic/a", Unmentioned},
		"for all of none":           {condition1("ForAllValues:StringEquals", "iot:Nothing", `["LastWill"]`), "iot:Publish", "topic/a", Allowed},
		"for any":                   {condition1("ForAnyValue:StringEquals", "iot:ConnectAttributes", `["LastWill"]`), "iot:Publish", "topic/a", Allowed},
		"for any of none":           {condition1("ForAnyValue:StringEquals", "iot:Nothing", `["LastWill"]`), "iot:Publish", "topic/a", Unmentioned},
		"variable in a value":       {condition1("StringEquals", "iot:ClientId", `"${iot:Connection.Thing.ThingName}"`), "iot:Publish", "topic/a", Allowed},
		"deny of a strange value":   {doc(allow("*", "*") + "," + deny("iot:Publish", arn+"topic/${iot:Certificate.Issuer.CommonName}/*")), "iot:Publish", "topic/x#y/z", Denied},
		"deny all but one":          {doc(allow("*", "*") + `,{"Effect":"Deny","Action":"*","NotResource":"` + arn + `topic/${iot:Certificate.Issuer.CommonName}"}`), "iot:Publish", "topic/x#y", Denied},
		"not an unknown value":      {condition1("StringNotEquals", "iot:ClientId", `"${iot:Nothing}"`), "iot:Publish", "topic/a", Unmentioned},
		"not a strange value":       {condition1("StringNotLike", "iot:ClientId", `"${iot:Certificate.Issuer.CommonName}"`), "iot:Publish", "topic/a", Unmentioned},
		"deny, a strange value":     {denied1("StringEquals", "iot:Certificate.Issuer.CommonName", `"${iot:Certificate.Issuer.CommonName}"`), "iot:Publish", "topic/a", Denied},
		"deny, not unknown value":   {denied1("StringNotEquals", "iot:ClientId", `"${iot:Nothing}"`), "iot:Publish", "topic/a", Denied},
		"number":                    {condition1("NumericLessThan", "iot:ClientId", `3`), "iot:Publish", "topic/a", Unmentioned},
	} {
		d, err := Parse([]byte(c.doc))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := Decide([]*Bound{d.Bind(conn)}, c.action, arn+c.resource); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

// condition1 makes a document that allows everything under one condition.
func condition1(operator, key, value string) string {
	return doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"` + operator + `":{"` + key + `":` + value + `}}}`)
}

// denied1 makes a document that allows everything, and denies it under one condition.
func denied1(operator, key, value string) string {
	d := strings.Replace(condition1(operator, key, value), "Allow", "Deny", 1)
	return strings.Replace(d, `"Statement":[`, `"Statement":[`+allow("*", "*")+",", 1)
}

func TestDecideTogether(t *testing.T) {
	bind := func(text string) *Bound {
		d, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d.Bind(values{})
	}
	a, b := bind(doc(allow("iot:Publish", "*"))), bind(doc(deny("iot:Publish", arn+"topic/x")))
	for _, list := range [][]*Bound{{a, b}, {b, a}} {
		if got := Decide(list, "iot:Publish", arn+"topic/x"); got != Denied {
			t.Errorf("got %d, want denied", got)
		}
		if got := Decide(list, "iot:Publish", arn+"topic/y"); got != Allowed {
			t.Errorf("got %d, want allowed", got)
		}
	}
	if got := Decide(nil, "iot:Publish", arn+"topic/y"); got != Unmentioned {
		t.Errorf("no policy: got %d", got)
	}
}

func TestParseRefuses(t *testing.T) {
	long := doc(allow("iot:Publish", arn+"topic/"+strings.Repeat("x", MaxCharacters)))
	for name, text := range map[string]string{
		"empty": "", "no object": "[]", "no JSON": "{", "trailing": doc(allow("iot:*", "*")) + "x", "null": "null",
		"no version": `{"Statement":[` + allow("iot:*", "*") + `]}`, "version": `{"Version":"2020-01-01","Statement":[` + allow("iot:*", "*") + `]}`,
		"no statement": `{"Version":"2012-10-17"}`, "no statements": doc(""), "statement is text": doc(`"x"`),
		"unknown element": `{"Version":"2012-10-17","Foo":1,"Statement":` + allow("iot:*", "*") + `}`,
		"wrong case":      `{"version":"2012-10-17","Statement":` + allow("iot:*", "*") + `}`,
		"twice":           `{"Version":"2012-10-17","Version":"2012-10-17","Statement":` + allow("iot:*", "*") + `}`,
		"no effect":       doc(`{"Action":"iot:*","Resource":"*"}`), "effect": doc(`{"Effect":"allow","Action":"iot:*","Resource":"*"}`),
		"no action": doc(`{"Effect":"Allow","Resource":"*"}`), "two actions": doc(`{"Effect":"Allow","Action":"iot:*","NotAction":"iot:*","Resource":"*"}`),
		"empty actions": doc(`{"Effect":"Allow","Action":[],"Resource":"*"}`), "action": doc(allow("publish", "*")), "action of nothing": doc(allow("iot:", "*")),
		"action is number": doc(`{"Effect":"Allow","Action":1,"Resource":"*"}`), "null action": doc(`{"Effect":"Allow","Action":[null],"Resource":"*"}`),
		"no resource": doc(`{"Effect":"Allow","Action":"iot:*"}`), "resource": doc(allow("iot:*", "topic/a")),
		"principal":        doc(`{"Effect":"Allow","Principal":"*","Action":"iot:*","Resource":"*"}`),
		"condition twice":  doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"iot:ClientId":"a"},"StringEquals":{"iot:DomainName":"b"}}}`),
		"key twice":        doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"iot:ClientId":"a","iot:ClientId":"b"}}}`),
		"open variable":    doc(allow("iot:*", arn+"topic/${iot:ClientId")),
		"no variable":      doc(allow("iot:*", arn+"topic/${}")),
		"operator":         condition1("StringIs", "iot:ClientId", `"x"`),
		"null if exists":   condition1("NullIfExists", "iot:ClientId", `"true"`),
		"address":          condition1("IpAddress", "aws:SourceIp", `"x"`),
		"bool":             condition1("Bool", "iot:X", `"x"`),
		"no value":         condition1("Bool", "iot:X", `[]`),
		"object":           condition1("StringEquals", "iot:X", `{}`),
		"condition key":    condition1("StringEquals", "x", `"x"`),
		"condition":        doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}`),
		"empty condition":  doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{}}}`),
		"same Sid":         doc(`{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}`),
		"Sid":              doc(`{"Sid":"a b","Effect":"Allow","Action":"*","Resource":"*"}`),
		"too long":         long,
		"not UTF-8":        "\xff",
		"no end":           doc(allow("iot:*", "*"))[:50],
		"condition is all": doc(`{"Effect":"Allow","Action":"*","Resource":"*","ConditionAll":{}}`),
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if _, err := Parse([]byte(strings.Repeat(" ", 10_000) + doc(allow("iot:*", "*")))); err != nil {
		t.Errorf("white space does not count: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(doc(allow("iot:Publish", arn+"topic/${iot:ClientId}/*")), arn+"topic/c/x")
	f.Add(condition1("ForAllValues:StringLike", "iot:ConnectAttributes", `["a*","${aws:SourceIp}"]`), "x")
	f.Fuzz(func(t *testing.T, text, resource string) {
		d, err := Parse([]byte(text))
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			return
		}
		if !json.Valid([]byte(text)) {
			t.Errorf("accepted what is no JSON: %q", text)
		}
		d.Bind(values{"iot:ClientId": {"c"}, "aws:SourceIp": {"10.0.0.1"}}).Decide("iot:Publish", resource)
	})
}

// FuzzMatch compares with a matcher that tries everything.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a*b?c", "axxbyc"}, {"**", ""}, {"?", "ü"}, {"*a*a*", "aaa"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 12 || len(text) > 24 || !validBoth(pattern, text) {
			return
		}
		if got, want := match(compile(pattern), text), slowMatch([]rune(pattern), []rune(text)); got != want {
			t.Errorf("%q against %q: got %v, want %v", pattern, text, got, want)
		}
	})
}

func validBoth(a, b string) bool {
	return strings.ToValidUTF8(a, "") == a && strings.ToValidUTF8(b, "") == b
}

func slowMatch(p, t []rune) bool {
	switch {
	case len(p) == 0:
		return len(t) == 0
	case p[0] == '*':
		return slowMatch(p[1:], t) || len(t) > 0 && slowMatch(p, t[1:])
	}
	return len(t) > 0 && (p[0] == '?' || p[0] == t[0]) && slowMatch(p[1:], t[1:])
}

func BenchmarkDecide(b *testing.B) {
	d, err := Parse([]byte(doc(allow("iot:Connect", arn+"client/${iot:ClientId}") + "," + allow("iot:Publish", arn+"topic/${iot:ClientId}/*"))))
	if err != nil {
		b.Fatal(err)
	}
	bound := []*Bound{d.Bind(values{"iot:ClientId": {"pump-7"}})}
	for b.Loop() {
		Decide(bound, "iot:Publish", arn+"topic/pump-7/temperature")
	}
}
