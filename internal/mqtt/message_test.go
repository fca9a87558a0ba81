package mqtt

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEncodedProperties(t *testing.T) {
	for _, m := range []*MessageProperties{
		nil,
		{PayloadFormat: Some[byte](PayloadUTF8)},
		{
			PayloadFormat: Some[byte](PayloadBytes), ContentType: Some(""), ResponseTopic: "answer", CorrelationData: []byte{},
			User: []UserProperty{{"b", "1"}, {"a", "2"}, {"b", "3"}},
		},
	} {
		enc := m.Append(nil)
		got, err := DecodeMessageProperties(enc)
		if d := cmp.Diff(m, got); d != "" || err != nil {
			t.Errorf("%v, -want +got\n%s", err, d)
		}
		for v := range 2 { // in a packet they are the same bytes
			p := Publish{Topic: []byte("t"), QoS: byte(v), ID: uint16(v), Payload: []byte("x"), MessageExpiry: Some[uint32](7), SubscriptionIDs: []uint32{9}}
			q := p
			p.Properties, q.Encoded = m, enc
			if a, b := p.Append(nil, V5), q.Append(nil, V5); !bytes.Equal(a, b) || len(a) != q.Size(V5) {
				t.Errorf("got % x, want % x", b, a)
			}
			if a, b := p.Append(nil, V311), q.Append(nil, V311); !bytes.Equal(a, b) {
				t.Errorf("3.1.1: got % x, want % x", b, a)
			}
		}
	}
}

func TestBadEncodedProperties(t *testing.T) {
	for _, b := range [][]byte{{propPayloadFormat}, {propPayloadFormat, 2}, {propTopicAlias, 0, 1}, {propResponseTopic, 0, 1, '#'}, {0x7f}} {
		if m, err := DecodeMessageProperties(b); err == nil {
			t.Errorf("% x: got %+v, want an error", b, m)
		}
	}
}

func FuzzMessageProperties(f *testing.F) {
	f.Add((&MessageProperties{ContentType: Some("a"), User: []UserProperty{{"k", "v"}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessageProperties(b)
		if err != nil {
			return
		}
		again, err := DecodeMessageProperties(m.Append(nil))
		if d := cmp.Diff(m, again); d != "" || err != nil {
			t.Errorf("%v, -once +twice\n%s", err, d)
		}
	})
}

func TestEncodedContentType(t *testing.T) {
	for name, m := range map[string]*MessageProperties{
		"none":       {},
		"alone":      {ContentType: Some("text/plain")},
		"empty":      {ContentType: Some("")},
		"behind all": {PayloadFormat: Some(byte(1)), ResponseTopic: "a", CorrelationData: []byte{3, 0, 1}, User: []UserProperty{{"k", "v"}}, ContentType: Some("application/json")},
		"not there":  {PayloadFormat: Some(byte(1)), ResponseTopic: "a", User: []UserProperty{{"k", "v"}}},
	} {
		b := m.Append(nil)
		if got := string(EncodedContentType(b)); got != m.ContentType.Value {
			t.Errorf("%s: got %q, want %q", name, got, m.ContentType.Value)
		}
		for i := range b {
			EncodedContentType(b[:i]) // must not panic
		}
	}
}

// FuzzEncodedContentType: it agrees with the decoder on whatever that takes, and takes anything.
func FuzzEncodedContentType(f *testing.F) {
	f.Add((&MessageProperties{ContentType: Some("text/plain"), User: []UserProperty{{"a", "b"}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := string(EncodedContentType(b))
		if m, err := DecodeMessageProperties(b); err == nil && m != nil && got != m.ContentType.Value {
			t.Errorf("%x: got %q, want %q", b, got, m.ContentType.Value)
		}
	})
}
