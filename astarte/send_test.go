package astarte

import (
	"testing"

	"github.com/fairlead-iot/fairlead/outbox"
)

// FuzzHeader reads headers of messages in an outbox, which may hold anybody's.
func FuzzHeader(f *testing.F) {
	f.Add(appendHeader(nil, header{2, 7, "org.example.Stored/stored"}))
	f.Add([]byte{headerVersion, 0, 0x80})
	f.Add([]byte(nil))
	d := &Device{base: "test/" + device, interfaces: capture(f)}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			return
		}
		if again, err := parseHeader(appendHeader(nil, h)); err != nil || again != h {
			t.Errorf("got %+v, %v, want %+v", again, err, h)
		}
		if p, err := d.decodeEntry(&outbox.Entry{Header: b}); err == nil && (p.QoS > 2 || len(p.Topic) <= len(d.base)) {
			t.Errorf("got %+v", p)
		}
	})
}
