package astarte

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
	"github.com/google/go-cmp/cmp"
)

// packetsOf returns the packets of an exchange of the official SDK.
func packetsOf(t *testing.T, prefix string) (published map[string][]byte, filters []string) {
	t.Helper()
	published = map[string][]byte{}
	for _, v := range loadVectors(t, "session.json") {
		if !strings.HasPrefix(v.Name, prefix) || v.Hex == "" {
			continue
		}
		f, err := mqtt.NewFrameReader(bufio.NewReader(strings.NewReader(string(v.bytes(t)))), 1<<20).Next()
		if err != nil {
			t.Fatal(err)
		}
		switch f.Type {
		case mqtt.TypeSubscribe:
			var s mqtt.Subscribe
			if err := s.Decode(f, mqtt.V311); err != nil {
				t.Fatal(err)
			}
			filters = append(filters, fmt.Sprintf("%s %d", s.Subscriptions[0].Filter, s.Subscriptions[0].QoS))
		case mqtt.TypePublish:
			var m mqtt.Publish
			if err := m.Decode(f, mqtt.V311); err != nil {
				t.Fatal(err)
			}
			published[strings.TrimPrefix(string(m.Topic), "test/"+device)] = slices.Clone(m.Payload)
		}
	}
	slices.Sort(filters)
	return published, filters
}

// declared returns the capture's interfaces that an introspection names.
func declared(t *testing.T, introspection []byte) []*Interface {
	t.Helper()
	versions, err := astartewire.ParseIntrospection(introspection)
	if err != nil {
		t.Fatal(err)
	}
	in := capture(t)
	var all []*Interface
	for name := range versions {
		if in[name] == nil {
			t.Fatalf("the capture declares %s", name)
		}
		all = append(all, in[name])
	}
	return all
}

// TestHandshakeVectors compares what a new session begins with to what the official SDK sends.
func TestHandshakeVectors(t *testing.T) {
	want, wantFilters := packetsOf(t, "first_connect_")
	p := newPeer(t)
	cfg := p.config(t, declared(t, want[""])...)
	d, stop := runDevice(t, cfg)
	got, order, filters, connect := p.handshake(t)
	if diff := cmp.Diff(wantFilters, filters); diff != "" {
		t.Errorf("SUBSCRIBE: %s", diff)
	}
	items := func(b []byte) []string {
		list := strings.Split(string(b), ";")
		slices.Sort(list) // their order means nothing
		return list
	}
	if diff := cmp.Diff(items(want[""]), items(got[""])); diff != "" {
		t.Errorf("introspection: %s", diff)
	}
	delete(want, "")
	delete(got, "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("other messages: %s", diff)
	}
	if !slices.Equal(order, []string{"", "/control/emptyCache", "/control/producer/properties"}) {
		t.Errorf("order: %q", order)
	}
	// On purpose unlike the official SDK: a session that outlives the connection.
	if connect.ClientID != "test/"+device || connect.CleanStart || connect.KeepAlive != 60 || connect.Version != mqtt.V311 || connect.HasUsername || connect.Will != nil {
		t.Errorf("CONNECT: %+v", connect)
	}
	if got := p.asked(); !slices.Equal(got, []string{"credentials", device}) {
		t.Errorf("asked Pairing for %q", got)
	}
	// A property that is unset, as that SDK does it.
	for _, v := range loadVectors(t, "bson.json") {
		if v.Name != "unset" {
			continue
		}
		if err := d.UnsetProperty(t.Context(), "org.example.capture.Props", "/integer_endpoint"); err != nil {
			t.Fatal(err)
		}
		var decoded struct{ Topic string }
		v.decode(t, &decoded)
		topic, m := p.publish(t)
		if "test/"+device+topic != decoded.Topic || len(m.Payload) != 0 || m.QoS != 2 {
			t.Errorf("unset: %s %x", topic, m.Payload)
		}
	}
	stop()
	if _, ok := p.next(t).(*mqtt.Disconnect); !ok {
		t.Error("no DISCONNECT")
	}
}

// TestDownlinkVectors receives what was sent to the official SDK. Where that one handed data to the program so do we; the names in
// differs are where we are better, or the platform never sends such a thing.
func TestDownlinkVectors(t *testing.T) {
	differs := map[string]bool{
		"double_as_int32": true, // taken: the platform may send it
		// Refused: it is not what the mapping says. That SDK does not check what Python takes for false.
		"integer_zero_as_string": false,
		"bson_trailing":          false, "bson_type_11": false,
		"param_1": true, "param_a-b": true, "param_ä": true, "param_a b": true, // any text is a level
		"object_null_member": true, // without that member
	}
	p := newPeer(t)
	in := capture(t)
	received := make(chan Data, 100)
	cfg := p.config(t, in.All()...)
	cfg.OnData = func(d Data) { received <- d }
	runDevice(t, cfg)
	p.handshake(t)
	// What nobody has a callback for is followed by a message that comes back at once.
	mark := func(id uint16) {
		p.send(&mqtt.Publish{QoS: 1, ID: id, Topic: []byte("test/" + device + "/org.example.capture.Param/mark/v"), Payload: []byte("\x0e\x00\x00\x00\x02v\x00\x02\x00\x00\x00x\x00\x00")})
	}
	n := 0
	for k, v := range loadVectors(t, "downlink.json") {
		var decoded struct {
			Topic    string
			Callback *struct {
				Interface, Path string
				Value           any
			}
		}
		if json.Unmarshal(v.Decoded, &decoded) != nil || decoded.Topic == "" {
			continue // rows of that SDK's database
		}
		n++
		id := uint16(2*k + 1)
		p.send(&mqtt.Publish{QoS: 2, ID: id, Topic: []byte(decoded.Topic), Payload: v.bytes(t)})
		mark(id + 1)
		for range 2 { // everything is acknowledged, whatever it is
			select {
			case <-p.acked:
			case <-time.After(30 * time.Second):
				t.Fatalf("%s: not acknowledged", v.Name)
			}
		}
		var got *Data
		first := <-received
		if first.Path != "/mark/v" {
			got = &first
			<-received
		}
		want := decoded.Callback != nil
		if d, ok := differs[v.Name]; ok {
			want = d
		}
		if want != (got != nil) {
			t.Errorf("%s (%s): got %+v, want a callback: %v", v.Name, v.What, got, want)
		}
		if got != nil && decoded.Callback != nil {
			if got.Interface != decoded.Callback.Interface || got.Path != decoded.Callback.Path || !same(got.Value, decoded.Callback.Value) {
				t.Errorf("%s: got %+v, want %+v", v.Name, got, decoded.Callback)
			}
		}
		if v.Name == "with_timestamp" && (got == nil || got.Time.IsZero()) {
			t.Errorf("%s: got %+v, want a timestamp", v.Name, got)
		}
	}
	if n < 50 {
		t.Errorf("only %d vectors", n)
	}
}

// same compares a value with how the vectors write it down.
func same(got, want any) bool {
	switch g := got.(type) {
	case nil:
		return want == nil
	case Object:
		w, ok := want.(map[string]any)
		if !ok || len(w) != len(g) {
			return false
		}
		for k, v := range g {
			if !same(v, w[k]) {
				return false
			}
		}
		return true
	case float64:
		return want == fmt.Sprintf("float %v", g) || want == fmt.Sprintf("float %.1f", g)
	case int32:
		return want == float64(g)
	case int64:
		return want == float64(g)
	case bool, string:
		return want == got
	case []byte:
		return want == fmt.Sprintf("bytes %x", g)
	case time.Time:
		return want == "datetime "+g.Format("2006-01-02T15:04:05+00:00")
	case []float64:
		return sameList(g, want)
	case []int32:
		return sameList(g, want)
	case []int64:
		return sameList(g, want)
	case []bool:
		return sameList(g, want)
	case []string:
		return sameList(g, want)
	case [][]byte:
		return sameList(g, want)
	case []time.Time:
		return sameList(g, want)
	}
	return false
}

func sameList[T any](got []T, want any) bool {
	list, ok := want.([]any)
	if !ok || len(list) != len(got) {
		return false
	}
	for i := range got {
		if !same(got[i], list[i]) {
			return false
		}
	}
	return true
}

// TestPropertyVectors: Astarte's list deletes what is not in it, of Astarte's own properties only; one that cannot be read deletes nothing.
func TestPropertyVectors(t *testing.T) {
	for _, v := range loadVectors(t, "properties.json") {
		if !strings.HasPrefix(v.Name, "consumer_") {
			list, err := astartewire.ParsePurgeList(v.bytes(t))
			if err != nil || len(list) != 13 {
				t.Errorf("%s: got %q, %v", v.Name, list, err)
			}
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			p := newPeer(t)
			in := capture(t)
			cfg := p.config(t, in["org.example.capture.DevProps"], in["org.example.capture.ServerProps"])
			d, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			ctx := t.Context()
			if err := d.SetProperty(ctx, "org.example.capture.DevProps", "/a", 9); err != nil {
				t.Fatal(err)
			}
			for path, payload := range map[string]string{
				"/string_endpoint":  "\x10\x00\x00\x00\x02v\x00\x04\x00\x00\x00one\x00\x00",
				"/integer_endpoint": "\x0c\x00\x00\x00\x10v\x00\x02\x00\x00\x00\x00",
			} {
				if _, err := d.accept(ctx, "org.example.capture.ServerProps", path, []byte(payload)); err != nil {
					t.Fatal(err)
				}
			}
			var decoded struct {
				Rows [][]any `json:"rows_after"`
				Died string  `json:"network_thread_died_of"`
			}
			v.decode(t, &decoded)
			err = d.purge(ctx, v.bytes(t))
			all, e := d.Properties(ctx)
			if e != nil {
				t.Fatal(e)
			}
			rows := [][]any{}
			for _, p := range all {
				value := p.Value
				if n, ok := value.(int32); ok {
					value = float64(n)
				}
				rows = append(rows, []any{p.Interface, float64(p.Major), p.Path, value})
			}
			switch {
			case v.Name == "consumer_properties_plain":
				if err == nil || len(rows) != 3 {
					t.Errorf("got %v, %v, want nothing deleted", rows, err)
				}
			case err != nil || !cmp.Equal(rows, decoded.Rows):
				t.Errorf("got %v, %v, want %v", rows, err, decoded.Rows)
			}
		})
	}
}
