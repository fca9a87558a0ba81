package memnet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWriteDoesNotWaitUntilFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(10)
		if n, err := a.Write(make([]byte, 10)); n != 10 || err != nil {
			t.Fatalf("fits: got %d, %v", n, err)
		}
		_ = a.SetWriteDeadline(time.Now().Add(time.Hour))
		if n, err := a.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("full: got %d, %v", n, err)
		}
		_ = a.SetWriteDeadline(time.Time{})
		done := make(chan error)
		go func() {
			_, err := a.Write([]byte("abcdefghijkl"))
			done <- err
		}()
		synctest.Wait()
		got := make([]byte, 22)
		if _, err := io.ReadFull(b, got); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := append(make([]byte, 10), "abcdefghijkl"...); !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(0)
		start := time.Now()
		_ = a.SetReadDeadline(start.Add(time.Minute))
		_, err := a.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("got %v, want a timeout", err)
		}
		if got := time.Since(start); got != time.Minute {
			t.Errorf("waited %v, want a minute", got)
		}
		if _, err := b.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("an expired deadline stays: got %v", err)
		}
		_ = a.SetDeadline(time.Time{})
		if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("without a deadline: got %d, %v", n, err)
		}

		// A deadline set while a Read waits ends that Read.
		done := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		_ = a.SetReadDeadline(time.Now().Add(-time.Second))
		if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("waiting read: got %v", err)
		}
	})
}

func TestCloseWrite(t *testing.T) {
	a, b := Pipe(0)
	if _, err := a.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	_ = a.CloseWrite()
	if got, err := io.ReadAll(b); err != nil || string(got) != "last words" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: got %v", err)
	}
	if _, err := b.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := a.Read(buf); err != nil || string(buf[:n]) != "answer" {
		t.Errorf("the other direction: got %q, %v", buf[:n], err)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(4)
		errs := make(chan error)
		go func() {
			_, err := a.Read(make([]byte, 1))
			errs <- err
		}()
		go func() {
			_, err := b.Write([]byte("too long"))
			errs <- err
		}()
		synctest.Wait()
		<-errs // a has read
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if err := <-errs; !errors.Is(err, syscall.EPIPE) {
			t.Errorf("waiting write, other end closed: got %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: got %v", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write: got %v", err)
		}
		if err := a.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second close: got %v", err)
		}
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("other end: got %v, want EOF", err)
		}
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := PipeBetween(4, "device:1", "hub:2")
		if a.LocalAddr().String() != "device:1" || b.LocalAddr().String() != "hub:2" {
			t.Errorf("addresses: got %v, %v", a.LocalAddr(), b.LocalAddr())
		}
		errs := make(chan error)
		go func() {
			_, err := a.Write([]byte("too long"))
			errs <- err
		}()
		go func() {
			_, err := a.Read(make([]byte, 1))
			errs <- err
		}()
		synctest.Wait()
		b.Reset()
		for range 2 {
			if err := <-errs; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("who waits: got %v", err)
			}
		}
		got := make([]byte, 8)
		if n, err := b.Read(got); string(got[:n]) != "too " || err != nil {
			t.Errorf("what has arrived: got %q, %v", got[:n], err)
		}
		if _, err := b.Read(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: got %v", err)
		}
		if _, err := b.Write(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: got %v", err)
		}
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		if _, err := a.Read(got); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: got %v", err)
		}
	})
}

// Much data in odd pieces through a small buffer arrives whole and in order, in both directions at once.
func TestStream(t *testing.T) {
	a, b := Pipe(97)
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i*i + i>>8)
	}
	var wg sync.WaitGroup
	for _, end := range []*Conn{a, b} {
		wg.Go(func() {
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(500))
				if _, err := end.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			_ = end.CloseWrite()
		})
		wg.Go(func() {
			got, err := io.ReadAll(end)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
				t.Errorf("got %d bytes, %v; want %d the same", len(got), err, len(data))
			}
		})
	}
	wg.Wait()
}

func TestNetwork(t *testing.T) {
	var n Network
	ctx := t.Context()
	if _, err := n.DialContext(ctx, "tcp", "hub:8883"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: got %v", err)
	}
	l, err := n.Listen("hub:8883")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("hub:8883"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("in use: got %v", err)
	}
	all, err := n.Listen(":8883")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to string
		l  *Listener
	}{{"hub:8883", l}, {"other:8883", all}} {
		client, err := n.DialContext(ctx, "tcp", c.to)
		if err != nil {
			t.Fatal(err)
		}
		server, err := c.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := client.RemoteAddr().String(), c.to; got != want {
			t.Errorf("remote address: got %s, want %s", got, want)
		}
		if got, want := server.RemoteAddr(), client.LocalAddr(); got != want {
			t.Errorf("client address: got %s, want %s", got, want)
		}
		if _, err := netip.ParseAddrPort(server.RemoteAddr().String()); err != nil {
			t.Errorf("client address: %v", err)
		}
	}
	waiting, err := l.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := waiting.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("connection never accepted: got %v, want EOF", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: got %v", err)
	}
	if _, err := l.Dial(ctx); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: got %v", err)
	}
	if _, err := n.Listen("hub:8883"); err != nil {
		t.Errorf("the address is free again: got %v", err)
	}
}

func TestDialWaitsForContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen("hub:1")
		for range backlog {
			if _, err := l.Dial(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := l.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// The standard library's HTTP runs over it, in a bubble, and leaves no goroutine behind.
func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, r.Host)
		})}
		go func() { _ = srv.Serve(l) }()
		transport := &http.Transport{DialContext: n.DialContext}
		client := http.Client{Transport: transport}
		resp, err := client.Get("http://hub.example/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != "hub.example" {
			t.Errorf("got %q", body)
		}
		transport.CloseIdleConnections()
		_ = srv.Close()
	})
}
