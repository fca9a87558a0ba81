// Package rival runs the servers that the hub is compared with.
package rival

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/hubproc"
)

// A Server is a running rival.
type Server struct {
	TLSAddr, PlainAddr string

	cmd *exec.Cmd
}

// start starts what command makes of two free addresses and waits until it listens on both.
func start(ctx context.Context, command func(plain, tls string) (*exec.Cmd, error)) (*Server, error) {
	ports, err := hubproc.FreePorts(2)
	if err != nil {
		return nil, err
	}
	s := &Server{PlainAddr: fmt.Sprintf("127.0.0.1:%d", ports[0]), TLSAddr: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	if s.cmd, err = command(s.PlainAddr, s.TLSAddr); err != nil {
		return nil, err
	}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for _, addr := range []string{s.PlainAddr, s.TLSAddr} {
		if err := await(ctx, addr); err != nil {
			s.Stop()
			return nil, fmt.Errorf("%s does not listen: %w", s.cmd.Path, err)
		}
	}
	return s, nil
}

func await(ctx context.Context, addr string) (err error) {
	for range 200 {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(25 * time.Millisecond):
		}
	}
	return err
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr) // our own
	return p
}

// PID returns the process id, 0 if there is no process.
func (s *Server) PID() int {
	if s == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Stop ends the process.
func (s *Server) Stop() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it has nothing to save
	_ = s.cmd.Wait()
}
