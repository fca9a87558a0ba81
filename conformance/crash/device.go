package crash

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A device is a client as the official SDK is one: it declares its interfaces when a session begins, and keeps its own
// properties.
type device struct {
	client
	cred *astarteapi.Credentials

	streams map[string][]*Stream // by interface: paths /p0/value, /p1/value …
	props   []*Property          // of ifProps, in the same way

	// With the client's lock.
	number     int  // of the last value
	introduced bool // the hub has acknowledged the introspection
	emptied    bool // the hub has acknowledged emptyCache
	received   map[string][]*string
	state      map[string]string // server-owned properties as the device sees them
}

const pathsPerStream = 2

func newDevice(name string, cred *astarteapi.Credentials, addr string, persistent bool) *device {
	d := &device{
		client: newClient(name, addr, cred.TLS, persistent), cred: cred,
		streams: map[string][]*Stream{}, received: map[string][]*string{}, state: map[string]string{},
	}
	d.application = d
	for _, iface := range []string{ifGuaranteed, ifUnique} {
		for i := range pathsPerStream {
			d.streams[iface] = append(d.streams[iface], &Stream{
				Where: fmt.Sprintf("%s %s%s", name, iface, pathOf(i)),
				Once:  persistent && qos[iface] == 2,
			})
		}
	}
	for i := range pathsPerStream {
		d.props = append(d.props, &Property{Where: fmt.Sprintf("%s %s%s", name, ifProps, pathOf(i))})
	}
	return d
}

func pathOf(i int) string { return fmt.Sprintf("/p%d/value", i) }

func (d *device) topic(iface, path string) []byte { return []byte(d.base() + "/" + iface + path) }
func (d *device) base() string                    { return d.cred.TLS.Certificates[0].Leaf.Subject.CommonName }

func (d *device) hello() mqtt.Connect {
	hello := mqtt.Connect{CleanStart: true, KeepAlive: 60}
	if d.persistent {
		hello.CleanStart, hello.ClientID = false, d.base()
	}
	return hello
}

func (d *device) granted(a *mqtt.SubAck) bool { return a.Codes[0] == 2 }

// introduction is what starts a session ("Astarte MQTT v1 protocol"). With the lock.
func (d *device) introduction() []mqtt.Packet {
	out := []mqtt.Packet{d.subscribe(d.base() + "/control/consumer/properties")}
	for _, name := range serverOwned {
		out = append(out, d.subscribe(d.base()+"/"+name+"/#"))
	}
	out = append(out,
		d.begin(&exchange{p: mqtt.Publish{QoS: 2, Topic: []byte(d.base()), Payload: introspection()}, acked: func() { d.introduced = true }}),
		d.begin(&exchange{
			p:     mqtt.Publish{QoS: 2, Topic: []byte(d.base() + "/control/emptyCache"), Payload: []byte("1")},
			acked: func() { d.emptied = true },
		}))
	var held []string
	var gone []*Op
	for i, p := range d.props {
		if len(p.ops) == 0 {
			continue
		}
		op := p.ops[len(p.ops)-1]
		if op.Value == nil {
			gone = append(gone, op)
			continue
		}
		held = append(held, ifProps+pathOf(i))
		out = append(out, d.begin(&exchange{
			p:     mqtt.Publish{QoS: 2, Topic: d.topic(ifProps, pathOf(i)), Payload: payload(op.Value)},
			acked: func() { op.Acked = true },
		}))
	}
	return append(out, d.begin(&exchange{
		p: mqtt.Publish{
			QoS: 2, Topic: []byte(d.base() + "/control/producer/properties"), Payload: astartewire.AppendPurgeList(nil, held),
		},
		acked: func() {
			for _, op := range gone {
				op.Acked = true // the list says that it is not set
			}
		},
	}))
}

func (d *device) subscribe(filter string) mqtt.Packet {
	return &mqtt.Subscribe{ID: d.nextID(), Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: 2}}}
}

// random makes a message. With the lock.
func (d *device) random(rng *rand.Rand) mqtt.Packet {
	d.number++
	value := fmt.Sprintf("%s-%d", d.name, d.number)
	i := rng.IntN(pathsPerStream)
	switch n := rng.IntN(100); {
	case n < 45:
		return d.sample(ifGuaranteed, i, value)
	case n < 75:
		return d.sample(ifUnique, i, value)
	case n < 85:
		return d.begin(&exchange{p: mqtt.Publish{Topic: d.topic(ifUnreliable, pathOf(i)), Payload: payload(&value)}})
	}
	next := &value
	if d.props[i].Current() != nil && rng.IntN(4) == 0 {
		next = nil
	}
	op := d.props[i].Add(next)
	return d.begin(&exchange{
		p:       mqtt.Publish{QoS: 2, Topic: d.topic(ifProps, pathOf(i)), Payload: payload(next)},
		lasting: d.persistent, // else the next introduction says it
		acked:   func() { op.Acked = true },
	})
}

func (d *device) sample(iface string, i int, value string) mqtt.Packet {
	m := d.streams[iface][i].Add(value)
	return d.begin(&exchange{
		p:       mqtt.Publish{QoS: qos[iface], Topic: d.topic(iface, pathOf(i)), Payload: payload(&value)},
		lasting: true, sends: &m.Times, acked: func() { m.Acked = true },
	})
}

// deliver is what the application sees of a message. With the lock.
func (d *device) deliver(m *mqtt.Publish) error {
	rest, ok := strings.CutPrefix(string(m.Topic), d.base()+"/")
	if !ok {
		return fmt.Errorf("a topic of another device")
	}
	if rest == "control/consumer/properties" {
		items, err := astartewire.ParsePurgeList(m.Payload)
		if err != nil {
			return err
		}
		listed := map[string]bool{}
		for _, item := range items {
			listed[item] = true
		}
		for path := range d.state {
			if !listed[path] {
				delete(d.state, path)
			}
		}
		return nil
	}
	iface, _, _ := strings.Cut(rest, "/")
	if want, ok := qos[iface]; !ok || want != m.QoS {
		return fmt.Errorf("with QoS %d, want %d", m.QoS, want)
	}
	p, err := astartewire.ParsePayload(m.Payload)
	if err != nil {
		return err
	}
	if p.Unset {
		d.received[rest] = append(d.received[rest], nil)
		delete(d.state, rest)
		return nil
	}
	value := p.Value.Str()
	d.received[rest] = append(d.received[rest], &value)
	if iface == ifServerProps {
		d.state[rest] = value
	}
	return nil
}
