package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/bench/internal/machine"
)

// A meter reads what a run costs.
type meter struct {
	pid       int // of the server, or our own: then there is no generator
	generator int // its process, 0 for our own
	cpu, self time.Duration
	all       machine.Usage
	err       error
}

func (m *meter) begin() {
	m.cpu, m.self, m.err = m.read()
	m.all = machine.Processors()
}

func (m *meter) read() (server, generator time.Duration, err error) {
	if server, err = machine.CPU(m.pid); err != nil {
		return 0, 0, err
	}
	switch {
	case m.pid == os.Getpid():
	case m.generator == 0:
		generator = machine.Self()
	default:
		generator, err = machine.CPU(m.generator)
	}
	return server, generator, err
}

func (m *meter) end() {
	if m.err != nil {
		return
	}
	var cpu, self time.Duration
	cpu, self, m.err = m.read()
	all := machine.Processors()
	m.cpu, m.self = cpu-m.cpu, self-m.self
	m.all = machine.Usage{Busy: all.Busy - m.all.Busy, Stolen: all.Stolen - m.all.Stolen, All: all.All - m.all.All}
}

// result is what n operations in a time come to.
func (m *meter) result(n uint64, d time.Duration, latency *hist.H, suite string) *runResult {
	millions := float64(n) / 1e6
	return &runResult{
		Value: float64(n) / d.Seconds(), Operations: n, Seconds: d.Seconds(),
		CPUPerMillion: m.cpu.Seconds() / millions, GeneratorCPUPerMillion: m.self.Seconds() / millions,
		OthersPercent: 100 * max(0, (m.all.Busy-m.cpu-m.self).Seconds()) / m.all.All.Seconds(),
		StolenPercent: 100 * m.all.Stolen.Seconds() / m.all.All.Seconds(),
		P50:           latency.Quantile(.5), P99: latency.Quantile(.99),
		Suite: suite,
	}
}

// profile starts a processor profile of the hub, and returns what ends it; that of the last round remains.
func (b *bench) profile(name string, s *subject) (end func()) {
	if b.options.profile == "" || !s.hub {
		return func() {}
	}
	pid := s.pid()
	_ = syscall.Kill(pid, syscall.SIGUSR1)
	return func() {
		_ = syscall.Kill(pid, syscall.SIGUSR2)
		// The file may still be open; that does not keep it from being renamed.
		if err := os.Rename(b.profileFile(), filepath.Join(b.options.profile, name+".pprof")); err != nil {
			fmt.Fprintln(os.Stderr, "bench: profile:", err)
		}
	}
}

func (b *bench) profileFile() string { return filepath.Join(b.options.profile, "current.pprof") }
