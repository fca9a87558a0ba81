// Package hubproc runs a hub as what its users run: the built binary, in a process of its own, on a folder of its own.
// Tests can kill it and start another process on the same folder and ports.
package hubproc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopPatience is how long an orderly stop may take before it is no longer orderly.
const stopPatience = 60 * time.Second

// Root returns the folder of the main module's sources.
func Root() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("find the sources: built without file names")
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	if _, err := os.Stat(filepath.Join(root, "cmd", "fairlead")); err != nil {
		return "", fmt.Errorf("find the sources: %w", err)
	}
	return root, nil
}

// Build builds the binary from this checkout's sources into the file out. The flags are those of go build.
func Build(ctx context.Context, out string, flags ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", out, "./cmd/fairlead")...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the hub: %w\n%s", err, text)
	}
	return nil
}

// A Hub is one data folder and two ports, with at most one process at a time. It is not safe for concurrent use, except
// where a method says so.
type Hub struct {
	Binary              string
	DataDir             string
	LogFile             string // what all processes print
	MQTTPort, HTTPSPort int
	Args                []string // added to those of `fairlead up`
	Env                 []string // added to the environment of the processes
	Wrap                []string // a command that runs the binary, in the same process: a tracer for instance

	cmd    *exec.Cmd
	exited chan struct{}
}

// New returns a hub in folder, on two free ports, that is not running yet.
func New(binary, folder string) (*Hub, error) {
	ports, err := FreePorts(2)
	if err != nil {
		return nil, err
	}
	return &Hub{
		Binary: binary, DataDir: filepath.Join(folder, "data"), LogFile: filepath.Join(folder, "hub.log"),
		MQTTPort: ports[0], HTTPSPort: ports[1],
	}, nil
}

// FreePorts returns n TCP ports of the loopback address that nobody listens on. They lie below the range from which
// kernels pick the ports of clients: a client that dials a closed port of its own machine again and again may get that
// very port as its source and so connect to itself, and the hub could not start again.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range 500 {
		p := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			continue
		}
		defer l.Close() // all at the end, so that they differ
		if ports = append(ports, p); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("find free ports between 20000 and 31999: none")
}

// MQTT returns the broker's address.
func (h *Hub) MQTT() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(h.MQTTPort)) }

// Start starts a process and does not wait for it to be ready.
func (h *Hub) Start() error {
	if h.cmd != nil {
		return errors.New("start the hub: it runs already")
	}
	log, err := os.OpenFile(h.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	line := append(slices.Clone(h.Wrap), h.Binary, "up", "--data-dir", h.DataDir, "--listen", "127.0.0.1",
		"--https-port", strconv.Itoa(h.HTTPSPort), "--mqtt-port", strconv.Itoa(h.MQTTPort))
	line = append(line, h.Args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LISTEN_") { // sockets that were meant for us are not the hub's
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, h.Env...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the hub: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the status is in cmd.ProcessState
		close(exited)
	}()
	h.cmd, h.exited = cmd, exited
	return nil
}

// AwaitReady waits until the process answers, as `fairlead status --wait` says.
func (h *Hub) AwaitReady(ctx context.Context, limit time.Duration) error {
	if h.cmd == nil {
		return errors.New("await the hub: it was not started")
	}
	ctx, cancel := context.WithTimeout(ctx, limit+10*time.Second)
	defer cancel()
	exited := h.exited
	go func() {
		select {
		case <-exited: // then there is nothing to wait for
			cancel()
		case <-ctx.Done():
		}
	}()
	text, err := exec.CommandContext(ctx, h.Binary, "status", "--data-dir", h.DataDir, "--wait", limit.String()).CombinedOutput()
	select {
	case <-exited:
		return fmt.Errorf("await the hub: it ended: %v\n%s", h.cmd.ProcessState, h.LogTail())
	default:
	}
	if err != nil {
		return fmt.Errorf("await the hub: %w: %s\n%s", err, text, h.LogTail())
	}
	return nil
}

// Variables returns what `fairlead env PLATFORM` tells clients.
func (h *Hub) Variables(ctx context.Context, platform string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.Binary, "env", platform, "--data-dir", h.DataDir, "--json")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fairlead env %s: %w: %s", platform, err, stderr.String())
	}
	vars := map[string]string{}
	if err := json.Unmarshal(text, &vars); err != nil {
		return nil, fmt.Errorf("fairlead env %s: %w", platform, err)
	}
	return vars, nil
}

// PID returns the process id, 0 if there is no process.
func (h *Hub) PID() int {
	if h.cmd == nil {
		return 0
	}
	return h.cmd.Process.Pid
}

// Exited is closed when the process has ended. It is nil if there is none.
func (h *Hub) Exited() <-chan struct{} { return h.exited }

// Kill ends the process at once, as a crash would (SIGKILL), and waits until it is gone. It returns an error if the
// process had ended by itself before.
func (h *Hub) Kill() error {
	if h.cmd == nil {
		return nil
	}
	defer func() { h.cmd, h.exited = nil, nil }()
	select {
	case <-h.exited:
		return fmt.Errorf("kill the hub: it had ended before: %v\n%s", h.cmd.ProcessState, h.LogTail())
	default:
	}
	if err := h.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the hub: %w", err)
	}
	<-h.exited
	return nil
}

// Stop ends the process in order (SIGTERM) and insists on exit status 0.
func (h *Hub) Stop() error {
	if h.cmd == nil {
		return nil
	}
	defer func() { h.cmd, h.exited = nil, nil }()
	_ = h.cmd.Process.Signal(syscall.SIGTERM) // if it has ended already, its status tells
	select {
	case <-h.exited:
	case <-time.After(stopPatience):
		_ = h.cmd.Process.Kill()
		<-h.exited
		return fmt.Errorf("stop the hub: still there after %v\n%s", stopPatience, h.LogTail())
	}
	if !h.cmd.ProcessState.Success() {
		return fmt.Errorf("stop the hub: %v\n%s", h.cmd.ProcessState, h.LogTail())
	}
	return nil
}

// LogTail returns the end of what the processes printed. It may be called at any time.
func (h *Hub) LogTail() string {
	f, err := os.Open(h.LogFile)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const tail = 4000
	if fi, err := f.Stat(); err == nil && fi.Size() > tail {
		_, _ = f.Seek(-tail, io.SeekEnd)
	}
	text, err := io.ReadAll(io.LimitReader(f, tail))
	if err != nil {
		return err.Error()
	}
	return "the end of the hub's log:\n" + string(text)
}
