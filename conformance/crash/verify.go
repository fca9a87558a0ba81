package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
)

// A tail reads what AppEngine has of one path, and after a restart only what has been added.
type tail struct {
	values []string
	last   time.Time // timestamp of the last value
	ties   int       // how many values at the end have it
}

type tailKey struct{ device, iface, path string }

// page is how many values are read at a time: the most that AppEngine and the hub's own API give.
const page = 10_000

// A reading is one value of a path, as an API gives it.
type reading struct {
	at    time.Time
	value string
}

// advance reads what is new. fetch returns up to page values from a time on, which is inclusive, so what is known is
// skipped.
func (t *tail) advance(where string, fetch func(since time.Time) ([]reading, error)) error {
	for {
		readings, err := fetch(t.last)
		if err != nil {
			return err
		}
		known := 0
		for known < min(t.ties, len(readings)) && readings[known].at.Equal(t.last) {
			known++
		}
		if known < t.ties {
			return fmt.Errorf("%s: of %d values at %v only %d are left", where, t.ties, t.last, known)
		}
		for _, r := range readings[known:] {
			if r.at.Before(t.last) {
				return fmt.Errorf("%s: %q at %v comes behind %v", where, r.value, r.at, t.last)
			}
			if !r.at.Equal(t.last) {
				t.last, t.ties = r.at, 0
			}
			t.ties++
			t.values = append(t.values, r.value)
		}
		if len(readings) < page {
			return nil
		}
	}
}

// readings fetches from AppEngine.
func (k tailKey) readings(ctx context.Context, realm *astarteapi.Realm, since time.Time) ([]reading, error) {
	samples, err := realm.Samples(ctx, k.device, k.iface, k.path, since, page)
	if err != nil {
		return nil, err
	}
	list := make([]reading, len(samples))
	for i, s := range samples {
		list[i].at = s.Timestamp
		if err := json.Unmarshal(s.Value, &list[i].value); err != nil {
			return nil, fmt.Errorf("%v: %w", k, err)
		}
	}
	return list, nil
}

func (k tailKey) String() string { return k.device + " " + k.iface + k.path }

// verify compares everything with the ledger, with the hub running and nobody else there. Unless whole is set, it reads
// of the datastreams what has been added since the last time. It returns how long that took.
func (c *campaign) verify(ctx context.Context, whole bool) (time.Duration, error) {
	start := time.Now()
	if err := c.fleet.verify(ctx, c, whole); err != nil {
		c.report(Missing, "fleet", "cannot read back: %v", err)
		return 0, fmt.Errorf("verify: %w", err)
	}
	if c.realm == nil {
		return c.verified(ctx, start)
	}
	before := map[tailKey]*tail{}
	if whole {
		before, c.tails = c.tails, map[tailKey]*tail{}
		c.checked.newcomers, c.checked.interfaces = 0, 0
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	slots := make(chan struct{}, 4)
	check := func(f func() ([]Violation, error)) {
		slots <- struct{}{}
		wg.Go(func() {
			list, err := f()
			c.add(list)
			mu.Lock()
			if err != nil && first == nil {
				first = err
			}
			mu.Unlock()
			<-slots
		})
	}
	for _, d := range c.devices {
		c.checkDevice(ctx, d, check)
	}
	for _, s := range c.setters {
		check(func() ([]Violation, error) { return c.checkProperty(ctx, s.device, ifServerProps, s.path, s.property) })
	}
	for _, s := range c.senders {
		c.checkStream(ctx, tailKey{s.device, s.iface, s.path}, s.stream, 0, check)
	}
	for _, n := range c.registrar.newcomers[c.checked.newcomers:] {
		check(func() ([]Violation, error) { return c.registrar.check(ctx, n) })
		if n.obtained && n.device.streams != nil {
			c.checkDevice(ctx, n.device, check)
		}
	}
	check(func() ([]Violation, error) { return c.installer.check(ctx, c.checked.interfaces) })
	wg.Wait()
	if first != nil {
		c.report(Missing, "AppEngine", "cannot read back: %v", first)
		return 0, fmt.Errorf("verify: %w", first)
	}
	// The last newcomer may still be registered by a repetition.
	c.checked.newcomers, c.checked.interfaces = max(len(c.registrar.newcomers)-1, 0), len(c.installer.installed)
	for k, old := range before {
		if now := c.tails[k]; now == nil || !slices.Equal(old.values, now.values[:min(len(old.values), len(now.values))]) {
			c.report(Missing, k.String(), "what was there after an earlier restart is not the same any more")
		}
	}
	return c.verified(ctx, start)
}

func (c *campaign) verified(ctx context.Context, start time.Time) (time.Duration, error) {
	took := time.Since(start).Round(time.Millisecond)
	if n := len(c.sum.Violations); n >= maxViolations || n > 0 && c.Sabotage != nil {
		return took, errEnough
	}
	return took, ctx.Err()
}

func (c *campaign) checkDevice(ctx context.Context, d *device, check func(func() ([]Violation, error))) {
	for iface, streams := range d.streams {
		for i, s := range streams {
			c.checkStream(ctx, tailKey{d.cred.ID, iface, pathOf(i)}, s, d.runs, check)
		}
	}
	for i, p := range d.props {
		check(func() ([]Violation, error) { return c.checkProperty(ctx, d.cred.ID, ifProps, pathOf(i), p) })
	}
	check(func() ([]Violation, error) {
		got, err := c.realm.Device(ctx, d.cred.ID)
		if err != nil {
			return nil, err
		}
		v := violations{where: d.name}
		if d.introduced && len(got.Introspection) != len(qos) {
			v.add(Missing, "its introspection was acknowledged; there are %d interfaces of %d", len(got.Introspection), len(qos))
		}
		return v.done(), nil
	})
}

func (c *campaign) checkStream(ctx context.Context, k tailKey, s *Stream, runs int, check func(func() ([]Violation, error))) {
	t := c.tails[k]
	if t == nil {
		t = &tail{}
		c.tails[k] = t
	}
	check(func() ([]Violation, error) {
		if err := t.advance(k.String(), func(since time.Time) ([]reading, error) { return k.readings(ctx, c.realm, since) }); err != nil {
			if undeclared(err) && s.Acked() == 0 {
				return nil, nil
			}
			return nil, err
		}
		return s.Check(t.values, runs), nil
	})
}

func (c *campaign) checkProperty(ctx context.Context, device, iface, path string, p *Property) ([]Violation, error) {
	current, err := c.realm.Property(ctx, device, iface, path)
	if undeclared(err) && p.lastAcked() < 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p.Check(current), nil
}

// undeclared says that the device has not got round to declaring its interfaces.
func undeclared(err error) bool {
	return err != nil && astarteapi.Status(err) == 404 && strings.Contains(err.Error(), "not found in device introspection")
}

// drain connects all devices for the last time and waits until everything has been delivered in both directions.
func (c *campaign) drain(ctx context.Context) error {
	c.Logf("everybody connects for the last time")
	lf := c.life()
	drained, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	var wg sync.WaitGroup
	for _, d := range c.devices {
		wg.Go(func() {
			err := d.connected(drained, lf, func(ctx context.Context) error {
				for ctx.Err() == nil && !c.complete(d) && d.silent() < silence {
					pause(ctx, 10*time.Millisecond)
				}
				pause(ctx, 300*time.Millisecond) // for what should not come
				return nil
			})
			if err != nil {
				c.report(Refused, d.name, "the last connection ended: %v", err)
			}
		})
	}
	wg.Wait()
	for _, d := range c.devices {
		if n := len(d.inflight); n > 0 {
			c.report(Missing, d.name, "%d acknowledgements at the end", n)
		}
		for _, s := range c.settersOf(d) {
			c.checkSetter(d, s)
		}
		for _, s := range c.sendersOf(d) {
			c.checkSender(d, s)
		}
	}
	return ctx.Err()
}

func (c *campaign) settersOf(d *device) (list []*setter) {
	for _, s := range c.setters {
		if s.device == d.cred.ID {
			list = append(list, s)
		}
	}
	return list
}

func (c *campaign) sendersOf(d *device) (list []*sender) {
	for _, s := range c.senders {
		if s.device == d.cred.ID {
			list = append(list, s)
		}
	}
	return list
}

// complete tells whether a device has got all that it is owed, and has nothing to send.
func (c *campaign) complete(d *device) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.inflight) > 0 || len(d.open) > 0 {
		return false
	}
	for _, s := range c.settersOf(d) {
		if len(d.checkState(s)) > 0 {
			return false
		}
		if d.persistent && len(s.property.CheckReceived(d.received[ifServerProps+s.path])) > 0 {
			return false
		}
	}
	for _, s := range c.sendersOf(d) {
		if len(s.stream.CheckReceived(d.values(s), qos[s.iface] == 2)) > 0 {
			return false
		}
	}
	return true
}

// checkState compares the device's view of a server-owned property with what was done to it.
func (d *device) checkState(s *setter) []Violation {
	var current *string
	if v, ok := d.state[ifServerProps+s.path]; ok {
		current = &v
	}
	at := *s.property
	at.Where += " (at the device)"
	return at.Check(current)
}

func (c *campaign) checkSetter(d *device, s *setter) {
	c.add(d.checkState(s))
	if d.persistent {
		c.add(s.property.CheckReceived(d.received[ifServerProps+s.path]))
	}
}

func (c *campaign) checkSender(d *device, s *sender) {
	c.add(s.stream.CheckReceived(d.values(s), qos[s.iface] == 2))
}

// values returns what a device has received of a datastream.
func (d *device) values(s *sender) (list []string) {
	for _, v := range d.received[s.iface+s.path] {
		if v == nil {
			list = append(list, "(nothing)") // which no one has sent
			continue
		}
		list = append(list, *v)
	}
	return list
}

// count returns how much has been acknowledged.
func (c *campaign) count() (n int) {
	n = c.fleet.acked()
	if c.realm == nil {
		return n
	}
	devices := slices.Clone(c.devices)
	for _, x := range c.registrar.newcomers {
		if x.registered {
			n++
		}
		if x.device != nil {
			devices = append(devices, x.device)
		}
	}
	for _, d := range devices {
		for _, streams := range d.streams {
			for _, s := range streams {
				n += s.Acked()
			}
		}
		for _, p := range d.props {
			n += p.Acked()
		}
	}
	for _, s := range c.setters {
		n += s.property.Acked()
	}
	for _, s := range c.senders {
		n += s.stream.Acked()
	}
	for _, i := range c.installer.installed {
		if i.acked {
			n++
		}
	}
	return n
}
