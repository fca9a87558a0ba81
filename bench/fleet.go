package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/hub/admin"
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

// A fleet is the Astarte devices of a hub, made as they are needed.
type fleet struct {
	realm *astarteapi.Realm
	addr  string
	list  []*client
	api   *admin.Client // of the same hub
	plain *plainFleet   // of the same hub
	aws   *awsFleet     // of the same hub
}

func openFleet(ctx context.Context, hub *hubproc.Hub, plainAddr string) (*fleet, error) {
	vars, err := hub.Variables(ctx, "astarte")
	if err != nil {
		return nil, err
	}
	realm, err := astarteapi.New(vars)
	if err != nil {
		return nil, err
	}
	roots, err := os.ReadFile(vars["FAIRLEAD_CA"])
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	api := &admin.Client{URL: vars["FAIRLEAD_URL"], Token: vars["FAIRLEAD_TOKEN"], HTTP: &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: time.Minute,
	}}
	f := &fleet{realm: realm, addr: hub.MQTT(), api: api}
	f.plain = &plainFleet{api: api, dialect: "mqtt", tenant: realm.Name, roots: pool, addr: hub.MQTT(), plainAddr: plainAddr}
	if f.aws, err = openAWS(ctx, hub, api, realm.Name); err != nil {
		return nil, err
	}
	return f, realm.Install(ctx, json.RawMessage(definition))
}

// first returns the first n devices.
func (f *fleet) first(ctx context.Context, n int) ([]*client, error) {
	if missing := n - len(f.list); missing > 0 {
		fresh := make([]*client, missing)
		err := parallel(missing, registering, func(i int) (err error) {
			fresh[i], err = f.register(ctx)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("register devices: %w", err)
		}
		f.list = append(f.list, fresh...)
	}
	return f.list[:n], nil
}

// parallel calls do for 0 to n-1, some at the same time, and returns the first errors; then it begins nothing more.
func parallel(n, most int, do func(int) error) error {
	errs := make([]error, most)
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for w := range most {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = do(i); errs[w] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// name registers a device that never connects, or not yet.
func (f *fleet) name(ctx context.Context) (id, secret string, err error) {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	id = astartewire.DeviceIDFromBytes(raw)
	secret, err = f.realm.Register(ctx, id)
	return id, secret, err
}

func (f *fleet) register(ctx context.Context) (*client, error) {
	id, secret, err := f.name(ctx)
	if err != nil {
		return nil, err
	}
	cred, err := f.realm.Obtain(ctx, id, secret)
	if err != nil {
		return nil, err
	}
	base := f.realm.Name + "/" + id
	declared := astartewire.AppendIntrospection(nil, map[string]astartewire.InterfaceVersion{interfaceName: {Major: 1}})
	hello := mqtt.Publish{QoS: 2, ID: load.HelloID, Topic: []byte(base), Payload: declared}
	return &client{id: id, Target: load.Target{
		Addr: f.addr, TLS: cred.TLS, Topic: base + "/" + interfaceName + path, Hello: hello.Append(nil, mqtt.V311),
	}}, nil
}

// verify reads back what the hub has: the number of messages of each device, and of one of them all that it was
// acknowledged since a time, one by one. A hub that acknowledges what it does not keep does not win.
func (f *fleet) verify(ctx context.Context, r readBack) error {
	for i, dev := range r.clients {
		got, err := f.realm.Device(ctx, dev.id)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if got.TotalMsgs != dev.msgs {
			return fmt.Errorf("device %d: the hub has counted %d messages, and acknowledged %d", i, got.TotalMsgs, dev.msgs)
		}
	}
	return f.verifyAll(ctx, r.clients[r.whole], r.after, r.since)
}

// verifyAll reads the messages of one device with numbers above after.
func (f *fleet) verifyAll(ctx context.Context, dev *client, after uint64, since time.Time) error {
	next := after + 1
	for next <= dev.seq {
		samples, err := f.realm.Samples(ctx, dev.id, interfaceName, path, since, page)
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
