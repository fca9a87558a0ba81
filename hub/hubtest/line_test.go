package hubtest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead/internal/memnet"
)

// peer is a server in place of a hub.
type peer struct {
	t    *testing.T
	line *Line
	l    net.Listener
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	n := &memnet.Network{}
	l, err := n.Listen(":8883")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t, newLine(n, nil), l}
	t.Cleanup(func() { l.Close(); p.line.close() })
	return p
}

// connect returns both ends of a connection.
func (p *peer) connect() (device, hub net.Conn) {
	p.t.Helper()
	device, err := p.line.Dial(p.t.Context(), "tcp", "hub:8883")
	if err != nil {
		p.t.Fatal(err)
	}
	if hub, err = p.l.Accept(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { device.Close(); hub.Close() })
	return device, hub
}

func (p *peer) write(c net.Conn, text string) {
	p.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		p.t.Errorf("write %q: %v", text, err)
	}
}

// expect reads exactly a text, and soon.
func (p *peer) expect(c net.Conn, text string) {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute)) // of the bubble
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		p.t.Errorf("got %q, %v, want %q", got[:n], err, text)
	}
}

// silent checks that nothing comes, not even an end.
func (p *peer) silent(c net.Conn) {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("got %d bytes, %v, want silence", n, err)
	}
}

// ended checks that a connection has ended, with an error or io.EOF for nil.
func (p *peer) ended(c net.Conn, want error) {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, want) {
		p.t.Errorf("got %d bytes, %v, want %v", n, err, want)
	}
}

// scene is a test in a bubble, where every wait is exact.
func scene(t *testing.T, name string, f func(t *testing.T, p *peer)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, newPeer(t)) })
	})
}

func TestLine(t *testing.T) {
	scene(t, "no fault", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		if got := device.RemoteAddr().String(); got != "hub:8883" {
			t.Errorf("remote address: got %s", got)
		}
		if hub.RemoteAddr() != device.LocalAddr() {
			t.Errorf("addresses: got %v, %v", hub.RemoteAddr(), device.LocalAddr())
		}
		p.write(device, "up")
		p.write(hub, "down")
		p.expect(hub, "up")
		p.expect(device, "down")
		p.write(device, "last")
		device.Close()
		p.expect(hub, "last")
		p.ended(hub, io.EOF)
		if n := p.line.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
	scene(t, "hub ends", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		hub.Close()
		p.ended(device, io.EOF)
		p.write(device, "into the void")
		synctest.Wait()
		if _, err := device.Write([]byte("x")); err == nil {
			t.Error("the device can go on writing")
		}
	})
	scene(t, "cut", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		if n := p.line.Cut(); n != 1 {
			t.Errorf("cut %d", n)
		}
		p.ended(device, syscall.ECONNRESET)
		p.ended(hub, syscall.ECONNRESET)
		if n := p.line.Cut(); n != 0 {
			t.Errorf("cut %d", n)
		}
		device, hub = p.connect()
		p.write(device, "again")
		p.expect(hub, "again")
	})
	scene(t, "offline", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.SetOffline(true)
		p.ended(device, syscall.ECONNRESET)
		p.ended(hub, syscall.ECONNRESET)
		if _, err := p.line.Dial(t.Context(), "tcp", "hub:8883"); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("got %v", err)
		}
		p.line.SetOffline(false)
		p.connect()
	})
	scene(t, "refuse", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Refuse()
		if _, err := p.line.Dial(t.Context(), "tcp", "hub:8883"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		p.write(device, "goes on")
		p.expect(hub, "goes on")
		p.line.Heal()
		p.connect()
	})
	scene(t, "delay", func(t *testing.T, p *peer) {
		p.line.Delay(ToHub, time.Second)
		p.line.Delay(ToDevice, time.Minute)
		start := time.Now()
		device, hub := p.connect()
		if got := time.Since(start); got != 61*time.Second {
			t.Errorf("connected after %v", got)
		}
		start = time.Now()
		p.write(device, "a")
		p.write(device, "b")
		p.expect(hub, "ab")
		if got := time.Since(start); got != time.Second {
			t.Errorf("there after %v", got)
		}
		start = time.Now()
		hub.Close()
		_ = device.SetReadDeadline(time.Time{})
		if _, err := device.Read(make([]byte, 1)); err != io.EOF || time.Since(start) != time.Minute {
			t.Errorf("end after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.line.Dial(ctx, "tcp", "hub:8883"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStall(t *testing.T) {
	scene(t, "one way", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Stall(ToHub)
		p.write(device, "later")
		p.write(hub, "now")
		p.expect(device, "now")
		device.Close()
		p.silent(hub)
		p.line.Heal()
		p.expect(hub, "later")
		p.ended(hub, io.EOF)
	})
	scene(t, "much", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Stall(BothWays)
		done := make(chan error)
		much := make([]byte, 1<<20)
		go func() {
			_, err := device.Write(much)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("a stalled line takes everything: %v", err)
		default:
		}
		p.line.Heal()
		p.expect(hub, string(much))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	scene(t, "dial", func(t *testing.T, p *peer) {
		p.line.Stall(ToDevice)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.line.Dial(ctx, "tcp", "hub:8883"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		go func() {
			time.Sleep(time.Hour)
			p.line.Heal()
		}()
		p.connect()
	})
	scene(t, "cut", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Stall(BothWays)
		p.write(device, "lost")
		p.line.Cut()
		p.ended(hub, syscall.ECONNRESET)
	})
}

func TestDrop(t *testing.T) {
	scene(t, "to hub", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Drop(ToHub)
		p.write(device, "lost")
		p.write(hub, "arrives")
		p.expect(device, "arrives")
		synctest.Wait()
		p.line.Heal()
		p.write(device, "lost, too: what is behind a gap makes no sense")
		device.Close()
		p.silent(hub) // nor does it learn of the end
		p.write(hub, "into the void")
		p.silent(hub)
		hub.Close()
		device, hub = p.connect()
		p.write(device, "new")
		p.expect(hub, "new")
	})
	scene(t, "to device", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Drop(ToDevice)
		p.write(hub, "lost")
		hub.Close()
		p.silent(device)
		p.write(device, "into the void")
		p.silent(device)
	})
	scene(t, "dial", func(t *testing.T, p *peer) {
		p.line.Drop(ToHub)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.line.Dial(ctx, "tcp", "hub:8883"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCutAfter(t *testing.T) {
	scene(t, "to hub", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		done := p.line.CutAfter(ToHub, 5)
		p.write(hub, "this does not count")
		p.expect(device, "this does not count")
		p.write(device, "abc")
		p.expect(hub, "abc")
		select {
		case <-done:
			t.Error("too soon")
		default:
		}
		p.write(device, "defgh")
		p.expect(hub, "de")
		p.ended(hub, syscall.ECONNRESET)
		<-done
		device, hub = p.connect() // once
		p.write(device, "abcdefgh")
		p.expect(hub, "abcdefgh")
	})
	scene(t, "at once", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		done := p.line.CutAfter(ToDevice, 0)
		p.write(hub, "x")
		p.ended(device, syscall.ECONNRESET)
		<-done
	})
	scene(t, "several", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		first, second := p.line.CutAfter(BothWays, 4), p.line.CutAfter(ToHub, 6)
		p.write(hub, "12")
		p.expect(device, "12")
		p.write(device, "345")
		p.expect(hub, "34")
		p.ended(hub, syscall.ECONNRESET)
		<-first
		device, hub = p.connect()
		p.write(device, "56789") // the second has counted two bytes
		p.expect(hub, "5678")
		p.ended(hub, syscall.ECONNRESET)
		<-second
	})
	scene(t, "healed", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.CutAfter(BothWays, 1)
		p.line.Heal()
		p.write(device, "12345")
		p.expect(hub, "12345")
	})
}

// What is sent while acknowledgements are lost arrives, and the acknowledgement does not, whenever it is sent.
func TestDuplicate(t *testing.T) {
	scene(t, "to hub", func(t *testing.T, p *peer) {
		device, hub := p.connect()
		p.line.Duplicate(ToHub, func() {
			p.write(device, "message")
			p.expect(hub, "message")
			p.write(hub, "acknowledgement")
		})
		p.ended(device, syscall.ECONNRESET)
		device, hub = p.connect()
		p.write(hub, "hello")
		p.expect(device, "hello")
	})
}
