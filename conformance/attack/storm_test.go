package attack

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// TestStorm measures what ordinary publishers keep of their throughput while strangers connect so many times a second, each
// with a wrong password, and without TLS, which would cost the test as much as the hub: FAIRLEAD_ATTACK_STORM=2000 go test -v -run TestStorm ./attack. The storm is
// made on the same machine and costs as much itself; what each of its connections costs the hub is measured apart.
func TestStorm(t *testing.T) {
	want, each := 200, 2*time.Second
	if text := os.Getenv("FAIRLEAD_ATTACK_STORM"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		want, each = n, 10*time.Second
	}
	hub := start(t)
	s := &storm{addr: hub.plain}
	h := hub.device.with(hello("guess"))
	h.Password = []byte("wrong")
	s.hello = h.Append(nil, mqtt.V311)
	var p publishers
	if err := p.start(t.Context(), hub.plain, 20, 10); err != nil {
		t.Fatal(err)
	}
	p.rate(each / 2)
	measure := func() (m measured) {
		hubTime, ownTime := processor(hub.PID()), processor(os.Getpid())
		m.rate = p.rate(each)
		m.hub, m.own = processor(hub.PID())-hubTime, processor(os.Getpid())-ownTime
		return m
	}
	quiet := measure()
	stop := s.blow(t.Context(), want)
	p.rate(each) // until what is free at once is used up
	came := s.came.Load()
	hostile := measure()
	came = s.came.Load() - came
	stop()
	t.Logf("%.0f connections a second came; of %d in all %d were answered", float64(came)/each.Seconds(), s.came.Load(), s.heard.Load())
	t.Logf("without: %v", quiet)
	t.Logf("with:    %v: %.0f %%", hostile, 100*hostile.rate/quiet.rate)

	alone := start(t)
	s.addr = alone.plain
	stop = s.blow(t.Context(), want)
	p.rate(each)
	came, before := s.came.Load(), processor(alone.PID())
	p.rate(each)
	spent := processor(alone.PID()) - before
	came = s.came.Load() - came
	stop()
	t.Logf("a hub without publishers: %.0f µs of processor time for each of %.0f connections a second", float64(spent.Microseconds())/float64(max(came, 1)), float64(came)/each.Seconds())
}

// A storm is strangers from many addresses who connect, are refused, and connect again.
type storm struct {
	addr  string
	hello []byte

	came, heard atomic.Int64 // connections; those that got an answer to their CONNECT
}

// blow makes so many connections a second, and returns how to end it.
func (s *storm) blow(ctx context.Context, rate int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	const workers = 256
	turns := make(chan int)
	wg.Go(func() {
		defer close(turns)
		for n, begun := 0, time.Now(); ctx.Err() == nil; n++ {
			time.Sleep(time.Until(begun.Add(time.Duration(n) * time.Second / time.Duration(rate))))
			select {
			case turns <- n:
			case <-ctx.Done():
			}
		}
	})
	for range workers {
		wg.Go(func() {
			for n := range turns {
				s.once(ctx, n)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func (s *storm) once(ctx context.Context, n int) {
	from := &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("127.0.2.%d", 1+n%64))}
	nc, err := (&net.Dialer{LocalAddr: from, Timeout: time.Second}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return
	}
	defer nc.Close()
	s.came.Add(1)
	_ = nc.SetDeadline(time.Now().Add(time.Second)) // who has to wait gives up
	if _, err := nc.Write(s.hello); err != nil {
		return
	}
	var b [4]byte
	if n, _ := nc.Read(b[:]); n > 0 {
		s.heard.Add(1)
	}
}
