// Package crash kills the hub again and again under mixed load, and verifies that nothing which it has acknowledged is
// missing, doubled, changed or out of order: messages of devices at QoS 1 and 2, properties of both owners, REST
// writes, registrations, interfaces, persistent sessions and what waits in them; and of plain MQTT devices what they
// send each other, alone or by a shared subscription, retained messages, wills, and sessions that end.
//
//	go test ./crash                              six kills
//	FAIRLEAD_CRASH_KILLS=100 go test ./crash -v  a hundred
//	FAIRLEAD_CRASH_SEED=7 …                      the same choices again (what the hub does meanwhile is not the same)
//
// SIGKILL takes the process and leaves the machine, so what was written to a file survives even without a sync. That
// the hub syncs is shown elsewhere: below the storage driver, and here by taking the end of the write-ahead log away,
// which the test has to notice.
package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
)

// Config configures a campaign.
type Config struct {
	Hub   *hubproc.Hub // not running, on an empty folder
	Kills int
	Seed  uint64
	Logf  func(format string, args ...any) // progress
	// Sabotage, if set, is called after each kill, to make the hub lose something: a test of this test. The
	// campaign ends when that was noticed.
	Sabotage func() error
	// Ripe, if set, is asked until it says that there is enough to lose; the kill under load waits for it.
	Ripe func() (bool, error)
	// PlainOnly leaves out what speaks Astarte's dialect.
	PlainOnly bool
}

// A Summary is what a campaign has found.
type Summary struct {
	Violations []Violation
	Acked      int // messages, changes and registrations that were acknowledged
	Slowest    time.Duration
}

const (
	cleanDevices      = 4
	persistentDevices = 2
	readyPatience     = 30 * time.Second
	// drainPatience is how long the last connection may take to bring everything, and silence how long it may be
	// quiet meanwhile.
	drainPatience = 30 * time.Second
	silence       = 2 * time.Second
)

type campaign struct {
	Config
	rng       *rand.Rand
	fleet     *fleet
	realm     *astarteapi.Realm // nil: only plain devices
	devices   []*device
	setters   []*setter
	senders   []*sender
	installer *installer
	registrar *registrar
	tails     map[tailKey]*tail
	lives     int
	checked   struct{ newcomers, interfaces int }

	mu  sync.Mutex
	sum Summary
}

// maxViolations ends a campaign: there is nothing more to learn.
const maxViolations = 30

var errEnough = errors.New("enough violations")

// Run runs a campaign. The error means that it could not go on, which is the hub's fault or not; what the hub certainly
// did wrong is in the summary.
func Run(ctx context.Context, cfg Config) (*Summary, error) {
	c := &campaign{Config: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), tails: map[tailKey]*tail{}}
	defer func() { _ = c.Hub.Kill() }() // if it runs still
	err := c.run(ctx)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return &c.sum, err
}

func (c *campaign) run(ctx context.Context) error {
	if err := c.setUp(ctx); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for kills := 0; kills < c.Kills; {
		var err error
		switch n := c.rng.IntN(10); {
		case n < 6 || kills == 0:
			err = c.killUnderLoad(ctx)
		case n < 8:
			err = c.killWhileStarting(ctx)
		default:
			err = c.killWhileReturning(ctx)
		}
		if err != nil {
			return err
		}
		kills++
		if err := c.restart(ctx); err != nil {
			return err
		}
		took, err := c.verify(ctx, false)
		c.Logf("%d of %d: acknowledged so far %d, verified in %v, violations %d", kills, c.Kills, c.count(), took, len(c.sum.Violations))
		if err != nil {
			return err
		}
	}
	if err := c.drain(ctx); err != nil {
		return err
	}
	c.Logf("stop in order, start again, and read everything back")
	if err := c.Hub.Stop(); err != nil {
		c.report(Broken, "hub", "%v", err)
		return err
	}
	if err := c.restart(ctx); err != nil {
		return err
	}
	c.sum.Acked = c.count()
	took, err := c.verify(ctx, true)
	c.Logf("acknowledged were %d, verified in %v", c.sum.Acked, took)
	for _, p := range c.fleet.pumps {
		c.Logf("%s: its session was there %d times and had expired %d times, as it had to", p.guest.name, p.guest.present, p.guest.gone)
	}
	return err
}

// report notes a violation; it is what lives report to.
func (c *campaign) report(kind, where, format string, args ...any) {
	c.add([]Violation{{kind, where, fmt.Sprintf(format, args...)}})
}

func (c *campaign) add(list []Violation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range list {
		if len(c.sum.Violations) < maxViolations {
			c.sum.Violations = append(c.sum.Violations, v)
			c.Logf("VIOLATION %v", v)
		}
	}
}

// setUp starts the hub for the first time and makes what all lives use.
func (c *campaign) setUp(ctx context.Context) error {
	if err := c.restart(ctx); err != nil {
		return err
	}
	vars, err := c.Hub.Variables(ctx, "mqtt")
	if err != nil {
		return err
	}
	if c.fleet, err = newFleet(ctx, vars, c.Hub.MQTT()); err != nil {
		return err
	}
	if err := c.fleet.introduce(ctx, c.life()); err != nil || c.PlainOnly {
		return err
	}
	if vars, err = c.Hub.Variables(ctx, "astarte"); err != nil {
		return err
	}
	if c.realm, err = astarteapi.New(vars); err != nil {
		return err
	}
	for _, d := range definitions() {
		if err := c.realm.Install(ctx, d); err != nil {
			return err
		}
	}
	c.installer = &installer{realm: c.realm}
	c.registrar = &registrar{realm: c.realm, addr: c.Hub.MQTT()}
	for i := range cleanDevices + persistentDevices {
		if err := c.addDevice(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// addDevice makes a device and the programs that write to it.
func (c *campaign) addDevice(ctx context.Context, i int) error {
	id := randomID(c.rng)
	secret, err := c.realm.Register(ctx, id)
	if err != nil {
		return err
	}
	cred, err := c.realm.Obtain(ctx, id, secret)
	if err != nil {
		return err
	}
	persistent := i >= cleanDevices
	d := newDevice(fmt.Sprintf("device%d", i), cred, c.Hub.MQTT(), persistent)
	c.devices = append(c.devices, d)
	// The first connection makes the device known, so that programs may write to it from the beginning.
	if err := c.introduce(ctx, d); err != nil {
		return err
	}
	prop := func(i int) {
		where := fmt.Sprintf("%s %s%s", d.name, ifServerProps, pathOf(i))
		c.setters = append(c.setters, &setter{
			realm: c.realm, device: id, path: pathOf(i), property: &Property{Where: where}, pace: 20 * time.Millisecond,
		})
	}
	prop(0)
	if !persistent {
		return nil
	}
	prop(1)
	for _, iface := range []string{ifServerGuaranteed, ifServerUnique} {
		for i := range pathsPerStream {
			c.senders = append(c.senders, &sender{
				realm: c.realm, device: id, iface: iface, path: pathOf(i), pace: 15 * time.Millisecond,
				stream: &Stream{Where: fmt.Sprintf("%s %s%s", d.name, iface, pathOf(i)), Once: true},
			})
		}
	}
	return nil
}

// introduce connects a device until the hub has acknowledged its introduction.
func (c *campaign) introduce(ctx context.Context, d *device) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := d.connected(ctx, c.life(), func(ctx context.Context) error {
		for {
			d.mu.Lock()
			done := len(d.inflight) == 0
			d.mu.Unlock()
			if done || ctx.Err() != nil {
				return nil
			}
			pause(ctx, time.Millisecond)
		}
	})
	if err == nil && !(d.introduced && d.emptied) {
		err = errors.New("the introduction was not acknowledged")
	}
	if err != nil {
		return fmt.Errorf("introduce %s: %w", d.name, err)
	}
	return nil
}

func (c *campaign) life() *life { return &life{report: c.report} }

// restart starts a process and waits until it is ready.
func (c *campaign) restart(ctx context.Context) error {
	if err := c.Hub.Start(); err != nil {
		return err
	}
	start := time.Now()
	if err := c.Hub.AwaitReady(ctx, readyPatience); err != nil {
		c.report(Broken, "hub", "%v", err)
		return err
	}
	c.sum.Slowest = max(c.sum.Slowest, time.Since(start))
	return nil
}

// kill kills the hub. lf is nil if nobody lives.
func (c *campaign) kill(lf *life) error {
	if lf != nil {
		lf.at = time.Now()
		lf.ended.Store(true)
	}
	if err := c.Hub.Kill(); err != nil {
		c.report(Broken, "hub", "%v", err)
		return err
	}
	if c.fleet != nil {
		c.closeIdle() // a request on a connection to the dead hub would get no answer, and look like a fault of the new one
	}
	if c.Sabotage != nil {
		return c.Sabotage()
	}
	return nil
}

// begin starts everybody; the returned function waits until all have noticed that the hub is dead.
func (c *campaign) begin(ctx context.Context) (lf *life, join func()) {
	lf = c.life()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	start := func(live func(ctx context.Context, lf *life, rng *rand.Rand)) {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 2))
		wg.Go(func() { live(ctx, lf, rng) })
	}
	for _, d := range c.devices {
		if !d.persistent {
			start(d.live)
			continue
		}
		switch c.rng.IntN(4) {
		case 0: // away for the whole life: what comes for it waits in the session
		case 1:
			start(d.comeAndGo)
		default:
			start(d.live)
		}
	}
	for _, p := range c.programs() {
		start(p.live)
	}
	c.fleet.begin(start, c.rng, c.lives == 0)
	c.lives++
	return lf, func() {
		// What the hub had sent before it died is still to be read, so nobody is interrupted at once.
		t := time.AfterFunc(2*time.Second, cancel)
		wg.Wait()
		t.Stop()
		cancel()
		c.closeIdle()
	}
}

func (c *campaign) closeIdle() {
	c.fleet.admin.HTTP.CloseIdleConnections()
	if c.realm != nil {
		c.realm.CloseIdle()
	}
}

func (c *campaign) programs() []program {
	if c.realm == nil {
		return nil
	}
	list := []program{c.installer, c.registrar}
	for _, s := range c.setters {
		list = append(list, s)
	}
	for _, s := range c.senders {
		list = append(list, s)
	}
	return list
}

func (c *campaign) between(least, most time.Duration) time.Duration {
	return least + time.Duration(c.rng.Int64N(int64(most-least)))
}

// killUnderLoad has everybody live on the running hub, and kills it.
func (c *campaign) killUnderLoad(ctx context.Context) error {
	after := c.between(100*time.Millisecond, 1500*time.Millisecond)
	if c.Sabotage != nil {
		after += time.Second // so that there is something to lose
	}
	c.Logf("kill under load, after %v", after.Round(time.Millisecond))
	lf, join := c.begin(ctx)
	pause(ctx, after)
	err := c.ripen(ctx)
	err = errors.Join(err, c.kill(lf))
	join()
	return errors.Join(err, ctx.Err())
}

func (c *campaign) ripen(ctx context.Context) error {
	for c.Ripe != nil && ctx.Err() == nil {
		if ripe, err := c.Ripe(); ripe || err != nil {
			return err
		}
		pause(ctx, 5*time.Millisecond)
	}
	return ctx.Err()
}

// killWhileStarting kills the idle hub, and then the next process before it can be ready.
func (c *campaign) killWhileStarting(ctx context.Context) error {
	if err := c.kill(nil); err != nil {
		return err
	}
	after := c.between(0, 150*time.Millisecond)
	c.Logf("kill while it starts, after %v", after.Round(time.Millisecond))
	if err := c.Hub.Start(); err != nil {
		return err
	}
	pause(ctx, after)
	return errors.Join(c.kill(nil), ctx.Err())
}

// killWhileReturning kills the hub, idle or under load, and then the next process while everybody comes back at once.
func (c *campaign) killWhileReturning(ctx context.Context) error {
	kill := func(context.Context) error { return c.kill(nil) }
	if c.rng.IntN(2) == 0 {
		kill = c.killUnderLoad
	}
	if err := kill(ctx); err != nil {
		return err
	}
	after := c.between(20*time.Millisecond, 400*time.Millisecond)
	c.Logf("kill while everybody comes back, after %v", after.Round(time.Millisecond))
	lf, join := c.begin(ctx)
	if err := c.Hub.Start(); err != nil {
		return err
	}
	pause(ctx, after)
	err := c.kill(lf)
	join()
	return errors.Join(err, ctx.Err())
}
