// Package sensor builds and runs a small device program on our SDK, in a process of its own: for this machine, where its size, memory and speed are
// measured, and for others, whose processors are imitated.
package sensor

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/conformance/sensor/reading"
)

// Stripped are the flags of go build that leave out symbols and what debuggers need, as one does for devices.
var Stripped = []string{"-trimpath", "-ldflags=-s -w"}

// Build builds the program into the file out, for a target such as "linux/arm"; "" is this machine. The flags are those of go build.
func Build(ctx context.Context, out, target string, flags ...string) error {
	root, err := hubproc.Root()
	if err != nil {
		return err
	}
	args := append([]string{"build", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./sensor/program")...)
	cmd.Dir = filepath.Join(root, "conformance")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if system, processor, ok := strings.Cut(target, "/"); ok {
		cmd.Env = append(cmd.Env, "GOOS="+system, "GOARCH="+processor)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the sensor for %s: %w\n%s", target, err, text)
	}
	return nil
}

// A Device is the running program.
type Device struct {
	ID     string
	Outbox string        // where it keeps readings: "file" or "memory"
	Stored time.Duration // how long storing them took

	realm *astarteapi.Realm
	n     int
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Scanner
	log   strings.Builder
}

// Options are how the program is run. Command, Dir and Readings are required.
type Options struct {
	Command  []string // the program, perhaps behind what runs it
	Dir      string   // a folder for it alone
	Readings int
	Window   int // see astarte.Config.MaxInFlight
}

// Start registers a device and starts the program, which stores its readings and then waits. It is killed when ctx ends. The variables are what the hub
// tells clients of this platform.
func Start(ctx context.Context, vars map[string]string, o Options) (*Device, error) {
	realm, err := astarteapi.New(vars)
	if err != nil {
		return nil, err
	}
	if err := realm.Install(ctx, json.RawMessage(reading.Definition)); err != nil && astarteapi.Status(err) != 409 { // it is there
		return nil, err
	}
	d := &Device{ID: astarte.RandomDeviceID(), realm: realm, n: o.Readings}
	secret, err := realm.Register(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	args := append(o.Command[1:len(o.Command):len(o.Command)], "-dir", o.Dir, "-n", strconv.Itoa(o.Readings), "-window", strconv.Itoa(o.Window))
	d.cmd = exec.CommandContext(ctx, o.Command[0], args...)
	d.cmd.Env = append(os.Environ(), "SENSOR_DEVICE_ID="+d.ID, "SENSOR_SECRET="+secret)
	for _, name := range []string{"FAIRLEAD_CA", "ASTARTE_PAIRING_URL", "ASTARTE_REALM"} {
		d.cmd.Env = append(d.cmd.Env, name+"="+vars[name])
	}
	d.cmd.Stderr = &d.log
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewScanner(out)
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err = fmt.Sscan(d.line("outbox"), &d.Outbox); err == nil {
		d.Stored, err = d.took("stored")
	}
	if err != nil {
		return nil, d.failed(err)
	}
	return d, nil
}

// line returns the rest of the next line that the program prints, "" if it has another word or there is none.
func (d *Device) line(word string) string {
	if !d.out.Scan() {
		return ""
	}
	rest, _ := strings.CutPrefix(d.out.Text(), word+" ")
	return rest
}

func (d *Device) took(word string) (time.Duration, error) {
	var n int
	var seconds float64
	if _, err := fmt.Sscan(d.line(word), &n, &seconds); err != nil || n != d.n {
		return 0, fmt.Errorf("no line %q of %d readings: %v", word, d.n, err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// failed ends the program and says what it has said.
func (d *Device) failed(err error) error {
	_ = d.cmd.Process.Kill()
	return fmt.Errorf("sensor: %w (%v)\n%s", err, d.cmd.Wait(), d.log.String()) // Wait: until all is written
}

// PID returns the process id.
func (d *Device) PID() int { return d.cmd.Process.Pid }

// Drain lets the program connect, and waits until the hub has acknowledged everything. It returns how long that took from the connection on.
func (d *Device) Drain() (time.Duration, error) {
	if _, err := io.WriteString(d.in, "go\n"); err != nil {
		return 0, d.failed(err)
	}
	d.line("connected")
	took, err := d.took("drained")
	if err != nil {
		return 0, d.failed(err)
	}
	return took, nil
}

// Stop ends the program in order.
func (d *Device) Stop() error {
	_ = d.in.Close() // that is how it learns
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("sensor: %w\n%s", err, d.log.String())
	}
	return nil
}

// Verify reads back what the hub has: every reading at least once, those of one producer in order.
func (d *Device) Verify(ctx context.Context) error {
	const page = 10_000
	var next [reading.Producers]uint64
	for p := range next {
		next[p] = uint64(p)
	}
	missing, since := d.n, time.Time{}
	for missing > 0 {
		samples, err := d.realm.Samples(ctx, d.ID, reading.Interface, reading.Path, since, page)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		before := missing
		for _, s := range samples {
			n, err := number(s.Value)
			if err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			switch want := &next[n%reading.Producers]; {
			case n > *want:
				return fmt.Errorf("read back: reading %d is missing, next of its producer is %d", *want, n)
			case n == *want: // else it is of the page before, or was sent twice
				*want += reading.Producers
				missing--
			}
			since = s.Timestamp
		}
		if missing == before {
			return fmt.Errorf("read back: %d of %d readings are missing", missing, d.n)
		}
	}
	return nil
}

func number(value json.RawMessage) (uint64, error) {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return 0, err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return 0, err
	}
	n, ok := reading.Number(b)
	if !ok {
		return 0, errors.New("a value that was never sent")
	}
	return n, nil
}
