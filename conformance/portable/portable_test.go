// Package portable checks that the device's half runs on what devices are: it compiles for other systems and processors, and a device program for 32-bit ARM talks
// to a hub.
package portable

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/conformance/sensor"
)

// patience is for compilers and imitated processors on a busy machine.
const patience = 10 * time.Minute

// TestCompiles builds the device program for other systems and processors; for MIPS it has no outbox in a file.
func TestCompiles(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, target := range []string{"linux/arm64", "linux/mipsle", "windows/amd64", "darwin/arm64"} { // linux/arm even runs, below
		t.Run(target, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "sensor")
			if err := sensor.Build(ctx, out, target, sensor.Stripped...); err != nil {
				t.Fatal(err)
			}
			file, err := os.Stat(out)
			if err != nil {
				t.Fatal(err)
			}
			if most := int64(15_000_000); file.Size() > most {
				t.Errorf("got %d bytes, want no more than %d", file.Size(), most)
			}
		})
	}
}

// TestPackagesOnARM runs the device's packages' own tests on an imitated ARM processor: it has 32 bits, and is slow.
func TestPackagesOnARM(t *testing.T) {
	imitator := emulator(t, "arm")
	root, err := hubproc.Root()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-short", "-exec", imitator,
		"./outbox/...", "./identity", "./internal/durable", "./internal/mqtt/mqttclient", "./internal/engine", "./astarte")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm", "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestARM runs the device program on an imitated ARM processor, with a file for an outbox.
func TestARM(t *testing.T) { talk(t, "linux/arm", "arm", "file") }

// TestMIPS runs it on an imitated MIPS processor, where there is no SQLite: it keeps readings in memory, and says so.
func TestMIPS(t *testing.T) { talk(t, "linux/mipsle", "mipsel", "memory") }

// talk has the program for a target send readings to a hub.
func talk(t *testing.T, target, processor, kept string) {
	imitator := emulator(t, processor)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir := t.TempDir()
	program := filepath.Join(dir, "sensor")
	if err := sensor.Build(ctx, program, target, sensor.Stripped...); err != nil {
		t.Fatal(err)
	}
	d, err := sensor.Start(ctx, hub(ctx, t, dir), sensor.Options{Command: []string{imitator, program}, Dir: filepath.Join(dir, "device"), Readings: 500})
	if err != nil {
		t.Fatal(err)
	}
	if d.Outbox != kept {
		t.Errorf("got an outbox in %s, want %s", d.Outbox, kept)
	}
	if _, err := d.Drain(); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(ctx); err != nil {
		t.Error(err)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
}

// hub starts one, and returns what it tells clients.
func hub(ctx context.Context, t *testing.T, dir string) map[string]string {
	t.Helper()
	binary := os.Getenv("FAIRLEAD_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "fairlead")
		if err := hubproc.Build(ctx, binary); err != nil {
			t.Fatal(err)
		}
	}
	h, err := hubproc.New(binary, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := h.AwaitReady(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	vars, err := h.Variables(ctx, "astarte")
	if err != nil {
		t.Fatal(err)
	}
	return vars
}

// emulator returns what runs programs for a processor: qemu, in one of the two forms that Debian has.
func emulator(t *testing.T, processor string) string {
	t.Helper()
	for _, form := range []string{"qemu-%s-static", "qemu-%s"} {
		if path, err := exec.LookPath(fmt.Sprintf(form, processor)); err == nil {
			return path
		}
	}
	const hint = "there is no qemu to run programs for %s (Debian has it in qemu-user-static)"
	if os.Getenv("CI") == "true" {
		t.Fatalf(hint, processor)
	}
	t.Skipf(hint, processor)
	return ""
}
