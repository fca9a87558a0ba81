package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/google/go-cmp/cmp"
)

// exchange is a request of the client and the answer to it.
type exchange struct {
	t       *testing.T
	token   string
	payload map[string]any // of the request, without the token
}

// expect is the step in which the client sends a request.
func (x *exchange) expect(topic string) mqtttest.Step {
	return mqtttest.ExpectThat("request to "+topic, func(p mqtt.Packet) error {
		m, ok := p.(*mqtt.Publish)
		if !ok || string(m.Topic) != topic || m.QoS != 1 {
			return fmt.Errorf("got %+v", p)
		}
		x.payload = nil
		if err := json.Unmarshal(m.Payload, &x.payload); err != nil {
			return err
		}
		x.token, _ = x.payload["clientToken"].(string)
		delete(x.payload, "clientToken")
		return nil
	})
}

// reply returns the answer, with the token in it.
func (x *exchange) reply(topic, body string) *mqtt.Publish {
	p := &mqtt.Publish{Topic: []byte(topic), Payload: []byte(body)}
	if x.token != "" {
		p.Payload = []byte(strings.TrimSuffix(body, "}") + `,"clientToken":"` + x.token + `"}`)
	}
	return p
}

// answer is the steps of a request with its answer; suffix is accepted or rejected. The answer has QoS 0.
func answer(t *testing.T, topic, suffix, body string) mqtttest.Step {
	t.Helper()
	x := &exchange{t: t}
	return steps(x.expect(topic), puback(), x.send(topic+suffix, body))
}

func (x *exchange) send(topic, body string) mqtttest.Step {
	return mqtttest.SendThat("answer on "+topic, func() any { return x.reply(topic, body) })
}

func steps(all ...mqtttest.Step) mqtttest.Step { return mqtttest.Steps(all...) }

const prefix = "$aws/things/pump-7/shadow"

func TestShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		update := &exchange{t: t}
		r := newRig(t, nil, connect(), connack(false),
			subscribe(prefix+"/get/+", 1), suback(),
			answer(t, prefix+"/get", accepted, `{"state":{"desired":{"led":"on"},"reported":{"led":"off"},"delta":{"led":"on"}},"metadata":{"desired":{"led":{"timestamp":1}}},"version":7,"timestamp":1700000001}`),
			subscribe(prefix+"/update/accepted", 1), suback(), subscribe(prefix+"/update/rejected", 1), suback(),
			update.expect(prefix+"/update"), puback(), update.send(prefix+"/update/accepted", `{"state":{"reported":{"led":"on"}},"version":8,"timestamp":1700000002}`),
			answer(t, prefix+"/update", rejected, `{"code":409,"message":"Version conflict"}`),
			answer(t, prefix+"/update", accepted, `{"state":null,"metadata":{"timestamp":1},"version":9}`),
			subscribe(prefix+"/name/conf/delete/+", 1), suback(), answer(t, prefix+"/name/conf/delete", accepted, `{"version":3,"timestamp":1700000003}`),
			answer(t, prefix+"/get", rejected, `{"code":404,"message":"No shadow exists with name: 'pump-7'"}`),
		)
		r.start()
		s := r.Shadow("")
		d, err := s.Get(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := &ShadowDocument{
			Desired: json.RawMessage(`{"led":"on"}`), Reported: json.RawMessage(`{"led":"off"}`), Delta: json.RawMessage(`{"led":"on"}`),
			Metadata: ShadowMetadata{Desired: json.RawMessage(`{"led":{"timestamp":1}}`)}, Version: 7, Time: time.Unix(1700000001, 0).UTC(), ClientToken: d.ClientToken,
		}
		if diff := cmp.Diff(want, d); diff != "" || d.ClientToken == "" {
			t.Error(diff)
		}
		d, err = s.Report(r.ctx, map[string]any{"led": "on", "old": nil}, &ShadowOptions{Version: 7})
		if err != nil || d.Version != 8 || string(d.Reported) != `{"led":"on"}` {
			t.Errorf("Report: %+v, %v", d, err)
		}
		if diff := cmp.Diff(map[string]any{"state": map[string]any{"reported": map[string]any{"led": "on", "old": nil}}, "version": 7.0}, update.payload); diff != "" {
			t.Error(diff)
		}
		_, err = s.Desire(r.ctx, struct{ X int }{1}, &ShadowOptions{Version: 7})
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != "409" || refusal.Detail != "Version conflict" || !errors.Is(err, fairlead.ErrConflict) {
			t.Errorf("Desire: %v", err)
		}
		if d, err := s.UpdateJSON(r.ctx, []byte(`{"state":null,"clientToken":"mine"}`)); err != nil || d.Version != 9 || d.Reported != nil {
			t.Errorf("UpdateJSON: %+v, %v", d, err)
		}
		if v, err := r.Shadow("conf").Delete(r.ctx); err != nil || v != 3 {
			t.Errorf("Delete: %d, %v", v, err)
		}
		if _, err := s.Get(r.ctx); !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		if err := r.finish(); err != nil {
			t.Error(err)
		}
	})
}

func TestShadowRefusals(t *testing.T) {
	c, err := New(Config{Endpoint: endpoint, Identity: newAuthority(t).device(t, "x"), ThingName: "pump-7"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"no thing":        func() error { _, err := c.ThingShadow("", "").Get(ctx); return err },
		"bad thing":       func() error { _, err := c.ThingShadow("a/b", "").Delete(ctx); return err },
		"bad shadow":      func() error { _, err := c.Shadow("a/b").OnDelta(ctx, nil); return err },
		"no object":       func() error { _, err := c.Shadow("").Report(ctx, 1, nil); return err },
		"not encodable":   func() error { _, err := c.Shadow("").Desire(ctx, func() {}, nil); return err },
		"negative":        func() error { _, err := c.Shadow("").Desire(ctx, Null, &ShadowOptions{Version: -1}); return err },
		"Invalid JSON":    func() error { _, err := c.Shadow("").UpdateJSON(ctx, []byte(`{"state":`)); return err },
		"JSON of a list":  func() error { _, err := c.Shadow("").UpdateJSON(ctx, []byte(`[]`)); return err },
		"JSON of nothing": func() error { _, err := c.Shadow("").UpdateJSON(ctx, []byte(`null`)); return err },
	} {
		if err := call(); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Shadow("").Report(ctx, map[string]string{"a": strings.Repeat("x", 128<<10)}, nil); !errors.Is(err, fairlead.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

// Answers belong to requests by their tokens, in whatever order they come, and those of other clients to nobody.
func TestShadowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &exchange{t: t}, &exchange{t: t}
		r := newRig(t, nil, connect(), connack(false), subscribe(prefix+"/get/+", 1), suback(),
			first.expect(prefix+"/get"), puback(), second.expect(prefix+"/get"), puback(),
			mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/get/accepted"), Payload: []byte(`{"version":99,"clientToken":"another"}`)}),
			mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/get/rejected"), Payload: []byte(`{"code":400,"message":"Invalid JSON"}`)}), // whose?
			mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/get/accepted"), Payload: []byte(`no JSON`)}),
			second.send(prefix+"/get/accepted", `{"version":2}`), first.send(prefix+"/get/accepted", `{"version":1}`), settle(),
			first.expect(prefix+"/get"), puback(), mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/get/rejected"), Payload: []byte(`{"code":413,"message":"The payload exceeds"}`)}),
			first.expect(prefix+"/get"), puback(), first.send(prefix+"/get/accepted", `{"version":"seven"}`),
			first.expect(prefix+"/get"), puback(), first.send(prefix+"/get/rejected", `{"code":"x"}`),
		)
		r.start()
		var got [2]int64
		var both sync.WaitGroup
		for i := range got {
			both.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				d, err := r.Shadow("").Get(r.ctx)
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = d.Version
			})
		}
		both.Wait()
		if got != [2]int64{1, 2} {
			t.Errorf("got versions %d", got)
		}
		if _, err := r.Shadow("").Get(r.ctx); !errors.Is(err, fairlead.ErrTooLarge) { // it can only be ours
			t.Errorf("refusal without a token: %v", err)
		}
		for range 2 {
			if _, err := r.Shadow("").Get(r.ctx); !errors.Is(err, fairlead.ErrUnavailable) {
				t.Errorf("answer that makes no sense: %v", err)
			}
		}
		_ = r.finish()
	})
}

// A request ends with its time; one that is harmless is sent again on the next connection, others end with the connection.
func TestShadowTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{t: t}
		r := newRig(t, func(c *Config) { c.RequestTimeout = 5 * time.Second }, connect(), connack(false), subscribe(prefix+"/get/+", 1), suback(),
			x.expect(prefix+"/get"), puback(), // no answer
			x.expect(prefix+"/get"), mqtttest.Hangup(), connect(), connack(false), subscribe(prefix+"/get/+", 1), suback(), ping(), x.expect(prefix+"/get"), puback(),
			x.send(prefix+"/get/accepted", `{"version":4}`),
			subscribe(prefix+"/update/accepted", 1), suback(), subscribe(prefix+"/update/rejected", 1), suback(),
			x.expect(prefix+"/update"), mqtttest.Hangup(), connect(), connack(false), subscribe(prefix+"/get/+", 1), suback(),
			subscribe(prefix+"/update/accepted", 1), suback(), subscribe(prefix+"/update/rejected", 1), suback(), ping(),
		)
		r.start()
		start := time.Now()
		if _, err := r.Shadow("").Get(r.ctx); !errors.Is(err, ErrTimeout) || !errors.Is(err, fairlead.ErrUnavailable) || time.Since(start).Truncate(time.Second) != 5*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if d, err := r.Shadow("").Get(r.ctx); err != nil || d.Version != 4 {
			t.Errorf("Get over two connections: %+v, %v", d, err)
		}
		if _, err := r.Shadow("").Report(r.ctx, Null, nil); !errors.Is(err, fairlead.ErrUnavailable) || errors.Is(err, ErrTimeout) {
			t.Errorf("Report on a connection that was lost: %v", err)
		}
		_ = r.finish()
	})
}

// One-shot handles unsubscribe when nobody waits any more, others stay subscribed.
func TestShadowOneShot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := &exchange{t: t}, &exchange{t: t}
		r := newRig(t, nil, connect(), connack(false),
			subscribe(prefix+"/get/+", 1), suback(), x.expect(prefix+"/get"), puback(), y.expect(prefix+"/get"), puback(),
			x.send(prefix+"/get/accepted", `{"version":1}`), settle(), y.send(prefix+"/get/accepted", `{"version":2}`), unsubscribe(prefix+"/get/+"), unsuback(), settle(),
			subscribe(prefix+"/get/+", 1), suback(), answer(t, prefix+"/get", accepted, `{"version":3}`), settle(),
			answer(t, prefix+"/get", accepted, `{"version":4}`), settle(),
		)
		r.start()
		s := r.Shadow("").OneShot()
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				if _, err := s.Get(r.ctx); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		time.Sleep(time.Second)
		for _, s := range []*Shadow{r.Shadow(""), s} {
			if _, err := s.Get(r.ctx); err != nil {
				t.Error(err)
			}
		}
		_ = r.finish()
	})
}

// A delta is handed out when its version is that of an update just accepted, and when it begins again with 1 long after a deletion; not
// twice, and not late.
func TestDelta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delta := func(version, at int, state string) mqtttest.Step {
			return mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/update/delta"), Payload: fmt.Appendf(nil, `{"version":%d,"timestamp":%d,"state":%s}`, version, at, state)})
		}
		var r *rig
		r = newRig(t, func(c *Config) { c.OnConnection = nil }, connect(), connack(false), subscribe(prefix+"/update/delta", 1), suback(), settle(),
			subscribe(prefix+"/update/accepted", 1), suback(), subscribe(prefix+"/update/rejected", 1), suback(),
			answer(t, prefix+"/update", accepted, `{"version":7}`), delta(7, 100, `{"a":1}`), delta(7, 100, `{"a":1}`), delta(6, 99, `{"a":0}`), delta(8, 100, `{"a":2}`),
			mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/update/delta"), Payload: []byte(`{"version":`)}), delta(1, 999, `{"a":3}`), settle(),
			mqtttest.Do("stop", func() { r.cancel() }),
		)
		var stop func()
		var got []string
		r.start()
		var err error
		stop, err = r.Shadow("").OnDelta(r.ctx, func(d *ShadowDelta) {
			got = append(got, fmt.Sprintf("%d %s", d.Version, d.State))
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Shadow("").Report(r.ctx, map[string]int{"b": 1}, nil); err != nil {
			t.Error(err)
		}
		<-r.ended
		_ = r.finish()
		if want := []string{`7 {"a":1}`, `8 {"a":2}`, `1 {"a":3}`}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		stop()
		stop()
		if r.subs.find(prefix+"/update/delta") != nil {
			t.Error("the subscription is still there")
		}
	})
}

func TestDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		send := func(body string) mqtttest.Step {
			return mqtttest.Send(mqtt.Publish{Topic: []byte(prefix + "/name/conf/update/documents"), Payload: []byte(body)})
		}
		r := newRig(t, nil, connect(), connack(false), subscribe(prefix+"/name/conf/update/documents", 1), suback(), settle(),
			send(`{"previous":null,"current":{"state":{"desired":{"a":1}},"metadata":{"desired":{"a":{"timestamp":5}}},"version":1},"timestamp":5,"clientToken":"t"}`),
			send(`{"previous":{"state":{"desired":{"a":1}},"metadata":{},"version":1},"current":{"state":{},"metadata":{},"version":2},"timestamp":6}`), settle())
		r.start()
		var got []*ShadowDocuments
		if _, err := r.Shadow("conf").OnDocuments(r.ctx, func(d *ShadowDocuments) { got = append(got, d) }); err != nil {
			t.Fatal(err)
		}
		_ = r.finish()
		one := &ShadowDocument{Desired: json.RawMessage(`{"a":1}`), Metadata: ShadowMetadata{Desired: json.RawMessage(`{"a":{"timestamp":5}}`)}, Version: 1}
		bare := *one
		bare.Metadata = ShadowMetadata{}
		want := []*ShadowDocuments{{Current: one, Time: time.Unix(5, 0).UTC(), ClientToken: "t"}, {Previous: &bare, Current: &ShadowDocument{Version: 2}, Time: time.Unix(6, 0).UTC()}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// A refused subscription is the request's error, and the next request tries again.
func TestShadowSubscriptionRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, connect(), connack(false), subscribe(prefix+"/get/+", 1), mqtttest.Send(mqtt.SubAck{Codes: []byte{0x80}}), settle(),
			subscribe(prefix+"/get/+", 1), suback(), answer(t, prefix+"/get", accepted, `{"version":1}`))
		r.start()
		if _, err := r.Shadow("").Get(r.ctx); !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("Get: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := r.Shadow("").Get(r.ctx); err != nil {
			t.Errorf("Get: %v", err)
		}
		_ = r.finish()
	})
}

// AWS IoT takes ten requests to shadows at a time on a connection.
func TestShadowRequestsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var xs [12]exchange
		all := []mqtttest.Step{connect(), connack(false), subscribe(prefix+"/get/+", 1), suback()}
		for i := range 10 {
			all = append(all, xs[i].expect(prefix+"/get"), puback())
		}
		all = append(all, settle(), xs[0].send(prefix+"/get/accepted", `{"version":1}`), xs[10].expect(prefix+"/get"), puback(), xs[1].send(prefix+"/get/accepted", `{"version":1}`),
			xs[11].expect(prefix+"/get"), puback())
		for i := 2; i < 12; i++ {
			all = append(all, xs[i].send(prefix+"/get/accepted", `{"version":1}`))
		}
		r := newRig(t, nil, all...)
		r.start()
		var requests sync.WaitGroup
		for range xs {
			requests.Go(func() {
				if _, err := r.Shadow("").Get(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		requests.Wait()
		_ = r.finish()
	})
}
