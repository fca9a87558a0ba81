package listen

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/internal/websocket"
)

// upgradeRequest is a handshake request; lines are further header lines.
func upgradeRequest(target, key string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: hub.example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nsec-websocket-key: " + key + "\r\n" + strings.Join(append(lines, "", ""), "\r\n")
}

const (
	shortKey = "dGhlIHNhbXBsZSBub25jZQ=="
	longKey  = "d4ADpcyGuKg+11EwKOqGJdW1jGbO4VAN5cziI4AfMHjeplVmN1R+ndi6silgNMPuiMEMCIEwSYvyIMAd88Uu7Mh5DoNYdudmIsTBKIkBSqTBmdAhCcBoqNywEETKqccpRbDX1zR6q16L4HI3nG/h7lYnYecCV043+s5zpIEQ2GM="
)

// The answer is exactly this, in one TLS record: AWSIoTPythonSDK 1.6.2 looks for these letters. What it sends, a key of 172
// characters and an extension that it cannot do, is as it was observed.
// Statements of 3.1.1: [MQTT-6.0.0-4]; of 5: [MQTT-6.0.0-4].
func TestUpgradeToTheLetter(t *testing.T) {
	r := newFrontRig(t, 0)
	for _, tt := range []struct {
		name, request, want string
	}{
		{
			"AWSIoTPythonSDK 1.6.2",
			upgradeRequest("/mqtt?X-Amz-Date=20261121T061313Z&X-Amz-Security-Token=tok/en%2B", longKey,
				"Sec-WebSocket-Protocol: mqttv3.1", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
			"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
				"sec-websocket-accept: q00F5xXBtmTyqKQdP4EL8RgmNxQ=\r\nsec-websocket-protocol: mqttv3.1\r\n\r\n",
		},
		{
			"azure-iot-sdk-c",
			upgradeRequest("/$iothub/websocket", shortKey, "Sec-WebSocket-Protocol: MQTT"),
			"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
				"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: MQTT\r\n\r\n",
		},
		{
			"no subprotocol",
			upgradeRequest("/mqtt", shortKey),
			"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
				"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
		},
		{
			"one of several",
			upgradeRequest("/", shortKey, "Sec-WebSocket-Protocol: chat, mqtt", "Sec-WebSocket-Protocol: mqttv3.1"),
			"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
				"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: mqtt\r\n\r\n",
		},
	} {
		nc := r.dial()
		fmt.Fprint(nc, tt.request)
		b := make([]byte, 2000)
		n, err := nc.Read(b) // crypto/tls gives one record at a time
		if string(b[:n]) != tt.want || err != nil {
			t.Errorf("%s: got %q, %v\nwant %q", tt.name, b[:n], err, tt.want)
		}
		if err := <-r.errs; err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if web, line := r.next().Web(), strings.Fields(tt.request)[1]; web.Path+"?"+web.Query != line && web.Path != line || web.Host != "hub.example.org" {
			t.Errorf("%s: got %+v", tt.name, web)
		}
	}
	left(t, r.gate, 0)
	if n := r.pending.Open(); n != 4 {
		t.Errorf("%d wait for CONNECT, want 4", n)
	}
}

// Statements of 3.1.1: [MQTT-6.0.0-3]; of 5: [MQTT-6.0.0-3].
func TestUpgradeRefusals(t *testing.T) {
	r := newFrontRig(t, 0)
	ok := upgradeRequest("/mqtt", shortKey, "Sec-WebSocket-Protocol: mqtt")
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"version", strings.Replace(ok, "Version: 13", "Version: 8", 1), 426},
		{"no key", strings.Replace(ok, shortKey, "", 1), 400},
		{"two keys", strings.Replace(ok, "Host:", "Sec-WebSocket-Key: x\r\nHost:", 1), 400},
		{"absurd key", strings.Replace(ok, shortKey, strings.Repeat("x", maxKey+1), 1), 400},
		{"POST", strings.Replace(ok, "GET", "POST", 1), 400},
		{"a body", strings.Replace(ok, "Host:", "Content-Length: 1\r\nHost:", 1) + "x", 400},
		{"another protocol", strings.Replace(ok, "mqtt\r\n", "AMQPWSB10\r\n", 1), 200},
		{"no upgrade", strings.Replace(ok, "Connection: Upgrade", "Connection: keep-alive", 1), 200},
	} {
		nc := r.dial()
		fmt.Fprint(nc, tt.request)
		res, err := http.ReadResponse(bufio.NewReader(nc), nil)
		if err != nil || res.StatusCode != tt.status {
			t.Errorf("%s: got %v, %v, want %d", tt.name, res, err, tt.status)
		}
		nc.Close()
	}
	for range 20 {
		r.pending.Enter(addr("127.0.0.1"))
	}
	nc := r.dial()
	fmt.Fprint(nc, ok)
	if res, err := http.ReadResponse(bufio.NewReader(nc), nil); err != nil || res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("no room: got %v, %v, want 503", res, err)
	}
	nc = r.dial()
	fmt.Fprint(nc, upgradeRequest("/mqtt", shortKey, "Sec-WebSocket-Protocol: "+oldProtocol))
	if res, err := io.ReadAll(nc); err != nil || !bytes.HasPrefix(res, []byte("HTTP/1.1 101 ")) || !bytes.HasSuffix(res, []byte("\r\n\r\n")) {
		t.Errorf("no room, for a client that another answer would stop for good: got %q, %v, want a WebSocket that ends", res, err)
	}
}

// open returns both ends of a WebSocket.
func (r *frontRig) open(protocol string, lines ...string) (*tls.Conn, *Conn) {
	r.t.Helper()
	nc := r.dial()
	fmt.Fprint(nc, upgradeRequest("/mqtt", shortKey, append(lines, "Sec-WebSocket-Protocol: "+protocol)...))
	if _, err := nc.Read(make([]byte, 2000)); err != nil {
		r.t.Fatal(err)
	}
	return nc, r.next()
}

func frame(op websocket.Opcode, payload string) []byte {
	return websocket.AppendMasked(nil, op, []byte(payload), [4]byte{1, 2, 3, 4})
}

func expect(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got % x, %v\nwant % x", got[:n], err, want)
	}
}

func TestWebSocketBothWays(t *testing.T) {
	r := newFrontRig(t, 0)
	nc := r.dial()
	// A client that does not wait for the answer, as MQTT clients need not wait for CONNACK.
	b := append([]byte(upgradeRequest("/mqtt", shortKey)), frame(websocket.Binary, "early")...)
	if _, err := nc.Write(append(b, frame(websocket.Ping, "?")...)); err != nil {
		t.Fatal(err)
	}
	c := r.next()
	if _, err := nc.Read(make([]byte, 2000)); err != nil {
		t.Fatal(err)
	}
	expect(t, c, []byte("early"))
	for i := range 100 {
		want := strings.Repeat("x", i*i*10)
		go nc.Write(frame(websocket.Binary, want))
		expect(t, c, []byte(want))
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	expect(t, nc, websocket.AppendFrame(websocket.AppendFrame(nil, websocket.Pong, []byte("?")), websocket.Binary, []byte("answer")))
}

func TestWebSocketEnds(t *testing.T) {
	r := newFrontRig(t, 0)
	buf := make([]byte, 100)
	ends := func(nc net.Conn) {
		t.Helper()
		if n, err := nc.Read(buf); err != io.EOF {
			t.Errorf("got % x, %v, want the end", buf[:n], err)
		}
	}
	code := func(n int) []byte {
		return websocket.AppendFrame(nil, websocket.Close, websocket.ClosePayload(n, ""))
	}

	nc, c := r.open("mqtt")
	nc.Write(append(frame(websocket.Binary, "last"), frame(websocket.Close, "\x03\xe8bye")...))
	expect(t, c, []byte("last"))
	if _, err := c.Read(buf); err != io.EOF {
		t.Errorf("after a Close frame: got %v, want the end", err)
	}
	if _, err := c.Write([]byte("more")); err == nil {
		t.Error("something may follow a Close frame")
	}
	go c.Finish()
	expect(t, nc, code(websocket.CloseNormal))
	ends(nc)

	nc, c = r.open("mqtt")
	nc.Write(frame(websocket.Text, "hello")) // [MQTT-6.0.0-1]
	var broken *websocket.Error
	if _, err := c.Read(buf); !errors.As(err, &broken) {
		t.Errorf("a text frame: got %v", err)
	}
	go c.Finish()
	expect(t, nc, code(websocket.CloseUnsupported))
	ends(nc)

	nc, c = r.open("mqtt")
	go c.Finish()
	expect(t, nc, code(websocket.CloseNormal))
	ends(nc)

	nc, c = r.open("mqttv3.1")
	go c.Finish()
	ends(nc) // a Close frame would end AWSIoTPythonSDK 1.6.2 for good

	nc, c = r.open("mqttv3.1")
	nc.Write(frame(websocket.Text, "hello"))
	if _, err := c.Read(buf); !errors.As(err, &broken) {
		t.Errorf("a text frame: got %v", err)
	}
	go c.Finish()
	ends(nc)
	left(t, r.pending, 0)
}

// What a browser adds by itself does not reach a page from elsewhere.
func TestCrossOrigin(t *testing.T) {
	r := newFrontRig(t, 0)
	server, _ := serverTLS(t, 0)
	r.client.Certificates = server.Certificates // any certificate
	for origin, cross := range map[string]bool{
		"":                            false,
		"https://hub.example.org":     false,
		"https://HUB.example.org:443": false,
		"https://evil.example":        true,
		"https://hub.example.org:444": true,
		"null":                        true,
	} {
		lines := []string{"Cookie: a=b", "Authorization: Basic YTpi", "X-Amz-CustomAuthorizer-Name: mine"}
		if origin != "" {
			lines = append(lines, "Origin: "+origin)
		}
		_, c := r.open("mqtt", lines...)
		web := c.Web()
		if web.CrossOrigin != cross || (web.Header["Cookie"] == nil) != cross || (web.Header["Authorization"] == nil) != cross {
			t.Errorf("%q: got %+v, want cross-origin %v", origin, web, cross)
		}
		if got := len(c.Handshake().PeerCertificates) == 0; got != cross {
			t.Errorf("%q: without a certificate: got %v, want %v", origin, got, cross)
		}
		if web.Header.Get("X-Amz-CustomAuthorizer-Name") != "mine" {
			t.Errorf("%q: a header of the platform is missing", origin)
		}
	}
}

// An idle WebSocket is quiet: nothing is held, and the goroutine can wait for the socket.
func TestWebSocketParks(t *testing.T) {
	r := newFrontRig(t, 0)
	nc, c := r.open("mqtt")
	nc.Write(frame(websocket.Binary, "one"))
	buf := make([]byte, ReadBuffer)
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "one" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	if !c.Quiet() {
		t.Error("a WebSocket that has given everything is not quiet")
	}
	parked := make(chan error, 1)
	go func() { parked <- c.Park() }()
	nc.Write(frame(websocket.Binary, "two"))
	if err := <-parked; err != nil {
		t.Fatal(err)
	}
	if n, err = c.Read(buf); err != nil || string(buf[:n]) != "two" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}
