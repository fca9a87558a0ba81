package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/bench/internal/rival"
)

// A subject is a server as one kind of client reaches it.
type subject struct {
	name  string
	rival string // the subject that it is compared with, "" for none: the one with the same transport
	hub   bool
	pid   func() int
	// filter is what a subscriber subscribes to so as to hear all clients; "" where there is nothing like it.
	filter string
	// clients returns the first n clients, which are made as they are needed.
	clients func(ctx context.Context, n int) ([]*client, error)
	// restart starts another process, as fresh as it can be; clients are to be asked for anew.
	restart func(ctx context.Context) error
	// verify reads back what clients were acknowledged; nil: the server keeps nothing that could be read.
	verify func(ctx context.Context, r readBack) error
}

// A client is one device of a subject. Its messages are numbered over all runs.
type client struct {
	load.Target
	id   string
	seq  uint64 // of the last message
	msgs int64  // that the hub has to have counted, introspections included
}

// sent notes what a connection has brought.
func (c *client) sent(acked uint64) {
	c.msgs += int64(acked)
	if c.Hello != nil {
		c.msgs++
	}
}

// readBack is what was acknowledged in a run.
type readBack struct {
	clients []*client
	whole   int    // of this one everything is read
	after   uint64 // what it had sent before
	since   time.Time
}

// The subjects.
const (
	astarteTLS     = "fairlead, astarte"
	plainTLS       = "fairlead, mqtt"
	plainTCP       = "fairlead, mqtt, plain TCP"
	mosquittoTLS   = "mosquitto"
	mosquittoPlain = "mosquitto, plain TCP"
	yardstickTLS   = "yardstick"
	yardstickPlain = "yardstick, plain TCP"
)

// makeSubjects lists the subjects that can be measured, and why others cannot.
func (b *bench) makeSubjects() {
	b.subjects, b.absent = map[string]*subject{}, map[string]string{}
	b.subjects[astarteTLS] = &subject{
		name: astarteTLS, rival: mosquittoTLS, hub: true, pid: b.hub.PID,
		clients: b.fleet.first, verify: b.fleet.verify, restart: b.restartHub,
	}
	b.subjects[plainTLS] = &subject{
		name: plainTLS, rival: mosquittoTLS, hub: true, pid: b.hub.PID, filter: plainFilter,
		clients: b.fleet.plain.first, verify: b.fleet.plain.verify, restart: b.restartHub,
	}
	b.subjects[awsTLS] = &subject{
		name: awsTLS, rival: plainTLS, hub: true, pid: b.hub.PID,
		clients: b.fleet.aws.first, verify: b.fleet.aws.verify, restart: b.restartHub,
	}
	b.subjects[plainTCP] = &subject{
		name: plainTCP, rival: mosquittoPlain, hub: true, pid: b.hub.PID, filter: anonymousFilter,
		clients: b.fleet.plain.anonymous, verify: b.fleet.plain.verifyAnonymous, restart: b.restartHub,
	}
	restart := func(ctx context.Context) (err error) {
		b.mosquittoServer.Stop()
		b.mosquittoServer, err = b.mosquitto.Start(ctx, b.pki)
		return err
	}
	b.addRival(mosquittoTLS, "", &b.mosquittoServer, b.pki.Client, restart)
	b.addRival(mosquittoPlain, "", &b.mosquittoServer, nil, restart)
	if b.yardstick == nil {
		for _, name := range []string{yardstickTLS, yardstickPlain} {
			b.absent[name] = "no checkout is named by FAIRLEAD_YARDSTICK"
		}
		return
	}
	restart = func(ctx context.Context) (err error) {
		b.yardstickServer.Stop()
		b.yardstickServer, err = b.yardstick.Start(ctx, b.pki, b.dir)
		return err
	}
	b.addRival(yardstickTLS, mosquittoTLS, &b.yardstickServer, b.pki.Client, restart)
	b.addRival(yardstickPlain, mosquittoPlain, &b.yardstickServer, nil, restart)
}

// addRival adds a server that lets anybody in. Its clients use the topics of the hub's.
func (b *bench) addRival(name, compared string, server **rival.Server, cfg *tls.Config, restart func(context.Context) error) {
	numbers := map[int]*client{}
	b.subjects[name] = &subject{
		name: name, rival: compared, filter: anonymousFilter, pid: func() int { return (*server).PID() }, restart: restart,
		clients: func(_ context.Context, n int) ([]*client, error) {
			list := make([]*client, n)
			for i := range list {
				c := numbers[i]
				if c == nil {
					c = &client{id: fmt.Sprintf("client-%d", i)}
					numbers[i] = c
				}
				c.Target = load.Target{
					Addr: (*server).PlainAddr, TLS: cfg, ClientID: c.id,
					Topic: anonymousTopic(i),
				}
				if cfg != nil {
					c.Addr = (*server).TLSAddr
				}
				list[i] = c
			}
			return list, nil
		},
	}
}

func (b *bench) restartHub(ctx context.Context) error {
	if err := b.hub.Stop(); err != nil {
		return err
	}
	if err := b.hub.Start(); err != nil {
		return err
	}
	return b.hub.AwaitReady(ctx, 30*time.Second)
}
