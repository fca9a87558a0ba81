package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/access"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// emit commits an event of a device.
func (g *rig) emit(tenant core.TenantID, kind core.EventKind) {
	g.Helper()
	g.do(func(tx *commit.Tx) error {
		return tx.Emit(core.Event{Device: core.DeviceKey{Tenant: tenant, Dialect: "astarte", ID: "pump-1"}, Kind: kind})
	})
}

// following reads a stream in the background of a test.
type following struct {
	t    *testing.T
	next func() (admin.Event, error, bool)
}

func follow(t *testing.T, c *admin.Client, q admin.EventQuery) *following {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	next, stop := iter.Pull2(c.Follow(ctx, q))
	t.Cleanup(func() { cancel(); stop() })
	return &following{t, next}
}

func (f *following) want(seq int64) {
	f.t.Helper()
	if e, err, _ := f.next(); err != nil || e.Seq != seq {
		f.t.Fatalf("got event %d, %v, want %d", e.Seq, err, seq)
	}
}

func TestStream(t *testing.T) {
	g := newRig(t, nil)
	c := client(t, g, readAll)
	f := follow(t, c, admin.EventQuery{After: 3})
	f.want(4) // stored
	f.want(5)
	f.want(6)
	for seq := int64(7); seq < 12; seq++ { // pushed
		g.emit("acme", "x.y")
		f.want(seq)
	}
}

func TestStreamBeginsNow(t *testing.T) {
	g := newRig(t, nil)
	c := client(t, g, readAll)
	f := follow(t, c, admin.EventQuery{})
	stop := make(chan struct{})
	defer close(stop)
	go func() { // when it has begun is not known here
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				_ = g.committer.Do(context.Background(), func(tx *commit.Tx) error { return tx.Emit(core.Event{Kind: "x.y"}) })
			}
		}
	}()
	e, err, _ := f.next()
	if err != nil || e.Seq <= 6 || e.Kind != "x.y" {
		t.Errorf("got %+v, %v, want one that came after the beginning", e, err)
	}
}

func TestStreamOfOneTenant(t *testing.T) {
	g := newRig(t, func(c *Config) { c.heartbeat = 20 * time.Millisecond })
	f := follow(t, client(t, g, readAcme), admin.EventQuery{After: 5, Kinds: []string{"device.model"}})
	g.emit("other", "device.model") // 7
	g.emit("acme", "not.wanted")    // 8
	g.emit("acme", "device.model")  // 9
	f.want(9)
}

// A stream that is cut goes on where it was.
func TestStreamGoesOn(t *testing.T) {
	g := newRig(t, nil)
	srv := httptest.NewServer(g)
	defer srv.Close()
	defer g.Stop()
	f := follow(t, &admin.Client{URL: srv.URL, Token: readAll, HTTP: srv.Client()}, admin.EventQuery{After: 5})
	f.want(6)
	for seq := int64(7); seq < 10; seq++ {
		srv.CloseClientConnections()
		g.emit("acme", "x.y")
		f.want(seq)
	}
}

func TestStreamTellsOfGaps(t *testing.T) {
	g := newRig(t, nil)
	g.do(func(tx *commit.Tx) error { _, err := tx.DropEvents(4); return err })
	c := client(t, g, readAll)
	f := follow(t, c, admin.EventQuery{After: 1})
	if _, err, _ := f.next(); !errors.Is(err, admin.ErrGap) {
		t.Errorf("got %v, want ErrGap", err)
	}
	f.want(4)
	f = follow(t, c, admin.EventQuery{After: 3}) // nothing is missing
	f.want(4)
	f = follow(t, c, admin.EventQuery{After: 99}) // of another database
	if _, err, _ := f.next(); !errors.Is(err, admin.ErrGap) {
		t.Errorf("got %v, want ErrGap", err)
	}
	g.emit("acme", "x.y")
	f.want(7)
	// What others have lost, or have made a tenant lose, is missing in its own stream and in that of all.
	g.emit("other", "x.y")
	g.do(func(tx *commit.Tx) error { _, err := tx.DropEventsOf(core.DeviceKey{Tenant: "other"}, 9); return err })
	g.emit("other", "x.y")
	for tenant, gap := range map[string]bool{"": true, "other": true, "acme": false} {
		f = follow(t, c, admin.EventQuery{Tenant: tenant, After: 4})
		if _, err, _ := f.next(); errors.Is(err, admin.ErrGap) != gap {
			t.Errorf("tenant %q: got %v, want a gap: %v", tenant, err, gap)
		}
	}
}

// What a token opened ends with it.
func TestStreamEndsWithItsToken(t *testing.T) {
	g := newRig(t, nil)
	f := follow(t, client(t, g, readAll), admin.EventQuery{After: 5})
	f.want(6)
	g.do(func(tx *commit.Tx) error { return access.Revoke(tx, owner, "t-read") })
	if _, err, _ := f.next(); !admin.IsUnauthenticated(err) {
		t.Errorf("got %v, want that the token is not known", err)
	}
	if _, _, more := f.next(); more {
		t.Error("it goes on")
	}
}

// open opens a stream and reads its first message.
func open(t *testing.T, c *admin.Client, path string, header ...string) (*bufio.Reader, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return bufio.NewReader(res.Body), res
}

func readMessage(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", &b, err)
		}
		if b.WriteString(line); line == "\n" {
			return b.String()
		}
	}
}

// TestStreamForm looks at the bytes, as a browser would get them.
func TestStreamForm(t *testing.T) {
	g := newRig(t, func(c *Config) { c.heartbeat = 20 * time.Millisecond })
	c := client(t, g, readAcme)
	r, res := open(t, c, "/v1/events/stream?after=1&kind=document.changed", "Last-Event-ID", "4") // the header goes before
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("got %s", got)
	}
	got := readMessage(t, r)
	if !strings.HasPrefix(got, "id: 5\nevent: document.changed\ndata: {\"seq\":5,") || strings.Count(got, "\n") != 4 {
		t.Errorf("got %q", got)
	}
	// Now and then it tells where it is, although nothing was asked for.
	if got := readMessage(t, r); got != "id: 6\nevent: hub.position\ndata: {}\n\n" {
		t.Errorf("got %q", got)
	}
	if got := readMessage(t, r); got != ":\n\n" {
		t.Errorf("got %q, want a sign of life", got)
	}
	r, _ = open(t, c, "/v1/events/stream")
	if got := readMessage(t, r); got != "id: 6\nevent: hub.position\ndata: {}\n\n" {
		t.Errorf("from now on: got %q", got)
	}
	if _, res := open(t, c, "/v1/events/stream", "Last-Event-ID", "x"); res.StatusCode != 400 {
		t.Errorf("bad Last-Event-ID: got %d", res.StatusCode)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	g := newRig(t, nil)
	c := client(t, g, readAll)
	for range maxTokenStreams {
		if _, res := open(t, c, "/v1/events/stream"); res.StatusCode != 200 {
			t.Fatalf("got %d", res.StatusCode)
		}
	}
	if got := g.cfg.Stats.Streams.Load(); got != maxTokenStreams {
		t.Errorf("got %d streams", got)
	}
	if _, res := open(t, c, "/v1/events/stream"); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Errorf("one more: got %d", res.StatusCode)
	}
	mine := *c
	mine.Token = writeAll
	_, res := open(t, &mine, "/v1/events/stream")
	if res.StatusCode != 200 {
		t.Errorf("another token: got %d", res.StatusCode)
	}
	g.Stop()
	left := func() int {
		g.streams.mu.Lock()
		defer g.streams.mu.Unlock()
		return g.streams.total + len(g.streams.of)
	}
	for deadline := time.Now().Add(30 * time.Second); left() > 0; {
		if time.Now().After(deadline) {
			t.Fatal("streams go on after Stop")
		}
	}
}

// counting is a store that counts its views.
type counting struct {
	store.Store
	views atomic.Int64
}

func (c *counting) View(ctx context.Context, f func(store.Reader) error) error {
	c.views.Add(1)
	return c.Store.View(ctx, f)
}

// While nothing happens storage is left alone, and however fast events come, it is not read for each.
func TestStreamDoesNotPoll(t *testing.T) {
	var views *counting
	g := newRig(t, func(c *Config) {
		views = &counting{Store: c.Store}
		c.Store = views
	})
	c := client(t, g, readAll)
	r, _ := open(t, c, "/v1/events/stream")
	readMessage(t, r)
	before := views.views.Load()
	g.emit("acme", "x.y")
	readMessage(t, r)
	const n = 500
	began := time.Now()
	for range n {
		g.emit("acme", "x.y")
	}
	for range n {
		readMessage(t, r)
	}
	most := int64(time.Since(began)/streamPause) + 4
	if got := views.views.Load() - before; got > most {
		t.Errorf("got %d views for %d events in %v, want at most %d", got, n+1, time.Since(began), most)
	}
	idle := views.views.Load()
	<-time.After(4 * streamPause)
	if got := views.views.Load() - idle; got > 1 {
		t.Errorf("got %d views while nothing happened", got)
	}
}

// A page of events looks at a bounded number of them, whatever is asked for.
func TestEventsAreBounded(t *testing.T) {
	g := newRig(t, nil)
	g.do(func(tx *commit.Tx) error {
		for range maxLooked + 100 {
			if err := tx.AppendEvent(&core.Event{Kind: "x.y"}); err != nil {
				return err
			}
		}
		return tx.AppendEvent(&core.Event{Kind: "token.revoked"})
	})
	c := client(t, g, readAll)
	q := admin.EventQuery{Kinds: []string{"token.revoked"}, Limit: 10}
	first, err := c.Events(t.Context(), q)
	if err != nil || len(first.Items) != 0 || !first.More || first.Last < maxLooked-10 || first.Last > maxLooked {
		t.Fatalf("got %d items, more %v, last %d, %v", len(first.Items), first.More, first.Last, err)
	}
	q.After = first.Last
	second, err := c.Events(t.Context(), q)
	if err != nil || len(second.Items) != 1 || second.More {
		t.Errorf("got %d items, more %v, %v", len(second.Items), second.More, err)
	}
	if got := fmt.Sprint(second.Items[0].Kind); got != "token.revoked" {
		t.Errorf("got %s", got)
	}
}
