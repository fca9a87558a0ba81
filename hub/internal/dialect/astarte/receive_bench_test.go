package astarte

import (
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// ingest returns a connection that declares the interfaces of the tests, and a batch that is never submitted.
func ingest(tb testing.TB) (dialect.Link, string) {
	c := newRig(tb).all()
	c.d.cfg.Now = time.Now // what it costs belongs to the measurement
	return c.link, c.base
}

// each runs Receive as the broker does: some messages to a batch.
func each(n int, l dialect.Link, t *dialect.Topic, payload []byte) error {
	const messages = 128
	var b commit.Batch
	for i := range n {
		if i%messages == 0 {
			b.Reset()
		}
		if err := l.Receive(t, dialect.Publish{Payload: payload, QoS: 1}, &b); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkReceive(b *testing.B) {
	for name, m := range map[string]struct {
		topic   string
		payload []byte
	}{
		"blob128": {"/org.example.Temps/kitchen/raw", v(b, astartewire.TypeBinaryBlob, make([]byte, 128))},
		"double":  {"/org.example.Temps/kitchen/temp", v(b, astartewire.TypeDouble, 21.5)},
		"array16": {"/org.example.Temps/kitchen/many", v(b, astartewire.TypeIntegerArray, make16())},
		"object3": {"/org.example.Position/me", doc(map[string]any{"x": 1, "y": 2, "label": "somewhere"})},
	} {
		b.Run(name, func(b *testing.B) {
			l, base := ingest(b)
			t := &dialect.Topic{Name: base + m.topic}
			b.SetBytes(int64(len(m.payload)))
			b.ReportAllocs()
			b.ResetTimer()
			if err := each(b.N, l, t, m.payload); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func make16() []any {
	a := make([]any, 16)
	for i := range a {
		a[i] = int64(i)
	}
	return a
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	l, base := ingest(t)
	for name, payload := range map[string][]byte{
		"/org.example.Temps/kitchen/raw":  v(t, astartewire.TypeBinaryBlob, make([]byte, 128)),
		"/org.example.Temps/kitchen/temp": v(t, astartewire.TypeDouble, 21.5),
		"/org.example.Temps/kitchen/text": v(t, astartewire.TypeString, strings.Repeat("x", 100)),
		"/org.example.Temps/kitchen/many": v(t, astartewire.TypeIntegerArray, make16()),
		"/org.example.Position/me":        doc(map[string]any{"x": 1, "y": 2, "label": "somewhere"}),
	} {
		topic := &dialect.Topic{Name: base + name}
		var b commit.Batch
		run := func() {
			b.Reset()
			for range 64 {
				if err := l.Receive(topic, dialect.Publish{Payload: payload, QoS: 1}, &b); err != nil {
					t.Fatal(err)
				}
			}
		}
		run()
		if n := testing.AllocsPerRun(50, run); n > 0 {
			t.Errorf("%s: %v allocations per 64 messages, want none", name, n)
		}
	}
}
