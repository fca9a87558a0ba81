// Bench compares the hub with a mosquitto on the same machine, in the same run, under the same load, and with the
// yardstick where a checkout of it is named. The hub checks each message and syncs it to disk before it acknowledges it;
// mosquitto keeps nothing. It also measures the device's half: the outbox, and a small program on the SDK. See docs/performance.md for what is measured and how.
//
//	bench/run                      everything, three rounds
//	bench/run -only 8x100 -d 3s    one scenario
//	bench/run -json result.json    also write all numbers
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/machine"
	"github.com/fairlead-iot/fairlead/bench/internal/rival"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
)

// options are the flags.
type options struct {
	measure, warm time.Duration
	quiet         time.Duration
	rounds        int
	most          int
	only          string
	dir, binary   string
	json, profile string
	yardstick     string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	flag.DurationVar(&o.measure, "d", 2*time.Second, "how long to measure each server in each round")
	flag.DurationVar(&o.warm, "warm", time.Second, "how long to warm up before")
	flag.DurationVar(&o.quiet, "quiet", 5*time.Second, "how long to wait, before each measurement, for others to leave the machine alone")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; medians are printed")
	flag.IntVar(&o.most, "n", 20_000_000, "at most this many messages to one server in one round")
	flag.StringVar(&o.only, "only", "", "scenarios to run, separated by commas: "+scenarioNames())
	flag.StringVar(&o.dir, "dir", "", "folder on the disk to measure (default: a temporary folder that is not in memory)")
	flag.StringVar(&o.binary, "hub", os.Getenv("FAIRLEAD_BIN"), "built hub (default: build one; or FAIRLEAD_BIN)")
	flag.StringVar(&o.json, "json", "", "file for all numbers")
	flag.StringVar(&o.profile, "profile", "", "folder for processor profiles of the hub, one for each scenario")
	flag.StringVar(&o.yardstick, "yardstick", os.Getenv("FAIRLEAD_YARDSTICK"), "checkout of the yardstick (or FAIRLEAD_YARDSTICK)")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.measure <= 0 || o.most < 1 {
		flag.Usage()
		os.Exit(2)
	}
	debug.SetGCPercent(400) // collecting our own garbage takes time that would seem to be the servers'
	list, err := pick(o.only)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := workDir(o.dir)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := start(ctx, o, dir)
	if err != nil {
		return err
	}
	defer b.stop()
	rep := &report{Machine: machine.Describe(), Mosquitto: b.mosquitto.Version(), Date: time.Now().UTC(), Seconds: o.measure.Seconds()}
	if rep.FileSystem, _, err = machine.FileSystem(dir); err != nil {
		return err
	}
	fmt.Printf("%s; disk: %s; %s\n", rep.Machine, rep.FileSystem, rep.Mosquitto)
	for _, s := range list {
		fmt.Printf("\n%s: %s\n", s.name, s.text)
		res := &result{Name: s.name, Text: s.text, Unit: s.unit, Less: s.less}
		rep.Results = append(rep.Results, res)
		if err := s.run(ctx, b, res); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	rep.DatabaseBytes, rep.HubResident = size(b.hub.DataDir), machine.Resident(b.hub.PID())
	fmt.Println()
	rep.print(os.Stdout)
	if err := b.hub.Stop(); err != nil {
		return err
	}
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(text, '\n'), 0o644)
}

// workDir makes a folder on a real disk: durability in memory costs nothing and would prove nothing.
func workDir(wanted string) (string, error) {
	candidates := []string{wanted}
	if wanted == "" {
		here, err := os.Getwd()
		if err != nil {
			return "", err
		}
		candidates = []string{os.TempDir(), "/var/tmp", here}
	}
	for _, c := range candidates {
		name, onDisk, err := machine.FileSystem(c)
		switch {
		case err != nil && wanted != "":
			return "", err
		case err == nil && !onDisk && wanted != "":
			return "", fmt.Errorf("-dir %s is in memory (%s)", wanted, name)
		case err == nil && onDisk:
			return os.MkdirTemp(c, "fairlead-bench-")
		}
	}
	return "", fmt.Errorf("no folder on a disk among %s; choose one with -dir", strings.Join(candidates, ", "))
}

// size returns the bytes of all files below dir.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// A bench has all servers running.
type bench struct {
	options
	dir string
	hub *hubproc.Hub
	pki *rival.PKI

	mosquitto       *rival.Mosquitto
	mosquittoServer *rival.Server
	yardstick       *rival.Yardstick // nil: there is none
	yardstickServer *rival.Server

	fleet    *fleet
	subjects map[string]*subject
	absent   map[string]string // why others cannot be measured
}

func start(ctx context.Context, o options, dir string) (_ *bench, err error) {
	// Thousands of connections, on both ends; set here, it holds for the servers as well.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, err
	}
	files.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	if b.pki, err = rival.NewPKI(dir); err != nil {
		return nil, err
	}
	if b.mosquitto, err = rival.FindMosquitto(); err != nil {
		return nil, err
	}
	if b.mosquittoServer, err = b.mosquitto.Start(ctx, b.pki); err != nil {
		return nil, err
	}
	b.yardstick, err = rival.BuildYardstick(ctx, o.yardstick, filepath.Join(dir, "yardstick"))
	if err == nil {
		b.yardstickServer, err = b.yardstick.Start(ctx, b.pki, dir)
	}
	if err != nil && !errors.Is(err, rival.ErrNoYardstick) {
		return nil, err
	}
	if b.hub, b.fleet, err = b.startHub(ctx, filepath.Join(dir, "hub")); err != nil {
		return nil, err
	}
	b.makeSubjects()
	return b, nil
}

// startHub starts a hub on a fresh folder. It returns the hub, for others to stop, also when it is of no use.
func (b *bench) startHub(ctx context.Context, dir string) (*hubproc.Hub, *fleet, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, err
	}
	hub, err := hubproc.New(b.binary, dir)
	if err != nil {
		return nil, nil, err
	}
	plain, err := hubproc.FreePorts(1)
	if err != nil {
		return nil, nil, err
	}
	hub.Args = []string{"--mqtt-plain-port", strconv.Itoa(plain[0]), "--mqtt-anonymous"}
	if b.options.profile != "" {
		hub.Env = []string{"FAIRLEAD_BENCH_PROFILE=" + b.profileFile()}
	}
	if err := hub.Start(); err != nil {
		return nil, nil, err
	}
	if err := hub.AwaitReady(ctx, 30*time.Second); err != nil {
		return hub, nil, err
	}
	f, err := openFleet(ctx, hub, fmt.Sprintf("127.0.0.1:%d", plain[0]))
	return hub, f, err
}

func (b *bench) stop() {
	if b.hub != nil {
		_ = b.hub.Kill() // stopped in order before, unless something failed
	}
	b.mosquittoServer.Stop()
	b.yardstickServer.Stop()
}
