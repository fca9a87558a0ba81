package retain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/store/sqlite"
)

// rig is a database with a committer, and a keeper that the tests run step by step.
type rig struct {
	t     *testing.T
	store store.Store
	*commit.Committer
	*Keeper
	log bytes.Buffer

	mu    sync.Mutex // only where the keeper runs by itself
	now   time.Time
	free  int64 // of a disk of 1 GiB
	looks int   // at it
}

// change changes fields while the keeper runs.
func (r *rig) change(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

func start(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), free: 1 << 30}
	var err error
	if r.store, err = sqlite.Open(t.Context(), sqlite.Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	clock := func() (now time.Time) { r.change(func() { now = r.now }); return now }
	r.Committer = commit.New(commit.Config{Store: r.store, Now: clock})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Committer.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Store, cfg.Committer, cfg.Now = r.store, r.Committer, clock
	cfg.sumTime = time.Hour // however slow the machine is, each look gets to the end
	cfg.Disk = func() (size, free int64, err error) {
		r.change(func() { free = r.free; r.looks++ })
		return 1 << 30, free, nil
	}
	cfg.Logger = slog.New(slog.NewTextHandler(&r.log, nil))
	r.Keeper = New(cfg)
	return r
}

func (r *rig) do(do func(*commit.Tx) error) {
	r.t.Helper()
	if err := r.Do(r.t.Context(), do); err != nil {
		r.t.Fatal(err)
	}
}

// put stores n blocks of 1 KiB, each a minute after the one before.
func (r *rig) put(x *core.Series, n int) {
	r.t.Helper()
	r.do(func(tx *commit.Tx) error {
		for range n {
			b := core.Block{Series: x}
			b.Add(r.now.UnixMicro(), r.now.UnixMicro(), core.AppendBytes(nil, make([]byte, 1024)))
			if err := tx.AppendBlock(&b); err != nil {
				return err
			}
			r.now = r.now.Add(time.Minute)
		}
		return nil
	})
}

// kept returns how many samples there are and when the first of them was received.
func (r *rig) kept(x *core.Series) (n int, first time.Time) {
	r.t.Helper()
	err := r.store.View(r.t.Context(), func(rd store.Reader) error {
		for s, err := range rd.Samples(x, core.Range{}) {
			if err != nil {
				return err
			}
			if n == 0 {
				first = s.Received
			}
			n++
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n, first
}

func (r *rig) keep() {
	r.t.Helper()
	if err := errors.Join(r.guard(r.t.Context()), r.Keeper.drop(r.t.Context()), r.expire(r.t.Context())); err != nil {
		r.t.Fatal(err)
	}
}

func TestSampleAge(t *testing.T) {
	r := start(t, Config{SampleAge: 100 * time.Minute})
	x := &core.Series{Device: 1, Channel: "c"}
	r.put(x, 1000)
	r.keep()
	if n, first := r.kept(x); n != 100 || !first.Equal(r.now.Add(-100*time.Minute)) {
		t.Errorf("got %d samples from %v, want 100", n, first)
	}
	if got := r.Keeper.Stats().Samples.Load(); got != 900 {
		t.Errorf("%d dropped, want 900", got)
	}
	r.now = r.now.Add(time.Hour)
	r.keep()
	if n, _ := r.kept(x); n != 40 {
		t.Errorf("after an hour: got %d samples, want 40", n)
	}
	if !r.Status().Oldest.Equal(r.now.Add(-100 * time.Minute)) {
		t.Errorf("oldest is %v", r.Status().Oldest)
	}
}

// TestSampleBytes: the database stays below its size, whoever the samples are from, and the newest stay.
func TestSampleBytes(t *testing.T) {
	const limit = 1 << 20
	r := start(t, Config{SampleBytes: limit})
	x, y := &core.Series{Device: 1, Channel: "c"}, &core.Series{Device: 2, Channel: "c"}
	r.put(y, 300)
	r.keep()
	if r.Keeper.Stats().Samples.Load() != 0 || r.log.Len() > 0 {
		t.Errorf("dropped below the limit: %s", &r.log)
	}
	for range 3 {
		r.put(x, 1000)
		r.keep()
		if s := r.Status(); s.Used > limit || s.Used < limit*8/10 || !s.Limiting {
			t.Errorf("got %+v", s)
		}
	}
	ny, _ := r.kept(y)
	nx, first := r.kept(x)
	if ny != 0 || nx < 500 || !first.Equal(r.now.Add(-time.Duration(nx)*time.Minute)) {
		t.Errorf("got %d of the first device, %d of the second from %v", ny, nx, first)
	}
	if n := strings.Count(r.log.String(), "reached its size"); n != 1 {
		t.Errorf("logged %d times: %s", n, &r.log)
	}
}

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want int
	}{
		{"age", Config{EventAge: 30 * time.Minute}, 30},
		{"count", Config{EventCount: 700}, 700},
		{"both", Config{EventAge: 30 * time.Minute, EventCount: 10}, 10},
		{"none of them", Config{EventAge: -1, EventCount: -1}, 1000},
		{"all", Config{EventAge: time.Nanosecond}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, tt.cfg)
			r.do(func(tx *commit.Tx) error {
				for range 1000 {
					if err := tx.AppendEvent(&core.Event{At: r.now, Kind: "x"}); err != nil {
						return err
					}
					r.now = r.now.Add(time.Minute)
				}
				return nil
			})
			r.keep()
			r.keep()
			if err := r.store.View(t.Context(), func(rd store.Reader) error {
				list, err := rd.Events(0, 2000)
				if len(list) != tt.want || len(list) > 0 && list[len(list)-1].Seq != 1000 {
					t.Errorf("got %d events, want %d", len(list), tt.want)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if got := r.Keeper.Stats().Events.Load(); got != int64(1000-tt.want) {
				t.Errorf("%d dropped", got)
			}
			if tt.want > 0 && r.Status().Events != int64(tt.want) {
				t.Errorf("got %+v", r.Status())
			}
		})
	}
}

// TestGuard: a disk that is nearly full refuses what is new, not what makes room, and room in the database counts.
func TestGuard(t *testing.T) {
	r := start(t, Config{MinFreeBytes: 2 << 20, SampleAge: time.Hour})
	x := &core.Series{Device: 1, Channel: "c"}
	r.put(x, 200)
	r.free = 2<<20 - 1
	r.keep()
	err := r.Do(t.Context(), func(*commit.Tx) error { return nil })
	if !errors.Is(err, core.ErrStorage) || !strings.Contains(err.Error(), "1 MiB of the disk are free, and 2 MiB have to stay so") {
		t.Errorf("got %v", err)
	}
	if r.Healthy() || !r.Status().Refusing {
		t.Error("it says that all is well")
	}
	if n, _ := r.kept(x); n != 60 {
		t.Errorf("got %d samples: dropping has to go on", n)
	}
	r.keep() // some room has become free in the database: enough, but only just
	if r.Refusal() == nil {
		t.Error("back and forth")
	}
	r.free = 3 << 20
	r.keep()
	if err := r.Do(t.Context(), func(*commit.Tx) error { return nil }); err != nil || !r.Healthy() || r.Status().Refusing {
		t.Errorf("with room again: %v", err)
	}
	if r.Keeper.Stats().Refusals.Load() != 1 {
		t.Errorf("counted %d times", r.Keeper.Stats().Refusals.Load())
	}
	// A full disk, and room in the database for everything that is to stay free.
	r.put(x, 3000)
	r.now = r.now.Add(100 * time.Hour)
	r.free = 0
	r.keep() // it refuses, and then drops
	r.keep()
	if err := r.Refusal(); err != nil {
		t.Errorf("with room in the database: %v", err)
	}
}

// expires has series with ages of their own, and returns three at a time.
type expires []core.Expiring

func (e expires) Expiring(_ store.Reader, t core.TenantID, after core.DeviceNum) (list []core.Expiring, next core.DeviceNum, err error) {
	if t != "t" {
		return nil, 0, errors.New("no such tenant")
	}
	list = e[after:min(int(after)+3, len(e))]
	if next = after + 3; int(next) >= len(e) {
		next = 0
	}
	return list, next, nil
}

func TestExpire(t *testing.T) {
	var list []*core.Series
	var some expires
	for i := range 20 {
		x := &core.Series{Device: core.DeviceNum(i + 1), Channel: "c"}
		list = append(list, x)
		if i%2 == 0 {
			some = append(some, core.Expiring{Series: &core.Series{Device: x.Device, Channel: x.Channel}, Age: time.Duration(i+1) * 10 * time.Minute})
		}
	}
	r := start(t, Config{Expiring: []Expiring{some}})
	r.do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: "t"}) })
	for _, x := range list {
		r.put(x, 300)
	}
	r.keep()
	for i, x := range list {
		want := 300
		if i%2 == 0 {
			// Series i has one sample for each minute from (20-i)*300 minutes ago.
			want = min(300, max(0, (i+1)*10-(19-i)*300))
		}
		if n, _ := r.kept(x); n != want {
			t.Errorf("series %d: got %d samples, want %d", i, n, want)
		}
	}
}

// TestRun: it does all this by itself, and ends.
func TestRun(t *testing.T) {
	r := start(t, Config{SampleAge: time.Minute})
	x := &core.Series{Device: 1, Channel: "c"}
	r.put(x, 10)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Keeper.Run(ctx) }()
	for r.Keeper.Stats().Samples.Load() == 0 {
		select {
		case <-done:
			t.Fatal("it has ended")
		case <-time.After(time.Millisecond):
		}
	}
	stop()
	<-done
}

// TestAtRest: while nothing is stored it looks once a minute, at the limits once in five; as soon as something is, it looks
// each second and ten seconds.
func TestAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{EventAge: time.Hour, MinFreeBytes: 1 << 20})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Keeper.Run(ctx) }()
		defer func() { stop(); <-done }()
		elapse := func(d time.Duration, least, most int) {
			t.Helper()
			r.change(func() { r.looks = 0 })
			time.Sleep(d)
			synctest.Wait()
			if looks := r.looks; looks < least || looks > most {
				t.Errorf("in %v it looked %d times, want %d to %d", d, looks, least, most)
			}
		}
		elapse(time.Hour, 59, 62)
		before := r.Committer.Stats().Commits.Load()
		r.emit(core.DeviceKey{}, 10)
		elapse(12*time.Second, 1, 14)
		if r.Status().Events != 10 {
			t.Errorf("the events were not seen: %+v", r.Status())
		}
		elapse(time.Hour, 59, 90)
		if got := r.Committer.Stats().Commits.Load() - before; got != 1 {
			t.Errorf("%d transactions, want one", got)
		}
		r.change(func() { r.now = r.now.Add(2 * time.Hour) })
		elapse(6*time.Minute, 5, 20)
		if r.Keeper.Stats().Events.Load() != 10 {
			t.Error("what has become old meanwhile is still there")
		}
		r.change(func() { r.free = 0 })
		elapse(2*time.Minute, 2, 130)
		elapse(time.Minute, 55, 62) // while data is refused the end of that is not to be missed
	})
}

// BenchmarkKeep measures what it costs to keep the size of a database: samples that are committed without a pause, in
// blocks of 1 or 100, while the oldest ones go.
func BenchmarkKeep(b *testing.B) {
	for _, samples := range []int{1, 100} {
		for _, limit := range []int64{0, 64 << 20} {
			b.Run(fmt.Sprintf("samples=%d/limit=%dMiB", samples, limit>>20), func(b *testing.B) { keepWhileFed(b, samples, limit) })
		}
	}
}

func keepWhileFed(b *testing.B, samples int, limit int64) {
	st, err := sqlite.Open(b.Context(), sqlite.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	c := commit.New(commit.Config{Store: st})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	defer running.Wait()
	defer stop()
	k := New(Config{Store: st, Committer: c, SampleBytes: limit, Disk: func() (int64, int64, error) { return 0, 0, nil }})
	series := make([]*core.Series, 1000)
	for i := range series {
		series[i] = &core.Series{Device: core.DeviceNum(i + 1), Channel: "c"}
	}
	n := 0
	var longest time.Duration
	feed := func() {
		start := time.Now()
		err := c.Do(ctx, func(tx *commit.Tx) error {
			for range 200 / samples * 10 {
				x := core.Block{Series: series[n*7919%len(series)]}
				for range samples {
					x.Add(int64(n), int64(n), core.AppendBytes(nil, make([]byte, 128)))
				}
				n++
				if err := tx.AppendBlock(&x); err != nil {
					return err
				}
			}
			return nil
		})
		longest = max(longest, time.Since(start))
		if err != nil {
			b.Error(err)
		}
	}
	for used := int64(0); used < 64<<20; {
		feed()
		if used, _, err = k.usage(ctx); err != nil {
			b.Fatal(err)
		}
	}
	// The keeper looks all the time, not each ten seconds.
	var keeping sync.WaitGroup
	var end atomic.Bool
	if limit > 0 {
		keeping.Go(func() {
			for !end.Load() {
				if err := k.drop(ctx); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	fed := n
	longest = 0
	for range b.N {
		feed()
	}
	b.StopTimer()
	end.Store(true)
	keeping.Wait()
	b.ReportMetric(float64((n-fed)*samples)/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(longest.Seconds()*1000, "longest-ms")
	used, _, _ := k.usage(ctx)
	b.ReportMetric(float64(used)/(1<<20), "MiB")
}

func TestDefaults(t *testing.T) {
	for _, tt := range []struct{ used, size, free, bytes, minFree int64 }{
		{0, 100 << 30, 50 << 30, 35 << 30, 256 << 20},
		{10 << 30, 100 << 30, 40 << 30, 35 << 30, 256 << 20},
		{0, 1 << 30, 1 << 30, 751619276, 1 << 30 / 50},
		{0, 0, 0, 10 << 30, 0},
	} {
		if b, m := Defaults(tt.used, tt.size, tt.free); b != tt.bytes || m != tt.minFree {
			t.Errorf("Defaults(%d, %d, %d): got %d, %d, want %d, %d", tt.used, tt.size, tt.free, b, m, tt.bytes, tt.minFree)
		}
	}
}
