package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairlead-iot/fairlead/conformance/hubproc"
)

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

// build sees to it that there is a hub to run.
func (b *bench) build(ctx context.Context) (err error) {
	if b.options.profile != "" {
		if b.options.profile, err = filepath.Abs(b.options.profile); err != nil {
			return err
		}
		if err := os.MkdirAll(b.options.profile, 0o755); err != nil {
			return err
		}
	}
	if b.binary != "" && b.options.profile == "" {
		b.binary, err = filepath.Abs(b.binary)
		return err
	}
	b.binary = filepath.Join(b.dir, "fairlead")
	fmt.Println("building the hub …")
	return buildHub(ctx, b.binary, b.dir, b.options.profile != "")
}

// buildHub builds the hub, if wanted with the profiler laid over its sources.
func buildHub(ctx context.Context, out, dir string, profiled bool) error {
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
