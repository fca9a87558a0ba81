package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/bench/internal/machine"
)

// Sizes of the scenarios about connections.
const (
	stormWorkers = 16
	stormClients = 512 // so that a client is back some time after it left
	idleClients  = 2000
	idleWarm     = 200             // connections before, so that what a server sets up for its first ones does not count
	idleSettle   = 8 * time.Second // for garbage and for what the handshakes used
)

func runStorm(ctx context.Context, b *bench, res *result) error {
	return b.interleave(ctx, res, []string{astarteTLS, plainTLS, mosquittoTLS, yardstickTLS}, b.rounds,
		func(ctx context.Context, s *subject) (*runResult, error) {
			clients, err := s.clients(ctx, stormClients)
			if err != nil {
				return nil, err
			}
			targets := make([]load.Target, len(clients))
			for i, c := range clients {
				targets[i] = c.Target
			}
			if _, err := load.Storm(ctx, targets, stormWorkers, b.warm); err != nil {
				return nil, fmt.Errorf("warm up: %w", err)
			}
			m := &meter{pid: s.pid()}
			profiled := b.profile("storm", s)
			m.begin()
			sr, err := load.Storm(ctx, targets, stormWorkers, b.options.measure)
			m.end()
			profiled()
			if err != nil {
				return nil, err
			}
			return m.result(sr.Connects, sr.Elapsed, &sr.Latency, ""), m.err
		})
}

func runIdle(ctx context.Context, b *bench, res *result) error {
	rounds := (b.rounds + 2) / 3 // memory does not depend on a noisy minute
	return b.interleave(ctx, res, []string{astarteTLS, plainTLS, mosquittoTLS, yardstickTLS, plainTCP, mosquittoPlain, yardstickPlain}, rounds,
		func(ctx context.Context, s *subject) (*runResult, error) {
			if _, err := s.clients(ctx, idleClients); err != nil { // made before the process that is measured
				return nil, err
			}
			if err := s.restart(ctx); err != nil {
				return nil, err
			}
			clients, err := s.clients(ctx, idleClients)
			if err != nil {
				return nil, err
			}
			warm, err := idle(ctx, clients[:idleWarm])
			closeAll(warm)
			if err != nil {
				return nil, err
			}
			if err := sleep(ctx, idleSettle/2); err != nil {
				return nil, err
			}
			before := machine.Resident(s.pid())
			list, err := idle(ctx, clients)
			defer closeAll(list)
			if err != nil {
				return nil, err
			}
			if err := sleep(ctx, idleSettle); err != nil {
				return nil, err
			}
			after := machine.Resident(s.pid())
			for _, c := range list {
				if err := c.Ping(); err != nil {
					return nil, fmt.Errorf("a connection is gone: %w", err)
				}
			}
			return &runResult{Value: float64(after-before) / float64(len(list)) / 1024, Operations: uint64(len(list))}, nil
		})
}

// idle makes connections that are as quiet as devices that have nothing to say.
func idle(ctx context.Context, clients []*client) ([]*load.Idle, error) {
	list := make([]*load.Idle, len(clients))
	err := parallel(len(clients), registering, func(i int) (err error) {
		if list[i], err = load.Connect(ctx, clients[i].Target); err == nil {
			clients[i].sent(0)
		}
		return err
	})
	return list, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
