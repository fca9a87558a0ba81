package mqtt

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// valid5 has packets of version 5 in both forms, as Append writes them. Statement numbers from here on are those of
// "MQTT Version 5.0", OASIS Standard, 7 March 2019.
var valid5 = []struct {
	spec, raw string
	packet    Packet
}{
	// CONNECT.
	{"[MQTT-2.2.2-1] no properties", `10 ["MQTT" 05 02 003c [] "c"]`, &Connect{Version: V5, ProtocolName: "MQTT", CleanStart: true, KeepAlive: 60, ClientID: "c"}},
	{
		"[MQTT-3.1.3-1] [MQTT-3.1.2-9] [MQTT-3.1.2-12] [MQTT-3.1.2-17] [MQTT-3.1.2-19] everything, in this order",
		`10 ["MQTT" 05 f6 000a
			[11 ffffffff 21 000a 27 00010000 22 0005 19 01 17 00 15 "SCRAM" 16 "data" 26 "k" "v" 26 "k" ""]
			"c"
			[18 0000001e 02 00000000 01 01 03 "text" 08 "re/ply" 09 "7" 26 "a" "b"]
			"w/t" "bye" "user" "password"]`,
		&Connect{
			Version: V5, ProtocolName: "MQTT", CleanStart: true, KeepAlive: 10, ClientID: "c",
			SessionExpiry: SessionNeverExpires, ReceiveMaximum: 10, MaximumPacketSize: 65536, TopicAliasMaximum: 5,
			RequestResponseInformation: true, NoProblemInformation: true,
			AuthMethod: Some("SCRAM"), AuthData: []byte("data"), User: []UserProperty{{"k", "v"}, {"k", ""}},
			Will: &Will{
				Topic: "w/t", Payload: []byte("bye"), QoS: 2, Retain: true, Delay: 30, MessageExpiry: Some[uint32](0),
				Properties: &MessageProperties{
					PayloadFormat: Some[byte](PayloadUTF8), ContentType: Some("text"), ResponseTopic: "re/ply",
					CorrelationData: []byte("7"), User: []UserProperty{{"a", "b"}},
				},
			},
			Username: "user", HasUsername: true, Password: []byte("password"), HasPassword: true,
		},
	},
	{
		"[MQTT-3.1.2-16] [MQTT-3.1.2-19] a password without a user name", `10 ["MQTT" 05 40 0000 [] "" "token"]`,
		&Connect{Version: V5, ProtocolName: "MQTT", Password: []byte("token"), HasPassword: true},
	},
	{"[MQTT-1.5.4-3] U+FEFF stays", `10 ["MQTT" 05 00 0000 [] 0003 efbbbf]`, &Connect{Version: V5, ProtocolName: "MQTT", ClientID: "\ufeff"}},
	{
		"present, and empty", `10 ["MQTT" 05 04 0000 [15 "" 16 ""] "" [03 "" 09 "" 26 "" ""] "w" ""]`,
		&Connect{
			Version: V5, ProtocolName: "MQTT", AuthMethod: Some(""), AuthData: []byte{},
			Will: &Will{Topic: "w", Properties: &MessageProperties{ContentType: Some(""), CorrelationData: []byte{}, User: []UserProperty{{}}}},
		},
	},

	// CONNACK.
	{"", `20 [00 00 []]`, &ConnAck{}},
	{"[MQTT-3.2.2-3]", `20 [01 00 []]`, &ConnAck{SessionPresent: true}},
	{
		"[MQTT-3.2.2-8] and all properties",
		`20 [00 9d [11 00000000 21 ffff 24 00 27 00000400 22 0001 13 0000 25 00 28 00 29 00 2a 00 12 "gen" 1a "resp/" 1c "other:1883"
			15 "M" 16 "d" 1f "gone" 26 "k" "v"]]`,
		&ConnAck{
			Code: byte(ReasonServerMoved), SessionExpiry: Some[uint32](0), ReceiveMaximum: 65535, MaximumQoS: Some[byte](0),
			MaximumPacketSize: 1024, TopicAliasMaximum: 1, ServerKeepAlive: Some[uint16](0), RetainUnavailable: true,
			WildcardUnavailable: true, SubscriptionIDUnavailable: true, SharedUnavailable: true, AssignedClientID: "gen",
			ResponseInformation: "resp/", ServerReference: "other:1883", AuthMethod: Some("M"), AuthData: []byte("d"),
			Reason: "gone", User: []UserProperty{{"k", "v"}},
		},
	},
	{"[MQTT-3.2.2-9]", `20 [00 00 [24 01]]`, &ConnAck{MaximumQoS: Some[byte](1)}},
	{"a code that is not in the table is a refusal all the same", `20 [00 fe []]`, &ConnAck{Code: 0xfe}},

	// PUBLISH.
	{"[MQTT-2.2.1-2] [MQTT-3.3.2-1]", `30 ["a/b" [] 'hi']`, &Publish{Topic: []byte("a/b"), Payload: []byte("hi")}},
	{"[MQTT-3.3.1-1]", `3d ["a" 0001 []]`, &Publish{Dup: true, QoS: 2, Retain: true, Topic: []byte("a"), ID: 1}},
	{
		"[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-3.3.4-4] as it came",
		`32 ["a" ffff [23 ffff 02 00000e10 0b 01 0b ffffff7f 0b 01 01 00 03 "x" 08 "r" 09 "" 26 "b" "1" 26 "a" "2" 26 "b" "1"] ff]`,
		&Publish{
			QoS: 1, Topic: []byte("a"), ID: 0xffff, Payload: []byte{0xff}, TopicAlias: 65535, MessageExpiry: Some[uint32](3600),
			SubscriptionIDs: []uint32{1, MaxSubscriptionID, 1},
			Properties: &MessageProperties{
				PayloadFormat: Some[byte](PayloadBytes), ContentType: Some("x"), ResponseTopic: "r", CorrelationData: []byte{},
				User: []UserProperty{{"b", "1"}, {"a", "2"}, {"b", "1"}},
			},
		},
	},
	{"the alias stands for the topic", `30 ["" [23 0001] 01]`, &Publish{TopicAlias: 1, Payload: []byte{1}}},
	{"an expiry of 0 is not none", `30 ["a" [02 00000000]]`, &Publish{Topic: []byte("a"), MessageExpiry: Some[uint32](0)}},
	{"the codec judges no payload", `30 ["a" [01 01] ff]`, &Publish{
		Topic: []byte("a"), Payload: []byte{0xff},
		Properties: &MessageProperties{PayloadFormat: Some[byte](PayloadUTF8)},
	}},

	// Acknowledgements.
	{"short form", `40 02 0001`, &Ack{Type: TypePubAck, ID: 1}},
	{"[MQTT-3.4.2-1] code, no properties", `40 03 0001 10`, &Ack{Type: TypePubAck, ID: 1, Code: ReasonNoMatchingSubscribers}},
	{
		"[MQTT-3.5.2-1]", `50 [0001 97 [1f "full" 26 "k" "v"]]`,
		&Ack{Type: TypePubRec, ID: 1, Code: ReasonQuotaExceeded, Reason: "full", User: []UserProperty{{"k", "v"}}},
	},
	{"[MQTT-3.6.1-1] [MQTT-3.6.2-1]", `62 03 0001 92`, &Ack{Type: TypePubRel, ID: 1, Code: ReasonPacketIDNotFound}},
	{"[MQTT-3.7.2-1] success with properties has its code", `70 [0001 00 [1f "done"]]`, &Ack{Type: TypePubComp, ID: 1, Reason: "done"}},

	// SUBSCRIBE to UNSUBACK.
	{
		"[MQTT-3.8.1-1] [MQTT-3.8.3-1] all options",
		`82 [0001 [0b 8001 26 "k" "v"] "a/#" 01 "+" 2e "$share/g/b" 1a]`,
		&Subscribe{
			ID: 1, SubscriptionID: 128, User: []UserProperty{{"k", "v"}},
			Subscriptions: []Subscription{
				{Filter: "a/#", QoS: 1},
				{Filter: "+", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: RetainDontSend},
				{Filter: "$share/g/b", QoS: 2, RetainAsPublished: true, RetainHandling: RetainSendIfNew}, // [MQTT-4.8.2-1]
			},
		},
	},
	{"[MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-2]", `90 [0001 [1f "why"] 00 01 02 87 8f]`, &SubAck{ID: 1, Reason: "why", Codes: []byte{0, 1, 2, 0x87, 0x8f}}},
	{"", `90 [0001 [26 "k" "v"] 80]`, &SubAck{ID: 1, User: []UserProperty{{"k", "v"}}, Codes: []byte{SubAckFailure}}},
	{
		"[MQTT-3.10.1-1] [MQTT-3.10.3-1]", `a2 [0001 [26 "k" "v"] "a/#" "$share/g/b"]`,
		&Unsubscribe{ID: 1, User: []UserProperty{{"k", "v"}}, Filters: []string{"a/#", "$share/g/b"}},
	},
	{
		"[MQTT-3.11.3-1] [MQTT-3.11.3-2]", `b0 [0001 [1f "r"] 00 11 87]`,
		&Ack{Type: TypeUnsubAck, ID: 1, Reason: "r", Codes: []ReasonCode{0, ReasonNoSubscriptionExisted, ReasonNotAuthorized}},
	},
	{"", `b0 [0001 [] 00]`, &Ack{Type: TypeUnsubAck, ID: 1, Codes: []ReasonCode{0}}},

	// The rest.
	{"", `c0 00`, &PingReq{}},
	{"", `d0 00`, &PingResp{}},
	{"short form", `e0 00`, &Disconnect{}},
	{"[MQTT-3.14.2-1] code, no properties", `e0 01 04`, &Disconnect{Code: ReasonDisconnectWithWill}},
	{"from a client", `e0 [00 [11 00000000 1f "bye" 26 "k" "v"]]`, &Disconnect{SessionExpiry: Some[uint32](0), Reason: "bye", User: []UserProperty{{"k", "v"}}}},
	{"from a server", `e0 [9c [1c "b.example"]]`, &Disconnect{Code: ReasonUseAnotherServer, ServerReference: "b.example"}},
	{"short form", `f0 00`, &Auth{}},
	{
		"[MQTT-3.15.1-1] [MQTT-3.15.2-1]", `f0 [18 [15 "M" 16 "d" 1f "r" 26 "k" "v"]]`,
		&Auth{Code: ReasonContinueAuthentication, Method: Some("M"), Data: []byte("d"), Reason: "r", User: []UserProperty{{"k", "v"}}},
	},
}

// other5 has packets in forms that Append does not write.
var other5 = []struct {
	name, raw string
	packet    Packet
}{
	{"properties in another order", `30 ["a" [26 "k" "1" 01 01 26 "k" "2" 02 00000001]]`, &Publish{
		Topic: []byte("a"), MessageExpiry: Some[uint32](1),
		Properties: &MessageProperties{PayloadFormat: Some[byte](PayloadUTF8), User: []UserProperty{{"k", "1"}, {"k", "2"}}},
	}},
	{"defaults spelled out", `10 ["MQTT" 05 00 0000 [11 00000000 22 0000 19 00 17 01] ""]`, &Connect{Version: V5, ProtocolName: "MQTT"}},
	{"defaults spelled out", `20 [00 00 [22 0000 25 01 28 01 29 01 2a 01 12 "" 1a "" 1c "" 1f ""]]`, &ConnAck{}},
	{"a server before version 5", `20 02 00 01`, &ConnAck{Code: byte(ReasonUnsupportedVersion)}},
	{"success spelled out", `40 03 0001 00`, &Ack{Type: TypePubAck, ID: 1}},
	{"success and no properties spelled out", `62 04 0001 00 00`, &Ack{Type: TypePubRel, ID: 1}},
	{"no properties spelled out", `50 04 0001 80 00`, &Ack{Type: TypePubRec, ID: 1, Code: ReasonUnspecified}},
	{"an empty reason", `70 [0001 00 [1f ""]]`, &Ack{Type: TypePubComp, ID: 1}},
	{"the ordinary end spelled out", `e0 01 00`, &Disconnect{}},
	{"no properties spelled out", `e0 02 8e 00`, &Disconnect{Code: ReasonSessionTakenOver}},
}

func TestValidPackets5(t *testing.T) {
	for _, c := range valid5 {
		raw := wire(t, c.raw)
		f := frame(t, raw)
		got := NewPacket(f.Type)
		if err := got.Decode(f, V5); err != nil {
			t.Errorf("%s %s: %v", c.raw, c.spec, err)
			continue
		}
		if diff := cmp.Diff(c.packet, got, payloads); diff != "" {
			t.Errorf("%s %s: -want +got:\n%s", c.raw, c.spec, diff)
		}
		if got := c.packet.Append([]byte("before"), V5); string(got) != "before"+string(raw) {
			t.Errorf("%+v %s:\n got %x\nwant %x", c.packet, c.spec, got[6:], raw)
		}
	}
	for _, c := range other5 {
		f := frame(t, wire(t, c.raw))
		got := NewPacket(f.Type)
		if err := got.Decode(f, V5); err != nil {
			t.Errorf("%s %s: %v", c.raw, c.name, err)
		} else if diff := cmp.Diff(c.packet, got, payloads); diff != "" {
			t.Errorf("%s %s: -want +got:\n%s", c.raw, c.name, diff)
		}
	}
}

// A connection decodes into the same packet again and again.
func TestDecodeReplaces(t *testing.T) {
	for _, c := range valid5 {
		f := frame(t, wire(t, c.raw))
		for _, used := range valid5 {
			got := NewPacket(f.Type)
			if g := frame(t, wire(t, used.raw)); g.Type != f.Type || got.Decode(g, V5) != nil {
				continue
			}
			if err := got.Decode(f, V5); err != nil {
				t.Errorf("%s: %v", c.raw, err)
			} else if diff := cmp.Diff(c.packet, got, payloads); diff != "" {
				t.Errorf("%s after %s: -want +got:\n%s", c.raw, used.raw, diff)
			}
		}
	}
}

// payloads makes cmp ignore the difference between nil and empty where none is meant; in correlation and
// authentication data one is.
var payloads = cmp.FilterPath(func(p cmp.Path) bool {
	switch p.Last().String() {
	case ".Payload", ".Topic", ".Password":
		return true
	}
	return false
}, nilIsEmpty)

// valid31 has what differs in version 3.1. ("MQTT V3.1 Protocol Specification", IBM and Eurotech, 2010.)
var valid31 = []struct {
	name, raw string
	packet    Packet
	same      bool // Append writes these bytes
}{
	{"CONNECT", `10 ["MQIsdp" 03 02 003c "c"]`, &Connect{Version: V31, ProtocolName: "MQIsdp", CleanStart: true, KeepAlive: 60, ClientID: "c"}, true},
	{
		"CONNECT with everything", `10 ["MQIsdp" 03 ee 0000 "c" "w" "bye" "u" "p"]`,
		&Connect{
			Version: V31, ProtocolName: "MQIsdp", CleanStart: true, ClientID: "c", Will: &Will{Topic: "w", Payload: []byte("bye"), QoS: 1, Retain: true},
			Username: "u", HasUsername: true, Password: []byte("p"), HasPassword: true,
		}, true,
	},
	{"the user name is announced, but missing", `10 ["MQIsdp" 03 82 0000 "c"]`, &Connect{Version: V31, ProtocolName: "MQIsdp", CleanStart: true, ClientID: "c"}, false},
	{
		"the password is announced, but missing", `10 ["MQIsdp" 03 c2 0000 "c" "u"]`,
		&Connect{Version: V31, ProtocolName: "MQIsdp", CleanStart: true, ClientID: "c", Username: "u", HasUsername: true}, false,
	},
	{"CONNACK", `20 02 00 05`, &ConnAck{Code: ConnAckNotAuthorized}, true},
	{"CONNACK, the first byte means nothing", `20 02 01 00`, &ConnAck{}, false},
	{"SUBSCRIBE", `82 [0001 "a" 01]`, &Subscribe{ID: 1, Subscriptions: []Subscription{{Filter: "a", QoS: 1}}}, true},
	{"SUBSCRIBE again", `8a [0001 "a" 01]`, &Subscribe{ID: 1, Subscriptions: []Subscription{{Filter: "a", QoS: 1}}}, false},
	{"UNSUBSCRIBE again", `aa [0001 "a"]`, &Unsubscribe{ID: 1, Filters: []string{"a"}}, false},
	{"PUBREL again", `6a 02 0001`, &Ack{Type: TypePubRel, ID: 1}, false},
	{"a filter as any other", `82 [0001 "$share/+/x" 00]`, &Subscribe{ID: 1, Subscriptions: []Subscription{{Filter: "$share/+/x"}}}, true},
}

func TestValidPackets31(t *testing.T) {
	for _, c := range valid31 {
		raw := wire(t, c.raw)
		f := frame(t, raw)
		got := NewPacket(f.Type)
		if err := got.Decode(f, V31); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.packet, got, payloads); diff != "" {
			t.Errorf("%s: -want +got:\n%s", c.name, diff)
		}
		if again := got.Append(nil, V31); string(again) == string(raw) != c.same {
			t.Errorf("%s: encoded as %x", c.name, again)
		}
	}
	if got := (&ConnAck{SessionPresent: true}).Append(nil, V31); string(got) != "\x20\x02\x00\x00" {
		t.Errorf("a session in 3.1: %x", got)
	}
}

// What a version cannot say is left out, so that a server need not clear fields for older clients.
func TestOlderVersionsLeaveOut(t *testing.T) {
	for _, c := range valid5 {
		if c.packet == nil || frame(t, wire(t, c.raw)).Type == TypeAuth {
			continue
		}
		if p, ok := c.packet.(*Connect); ok {
			if p.HasPassword && !p.HasUsername {
				continue
			}
			older := *p
			older.Version = V311
			c.packet = &older
		}
		if p, ok := c.packet.(*Publish); ok && len(p.Topic) == 0 {
			continue
		}
		raw := c.packet.Append(nil, V311)
		if p, ok := c.packet.(*SubAck); ok && len(p.Codes) > 1 || raw[0] == byte(TypeConnAck)<<4 {
			continue // its codes mean something else there
		}
		f := frame(t, raw)
		if err := NewPacket(f.Type).Decode(f, V311); err != nil {
			t.Errorf("%+v in 3.1.1: %v", c.packet, err)
		}
		if p, ok := c.packet.(*Publish); ok && p.Size(V311) != len(raw) {
			t.Errorf("size in 3.1.1: got %d, want %d", p.Size(V311), len(raw))
		}
	}
}
