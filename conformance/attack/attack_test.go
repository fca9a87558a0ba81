package attack

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// A target is a hub that runs and is to be attacked.
type target struct {
	*hubproc.Hub
	t      *testing.T
	plain  string // address of the port without TLS
	device attacker
}

func start(t *testing.T) *target {
	t.Helper()
	dir := t.TempDir()
	binary := os.Getenv("FAIRLEAD_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "fairlead")
		if err := hubproc.Build(t.Context(), binary); err != nil {
			t.Fatal(err)
		}
	}
	hub, err := hubproc.New(binary, dir)
	if err != nil {
		t.Fatal(err)
	}
	ports, err := hubproc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	hub.Args = []string{"--mqtt-plain-port", strconv.Itoa(ports[0]), "--mqtt-anonymous", "--log-level", "warn", "--stop-grace", "100ms"}
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // nothing that was done to it may keep it from stopping in order
		if err := hub.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := hub.AwaitReady(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	env, err := hub.Variables(t.Context(), "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	if env["MQTT_TOPIC_PREFIX"] != prefix {
		t.Fatalf("the device for development has the prefix %q", env["MQTT_TOPIC_PREFIX"])
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	return &target{hub, t, addr, attacker{addr, env["MQTT_USERNAME"], env["MQTT_PASSWORD"]}}
}

// length is how long an attack goes on.
func length() time.Duration {
	if testing.Short() {
		return time.Second
	}
	return 6 * time.Second
}

// mostMemory is what an attack may add to the memory of the hub.
const mostMemory = 1500 << 20

// mostWait is how long a bystander may have to wait at the worst. It is far more than is measured (half a second),
// because tests share their machine; what is wrong was many seconds, or for ever. The short form runs beside everything else, and looks for the latter only.
func mostWait() time.Duration {
	if testing.Short() {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// TestFloods: clients that have signed in do what they can, and others wait a little longer.
func TestFloods(t *testing.T) {
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) {
			hub := start(t)
			other, err := watch(t.Context(), hub.plain)
			if err != nil {
				t.Fatal(err)
			}
			before, peak := memory(hub.PID()), int64(0)
			ctx, cancel := context.WithTimeout(t.Context(), length())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- f.run(ctx, &hub.device) }()
			for going := true; going; {
				select {
				case err = <-ended:
					going = false
				case <-time.After(20 * time.Millisecond):
					peak = max(peak, memory(hub.PID()))
				}
			}
			times := other.stop()
			if err != nil {
				t.Error(err)
			}
			worst := times[len(times)-1]
			t.Logf("others: %d messages, half within %v, the worst %v; memory %d MiB, then up to %d MiB",
				len(times), times[len(times)/2].Round(10*time.Microsecond), worst.Round(100*time.Microsecond), before>>20, peak>>20)
			if worst > mostWait() {
				t.Errorf("others waited for %v", worst)
			}
			if peak-before > mostMemory {
				t.Errorf("it took %d MiB", (peak-before)>>20)
			}
		})
	}
}

// TestBrokenPackets sends packets of every type in every version: cut off, with wrong flags, with bytes changed, larger
// than is allowed. Each connection ends, and the hub goes on.
func TestBrokenPackets(t *testing.T) {
	hub := start(t)
	user := []mqtt.UserProperty{{Key: "a", Value: "b"}}
	packets := []mqtt.Packet{
		&mqtt.Publish{Topic: []byte("a/b"), QoS: 2, ID: 7, Payload: []byte("payload"), Retain: true},
		&mqtt.Ack{Type: mqtt.TypePubAck, ID: 1}, &mqtt.Ack{Type: mqtt.TypePubRec, ID: 1}, &mqtt.Ack{Type: mqtt.TypePubRel, ID: 1},
		&mqtt.Ack{Type: mqtt.TypePubComp, ID: 1},
		&mqtt.Subscribe{ID: 2, Subscriptions: []mqtt.Subscription{{Filter: "a/+", QoS: 1}, {Filter: "$share/g/#"}}, User: user},
		&mqtt.Unsubscribe{ID: 3, Filters: []string{"a/+"}}, &mqtt.PingReq{}, &mqtt.Disconnect{},
		&mqtt.Auth{Code: mqtt.ReasonReauthenticate, Method: mqtt.Some("x")},
		&mqtt.ConnAck{}, &mqtt.SubAck{ID: 1, Codes: []byte{0}}, &mqtt.PingResp{}, // never from a client
	}
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		for _, p := range packets {
			if _, auth := p.(*mqtt.Auth); auth && v != mqtt.V5 {
				continue
			}
			for i, b := range broken(p.Append(nil, v)) {
				c, err := join(t.Context(), hub.plain, mqtt.Connect{Version: v, ClientID: "broken", CleanStart: true})
				if err != nil {
					t.Fatalf("%T %d: %v", p, i, err)
				}
				_ = c.write(b)
				_ = c.Conn.(*net.TCPConn).CloseWrite()
				for err = error(nil); err == nil; { // what the hub says must be sound, until it ends the connection
					_, err = c.receive()
				}
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Errorf("version %v, % .20x: the connection stays", v, b)
				}
				c.Close()
			}
		}
		connect := (&mqtt.Connect{Version: v, ClientID: "broken", Will: &mqtt.Will{Topic: "w", Payload: []byte("p")}}).Append(nil, v)
		for _, b := range broken(connect) {
			c, err := dial(t.Context(), hub.plain, "")
			if err != nil {
				t.Fatal(err)
			}
			c.version = v
			_ = c.write(b)
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			for err = error(nil); err == nil; {
				_, err = c.receive()
			}
			c.Close()
		}
	}
	if p, err := join(t.Context(), hub.plain, hello("after")); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
}

// broken returns a packet with faults.
func broken(b []byte) (list [][]byte) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for i := 0; i < len(b); i += step {
		list = append(list, b[:i]) // cut off
		for _, bit := range []byte{0x01, 0x80} {
			x := append([]byte(nil), b...)
			x[i] ^= bit
			list = append(list, x)
		}
	}
	huge := append([]byte{b[0]}, 0xff, 0xff, 0xff, 0x7f) // says that it is of 256 MiB
	long := append([]byte{b[0]}, 0xff, 0xff, 0xff, 0xff, 0xff)
	return append(list, append(huge, b...), long)
}

// TestSlowBytes: who sends byte by byte is served as long as its packets come in time.
func TestSlowBytes(t *testing.T) {
	hub := start(t)
	p, err := dial(t.Context(), hub.plain, "127.0.0.9")
	if err != nil {
		t.Skip(err)
	}
	defer p.Close()
	h := hello("byte-by-byte")
	for _, b := range (&h).Append(nil, mqtt.V311) {
		if err := p.write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if x, err := p.receive(); err != nil || fmt.Sprintf("%T", x) != "*mqtt.ConnAck" {
		t.Fatalf("got %T, %v", x, err)
	}
	for _, b := range publish("a", 1, 1, []byte("slow")).Append(nil, mqtt.V311) {
		if err := p.write([]byte{b}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if x, err := p.receive(); err != nil || fmt.Sprintf("%T", x) != "*mqtt.Ack" {
		t.Errorf("got %T, %v", x, err)
	}
}

// TestClientIDTheft: a client id is no way into the session of another device, nor of a client without a user name.
func TestClientIDTheft(t *testing.T) {
	hub := start(t)
	var peers []*peer
	add := func(p *peer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	for _, id := range []string{"x", "demo/x", "/x", "dev/x"} {
		c := mqtt.Connect{ClientID: id} // a session that stays
		add(hub.device.join(t.Context(), c))
		add(join(t.Context(), hub.plain, c))
	}
	for i, p := range peers {
		if err := p.send(&mqtt.PingReq{}); err != nil {
			t.Fatal(err)
		}
		if x, err := p.receive(); err != nil {
			t.Errorf("client %d has lost its connection: %T, %v", i, x, err)
		}
		p.Close()
	}
	// Who comes back has its own session, and gets nothing that was subscribed to by another.
	p, err := hub.device.join(t.Context(), mqtt.Connect{ClientID: "y"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if codes, err := p.subscribe(1, "#", "other/#", prefix+"#"); err != nil || codes[0] != mqtt.SubAckFailure || codes[1] != mqtt.SubAckFailure || codes[2] != 1 {
		t.Errorf("a device may subscribe beyond its grants: %v, %v", codes, err)
	}
}
