package attack

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestCrowd has ordinary publishers go on while a crowd is there.
//
//	FAIRLEAD_ATTACK_CROWD=10000 go test -v -run TestCrowd ./attack
//
// measures what they keep of their throughput, the crowd taking turns with quiet, and fails below 90 % (median of three rounds). The crowd runs on the
// same machine, so that what it costs itself is in the figure; and where others use the machine too, how much they take
// differs from one turn to the next. What the hub did with its processor time, which is logged as well, tells such cases apart, and decides nothing.
func TestCrowd(t *testing.T) {
	hub := start(t)
	c := &crowd{plain: hub.plain, tls: hub.MQTT(), https: "127.0.0.1:" + strconv.Itoa(hub.HTTPSPort), device: &hub.device}
	var p publishers
	if err := p.start(t.Context(), hub.plain, 20, 10); err != nil {
		t.Fatal(err)
	}
	text := os.Getenv("FAIRLEAD_ATTACK_CROWD")
	if text == "" {
		goOn(t, c, &p)
		return
	}
	size, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	var kept []float64
	p.rate(4 * time.Second) // warm
	for range 3 {
		kept = append(kept, compare(t, hub.PID(), c, &p, size))
	}
	slices.Sort(kept)
	if kept[1] < 0.9 {
		t.Errorf("publishers keep %.0f %% of their throughput (median), want 90 %%", 100*kept[1])
	}
}

// goOn sees to it that publishers get on at all while a small crowd is there, however slow the machine is.
func goOn(t *testing.T, c *crowd, p *publishers) {
	const size, messages = 300, 2000
	disperse := c.gather(t.Context(), size, size*time.Millisecond)
	defer disperse()
	for c.came.Load() < size {
		p.rate(10 * time.Millisecond)
	}
	before := p.acknowledged.Load()
	for end := time.Now().Add(time.Minute); p.acknowledged.Load()-before < messages; p.rate(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d messages of 20 publishers were acknowledged in a minute, while %d connections hung around", p.acknowledged.Load()-before, c.open.Load())
		}
	}
	t.Logf("crowd of %d: %d open, %d have come, %d attempts failed", size, c.open.Load(), c.came.Load(), c.failed.Load())
}

// compare returns what publishers keep of their throughput while the crowd is there.
func compare(t *testing.T, pid int, c *crowd, p *publishers, size int) (kept float64) {
	const each = 8 * time.Second
	measure := func() (m measured) {
		hubTime, ownTime := processor(pid), processor(os.Getpid())
		m.rate = p.rate(each)
		m.hub, m.own = processor(pid)-hubTime, processor(os.Getpid())-ownTime
		return m
	}
	quiet := measure()
	disperse := c.gather(t.Context(), size, time.Duration(size)*time.Millisecond)
	p.rate(2 * time.Second) // until the latecomers are there
	open, before := c.open.Load(), c.came.Load()
	hostile := measure()
	comes := float64(c.came.Load()-before) / each.Seconds()
	after := c.open.Load()
	mib := memory(pid) >> 20
	disperse()
	p.rate(time.Second)
	quiet = quiet.mean(measure())
	kept = hostile.rate / quiet.rate
	t.Logf("crowd of %d: %d to %d open, %.0f come anew in a second, %d attempts failed, hub %d MiB", size, open, after, comes, c.failed.Load(), mib)
	t.Logf("without: %v", quiet)
	t.Logf("with:    %v: %.0f %%", hostile, 100*kept)
	if quiet.hub > 0 && hostile.hub > 0 {
		t.Logf("for the same processor time of the hub: %.0f %%", 100*hostile.rate/hostile.hub.Seconds()*quiet.hub.Seconds()/quiet.rate)
	}
	return kept
}

// measured is what publishers got, and what it cost hub and generator.
type measured struct {
	rate     float64
	hub, own time.Duration
}

func (m measured) mean(n measured) measured {
	return measured{(m.rate + n.rate) / 2, (m.hub + n.hub) / 2, (m.own + n.own) / 2}
}

func (m measured) String() string {
	return fmt.Sprintf("%.0f messages/s; processor time: hub %v, generator and crowd %v", m.rate, m.hub, m.own)
}
