package listen

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/websocket"
)

// ReadBuffer is a good size for what is read into: it holds the largest TLS record's plain text.
const ReadBuffer = 16 << 10

var cipherBuffers = sync.Pool{New: func() any { return new([ReadBuffer]byte) }}

// A Conn is the hub's end of a connection: a socket, perhaps TLS on it, perhaps a WebSocket on that. While the client is
// silent it holds no buffer: its goroutine waits in [Conn.Park] for the socket to become readable, and needs something
// to read into only then.
//
// Under TLS this needs care, since crypto/tls keeps bytes that it has read beyond the record it wanted, where nobody
// can see them: a connection could then wait for a socket that stays silent while a whole packet lies in memory. So
// Conn hands crypto/tls the records one by one (see readCipher), and what lies beyond is in a buffer of its own. A
// WebSocket's frames are taken apart in the reader's buffer, so it adds nothing that could hold bytes back.
//
// One goroutine at a time may read, and any number write; each Write is one piece on the wire.
type Conn struct {
	nc  net.Conn // the socket
	raw syscall.RawConn
	app net.Conn // nc, or the TLS connection on it

	cipher *[ReadBuffer]byte // TLS only; nil while empty
	r, w   int               // unread bytes in cipher
	need   int               // bytes until the end of the current part (header or body) of a record
	head   [5]byte
	got    int // bytes of head seen
	alert  byte

	full bool // the last read from app filled the buffer given: it may hold more

	place  atomic.Pointer[Gate] // where it counts; nil: nowhere
	newer  *Conn                // among those that can be spared there; with that gate's lock
	older  *Conn
	spared atomic.Bool // it was closed for another one
	pace   *pacing     // nil: none has been asked
	web    *webSocket  // nil: not a WebSocket
}

// NewConn returns the hub's end of a socket. With a configuration it is to begin with a TLS handshake, see [Conn.TLS]. A
// *Conn is returned as it is.
func NewConn(nc net.Conn, cfg *tls.Config) *Conn {
	if c, ok := nc.(*Conn); ok {
		return c
	}
	c := &Conn{nc: nc, app: nc, need: 5}
	if sc, ok := nc.(syscall.Conn); ok && canPark {
		c.raw, _ = sc.SyscallConn()
	}
	if cfg != nil {
		c.app = tls.Server(record{Conn: nc, c: c}, cfg)
	}
	return c
}

// Socket returns the socket, for deadlines and for an end without ceremony.
func (c *Conn) Socket() net.Conn { return c.nc }

// TLS returns the TLS connection, if there is one.
func (c *Conn) TLS() (*tls.Conn, bool) {
	t, ok := c.app.(*tls.Conn)
	return t, ok
}

// Web returns the request that the WebSocket began with; nil if this is none.
func (c *Conn) Web() *Request {
	if c.web == nil {
		return nil
	}
	return c.web.request
}

// Forget frees what [Conn.Web] returns.
func (c *Conn) Forget() {
	if c.web != nil {
		c.web.request = nil
	}
}

// Remote returns the address of the client, the zero value if it has none.
func (c *Conn) Remote() netip.AddrPort { return remote(c.nc) }

func remote(nc net.Conn) netip.AddrPort {
	a := nc.RemoteAddr()
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// record is the socket as crypto/tls sees it.
type record struct {
	net.Conn
	c *Conn
}

func (r record) Read(p []byte) (int, error) { return r.c.readCipher(p) }

// Close is what an HTTP server comes to in the end.
func (r record) Close() error {
	r.c.Leave()
	return r.Conn.Close()
}

// readCipher gives at most the rest of the current part of a TLS record, so that crypto/tls never gets more than the
// record it is reading.
func (c *Conn) readCipher(p []byte) (int, error) {
	if c.cipher == nil {
		c.cipher = cipherBuffers.Get().(*[ReadBuffer]byte)
		c.r, c.w = 0, 0
	}
	if c.r == c.w {
		n, err := c.nc.Read(c.cipher[:])
		if n == 0 {
			c.free()
			return 0, err
		}
		c.r, c.w = 0, n
	}
	n := copy(p[:min(len(p), c.need)], c.cipher[c.r:c.w])
	if c.got < len(c.head) {
		c.got += copy(c.head[c.got:], p[:n])
	} else {
		c.lookForAlert(p[:n])
	}
	c.r += n
	if c.need -= n; c.need == 0 {
		// Either the header is complete and the body follows, or the body is and a header follows. A body can be empty.
		if body := int(binary.BigEndian.Uint16(c.head[3:])); c.got == len(c.head) && body > 0 {
			c.need, c.got = body, len(c.head)+1
		} else {
			c.need, c.got = len(c.head), 0
		}
	}
	c.free()
	return n, nil
}

// lookForAlert looks at the body of a record: OpenSSL sends an alert in the clear where TLS 1.3 has encryption already
// (observed with 3.0.19, with roots that do not have ours), and crypto/tls then only sees a record that does not decrypt.
func (c *Conn) lookForAlert(body []byte) {
	const alert, fatal = 21, 2
	if c.head[0] == alert && len(body) == 2 && binary.BigEndian.Uint16(c.head[3:]) == 2 && body[0] == fatal {
		c.alert = body[1]
	}
}

// Alert returns the fatal alert of TLS that the client has sent in the clear, 0 if it has not.
func (c *Conn) Alert() byte { return c.alert }

// drop forgets what nobody will read any more: a client says goodbye to TLS behind its last packet, in the same segment.
func (c *Conn) drop() {
	c.r = c.w
	c.free()
}

func (c *Conn) free() {
	if c.cipher != nil && c.r == c.w {
		cipherBuffers.Put(c.cipher)
		c.cipher = nil
	}
}

// Read reads what the client said, below TLS and WebSocket. The end of a WebSocket is io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	if c.web != nil {
		return c.readFrames(p)
	}
	return c.read(p)
}

func (c *Conn) read(p []byte) (int, error) {
	n, err := c.app.Read(p)
	c.full = n == len(p)
	return n, err
}

// Write sends b whole; in a WebSocket as one frame.
func (c *Conn) Write(b []byte) (int, error) {
	if c.web != nil {
		return c.writeFrame(b)
	}
	return c.app.Write(b)
}

// Quiet reports that nothing is in memory: the next Read would wait for the socket.
func (c *Conn) Quiet() bool {
	return c.cipher == nil && !c.full && (c.web == nil || len(c.web.early) == 0)
}

// Park waits until the socket is readable, without holding a buffer. It returns at once where that cannot be told.
func (c *Conn) Park() error {
	if c.raw == nil || !c.Quiet() {
		return nil
	}
	return waitReadable(c.raw)
}

// Finish ends the connection in good order: the peer gets what was written and an end of stream. It then has a moment
// to read it, because closing a socket with unread input would reset it, and the reset can overtake and destroy what
// was sent. A peer that has ended the connection itself gets nothing more. Must be called by the reader.
func (c *Conn) Finish() {
	defer func() { _ = c.Close() }()
	c.drop()
	if c.raw != nil && hungUp(c.raw) {
		return
	}
	if c.web != nil && !c.web.old {
		c.sendClose(websocket.CloseNormal)
	}
	if t, ok := c.TLS(); ok {
		_ = t.SetWriteDeadline(time.Now().Add(time.Second))
		_ = t.CloseWrite()
	}
	if h, ok := c.nc.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		c.nc.SetReadDeadline(time.Now().Add(time.Second))
		var waste [512]byte
		for {
			if _, err := c.nc.Read(waste[:]); err != nil {
				break
			}
		}
	}
}

// Close closes the socket at once.
func (c *Conn) Close() error {
	c.Leave()
	return c.nc.Close()
}

// LocalAddr and RemoteAddr are the socket's.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr is the socket's.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// SetDeadline sets the socket's.
func (c *Conn) SetDeadline(t time.Time) error { return c.nc.SetDeadline(t) }

// SetReadDeadline sets the socket's.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline sets the socket's.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// Take lets the connection through a gate, and out of the one where it counted until now. It reports whether there was
// room, which there is if it counts there already.
func (c *Conn) Take(g *Gate) bool {
	old := c.place.Load()
	if old == g {
		return true
	}
	if !g.Enter(c.Remote().Addr()) {
		return false
	}
	c.adopt(g)
	return true
}

// adopt makes the connection responsible for a place that was taken for it.
func (c *Conn) adopt(g *Gate) {
	if old := c.place.Swap(g); old != nil {
		c.leave(old)
	}
	g.spare(c, true)
}

// Busy says whether something is going on that is worth finishing. Until it says so for the first time a connection that
// has passed a gate can be spared for others, and so it can when it is no longer busy.
func (c *Conn) Busy(busy bool) {
	if g := c.place.Load(); g != nil {
		g.spare(c, !busy)
	}
}

func (c *Conn) leave(g *Gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(core.Network(c.Remote().Addr()), c)
}

// Leave ends its counting where it counts. Closing it does so too.
func (c *Conn) Leave() {
	if g := c.place.Swap(nil); g != nil {
		c.leave(g)
	}
}

// webSocket is what a Conn needs besides, once it is one.
type webSocket struct {
	frames  websocket.Decoder
	early   []byte   // what the HTTP server had read beyond the request
	request *Request // nil: forgotten
	old     bool     // its client cannot bear a Close frame
	closed  atomic.Bool
}

// upgrade makes the connection a WebSocket.
func (c *Conn) upgrade(early []byte, r *Request, old bool) {
	c.web = &webSocket{early: early, request: r, old: old}
	c.full = true // crypto/tls may hold more than the server had read
}

// answerTime bounds how long a client may take to accept a control frame.
const answerTime = 10 * time.Second

func (c *Conn) readFrames(p []byte) (n int, err error) {
	w := c.web
	for {
		if len(w.early) > 0 {
			n, err = copy(p, w.early), nil
			if w.early = w.early[n:]; len(w.early) == 0 {
				w.early = nil
			}
		} else if n, err = c.read(p); n == 0 {
			return 0, err
		}
		n, werr := w.frames.Decode(p[:n])
		if ping, ok := w.frames.Pong(); ok && !w.closed.Load() {
			_ = c.nc.SetWriteDeadline(time.Now().Add(answerTime))
			if _, err := c.app.Write(websocket.AppendFrame(nil, websocket.Pong, ping)); err != nil {
				return n, err
			}
		}
		var broken *websocket.Error
		switch {
		case errors.As(werr, &broken):
			if !w.old {
				c.sendClose(broken.Code)
			}
			return n, werr
		case werr != nil:
			c.sendClose(w.frames.CloseCode()) // RFC 6455 section 5.5.1: an answer, usually with the same code
			return n, io.EOF
		case n > 0 || err != nil:
			return n, err
		}
	}
}

// frameBuffers are for frames on their way out: header and payload must be one Write, or other goroutines' frames could
// come between them.
var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func (c *Conn) writeFrame(p []byte) (int, error) {
	if c.web.closed.Load() {
		return 0, net.ErrClosed // nothing may follow a Close frame (RFC 6455 section 5.5.1)
	}
	buf := frameBuffers.Get().(*[]byte)
	b := websocket.AppendFrame((*buf)[:0], websocket.Binary, p)
	_, err := c.app.Write(b)
	if cap(b) <= 64<<10 {
		*buf = b
		frameBuffers.Put(buf)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *Conn) sendClose(code int) {
	if c.web.closed.Swap(true) {
		return
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.app.Write(websocket.AppendFrame(nil, websocket.Close, websocket.ClosePayload(code, "")))
}
