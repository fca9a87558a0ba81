package astarte_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
)

// gate is a way to Pairing that can be closed.
type gate struct {
	http.RoundTripper
	closed atomic.Bool
}

var errClosed = errors.New("no way to Pairing")

// RoundTrip implements http.RoundTripper.
func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.closed.Load() {
		return nil, errClosed
	}
	return g.RoundTripper.RoundTrip(r)
}

// TestRenewalFails: Pairing is away when the certificate is to be renewed. The device is told, tries again and again, and uses the
// certificate, also for new connections, as long as it is valid. When that is over there is no connection, until there is another
// certificate.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		g := &gate{RoundTripper: r.hub.HTTP().Transport}
		r.cfg.HTTP = &http.Client{Transport: g}
		r.cfg.MinBackoff, r.cfg.MaxBackoff = time.Second, 10*time.Second
		_, stop := r.start(t)
		chain, err := identity.LoadChain(filepath.Join(r.cfg.Dir, "crypto", "device.crt"))
		must(t, err)
		from, to := chain[0].NotBefore, chain[0].NotAfter
		later := func(share float64) { // months, while nobody has to do something each second
			stop()
			r.hub.Stop(t)
			time.Sleep(time.Until(from.Add(time.Duration(share * float64(to.Sub(from))))))
			r.hub.Start(t)
		}
		notRenewed := func() astarte.Connection {
			t.Helper()
			for {
				if c := r.await(t, astarte.Connected); c.Err != nil {
					return c
				}
			}
		}
		later(.8)
		d := r.device(t)
		must(t, d.Pair(t.Context())) // a new process asks for the broker's address
		g.closed.Store(true)
		stop = r.run(t, d)
		if c := r.await(t, astarte.Connected); c.Err != nil {
			t.Errorf("got %+v", c)
		}
		for last := time.Duration(0); last < 5*time.Second; { // the waits grow
			c := notRenewed()
			if !errors.Is(c.Err, errClosed) || !errors.Is(c.Err, fairlead.ErrUnavailable) || c.Retry < last/2 {
				t.Fatalf("got %+v after %v", c, last)
			}
			last = c.Retry
		}
		must(t, d.Send(t.Context(), "org.example.Stored", "/guaranteed", 1, nil))
		must(t, d.Flush(t.Context()))
		r.hub.Cut()
		if c := r.await(t, astarte.Connecting); c.Err == nil {
			t.Error("no reason")
		}
		if c := r.await(t, astarte.Connected); c.Err != nil { // with the certificate that there is
			t.Errorf("got %+v", c)
		}
		notRenewed()

		stop = func(stop func()) func() {
			return func() { stop(); must(t, d.Close()) }
		}(stop)
		later(1.1)
		if d, err = astarte.New(r.cfg); err != nil {
			t.Fatal(err)
		}
		stop = r.run(t, d)
		if c := r.await(t, astarte.Connecting); !errors.Is(c.Err, errClosed) {
			t.Errorf("got %+v", c)
		}
		g.closed.Store(false)
		if c := r.await(t, astarte.Connected); c.Err != nil {
			t.Errorf("got %+v", c)
		}
		stop()
		must(t, d.Close())
	})
}
