package awswire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// after applies updates to a shadow that has never been, the first at second 1, the next at 2 and so on.
func after(tb testing.TB, updates ...string) Shadow {
	tb.Helper()
	var s Shadow
	for i, text := range updates {
		u, err := ParseUpdate([]byte(text))
		if err != nil {
			tb.Fatalf("%s: %v", text, err)
		}
		if s, err = s.Apply(&u, int64(i+1)); err != nil {
			tb.Fatalf("%s: %v", text, err)
		}
	}
	return s
}

// sections returns an update with these sections.
func sections(desired, reported string) string {
	var list []string
	if desired != "" {
		list = append(list, `"desired":`+desired)
	}
	if reported != "" {
		list = append(list, `"reported":`+reported)
	}
	return `{"state":{` + strings.Join(list, ",") + `}}`
}

func TestApply(t *testing.T) {
	for _, tt := range []struct {
		name    string
		updates []string
		want    string // the answer to a get
	}{
		{
			"merge",
			[]string{sections(`{"led":"on","n":{"a":1}}`, ""), sections("", `{"led":"off"}`)},
			`{"state":{"desired":{"led":"on","n":{"a":1}},"reported":{"led":"off"},"delta":{"led":"on","n":{"a":1}}},` +
				`"metadata":{"desired":{"led":{"timestamp":1},"n":{"a":{"timestamp":1}}},"reported":{"led":{"timestamp":2}}},"version":2,"timestamp":9}`,
		},
		{
			"untouched leaves keep their time",
			[]string{sections(`{"a":1,"b":{"c":1,"d":[1,2]}}`, ""), sections(`{"b":{"c":1}}`, "")},
			`{"state":{"desired":{"a":1,"b":{"c":1,"d":[1,2]}},"delta":{"a":1,"b":{"c":1,"d":[1,2]}}},` +
				`"metadata":{"desired":{"a":{"timestamp":1},"b":{"c":{"timestamp":2},"d":[{"timestamp":1},{"timestamp":1}]}}},"version":2,"timestamp":9}`,
		},
		{
			"null deletes, in new subtrees too",
			[]string{sections("", `{"a":1,"b":{"c":null,"d":null,"e":1}}`), sections("", `{"a":null,"x":null}`)},
			`{"state":{"reported":{"b":{"e":1}}},"metadata":{"reported":{"b":{"e":{"timestamp":1}}}},"version":2,"timestamp":9}`,
		},
		{
			"an emptied object stays",
			[]string{sections("", `{"b":{"e":1}}`), sections("", `{"b":{"e":null}}`)},
			`{"state":{"reported":{"b":{}}},"metadata":{"reported":{"b":{}}},"version":2,"timestamp":9}`,
		},
		{
			"arrays replace",
			[]string{sections("", `{"a":[1,2,{"x":1}]}`), sections("", `{"a":[{"y":2}]}`)},
			`{"state":{"reported":{"a":[{"y":2}]}},"metadata":{"reported":{"a":[{"y":{"timestamp":2}}]}},"version":2,"timestamp":9}`,
		},
		{
			"objects and scalars replace each other",
			[]string{sections("", `{"a":{"b":1},"c":1}`), sections("", `{"a":1,"c":{"d":2}}`)},
			`{"state":{"reported":{"a":1,"c":{"d":2}}},"metadata":{"reported":{"a":{"timestamp":2},"c":{"d":{"timestamp":2}}}},"version":2,"timestamp":9}`,
		},
		{
			"null removes a section",
			[]string{sections(`{"a":1}`, `{"a":1}`), sections("null", "")},
			`{"state":{"reported":{"a":1}},"metadata":{"reported":{"a":{"timestamp":1}}},"version":2,"timestamp":9}`,
		},
		{
			"state null empties",
			[]string{sections(`{"a":1}`, `{"a":1}`), `{"state":null}`},
			`{"state":{},"metadata":{},"version":2,"timestamp":9}`,
		},
		{
			"empty state changes nothing",
			[]string{sections("", `{"a":1}`), `{"state":{}}`},
			`{"state":{"reported":{"a":1}},"metadata":{"reported":{"a":{"timestamp":1}}},"version":2,"timestamp":9}`,
		},
		{"empty sections vanish", []string{sections("{}", "{}")}, `{"state":{},"metadata":{},"version":1,"timestamp":9}`},
		{
			"last member of a section",
			[]string{sections(`{"a":1}`, ""), sections(`{"a":null}`, "")},
			`{"state":{},"metadata":{},"version":2,"timestamp":9}`,
		},
		{
			"empty objects are kept",
			[]string{sections(`{"a":1,"d":{}}`, "")},
			`{"state":{"desired":{"a":1,"d":{}},"delta":{"a":1,"d":{}}},"metadata":{"desired":{"a":{"timestamp":1},"d":{}}},"version":1,"timestamp":9}`,
		},
		{
			"numbers stay as written",
			[]string{sections(`{"a":1.0,"b":1e3,"c":12345678901234567890}`, `{"a":1,"b":1000,"c":12345678901234567891}`)},
			`{"state":{"desired":{"a":1.0,"b":1e3,"c":12345678901234567890},"reported":{"a":1,"b":1000,"c":12345678901234567891},"delta":{"c":12345678901234567890}},` +
				`"metadata":{"desired":{"a":{"timestamp":1},"b":{"timestamp":1},"c":{"timestamp":1}},"reported":{"a":{"timestamp":1},"b":{"timestamp":1},"c":{"timestamp":1}}},"version":1,"timestamp":9}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := after(t, tt.updates...)
			if diff := cmp.Diff(tt.want, string(s.AppendDocument(nil, 9, ""))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestDelta is the example of the "Device Shadow service documents" chapter, then more.
func TestDelta(t *testing.T) {
	for _, tt := range []struct{ desired, reported, want string }{
		{`{"color":"RED","state":"STOP"}`, `{"color":"GREEN","engine":"ON"}`, `{"color":"RED","state":"STOP"}`},
		{`{"color":"RED","state":"STOP"}`, `{"color":"RED","engine":"ON"}`, `{"state":"STOP"}`},
		{`{"a":1,"b":"1","c":true}`, `{"a":1.0,"b":1,"c":false}`, `{"b":"1","c":true}`},
		{`{"a":[1,2]}`, `{"a":[1,2,3]}`, `{"a":[1,2]}`},
		{`{"a":{"b":{"c":1,"d":2}}}`, `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"d":2}}}`},
		{`{"a":{}}`, `{"a":{"b":1}}`, ""},
		{`{"a":{}}`, `{"a":1}`, `{"a":{}}`},
		{`{"a":1}`, ``, `{"a":1}`},
		{``, `{"a":1}`, ""},
		{`{"a":1}`, `{"a":1}`, ""},
	} {
		s := after(t, sections(tt.desired, tt.reported))
		got := ""
		if d := s.Delta(); d != nil {
			got = string(d.Append(nil))
		}
		if got != tt.want {
			t.Errorf("desired %s, reported %s: delta %s, want %s", tt.desired, tt.reported, got, tt.want)
		}
	}
}

func TestShadowMessages(t *testing.T) {
	s := after(t, sections(`{"a":1,"b":2}`, `{"a":1}`))
	if got, want := string(s.AppendDelta(nil, s.Delta(), 7, "tok")),
		`{"version":1,"timestamp":7,"state":{"b":2},"metadata":{"b":{"timestamp":1}},"clientToken":"tok"}`; got != want {
		t.Errorf("delta\n got %s\nwant %s", got, want)
	}
	if got, want := string(AppendDocuments(nil, &Shadow{}, &s, 7, "")), `{"previous":null,"current":{"state":{"desired":{"a":1,"b":2},"reported":{"a":1}},`+
		`"metadata":{"desired":{"a":{"timestamp":1},"b":{"timestamp":1}},"reported":{"a":{"timestamp":1}}},"version":1},"timestamp":7}`; got != want {
		t.Errorf("documents\n got %s\nwant %s", got, want)
	}
	u, err := ParseUpdate([]byte(`{"clientToken":"abc","state":{"reported":{"led":"on","old":null,"arr":[1,2],"o":{"x":null},"e":[]},"desired":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(u.AppendAccepted(nil, 7, 5)), `{"state":{"reported":{"led":"on","old":null,"arr":[1,2],"o":{"x":null},"e":[]},"desired":null},`+
		`"metadata":{"reported":{"led":{"timestamp":5},"old":{"timestamp":5},"arr":[{"timestamp":5},{"timestamp":5}],"o":{"x":{"timestamp":5}},"e":[]},`+
		`"desired":{"timestamp":5}},"version":7,"timestamp":5,"clientToken":"abc"}`; got != want {
		t.Errorf("accepted\n got %s\nwant %s", got, want)
	}
	if u, err = ParseUpdate([]byte(`{"state":null}`)); err != nil {
		t.Fatal(err)
	}
	if got, want := string(u.AppendAccepted(nil, 2, 5)), `{"state":null,"metadata":{"timestamp":5},"version":2,"timestamp":5}`; got != want {
		t.Errorf("accepted\n got %s\nwant %s", got, want)
	}
	if got, want := string(AppendDeleted(nil, 7, 5, `t"`)), `{"version":7,"timestamp":5,"clientToken":"t\""}`; got != want {
		t.Errorf("deleted\n got %s\nwant %s", got, want)
	}
	if got, want := string(ErrNoShadow("T", "S").Append(nil, 5, "t")),
		`{"code":404,"message":"No shadow exists with name: 'T~S'","timestamp":5,"clientToken":"t"}`; got != want {
		t.Errorf("error\n got %s\nwant %s", got, want)
	}
	if got, want := string(AppendShadowList(nil, []string{"s1", "s2"}, "x", 5)), `{"results":["s1","s2"],"nextToken":"x","timestamp":5}`; got != want {
		t.Errorf("list\n got %s\nwant %s", got, want)
	}
	if got, want := string(AppendShadowList(nil, nil, "", 5)), `{"results":[],"timestamp":5}`; got != want {
		t.Errorf("list\n got %s\nwant %s", got, want)
	}
}

func TestUpdateRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, MaxShadowDepth+1) + "1" + strings.Repeat("}", MaxShadowDepth+1)
	for _, tt := range []struct {
		in    string
		want  error
		token string // that the refusal may echo
	}{
		{`{"state":`, ErrShadowJSON, ""},
		{`[]`, ErrShadowJSON, ""},
		{``, ErrShadowJSON, ""},
		{"{\"state\":{\"desired\":{\"a\":\"\xff\"}}}", ErrShadowEncoding, ""},
		{`{"clientToken":"t"}`, ErrShadowNoState, "t"},
		{`{"state":1,"clientToken":"t"}`, ErrShadowState, "t"},
		{`{"state":{"desired":1}}`, ErrShadowDesired, ""},
		{`{"state":{"reported":[]}}`, ErrShadowReported, ""},
		{`{"state":{"delta":{}}}`, ErrShadowNode, ""},
		{`{"state":{"desired":{"a":[1,null]}}}`, ErrShadowNode, ""},
		{`{"state":{"desired":{"a":[{"b":null}]}}}`, ErrShadowNode, ""},
		{`{"state":{},"version":"1"}`, ErrShadowVersion, ""},
		{`{"state":{},"version":1.5}`, ErrShadowVersion, ""},
		{`{"state":{},"version":-1}`, ErrShadowVersion, ""},
		{`{"state":{},"clientToken":1}`, ErrShadowToken, ""},
		{`{"state":{},"clientToken":"` + strings.Repeat("x", MaxTokenBytes+1) + `"}`, ErrShadowToken, ""},
		{sections(deep, ""), ErrShadowNesting, ""},
		{strings.Repeat("[", 1000), ErrShadowNesting, ""},
		{sections(`{"a":"`+strings.Repeat("x", MaxShadowBytes-8)+`"}`, `{}`), ErrShadowTooLarge, ""},
	} {
		u, err := ParseUpdate([]byte(tt.in))
		if !errors.Is(err, tt.want) {
			t.Errorf("%.60s: error %v, want %v", tt.in, err, tt.want)
		}
		if u.Token != tt.token {
			t.Errorf("%.60s: token %q, want %q", tt.in, u.Token, tt.token)
		}
	}
	for _, in := range []string{
		sections(deep[5:len(deep)-1], ""), // as deep as it may be
		sections(`{"a":"`+strings.Repeat("x", MaxShadowBytes-8-2)+`"}`, `{}`),
		`{"state":{},"version":null,"clientToken":null,"other":1}`,
	} {
		if _, err := ParseUpdate([]byte(in)); err != nil {
			t.Errorf("%.60s: %v", in, err)
		}
	}
}

func TestApplyVersions(t *testing.T) {
	one := after(t, sections(`{"a":1}`, ""), sections(`{"a":2}`, ""))
	for _, tt := range []struct {
		s       Shadow
		version string
		want    error
	}{
		{one, "2", nil},
		{one, "1", ErrShadowConflict},
		{one, "3", ErrShadowConflict},
		{one, "0", ErrShadowConflict},
		{Shadow{}, "0", nil},
		{Shadow{}, "1", nil},
		{Shadow{}, "2", ErrShadowConflict},
		{one.Delete(), "1", nil},
		{one.Delete(), "2", ErrShadowConflict},
	} {
		u, err := ParseUpdate([]byte(`{"state":{"desired":{"b":1}},"version":` + tt.version + `}`))
		if err != nil {
			t.Fatal(err)
		}
		next, err := tt.s.Apply(&u, 1)
		if !errors.Is(err, tt.want) {
			t.Errorf("version %s on %d: error %v, want %v", tt.version, tt.s.Version, err, tt.want)
		}
		if err == nil && next.Version != tt.s.Version+1 {
			t.Errorf("version %s on %d: %d follows", tt.version, tt.s.Version, next.Version)
		}
	}
	if got := one.Delete(); got.Exists || got.Version != 3 {
		t.Errorf("deleted: %+v", got)
	}
}

// TestApplyTooLarge fills a shadow in two requests that are small enough each.
func TestApplyTooLarge(t *testing.T) {
	half := strings.Repeat("x", MaxShadowBytes/2)
	s := after(t, sections(`{"a":"`+half+`"}`, ""))
	u, err := ParseUpdate([]byte(sections("", `{"a":"`+half+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(&u, 1); !errors.Is(err, ErrShadowTooLarge) {
		t.Errorf("error %v, want %v", err, ErrShadowTooLarge)
	}
}

func TestParseToken(t *testing.T) {
	for in, want := range map[string]string{``: "", `{}`: "", `{"clientToken":"t"}`: "t", `nonsense`: "", `[1]`: "", `{"clientToken":null}`: ""} {
		if got, err := ParseToken([]byte(in)); got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", in, got, err, want)
		}
	}
	if _, err := ParseToken([]byte(`{"clientToken":{}}`)); !errors.Is(err, ErrShadowToken) {
		t.Errorf("error %v, want %v", err, ErrShadowToken)
	}
}

// TestShadowTypes reads with the types for clients what the hub writes.
func TestShadowTypes(t *testing.T) {
	s := after(t, sections(`{"a":1,"b":2}`, `{"a":1}`))
	var reply ShadowReply
	if err := json.Unmarshal(s.AppendDocument(nil, 7, "t"), &reply); err != nil {
		t.Fatal(err)
	}
	want := ShadowReply{
		State: &ShadowState{Desired: json.RawMessage(`{"a":1,"b":2}`), Reported: json.RawMessage(`{"a":1}`), Delta: json.RawMessage(`{"b":2}`)},
		Metadata: &ShadowMetadata{
			Desired: json.RawMessage(`{"a":{"timestamp":1},"b":{"timestamp":1}}`), Reported: json.RawMessage(`{"a":{"timestamp":1}}`),
		},
		Version: 1, Timestamp: 7, ClientToken: "t",
	}
	if diff := cmp.Diff(want, reply); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var docs ShadowDocuments
	if err := json.Unmarshal(AppendDocuments(nil, &Shadow{}, &s, 7, ""), &docs); err != nil {
		t.Fatal(err)
	}
	if docs.Previous != nil || docs.Current == nil || docs.Current.Version != 1 || string(docs.Current.State.Desired) != `{"a":1,"b":2}` {
		t.Errorf("documents: %+v", docs)
	}
	u, err := ParseUpdate(AppendPayload(nil, ShadowRequest{State: &ShadowState{Desired: json.RawMessage(`null`)}, Version: 3, ClientToken: "t"}))
	if err != nil || !u.State || u.Desired == nil || u.Desired.Kind != KindNull || u.Reported != nil || u.Version != 3 || u.Token != "t" {
		t.Errorf("request is read as %+v, %v", u, err)
	}
}

// FuzzUpdate checks that no update panics, that what is made of it is JSON, stays within the limits, and is what it would be if
// it were made anew; and that the delta is empty once a device has reported it.
func FuzzUpdate(f *testing.F) {
	f.Add([]byte(sections(`{"a":{"b":[1,{"c":2}]},"d":1}`, `{"a":1}`)), []byte(sections(`{"a":{"b":null},"e":{}}`, "null")))
	f.Add([]byte(`{"state":null,"version":0}`), []byte(`{"state":{},"clientToken":"x"}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var s Shadow
		for i, text := range [][]byte{first, second} {
			u, err := ParseUpdate(text)
			if err != nil {
				return
			}
			before := string(s.AppendDocument(nil, 1, ""))
			next, err := s.Apply(&u, int64(i+1))
			if got := string(s.AppendDocument(nil, 1, "")); got != before {
				t.Fatalf("Apply changed its shadow from %s to %s", before, got)
			}
			if err != nil {
				return
			}
			for _, out := range [][]byte{
				u.AppendAccepted(nil, 1, 1), next.AppendDocument(nil, 1, u.Token), AppendDocuments(nil, &s, &next, 1, u.Token),
			} {
				if !json.Valid(out) {
					t.Fatalf("not JSON: %s", out)
				}
			}
			s = next
		}
		if err := s.Check(); err != nil {
			t.Fatalf("accepted what is not allowed: %v", err)
		}
		if delta := s.Delta(); delta != nil {
			s.Reported = merge(s.Reported, delta, 3)
			if again := s.Delta(); again != nil {
				t.Fatalf("after the delta was reported it is %s", again.Append(nil))
			}
		}
	})
}
