package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/bench/internal/machine"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// The subjects of the scenarios about a device's outbox.
const (
	boxAlone  = "outbox, 1 producer"
	diskAlone = "append and fsync"
	box8      = "outbox, 8 producers"
	box64     = "outbox, 64 producers"
	box256    = "outbox, 256 producers"
)

// turn is how many messages the outbox and the disk alone have before it is the other's turn: a few milliseconds, so that whatever else happens
// on the machine happens to both.
const turn = 50

// Sizes of a typical message in an outbox.
const (
	boxHeader  = 40
	boxPayload = 128
)

// openBox opens an outbox in a fresh file, which is to be closed and removed.
func (b *bench) openBox(ctx context.Context) (box *outbox.Outbox, remove func() error, err error) {
	dir, err := os.MkdirTemp(b.dir, "outbox-")
	if err != nil {
		return nil, nil, err
	}
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(dir, "outbox.db")})
	if err != nil {
		return nil, nil, err
	}
	box, err = outbox.Open(ctx, outbox.Config{Store: store, MaxMessages: 1 << 30, MaxBytes: 1 << 40})
	return box, func() error {
		if err := box.Close(); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}, err
}

// runEnqueue has one producer, and the same bytes appended to a file and synced, in turns.
func runEnqueue(ctx context.Context, b *bench, res *result) error {
	for round := range b.rounds {
		if err := b.measureSync(res); err != nil {
			return err
		}
		if err := b.settle(ctx); err != nil {
			return err
		}
		box, disk, err := b.enqueue(ctx)
		if err != nil {
			return err
		}
		res.add(round+1, boxAlone, diskAlone, box)
		res.add(round+1, diskAlone, "", disk)
	}
	return nil
}

// A stint adds up what one of two does in its turns.
type stint struct {
	took, cpu time.Duration
	n         uint64
	latency   hist.H
}

func (s *stint) turn(do func() error) error {
	began, cpu := time.Now(), machine.Self()
	for range turn {
		one := time.Now()
		if err := do(); err != nil {
			return err
		}
		s.latency.Add(time.Since(one))
	}
	s.took += time.Since(began)
	s.cpu += machine.Self() - cpu
	s.n += turn
	return nil
}

func (s *stint) result(m *meter) *runResult {
	r := m.result(s.n, s.took, &s.latency, "")
	r.CPUPerMillion, r.GeneratorCPUPerMillion = s.cpu.Seconds()/float64(s.n)*1e6, 0
	return r
}

func (b *bench) enqueue(ctx context.Context) (box, disk *runResult, err error) {
	o, remove, err := b.openBox(ctx)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.CreateTemp(b.dir, "appended-")
	if err != nil {
		return nil, nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	message := outbox.Message{Header: make([]byte, boxHeader), Payload: make([]byte, boxPayload)}
	line := make([]byte, boxHeader+boxPayload)
	var inBox, onDisk stint
	m := &meter{pid: os.Getpid()}
	m.begin()
	for began := time.Now(); time.Since(began) < 2*b.options.measure; {
		if err := inBox.turn(func() error {
			_, err := o.Append(ctx, message)
			return err
		}); err != nil {
			return nil, nil, err
		}
		if err := onDisk.turn(func() error {
			if _, err := f.Write(line); err != nil {
				return err
			}
			return f.Sync()
		}); err != nil {
			return nil, nil, err
		}
	}
	m.end()
	if m.err != nil {
		return nil, nil, m.err
	}
	if got := o.Stats().Messages; got != int(inBox.n) {
		return nil, nil, fmt.Errorf("the outbox has %d messages, and has accepted %d", got, inBox.n)
	}
	return inBox.result(m), onDisk.result(m), remove()
}

// runProducers has many producers at the same time, each of which waits for its message before it hands in the next one.
func runProducers(ctx context.Context, b *bench, res *result) error {
	producers := map[string]int{box8: 8, box64: 64, box256: 256}
	for name := range producers {
		b.subjects[name] = &subject{name: name, pid: os.Getpid}
	}
	return b.interleave(ctx, res, []string{box8, box64, box256}, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
		return b.produce(ctx, producers[s.name])
	})
}

func (b *bench) produce(ctx context.Context, producers int) (*runResult, error) {
	o, remove, err := b.openBox(ctx)
	if err != nil {
		return nil, err
	}
	var n atomic.Uint64
	latencies, errs := make([]hist.H, producers), make([]error, producers)
	m := &meter{pid: os.Getpid()}
	m.begin()
	began := time.Now()
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			message := outbox.Message{Header: make([]byte, boxHeader), Payload: make([]byte, boxPayload)}
			for one := time.Now(); one.Sub(began) < b.options.measure; {
				if _, errs[p] = o.Append(ctx, message); errs[p] != nil {
					return
				}
				n.Add(1)
				now := time.Now()
				latencies[p].Add(now.Sub(one))
				one = now
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	m.end()
	var latency hist.H
	for p := range producers {
		if errs[p] != nil {
			return nil, errs[p]
		}
		latency.Merge(&latencies[p])
	}
	if got := o.Stats().Messages; got != int(n.Load()) {
		return nil, fmt.Errorf("the outbox has %d messages, and has accepted %d", got, n.Load())
	}
	return m.result(n.Load(), took, &latency, ""), remove()
}
