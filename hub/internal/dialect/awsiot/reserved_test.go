package awsiot

import (
	"strings"
	"testing"
)

func TestParseReserved(t *testing.T) {
	for topic, want := range map[string]reserved{
		"$aws/things/T/shadow/update":                    {kind: kindShadow, thing: "T", op: "update", publishable: true},
		"$aws/things/T/shadow/update/accepted":           {kind: kindShadow, thing: "T"},
		"$aws/things/T/shadow/name/S/get":                {kind: kindShadow, thing: "T", shadow: "S", op: "get", publishable: true},
		"$aws/things/T/shadow/name/S/get/rejected":       {kind: kindShadow, thing: "T", shadow: "S"},
		"$aws/things/T/shadow/name//get":                 {kind: kindShadow, thing: "T", op: "get"},
		"$aws/things/T/shadow/name":                      {kind: kindShadow, thing: "T"},
		"$aws/things//shadow/get":                        {kind: kindShadow, op: "get"},
		"$aws/things/T/jobs/get":                         {kind: kindJobs, thing: "T", op: "get", publishable: true},
		"$aws/things/T/jobs/start-next":                  {kind: kindJobs, thing: "T", op: "start-next", publishable: true},
		"$aws/things/T/jobs/$next/get":                   {kind: kindJobs, thing: "T", job: "$next", op: "get", publishable: true},
		"$aws/things/T/jobs/J/update":                    {kind: kindJobs, thing: "T", job: "J", op: "update", publishable: true},
		"$aws/things/T/jobs/J/update/accepted":           {kind: kindJobs, thing: "T"},
		"$aws/things/T/jobs/notify":                      {kind: kindJobs, thing: "T"},
		"$aws/things/T/jobs/J/x":                         {kind: kindJobs, thing: "T", op: opInvalid, rest: "J/x", publishable: true},
		"$aws/things/T/jobs":                             {kind: kindJobs, thing: "T", op: opInvalid, publishable: true},
		"$aws/certificates/create/json":                  {kind: kindCertificates, op: "create", format: "json", publishable: true},
		"$aws/certificates/create-from-csr/cbor":         {kind: kindCertificates, op: "create-from-csr", format: "cbor", publishable: true},
		"$aws/certificates/create/xml":                   {kind: kindCertificates},
		"$aws/provisioning-templates/P/provision/json":   {kind: kindTemplates, name: "P", op: "provision", format: "json", publishable: true},
		"$aws/provisioning-templates/P/provision/json/x": {kind: kindTemplates, name: "P"},
		"$aws/rules/R/a/b":                               {kind: kindRules, name: "R", rest: "a/b", publishable: true},
		"$aws/rules/R":                                   {kind: kindRules, name: "R", publishable: true},
		"$aws/rules/":                                    {kind: kindRules},
		"$aws/events/presence/connected/C":               {kind: kindEvents},
		"$aws/things/T/defender/metrics/json":            {kind: kindDefender, thing: "T", op: "metrics", format: "json", publishable: true},
		"$aws/things/T/streams/S/get/json":               {kind: kindStreams, thing: "T", name: "S", op: "get", format: "json", publishable: true},
		"$aws/things/T/tunnels/notify":                   {kind: kindTunnels, thing: "T"},
		"$aws/things/T/x":                                {kind: kindOther, thing: "T"},
		"$aws":                                           {kind: kindOther},
		"$SYS/broker":                                    {kind: kindOther},
	} {
		if got := parseReserved(topic); got != want {
			t.Errorf("%s: got %+v, want %+v", topic, got, want)
		}
	}
}

func FuzzParseReserved(f *testing.F) {
	f.Add("$aws/things/T/shadow/name/S/update/accepted")
	f.Add("$aws/things/T/jobs/$next/get")
	f.Fuzz(func(t *testing.T, topic string) {
		r := parseReserved(topic)
		if r.publishable && (r.op == "" && r.kind != kindRules || !strings.HasPrefix(topic, reservedPrefix)) {
			t.Errorf("%q: got %+v", topic, r)
		}
	})
}
