// Package machine reads what Linux tells about processes, processors and disks.
package machine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor times in /proc (USER_HZ, 100 on every architecture that Go runs on).
const tick = 10 * time.Millisecond

// CPU returns the processor time that a process has used, in all its threads.
func CPU(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]) // the name before may hold anything
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f))
	}
	return ticks(f[11]) + ticks(f[12]), nil
}

func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * tick
}

// Resident returns the memory that a process has in use, in bytes.
func Resident(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// Peak returns the most memory that a process has had in use, in bytes.
func Peak(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// A Usage is the time that all processors together have spent, since the machine was started.
type Usage struct {
	Busy   time.Duration // for anybody on this machine
	Stolen time.Duration // for other guests of a shared host
	All    time.Duration
}

// Processors returns the usage so far.
func Processors() Usage {
	var u Usage
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		if i == 0 || i > 8 {
			continue
		}
		t := ticks(f)
		u.All += t
		switch i {
		case 4, 5: // idle, waiting for a disk
		case 8:
			u.Stolen += t
		default:
			u.Busy += t
		}
	}
	return u
}

// AwaitIdle waits until nobody has used more than a tenth of the machine for a second, or for limit. It returns whether
// the machine is idle.
func AwaitIdle(ctx context.Context, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; {
		before := Processors()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return false
		}
		after := Processors()
		if 10*(after.Busy-before.Busy) < after.All-before.All {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// Self returns the processor time of this process.
func Self() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // cannot fail for ourselves
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Describe returns the class of the machine, without its name.
func Describe() string {
	model := runtime.GOARCH
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	var info syscall.Sysinfo_t
	_ = syscall.Sysinfo(&info)
	memory := float64(info.Totalram) * float64(info.Unit) / (1 << 30)
	return fmt.Sprintf("%d cores (%s), %.0f GiB, Linux, %s", runtime.NumCPU(), model, memory, runtime.Version())
}

// inMemory are file systems that keep nothing on a disk.
var inMemory = []string{"tmpfs", "ramfs"}

// names of file systems by the magic number of statfs(2).
var names = map[int64]string{
	0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x01021994: "tmpfs", 0x858458f6: "ramfs",
	0x794c7630: "overlayfs", 0x2fc12fc1: "zfs", 0xf2f52010: "f2fs", 0x6969: "nfs",
}

// FileSystem returns the type of the file system that holds a folder, and whether a disk is behind it.
func FileSystem(dir string) (name string, onDisk bool, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "", false, fmt.Errorf("file system of %s: %w", dir, err)
	}
	name, ok := names[int64(st.Type)&0xffffffff]
	if !ok {
		name = fmt.Sprintf("type %#x", st.Type)
	}
	return name, !slices.Contains(inMemory, name), nil
}

// Free returns how many bytes a user may still write to the file system that holds a folder.
func Free(dir string) int64 {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// Settle writes out what is dirty, so that one measurement does not pay for the one before.
func Settle() { syscall.Sync() }

// Syncs are how often per second a disk alone makes 256 bytes durable, one after the other: no server that syncs each
// message on its own can be faster for a client that waits. Both use fdatasync.
type Syncs struct {
	Growing float64 `json:"growing"`  // bytes are appended to a file: its new length is synced, too
	InPlace float64 `json:"in_place"` // bytes overwrite those of a file that is long enough, as SQLite's log does
}

// inPlace is the size of the file that is overwritten again and again.
const inPlace = 16 << 20

// MeasureSync measures the disk that holds dir, with a file of its own, each way for d.
func MeasureSync(dir string, d time.Duration) (s Syncs, err error) {
	f, err := os.Create(filepath.Join(dir, "sync.tmp"))
	if err != nil {
		return s, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if s.Growing, err = syncRate(f, 1<<62, d); err != nil {
		return s, err
	}
	if _, err := f.WriteAt(make([]byte, inPlace), 0); err != nil {
		return s, err
	}
	if err := f.Sync(); err != nil {
		return s, err
	}
	s.InPlace, err = syncRate(f, inPlace, d)
	return s, err
}

// syncRate writes from the beginning of the file on, again when it has come to limit.
func syncRate(f *os.File, limit int64, d time.Duration) (float64, error) {
	row := make([]byte, 256)
	n, at, start := 0, int64(0), time.Now()
	for time.Since(start) < d {
		if at+int64(len(row)) > limit {
			at = 0
		}
		if _, err := f.WriteAt(row, at); err != nil {
			return 0, err
		}
		at += int64(len(row))
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(start).Seconds(), nil
}
