package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/document"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
	"github.com/google/go-cmp/cmp"
)

const classic = "$aws/things/T/shadow/"

// texts returns "TOPIC PAYLOAD" of messages, without what all topics begin with.
func texts(list []said, prefix string) []string {
	var out []string
	for _, s := range list {
		out = append(out, strings.TrimPrefix(s.Topic, prefix)+" "+s.Payload)
	}
	return out
}

func (r *serviceRig) expect(prefix string, want ...string) {
	r.Helper()
	if diff := cmp.Diff(want, texts(r.heard(), prefix)); diff != "" {
		r.Errorf("messages (-want +got)\n%s", diff)
	}
}

// at is the second in which a rig begins.
const at = 1778051289

func TestShadowLife(t *testing.T) {
	r := newServiceRig(t)
	c := r.sender("c")
	r.say(c, classic+`get {"clientToken":"g"}`)
	r.expect(classic, fmt.Sprintf(`get/rejected {"code":404,"message":"No shadow exists with name: 'T'","timestamp":%d,"clientToken":"g"}`, at))
	r.say(c, classic+`update {"state":{"desired":{"a":1.50,"b":{"c":true}},"reported":{"a":1}},"clientToken":"u"}`)
	r.expect(classic,
		fmt.Sprintf(`update/delta {"version":1,"timestamp":%d,"state":{"a":1.50,"b":{"c":true}},"metadata":{"a":{"timestamp":%[1]d},"b":{"c":{"timestamp":%[1]d}}},"clientToken":"u"}`, at),
		fmt.Sprintf(`update/documents {"previous":null,"current":{"state":{"desired":{"a":1.50,"b":{"c":true}},"reported":{"a":1}},"metadata":{"desired":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[1]d}}},"reported":{"a":{"timestamp":%[1]d}}},"version":1},"timestamp":%[1]d,"clientToken":"u"}`, at),
		fmt.Sprintf(`update/accepted {"state":{"desired":{"a":1.50,"b":{"c":true}},"reported":{"a":1}},"metadata":{"desired":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[1]d}}},"reported":{"a":{"timestamp":%[1]d}}},"version":1,"timestamp":%[1]d,"clientToken":"u"}`, at),
	)
	r.advance(time.Minute)
	r.start() // what is stored is enough
	r.say(c, classic+`update {"state":{"reported":{"a":1.5,"b":{"c":true}}},"version":1}`)
	r.expect(classic,
		fmt.Sprintf(`update/documents {"previous":{"state":{"desired":{"a":1.50,"b":{"c":true}},"reported":{"a":1}},"metadata":{"desired":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[1]d}}},"reported":{"a":{"timestamp":%[1]d}}},"version":1},`+
			`"current":{"state":{"desired":{"a":1.50,"b":{"c":true}},"reported":{"a":1.5,"b":{"c":true}}},"metadata":{"desired":{"a":{"timestamp":%[1]d},"b":{"c":{"timestamp":%[1]d}}},"reported":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[2]d}}}},"version":2},"timestamp":%[2]d}`, at, at+60),
		fmt.Sprintf(`update/accepted {"state":{"reported":{"a":1.5,"b":{"c":true}}},"metadata":{"reported":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[1]d}}}},"version":2,"timestamp":%[1]d}`, at+60),
	)
	r.say(c, classic+`update {"state":{"reported":{"a":2}},"version":1,"clientToken":"v"}`, classic+"get", classic+`delete {"clientToken":"d"}`, classic+"get nonsense")
	r.expect(classic,
		fmt.Sprintf(`update/rejected {"code":409,"message":"Version conflict","timestamp":%d,"clientToken":"v"}`, at+60),
		fmt.Sprintf(`get/accepted {"state":{"desired":{"a":1.50,"b":{"c":true}},"reported":{"a":1.5,"b":{"c":true}}},"metadata":{"desired":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[1]d}}},"reported":{"a":{"timestamp":%d},"b":{"c":{"timestamp":%[2]d}}}},"version":2,"timestamp":%[2]d}`, at, at+60),
		fmt.Sprintf(`delete/accepted {"version":2,"timestamp":%d,"clientToken":"d"}`, at+60),
		fmt.Sprintf(`get/rejected {"code":404,"message":"No shadow exists with name: 'T'","timestamp":%d}`, at+60),
	)
	r.view(func(rd store.Reader) error {
		dev, err := rd.Device(deviceKey(testTenant, "T"))
		if err != nil {
			return err
		}
		for l, err := range rd.Leaves(dev.Num, core.Leaf{}) {
			t.Errorf("left behind: %+v, %v", l, err)
		}
		return nil
	})
}

// version returns the version that an update is accepted with, 0 if it is rejected.
func (r *serviceRig) version(update string) int64 {
	r.Helper()
	r.say(r.sender("c"), classic+"update "+update)
	for _, m := range r.heard() {
		var reply awswire.ShadowReply
		if m.Topic == classic+"update/accepted" && json.Unmarshal([]byte(m.Payload), &reply) == nil {
			return reply.Version
		}
	}
	return 0
}

func TestShadowVersionsOutliveDeletion(t *testing.T) {
	r := newServiceRig(t)
	r.version(`{"state":{"reported":{"a":1}}}`)
	r.say(r.sender("c"), classic+"delete")
	r.advance(47 * time.Hour)
	r.do(func(tx *commit.Tx) error { _, err := r.d.sweepShadows(tx, testTenant, tx.Now()); return err })
	if got := r.version(`{"state":{"reported":{"a":1}}}`); got != 3 {
		t.Errorf("after 47 hours version %d follows, want 3", got)
	}
	r.say(r.sender("c"), classic+"delete")
	r.advance(49 * time.Hour)
	if got := r.version(`{"state":{"reported":{"a":1}}}`); got != 1 {
		t.Errorf("after 49 hours version %d follows, want 1", got)
	}
	r.say(r.sender("c"), classic+"delete")
	r.advance(49 * time.Hour)
	r.do(func(tx *commit.Tx) error { _, err := r.d.sweepShadows(tx, testTenant, tx.Now()); return err })
	r.view(func(rd store.Reader) error {
		for _, prefix := range []string{keyShadow, keyShadowGone} {
			for x, err := range rd.Records(testTenant, Name, prefix) {
				t.Errorf("not swept: %s, %v", x.Key, err)
			}
		}
		return nil
	})
}

// TestShadowStorage checks that what is read from storage is what was written, whatever becomes of it on the way.
func TestShadowStorage(t *testing.T) {
	r := newServiceRig(t)
	var s awswire.Shadow
	for i, text := range []string{
		`{"state":{"desired":{"a/b":{"~c":1,"":{"":2}},"n":12345678901234567890,"e":{},"l":[1,{"x":[]},"y"],"f":1e3,"t":"é\u0000"}}}`,
		`{"state":{"desired":{"a/b":3,"n":{"deep":{"er":-0.0}},"e":{"full":1},"l":null},"reported":{"e":[]}}}`,
		`{"state":{"desired":{"a/b":{"new":1},"n":{"deep":null},"e":{"full":null}},"reported":null}}`,
		`{"state":{"desired":{"a/b":null,"n":7,"e":null,"f":null},"reported":{"x":{"y":{"z":1},"w":2}}}}`,
		`{"state":{"desired":{"t":null,"n":null},"reported":{"x":{"y":1}}}}`,
		`{"state":null}`,
	} {
		if got := r.version(text); got != int64(i+1) {
			t.Fatalf("%s: version %d", text, got)
		}
		u, err := awswire.ParseUpdate([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if s, err = s.Apply(&u, r.now.Unix()); err != nil {
			t.Fatal(err)
		}
		body, err := r.d.getThingShadow(context.Background(), testTenant, "T", "")
		if err != nil {
			t.Fatal(err)
		}
		// The order of members is storage's.
		want, got := mustNode(t, s.AppendDocument(nil, r.now.Unix(), "")), mustNode(t, body)
		if !want.Equal(got) {
			t.Errorf("%s:\n got %s\nwant %s", text, got.Append(nil), want.Append(nil))
		}
		r.advance(time.Second)
	}
}

func mustNode(tb testing.TB, text []byte) *awswire.Node {
	tb.Helper()
	n, err := awswire.ParseJSON(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return n
}

// topics returns the last two words of the topics.
func topics(list []said) []string {
	var out []string
	for _, s := range list {
		parts := strings.Split(s.Topic, "/")
		out = append(out, strings.Join(parts[len(parts)-2:], "/"))
	}
	return out
}

// TestOperatorSetsDesired changes documents as the admin API does.
func TestOperatorSetsDesired(t *testing.T) {
	r := newServiceRig(t)
	r.do(func(tx *commit.Tx) error { return r.d.putThing(tx, testTenant, thing{Name: "T"}) })
	set := func(path string, v any) error {
		return r.c.Do(context.Background(), func(tx *commit.Tx) error {
			dev, err := tx.Device(deviceKey(testTenant, "T"))
			if err != nil {
				return err
			}
			ref := document.Ref{Device: dev, Side: core.Desired}
			if v == nil {
				_, err = document.Delete(tx, ref, path)
				return err
			}
			value, err := core.Append(nil, v)
			if err != nil {
				return err
			}
			_, err = document.Set(tx, ref, path, value)
			return err
		})
	}
	state := func() string {
		body, err := r.d.getThingShadow(context.Background(), testTenant, "T", "")
		if err != nil {
			return err.Error()
		}
		var x struct {
			State   json.RawMessage
			Version int64
		}
		if err := json.Unmarshal(body, &x); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d %s", x.Version, x.State)
	}
	for _, tt := range []struct {
		path string
		v    any
		want string
	}{
		{"/setpoint", int64(21), `1 {"desired":{"setpoint":21},"delta":{"setpoint":21}}`},
		{"/setpoint", int64(21), `2 {"desired":{"setpoint":21},"delta":{"setpoint":21}}`}, // whoever repeats it wants it heard
		{"/a/b", "x", `3 {"desired":{"a":{"b":"x"},"setpoint":21},"delta":{"a":{"b":"x"},"setpoint":21}}`},
		{"/a", map[string]any{"c": map[string]any{"d": 1.5}}, `4 {"desired":{"a":{"b":"x","c":{"d":1.5}},"setpoint":21},"delta":{"a":{"b":"x","c":{"d":1.5}},"setpoint":21}}`},
		{"/setpoint/deeper", true, `5 {"desired":{"a":{"b":"x","c":{"d":1.5}},"setpoint":{"deeper":true}},"delta":{"a":{"b":"x","c":{"d":1.5}},"setpoint":{"deeper":true}}}`},
		{"/a", int64(1), `6 {"desired":{"a":1,"setpoint":{"deeper":true}},"delta":{"a":1,"setpoint":{"deeper":true}}}`},
		{"/a", nil, `7 {"desired":{"setpoint":{"deeper":true}},"delta":{"setpoint":{"deeper":true}}}`},
		{"/setpoint/deeper", nil, `8 {"desired":{"setpoint":{}},"delta":{"setpoint":{}}}`},
	} {
		if err := set(tt.path, tt.v); err != nil {
			t.Fatalf("set %s to %v: %v", tt.path, tt.v, err)
		}
		if got := state(); got != tt.want {
			t.Errorf("set %s to %v:\n got %s\nwant %s", tt.path, tt.v, got, tt.want)
		}
		if got, want := topics(r.heard()), []string{"update/delta", "update/documents", "update/accepted"}; !slices.Equal(got, want) {
			t.Errorf("set %s to %v: told %q, want %q", tt.path, tt.v, got, want)
		}
	}
	before := state()
	for path, v := range map[string]any{
		"nowhere": int64(1), "": int64(1), "/~2": int64(1), "/list": []any{nil}, "/long": strings.Repeat("x", awswire.MaxShadowBytes),
		strings.Repeat("/d", awswire.MaxShadowDepth+1): int64(1),
	} {
		if err := set(path, v); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("set %.20s: error %v, want %v", path, err, core.ErrInvalid)
		}
	}
	if got := state(); got != before {
		t.Errorf("a refused change left %s, before it was %s", got, before)
	}
	if got := r.heard(); len(got) != 0 {
		t.Errorf("a refused change was told: %+v", got)
	}
}

func TestShadowOverHTTP(t *testing.T) {
	r := newServiceRig(t)
	ctx := context.Background()
	r.do(func(tx *commit.Tx) error { return nil })
	for _, name := range []string{"", "b", "a", "c"} {
		if _, err := r.d.updateThingShadow(ctx, testTenant, "T", name, []byte(`{"state":{"desired":{"x":1}},"clientToken":"t"}`)); err != nil {
			t.Fatal(err)
		}
		if got := r.heard(); len(got) != 3 || got[2].Topic != awswire.ShadowTopic("T", name, awswire.OpUpdate, awswire.Accepted) {
			t.Errorf("update %q told %+v", name, got)
		}
	}
	page, err := r.d.listNamedShadowsForThing(ctx, testTenant, "T", "", 2)
	if want := fmt.Sprintf(`{"results":["a","b"],"nextToken":"Yg","timestamp":%d}`, at); err != nil || string(page) != want {
		t.Errorf("first page %s, %v, want %s", page, err, want)
	}
	page, err = r.d.listNamedShadowsForThing(ctx, testTenant, "T", "Yg", 2)
	if want := fmt.Sprintf(`{"results":["c"],"timestamp":%d}`, at); err != nil || string(page) != want {
		t.Errorf("second page %s, %v, want %s", page, err, want)
	}
	if page, err = r.d.listNamedShadowsForThing(ctx, testTenant, "unknown", "", 0); err != nil || !strings.HasPrefix(string(page), `{"results":[],`) {
		t.Errorf("unknown thing: %s, %v", page, err)
	}
	body, err := r.d.deleteThingShadow(ctx, testTenant, "T", "b")
	if want := fmt.Sprintf(`{"version":1,"timestamp":%d}`, at); err != nil || string(body) != want {
		t.Errorf("delete: %s, %v, want %s", body, err, want)
	}
	if got := topics(r.heard()); !slices.Equal(got, []string{"delete/accepted"}) {
		t.Errorf("delete told %q", got)
	}
	for what, tt := range map[string]struct {
		name string
		f    func() ([]byte, error)
	}{
		"get":    {"ResourceNotFoundException", func() ([]byte, error) { return r.d.getThingShadow(ctx, testTenant, "T", "b") }},
		"delete": {"ResourceNotFoundException", func() ([]byte, error) { return r.d.deleteThingShadow(ctx, testTenant, "T", "b") }},
		"JSON":   {"InvalidRequestException", func() ([]byte, error) { return r.d.updateThingShadow(ctx, testTenant, "T", "a", []byte("{")) }},
		"conflict": {"ConflictException", func() ([]byte, error) {
			return r.d.updateThingShadow(ctx, testTenant, "T", "a", []byte(`{"state":{},"version":9}`))
		}},
		"large": {"RequestEntityTooLargeException", func() ([]byte, error) {
			return r.d.updateThingShadow(ctx, testTenant, "T", "a", []byte(`{"state":{"desired":{"x":"`+strings.Repeat("x", 9000)+`"}}}`))
		}},
		"thing":  {"InvalidRequestException", func() ([]byte, error) { return r.d.getThingShadow(ctx, testTenant, "T T", "") }},
		"shadow": {"InvalidRequestException", func() ([]byte, error) { return r.d.getThingShadow(ctx, testTenant, "T", "a/b") }},
		"page":   {"InvalidRequestException", func() ([]byte, error) { return r.d.listNamedShadowsForThing(ctx, testTenant, "T", "", 101) }},
	} {
		if _, err := tt.f(); err == nil {
			t.Errorf("%s: accepted", what)
		} else if name, refusal := shadowException(err); name != tt.name || refusal == nil {
			t.Errorf("%s: %v is %q, want %q", what, err, name, tt.name)
		}
	}
	if got := r.heard(); len(got) != 0 {
		t.Errorf("refusals over HTTP were told: %+v", got)
	}
}

func TestShadowsInFlight(t *testing.T) {
	r := newServiceRig(t)
	c := r.sender("c")
	var many []string
	for range maxShadowsInFlight + 3 {
		many = append(many, classic+"update "+`{"state":{"reported":{"a":1}}}`)
	}
	r.say(c, many...)
	rejected := 0
	for _, m := range r.heard() {
		if m.Topic == classic+"update/rejected" {
			rejected++
			if !strings.HasPrefix(m.Payload, `{"code":429,"message":"Too many requests",`) {
				t.Errorf("rejected with %s", m.Payload)
			}
		}
	}
	if rejected != 3 {
		t.Errorf("%d were rejected, want 3", rejected)
	}
	r.say(c, many[0])
	if got := topics(r.heard()); !slices.Contains(got, "update/accepted") {
		t.Errorf("after the answers: %q", got)
	}
}

func TestShadowsPerSecond(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(20, func() time.Time { return now })
	allowed := func(thing string) (n int) {
		for range 50 {
			if l.allow(deviceKey(testTenant, thing)) {
				n++
			}
		}
		return n
	}
	if got := allowed("T"); got != 20 {
		t.Errorf("%d at once, want 20", got)
	}
	if got := allowed("U"); got != 20 {
		t.Errorf("%d of another thing, want 20", got)
	}
	now = now.Add(500 * time.Millisecond)
	if got := allowed("T"); got != 10 {
		t.Errorf("%d after half a second, want 10", got)
	}
	for i := range 3 * maxAllowances {
		l.allow(deviceKey(testTenant, fmt.Sprint(i)))
	}
	if got := len(l.left); got > maxAllowances {
		t.Errorf("%d things are remembered", got)
	}
}

// TestBusyShadows asks for more than a thing may, over either way: both count for the same.
func TestBusyShadows(t *testing.T) {
	g := newHTTPRig(t)
	cfg := g.d.cfg
	cfg.ShadowsPerSecond = 0 // as at the service
	g.d = New(cfg)
	c := g.sender("c")
	get := step{do: "GET /things/T/shadow", service: serviceData}
	const update = `{"state":{"reported":{"a":1}}}`
	g.tell(step{do: "POST /things/T/shadow", service: serviceData, body: update})
	for range shadowsPerSecond - 2 {
		g.tell(get)
	}
	g.heard()
	g.say(c, classic+"get", classic+"get", classic+"update "+update)
	got := g.heard()
	if names := topics(got); !slices.Equal(names, []string{"get/accepted", "get/rejected", "update/rejected"}) {
		t.Fatalf("told %q", names)
	}
	for _, m := range got[1:] {
		if !strings.HasPrefix(m.Payload, `{"code":429,"message":"Too many requests",`) {
			t.Errorf("%s: %s", m.Topic, m.Payload)
		}
	}
	for _, what := range []string{"GET", "POST", "DELETE"} {
		w := g.send(g.request(what+" /things/T/shadow", serviceData, update, nil))
		if w.Code != 429 || w.Header().Get("x-amzn-ErrorType") != throttling {
			t.Errorf("%s: got %d, %v", what, w.Code, w)
		}
	}
	g.tell(step{do: "GET /things/U/shadow", service: serviceData, want: notFound}) // another thing's are not meant
	g.advance(time.Second)
	g.tell(step{do: get.do, service: serviceData, has: []string{`"version":1`}})
}

// TestShadowsAndTheirThing checks that shadows need no thing, outlive it, and go when an operator deletes the device.
func TestShadowsAndTheirThing(t *testing.T) {
	r := newServiceRig(t)
	r.version(`{"state":{"reported":{"a":1}}}`)
	r.do(func(tx *commit.Tx) error { return r.d.putThing(tx, testTenant, thing{Name: "T"}) })
	if got := r.version(`{"state":{"reported":{"a":2}}}`); got != 2 {
		t.Errorf("after the thing was made version %d follows, want 2", got)
	}
	r.do(func(tx *commit.Tx) error { return r.d.deleteThing(tx, testTenant, "T") })
	r.view(func(rd store.Reader) error {
		if _, err := readThing(rd, testTenant, "T"); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("the deleted thing: %v", err)
		}
		return nil
	})
	if got := r.version(`{"state":{"reported":{"a":3}}}`); got != 3 {
		t.Errorf("after the thing was deleted version %d follows, want 3", got)
	}
	r.do(func(tx *commit.Tx) error {
		dev, err := tx.Device(deviceKey(testTenant, "T"))
		if err != nil {
			return err
		}
		return registry.Delete(tx, dev)
	})
	if _, err := r.d.getThingShadow(context.Background(), testTenant, "T", ""); err == nil {
		t.Error("the shadow outlived its device")
	}
	r.do(func(tx *commit.Tx) error { return r.d.putThing(tx, testTenant, thing{Name: "U"}) })
	r.do(func(tx *commit.Tx) error { return r.d.deleteThing(tx, testTenant, "U") })
	r.view(func(rd store.Reader) error {
		if _, err := rd.Device(deviceKey(testTenant, "U")); !errors.Is(err, core.ErrNotFound) {
			t.Errorf("the device of a deleted thing without shadows: %v", err)
		}
		return nil
	})
}

// FuzzPointer checks that paths and names are inverse, and that nothing else is taken for a path.
func FuzzPointer(f *testing.F) {
	f.Add("a/b~c", "/a~1b~0c")
	f.Add("", "/~2")
	f.Fuzz(func(t *testing.T, name, path string) {
		if got, ok := unescapePointer(escapePointer(name)); !ok || got != name {
			t.Errorf("%q came back as %q, %v", name, got, ok)
		}
		root := awswire.NewObject()
		if plant(root, path, awswire.NewInt(1)) != nil {
			return
		}
		var s shadow
		next := awswire.Shadow{Desired: root}
		list, err := s.changes(&next)
		if err != nil || len(list) != 1 || list[0].path != path {
			t.Errorf("path %q is stored as %+v, %v", path, list, err)
		}
	})
}
