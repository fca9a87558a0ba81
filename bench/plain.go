package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

// What hears all plain devices, and all that nobody knows.
const (
	plainFilter     = "+/" + interfaceName + "/#"
	anonymousFilter = "test/#"
)

// anonymousTopic is the topic of a client that needs no name. It is as long as those of Astarte's devices.
func anonymousTopic(i int) string { return fmt.Sprintf("test/%022d/%s%s", i, interfaceName, path) }

// A plainFleet is the plain MQTT devices of a hub: those that have certificates, and the clients of its port without TLS.
type plainFleet struct {
	api             *admin.Client
	dialect, tenant string
	roots           *x509.CertPool
	addr, plainAddr string

	devices []*client
	nobodys []*client
}

// first returns the first n devices with certificates.
func (p *plainFleet) first(ctx context.Context, n int) ([]*client, error) {
	have := len(p.devices)
	if have >= n {
		return p.devices[:n], nil
	}
	fresh := make([]*client, n-have)
	err := parallel(len(fresh), registering, func(i int) (err error) {
		fresh[i], err = p.register(ctx, fmt.Sprintf("bench-%015d", have+i))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register plain devices: %w", err)
	}
	p.devices = append(p.devices, fresh...)
	return p.devices, nil
}

func (p *plainFleet) key(id string) admin.DeviceKey {
	return admin.DeviceKey{Dialect: p.dialect, Tenant: p.tenant, ID: id}
}

// register makes a device that may hear the others, too.
func (p *plainFleet) register(ctx context.Context, id string) (*client, error) {
	k := p.key(id)
	made, err := p.api.AddDevice(ctx, admin.NewDevice{Dialect: k.Dialect, Tenant: k.Tenant, ID: k.ID, NoPassword: true})
	if err != nil {
		return nil, err
	}
	grants := admin.Grants{Publish: []string{made.TopicPrefix + "#"}, Subscribe: []string{"#"}}
	if _, err := p.api.SetGrants(ctx, k, grants); err != nil {
		return nil, err
	}
	issued, err := p.api.IssueCertificate(ctx, k, admin.NewCertificate{})
	if err != nil {
		return nil, err
	}
	crt, err := tls.X509KeyPair([]byte(issued.PEM), []byte(issued.Key))
	if err != nil {
		return nil, err
	}
	return &client{id: id, Target: load.Target{
		Addr: p.addr, TLS: &tls.Config{RootCAs: p.roots, ServerName: "localhost", Certificates: []tls.Certificate{crt}},
		ClientID: id, Topic: made.TopicPrefix + interfaceName + path,
	}}, nil
}

// anonymous returns n clients of the port without TLS.
func (p *plainFleet) anonymous(_ context.Context, n int) ([]*client, error) {
	for i := len(p.nobodys); i < n; i++ {
		id := fmt.Sprintf("client-%d", i)
		p.nobodys = append(p.nobodys, &client{id: id, Target: load.Target{Addr: p.plainAddr, ClientID: id, Topic: anonymousTopic(i)}})
	}
	return p.nobodys[:n], nil
}

// verify reads back as fleet.verify does.
func (p *plainFleet) verify(ctx context.Context, r readBack) error {
	for _, c := range r.clients {
		if err := p.count(ctx, c.id, c.msgs); err != nil {
			return err
		}
	}
	whole := r.clients[r.whole]
	return p.readAll(ctx, whole.id, whole, r.after, r.since)
}

// verifyAnonymous does it for clients that are one device together.
func (p *plainFleet) verifyAnonymous(ctx context.Context, r readBack) error {
	const id = "anonymous"
	var all int64
	for _, c := range p.nobodys {
		all += c.msgs
	}
	if err := p.count(ctx, id, all); err != nil {
		return err
	}
	return p.readAll(ctx, id, r.clients[r.whole], r.after, r.since)
}

func (p *plainFleet) count(ctx context.Context, id string, want int64) error {
	dev, err := p.api.Device(ctx, p.key(id))
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	var got int64
	for _, c := range dev.Sent {
		if c.Scope == "" {
			got = c.Messages
		}
	}
	if got != want {
		return fmt.Errorf("device %s: the hub has counted %d messages, and acknowledged %d", id, got, want)
	}
	return nil
}

// readAll reads the messages of one client with numbers above after.
func (p *plainFleet) readAll(ctx context.Context, id string, c *client, after uint64, since time.Time) error {
	q := admin.SampleQuery{Channel: c.Topic, Since: admin.Time{Time: since}, Limit: page}
	for next := after + 1; next <= c.seq; {
		samples, err := p.api.Samples(ctx, p.key(id), q)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		for _, s := range samples.Items {
			v, err := s.Decode()
			if err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			payload, _ := v.([]byte)
			seq, ok := load.PayloadSeq(payload)
			switch {
			case !ok:
				return fmt.Errorf("read back: behind message %d comes a value that was never sent", next-1)
			case seq > next:
				return fmt.Errorf("read back: message %d of %d is missing, next is %d", next, c.seq, seq)
			case seq == next:
				next++
			}
		}
		if q.Cursor = samples.Next; q.Cursor == "" && next <= c.seq {
			return errors.New("read back: the last messages are missing")
		}
	}
	return nil
}
