package hubtest

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/fairlead-iot/fairlead/hub"
)

// A process is a hub that runs.
type process struct {
	stop   context.CancelFunc
	result chan error
}

// Start starts the hub again, with the data that it had when it ended and on the addresses that it had, and waits until it is ready.
func (h *Hub) Start(tb testing.TB) {
	tb.Helper()
	h.mu.Lock()
	running := h.now != nil
	h.mu.Unlock()
	if running {
		tb.Fatal("hubtest: Start: the hub runs")
	}
	cfg := h.cfg
	cfg.Listeners = hub.Listeners{MQTT: h.listen(tb, h.address[0]), HTTPS: h.listen(tb, h.address[1])}
	next, err := hub.New(cfg)
	if err != nil {
		_, _ = cfg.Listeners.MQTT.Close(), cfg.Listeners.HTTPS.Close()
		tb.Fatalf("hubtest: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &process{stop: stop, result: make(chan error, 1)}
	go func() { p.result <- next.Run(ctx) }()
	select {
	case <-next.Ready():
	case err := <-p.result:
		stop()
		tb.Fatalf("hubtest: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now, h.last = p, next
}

// Stop stops the hub in order, as SIGTERM does: devices are disconnected, and find nobody until [Hub.Start].
func (h *Hub) Stop(tb testing.TB) {
	tb.Helper()
	if err := h.end(); err != nil {
		tb.Errorf("hubtest: %v", err)
	}
}

// end ends the process, if there is one, and waits for it.
func (h *Hub) end() error {
	h.mu.Lock()
	p := h.now
	h.now = nil
	h.mu.Unlock()
	if p == nil {
		return nil
	}
	h.staff.CloseIdleConnections() // a stopping hub waits a moment for those
	for _, l := range h.all() {
		l.client.CloseIdleConnections()
	}
	p.stop()
	return <-p.result
}

// Restart stops the hub in order and starts it again, as an upgrade does.
func (h *Hub) Restart(tb testing.TB) {
	tb.Helper()
	h.Stop(tb)
	h.Start(tb)
}

// Kill ends the hub as kill -9 or a power cut does, as far as that can be within one process: nothing leaves it any more, devices lose their connections, and what [Hub.Start] finds is what
// was on disk at that moment, where all devices are connected and no will was published. Everything that the hub had acknowledged is there; of what it had not, some may be.
func (h *Hub) Kill(tb testing.TB) {
	tb.Helper()
	for _, l := range h.all() {
		l.freeze()
		defer l.thaw()
	}
	// What it would still do, such as noting that devices have gone, it does in a folder that nobody will see.
	ctx := context.WithoutCancel(tb.Context())
	var image bytes.Buffer
	if err := h.Admin(tb).Backup(ctx, &image); err != nil {
		tb.Fatalf("hubtest: Kill: %v", err)
	}
	for _, l := range h.all() {
		l.Cut()
	}
	_ = h.end() // whatever it was not satisfied with
	if err := os.RemoveAll(h.cfg.DataDir); err != nil {
		tb.Fatalf("hubtest: Kill: %v", err)
	}
	if _, err := hub.Restore(ctx, &image, h.cfg.DataDir); err != nil {
		tb.Fatalf("hubtest: Kill: %v", err)
	}
}
