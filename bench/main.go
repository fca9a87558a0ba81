// Bench compares the hub with a mosquitto on the same machine, in the same run, under the same load: QoS 1 ingest.
// The hub checks each message against the interface and syncs it to disk before it acknowledges it; mosquitto keeps
// nothing. See docs/performance.md for what is measured and how.
//
//	bench/run                      all loads, five rounds
//	bench/run -only 8x100 -d 3s    one load
//	bench/run -json result.json    also write all numbers
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/machine"
	"github.com/fairlead-iot/fairlead/bench/internal/mosquitto"
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
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var o options
	flag.DurationVar(&o.measure, "d", 5*time.Second, "how long to measure each server in each round")
	flag.DurationVar(&o.warm, "warm", time.Second, "how long to warm up before")
	flag.DurationVar(&o.quiet, "quiet", 20*time.Second, "how long to wait, before each measurement, for others to leave the machine alone")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds; medians are printed")
	flag.IntVar(&o.most, "n", 20_000_000, "at most this many messages to one server in one round")
	flag.StringVar(&o.only, "only", "", "loads to run, separated by commas: "+strings.Join(names(), ", "))
	flag.StringVar(&o.dir, "dir", "", "folder on the disk to measure (default: a temporary folder that is not in memory)")
	flag.StringVar(&o.binary, "hub", os.Getenv("FAIRLEAD_BIN"), "built hub (default: build one; or FAIRLEAD_BIN)")
	flag.StringVar(&o.json, "json", "", "file for all numbers")
	flag.StringVar(&o.profile, "profile", "", "folder for processor profiles of the hub, one for each load")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.measure <= 0 || o.most < 1 {
		flag.Usage()
		os.Exit(2)
	}
	loads, err := pick(o.only)
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
	rep := &report{Machine: machine.Describe(), Mosquitto: b.mosquittoVersion, Seconds: o.measure.Seconds()}
	if rep.FileSystem, _, err = machine.FileSystem(dir); err != nil {
		return err
	}
	fmt.Printf("%s; disk: %s; %s\n", rep.Machine, rep.FileSystem, rep.Mosquitto)
	for _, l := range loads {
		if err := b.measure(ctx, l, rep); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
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

// A bench has both servers running.
type bench struct {
	options
	dir              string
	hub              *hubproc.Hub
	devices          *devices
	mosquitto        *mosquitto.Server
	mosquittoVersion string
}

func start(ctx context.Context, o options, dir string) (_ *bench, err error) {
	path, err := mosquitto.Path()
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, dir: dir, mosquittoVersion: mosquitto.Version(path)}
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if b.options.profile != "" {
		if b.options.profile, err = filepath.Abs(b.options.profile); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(b.options.profile, 0o755); err != nil {
			return nil, err
		}
	}
	if b.binary == "" || b.options.profile != "" {
		b.binary = filepath.Join(dir, "fairlead")
		fmt.Println("building the hub …")
		if err := build(ctx, b.binary, dir, b.options.profile != ""); err != nil {
			return nil, err
		}
	} else if b.binary, err = filepath.Abs(b.binary); err != nil {
		return nil, err
	}
	ports, err := hubproc.FreePorts(2)
	if err != nil {
		return nil, err
	}
	if b.mosquitto, err = mosquitto.Start(ctx, path, dir, fmt.Sprint(ports[0]), fmt.Sprint(ports[1])); err != nil {
		return nil, err
	}
	if b.hub, err = hubproc.New(b.binary, dir); err != nil {
		return nil, err
	}
	if b.options.profile != "" {
		b.hub.Env = []string{"FAIRLEAD_BENCH_PROFILE=" + b.profileFile()}
	}
	if err := b.hub.Start(); err != nil {
		return nil, err
	}
	if err := b.hub.AwaitReady(ctx, 30*time.Second); err != nil {
		return nil, err
	}
	b.devices, err = openDevices(ctx, b.hub)
	return b, err
}

func (b *bench) stop() {
	if b.hub != nil {
		_ = b.hub.Kill() // stopped in order before, unless something failed
	}
	if b.mosquitto != nil {
		b.mosquitto.Stop()
	}
}

// profiler is added to the hub's sources when its processor time is to be profiled: the product has no such door.
const profiler = `package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

func init() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		var f *os.File
		for s := range c {
			if f != nil {
				pprof.StopCPUProfile()
				f.Close()
				f = nil
			}
			if s == syscall.SIGUSR1 {
				if f, _ = os.Create(os.Getenv("FAIRLEAD_BENCH_PROFILE")); f != nil {
					pprof.StartCPUProfile(f)
				}
			}
		}
	}()
}
`

// build builds the hub, if wanted with the profiler laid over its sources.
func build(ctx context.Context, out, dir string, profiled bool) error {
	if !profiled {
		return hubproc.Build(ctx, out)
	}
	root, err := hubproc.Root()
	if err != nil {
		return err
	}
	source, list := filepath.Join(dir, "profiler.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(source, []byte(profiler), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "cmd", "fairlead", "zz_profiler.go"): source,
	}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	return hubproc.Build(ctx, out, "-overlay", list)
}
