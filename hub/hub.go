package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
)

// ErrStorage means that the disk refused: it is full, fails, or may not be written to.
var ErrStorage = core.ErrStorage

// A Hub is one hub. Make one with [New].
type Hub struct {
	cfg       Config
	ready     chan struct{}
	state     State  // set before ready is closed
	token     string // likewise
	stopping  atomic.Bool
	ran       atomic.Bool
	graceOver chan struct{} // closed by tests that do not wait until Config.StopGrace is over
}

// New checks the configuration. It does no I/O; [Hub.Run] does.
func New(cfg Config) (*Hub, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	return &Hub{cfg: cfg, ready: make(chan struct{}), graceOver: make(chan struct{})}, nil
}

// Ready is closed when the hub serves.
func (h *Hub) Ready() <-chan struct{} { return h.ready }

// State says where the hub can be reached. It may be called once [Hub.Ready] is closed.
func (h *Hub) State() State { return h.state }

// Env returns the environment variables that point clients at this hub, like [State.Env]. It may be called once
// [Hub.Ready] is closed.
func (h *Hub) Env(platform string) (map[string]string, error) { return h.state.env(h.token, platform) }

// stopTimeout bounds how long requests that are being served may go on during a stop.
const stopTimeout = 5 * time.Second

// Run serves until ctx ends or something fails that the hub cannot live without, and returns when everything that it
// started has ended. It can be called once. The error is nil when ctx has ended and the stop was orderly:
//
//  1. MQTT is no longer accepted, and its connections are closed;
//  2. HTTP is answered for Config.StopGrace, for devices that ask why they lost their connection;
//  3. HTTP is closed when the requests that are being served have been answered;
//  4. everything handed to the committer is committed;
//  5. the database is closed.
func (h *Hub) Run(ctx context.Context) (err error) {
	if h.ran.Swap(true) {
		return errors.New("run hub: it has run already")
	}
	p, err := h.open(ctx)
	if err != nil {
		return fmt.Errorf("start hub: %w", err)
	}
	defer func() {
		if cerr := p.close(); cerr != nil && err == nil {
			err = fmt.Errorf("stop hub: %w", cerr)
		}
	}()
	// The committer outlives all who need it, and ends before the database does.
	var commits sync.WaitGroup
	commitCtx, stopCommits := context.WithCancel(context.WithoutCancel(ctx))
	defer commits.Wait()
	defer stopCommits()
	commits.Go(func() { _ = p.committer.Run(commitCtx) }) // never fails
	// And what commits by itself ends before the committer does.
	var keeping sync.WaitGroup
	keepCtx, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer keeping.Wait()
	defer stopKeeping()
	keeping.Go(func() { p.keeper.Run(keepCtx) })

	if err := h.prepare(ctx, p); err != nil {
		return fmt.Errorf("start hub: %w", err)
	}
	sweepCtx, stopSweep := context.WithCancel(context.WithoutCancel(ctx))
	var sweeps sync.WaitGroup
	defer sweeps.Wait()
	defer stopSweep()
	sweeps.Go(func() { p.sweeper.Run(sweepCtx) })
	for _, d := range p.dialects {
		if r, ok := d.(dialect.Runner); ok {
			sweeps.Go(func() { r.Run(sweepCtx) })
		}
	}
	if err := h.serve(ctx, p); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// prepare brings the parts into the state in which clients may come.
func (h *Hub) prepare(ctx context.Context, p *parts) error {
	if err := p.broker.Load(ctx); err != nil {
		return err
	}
	h.token = p.token
	h.state = State{
		Version:  Version(),
		PID:      os.Getpid(),
		Started:  time.Now().UTC(),
		URL:      p.url(),
		MoreURLs: p.moreURLs(),
		MQTT:     "mqtts://" + p.mqttAddress(),
		MQTTWeb:  "wss://" + strings.TrimPrefix(p.url(), "https://") + barePath,
		Local:    listen.Local(p.https),
		CA:       h.trusted(p),
		DataDir:  p.dir.Path(),
	}
	if p.plain != nil {
		h.state.MQTTPlain = "mqtt://" + p.plainAddress()
	}
	if h.cfg.Development {
		var err error
		if h.state.Platforms, err = p.develop(ctx); err != nil {
			return err
		}
	}
	if err := h.warnOfDefaultTenant(ctx, p); err != nil {
		return err
	}
	// Before anybody can be served: who then is told that the hub is ready finds the state.
	return p.dir.WriteState(h.state)
}

// serve serves, and stops in the order that [Hub.Run] promises.
func (h *Hub) serve(ctx context.Context, p *parts) error {
	log := h.cfg.Logger
	web := h.httpServer(p)
	// Not derived from ctx: each ends when it is its turn.
	mqttCtx, stopMQTT := context.WithCancel(context.WithoutCancel(ctx))
	mqttDone, webDone := make(chan error, 1), make(chan error, 1)
	go func() { mqttDone <- p.serveMQTT(mqttCtx) }()
	go func() { webDone <- p.serveHTTPS(ctx, web) }()
	var timed sync.WaitGroup
	timed.Go(func() { _ = p.broker.Run(mqttCtx) }) // never fails
	defer timed.Wait()
	defer stopMQTT()

	close(h.ready)
	log.Info("ready", "url", h.state.URL, "mqtt", h.state.MQTT, "version", h.state.Version, "pid", h.state.PID)
	err := await(ctx, mqttDone, webDone)

	h.stopping.Store(true)
	grace := h.cfg.StopGrace
	if p.broker.Stats().Accepted.Load() == 0 {
		grace = 0 // no device has ever been here, so none will ask
	}
	log.Info("stopping", "grace", max(grace, 0))
	stopMQTT()
	err = errors.Join(err, drain(mqttDone))
	if err == nil && grace > 0 {
		select {
		case werr := <-webDone:
			webDone <- werr
		case <-time.After(grace):
		case <-h.graceOver:
		}
	}
	if rerr := p.dir.RemoveState(); rerr != nil {
		log.Warn("cannot remove what this hub says of itself", "err", rerr)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if serr := web.Shutdown(closing); serr != nil {
		log.Warn("requests were cut off", "err", serr)
		web.Close()
	}
	return errors.Join(err, drain(webDone))
}

// await returns nil when ctx ends, or what has failed. The channels still hold a result each afterwards.
func await(ctx context.Context, mqttDone, webDone chan error) error {
	var err error
	select {
	case <-ctx.Done():
	case err = <-mqttDone:
		mqttDone <- nil
	case err = <-webDone:
		webDone <- nil
	}
	return err
}

// health says why the hub is not ready, nil if it is.
func (h *Hub) health(p *parts) error {
	switch {
	case h.stopping.Load():
		return core.ErrStopping
	case p.committer.Refusal() != nil:
		return p.committer.Refusal()
	case !p.committer.Healthy():
		return core.ErrStorage
	}
	return nil
}

// drain waits for the end of a server. One that was told to end has not failed.
func drain(done <-chan error) error {
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
