package listen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// serverTLS returns a configuration for localhost and one for its clients.
func serverTLS(t *testing.T, most uint16) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: most},
		&tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// Whatever the sizes of records and of the pieces they arrive in, a Conn gives the plain text, and never claims to be
// quiet while a part of it lies in memory.
func TestConnOverTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := serverTLS(t, version)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var want bytes.Buffer
		for i := range 200 {
			want.Write(bytes.Repeat([]byte{byte(i)}, i*i))
		}
		go func() {
			nc, err := tls.Dial("tcp", l.Addr().String(), client)
			if err != nil {
				return
			}
			defer nc.Close()
			for i, b := 0, want.Bytes(); len(b) > 0; i++ {
				n := min(len(b), 1+i*37%20_000)
				nc.Write(b[:n])
				b = b[n:]
				if i%5 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		nc, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s := NewConn(nc, server)
		nc.SetDeadline(time.Now().Add(30 * time.Second))
		var got bytes.Buffer
		buf := make([]byte, ReadBuffer)
		for {
			if err := s.Park(); err != nil {
				t.Fatal(err)
			}
			n, err := s.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("version %x: got %d bytes, want %d", version, got.Len(), want.Len())
		}
		nc.Close()
	}
}

// A peer that has ended the connection gets what was written before, and neither a reset nor a word more; a Conn keeps no
// buffer for what it will not read.
func TestFinishBehindAGoodbye(t *testing.T) {
	server, client := serverTLS(t, tls.VersionTLS13)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() {
		defer close(heard)
		tcp, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return
		}
		defer tcp.Close()
		_ = tcp.SetDeadline(time.Now().Add(30 * time.Second))
		c := tls.Client(tcp, client)
		_, _ = c.Write([]byte("goodbye"))
		_ = c.CloseWrite() // behind the last packet, and perhaps in one segment with it
		_ = tcp.(*net.TCPConn).CloseWrite()
		got, err := io.ReadAll(tcp) // a reset is an error
		if err != nil {
			heard <- err.Error()
		} else if len(got) > 0 {
			heard <- "something"
		}
	}()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	s := NewConn(nc, server)
	if _, err := io.ReadFull(s, make([]byte, len("goodbye"))); err != nil {
		t.Fatal(err)
	}
	// The end has come when a look at the socket finds the goodbye of TLS or, behind it, that.
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	s.Finish()
	if s.cipher != nil {
		t.Error("a buffer is held after the end")
	}
	if text, ok := <-heard; ok {
		t.Errorf("the peer heard %s", text)
	}
}

// What lies behind the last packet that is read is given up with its buffer.
func TestFinishGivesTheBufferBack(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := NewConn(ours, &tls.Config{})
	go func() { _, _ = theirs.Write([]byte{22, 3, 1, 0, 9, 1, 2, 3, 4}) }()
	if _, err := c.readCipher(make([]byte, 3)); err != nil || c.cipher == nil {
		t.Fatalf("err %v, a buffer: %t", err, c.cipher != nil)
	}
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	c.Finish()
	if c.cipher != nil {
		t.Error("a buffer is held after the end")
	}
}
