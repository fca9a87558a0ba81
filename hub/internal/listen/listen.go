// Package listen gets the hub its listening sockets: opened here, or taken over from a service manager, so that they
// outlive the process and clients wait in the queue of the socket instead of being refused while the hub restarts.
package listen

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// PortError says that a port could not be had.
type PortError struct {
	Use     string // what the port is for: "MQTT", "HTTPS"
	Address string // "127.0.0.1:8883"
	Err     error  // of the operating system
}

func (e *PortError) Error() string {
	return fmt.Sprintf("listen on %s for %s: %v", e.Address, e.Use, reason(e.Err))
}

// Unwrap returns the operating system's error.
func (e *PortError) Unwrap() error { return e.Err }

// InUse reports whether somebody else has the port.
func (e *PortError) InUse() bool { return errors.Is(e.Err, syscall.EADDRINUSE) }

// Forbidden reports whether this user may not have the port.
func (e *PortError) Forbidden() bool { return errors.Is(e.Err, syscall.EACCES) }

// reason leaves out what [net.OpError] repeats of the address.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// TCP listens on the first of the ports that can be had on an address; port 0 is any free one. The next port is tried
// only when one is in use or forbidden, for nothing else is cured by another number. skipped holds what was wrong with
// the ports before the one that was taken.
func TCP(use, host string, ports ...int) (l net.Listener, skipped []*PortError, err error) {
	for _, port := range ports {
		addr := net.JoinHostPort(host, strconv.Itoa(port))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return l, skipped, nil
		}
		pe := &PortError{Use: use, Address: addr, Err: err}
		skipped = append(skipped, pe)
		if !pe.InUse() && !pe.Forbidden() {
			return nil, skipped, pe
		}
	}
	if len(skipped) == 0 {
		return nil, nil, fmt.Errorf("listen for %s: no port given", use)
	}
	return nil, skipped, skipped[len(skipped)-1]
}

// Port returns the port of a TCP listener, 0 if it is another kind of listener.
func Port(l net.Listener) int {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Local returns an address at which programs on this machine reach a TCP listener: one on every address is reached by
// the loopback.
func Local(l net.Listener) string {
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return l.Addr().String()
	}
	loopback := "127.0.0.1"
	if a.IP.To4() == nil {
		loopback = "::1"
	}
	return net.JoinHostPort(loopback, strconv.Itoa(a.Port))
}
