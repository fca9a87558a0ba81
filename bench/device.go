package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/bench/internal/machine"
	"github.com/fairlead-iot/fairlead/conformance/sensor"
)

// The subjects of the scenarios about a device program.
const (
	drainFile   = "device, outbox in a file"
	sizeHere    = "linux/amd64"
	sizeARM     = "linux/arm"
	sizeSymbols = "linux/amd64, with symbols"
	deviceIdle  = "connected, nothing to do"
	devicePeak  = "peak, 100,000 readings stored and sent"
)

const (
	drained      = 200_000 // readings that an outbox empties itself of
	peakReadings = 100_000 // the outbox's limit unless another is set
	deviceSettle = 5 * time.Second
)

// buildSensor builds the device program, stripped unless flags are given.
func (b *bench) buildSensor(ctx context.Context, target string, flags ...string) (string, error) {
	if flags == nil {
		flags = sensor.Stripped
	}
	dir, err := os.MkdirTemp(b.dir, "sensor-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "sensor")
	return out, sensor.Build(ctx, out, target, flags...)
}

// startSensor starts the device program as a new device.
func (b *bench) startSensor(ctx context.Context, program string, readings int) (*sensor.Device, error) {
	vars, err := b.hub.Variables(ctx, "astarte")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "device-")
	if err != nil {
		return nil, err
	}
	return sensor.Start(ctx, vars, sensor.Options{Command: []string{program}, Dir: dir, Readings: readings})
}

// runDrain has a device connect that has been away for long. What the hub then has is read back.
func runDrain(ctx context.Context, b *bench, res *result) error {
	program, err := b.buildSensor(ctx, "")
	if err != nil {
		return err
	}
	b.subjects[drainFile] = &subject{name: drainFile, hub: true, pid: b.hub.PID}
	return b.interleave(ctx, res, []string{drainFile}, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
		d, err := b.startSensor(ctx, program, drained)
		if err != nil {
			return nil, err
		}
		if err := b.settle(ctx); err != nil { // storing was work, too
			return nil, err
		}
		m := &meter{pid: s.pid(), generator: d.PID()}
		profiled := b.profile("drain", s)
		m.begin()
		took, err := d.Drain()
		m.end()
		profiled()
		if err := errors.Join(err, m.err); err != nil {
			return nil, err
		}
		if err := d.Verify(ctx); err != nil {
			return nil, err
		}
		return m.result(drained, took, &hist.H{}, ""), d.Stop()
	})
}

// runSize links the device program.
func runSize(ctx context.Context, b *bench, res *result) error {
	for _, c := range []struct {
		name, target string
		flags        []string
	}{{sizeHere, sizeHere, nil}, {sizeARM, sizeARM, nil}, {sizeSymbols, sizeHere, []string{"-trimpath"}}} {
		out, err := b.buildSensor(ctx, c.target, c.flags...)
		if err != nil {
			return err
		}
		file, err := os.Stat(out)
		if err != nil {
			return err
		}
		res.add(1, c.name, "", &runResult{Value: float64(file.Size()) / 1e6})
	}
	return nil
}

// runResident measures the device program's memory.
func runResident(ctx context.Context, b *bench, res *result) error {
	program, err := b.buildSensor(ctx, "")
	if err != nil {
		return err
	}
	readings := map[string]int{deviceIdle: 1, devicePeak: peakReadings}
	for name := range readings {
		b.subjects[name] = &subject{name: name}
	}
	return b.interleave(ctx, res, []string{deviceIdle, devicePeak}, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
		d, err := b.startSensor(ctx, program, readings[s.name])
		if err != nil {
			return nil, err
		}
		if _, err := d.Drain(); err != nil {
			return nil, err
		}
		bytes := machine.Peak(d.PID())
		if s.name == deviceIdle {
			if err := sleep(ctx, deviceSettle); err != nil {
				return nil, err
			}
			bytes = machine.Resident(d.PID())
		}
		return &runResult{Value: float64(bytes) / (1 << 20)}, d.Stop()
	})
}
