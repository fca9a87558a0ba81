package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/machine"
)

// A scenario is one thing that is measured of several subjects.
type scenario struct {
	name, text string
	unit       string // of what is measured
	less       bool   // the less, the better
	run        func(ctx context.Context, b *bench, res *result) error
}

// scenarios in the order in which they run.
func scenarios() []scenario {
	list := make([]scenario, 0, 20)
	for _, k := range ingests {
		list = append(list, scenario{name: k.name, text: k.text, unit: k.unit, run: func(ctx context.Context, b *bench, res *result) error {
			return b.interleave(ctx, res, k.subjects, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
				return b.ingest(ctx, k, s)
			})
		}})
	}
	return append(list,
		scenario{name: "storm", text: "Connecting: 16 workers connect, wait for CONNACK and leave; mutual TLS, nothing resumed", unit: "connects/s", run: runStorm},
		scenario{name: "idle", text: "Memory of an idle connection: growth of the process by 2,000 of them", unit: "KiB each", less: true, run: runIdle},
		scenario{name: "growth", text: "8 publishers, window 100, with 100,000 devices registered and 10 million samples stored", unit: "msgs/s", run: runGrowth},
		scenario{name: "shadow", text: "AWS IoT: 200 devices update their shadows, each waiting until it is told that the update is accepted", unit: "updates/s", run: runShadows},
		scenario{name: "jobs", text: "AWS IoT: a job for a group of 1,000 connected devices, until the last one is told", unit: "devices/s", run: runJobs},
		scenario{name: "registry", text: "AWS IoT: reading from an account with 20,000 things and their certificates; p99", unit: "ms", less: true, run: runRegistry},
		scenario{name: "enqueue", text: "A device's outbox in a file: one producer that waits for each message, and the same bytes appended to a file and synced", unit: "msgs/s", run: runEnqueue},
		scenario{name: "producers", text: "A device's outbox in a file: producers that wait for each of their messages", unit: "msgs/s", run: runProducers},
		scenario{name: "drain", text: "A device connects with 200,000 readings in its outbox; mutual TLS", unit: "msgs/s", run: runDrain},
		scenario{name: "size", text: "A small device program, linked", unit: "MB", less: true, run: runSize},
		scenario{name: "resident", text: "Memory of a small device program", unit: "MiB", less: true, run: runResident},
	)
}

func scenarioNames() string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

// pick returns scenarios by name, in the order in which they are meant to run: those of ingest count all messages of their devices, to which
// later ones add.
func pick(only string) ([]scenario, error) {
	all := scenarios()
	if only == "" {
		return all, nil
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(only, ",") {
		if !slices.ContainsFunc(all, func(s scenario) bool { return s.name == name }) {
			return nil, fmt.Errorf("no scenario %q; there are %s", name, scenarioNames())
		}
		wanted[name] = true
	}
	return slices.DeleteFunc(all, func(s scenario) bool { return !wanted[s.name] }), nil
}

// interleave measures subjects in rounds, in turn within each: a noisy minute of the machine hits all of them.
func (b *bench) interleave(ctx context.Context, res *result, names []string, rounds int,
	once func(context.Context, *subject) (*runResult, error),
) error {
	var there []*subject
	for _, name := range names {
		if s := b.subjects[name]; s != nil {
			there = append(there, s)
		} else {
			res.NotRun = append(res.NotRun, notRun{name, b.absent[name]})
			fmt.Printf("           %-24s NOT RUN: %s\n", name, b.absent[name])
		}
	}
	for round := range rounds {
		if err := b.measureSync(res); err != nil {
			return err
		}
		for i := range there {
			s := there[i]
			if round%2 == 1 { // and in turn who comes first
				s = there[len(there)-1-i]
			}
			if err := b.settle(ctx); err != nil {
				return err
			}
			r, err := once(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			res.add(round+1, s.name, s.rival, r)
		}
	}
	return nil
}

// measureSync measures the disk alone, once for each round.
func (b *bench) measureSync(res *result) error {
	sync, err := machine.MeasureSync(b.dir, time.Second/2)
	res.Syncs = append(res.Syncs, sync)
	return err
}

// add notes what a server has come to in a round.
func (l *result) add(round int, server, rival string, r *runResult) {
	r.Round, r.Server, r.Rival = round, server, rival
	l.Runs = append(l.Runs, r)
	fmt.Printf("  round %d  %-24s %s\n", round, server, r.line(l.Unit))
}

// settle waits until the machine is as quiet as it gets.
func (b *bench) settle(ctx context.Context) error {
	if free := machine.Free(b.dir); free < 4<<30 {
		return fmt.Errorf("only %d MiB are free on the disk", free>>20)
	}
	machine.Settle()
	if b.quiet > 0 {
		machine.AwaitIdle(ctx, b.quiet)
	}
	return ctx.Err()
}
