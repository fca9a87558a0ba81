package mqttclient_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/websocket"
)

// serve lets a function be the server of one connection, and returns a hook that dials it.
func serve(t *testing.T, server func(nc net.Conn) error) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	l := memnet.Listen("server:1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		if err := server(nc); err != nil {
			t.Errorf("server: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }
}

// echo expects "ping" and answers "pong".
func echo(nc io.ReadWriter) error {
	b := make([]byte, 4)
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "ping" {
		return fmt.Errorf("got %q, %v", b, err)
	}
	_, err := io.WriteString(nc, "pong")
	return err
}

func checkEcho(t *testing.T, d mqttclient.Dialer) {
	t.Helper()
	nc, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, "ping"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "pong" {
		t.Errorf("got %q, %v", b, err)
	}
}

// readHead reads a request: its first line, and its header lines as they were written.
func readHead(r *bufio.Reader) (first string, lines []string, err error) {
	tp := textproto.NewReader(r)
	if first, err = tp.ReadLine(); err != nil {
		return "", nil, err
	}
	for {
		line, err := tp.ReadLine()
		if err != nil || line == "" {
			return first, lines, err
		}
		lines = append(lines, line)
	}
}

func TestDialWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := serve(t, func(nc net.Conn) error {
			br := bufio.NewReader(nc)
			first, lines, err := readHead(br)
			if err != nil {
				return err
			}
			if first != "GET /mqtt?X-Amz-Signature=1%2F2 HTTP/1.1" || !slices.Contains(lines, "Host: aws.example") ||
				!slices.Contains(lines, "Sec-WebSocket-Protocol: mqttv3.1") || !slices.Contains(lines, "x-lower: Case") {
				return fmt.Errorf("got %q %q", first, lines)
			}
			key := ""
			for _, l := range lines {
				if k, ok := strings.CutPrefix(l, "Sec-WebSocket-Key: "); ok {
					key = k
				}
			}
			// In one write with the first frames, one of them a ping, and with the lower-case header that some servers send.
			b := []byte("HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: upgrade\r\nsec-websocket-accept: " + websocket.AcceptKey(key) + "\r\n\r\n")
			b = websocket.AppendFrame(b, websocket.Ping, []byte("?"))
			b = websocket.AppendFrame(b, websocket.Binary, []byte("po"))
			b = websocket.AppendFrame(b, websocket.Binary, []byte("ng"))
			b = websocket.AppendFrame(b, websocket.Close, websocket.ClosePayload(websocket.CloseNormal, ""))
			if _, err := nc.Write(b); err != nil {
				return err
			}
			raw, err := io.ReadAll(br)
			if err != nil {
				return err
			}
			// The ping's answer and the data, masked; then Close is answered.
			var d websocket.Decoder
			n, err := d.Decode(raw)
			if pong := bytes.IndexByte(raw, 0x80|byte(websocket.Pong)); string(raw[:n]) != "ping" || !errors.Is(err, websocket.ErrClosed) || pong < 0 {
				return fmt.Errorf("got %q, %v", raw[:n], err)
			}
			return nil
		})
		d := mqttclient.Dialer{Address: "aws.example:443", DialContext: dial, WebSocket: &mqttclient.WebSocket{
			Target: "/mqtt?X-Amz-Signature=1%2F2", Protocol: "mqttv3.1", Header: [][2]string{{"x-lower", "Case"}},
		}}
		nc, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.WriteString(nc, "ping"); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(nc); err != nil || string(b) != "pong" {
			t.Errorf("got %q, %v", b, err)
		}
	})
}

// What a server or a proxy answers instead is an error that says it.
func TestDialHTTPRefusals(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		kind         error
		code, detail string
		after        time.Duration
	}{
		{"denied", "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n and more", fairlead.ErrDenied, "403", "no!", 0},
		{"throttled", "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n\r\n", fairlead.ErrThrottled, "429", "", 7 * time.Second},
		{"until", "HTTP/1.1 503 Later\r\nRetry-After: Sat, 01 Jan 2000 00:01:00 GMT\r\n\r\n", fairlead.ErrUnavailable, "503", "", time.Minute},
		{"wrong accept", "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n", fairlead.ErrUnavailable, "", "", 0},
		{"not HTTP", "SSH-2.0-x\r\n", fairlead.ErrUnavailable, "", "", 0},
		{"nothing", "", fairlead.ErrUnavailable, "", "", 0},
		{"no end", "HTTP/1.1 200 Ok\r\nX: " + strings.Repeat("x", 70_000), fairlead.ErrUnavailable, "", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial := serve(t, func(nc net.Conn) error {
					_, _, err := readHead(bufio.NewReader(nc))
					_, _ = io.WriteString(nc, c.answer) // it may hang up before the end
					return err
				})
				d := mqttclient.Dialer{Address: "server:443", DialContext: dial, WebSocket: &mqttclient.WebSocket{}}
				_, err := d.Dial(t.Context())
				if !errors.Is(err, c.kind) {
					t.Fatalf("got %v, want %v", err, c.kind)
				}
				var p *fairlead.PlatformError
				if errors.As(err, &p) != (c.code != "") {
					t.Fatalf("got %v", err)
				}
				if p != nil && (p.Code != c.code || p.Detail != c.detail || p.RetryAfter != c.after) {
					t.Errorf("got %+v", p)
				}
			})
		})
	}
}

func TestDialProxies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := serve(t, func(nc net.Conn) error {
			first, lines, err := readHead(bufio.NewReader(nc))
			if err != nil {
				return err
			}
			secret := "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("me:pw"))
			if first != "CONNECT hub.example:8883 HTTP/1.1" || !slices.Contains(lines, secret) {
				return fmt.Errorf("got %q %q", first, lines)
			}
			if _, err := io.WriteString(nc, "HTTP/1.1 200 Go\r\n\r\n"); err != nil {
				return err
			}
			return echo(nc)
		})
		proxy := &url.URL{Scheme: "http", Host: "proxy:3128", User: url.UserPassword("me", "pw")}
		checkEcho(t, mqttclient.Dialer{Address: "hub.example:8883", Proxy: proxy, DialContext: dial})
	})
	synctest.Test(t, func(t *testing.T) {
		dial := serve(t, func(nc net.Conn) error {
			for _, step := range []struct{ want, answer string }{
				{"\x05\x02\x00\x02", "\x05\x02"},
				{"\x01\x02me\x02pw", "\x01\x00"},
				{"\x05\x01\x00\x03\x0bhub.example\x22\xb3", "\x05\x00\x00\x01\x01\x02\x03\x04\x00\x01"},
			} {
				b := make([]byte, len(step.want))
				if _, err := io.ReadFull(nc, b); err != nil || string(b) != step.want {
					return fmt.Errorf("got %q, %v", b, err)
				}
				if _, err := io.WriteString(nc, step.answer); err != nil {
					return err
				}
			}
			return echo(nc)
		})
		proxy := &url.URL{Scheme: "socks5", Host: "proxy:1080", User: url.UserPassword("me", "pw")}
		checkEcho(t, mqttclient.Dialer{Address: "hub.example:8883", Proxy: proxy, DialContext: dial})
	})
	synctest.Test(t, func(t *testing.T) {
		dial := serve(t, func(nc net.Conn) error {
			_, _, err := readHead(bufio.NewReader(nc))
			_, _ = io.WriteString(nc, "HTTP/1.1 407 Who\r\n\r\n")
			return err
		})
		d := mqttclient.Dialer{Address: "hub.example:8883", Proxy: &url.URL{Scheme: "http", Host: "proxy:3128"}, DialContext: dial}
		if _, err := d.Dial(t.Context()); !errors.Is(err, fairlead.ErrUnauthenticated) {
			t.Errorf("got %v, want unauthenticated", err)
		}
	})
}

// Dialling ends with its time and with its context, wherever it hangs.
func TestDialEnds(t *testing.T) {
	for _, d := range []mqttclient.Dialer{
		{TLS: &tls.Config{}},
		{WebSocket: &mqttclient.WebSocket{}},
		{Proxy: &url.URL{Scheme: "socks5", Host: "proxy:1"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			d.Address = "server:1"
			d.DialContext = serve(t, func(nc net.Conn) error {
				_, err := io.Copy(io.Discard, nc)
				return err
			})
			start := time.Now()
			if _, err := d.Dial(t.Context()); !errors.Is(err, fairlead.ErrUnavailable) || time.Since(start) != 30*time.Second {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
		})
	}
}

// TLS checks the server's name, offers ALPN, and a refusal of our certificate has its kind.
// Statements of 3.1.1: [MQTT-7.1.2-1]; of 5: [MQTT-4.2-1].
func TestDialTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"hub.example"},
			NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		crt, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(crt)
		server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"x-amzn-mqtt-ca"}}

		dial := serve(t, func(nc net.Conn) error {
			secure := tls.Server(nc, server)
			if err := secure.HandshakeContext(t.Context()); err != nil {
				return err
			}
			if p := secure.ConnectionState().NegotiatedProtocol; p != "x-amzn-mqtt-ca" {
				return fmt.Errorf("ALPN: got %q", p)
			}
			return echo(secure)
		})
		checkEcho(t, mqttclient.Dialer{Address: "hub.example:443", TLS: &tls.Config{RootCAs: roots, NextProtos: []string{"x-amzn-mqtt-ca"}}, DialContext: dial})

		wantsMore := server.Clone()
		wantsMore.ClientAuth = tls.RequireAnyClientCert
		dial = serve(t, func(nc net.Conn) error {
			_ = tls.Server(nc, wantsMore).HandshakeContext(t.Context()) // it refuses
			return nil
		})
		d := mqttclient.Dialer{Address: "hub.example:443", TLS: &tls.Config{RootCAs: roots}, DialContext: dial}
		nc, err := d.Dial(t.Context()) // with TLS 1.3 the refusal comes later
		if err != nil {
			t.Fatal(err)
		}
		session, err := mqttclient.NewSession(mqttclient.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Run(t.Context(), nc, mqtt.Connect{}, nil); !errors.Is(err, fairlead.ErrUnauthenticated) {
			t.Errorf("got %v, want unauthenticated", err)
		}
	})
}
