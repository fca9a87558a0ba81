package broker

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// panics counts what the broker has recovered from.
type panics struct{ n atomic.Int64 }

func (*panics) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (p *panics) WithAttrs([]slog.Attr) slog.Handler         { return p }
func (p *panics) WithGroup(string) slog.Handler              { return p }
func (p *panics) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panic") {
		p.n.Add(1)
	}
	return nil
}

// FuzzConnection feeds a stream of bytes to a connection, behind a CONNECT or instead of one. Whatever they are, nothing
// panics, the connection ends with the stream, and all that the server says is sound.
func FuzzConnection(f *testing.F) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		var b []byte
		for _, p := range []mqtt.Packet{
			&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "#", QoS: 2}, {Filter: "$share/g/+", QoS: 1}}},
			&mqtt.Publish{Topic: []byte("a"), QoS: 2, ID: 2, Payload: []byte("x"), TopicAlias: 1, Retain: true},
			&mqtt.Ack{Type: mqtt.TypePubRel, ID: 2}, &mqtt.Ack{Type: mqtt.TypePubRec, ID: 1}, &mqtt.Ack{Type: mqtt.TypePubComp, ID: 1},
			&mqtt.Publish{Topic: []byte("quota"), QoS: 1, ID: 3, MessageExpiry: mqtt.Some(uint32(1))}, &mqtt.Ack{Type: mqtt.TypePubAck, ID: 1},
			&mqtt.Unsubscribe{ID: 4, Filters: []string{"#"}}, &mqtt.PingReq{}, &mqtt.Auth{Code: mqtt.ReasonReauthenticate, Method: mqtt.Some("toy")},
			&mqtt.Disconnect{SessionExpiry: mqtt.Some(uint32(5)), Code: mqtt.ReasonDisconnectWithWill},
		} {
			if _, auth := p.(*mqtt.Auth); auth && v != mqtt.V5 {
				continue
			}
			b = p.Append(b, v)
			f.Add(uint8(v), true, p.Append(nil, v))
		}
		f.Add(uint8(v), true, b)
		hello := &mqtt.Connect{
			Version: v, ClientID: "pump", Username: "t", HasUsername: true, SessionExpiry: 10, MaximumPacketSize: 40, TopicAliasMaximum: 3,
			Will: &mqtt.Will{Topic: "gone", QoS: 1, Delay: 3},
		}
		f.Add(uint8(v), false, append(hello.Append(nil, v), b...))
	}
	log := &panics{}
	h := startHub(f, f.TempDir(), Config{Logger: slog.New(log)})
	limit := 30 * time.Second
	if flag.Lookup("test.fuzzworker").Value.String() == "true" {
		limit = 4 * time.Second // a worker is killed without a word when one input takes 10 s, so both waits together must be shorter
	}
	f.Fuzz(func(t *testing.T, version uint8, connected bool, stream []byte) {
		if strings.Contains(string(stream), "panic") {
			t.Skip() // the test dialect's own
		}
		v := mqtt.Version(version)
		if v < mqtt.V31 || v > mqtt.V5 {
			v = mqtt.V311
		}
		if connected {
			p := mqtt.Connect{Version: v, ClientID: "fuzz", Username: "t", HasUsername: true, CleanStart: len(stream)%2 == 0, SessionExpiry: 2}
			stream = append(p.Append(nil, v), stream...)
		} else if len(stream) > 9 && stream[0] == 0x10 {
			v = versionOf(stream, v)
		}
		nc, err := h.mem.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		said := make(chan error, 1)
		go func() { said <- heard(nc, v) }()
		nc.SetDeadline(time.Now().Add(limit))
		_, _ = nc.Write(stream)
		_ = nc.(interface{ CloseWrite() error }).CloseWrite()
		if err := <-said; err != nil {
			t.Errorf("the server said: %v", err)
		}
		for end := time.Now().Add(limit); h.broker.stats.Connections.Load() != 0; runtime.Gosched() {
			if time.Now().After(end) {
				b := make([]byte, 1<<20)
				t.Fatalf("the connection does not end: %s", b[:runtime.Stack(b, true)])
			}
		}
		if log.n.Load() > 0 {
			t.Error("the broker recovered from a panic")
		}
	})
}

// versionOf returns the version that a CONNECT names, as far as the server will answer in it.
func versionOf(stream []byte, v mqtt.Version) mqtt.Version {
	f, err := mqtt.NewFrameReader(bufio.NewReader(strings.NewReader(string(stream))), 1<<20).Next()
	if err != nil {
		return v
	}
	var p mqtt.Connect
	if err := p.Decode(f, 0); p.Version == mqtt.V5 && !errors.Is(err, mqtt.ErrVersion) {
		return mqtt.V5
	}
	return mqtt.V311
}

// heard reads what the server says until it ends, and checks that a server may say it.
func heard(r io.Reader, v mqtt.Version) error {
	frames := mqtt.NewFrameReader(bufio.NewReader(r), mqtt.MaxRemainingBytes)
	for {
		f, err := frames.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		p := mqtt.NewPacket(f.Type)
		if p == nil {
			return errors.New("a packet of no type")
		}
		if err := p.Decode(f, v); err != nil {
			return err
		}
		if s, ok := p.(interface{ CheckSender(mqtt.Sender) error }); ok && v == mqtt.V5 {
			if err := s.CheckSender(mqtt.Server); err != nil {
				return err
			}
		}
	}
}
