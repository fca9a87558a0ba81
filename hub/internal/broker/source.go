package broker

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync"
	"syscall"
	"time"
)

const readBuffer = 16 << 10 // holds the largest TLS record's plain text

var (
	plainBuffers  = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}
	cipherBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}
)

// source is the reading side of a connection. While the client is silent it holds no buffer: the goroutine waits for
// the socket to become readable (park) and takes buffers from a pool only then.
//
// Under TLS this needs care, since crypto/tls keeps bytes that it has read beyond the record it wanted, where nobody
// can see them: a connection could then wait for a socket that stays silent while a whole packet lies in memory. So
// source hands crypto/tls the records one by one (see Read), and what lies beyond is in our own buffer.
type source struct {
	nc  net.Conn // the socket
	raw syscall.RawConn
	app net.Conn // what the application reads and writes: nc, or the TLS connection on it

	cipher *[readBuffer]byte // TLS only; nil while empty
	r, w   int               // unread bytes in cipher
	need   int               // bytes until the end of the current part (header or body) of a record
	head   [5]byte
	got    int // bytes of head seen

	attempt *attempt // until the client has signed in

	full bool // the last read from crypto/tls filled the buffer given: it may hold more
}

func newSource(nc net.Conn, cfg *tls.Config) *source {
	s := &source{nc: nc, app: nc, need: 5}
	if sc, ok := nc.(syscall.Conn); ok && canPark {
		s.raw, _ = sc.SyscallConn()
	}
	if cfg != nil {
		s.app = tls.Server(record{Conn: nc, s: s}, cfg)
	}
	return s
}

func (s *source) tls() (*tls.Conn, bool) {
	c, ok := s.app.(*tls.Conn)
	return c, ok
}

// record is the socket as crypto/tls sees it.
type record struct {
	net.Conn
	s *source
}

func (r record) Read(p []byte) (int, error) { return r.s.readCipher(p) }

// readCipher gives at most the rest of the current part of a TLS record, so that crypto/tls never gets more than the
// record it is reading.
func (s *source) readCipher(p []byte) (int, error) {
	if s.cipher == nil {
		s.cipher = cipherBuffers.Get().(*[readBuffer]byte)
		s.r, s.w = 0, 0
	}
	if s.r == s.w {
		n, err := s.nc.Read(s.cipher[:])
		if n == 0 {
			s.free()
			return 0, err
		}
		s.r, s.w = 0, n
	}
	n := copy(p[:min(len(p), s.need)], s.cipher[s.r:s.w])
	if s.attempt != nil && s.got > len(s.head) {
		s.attempt.record(s.head, p[:n])
	}
	if s.got < len(s.head) {
		s.got += copy(s.head[s.got:], p[:n])
	}
	s.r += n
	if s.need -= n; s.need == 0 {
		// Either the header is complete and the body follows, or the body is and a header follows. A body can be empty.
		if body := int(binary.BigEndian.Uint16(s.head[3:])); s.got == len(s.head) && body > 0 {
			s.need, s.got = body, len(s.head)+1
		} else {
			s.need, s.got = len(s.head), 0
		}
	}
	s.free()
	return n, nil
}

func (s *source) free() {
	if s.cipher != nil && s.r == s.w {
		cipherBuffers.Put(s.cipher)
		s.cipher = nil
	}
}

// Read reads plain text. It implements io.Reader for the packet reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.app.Read(p)
	s.full = n == len(p)
	return n, err
}

// quiet reports that nothing is in memory: the next read would wait for the socket.
func (s *source) quiet() bool { return s.cipher == nil && !s.full }

// park waits until the socket is readable, without holding a buffer. It returns at once where that cannot be told.
func (s *source) park() error {
	if s.raw == nil || !s.quiet() {
		return nil
	}
	return waitReadable(s.raw)
}

// finish ends the connection in good order: the peer gets what was written and an end of stream. It then has a moment
// to read it, because closing a socket with unread input would reset it, and the reset can overtake and destroy what
// was sent. Must be called by the reader.
func (s *source) finish() {
	if t, ok := s.tls(); ok {
		_ = t.SetWriteDeadline(time.Now().Add(time.Second))
		_ = t.CloseWrite()
	}
	if h, ok := s.nc.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		s.nc.SetReadDeadline(time.Now().Add(time.Second))
		var waste [512]byte
		for {
			if _, err := s.nc.Read(waste[:]); err != nil {
				break
			}
		}
	}
	s.nc.Close()
}
