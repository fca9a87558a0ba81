package load

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// An alarm wakes one goroutine in time. Go's own timers come up to a millisecond late in a process that is waiting for
// nothing else: epoll_wait counts in milliseconds. That would be measured as if the server were slow.
type alarm struct {
	timer *os.File
	seen  [8]byte
}

func newAlarm() (*alarm, error) {
	const monotonic = 1
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, fmt.Errorf("make a timer: %w", errno)
	}
	return &alarm{timer: os.NewFile(fd, "timer")}, nil
}

// until returns when it is that time; at once if it has passed.
func (a *alarm) until(t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return nil
	}
	raw, err := a.timer.SyscallConn()
	if err != nil {
		return err
	}
	once := [2]syscall.Timespec{1: syscall.NsecToTimespec(d.Nanoseconds())} // no interval
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&once)), 0, 0, 0)
	}); err != nil {
		return err
	}
	if errno != 0 {
		return fmt.Errorf("set a timer: %w", errno)
	}
	_, err = a.timer.Read(a.seen[:])
	return err
}

func (a *alarm) close() { a.timer.Close() }
