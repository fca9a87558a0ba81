package broker

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/listen"
)

var plainBuffers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, listen.ReadBuffer) }}

// source is a connection without the MQTT: see [listen.Conn], which holds no buffer while the client is silent.
type source struct {
	*listen.Conn
	nc  net.Conn // the socket
	app net.Conn // what the application writes to

	bytes   atomic.Int64 // that were read
	attempt *attempt     // until the client has signed in
}

func newSource(nc net.Conn, cfg *tls.Config) *source {
	c := listen.NewConn(nc, cfg)
	return &source{Conn: c, nc: c.Socket(), app: c}
}

func (s *source) tls() (*tls.Conn, bool) { return s.TLS() }
func (s *source) park() error            { return s.Park() }
func (s *source) finish()                { s.Finish() }

// Read reads what the client sends, and counts it.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.bytes.Add(int64(n))
	return n, err
}
