package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/bench/internal/machine"
)

// A loadKind is one way to send, to several servers.
type loadKind struct {
	Name    string
	Text    string
	Pubs    int
	Window  int
	Servers []string
}

// The servers.
const (
	fairlead       = "fairlead"
	mosquittoTLS   = "mosquitto"
	mosquittoPlain = "mosquitto, plain TCP"
)

var kinds = []loadKind{
	{"8x100", "8 publishers, window 100", 8, 100, []string{fairlead, mosquittoTLS, mosquittoPlain}},
	{"500x10", "500 publishers, window 10", 500, 10, []string{fairlead, mosquittoTLS}},
	{"1x1", "1 publisher, window 1", 1, 1, []string{fairlead, mosquittoTLS}},
}

func names() (list []string) {
	for _, k := range kinds {
		list = append(list, k.Name)
	}
	return list
}

func pick(only string) ([]loadKind, error) {
	if only == "" {
		return kinds, nil
	}
	var list []loadKind
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, k := range kinds {
			if k.Name == name {
				list, found = append(list, k), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no load %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	return list, nil
}

// measure runs a load in rounds, the servers in turn within each: a noisy minute of the machine hits all of them.
func (b *bench) measure(ctx context.Context, k loadKind, rep *report) error {
	devs, err := b.devices.first(ctx, k.Pubs)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s: %s\n", k.Name, k.Text)
	res := &loadResult{Name: k.Name, Text: k.Text, Publishers: k.Pubs, Window: k.Window}
	rep.Loads = append(rep.Loads, res)
	for round := range b.rounds {
		rate, err := machine.SyncRate(b.dir, time.Second)
		if err != nil {
			return err
		}
		res.SyncRates = append(res.SyncRates, rate)
		for i := range k.Servers {
			server := k.Servers[i]
			if round%2 == 1 { // and in turn who comes first
				server = k.Servers[len(k.Servers)-1-i]
			}
			r, err := b.once(ctx, k, server, devs)
			if err != nil {
				return fmt.Errorf("%s: %w", server, err)
			}
			r.Round = round + 1
			res.Runs = append(res.Runs, r)
			fmt.Printf("  round %d  %-22s %9.0f msgs/s  %6.2f CPU s/M  p50 %s  p99 %s  (others used %.0f %% of the machine)\n",
				r.Round, server, r.Rate, r.CPUPerMillion, micros(r.AckP50), micros(r.AckP99), r.OthersPercent)
		}
	}
	return nil
}

// once measures one server.
func (b *bench) once(ctx context.Context, k loadKind, server string, devs []*device) (*runResult, error) {
	if free := machine.Free(b.dir); free < 4<<30 {
		return nil, fmt.Errorf("only %d MiB are free on the disk", free>>20)
	}
	machine.Settle()
	if b.quiet > 0 {
		machine.AwaitIdle(ctx, b.quiet)
	}
	pubs, err := b.dial(ctx, k, server, devs)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range pubs {
			p.Close()
		}
	}()
	pid := b.mosquitto.PID()
	if server == fairlead {
		pid = b.hub.PID()
	}
	whole := rand.IntN(len(devs)) // whose values are all read back
	started, after := time.Now(), devs[whole].seq
	m := &meter{pid: pid}
	profiled := b.profile(k, server)
	lr, err := load.Run(ctx, pubs, b.warm, b.options.measure, b.most, m.begin, m.end)
	profiled()
	if err != nil {
		return nil, err
	}
	if m.err != nil {
		return nil, m.err
	}
	if server == fairlead {
		for i, dev := range devs {
			dev.ran(pubs[i], lr.Acked[i])
		}
		if err := b.devices.verify(ctx, devs, whole, after, started.Add(-time.Second)); err != nil {
			return nil, err
		}
	}
	return m.result(server, lr, pubs[0].Suite()), nil
}

// dial connects the publishers.
func (b *bench) dial(ctx context.Context, k loadKind, server string, devs []*device) ([]*load.Publisher, error) {
	pubs, errs := make([]*load.Publisher, k.Pubs), make([]error, k.Pubs)
	var wg sync.WaitGroup
	slots := make(chan struct{}, registering)
	for i, dev := range devs {
		t, after := load.Target{Topic: dev.topic}, uint64(0)
		switch server {
		case fairlead:
			t, after = b.devices.target(dev), dev.seq
		case mosquittoTLS:
			t.Addr, t.TLS = b.mosquitto.TLSAddr, b.mosquitto.Client
		case mosquittoPlain:
			t.Addr = b.mosquitto.PlainAddr
		}
		slots <- struct{}{}
		wg.Go(func() {
			pubs[i], errs[i] = load.Dial(ctx, t, k.Window, after)
			<-slots
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			for _, p := range pubs {
				if p != nil {
					p.Close()
				}
			}
			return nil, fmt.Errorf("connect: %w", err)
		}
	}
	return pubs, nil
}

// A meter reads what a run costs.
type meter struct {
	pid       int
	cpu, self time.Duration
	all       machine.Usage
	err       error
}

func (m *meter) begin() {
	m.cpu, m.err = machine.CPU(m.pid)
	m.self, m.all = machine.Self(), machine.Processors()
}

func (m *meter) end() {
	if m.err != nil {
		return
	}
	var cpu time.Duration
	cpu, m.err = machine.CPU(m.pid)
	all := machine.Processors()
	m.cpu, m.self = cpu-m.cpu, machine.Self()-m.self
	m.all = machine.Usage{Busy: all.Busy - m.all.Busy, Stolen: all.Stolen - m.all.Stolen, All: all.All - m.all.All}
}

// profile starts a processor profile of the hub, and returns what ends it; that of the last round remains.
func (b *bench) profile(k loadKind, server string) (end func()) {
	if b.options.profile == "" || server != fairlead {
		return func() {}
	}
	pid := b.hub.PID()
	_ = syscall.Kill(pid, syscall.SIGUSR1)
	return func() {
		_ = syscall.Kill(pid, syscall.SIGUSR2)
		// The file may still be open; that does not keep it from being renamed.
		if err := os.Rename(b.profileFile(), filepath.Join(b.options.profile, k.Name+".pprof")); err != nil {
			fmt.Fprintln(os.Stderr, "bench: profile:", err)
		}
	}
}

func (b *bench) profileFile() string { return filepath.Join(b.options.profile, "current.pprof") }

func (m *meter) result(server string, lr *load.Result, suite string) *runResult {
	millions := float64(lr.Messages) / 1e6
	return &runResult{
		Server: server, Messages: lr.Messages, Seconds: lr.Elapsed.Seconds(),
		Rate:          float64(lr.Messages) / lr.Elapsed.Seconds(),
		CPUPerMillion: m.cpu.Seconds() / millions, GeneratorCPUPerMillion: m.self.Seconds() / millions,
		OthersPercent: 100 * max(0, (m.all.Busy-m.cpu-m.self).Seconds()) / m.all.All.Seconds(),
		StolenPercent: 100 * m.all.Stolen.Seconds() / m.all.All.Seconds(),
		AckP50:        lr.Latency.Quantile(.5), AckP99: lr.Latency.Quantile(.99),
		Suite: suite,
	}
}
