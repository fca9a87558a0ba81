package astartego

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// setting returns the number that an environment variable holds, or a default.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Several devices at once are killed again and again: a hundred times in all.
func TestDeviceIsKilled(t *testing.T) {
	t.Parallel()
	const devices = 4
	kills := int(setting(t, "FAIRLEAD_DEVICE_KILLS", 100)) // also with -short: that is what was promised
	seed := setting(t, "FAIRLEAD_DEVICE_SEED", rand.Uint64N(1_000_000))
	t.Logf("%d kills, seed %d (repeat with FAIRLEAD_DEVICE_SEED=%d)", kills, seed, seed)
	p := own(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Duration(kills)*5*time.Second)
	defer cancel()
	begun := time.Now()
	var running, done sync.WaitGroup
	var killed atomic.Int64
	var victims []*victim
	for i := range devices {
		v := newVictim(t, p, rand.New(rand.NewPCG(seed, uint64(i))), "")
		victims = append(victims, v)
		running.Go(func() { v.live(ctx, (kills+devices-1-i)/devices, &killed) })
	}
	quit := make(chan struct{})
	hubs := 0
	done.Go(func() { hubs = p.killNowAndThen(t, quit, rand.New(rand.NewPCG(seed, 99))) })
	running.Wait()
	close(quit)
	done.Wait()
	for i, v := range victims {
		v.finish(ctx)
		v.report(t, i)
		if v.ledger.full == 0 {
			t.Errorf("device %d: its outbox was never full: that is no load", i)
		}
	}
	t.Logf("%d kills of devices and %d of the hub in %v", killed.Load(), hubs, time.Since(begun).Round(time.Millisecond))
	if int(killed.Load()) < kills {
		t.Errorf("only %d kills", killed.Load())
	}
}

// killNowAndThen kills the hub, and starts it again, until quit is closed; then it runs.
func (p *platform) killNowAndThen(t *testing.T, quit <-chan struct{}, rng *rand.Rand) (kills int) {
	for {
		select {
		case <-time.After(time.Duration(1000+rng.IntN(2000)) * time.Millisecond):
		case <-quit:
			return kills
		}
		if err := p.hub.Kill(); err != nil {
			t.Error(err)
			return kills
		}
		kills++
		if err := p.start(context.Background()); err != nil {
			t.Error(err)
			return kills
		}
	}
}

// A victim is a device that is killed, with all that watches it.
type victim struct {
	p      *platform
	rng    *rand.Rand
	tap    *tap
	cfg    programConfig
	ledger *ledger
	lives  int
	err    error

	mu     sync.Mutex // of what follows, and of rng when faults are chosen
	faults map[int]*fault
	names  map[int]map[uint16]name // by connection and packet identifier
	calm   bool                    // no faults any more
}

type name struct {
	letter string
	n      int64
}

// fault is how a connection fares.
type fault struct {
	cut   int           // after so many packets; 0: never
	pause time.Duration // before each packet upwards
	stall int           // at this packet, until the connection ends or some time has passed
	seen  int
}

func newVictim(t *testing.T, p *platform, rng *rand.Rand, sabotage string) *victim {
	t.Helper()
	const window = 20
	dir := t.TempDir()
	id := astarte.RandomDeviceID()
	secret, err := p.pairing().Register(t.Context(), id, p.token())
	must(t, err)
	tp, authority, err := openTap(p.hub.MQTT(), p.realm.Roots(), filepath.Join(dir, "device", "crypto"))
	must(t, err)
	t.Cleanup(tp.close)
	text, err := os.ReadFile(p.vars["FAIRLEAD_CA"])
	must(t, err)
	root, _ := pem.Decode(text)
	v := &victim{
		p: p, rng: rng, tap: tp, ledger: newLedger(window), faults: map[int]*fault{}, names: map[int]map[uint16]name{},
		cfg: programConfig{
			PairingURL: p.realm.PairingURL(), Realm: p.realm.Name, ID: id, Secret: secret.Reveal(), Dir: dir, HubRoot: root.Bytes, TapRoot: authority.Raw, Tap: tp.addr,
			Room: 50, Window: window, Sabotage: sabotage,
		},
	}
	tp.on(v.packet)
	return v
}

// packet is told of what goes over the wire, and breaks it.
func (v *victim) packet(connection int, up bool, p mqtt.Packet) error {
	f := v.fault(connection)
	if f.pause > 0 && up {
		time.Sleep(f.pause)
	}
	v.mu.Lock()
	f.seen++
	seen := f.seen
	v.mu.Unlock()
	switch seen {
	case f.cut:
		return errors.New("cut")
	case f.stall:
		select {
		case <-v.tap.ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	names := v.names[connection]
	if names == nil {
		names = map[uint16]name{}
		v.names[connection] = names
	}
	switch p := p.(type) {
	case *mqtt.Publish:
		for letter, path := range channelPaths {
			if up && strings.HasSuffix(string(p.Topic), kept1+path) {
				n := valueOf(p.Payload)
				names[p.ID] = name{letter, n}
				v.ledger.publish(connection, letter, n)
			}
		}
	case *mqtt.Ack:
		if known, ok := names[p.ID]; ok && !up && (p.Type == mqtt.TypePubAck || p.Type == mqtt.TypePubComp) {
			v.ledger.acknowledge(connection, known.letter, known.n)
			delete(names, p.ID)
		}
	}
	return nil
}

// fault chooses how a connection fares.
func (v *victim) fault(connection int) *fault {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.faults[connection]
	if f == nil {
		f = &fault{}
		switch n := v.rng.IntN(10); {
		case v.calm || n < 1:
		case n < 5:
			f.pause = time.Duration(200+v.rng.IntN(2000)) * time.Microsecond
		case n < 9:
			f.cut, f.pause = 1+v.rng.IntN(300), time.Duration(v.rng.IntN(1000))*time.Microsecond
		default:
			f.stall = 1 + v.rng.IntN(100)
		}
		v.faults[connection] = f
	}
	return f
}

// process is a run of the device's program.
type process struct {
	cmd   *exec.Cmd
	stdin interface{ Close() error }
	read  chan struct{} // closed when all that it has printed was read
	full  chan struct{} // closed when it has found its outbox full
	text  strings.Builder
}

func (v *victim) start() (*process, error) {
	v.ledger.begin(v.lives)
	v.cfg.Life = v.lives
	v.lives++
	text, err := json.Marshal(v.cfg)
	if err != nil {
		return nil, err
	}
	x := &process{cmd: exec.Command(os.Args[0]), read: make(chan struct{}), full: make(chan struct{})}
	x.cmd.Env = append(os.Environ(), programVariable+"="+string(text))
	x.cmd.Stderr = &x.text
	if x.stdin, err = x.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := x.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := x.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(x.read)
		full := sync.OnceFunc(func() { close(x.full) })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			v.ledger.line(lines.Text())
			if lines.Text() == "F" {
				full()
			}
		}
	}()
	return x, nil
}

// end waits until the process is gone, and everything of it was read and passed on.
func (x *process) end(v *victim) error {
	<-x.read
	err := x.cmd.Wait()
	_ = x.stdin.Close()
	v.tap.idle()
	return err
}

// idle waits until no connection is left.
func (tp *tap) idle() {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		tp.mu.Lock()
		n := len(tp.open)
		tp.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) { // one to a hub that does not read, or is dead
			tp.cut()
		}
	}
}

// live runs the program and kills it, so many times.
func (v *victim) live(ctx context.Context, kills int, killed *atomic.Int64) {
	for i := 0; i < kills && ctx.Err() == nil && v.err == nil; i++ {
		v.err = v.once(ctx)
		if v.err == nil {
			killed.Add(1)
		}
	}
}

func (v *victim) once(ctx context.Context) error {
	x, err := v.start()
	if err != nil {
		return err
	}
	v.mu.Lock()
	early, after := v.rng.IntN(10) == 0, time.Duration(v.rng.IntN(500))*time.Millisecond
	v.mu.Unlock()
	if !early { // otherwise perhaps while it starts
		select {
		case <-x.full:
		case <-time.After(2 * time.Second): // the network is too good
		case <-x.read:
		case <-ctx.Done():
		}
	}
	select {
	case <-time.After(after):
	case <-x.read:
	}
	if err := x.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := x.end(v); x.cmd.ProcessState.Exited() {
		return fmt.Errorf("the program has ended by itself: %w: %s", err, x.text.String())
	}
	return nil
}

// calmDown makes the network well, for connections to come.
func (v *victim) calmDown() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calm = true
}

// finish lets the device send what it has, on a network that is well, and compares.
func (v *victim) finish(ctx context.Context) {
	if v.err != nil {
		return
	}
	v.calmDown()
	v.cfg.Drain, v.cfg.Sabotage = true, ""
	x, err := v.start()
	if err != nil {
		v.err = err
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = x.cmd.Process.Kill() })
	defer stop()
	if err := x.end(v); err != nil {
		v.err = fmt.Errorf("the last process: %w: %s", err, x.text.String())
		return
	}
	stored := map[string][]int64{}
	for letter, path := range channelPaths {
		if stored[letter], err = v.p.everything(ctx, v.cfg.ID, path); err != nil {
			v.err = err
			return
		}
	}
	raw, err := v.p.realm.Read(ctx, v.cfg.ID, prefix+"DeviceProperties", "/longinteger_endpoint", url.Values{})
	if err != nil {
		v.err = err
		return
	}
	property, _ := strconv.ParseInt(string(raw), 10, 64) // {} is none
	v.ledger.settle(stored, property)
}

// everything reads all values of a channel, in order, a page at a time.
func (p *platform) everything(ctx context.Context, id, path string) ([]int64, error) {
	const page = 10_000
	var all []int64
	var last time.Time
	ties := 0 // values at the end with that time
	for {
		samples, err := p.realm.Samples(ctx, id, kept1, path, last, page)
		if err != nil {
			return nil, err
		}
		for _, s := range samples[min(ties, len(samples)):] {
			var text string
			if err := json.Unmarshal(s.Value, &text); err != nil {
				return nil, err
			}
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, err
			}
			if !s.Timestamp.Equal(last) {
				last, ties = s.Timestamp, 0
			}
			ties++
			all = append(all, n)
		}
		if len(samples) < page {
			return all, nil
		}
	}
}

func (v *victim) report(t *testing.T, i int) {
	t.Helper()
	if v.err != nil {
		t.Errorf("device %d: %v", i, v.err)
	}
	l := v.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, problem := range l.problems {
		t.Errorf("device %d: %s", i, problem)
	}
	accepted := 0
	for _, c := range l.channels {
		accepted += len(c.accepted)
	}
	t.Logf("device %d: %d lives, full in %d of them, %d connections, %d values accepted, %d sent again in a later life", i, v.lives, l.full, v.tap.count, accepted, l.repeated)
	if accepted == 0 {
		t.Errorf("device %d: nothing was accepted", i)
	}
}

// A device that breaks its promises is found out: one that loses what it has accepted, one that sends again what it has deleted, one that mixes up the order.
func TestSabotageIsNoticed(t *testing.T) {
	p := shared(t)
	for sabotage, want := range map[string][]string{"lose": {"missing"}, "keep": {"repeated"}, "swap": {"disorder", "missing"}} {
		t.Run(sabotage, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t, p, rand.New(rand.NewPCG(1, 1)), sabotage)
			v.calmDown()
			x, err := v.start()
			must(t, err)
			eventually(t, "values to be accepted and deleted", func() bool {
				v.ledger.mu.Lock()
				defer v.ledger.mu.Unlock()
				c := v.ledger.channels["g"]
				return len(c.accepted) > 100 && len(c.deleted) > 20
			})
			must(t, x.cmd.Process.Kill())
			_ = x.end(v)
			v.finish(t.Context())
			if v.err != nil {
				t.Fatal(v.err)
			}
			if !slices.ContainsFunc(v.ledger.problems, func(problem string) bool {
				return slices.ContainsFunc(want, func(kind string) bool { return strings.HasPrefix(problem, kind) })
			}) {
				t.Errorf("got %q, want one that is %v", v.ledger.problems, want)
			}
		})
	}
}
