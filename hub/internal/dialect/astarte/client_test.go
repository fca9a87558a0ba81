package astarte

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// A client is a device's connection as the broker drives it.
type client struct {
	*rig
	link   dialect.Link
	base   string
	key    core.SessionKey
	dev    core.Device
	topics map[string]*dialect.Topic
}

// connect signs a device in and subscribes as SDKs do.
func (r *rig) connect(dev core.Device, crt *x509.Certificate, filters ...string) *client {
	r.Helper()
	g, l, err := r.d.SignIn(context.Background(), core.Claim{Certificate: crt})
	if err != nil {
		r.Fatal(err)
	}
	c := &client{rig: r, link: l, base: baseTopic(dev.DeviceKey), key: g.Session, dev: dev, topics: map[string]*dialect.Topic{}}
	r.do(func(tx *commit.Tx) error {
		for _, f := range append([]string{"/control/consumer/properties"}, filters...) {
			r.broker.filters[c.key] = append(r.broker.filters[c.key], c.base+f)
		}
		return l.Connected(tx, dialect.Presence{Session: g.Session, Addr: "10.0.0.9"})
	})
	return c
}

// device and connection in one, for tests of one device in realm "test".
func (r *rig) online(filters ...string) *client {
	r.Helper()
	dev, crt := r.device("test", testID)
	return r.connect(dev, crt, filters...)
}

func (c *client) disconnect() {
	c.Helper()
	c.do(func(tx *commit.Tx) error {
		delete(c.broker.filters, c.key)
		return c.link.Disconnected(tx, "client disconnected")
	})
}

// A packet is a message as a device publishes it, below its base topic.
type packet struct {
	topic   string
	payload []byte
}

// publish sends one message and waits until it is committed.
func (c *client) publish(topic string, payload []byte) {
	c.Helper()
	c.pipeline(packet{topic, payload})
}

// pipeline sends messages that the broker finds together in its read buffer: one batch.
func (c *client) pipeline(packets ...packet) {
	c.Helper()
	if err := c.send(packets...); err != nil {
		c.Fatal(err)
	}
}

func (c *client) send(packets ...packet) error {
	c.Helper()
	w := &batchOwner{done: make(chan error, 1)}
	b := &commit.Batch{Owner: w}
	for _, p := range packets {
		t := c.topics[p.topic]
		if t == nil {
			t = &dialect.Topic{Name: c.base + p.topic}
			c.topics[p.topic] = t
		}
		buf := slices.Clone(p.payload)
		if err := c.link.Receive(t, dialect.Publish{Payload: buf}, b); err != nil {
			return err
		}
		for i := range buf {
			buf[i] = 0xee // the read buffer is used again
		}
	}
	if err := c.c.Submit(b); err != nil {
		return err
	}
	return <-w.done
}

type batchOwner struct{ done chan error }

func (o *batchOwner) Committed(_ *commit.Batch, err error) { o.done <- err }

// events returns the events of the device, oldest first, as "KIND DATA".
func (c *client) events(kinds ...core.EventKind) []string {
	c.Helper()
	var out []string
	c.view(func(rd store.Reader) error {
		es, err := rd.Events(0, 10_000)
		for _, e := range es {
			if e.Device == c.dev.DeviceKey && (len(kinds) == 0 || slices.Contains(kinds, e.Kind)) {
				out = append(out, string(e.Kind)+" "+string(e.Data))
			}
		}
		return err
	})
	return out
}

// faults returns the names of the errors that the device was told off for.
func (c *client) faults() []string {
	c.Helper()
	var names []string
	for _, e := range c.events(core.DeviceError) {
		var data deviceError
		if err := json.Unmarshal([]byte(strings.TrimPrefix(e, "device.error ")), &data); err != nil {
			c.Fatal(err)
		}
		names = append(names, data.Error)
	}
	return names
}

// counts returns the device's counters as "MESSAGES/BYTES" by scope.
func (c *client) counts() map[string]string {
	c.Helper()
	m := map[string]string{}
	c.view(func(rd store.Reader) error {
		cs, err := rd.Counts(c.dev.Num)
		for _, n := range cs {
			m[n.Scope] = fmt.Sprintf("%d/%d", n.Messages, n.Bytes)
		}
		return err
	})
	return m
}

// samples returns the values of a channel.
func (c *client) samples(ch string) []any {
	c.Helper()
	var out []any
	c.view(func(rd store.Reader) error {
		all, err := rd.Series(c.dev.Num, ch)
		if err != nil {
			return err
		}
		for _, s := range all {
			if s.Channel != ch {
				continue
			}
			for sample, err := range rd.Samples(s, core.Range{}) {
				if err != nil {
					return err
				}
				v, err := sample.Value.Decode()
				if err != nil {
					return err
				}
				out = append(out, v)
			}
		}
		return nil
	})
	return out
}

// entries returns the values of a document as "PATH=VALUE".
func (c *client) entries(doc string, side core.Side) []string {
	c.Helper()
	var out []string
	c.view(func(rd store.Reader) error {
		es, err := rd.Entries(core.DocumentKey{Device: c.dev.Num, Name: doc, Side: side})
		for _, e := range es {
			v, err := e.Value.Decode()
			if err != nil {
				return err
			}
			out = append(out, fmt.Sprintf("%s=%v", e.Path, v))
		}
		return err
	})
	return out
}

func (c *client) model() model {
	c.Helper()
	var m model
	c.view(func(rd store.Reader) (err error) {
		m, err = loadModel(rd, c.dev.DeviceKey)
		return err
	})
	return m
}

// row returns the device as stored.
func (c *client) row() core.Device {
	c.Helper()
	var d core.Device
	c.view(func(rd store.Reader) (err error) {
		d, err = rd.DeviceByNum(c.dev.Num)
		return err
	})
	return d
}

// declares publishes an introspection.
func (c *client) declares(interfaces ...string) {
	c.Helper()
	c.publish("", []byte(strings.Join(interfaces, ";")))
}

// set writes server-owned data as AppEngine does.
func (c *client) set(name string, major int, path, value string) error {
	c.Helper()
	i := c.current(c.dev.Tenant).iface(name, major)
	return c.try(func(tx *commit.Tx) error { return c.d.setServerValue(tx, c.dev, i, path, json.RawMessage(value)) })
}

func (c *client) unset(name string, major int, path string) error {
	c.Helper()
	i := c.current(c.dev.Tenant).iface(name, major)
	return c.try(func(tx *commit.Tx) error { return c.d.unsetServerProperty(tx, c.dev, i, path) })
}
