package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

const (
	interfaceName = "org.fairlead.bench.Ingest"
	definition    = `{"interface_name":"org.fairlead.bench.Ingest","version_major":1,"version_minor":0,"type":"datastream",
		"ownership":"device","mappings":[{"endpoint":"/%{source}/value","type":"binaryblob","reliability":"guaranteed"}]}`
	path = "/s0/value"
	// page is how many values are read from AppEngine at a time, its most.
	page = 10_000
	// registering is how many devices are registered at the same time.
	registering = 8
)

// devices are the hub's devices, made as they are needed.
type devices struct {
	realm *astarteapi.Realm
	addr  string
	list  []*device
}

// A device knows what it was acknowledged, over all runs.
type device struct {
	*astarteapi.Credentials
	topic string
	hello []byte
	seq   uint64 // of the last message
	msgs  int64  // that the hub has to have counted, introspections included
}

func openDevices(ctx context.Context, hub *hubproc.Hub) (*devices, error) {
	vars, err := hub.Variables(ctx, "astarte")
	if err != nil {
		return nil, err
	}
	realm, err := astarteapi.New(vars)
	if err != nil {
		return nil, err
	}
	return &devices{realm: realm, addr: hub.MQTT()}, realm.Install(ctx, json.RawMessage(definition))
}

// first returns the first n devices.
func (d *devices) first(ctx context.Context, n int) ([]*device, error) {
	if missing := n - len(d.list); missing > 0 {
		fresh, errs := make([]*device, missing), make([]error, missing)
		var wg sync.WaitGroup
		slots := make(chan struct{}, registering)
		for i := range fresh {
			slots <- struct{}{}
			wg.Go(func() {
				fresh[i], errs[i] = d.register(ctx)
				<-slots
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, fmt.Errorf("register devices: %w", err)
		}
		d.list = append(d.list, fresh...)
	}
	return d.list[:n], nil
}

func (d *devices) register(ctx context.Context) (*device, error) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	id := astartewire.DeviceIDFromBytes(raw)
	secret, err := d.realm.Register(ctx, id)
	if err != nil {
		return nil, err
	}
	cred, err := d.realm.Obtain(ctx, id, secret)
	if err != nil {
		return nil, err
	}
	base := d.realm.Name + "/" + id
	declared := astartewire.AppendIntrospection(nil, map[string]astartewire.InterfaceVersion{interfaceName: {Major: 1}})
	hello := mqtt.Publish{QoS: 2, ID: load.HelloID, Topic: []byte(base), Payload: declared}
	return &device{
		Credentials: cred, topic: base + "/" + interfaceName + path,
		hello: hello.Append(nil, mqtt.V311),
	}, nil
}

// target is where a device publishes.
func (d *devices) target(dev *device) load.Target {
	return load.Target{Addr: d.addr, TLS: dev.TLS, Topic: dev.topic, Hello: dev.hello}
}

// ran notes what a run has brought.
func (dev *device) ran(p *load.Publisher, acked uint64) {
	dev.seq = p.Seq()
	dev.msgs += int64(acked) + 1 // and the introspection
}

// verify reads back what the hub has: the number of messages of each device, and of one of them all that it was
// acknowledged since a time, one by one. A hub that acknowledges what it does not keep does not win.
func (d *devices) verify(ctx context.Context, devs []*device, whole int, after uint64, since time.Time) error {
	for i, dev := range devs {
		got, err := d.realm.Device(ctx, dev.ID)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if got.TotalMsgs != dev.msgs {
			return fmt.Errorf("device %d: the hub has counted %d messages, and acknowledged %d", i, got.TotalMsgs, dev.msgs)
		}
	}
	return d.verifyAll(ctx, devs[whole], after, since)
}

// verifyAll reads the messages of one device with numbers above after.
func (d *devices) verifyAll(ctx context.Context, dev *device, after uint64, since time.Time) error {
	next := after + 1
	for next <= dev.seq {
		samples, err := d.realm.Samples(ctx, dev.ID, interfaceName, path, since, page)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		before := next
		for _, s := range samples {
			var text string
			if err := json.Unmarshal(s.Value, &text); err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			value, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			seq, ok := load.Seq(value)
			switch {
			case !ok:
				return fmt.Errorf("read back: behind message %d comes a value that was never sent", next-1)
			case seq < next: // of the page before, or of the run before: the bound is in whole milliseconds
			case seq > next:
				return fmt.Errorf("read back: message %d of %d is missing, next is %d", next, dev.seq, seq)
			default:
				next++
			}
			since = s.Timestamp
		}
		if next == before {
			return fmt.Errorf("read back: message %d of %d and all behind it are missing", next, dev.seq)
		}
	}
	return nil
}
