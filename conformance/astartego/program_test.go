package astartego

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// programVariable holds the configuration of the device's program, which is this test's binary, started again.
const programVariable = "FAIRLEAD_DEVICE_PROGRAM"

// programConfig is what the device's program is told.
type programConfig struct {
	PairingURL, Realm, ID, Secret, Dir string
	HubRoot, TapRoot                   []byte // certificates, DER
	Tap                                string // address
	Life                               int    // numbers begin with it
	Room                               int    // of the outbox
	Window                             int
	Drain                              bool // send nothing more, wait until everything has arrived, and end
	// Sabotage makes the program break its promise, so that the test of it is tested: "lose" a message that was accepted, "keep" what was deleted, or
	// "swap" the order.
	Sabotage string
}

// The channels, and the letters that stand for them in what the program prints.
var channelPaths = map[string]string{"g": "/guaranteed", "u": "/unique"}

const numbersPerLife = 1_000_000

// program is a device that sends as fast as it can, until it is killed. It prints a line, at once and whole, for everything that it could rely on: "A g 7" when a value was accepted,
// "D g 7" when the outbox has deleted it, "P 7" when a property was accepted, "F" when the outbox was full, and "E" when it ends in order.
func program() int {
	go func() { // ends with the test, however that ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(4)
	}()
	var c programConfig
	err := json.Unmarshal([]byte(os.Getenv(programVariable)), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	say("E")
	return 0
}

// say prints a line. A pipe takes lines of this length whole.
func say(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) }

func (c *programConfig) run() error {
	box, err := c.outbox()
	if err != nil {
		return err
	}
	device, err := c.device(box)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- device.Run(ctx) }()
	if !c.Drain {
		failed := make(chan error, 3)
		for letter, path := range channelPaths {
			go func() { failed <- c.produce(ctx, device, letter, path) }()
		}
		go func() { failed <- c.setProperties(ctx, device) }()
		return <-failed
	}
	if err := device.Flush(ctx); err != nil {
		return err
	}
	cancel()
	return errors.Join(<-ended, device.Close(), box.Close())
}

func (c *programConfig) device(box *outbox.Outbox) (*astarte.Device, error) {
	kept, err := astarte.ParseInterface([]byte(deviceKept))
	if err != nil {
		return nil, err
	}
	properties, err := astarte.LoadInterface("../astarte/interfaces/" + prefix + "DeviceProperties.json")
	if err != nil {
		return nil, err
	}
	pool := func(der []byte) (*x509.CertPool, error) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		p := x509.NewCertPool()
		p.AddCert(cert)
		return p, nil
	}
	hub, err := pool(c.HubRoot)
	if err != nil {
		return nil, err
	}
	tap, err := pool(c.TapRoot)
	if err != nil {
		return nil, err
	}
	return astarte.New(astarte.Config{
		PairingURL: c.PairingURL, Realm: c.Realm, DeviceID: c.ID, CredentialsSecret: identity.NewSecret(c.Secret), Dir: filepath.Join(c.Dir, "device"),
		Interfaces: []*astarte.Interface{kept, properties}, Outbox: box, MaxInFlight: c.Window, RootCAs: tap,
		HTTP: &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: hub}}},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Tap)
		},
		MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond,
	})
}

// produce sends as fast as the outbox takes it.
func (c *programConfig) produce(ctx context.Context, d *astarte.Device, letter, path string) error {
	for n := c.Life * numbersPerLife; ; n++ {
		for {
			err := d.Send(ctx, kept1, path, n, nil)
			if err == nil {
				break
			}
			if !errors.Is(err, fairlead.ErrFull) {
				return err
			}
			say("F")
			time.Sleep(time.Millisecond)
		}
		say("A %s %d", letter, n)
	}
}

func (c *programConfig) setProperties(ctx context.Context, d *astarte.Device) error {
	for n := c.Life * numbersPerLife; ; n++ {
		if err := d.SetProperty(ctx, prefix+"DeviceProperties", "/longinteger_endpoint", n); err != nil {
			return err
		}
		say("P %d", n)
		time.Sleep(5 * time.Millisecond)
	}
}

const kept1 = prefix + "DeviceKept"

func (c *programConfig) outbox() (*outbox.Outbox, error) {
	ctx := context.Background()
	file, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: filepath.Join(c.Dir, "outbox.db")})
	if err != nil {
		return nil, err
	}
	s := &witness{Store: file, names: map[uint64]string{}, sabotage: c.Sabotage}
	if err := file.Scan(ctx, 0, 1<<63-1, func(r outbox.Record) bool { s.names[r.Key] = nameOf(&r); return true }); err != nil {
		return nil, err
	}
	return outbox.Open(ctx, outbox.Config{Store: s, MaxMessages: c.Room})
}

// A witness is a store that tells what it has deleted.
type witness struct {
	outbox.Store
	sabotage string

	mu     sync.Mutex
	names  map[uint64]string // by key: "g 7"
	writes int
}

// nameOf is the name of a message in an outbox of ours.
func nameOf(r *outbox.Record) string {
	letter := "u"
	if strings.HasSuffix(string(r.Header), "/guaranteed") {
		letter = "g"
	}
	return fmt.Sprintf("%s %d", letter, valueOf(r.Payload))
}

// valueOf reads {"v": a long integer}, as we write it: BSON with an int64 or an int32 in it.
func valueOf(payload []byte) int64 {
	switch {
	case len(payload) == 16 && payload[4] == 0x12:
		return int64(binary.LittleEndian.Uint64(payload[7:]))
	case len(payload) == 12 && payload[4] == 0x10:
		return int64(int32(binary.LittleEndian.Uint32(payload[7:])))
	}
	return -1
}

// Write implements outbox.Store.
func (s *witness) Write(add []outbox.Record, remove []uint64) ([]outbox.Removed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range add {
		s.names[add[i].Key] = nameOf(&add[i])
	}
	removed, err := s.write(add, remove)
	if err != nil {
		return nil, err
	}
	for _, r := range removed {
		say("D %s", s.names[r.Key])
		delete(s.names, r.Key)
	}
	return removed, nil
}

func (s *witness) write(add []outbox.Record, remove []uint64) ([]outbox.Removed, error) {
	if len(add) > 0 {
		s.writes++
	}
	switch {
	case s.sabotage == "lose" && s.writes%50 == 10:
		add = nil
	case s.sabotage == "swap" && s.writes%50 == 10 && len(add) > 0:
		add = append([]outbox.Record(nil), add...)
		for i := range add {
			add[i].Payload = binary.LittleEndian.AppendUint64([]byte{16, 0, 0, 0, 0x12, 'v', 0}, uint64(valueOf(add[i].Payload)-20))
			add[i].Payload = append(add[i].Payload, 0)
		}
	case s.sabotage == "keep" && len(remove) > 0:
		var removed []outbox.Removed
		for _, k := range remove {
			removed = append(removed, outbox.Removed{Key: k})
		}
		_, err := s.Store.Write(add, nil)
		return removed, err
	}
	return s.Store.Write(add, remove)
}
