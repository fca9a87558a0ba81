package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

// Sizes of the hub that has grown.
const (
	grownDevices = 100_000
	grownSamples = 10_000_000
	grownSenders = 500 // devices that the samples are of
	pageSamples  = 1000
	pageReads    = 200
)

// The subjects of the scenario, two hubs that run side by side.
const (
	young = "fairlead, empty"
	grown = "fairlead, grown"
)

// runGrowth compares a hub that has much stored with one that has nothing.
func runGrowth(ctx context.Context, b *bench, res *result) error {
	hubs := map[string]*fleet{}
	for _, name := range []string{young, grown} {
		hub, f, err := b.startHub(ctx, filepath.Join(b.dir, strings.ReplaceAll(name, ", ", "-")))
		if hub != nil {
			defer hub.Kill() //nolint:errcheck // only for its data, which is thrown away
		}
		if err != nil {
			return err
		}
		hubs[name] = f
		s := &subject{name: name, hub: true, pid: hub.PID, clients: f.first, verify: f.verify}
		if name == grown {
			s.rival = young
			began := time.Now()
			if err := f.grow(ctx); err != nil {
				return fmt.Errorf("grow: %w", err)
			}
			fmt.Printf("  %d devices and %d samples stored in %.0f s: %d MiB\n",
				grownDevices, grownSamples, time.Since(began).Seconds(), size(hub.DataDir)>>20)
		}
		b.subjects[name] = s
	}
	k := ingestKind{name: "growth", pubs: 8, window: 100}
	if err := b.interleave(ctx, res, []string{young, grown}, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
		return b.ingest(ctx, k, s)
	}); err != nil {
		return err
	}
	var err error
	if res.Page50, res.Page99, err = hubs[grown].pages(ctx); err != nil {
		return err
	}
	fmt.Printf("  a page of %d samples: p50 %s  p99 %s\n", pageSamples, micros(res.Page50), micros(res.Page99))
	return nil
}

// grow registers devices and stores samples.
func (f *fleet) grow(ctx context.Context) error {
	senders, err := f.first(ctx, grownSenders)
	if err != nil {
		return err
	}
	if err := parallel(grownDevices-grownSenders, registering, func(int) error {
		_, _, err := f.name(ctx)
		return err
	}); err != nil {
		return err
	}
	pubs, err := dial(ctx, senders, 100)
	defer closeAll(pubs)
	if err != nil {
		return err
	}
	r, err := load.Run(ctx, load.Plan{Pubs: pubs, D: time.Hour, Most: 2 * grownSamples, Begin: func() {}, End: func() {}})
	if err != nil {
		return err
	}
	for i, c := range senders {
		c.seq = pubs[i].Seq()
		c.sent(r.Acked[i])
	}
	return nil
}

// pages reads pages of samples through the admin API, of random devices from random times on.
func (f *fleet) pages(ctx context.Context) (p50, p99 time.Duration, err error) {
	defer f.api.HTTP.CloseIdleConnections()
	var times hist.H
	for i := range pageReads {
		c := f.list[rand.IntN(grownSenders)]
		key := admin.DeviceKey{Dialect: "astarte", Tenant: f.realm.Name, ID: c.id}
		channels, err := f.api.Channels(ctx, key, "", 10, "")
		if err != nil {
			return 0, 0, err
		}
		if len(channels.Items) != 1 || channels.Items[0].Last == nil {
			return 0, 0, errors.New("want one channel with samples")
		}
		q := admin.SampleQuery{Channel: channels.Items[0].Channel, Limit: pageSamples}
		switch i % 3 { // the oldest, the newest, and those from the middle on
		case 1:
			q.Backwards = true
		case 2:
			q.Cursor, err = f.middle(ctx, key, q)
			if err != nil {
				return 0, 0, err
			}
		}
		began := time.Now()
		page, err := f.api.Samples(ctx, key, q)
		if err != nil {
			return 0, 0, err
		}
		times.Add(time.Since(began))
		if len(page.Items) != pageSamples {
			return 0, 0, fmt.Errorf("a page has %d samples, want %d", len(page.Items), pageSamples)
		}
	}
	return times.Quantile(.5), times.Quantile(.99), nil
}

// middle returns a cursor some pages behind the beginning.
func (f *fleet) middle(ctx context.Context, key admin.DeviceKey, q admin.SampleQuery) (string, error) {
	for range 1 + rand.IntN(4) {
		page, err := f.api.Samples(ctx, key, q)
		if err != nil {
			return "", err
		}
		if page.Next == "" {
			return "", errors.New("a channel with too few samples")
		}
		q.Cursor = page.Next
	}
	return q.Cursor, nil
}
