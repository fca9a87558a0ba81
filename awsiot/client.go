package awsiot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/engine"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/outbox"
)

// A Client is a device, or another program, that talks to AWS IoT over MQTT. Its methods may be called from any goroutine, whether it is
// connected or not, and from its callbacks.
type Client struct {
	cfg      Config
	clientID string
	log      *slog.Logger
	queue    *queue // nil if nothing is kept in memory
	subs     subscriptions
	requests requests

	present bool // the session was there on the last connection; belongs to the goroutine of the callbacks

	mu       sync.Mutex
	engine   *engine.Engine // of this Run, or of the next one
	running  bool
	ends     func() bool // whether Run was asked to end
	will     *Will
	refusals map[*refusal]struct{} // those who wait for one
	readies  map[*func()]struct{}  // inside the package, to be called on each connection
}

// refusal waits until an attempt to connect is refused.
type refusal struct{ tell func(error) }

// New makes a client. It does no I/O and starts nothing; [Client.Run] does.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, clientID: cfg.ClientID, log: cfg.Logger, will: cfg.Will, refusals: map[*refusal]struct{}{}, readies: map[*func()]struct{}{}}
	if c.clientID == "" {
		c.clientID = cfg.ThingName
	}
	if c.clientID == "" {
		c.clientID = "fairlead-" + rand.Text()
		c.cfg.CleanSession = true // nobody could come back to the session
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("device", "aws/"+c.clientID)
	if err := c.cfg.Backoff.complete(); err != nil {
		return nil, fmt.Errorf("aws iot client: %w: %w", fairlead.ErrInvalid, err) // cannot be: it was checked
	}
	c.subs.init(c)
	c.requests.init()
	box := cfg.Outbox
	if box == nil {
		var err error
		if c.queue, err = newQueue(cfg.OfflineQueue, c.dropped); err != nil {
			return nil, fmt.Errorf("aws iot client: %w", err)
		}
		if c.queue != nil {
			box = c.queue.box
		}
	}
	e, err := engine.New(engine.Config{
		Prepare: c.prepare,
		Session: mqttclient.Config{
			Version: c.cfg.Protocol.version(), MaxInFlight: cfg.MaxInFlight, ConnectTimeout: cfg.ConnectTimeout, TopicAliasMaximum: 8,
			AdoptSession: true, // without CleanSession: what AWS has kept for the device is worth more than a message that comes twice
		},
		Outbox:          box,
		Decode:          c.decodeEntry,
		DrainInterval:   cfg.DrainInterval,
		OnUndeliverable: c.undeliverable,
		HangUps:         cfg.hangUps(),
		OnMessage:       c.receive,
		ManualAck:       true,
		OnEvent:         c.event,
		OnReady:         c.ready,
		Backoff:         engine.Backoff{Base: c.cfg.Backoff.Base, Max: c.cfg.Backoff.Max, Stable: c.cfg.Backoff.Stable, NoJitter: !c.cfg.Backoff.Jitter},
		Permanent:       cfg.GiveUp,
		Logger:          c.log,
	})
	if err != nil {
		return nil, fmt.Errorf("aws iot client: %w", err)
	}
	c.engine = e
	return c, nil
}

// ClientID returns the ID that the client connects with.
func (c *Client) ClientID() string { return c.clientID }

// ThingName returns [Config.ThingName].
func (c *Client) ThingName() string { return c.cfg.ThingName }

// current returns the engine of this Run, or of the next one.
func (c *Client) current() *engine.Engine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engine
}

// Run connects the client, and keeps it connected, until ctx ends; then it disconnects in order and returns nil. It does not give up
// unless [Config.GiveUp] says so: [Config.OnConnection] is told what is wrong. When it has returned it can be called again; subscriptions
// and queued messages stay.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return fmt.Errorf("run client: %w: it runs", fairlead.ErrInUse)
	}
	c.running, c.ends = true, func() bool { return ctx.Err() != nil }
	e := c.engine
	c.mu.Unlock()

	err := e.Run(ctx)

	next, e2 := e.Again()
	c.mu.Lock()
	if e2 == nil {
		c.engine = next
	}
	c.running = false
	c.mu.Unlock()
	c.subs.stopped()
	if ctx.Err() != nil {
		err = nil
	}
	if err = errors.Join(err, e2); err != nil {
		err = fmt.Errorf("run client: %w", err)
	}
	if c.cfg.OnConnection != nil { // nobody else calls back any more
		c.cfg.OnConnection(Connection{State: Disconnected, Err: err})
	}
	return err
}

// event is told of changes by the engine.
func (c *Client) event(ev engine.Event) {
	switch ev.Kind {
	case engine.Connected:
		c.present = ev.SessionPresent
		return // not before the subscriptions are in place
	case engine.Unsubscribed:
		if c.cfg.OnRefusedSubscription != nil {
			c.cfg.OnRefusedSubscription(ev.Filter, ev.Err)
		}
		return
	case engine.Disconnected, engine.Failed:
	}
	if c.queue != nil {
		c.queue.wake() // who waits for room does so only while there is a connection
	}
	if isRefusal(ev.Err) {
		c.refused(ev.Err)
	}
	c.mu.Lock()
	ends := c.ends()
	c.mu.Unlock()
	if c.cfg.OnConnection != nil && !ends { // the end is told by Run
		c.cfg.OnConnection(Connection{State: Connecting, Err: ev.Err, Retry: ev.Retry})
	}
}

// ready is told that there is a connection with all subscriptions.
func (c *Client) ready() {
	c.mu.Lock()
	for call := range c.readies {
		(*call)()
	}
	c.mu.Unlock()
	if c.cfg.OnConnection != nil {
		c.cfg.OnConnection(Connection{State: Connected, SessionPresent: c.present})
	}
}

// onReady has call called on each connection, until stop is. It must not wait and not use the client.
func (c *Client) onReady(call func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readies[&call] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.readies, &call)
	}
}

// refused tells those who wait in Await.
func (c *Client) refused(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.refusals {
		r.tell(err)
	}
}

// Await waits until the client is connected. When AWS IoT refuses an attempt to connect meanwhile, Await returns that error at once,
// though Run goes on trying: a [fairlead.PlatformError] with the code in CONNACK or the status of the WebSocket's handshake, or an error
// of TLS, of kind ErrDenied, ErrUnauthenticated or ErrInvalid. When ctx ends the error wraps fairlead.ErrUnavailable.
func (c *Client) Await(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var told error
	r := &refusal{tell: func(err error) {
		if told == nil {
			told = err
			cancel(err)
		}
	}}
	c.mu.Lock()
	c.refusals[r] = struct{}{}
	c.mu.Unlock()
	err := c.current().Await(ctx)
	c.mu.Lock()
	delete(c.refusals, r)
	if err != nil && told != nil {
		err = told
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("await connection: %w", err)
	}
	return nil
}

// State tells how far the client is.
func (c *Client) State() ConnectionState {
	c.mu.Lock()
	running, e := c.running, c.engine
	c.mu.Unlock()
	switch {
	case !running:
		return Disconnected
	case e.Connected():
		return Connected
	}
	return Connecting
}

// Connected tells whether the client is online.
func (c *Client) Connected() bool { return c.State() == Connected }

// Reconnect makes the client connect anew: at once if it waits between two attempts, at a quiet moment if it is connected. Call it when
// the identity was renewed or the network came back. It does not wait.
func (c *Client) Reconnect() { c.current().Reconnect() }

// SetWill replaces [Config.Will]; nil removes it. It counts from the next connection on.
func (c *Client) SetWill(w *Will) error {
	if err := w.check(c.cfg.Protocol); err != nil {
		return fmt.Errorf("set will: %w: %w", fairlead.ErrInvalid, err)
	}
	if w != nil {
		copied := *w
		w = &copied
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.will = w
	return nil
}

// Dropped tells the client what [Config.Outbox] has dropped, so that the results of those messages end. Call it in [outbox.Config.OnDrop].
func (c *Client) Dropped(d outbox.Drop) {
	c.current().Dropped(d)
}

// dropped is told what was dropped from memory.
func (c *Client) dropped(d outbox.Drop) { c.current().Dropped(d) }

// operation bounds what waits.
func (c *Client) operation(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.cfg.OperationTimeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, c.cfg.OperationTimeout, ErrTimeout)
}
