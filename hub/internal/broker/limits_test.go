package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// dialFrom connects from another address of this machine.
func (h *testHub) dialFrom(ip string) net.Conn {
	h.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: 10 * time.Second}
	nc, err := d.Dial("tcp", h.addr)
	if err != nil {
		h.t.Skipf("this machine cannot connect from %s, or has too few descriptors: %v", ip, err)
	}
	h.t.Cleanup(func() { nc.Close() })
	return nc
}

// signIn connects a client that is on time.
func signIn(t *testing.T, nc net.Conn, id string) *mqtttest.Client {
	t.Helper()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	c := mqtttest.NewClient(t, nc)
	c.Connect(mqtt.Connect{Version: mqtt.V311, ClientID: id, CleanStart: true, Username: "t", HasUsername: true})
	return c
}

// waitClosed waits until the hub has closed a connection.
func waitClosed(t *testing.T, nc net.Conn) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		if _, err := nc.Read(make([]byte, 100)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the connection is still open")
		} else if err != nil {
			return
		}
	}
}

// One address that opens more connections than there are places, and says nothing, keeps nobody else out.
func TestSilentCrowd(t *testing.T) {
	if testing.Short() {
		t.Skip("4,200 connections")
	}
	gate := listen.NewGate(4096, 0)
	h := startHub(t, t.TempDir(), Config{Pending: gate, ConnectTimeout: time.Hour}) // nobody is sent away while the others come
	const crowd = 4200
	first := h.dialFrom("127.0.0.2")
	for range crowd - 1 {
		h.dialFrom("127.0.0.2")
	}
	// Not the broker's count of accepted ones: it rises before the gate has decided about the last of them.
	eventually(t, "all have a place or were refused", func() bool { return int64(gate.Open())+gate.Crowded()+gate.Full() == crowd })
	if got := gate.Crowded(); got != crowd-2048 || gate.Full() != 0 {
		t.Errorf("%d of %d were refused, want all but half of the places", got, crowd)
	}
	signIn(t, h.dialFrom("127.0.0.3"), "pump").Ping()
	// Places come back.
	open := gate.Open()
	first.Close()
	eventually(t, "a place has come back", func() bool { return gate.Open() < open })
}

// TestSilentCrowds: a dozen of them, who would have all places between them, keep nobody out either.
func TestSilentCrowds(t *testing.T) {
	gate := listen.NewGate(64, 0)
	h := startHub(t, t.TempDir(), Config{Pending: gate, ConnectTimeout: time.Hour})
	came := int64(0)
	for i := range 14 {
		for range 40 {
			h.dialFrom(fmt.Sprintf("127.0.1.%d", i+1))
			came++
		}
	}
	eventually(t, "all places are taken", func() bool { return gate.Open() == 64 && int64(gate.Open())+gate.Crowded()+gate.Full() == came })
	for i := range 20 {
		signIn(t, h.dialFrom("127.0.0.3"), fmt.Sprint("pump-", i)).Ping()
	}
}

// Who never sends CONNECT, or sends it byte by byte, or breaks off within it, is sent away, and its place is free again.
func TestSlowConnect(t *testing.T) {
	gate := listen.NewGate(16, 16)
	h := startHub(t, t.TempDir(), Config{Pending: gate, ConnectTimeout: 300 * time.Millisecond})
	packet := (&mqtt.Connect{Version: mqtt.V311, ClientID: "slow", CleanStart: true, Username: "t", HasUsername: true, KeepAlive: 60}).Append(nil, mqtt.V311)
	silent, slow, half := h.dialFrom("127.0.0.1"), h.dialFrom("127.0.0.1"), h.dialFrom("127.0.0.1")
	half.Write(packet[:5])
	half.(*net.TCPConn).CloseWrite()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range packet[:len(packet)-1] { // each byte well within the time for all of them
			if _, err := slow.Write(packet[i : i+1]); err != nil {
				return
			}
			time.Sleep(40 * time.Millisecond)
		}
	}()
	waitClosed(t, half)
	waitClosed(t, silent)
	waitClosed(t, slow)
	<-done
	eventually(t, "all places are free", func() bool { return gate.Open() == 0 })
	if h.broker.stats.Connections.Load() != 0 {
		t.Error("somebody has signed in")
	}
}

// TestSignsInTooOften: a device that does so is let in, and slows down who comes next from its address.
func TestSignsInTooOften(t *testing.T) {
	quota, pace := listen.NewQuota[core.DeviceNum](5), listen.NewPace(0, 1)
	quota.Local = true
	h := startHub(t, t.TempDir(), Config{Pace: pace, Quota: quota})
	h.ofDevice()
	for range 40 {
		signIn(t, h.dialFrom("127.0.0.1"), "pump")
		if pace.Delayed() > 0 {
			break
		}
	}
	if quota.Exceeded() < 10 || pace.Delayed() == 0 {
		t.Errorf("%d times too often, %d delayed", quota.Exceeded(), pace.Delayed())
	}
	before := pace.Delayed()
	if signIn(t, h.dialFrom("127.0.0.2"), "pump-2").Ping(); pace.Delayed() != before {
		t.Error("others wait, too")
	}
}

func TestMaxConnections(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{MaxConnections: 2})
	a := signIn(t, h.dialFrom("127.0.0.1"), "a")
	signIn(t, h.dialFrom("127.0.0.1"), "b")
	for v, want := range map[mqtt.Version]byte{mqtt.V311: mqtt.ConnAckUnavailable, mqtt.V5: byte(mqtt.ReasonQuotaExceeded)} {
		nc := h.dialFrom("127.0.0.1")
		c := mqtttest.NewClient(t, nc)
		p := &mqtt.Connect{Version: v, ClientID: "c", CleanStart: true, Username: "t", HasUsername: true}
		c.SendBytes(p.Append(nil, v))
		var b [4]byte
		if _, err := nc.Read(b[:]); err != nil || b[0] != 0x20 || b[3] != want {
			t.Errorf("version %v: got % x, %v, want CONNACK %#x", v, b, err, want)
		}
		waitClosed(t, nc)
	}
	if n := h.broker.stats.Full.Load(); n != 2 {
		t.Errorf("%d were counted", n)
	}
	signIn(t, h.dialFrom("127.0.0.1"), "b").Ping() // its own session: nobody is too much
	a.Ping()
}

// plainly is a dialect that takes what comes without TLS, or does not say so.
type plainly struct {
	*plain
	seen atomic.Int64
}

func (p *plainly) SignIn(ctx context.Context, c core.Claim) (core.Grant, dialect.Link, error) {
	p.seen.Add(1)
	return p.plain.SignIn(ctx, c)
}

type takes struct{ plainly }

func (*takes) TakesPlain() bool { return true }

func TestPlainPortIsForThoseWhoSaySo(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { served <- h.broker.ServePlain(ctx, l) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	strict, open := &plainly{plain: h.plain}, &takes{plainly{plain: h.plain}}
	h.broker.SetDialects([]dialect.Dialect{strict})
	nc := dial()
	p := &mqtt.Connect{Version: mqtt.V311, ClientID: "a", CleanStart: true, Username: "t", HasUsername: true}
	mqtttest.NewClient(t, nc).SendBytes(p.Append(nil, mqtt.V311))
	expectBytes(t, nc, []byte{0x20, 2, 0, mqtt.ConnAckNotAuthorized})
	if n := strict.seen.Load(); n != 0 {
		t.Errorf("a dialect that does not take plain connections has seen %d", n)
	}
	h.broker.SetDialects([]dialect.Dialect{strict, open})
	signIn(t, dial(), "a").Ping()
	if strict.seen.Load() != 0 || open.seen.Load() != 1 {
		t.Errorf("got %d and %d sign-ins", strict.seen.Load(), open.seen.Load())
	}
}

func expectBytes(t *testing.T, nc net.Conn, want []byte) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(30 * time.Second))
	got := make([]byte, len(want))
	for n := 0; n < len(got); {
		k, err := nc.Read(got[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	if string(got) != string(want) {
		t.Errorf("got % x, want % x", got, want)
	}
}
