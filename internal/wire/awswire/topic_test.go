package awswire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTopic(t *testing.T) {
	const things = "$aws/things/"
	tests := []struct {
		topic string
		want  Topic
		none  bool // of no service
	}{
		{topic: things + "T/shadow/get", want: Topic{Service: ServiceShadow, Thing: "T", Op: OpGet}},
		{topic: things + "T/shadow/update/delta", want: Topic{Service: ServiceShadow, Thing: "T", Op: OpUpdate, Reply: Delta}},
		{topic: things + "T/shadow/update/documents", want: Topic{Service: ServiceShadow, Thing: "T", Op: OpUpdate, Reply: Documents}},
		{topic: things + "a:b_c-D/shadow/name/$s:1/delete/rejected", want: Topic{
			Service: ServiceShadow, Thing: "a:b_c-D", Shadow: "$s:1", Op: OpDelete, Reply: Rejected,
		}},
		{topic: things + "T/shadow/name/get/get", want: Topic{Service: ServiceShadow, Thing: "T", Shadow: "get", Op: OpGet}},
		{topic: things + "T/shadow/get/delta", want: Topic{Service: ServiceShadow, Thing: "T"}},
		{topic: things + "T/shadow/get/", want: Topic{Service: ServiceShadow, Thing: "T"}},
		{topic: things + "T/shadow/name//get", want: Topic{Service: ServiceShadow, Thing: "T"}},
		{topic: things + "T/shadow", want: Topic{Service: ServiceShadow, Thing: "T"}},
		{topic: things + "T/jobs/get", want: Topic{Service: ServiceJobs, Thing: "T", Op: OpGet}},
		{topic: things + "T/jobs/get/accepted", want: Topic{Service: ServiceJobs, Thing: "T", Op: OpGet, Reply: Accepted}},
		{topic: things + "T/jobs/start-next", want: Topic{Service: ServiceJobs, Thing: "T", Op: OpStartNext}},
		{topic: things + "T/jobs/$next/get", want: Topic{Service: ServiceJobs, Thing: "T", Job: NextJob, Op: OpGet}},
		{topic: things + "T/jobs/j-1/update/rejected", want: Topic{
			Service: ServiceJobs, Thing: "T", Job: "j-1", Op: OpUpdate, Reply: Rejected,
		}},
		{topic: things + "T/jobs/get/get", want: Topic{Service: ServiceJobs, Thing: "T", Job: "get", Op: OpGet}},
		{topic: things + "T/jobs/get/update", want: Topic{Service: ServiceJobs, Thing: "T", Job: "get", Op: OpUpdate}},
		{topic: things + "T/jobs/notify-next", want: Topic{Service: ServiceJobs, Thing: "T", Op: OpNotifyNext}},
		{topic: things + "T/jobs/notify/accepted", want: Topic{Service: ServiceJobs, Thing: "T"}},
		{topic: things + "T/jobs/$last/get", want: Topic{Service: ServiceJobs, Thing: "T"}},
		{topic: things + "T/jobs/a/b/c/d", want: Topic{Service: ServiceJobs, Thing: "T"}},
		{topic: things + "T/jobs", want: Topic{Service: ServiceJobs, Thing: "T"}},
		{topic: things + "T/streams/s/get/json", none: true},
		{topic: things + "/shadow/get", none: true},
		{topic: things + "t t/shadow/get", none: true},
		{topic: "$aws/certificates/create/json", want: Topic{Service: ServiceCertificates, Op: OpCreate, Format: FormatJSON}},
		{topic: "$aws/certificates/create-from-csr/cbor/accepted", want: Topic{
			Service: ServiceCertificates, Op: OpCreateFromCSR, Format: FormatCBOR, Reply: Accepted,
		}},
		{topic: "$aws/certificates/create", none: true},
		{topic: "$aws/certificates/create/xml", none: true},
		{topic: "$aws/certificates/create/json/delta", none: true},
		{topic: "$aws/certificates/create/json/", none: true},
		{topic: "$aws/provisioning-templates/fleet/provision/json", want: Topic{
			Service: ServiceProvisioning, Template: "fleet", Op: OpProvision, Format: FormatJSON,
		}},
		{topic: "$aws/provisioning-templates/" + strings.Repeat("t", 37) + "/provision/json", none: true},
		{topic: "$aws/events/presence/connected/c", none: true},
		{topic: "a/b", none: true},
	}
	for _, tt := range tests {
		got, ok := ParseTopic(tt.topic)
		if ok == tt.none {
			t.Errorf("%s: ok %v, want %v", tt.topic, ok, !tt.none)
			continue
		}
		if diff := cmp.Diff(tt.want, got); !tt.none && diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.topic, diff)
		}
	}
}

func TestValidNames(t *testing.T) {
	for _, tt := range []struct {
		what string
		f    func(string) bool
		name string
		want bool
	}{
		{"thing", ValidThingName, strings.Repeat("a", 128), true},
		{"thing", ValidThingName, strings.Repeat("a", 129), false},
		{"thing", ValidThingName, "$t", false},
		{"thing", ValidThingName, "", false},
		{"shadow", ValidShadowName, "$" + strings.Repeat("a", 63), true},
		{"shadow", ValidShadowName, strings.Repeat("a", 65), false},
		{"job", ValidJobID, "a:b", false},
		{"job", ValidJobID, "A_b-9", true},
		{"template", ValidTemplateName, strings.Repeat("t", 36), true},
	} {
		if got := tt.f(tt.name); got != tt.want {
			t.Errorf("%s name %q: %v, want %v", tt.what, tt.name, got, tt.want)
		}
	}
}

// FuzzTopic checks that parsing and printing are inverse.
func FuzzTopic(f *testing.F) {
	for _, s := range []string{
		"$aws/things/T/shadow/update/documents", "$aws/things/T/shadow/name/n/get", "$aws/things/T/jobs/$next/get/accepted",
		"$aws/certificates/create-from-csr/json/rejected", "$aws/provisioning-templates/t/provision/cbor", "$aws/things/T/jobs/get",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseTopic(s)
		if !ok || got.Op == "" {
			return
		}
		if got.String() != s {
			t.Errorf("%q prints as %q", s, got.String())
		}
	})
}
