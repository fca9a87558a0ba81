package mqtttest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// recorder is a test whose failures are wanted.
type recorder struct {
	testing.TB // for what is not overridden

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (*recorder) Helper() {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

// run runs f like a test, cleanups included, and returns what failed.
func (r *recorder) run(f func()) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
	for i := range r.cleanups {
		r.cleanups[len(r.cleanups)-1-i]()
	}
	return strings.Join(r.failures, "\n")
}

func connect(t testing.TB, p *Peer) *Client {
	t.Helper()
	conn, err := p.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(t, conn)
}

// Client and script play all handshakes against each other.
func TestClientAndScript(t *testing.T) {
	message := func(qos byte) mqtt.Publish {
		return mqtt.Publish{Topic: []byte("a/b"), QoS: qos, Payload: []byte{qos}}
	}
	peer := Script(t,
		Expect(mqtt.Connect{ClientID: "pump-7", Will: &mqtt.Will{Topic: "gone"}}), Send(mqtt.ConnAck{SessionPresent: true}),
		Expect(mqtt.Subscribe{}), Send(message(1)), Send(mqtt.SubAck{}), // a message may come before the SUBACK
		Expect(mqtt.Ack{Type: mqtt.TypePubAck, ID: 1}),
		Expect(message(0)),
		Expect(message(1)), Send(mqtt.Ack{Type: mqtt.TypePubAck}),
		Expect(message(2)), Send(mqtt.Ack{Type: mqtt.TypePubRec}),
		Expect(mqtt.Ack{Type: mqtt.TypePubRel}), Send(mqtt.Ack{Type: mqtt.TypePubComp}),
		ExpectExactly(mqtt.PingReq{}), Send(message(2)), Send(mqtt.PingResp{}),
		Expect(mqtt.Ack{Type: mqtt.TypePubRec, ID: 2}), Send(mqtt.Ack{Type: mqtt.TypePubRel}),
		Expect(mqtt.Ack{Type: mqtt.TypePubComp, ID: 2}),
		Expect(mqtt.Unsubscribe{Filters: []string{"a/#"}}), Send(mqtt.Ack{Type: mqtt.TypeUnsubAck}),
		Expect(mqtt.PingReq{}), Send(mqtt.PingResp{}),
		ExpectExactly(&mqtt.Disconnect{}), ExpectHangup(),
		Expect(mqtt.Connect{}), Send(mqtt.ConnAck{Code: mqtt.ConnAckNotAuthorized}), Hangup(),
	)
	c := connect(t, peer)
	if ack := c.Connect(mqtt.Connect{ClientID: "pump-7", Will: &mqtt.Will{Topic: "gone"}}); !ack.SessionPresent {
		t.Error("got no session, want one")
	}
	if got := c.Subscribe("a/#", 2); got != 2 {
		t.Errorf("granted: got %d, want 2", got)
	}
	if got := c.ReceiveMessage(); string(got.Topic) != "a/b" || got.QoS != 1 {
		t.Errorf("got %+v", got)
	}
	for qos := range byte(3) {
		c.Publish("a/b", qos, []byte{qos})
	}
	c.Ping()
	if got := c.ReceiveMessage(); got.QoS != 2 {
		t.Errorf("got %+v", got)
	}
	c.Unsubscribe("a/#")
	c.ExpectNothing()
	c.Disconnect()

	c = connect(t, peer)
	if ack := c.TryConnect(mqtt.Connect{}); ack.Code != mqtt.ConnAckNotAuthorized {
		t.Errorf("got %+v", ack)
	}
	c.ExpectClosed()
	peer.Wait()
}

func TestScriptReportsWhatDiffers(t *testing.T) {
	for _, c := range []struct {
		name string
		step Step
		send any
		want string
	}{
		{"field", Expect(mqtt.Connect{ClientID: "a"}), mqtt.Connect{ClientID: "b"}, "ClientID differs"},
		{
			"nested field", Expect(mqtt.Connect{Will: &mqtt.Will{Topic: "t", QoS: 1}}),
			mqtt.Connect{Will: &mqtt.Will{Topic: "t"}},
			"Will.QoS differs",
		},
		{"nested, missing", Expect(mqtt.Connect{Will: &mqtt.Will{}}), mqtt.Connect{}, "Will differs"},
		{"type", Expect(mqtt.PingReq{}), mqtt.Disconnect{}, "got Disconnect{}"},
		{"type of acknowledgement", Expect(mqtt.Ack{Type: mqtt.TypePubAck}), mqtt.Ack{Type: mqtt.TypePubRec, ID: 1}, "got PUBREC{ID:1}"},
		{"zero counts", ExpectExactly(mqtt.Publish{Topic: []byte("a")}), mqtt.Publish{Topic: []byte("a"), Retain: true}, "Retain:true"},
		{"hang-up", ExpectHangup(), mqtt.PingReq{}, "got PingReq{}"},
	} {
		r := &recorder{TB: t}
		got := r.run(func() { connect(r, Script(r, c.step)).Send(c.send) })
		// The cleanup of the client comes first, so the packet and then the end of the stream are there.
		if !strings.Contains(got, "script, step 1, ") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestScriptReportsWhereItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		got := r.run(func() { connect(r, Script(r, Do("nothing", func() {}), Hangup(), Expect(mqtt.Connect{}))) })
		if want := "script waits at step 3, Expect Connect{}"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestClientReportsFailures(t *testing.T) {
	for _, c := range []struct {
		name string
		sent []byte // by the server, which then closes
		do   func(*Client)
		want string
	}{
		{"refused", []byte{0x20, 2, 0, 5}, func(c *Client) { c.Connect(mqtt.Connect{ClientID: "x"}) }, `connect "x": refused with code 5`},
		{"no CONNACK", []byte{0xd0, 0}, func(c *Client) { c.Connect(mqtt.Connect{}) }, "got PingResp{}, want CONNACK"},
		{"not closed", []byte{0xd0, 0}, func(c *Client) { c.ExpectClosed() }, "got PingResp{}, want the connection closed"},
		{
			"not closed, kept",
			[]byte{0xc0, 0, 0xd0, 0},
			func(c *Client) { c.Ping(); c.ExpectClosed() }, "got PingReq{}, want the connection closed",
		},
		{"closed early", nil, func(c *Client) { c.ReceivePublish() }, "wait for Publish{}: EOF"},
		{"not nothing", []byte{0x30, 3, 0, 1, 'a'}, func(c *Client) { c.ExpectNothing() }, `got Publish{Topic:"a"}, want nothing`},
		{"not MQTT", []byte{0, 0}, func(c *Client) { c.Receive() }, "wait for a packet: malformed packet: packet type 0"},
		{"type of another version", []byte{0xf0, 0}, func(c *Client) { c.Receive() }, "AUTH in version 3.1.1"},
	} {
		near, far := memnet.Pipe(0)
		if _, err := far.Write(c.sent); err != nil {
			t.Fatal(err)
		}
		_ = far.CloseWrite()
		r := &recorder{TB: t}
		if got := r.run(func() { c.do(NewClient(r, near)) }); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A connection that the server should close, and does not, is reported after the timeout.
func TestExpectClosedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := memnet.Pipe(0)
		r := &recorder{TB: t}
		if got := r.run(func() { NewClient(r, near).ExpectClosed() }); !strings.Contains(got, "stays open") {
			t.Errorf("got %q", got)
		}
	})
}

func TestPacketRefusesOtherTypes(t *testing.T) {
	for _, v := range []any{nil, (*mqtt.Connect)(nil), "CONNECT", mqtt.Subscription{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%#v: got no panic", v)
				}
			}()
			Expect(v)
		}()
	}
}
