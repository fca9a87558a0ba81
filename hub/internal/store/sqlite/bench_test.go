package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// BenchmarkCommitLatency writes 200 MB without a pause, in transactions as a busy hub has them, and reports how long
// single commits took and how large the log became. The numbers behind wal.go come from here.
func BenchmarkCommitLatency(b *testing.B) {
	const transactions, blocks = 2000, 8
	for range b.N {
		dir := b.TempDir()
		s, err := Open(b.Context(), Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		list := make([]core.Block, blocks)
		for i := range list {
			list[i].Series = &core.Series{Device: core.DeviceNum(i), Channel: "c"}
			for k := range 100 {
				list[i].Add(int64(k), int64(k), core.AppendBytes(nil, make([]byte, 128)))
			}
		}
		took := make([]time.Duration, transactions)
		var size int64
		for i := range took {
			start := time.Now()
			if err := s.Update(func(tx store.Tx) error {
				for k := range list {
					if err := tx.AppendBlock(&list[k]); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			took[i] = time.Since(start)
			if st, err := os.Stat(filepath.Join(dir, dbFile+"-wal")); err == nil {
				size = max(size, st.Size())
			}
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		slices.Sort(took)
		ms := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1000 }
		b.ReportMetric(ms(0.5), "p50-ms")
		b.ReportMetric(ms(0.99), "p99-ms")
		b.ReportMetric(ms(0.999), "p99.9-ms")
		b.ReportMetric(ms(1), "max-ms")
		b.ReportMetric(float64(size)/(1<<20), "max-log-MiB")
	}
}

// BenchmarkOperations measures single operations within a transaction.
func BenchmarkOperations(b *testing.B) {
	payload := make([]byte, 128)
	device := core.Device{DeviceKey: core.DeviceKey{Tenant: "t", Dialect: "a", ID: "device"}}
	session := core.Session{Key: core.SessionKey{Tenant: "t", Dialect: "a", ClientID: "device"}}
	series := &core.Series{Device: 1, Channel: "c"}
	for _, c := range []struct {
		name string
		do   func(tx store.Tx, i int64) error
	}{
		{"AppendBlock", func(tx store.Tx, i int64) error {
			var k core.Block
			k.Series = series
			k.Add(i, i, payload)
			return tx.AppendBlock(&k)
		}},
		{"AddCount", func(tx store.Tx, i int64) error { return tx.AddCount(1, core.Count{Messages: 1, Bytes: 1}) }},
		{"Enqueue+Dequeue", func(tx store.Tx, i int64) error {
			if err := tx.Enqueue(core.Queued{Session: session.Num, Seq: i, Message: core.Message{Topic: "a/b/c", Payload: payload, QoS: 1}}); err != nil {
				return err
			}
			return tx.Dequeue(session.Num, i-100, i-100)
		}},
		{"PutEntry", func(tx store.Tx, i int64) error {
			return tx.PutEntry(core.DocumentKey{Device: 1, Name: "n"}, core.Entry{Path: "/a/b", Value: payload[:9]})
		}},
		{"AppendEvent", func(tx store.Tx, i int64) error {
			return tx.AppendEvent(&core.Event{Device: device.DeviceKey, Kind: core.DocumentChanged, Data: payload})
		}},
		{"UpdateDevice", func(tx store.Tx, i int64) error {
			device.Connected = i%2 == 0
			return tx.UpdateDevice(device)
		}},
		{"Device", func(tx store.Tx, i int64) error { _, err := tx.Device(device.DeviceKey); return err }},
		{"Savepoint", func(tx store.Tx, i int64) error { return tx.Savepoint(func() error { return nil }) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := opened(b, Config{})
			if err := s.Update(func(tx store.Tx) error {
				device.Num, session.Num = 0, 0
				return errors.Join(tx.InsertTenant(core.Tenant{ID: "t"}), tx.InsertDevice(&device), tx.InsertSession(&session))
			}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := 0; i < b.N; i += 1000 {
				if err := s.Update(func(tx store.Tx) error {
					for k := i; k < min(i+1000, b.N); k++ {
						if err := c.do(tx, int64(k+1)); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("View", func(b *testing.B) {
		s := opened(b, Config{})
		put(b, s, "k", payload)
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		b.ReportAllocs()
		for range b.N {
			if err := s.View(ctx, func(r store.Reader) error { _, err := r.Record("t", "a", "k"); return err }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSamples reads a series in blocks of different sizes.
func BenchmarkSamples(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("block=%d", size), func(b *testing.B) {
			s := opened(b, Config{})
			x := &core.Series{Device: 1, Channel: "c"}
			const n = 100_000
			if err := s.Update(func(tx store.Tx) error {
				for i := 0; i < n; i += size {
					var k core.Block
					k.Series = x
					for j := range size {
						k.Add(int64(i+j), int64(i+j), core.AppendFloat(nil, 1))
					}
					if err := tx.AppendBlock(&k); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			read := 0
			for read < b.N {
				if err := s.View(b.Context(), func(r store.Reader) error {
					for _, err := range r.Samples(x, core.Range{}) {
						if read++; err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
