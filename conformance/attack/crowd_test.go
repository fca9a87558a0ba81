package attack

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestCrowd measures what ordinary publishers keep of their throughput while a crowd is there, which takes turns with
// quiet: FAIRLEAD_ATTACK_CROWD=10000 go test -v -run TestCrowd ./attack. The crowd runs on the same machine, so that what
// it costs itself is in the figure. Where others use the machine too, how much they take differs from one round to the
// next: then what the hub does with its processor time says more.
func TestCrowd(t *testing.T) {
	size, rounds, each := 300, 1, 2*time.Second
	if text := os.Getenv("FAIRLEAD_ATTACK_CROWD"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		size, rounds, each = n, 3, 8*time.Second
	}
	hub := start(t)
	c := &crowd{plain: hub.plain, tls: hub.MQTT(), https: "127.0.0.1:" + strconv.Itoa(hub.HTTPSPort), device: &hub.device}
	var p publishers
	if err := p.start(t.Context(), hub.plain, 20, 10); err != nil {
		t.Fatal(err)
	}
	p.rate(each / 2) // warm
	measure := func() (m measured) {
		hubTime, ownTime := processor(hub.PID()), processor(os.Getpid())
		m.rate = p.rate(each)
		m.hub, m.own = processor(hub.PID())-hubTime, processor(os.Getpid())-ownTime
		return m
	}
	var ratios []float64
	for range rounds {
		quiet := measure()
		disperse := c.gather(t.Context(), size, time.Duration(size)*time.Millisecond)
		p.rate(2 * time.Second) // until the latecomers are there
		open, before := c.open.Load(), c.came.Load()
		hostile := measure()
		comes := float64(c.came.Load()-before) / each.Seconds()
		after := c.open.Load()
		mib := memory(hub.PID()) >> 20
		disperse()
		p.rate(time.Second)
		quiet = quiet.mean(measure())
		share := hostile.rate / quiet.rate
		if quiet.hub > 0 && hostile.hub > 0 {
			share = max(share, hostile.rate/hostile.hub.Seconds()*quiet.hub.Seconds()/quiet.rate)
		}
		ratios = append(ratios, share)
		t.Logf("crowd of %d: %d to %d open, %.0f come anew in a second, %d attempts failed, hub %d MiB", size, open, after, comes, c.failed.Load(), mib)
		t.Logf("without: %v", quiet)
		t.Logf("with:    %v: %.0f %%", hostile, 100*hostile.rate/quiet.rate)
		t.Logf("or the better one of that and what it is for the same processor time of the hub: %.0f %%", 100*share)
	}
	slices.Sort(ratios)
	if got := ratios[len(ratios)/2]; rounds > 1 && got < 0.9 {
		t.Errorf("publishers keep %.0f %% of their throughput", 100*got)
	} else if got < 0.3 { // a short run on a busy machine says no more
		t.Errorf("publishers keep %.0f %%", 100*got)
	}
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
