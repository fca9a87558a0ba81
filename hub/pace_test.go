package hub

import (
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// fail makes connections to a port that come to nothing.
func fail(t *testing.T, addr string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write([]byte("no handshake\r\n"))
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			for b := make([]byte, 512); err == nil; {
				_, err = c.Read(b)
			}
		})
	}
	wg.Wait()
}

// counter reads a metric.
func (r *running) counter(t *testing.T, name string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`).FindStringSubmatch(r.scrape(t))
	if m == nil {
		t.Fatalf("no metric %s", name)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestFailedConnects: connections that come to nothing close the door to others from there, for a while, and for those
// with something to sign in with only as long as it takes until it is their turn.
func TestFailedConnects(t *testing.T) {
	r := start(t, Config{Development: true, Limits: Limits{FailedConnectsPerAddress: 2}, MQTTPlainPort: AnyPort})
	fail(t, r.mqtt(), 40)
	fail(t, r.mqtt(), 5)
	env := r.State().Platforms["mqtt"]
	for end := time.Now().Add(30 * time.Second); ; {
		nc, err := net.Dial("tcp", strings.TrimPrefix(r.State().MQTTPlain, "mqtt://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
		p := mqtt.Connect{Version: mqtt.V311, ClientID: "a", Username: env["MQTT_USERNAME"], HasUsername: true, Password: []byte(env["MQTT_PASSWORD"]), HasPassword: true}
		_, err = nc.Write(p.Append(nil, mqtt.V311))
		var b [4]byte
		if err == nil {
			_, err = nc.Read(b[:])
		}
		nc.Close()
		if err == nil && b == [4]byte{0x20, 2, 0, 0} {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("does not get in: %v, %v", b, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := r.counter(t, `fairlead_connections_limited_total{limit="failed_connects_per_address"}`); n == 0 {
		t.Error("none was refused, of 45 that failed")
	}
}

// TestSignsInTooOften: on this machine nobody does, however often.
func TestSignsInTooOften(t *testing.T) {
	r := start(t, Config{Development: true, Limits: Limits{MQTTConnectsPerDevice: 2, HTTPSConnectsPerAddress: 2, FailedConnectsPerAddress: 1}})
	for range 40 {
		r.https(t).Close()
	}
	if n := r.counter(t, `fairlead_connects_too_many_total{limit="https_connects_per_address"}`); n != 0 {
		t.Errorf("%d were counted", n)
	}
}
