package mqttclient

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/websocket"
)

// WebSocket is how to ask for a WebSocket.
type WebSocket struct {
	// Target is the path with its query, as it is to stand in the request. "": "/mqtt".
	Target string
	// Host is the header of that name. "": the dialer's address, without the port if it is 443.
	Host string
	// Protocol is the subprotocol to offer. "": "mqtt". "-": none.
	Protocol string
	// Header is more lines of the request, sent as they are written here, in this order: upper and lower case count to some servers.
	Header [][2]string
}

// upgrade asks the server, and returns a connection whose bytes are what the frames carry.
func (w *WebSocket) upgrade(nc net.Conn, address string) (net.Conn, error) {
	doing := "connect to " + address + ": WebSocket"
	request, key, err := w.request(address)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(request); err != nil {
		return nil, unavailable(doing, err)
	}
	resp, err := readResponse(nc)
	if err != nil {
		return nil, unavailable(doing, err)
	}
	if resp.status != 101 {
		return nil, resp.refusal(doing)
	}
	if !strings.EqualFold(resp.header.Get("Upgrade"), "websocket") || resp.header.Get("Sec-WebSocket-Accept") != websocket.AcceptKey(key) {
		return nil, fmt.Errorf("%s: %w: the answer to the handshake does not belong to it", doing, fairlead.ErrUnavailable)
	}
	if resp.header.Get("Sec-WebSocket-Extensions") != "" {
		return nil, fmt.Errorf("%s: %w: the server uses an extension that was not offered", doing, fairlead.ErrUnavailable)
	}
	return &wsConn{Conn: nc, br: resp.br, dec: websocket.Decoder{FromServer: true}}, nil
}

func (w *WebSocket) request(address string) (request []byte, key string, err error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	key = base64.StdEncoding.EncodeToString(nonce)
	target, host, protocol := w.Target, w.Host, w.Protocol
	if target == "" {
		target = "/mqtt"
	}
	if host == "" {
		host = strings.TrimSuffix(address, ":443")
	}
	lines := [][2]string{
		{"Host", host}, {"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Key", key}, {"Sec-WebSocket-Version", "13"},
	}
	if protocol == "" {
		protocol = "mqtt"
	}
	if protocol != "-" {
		lines = append(lines, [2]string{"Sec-WebSocket-Protocol", protocol})
	}
	b := []byte("GET " + target + " HTTP/1.1\r\n")
	if !strings.HasPrefix(target, "/") || strings.ContainsAny(target, " \r\n") {
		return nil, "", fmt.Errorf("connect to %s: %w: WebSocket target %.100q", address, fairlead.ErrInvalid, target)
	}
	for _, l := range append(lines, w.Header...) {
		if strings.ContainsAny(l[0]+l[1], "\r\n") {
			return nil, "", fmt.Errorf("connect to %s: %w: header %.100q has a line end in it", address, fairlead.ErrInvalid, l[0])
		}
		b = append(b, l[0]+": "+l[1]+"\r\n"...)
	}
	return append(b, "\r\n"...), key, nil
}

// wsConn carries bytes in binary frames.
type wsConn struct {
	net.Conn
	br  *bufio.Reader
	dec websocket.Decoder
	err error // of Read, to come when all data has been read

	mu  sync.Mutex // one frame at a time: those of Write, and the answers that Read gives
	out []byte
}

// Read returns what frames carry, and answers pings. A Close frame is the end of the stream.
func (c *wsConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for c.err == nil {
		n, err := c.br.Read(p)
		c.err = err
		k, err := c.dec.Decode(p[:n])
		if pong, ok := c.dec.Pong(); ok {
			if err := c.frame(websocket.Pong, pong); err != nil {
				c.err = err
			}
		}
		if err != nil {
			c.err = c.end(err)
		}
		if k > 0 {
			return k, nil
		}
	}
	return 0, c.err
}

// end answers the peer's Close, or tells it what was wrong.
func (c *wsConn) end(why error) error {
	var broken *websocket.Error
	if errors.As(why, &broken) {
		_ = c.frame(websocket.Close, websocket.ClosePayload(broken.Code, "")) // the connection is over anyway
		return why
	}
	_ = c.frame(websocket.Close, websocket.ClosePayload(c.dec.CloseCode(), ""))
	return io.EOF
}

// Write sends p as one frame.
func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.frame(websocket.Binary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wsConn) frame(op websocket.Opcode, payload []byte) error {
	var mask [4]byte
	_, _ = rand.Read(mask[:]) // never fails
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = websocket.AppendMasked(c.out[:0], op, payload, mask)
	_, err := c.Conn.Write(c.out)
	if cap(c.out) > 1<<20 {
		c.out = nil
	}
	return err
}
