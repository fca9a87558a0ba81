// The sensor is a small device program, as a newcomer would write it: it keeps readings in an outbox, connects, and is done with them when the platform has them
// on disk. Package sensor builds and runs it, on this machine and for others; its size and memory are measured by package bench.
//
// It prints a line after each step and waits for a line before it connects, and for the end of its input before it ends.
package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/conformance/sensor/reading"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "sensor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir := flag.String("dir", "", "folder of the device")
	count := flag.Int("n", 1000, "readings to send")
	window := flag.Int("window", 0, "how many are sent without having been acknowledged (0: the SDK's default)")
	flag.Parse()

	box, kept, err := openOutbox(ctx, *dir, *count)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	fmt.Fprintln(os.Stdout, "outbox", kept)

	ca, err := os.ReadFile(os.Getenv("FAIRLEAD_CA"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	connected := make(chan struct{})
	var once sync.Once
	device, err := astarte.New(astarte.Config{
		PairingURL: os.Getenv("ASTARTE_PAIRING_URL"), Realm: os.Getenv("ASTARTE_REALM"),
		DeviceID: os.Getenv("SENSOR_DEVICE_ID"), CredentialsSecret: identity.NewSecret(os.Getenv("SENSOR_SECRET")),
		Dir: *dir, Outbox: box, RootCAs: roots, MaxInFlight: *window,
		Interfaces: []*astarte.Interface{astarte.MustParseInterface(reading.Definition)},
		OnConnection: func(c astarte.Connection) {
			if c.State == astarte.Connected {
				once.Do(func() { close(connected) })
			} else if c.Err != nil {
				fmt.Fprintln(os.Stderr, "sensor: not connected:", c.Err)
			}
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()

	begun := time.Now()
	if err := measure(ctx, device, *count); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "stored", *count, time.Since(begun).Seconds())
	input := bufio.NewScanner(os.Stdin)
	input.Scan() // go

	running, stop := context.WithCancel(ctx)
	var ended sync.WaitGroup
	ended.Go(func() { _ = device.Run(running) }) // ends when it is told to
	defer ended.Wait()
	defer stop()
	<-connected
	begun = time.Now()
	fmt.Fprintln(os.Stdout, "connected")
	if err := device.Flush(ctx); err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "drained", *count, time.Since(begun).Seconds())
	for input.Scan() { // until it is closed
	}
	return nil
}

// openOutbox opens one in a file, or in memory where there is no SQLite.
func openOutbox(ctx context.Context, dir string, count int) (box *outbox.Outbox, kept string, err error) {
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(dir, "outbox.db")})
	kept = "file"
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Fprintln(os.Stderr, "sensor: readings are lost when this program ends:", err)
		store, err, kept = outbox.NewMemory(), nil, "memory"
	}
	if err != nil {
		return nil, "", err
	}
	box, err = outbox.Open(ctx, outbox.Config{Store: store, MaxMessages: count, MaxBytes: 1 << 30})
	return box, kept, err
}

// measure puts readings into the outbox.
func measure(ctx context.Context, device *astarte.Device, count int) error {
	var producers sync.WaitGroup
	errs := make([]error, reading.Producers)
	for p := range reading.Producers {
		producers.Go(func() {
			for n := p; n < count && errs[p] == nil; n += reading.Producers {
				errs[p] = device.Send(ctx, reading.Interface, reading.Path, reading.Value(uint64(n)), nil)
			}
		})
	}
	producers.Wait()
	return errors.Join(errs...)
}
