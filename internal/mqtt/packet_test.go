package mqtt

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unhex takes hex digits with spaces; a part in single quotes stands for its characters.
func unhex(t testing.TB, s string) (b []byte) {
	t.Helper()
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = append(b, part...)
			continue
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b = append(b, raw...)
	}
	return b
}

// frame cuts one frame out of raw, which is nothing else.
func frame(t testing.TB, raw []byte) Frame {
	t.Helper()
	r := NewFrameReader(bufio.NewReader(bytes.NewReader(raw)), MaxRemainingBytes)
	f, err := r.Next()
	if err != nil {
		t.Fatalf("%x: %v", raw, err)
	}
	if n := r.Buffered(); n != 0 {
		t.Fatalf("%x: %d bytes behind the packet", raw, n)
	}
	return f
}

// valid has packets in both forms; the fuzz tests start from them.
var valid = []struct {
	spec, raw string
	packet    Packet
}{
	{"", "10 0c 00 04 'MQTT' 04 00 0000 0000", &Connect{Version: V311, ProtocolName: "MQTT"}},
	{
		"[MQTT-3.1.3-1] [MQTT-3.1.3-3] [MQTT-3.1.2-9] [MQTT-3.1.2-19] [MQTT-3.1.2-21]",
		"10 1f 00 04 'MQTT' 04 f6 ffff 0001 'c' 0003 'w/t' 0002 0001 0002 'us' 0003 'pwd'",
		&Connect{
			Version: V311, ProtocolName: "MQTT", CleanStart: true, KeepAlive: 0xffff, ClientID: "c",
			Will:     &Will{Topic: "w/t", Payload: []byte{0, 1}, QoS: 2, Retain: true},
			Username: "us", HasUsername: true, Password: []byte("pwd"), HasPassword: true,
		},
	},
	{
		"[MQTT-3.1.2-19] [MQTT-3.1.2-21] present, and empty", "10 10 00 04 'MQTT' 04 c2 0000 0000 0000 0000",
		&Connect{Version: V311, ProtocolName: "MQTT", CleanStart: true, HasUsername: true, HasPassword: true},
	},
	{
		"[MQTT-1.5.3-3] U+FEFF stays", "10 0f 00 04 'MQTT' 04 02 003c 0003 efbbbf",
		&Connect{Version: V311, ProtocolName: "MQTT", CleanStart: true, KeepAlive: 60, ClientID: "\ufeff"},
	},
	{"", "20 02 00 00", &ConnAck{}},
	{"", "20 02 01 00", &ConnAck{SessionPresent: true}},
	{"[MQTT-3.2.2-4]", "20 02 00 05", &ConnAck{Code: ConnAckNotAuthorized}},
	{"[MQTT-2.3.1-5] [MQTT-3.3.2-1]", "30 05 0003 'a/b'", &Publish{Topic: []byte("a/b")}},
	{"", "31 08 0003 'a/b' 010203", &Publish{Retain: true, Topic: []byte("a/b"), Payload: []byte{1, 2, 3}}},
	{"", "32 05 0001 'a' ffff", &Publish{QoS: 1, Topic: []byte("a"), ID: 0xffff}},
	{"[MQTT-3.3.1-1]", "3d 06 0001 'a' 0001 00", &Publish{Dup: true, QoS: 2, Retain: true, Topic: []byte("a"), ID: 1, Payload: []byte{0}}},
	{"", "40 02 0001", &Ack{Type: TypePubAck, ID: 1}},
	{"", "50 02 0102", &Ack{Type: TypePubRec, ID: 0x102}},
	{"[MQTT-3.6.1-1]", "62 02 ffff", &Ack{Type: TypePubRel, ID: 0xffff}},
	{"", "70 02 0001", &Ack{Type: TypePubComp, ID: 1}},
	{
		"[MQTT-3.8.1-1]", "82 0e 0001 0003 'a/#' 01 0003 '+/b' 02",
		&Subscribe{ID: 1, Subscriptions: []Subscription{{Filter: "a/#", QoS: 1}, {Filter: "+/b", QoS: 2}}},
	},
	{"[MQTT-3.9.3-1] [MQTT-3.9.3-2]", "90 06 0001 00 01 02 80", &SubAck{ID: 1, Codes: []byte{0, 1, 2, SubAckFailure}}},
	{"[MQTT-3.10.1-1] [MQTT-3.10.3-1]", "a2 0a 0001 0003 'a/#' 0001 'b'", &Unsubscribe{ID: 1, Filters: []string{"a/#", "b"}}},
	{"", "b0 02 0001", &Ack{Type: TypeUnsubAck, ID: 1}},
	{"", "c0 00", &PingReq{}},
	{"", "d0 00", &PingResp{}},
	{"", "e0 00", &Disconnect{}},
}

// Statements of 3.1.1: [MQTT-2.2.2-1].
func TestValidPackets(t *testing.T) {
	for _, c := range valid {
		raw := unhex(t, c.raw)
		f := frame(t, raw)
		got := NewPacket(f.Type)
		if err := got.Decode(f, V311); err != nil {
			t.Errorf("%s %s: %v", c.raw, c.spec, err)
			continue
		}
		if diff := cmp.Diff(c.packet, got, nilIsEmpty); diff != "" {
			t.Errorf("%s %s: -want +got:\n%s", c.raw, c.spec, diff)
		}
		if got := c.packet.Append([]byte("before"), V311); string(got) != "before"+string(raw) {
			t.Errorf("%+v %s:\n got %x\nwant %x", c.packet, c.spec, got[6:], raw)
		}
	}
}

// Each packet here breaks one rule. In 3.1.1 the answer to all of them is to close the connection [MQTT-4.8.0-1].
var invalid = []struct {
	spec, raw string
	kind      error
}{
	// Flags of the fixed header.
	{"[MQTT-2.2.2-1] [MQTT-2.2.2-2] CONNECT", "11 0c 00 04 'MQTT' 04 02 0000 0000", ErrMalformed},
	{"[MQTT-2.2.2-2] CONNACK", "21 02 00 00", ErrMalformed},
	{"[MQTT-2.2.2-2] PUBACK", "42 02 00 01", ErrMalformed},
	{"[MQTT-2.2.2-2] PUBREC", "52 02 00 01", ErrMalformed},
	{"[MQTT-3.6.1-1] PUBREL with 0", "60 02 00 01", ErrMalformed},
	{"[MQTT-3.6.1-1] PUBREL with 3", "63 02 00 01", ErrMalformed},
	{"[MQTT-2.2.2-2] PUBCOMP", "78 02 00 01", ErrMalformed},
	{"[MQTT-3.8.1-1] SUBSCRIBE with 0", "80 06 0001 0001 'a' 00", ErrMalformed},
	{"[MQTT-3.8.1-1] SUBSCRIBE with 3", "83 06 0001 0001 'a' 00", ErrMalformed},
	{"[MQTT-2.2.2-2] SUBACK", "92 03 0001 00", ErrMalformed},
	{"[MQTT-3.10.1-1] UNSUBSCRIBE with 0", "a0 05 0001 0001 'a'", ErrMalformed},
	{"[MQTT-2.2.2-2] UNSUBACK", "b2 02 0001", ErrMalformed},
	{"[MQTT-2.2.2-2] PINGREQ", "c1 00", ErrMalformed},
	{"[MQTT-2.2.2-2] PINGRESP", "d8 00", ErrMalformed},
	{"[MQTT-3.14.1-1] DISCONNECT", "e4 00", ErrMalformed},

	// CONNECT.
	{"[MQTT-3.1.2-1] other protocol", "10 0c 00 04 'MQTX' 04 02 0000 0000", ErrProtocol},
	{"[MQTT-3.1.2-1] case counts", "10 0c 00 04 'mqtt' 04 02 0000 0000", ErrProtocol},
	{"[MQTT-3.1.2-1] no name", "10 08 00 00 04 02 0000 0000", ErrProtocol},
	{"[MQTT-3.1.2-2] level 5", "10 0d 00 04 'MQTT' 05 02 0000 00 0000", ErrVersion},
	{"[MQTT-3.1.2-2] level 6, whatever follows", "10 07 00 04 'MQTT' 06", ErrVersion},
	{"[MQTT-3.1.2-2] a bridge's level", "10 0c 00 04 'MQTT' 84 02 0000 0000", ErrVersion},
	{"[MQTT-3.1.2-2] 3.1", "10 0f 00 06 'MQIsdp' 03 02 0000 0001 'a'", ErrVersion},
	{"[MQTT-3.1.2-2] name of 3.1, level of 3.1.1", "10 0e 00 06 'MQIsdp' 04 02 0000 0000", ErrVersion},
	{"[MQTT-3.1.2-3] reserved flag", "10 0c 00 04 'MQTT' 04 03 0000 0000", ErrMalformed},
	{"[MQTT-3.1.2-11] [MQTT-3.1.2-13] will QoS without will", "10 0c 00 04 'MQTT' 04 0a 0000 0000", ErrMalformed},
	{"[MQTT-3.1.2-11] [MQTT-3.1.2-15] will retain without will", "10 0c 00 04 'MQTT' 04 22 0000 0000", ErrMalformed},
	{"[MQTT-3.1.2-14] will QoS 3", "10 11 00 04 'MQTT' 04 1e 0000 0000 0001 'w' 0000", ErrMalformed},
	{"[MQTT-3.1.2-22] password without user name", "10 0f 00 04 'MQTT' 04 42 0000 0000 0001 'p'", ErrMalformed},
	{"[MQTT-3.1.2-9] will topic missing", "10 0c 00 04 'MQTT' 04 06 0000 0000", ErrMalformed},
	{"[MQTT-3.1.2-9] will message missing", "10 0f 00 04 'MQTT' 04 06 0000 0000 0001 'w'", ErrMalformed},
	{"[MQTT-3.1.2-11] will present", "10 11 00 04 'MQTT' 04 02 0000 0000 0001 'w' 0000", ErrMalformed},
	{"[MQTT-3.1.2-18] user name present", "10 0f 00 04 'MQTT' 04 02 0000 0000 0001 'u'", ErrMalformed},
	{"[MQTT-3.1.2-19] user name missing", "10 0c 00 04 'MQTT' 04 82 0000 0000", ErrMalformed},
	{"[MQTT-3.1.2-20] password present", "10 12 00 04 'MQTT' 04 82 0000 0000 0001 'u' 0001 'p'", ErrMalformed},
	{"[MQTT-3.1.2-21] password missing", "10 0f 00 04 'MQTT' 04 c2 0000 0000 0001 'u'", ErrMalformed},
	{"[MQTT-3.1.3-3] client identifier missing", "10 0a 00 04 'MQTT' 04 02 0000", ErrMalformed},
	{"[MQTT-3.1.3-4] client identifier", "10 0d 00 04 'MQTT' 04 02 0000 0001 ff", ErrMalformed},
	{"[MQTT-1.5.3-1] surrogate", "10 0f 00 04 'MQTT' 04 02 0000 0003 eda080", ErrMalformed},
	{"[MQTT-1.5.3-2] U+0000", "10 0d 00 04 'MQTT' 04 02 0000 0001 00", ErrMalformed},
	{"[MQTT-3.1.3-10] will topic", "10 11 00 04 'MQTT' 04 06 0000 0000 0001 ff 0000", ErrMalformed},
	{"[MQTT-4.7.3-1] empty will topic", "10 10 00 04 'MQTT' 04 06 0000 0000 0000 0000", ErrProtocol},
	{"[MQTT-3.3.2-2] will topic with a wildcard", "10 11 00 04 'MQTT' 04 06 0000 0000 0001 '#' 0000", ErrProtocol},
	{"[MQTT-3.1.3-11] user name", "10 0f 00 04 'MQTT' 04 82 0000 0000 0001 ff", ErrMalformed},
	{"[MQTT-3.1.4-1] empty", "10 00", ErrMalformed},
	{"[MQTT-3.1.4-1] ends within the name", "10 04 0004 'MQ'", ErrMalformed},
	{"[MQTT-3.1.4-1] ends before the level", "10 06 0004 'MQTT'", ErrMalformed},
	{"[MQTT-3.1.4-1] ends before the flags", "10 07 0004 'MQTT' 04", ErrMalformed},
	{"[MQTT-3.1.4-1] more than the fields", "10 0d 00 04 'MQTT' 04 02 0000 0000 00", ErrMalformed},

	// CONNACK.
	{"reserved acknowledge flags", "20 02 02 00", ErrMalformed},
	{"[MQTT-3.2.2-4] session present, but refused", "20 02 01 05", ErrProtocol},
	{"too short", "20 01 00", ErrMalformed},
	{"too long", "20 03 00 00 00", ErrMalformed},

	// PUBLISH.
	{"[MQTT-3.3.1-4] QoS 3", "36 06 0001 'a' 0001 00", ErrMalformed},
	{"[MQTT-3.3.1-2] DUP at QoS 0", "38 03 0001 'a'", ErrProtocol},
	{"[MQTT-3.3.2-1] no topic", "30 00", ErrMalformed},
	{"[MQTT-3.3.2-1] half a length", "30 01 00", ErrMalformed},
	{"[MQTT-3.3.2-1] ends within the topic", "30 03 0002 'a'", ErrMalformed},
	{"[MQTT-3.3.2-1] topic not UTF-8", "30 04 0002 'a' ff", ErrMalformed},
	{"[MQTT-1.5.3-2] [MQTT-4.7.3-2] U+0000", "30 04 0002 'a' 00", ErrMalformed},
	{"[MQTT-4.7.3-1] empty topic", "30 02 0000", ErrProtocol},
	{"[MQTT-3.3.2-2] [MQTT-4.7.1-1] wildcard", "30 05 0003 'a/#'", ErrProtocol},
	{"[MQTT-3.3.2-2] [MQTT-4.7.1-1] wildcard", "30 05 0003 '+/b'", ErrProtocol},
	{"[MQTT-2.3.1-1] packet identifier 0", "32 05 0001 'a' 0000", ErrProtocol},
	{"[MQTT-2.3.1-1] no packet identifier", "34 03 0001 'a'", ErrMalformed},
	{"[MQTT-2.3.1-1] half a packet identifier", "34 04 0001 'a' 00", ErrMalformed},

	// Acknowledgements. They carry the identifier of what they answer, so never 0 [MQTT-2.3.1-6] [MQTT-2.3.1-7].
	{"[MQTT-2.3.1-6] PUBACK 0", "40 02 0000", ErrProtocol},
	{"[MQTT-2.3.1-6] PUBREC 0", "50 02 0000", ErrProtocol},
	{"[MQTT-2.3.1-6] PUBREL 0", "62 02 0000", ErrProtocol},
	{"PUBCOMP 0", "70 02 0000", ErrProtocol},
	{"[MQTT-2.3.1-7] UNSUBACK 0", "b0 02 0000", ErrProtocol},
	{"[MQTT-2.3.1-7] SUBACK 0", "90 03 0000 00", ErrProtocol},
	{"too short", "40 01 00", ErrMalformed},
	{"too long", "62 03 0001 00", ErrMalformed},

	// SUBSCRIBE, SUBACK, UNSUBSCRIBE.
	{"[MQTT-2.3.1-1] SUBSCRIBE 0", "82 06 0000 0001 'a' 00", ErrProtocol},
	{"[MQTT-2.3.1-1] SUBSCRIBE without identifier", "82 00", ErrMalformed},
	{"[MQTT-3.8.3-3] no filter", "82 02 0001", ErrProtocol},
	{"[MQTT-3.8.3-1] filter not UTF-8", "82 06 0001 0001 ff 00", ErrMalformed},
	{"[MQTT-4.7.3-1] empty filter", "82 05 0001 0000 00", ErrProtocol},
	{"[MQTT-4.7.1-2] filter not well formed", "82 08 0001 0003 '#/a' 00", ErrProtocol},
	{"[MQTT-4.7.1-3] filter not well formed", "82 07 0001 0002 'a+' 00", ErrProtocol},
	{"[MQTT-3-8.3-4] QoS 3", "82 06 0001 0001 'a' 03", ErrMalformed},
	{"[MQTT-3-8.3-4] reserved bits", "82 06 0001 0001 'a' 41", ErrMalformed},
	{"no QoS", "82 05 0001 0001 'a'", ErrMalformed},
	{"second filter ends early", "82 09 0001 0001 'a' 00 0002 'b'", ErrMalformed},
	{"[MQTT-3.8.4-5] SUBACK without a code", "90 02 0001", ErrMalformed},
	{"[MQTT-3.9.3-2] reserved code", "90 03 0001 03", ErrMalformed},
	{"[MQTT-2.3.1-1] UNSUBSCRIBE 0", "a2 05 0000 0001 'a'", ErrProtocol},
	{"[MQTT-3.10.3-2] no filter", "a2 02 0001", ErrProtocol},
	{"[MQTT-3.10.3-1] filter not UTF-8", "a2 05 0001 0001 c3", ErrMalformed},
	{"[MQTT-4.7.1-2] filter not well formed", "a2 06 0001 0002 'a#'", ErrProtocol},
	{"filter ends early", "a2 05 0001 0002 'a'", ErrMalformed},

	// Packets that are their header.
	{"PINGREQ with a body", "c0 01 00", ErrMalformed},
	{"PINGRESP with a body", "d0 01 00", ErrMalformed},
	{"DISCONNECT with a body", "e0 01 00", ErrMalformed},
}

func TestInvalidPackets(t *testing.T) {
	for _, c := range invalid {
		f := frame(t, unhex(t, c.raw))
		err := NewPacket(f.Type).Decode(f, V311)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %s: got %v, want %v", c.spec, c.raw, err, c.kind)
		}
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Text == "") {
			t.Errorf("%s: %s: got %#v, want an *Error with a text", c.spec, c.raw, err)
		}
	}
}

// A server answers an unknown version with CONNACK 1 before it closes [MQTT-3.1.2-2], so it must learn which it was.
func TestUnknownVersionIsReported(t *testing.T) {
	var p Connect
	for raw, v := range map[string]Version{
		"10 0f 00 06 'MQIsdp' 03 02 0000 0001 'a'": V311, // known, but not asked for
		"10 0d 00 04 'MQTT' 05 02 0000 00 0000":    V31,
		"10 0c 00 04 'MQTT' 04 02 0000 0000":       V5,
		"10 07 00 04 'MQTT' 09":                    0, // not known at all
		"10 09 00 06 'MQIsdp' 05":                  0, // the name of one, the level of another
		"10 07 00 04 'MQTT' 03":                    0,
	} {
		b := unhex(t, raw)
		if err := p.Decode(frame(t, b), v); !errors.Is(err, ErrVersion) {
			t.Errorf("%s: got %v", raw, err)
		}
		if n := int(b[3]); string(b[4:4+n]) != p.ProtocolName || p.Version != Version(b[4+n]) {
			t.Errorf("%s: got %+v", raw, p)
		}
	}
	if err := p.Decode(frame(t, unhex(t, "10 0c 00 04 'MQTX' 04 02 0000 0000")), 0); !errors.Is(err, ErrProtocol) || p.Version != 0 {
		t.Errorf("not MQTT: got %v, version %v", err, p.Version)
	}
}

// Every Decode refuses every other type, so that a wrong dispatch shows at once.
func TestDecodeChecksType(t *testing.T) {
	for _, c := range valid {
		f := frame(t, unhex(t, c.raw))
		for typ := TypeConnect; typ <= TypeAuth; typ++ {
			p := NewPacket(typ)
			err := p.Decode(f, V311)
			if want := reflect.TypeOf(p) == reflect.TypeOf(c.packet); (err == nil) != want {
				t.Errorf("%T decodes %v: got %v, want success: %v", p, f.Type, err, want)
			}
		}
	}
	if NewPacket(0) != nil || NewPacket(TypeAuth+1) != nil {
		t.Error("got packets for types that do not exist")
	}
	if err := (&Auth{}).Decode(Frame{Type: TypeAuth}, V311); !errors.Is(err, ErrProtocol) {
		t.Errorf("AUTH in 3.1.1: got %v", err)
	}
}

func TestAppendPanicsOnWhatCannotBeSaid(t *testing.T) {
	for name, f := range map[string]func(){
		"string":  func() { (&Connect{ClientID: strings.Repeat("a", MaxStringBytes+1)}).Append(nil, V311) },
		"topic":   func() { (&Publish{Topic: make([]byte, MaxStringBytes+1)}).Append(nil, V311) },
		"payload": func() { (&Publish{Topic: []byte("a"), Payload: make([]byte, MaxRemainingBytes)}).Append(nil, V311) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic", name)
				}
			}()
			f()
		}()
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		V31.String(): "3.1", V311.String(): "3.1.1", V5.String(): "5", Version(7).String(): "level 7",
		TypeConnect.String(): "CONNECT", TypeAuth.String(): "AUTH", Type(16).String(): "type 16",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
