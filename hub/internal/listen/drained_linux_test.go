package listen

import (
	"net"
	"testing"
	"time"
)

// TestDrained: while a client does not read and its buffers are full, a write would wait.
func TestDrained(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := NewConn(nc, nil)
	await := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); c.Drained() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("drained is %v", !want)
			}
		}
	}
	await(true)
	if _, err := c.Write(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	await(true) // the client's kernel has it
	_ = nc.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	for err = nil; err == nil; {
		_, err = c.Write(make([]byte, 64<<10))
	}
	await(false)
	nc.Close()
	await(false)
}
