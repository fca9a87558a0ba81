package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/internal/websocket"
)

// A Request is the HTTP request that a WebSocket began with, as it was sent.
type Request struct {
	Path   string // escaped
	Query  string // without the question mark
	Host   string
	Header http.Header
	// CrossOrigin says that a browser sent it for a page from elsewhere. Whatever a browser adds to requests by itself
	// is removed then, and the client certificate must not count either: see [Conn.Handshake].
	CrossOrigin bool
}

// maxKey bounds what is hashed for the answer. AWSIoTPythonSDK 1.6.2 sends 172 characters, RFC 6455 has 24.
const maxKey = 1024

// oldProtocol is what AWSIoTPythonSDK 1.x and aws-iot-device-sdk (JavaScript) 2.x offer. A Close frame ends the network
// thread of the former for good, where the end of the connection makes it come back (observed with 1.6.2).
const oldProtocol = "mqttv3.1"

// Asks reports whether a request asks for a WebSocket.
func Asks(r *http.Request) bool {
	return r.ProtoMajor == 1 && hasToken(r.Header["Upgrade"], "websocket") && hasToken(r.Header["Connection"], "upgrade")
}

// Offered returns the subprotocol in which a request asks for MQTT, spelled as it is there: "mqtt" [MQTT-6.0.0-3], in any
// case because the Azure IoT SDK for C has it in upper case, or "mqttv3.1". none reports that no subprotocol is asked
// for at all.
func Offered(r *http.Request) (name string, none bool) {
	none = true
	for name := range tokens(r.Header["Sec-Websocket-Protocol"]) {
		if strings.EqualFold(name, "mqtt") || strings.EqualFold(name, oldProtocol) {
			return name, false
		}
		none = false
	}
	return "", none
}

// Upgrade makes the connection of a request a WebSocket with that subprotocol, "" for none, and hands it to [Front.MQTT].
// Otherwise it answers the request and returns why.
func (f *Front) Upgrade(w http.ResponseWriter, r *http.Request, protocol string) error {
	key, err := check(r)
	if err != nil {
		if errors.Is(err, errVersion) {
			w.Header().Set("Sec-WebSocket-Version", "13") // RFC 6455 section 4.4
			http.Error(w, err.Error(), http.StatusUpgradeRequired)
			return err
		}
		http.Error(w, err.Error(), http.StatusBadRequest)
		return err
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	if !f.mqtt.open() || !f.cfg.Pending.Enter(from.Addr()) {
		refuseForNow(w, protocol, key)
		return errors.New("no room for another connection")
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		f.cfg.Pending.Leave(from.Addr())
		http.Error(w, "this connection cannot become a WebSocket", http.StatusNotImplemented)
		return fmt.Errorf("take the connection over: %w", err)
	}
	c := connOf(nc)
	c.adopt(f.cfg.Pending)
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	c.upgrade(slices.Clone(early), request(r), strings.EqualFold(protocol, oldProtocol))
	if err := accept(nc, protocol, key); err != nil {
		_ = c.Close()
		return fmt.Errorf("answer: %w", err)
	}
	f.mqtt.put(c)
	return nil
}

// refuseForNow answers a client that is to come again.
//
// AWSIoTPythonSDK 1.6.2 comes again only when its WebSocket has begun: any answer but 101 ends its network thread, and it reads
// for ever on a connection that ends without one. The others look at the status.
func refuseForNow(w http.ResponseWriter, protocol, key string) {
	if strings.EqualFold(protocol, oldProtocol) {
		if nc, _, err := http.NewResponseController(w).Hijack(); err == nil {
			c := connOf(nc)
			c.upgrade(nil, nil, true)
			_ = accept(nc, protocol, key)
			c.Finish()
			return
		}
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "no room for another MQTT connection", http.StatusServiceUnavailable)
}

// accept writes the answer that begins a WebSocket.
//
// It is written by hand: clients look for its headers in lower case, for one space after the colon, and for all
// of it in one TLS record of at most 1024 bytes (observed with AWSIoTPythonSDK 1.6.2), where net/http would capitalize.
func accept(nc net.Conn, protocol, key string) error {
	answer := "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
		"sec-websocket-accept: " + websocket.AcceptKey(key) + "\r\n"
	if protocol != "" {
		answer += "sec-websocket-protocol: " + protocol + "\r\n"
	}
	_ = nc.SetDeadline(time.Now().Add(answerTime))
	_, err := nc.Write([]byte(answer + "\r\n"))
	return err
}

var errVersion = errors.New("want version 13 of WebSocket")

// check returns the key of a request that asks properly.
func check(r *http.Request) (key string, err error) {
	keys := r.Header["Sec-Websocket-Key"]
	switch {
	case r.Method != http.MethodGet:
		return "", errors.New("want GET for a WebSocket")
	case r.ContentLength != 0:
		return "", errors.New("want no body for a WebSocket")
	case r.Header.Get("Sec-Websocket-Version") != "13":
		return "", errVersion
	case len(keys) != 1 || keys[0] == "" || len(keys[0]) > maxKey:
		return "", errors.New("want one Sec-WebSocket-Key")
	}
	return keys[0], nil
}

// connOf finds the Conn below what an HTTP server has.
func connOf(nc net.Conn) *Conn {
	if t, ok := nc.(*tls.Conn); ok {
		if r, ok := t.NetConn().(record); ok {
			return r.c
		}
	}
	return NewConn(nc, nil)
}

// request keeps of a request what a dialect may need to know whose it is.
func request(r *http.Request) *Request {
	out := &Request{
		Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host,
		Header: r.Header, CrossOrigin: !sameOrigin(r),
	}
	if out.CrossOrigin {
		out.Header = r.Header.Clone()
		out.Header.Del("Cookie")
		out.Header.Del("Authorization")
	}
	return out
}

// Handshake returns what the TLS handshake has shown of the client; nil without TLS. There is no certificate in it if it
// was a browser that showed it for a page from elsewhere: the page must not have what only the user was trusted with.
func (c *Conn) Handshake() *tls.ConnectionState {
	t, ok := c.TLS()
	if !ok {
		return nil
	}
	st := t.ConnectionState()
	if r := c.Web(); r != nil && r.CrossOrigin {
		st.PeerCertificates = nil
	}
	return &st
}

// sameOrigin reports whether a request comes from a page of this hub, or from no browser at all.
func sameOrigin(r *http.Request) bool {
	origin := r.Header["Origin"]
	if len(origin) == 0 {
		return true
	}
	if len(origin) > 1 {
		return false
	}
	u, err := url.Parse(origin[0])
	return err == nil && u.Host != "" && strings.EqualFold(withPort(u.Host), withPort(r.Host))
}

// withPort adds the port that goes without saying.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "443")
}

// tokens are the elements of a header that is a list.
func tokens(lines []string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for token := range strings.SplitSeq(line, ",") {
				if token = strings.TrimSpace(token); token != "" && !yield(token) {
					return
				}
			}
		}
	}
}

func hasToken(lines []string, want string) bool {
	for t := range tokens(lines) {
		if strings.EqualFold(t, want) {
			return true
		}
	}
	return false
}
