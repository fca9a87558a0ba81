package mqttclient_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// Whatever a server sends, nothing panics, and the session ends with its connection.
func FuzzServer(f *testing.F) {
	for _, v := range versions {
		var b []byte
		for _, p := range []mqtt.Packet{
			&mqtt.ConnAck{}, &mqtt.Publish{Topic: []byte("t"), QoS: 1, ID: 1}, &mqtt.Publish{Topic: []byte("t"), QoS: 2, ID: 2},
			&mqtt.Ack{Type: mqtt.TypePubRel, ID: 2}, &mqtt.Ack{Type: mqtt.TypePubAck, ID: 1}, &mqtt.Ack{Type: mqtt.TypePubRec, ID: 2},
			&mqtt.Ack{Type: mqtt.TypePubComp, ID: 2}, &mqtt.SubAck{ID: 101, Codes: []byte{0}}, &mqtt.PingResp{},
		} {
			b = p.Append(b, v)
		}
		f.Add(byte(v), b)
		f.Add(byte(v), (&mqtt.ConnAck{SessionPresent: v != mqtt.V31}).Append(nil, v))
	}
	f.Fuzz(func(t *testing.T, v byte, b []byte) {
		synctest.Test(t, func(t *testing.T) {
			client, server := memnet.Pipe(1 << 20)
			s, err := mqttclient.NewSession(mqttclient.Config{Version: mqtt.Version(3 + v%3), Receive: func(m *mqttclient.Message) { m.Ack() }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _, _ = io.Copy(io.Discard, server) }()
			_, _ = server.Write(b) // as much as is wanted
			_ = server.CloseWrite()
			busy := make(chan struct{})
			close(busy)
			_ = s.Run(ctx, client, mqtt.Connect{ClientID: "x"}, func(mqttclient.Connected) {
				busy = make(chan struct{})
				go func() {
					defer close(busy)
					for qos := range byte(3) {
						_ = s.Send(ctx, &mqttclient.Outgoing{Publish: mqtt.Publish{Topic: []byte("t"), QoS: qos}})
					}
					_, _, _ = s.Subscribe(ctx, mqtt.Subscribe{Subscriptions: []mqtt.Subscription{{Filter: "t"}}})
				}()
			})
			<-busy
			s.Close()
			if n := s.InFlight(); n != 0 {
				t.Errorf("%d in flight after the end", n)
			}
			_ = server.Close()
		})
	})
}

// FuzzUpgrade lets a server answer the request for a WebSocket with anything.
func FuzzUpgrade(f *testing.F) {
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 429 x\r\nRetry-After: 99999999999999999999\r\nContent-Length: -1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		client, server := memnet.Pipe(1 << 20)
		_, _ = server.Write(b)
		_ = server.CloseWrite()
		d := mqttclient.Dialer{Address: "x:1", WebSocket: &mqttclient.WebSocket{}, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return client, nil
		}}
		if nc, err := d.Dial(t.Context()); err == nil {
			_ = nc.Close()
			t.Error("it cannot know the key")
		}
		_ = server.Close()
	})
}
