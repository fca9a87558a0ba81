package mqtt

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is one packet that an official Astarte client was seen to send, with what it means.
type vector struct {
	Name      string          `json:"name"`
	Transport string          `json:"transport"`
	Direction string          `json:"direction"`
	Hex       string          `json:"hex"`
	Decoded   json.RawMessage `json:"decoded"`
}

// meaning is the decoded form in the vector files.
type meaning struct {
	Type        string            `json:"type"`
	Protocol    string            `json:"protocol"`
	Level       Version           `json:"level"`
	KeepAlive   uint16            `json:"keepalive"`
	ClientID    string            `json:"client_id"`
	Clean       bool              `json:"clean"`
	Topic       string            `json:"topic"`
	QoS         byte              `json:"qos"`
	Retain      byte              `json:"retain"`
	Dup         byte              `json:"dup"`
	ID          uint16            `json:"mid"`
	Payload     *string           `json:"payload"`
	PayloadText string            `json:"payload_text"`
	Filters     []json.RawMessage `json:"filters"`
}

// packets returns the MQTT packets of a file; others in it are payloads or gRPC messages.
func packets(t testing.TB, file string) (vs []vector) {
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "vectors", "astarte", file))
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Hex != "" && v.Direction == "c2s" && strings.HasPrefix(v.Transport, "MQTT") {
			vs = append(vs, v)
		}
	}
	return vs
}

func TestVectors(t *testing.T) {
	for file, atLeast := range map[string]int{"session.json": 10, "go_sdk.json": 30, "message_hub.json": 1} {
		vs := packets(t, file)
		if len(vs) < atLeast {
			t.Errorf("%s: got %d packets, want at least %d", file, len(vs), atLeast)
		}
		for _, v := range vs {
			t.Run(strings.TrimSuffix(file, ".json")+"/"+v.Name, func(t *testing.T) { checkVector(t, v) })
		}
	}
}

func checkVector(t *testing.T, v vector) {
	raw, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	var m meaning
	if err := json.Unmarshal(v.Decoded, &m); err != nil {
		t.Fatal(err)
	}
	r := NewFrameReader(bufio.NewReader(bytes.NewReader(raw)), len(raw))
	f, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Type.String(); got != m.Type {
		t.Fatalf("type: got %s, want %s", got, m.Type)
	}
	p := NewPacket(f.Type)
	if err := p.Decode(f, V311); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.packet(t, p), p); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := p.Append(nil, V311); !bytes.Equal(got, raw) {
		t.Errorf("encoded again:\n got %x\nwant %x", got, raw)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("behind the packet: got %v, want EOF", err)
	}
}

// packet builds what the vector says. Payloads that the file does not spell out are taken from got.
func (m *meaning) packet(t *testing.T, got Packet) Packet {
	switch got := got.(type) {
	case *Connect:
		return &Connect{
			Version: m.Level, ProtocolName: m.Protocol, CleanStart: m.Clean, KeepAlive: m.KeepAlive, ClientID: m.ClientID,
		}
	case *Publish:
		p := &Publish{
			Dup: m.Dup != 0, QoS: m.QoS, Retain: m.Retain != 0, Topic: []byte(m.Topic), ID: m.ID, Payload: got.Payload,
		}
		switch {
		case m.Payload != nil:
			b, err := hex.DecodeString(*m.Payload)
			if err != nil {
				t.Fatal(err)
			}
			p.Payload = b
		case m.PayloadText != "":
			p.Payload = []byte(m.PayloadText)
		}
		return p
	case *Subscribe:
		p := &Subscribe{ID: m.ID}
		for _, raw := range m.Filters {
			var pair [2]any
			if err := json.Unmarshal(raw, &pair); err != nil {
				t.Fatal(err)
			}
			p.Subscriptions = append(p.Subscriptions, Subscription{Filter: pair[0].(string), QoS: byte(pair[1].(float64))})
		}
		return p
	case *Unsubscribe:
		p := &Unsubscribe{ID: m.ID}
		for _, raw := range m.Filters {
			var s string
			if err := json.Unmarshal(raw, &s); err != nil {
				t.Fatal(err)
			}
			p.Filters = append(p.Filters, s)
		}
		return p
	}
	return &Disconnect{}
}
