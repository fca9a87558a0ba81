package astartego

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// message is a PUBLISH on the wire.
type message struct {
	topic   string // behind the device's own
	payload []byte
	qos     byte
}

// recorder collects what a device sends.
type recorder struct {
	base string

	mu    sync.Mutex
	lines []string // "SUBSCRIBE filter", "PUBLISH topic"
	sent  []message
}

func record(t *testing.T, g *gadget) *recorder {
	t.Helper()
	r := &recorder{base: g.cfg.Realm + "/" + g.cfg.DeviceID}
	newTap(t, g).on(func(_ int, up bool, p mqtt.Packet) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch p := p.(type) {
		case *mqtt.Publish:
			if up {
				topic := strings.TrimPrefix(strings.TrimPrefix(string(p.Topic), r.base), "/")
				r.sent = append(r.sent, message{topic, slices.Clone(p.Payload), p.QoS})
				r.lines = append(r.lines, "PUBLISH "+topic)
			}
		case *mqtt.Subscribe:
			for _, s := range p.Subscriptions {
				r.lines = append(r.lines, fmt.Sprintf("SUBSCRIBE %s %d", strings.TrimPrefix(s.Filter, r.base+"/"), s.QoS))
			}
		case *mqtt.Connect:
			r.lines = append(r.lines, fmt.Sprintf("CONNECT clean %v, client id %v", p.CleanStart, p.ClientID == r.base))
		case *mqtt.Disconnect:
			r.lines = append(r.lines, "DISCONNECT")
		}
		return nil
	})
	return r
}

// of returns the last message of a topic.
func (r *recorder) of(topic string) message {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.sent) {
		if m.topic == topic {
			return m
		}
	}
	return message{}
}

// captured are the official SDK's payloads.
func captured(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../testdata/vectors/astarte/bson.json")
	must(t, err)
	var rows []struct{ Name, Hex string }
	must(t, json.Unmarshal(text, &rows))
	vectors := map[string]string{}
	for _, r := range rows {
		vectors[r.Name] = r.Hex
	}
	return vectors
}

// On the wire to the hub, our values are the official SDK's, byte by byte, and go with the quality of service of their mapping.
func TestWire(t *testing.T) {
	vectors := captured(t)
	p := shared(t)
	g := p.gadget(t, "DeviceIndividual", "DeviceTimed", "DeviceProperties", "DeviceObject", "DeviceQos", "DeviceObjectUnreliable", "DeviceObjectTimed")
	r := record(t, g)
	g.connect()
	compare := func(t *testing.T, topic, vector string, qos byte) {
		t.Helper()
		m := r.of(prefix + topic)
		if got := hex.EncodeToString(m.payload); got != vectors[vector] || vectors[vector] == "" {
			t.Errorf("%s: got %s, want %s", vector, got, vectors[vector])
		}
		if m.qos != qos {
			t.Errorf("%s: got QoS %d, want %d", vector, m.qos, qos)
		}
	}
	each(t, func(t *testing.T, name string, k astarte.Type, value any) {
		if empty(value) {
			return
		}
		g.send("DeviceIndividual", "/"+endpoint(k), value)
		g.settle()
		compare(t, "DeviceIndividual/"+endpoint(k), "individual_"+name, byte(iface(t, "DeviceIndividual").Mappings()[0].Reliability))
		g.set("DeviceProperties", "/"+endpoint(k), value)
		g.settle()
		compare(t, "DeviceProperties/"+endpoint(k), "individual_"+name, 2)
	})
	for _, k := range kinds {
		g.sendAt("DeviceTimed", "/"+endpoint(k), values[k][0], when)
		g.unset("DeviceProperties", "/"+endpoint(k))
	}
	g.settle()
	for _, k := range kinds {
		compare(t, "DeviceTimed/"+endpoint(k), "timed_"+string(k), byte(iface(t, "DeviceTimed").Mappings()[0].Reliability))
		if m := r.of(prefix + "DeviceProperties/" + endpoint(k)); len(m.payload) > 0 || m.qos != 2 {
			t.Errorf("unset: got %x with QoS %d", m.payload, m.qos)
		}
	}
	for path, qos := range map[string]byte{"unreliable": 0, "guaranteed": 1, "unique": 2} {
		g.send("DeviceQos", "/"+path, 1)
		eventually(t, path, func() bool { return r.of(prefix+"DeviceQos/"+path).payload != nil }) // with QoS 0, settled means no more than written
		if m := r.of(prefix + "DeviceQos/" + path); m.qos != qos {
			t.Errorf("%s: got QoS %d", path, m.qos)
		}
	}
}

// Session start on the wire: subscriptions come before what is answered at once; the list of properties has its true length, big endian.
func TestWireSessionStart(t *testing.T) {
	p := shared(t)
	g := p.gadget(t, "DeviceProperties", "ServerProperties", "DeviceQos")
	g.make()
	g.set("DeviceProperties", "/integer_endpoint", 0)
	g.halt()
	r := record(t, g)
	g.connect()
	g.settle()
	wanted := []string{
		"CONNECT clean false, client id true", "SUBSCRIBE control/consumer/properties 2", "SUBSCRIBE " + prefix + "ServerProperties/# 2", "PUBLISH ",
		"PUBLISH control/emptyCache", "PUBLISH " + prefix + "DeviceProperties/integer_endpoint", "PUBLISH control/producer/properties",
	}
	r.mu.Lock()
	got := slices.Clone(r.lines)
	r.mu.Unlock()
	slices.Sort(got[1:3])
	slices.Sort(wanted[1:3])
	if !slices.Equal(got, wanted) {
		t.Errorf("got %q, want %q", got, wanted)
	}
	list := r.of("control/producer/properties").payload
	items, err := astartewire.ParsePurgeList(list)
	if item := prefix + "DeviceProperties/integer_endpoint"; err != nil || !slices.Equal(items, []string{item}) || list[3] != byte(len(item)) || list[0] != 0 {
		t.Errorf("got %q with header %x, %v", items, list[:4], err)
	}
	if text := r.of("").payload; !strings.Contains(string(text), prefix+"DeviceQos:1:0") || strings.Count(string(text), ";") != 2 {
		t.Errorf("introspection: got %q", text)
	}
	before := len(got)
	g.halt()
	g.connect() // the hub knows everything of this session, but this is a new process: it cannot know that
	g.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines[before] != "DISCONNECT" || len(r.lines) != 2*before+1 {
		t.Errorf("got %q", r.lines[before:])
	}
}
