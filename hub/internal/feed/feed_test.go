package feed

import (
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// What lines do with storage, and over several connections, is tested where dialects use them: TestMaxChannels and
// TestBookkeeping of package mqtt, for instance.

func TestPut(t *testing.T) {
	f := New(Config{MaxChannels: 1, Now: time.Now})
	l := f.Line(core.DeviceKey{Tenant: "t", Dialect: "x", ID: "d"}, 7)
	l.dev.series = map[string]*core.Series{}
	ch, err := l.Channel("a")
	if err != nil || ch == Unstored {
		t.Fatalf("got %v, %v", ch, err)
	}
	if again, err := l.Channel("a"); err != nil || again.series != ch.series {
		t.Errorf("the same topic again: got another series, %v", err)
	}
	if other, err := l.Channel("b"); err != nil || other != Unstored {
		t.Errorf("one channel too many: got %v, %v", other, err)
	}
	if other, err := l.Channel(string(make([]byte, maxChannelBytes+1))); err != nil || other != Unstored {
		t.Errorf("a long topic: got %v, %v", other, err)
	}
	var b commit.Batch
	l.Put(ch, 1, make([]byte, 32<<10), nil, &b)
	if l.scratch != nil {
		t.Errorf("%d bytes are kept for later", cap(l.scratch))
	}
}

func BenchmarkPut(b *testing.B) {
	for name, payload := range map[string]string{"number": "21.5", "object": `{"temp":21.5,"hum":40,"ok":true,"name":"pump-7"}`} {
		b.Run(name, func(b *testing.B) {
			l := New(Config{Now: time.Now}).Line(core.DeviceKey{}, 1)
			ch := &Channel{&core.Series{Device: 1, Channel: "pump-7/room/temp"}}
			var batch commit.Batch
			p := []byte(payload)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%100 == 0 {
					batch.Reset()
				}
				l.Put(ch, 16, p, nil, &batch)
			}
		})
	}
}
