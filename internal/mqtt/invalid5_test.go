package mqtt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Each packet here breaks one rule of version 5. The code is the one for CONNACK or DISCONNECT [MQTT-4.13.1-1].
var invalid5 = []struct {
	spec, raw string
	code      ReasonCode
}{
	// Data representation and properties, in whatever packet.
	{"[MQTT-1.5.4-1] not UTF-8", `10 ["MQTT" 05 02 0000 [] 0001 ff]`, 0x81},
	{"[MQTT-1.5.4-1] surrogate", `10 ["MQTT" 05 02 0000 [] 0003 eda080]`, 0x81},
	{"[MQTT-1.5.4-2] U+0000", `10 ["MQTT" 05 02 0000 [] 0001 00]`, 0x81},
	{"[MQTT-1.5.5-1] property length longer than needed", `30 ["a" 8000]`, 0x81},
	{"[MQTT-1.5.5-1] identifier longer than needed", `82 [0001 [0b 8100] "a" 00]`, 0x81},
	{"[MQTT-1.5.5-1] five bytes", `82 [0001 [0b 8080808001] "a" 00]`, 0x81},
	{"[MQTT-1.5.7-1] name of a user property", `30 ["a" [26 0001 ff ""]]`, 0x81},
	{"[MQTT-1.5.7-1] value of a user property", `30 ["a" [26 "" 0001 00]]`, 0x81},
	{"half a user property", `30 ["a" [26 "k"]]`, 0x81},
	{"[MQTT-2.2.2-1] no property length", `30 ["a"]`, 0x81},
	{"[MQTT-2.2.2-1] no property length", `10 ["MQTT" 05 02 0000]`, 0x81},
	{"[MQTT-2.2.2-1] no property length", `20 [00 00]`, 0x81},
	{"[MQTT-2.2.2-1] no property length", `82 [0001]`, 0x81},
	{"[MQTT-2.2.2-1] no property length", `b0 [0001]`, 0x81},
	{"properties longer than the packet", `30 ["a" 05 23 0001]`, 0x81},
	{"property ends within its value", `30 ["a" [02 000000]]`, 0x81},
	{"property ends within its length", `30 ["a" [03 00]]`, 0x81},
	{"unknown property", `30 ["a" [04 00]]`, 0x81},
	{"unknown property, beyond all", `30 ["a" [7f 00]]`, 0x81},
	{"property of two bytes", `30 ["a" [8100 00]]`, 0x81},
	{"property 0", `30 ["a" [00 00]]`, 0x81},

	// Flags of the fixed header.
	{"[MQTT-2.1.3-1] CONNECT", `11 ["MQTT" 05 02 0000 [] ""]`, 0x81},
	{"[MQTT-2.1.3-1] CONNACK", `21 [00 00 []]`, 0x81},
	{"[MQTT-2.1.3-1] PUBACK", `42 02 0001`, 0x81},
	{"[MQTT-3.6.1-1] PUBREL", `60 02 0001`, 0x81},
	{"[MQTT-3.6.1-1] PUBREL with DUP, which is for 3.1", `6a 02 0001`, 0x81},
	{"[MQTT-3.8.1-1] SUBSCRIBE", `80 [0001 [] "a" 00]`, 0x81},
	{"[MQTT-3.10.1-1] UNSUBSCRIBE", `a0 [0001 [] "a"]`, 0x81},
	{"[MQTT-3.14.1-1] DISCONNECT", `e1 00`, 0x81},
	{"[MQTT-3.14.1-1] DISCONNECT", `e1 01 00`, 0x81},
	{"[MQTT-3.15.1-1] AUTH", `f1 00`, 0x81},

	// CONNECT.
	{"[MQTT-3.1.2-1] name", `10 ["mqtt" 05 02 0000 [] ""]`, 0x82},
	{"[MQTT-3.1.2-2] level", `10 ["MQTT" 06 02 0000 [] ""]`, 0x84},
	{"[MQTT-3.1.2-3] reserved flag", `10 ["MQTT" 05 03 0000 [] ""]`, 0x81},
	{"[MQTT-3.1.2-11] will QoS without will", `10 ["MQTT" 05 08 0000 [] ""]`, 0x81},
	{"[MQTT-3.1.2-12] will QoS 3", `10 ["MQTT" 05 1c 0000 [] "" [] "w" ""]`, 0x81},
	{"[MQTT-3.1.2-13] will retain without will", `10 ["MQTT" 05 20 0000 [] ""]`, 0x81},
	{"[MQTT-3.1.2-9] will missing", `10 ["MQTT" 05 04 0000 [] ""]`, 0x81},
	{"[MQTT-3.1.2-9] will properties missing", `10 ["MQTT" 05 04 0000 [] "" "w" ""]`, 0x81},
	{"[MQTT-3.1.2-9] will payload missing", `10 ["MQTT" 05 04 0000 [] "" [] "w"]`, 0x81},
	{"[MQTT-3.1.2-16] user name present", `10 ["MQTT" 05 00 0000 [] "" "u"]`, 0x81},
	{"[MQTT-3.1.2-17] user name missing", `10 ["MQTT" 05 80 0000 [] ""]`, 0x81},
	{"[MQTT-3.1.2-18] password present", `10 ["MQTT" 05 80 0000 [] "" "u" "p"]`, 0x81},
	{"[MQTT-3.1.2-19] password missing", `10 ["MQTT" 05 c0 0000 [] "" "u"]`, 0x81},
	{"[MQTT-3.1.3-3] client identifier missing", `10 ["MQTT" 05 02 0000 []]`, 0x81},
	{"[MQTT-3.1.3-4] client identifier", `10 ["MQTT" 05 02 0000 [] 0001 80]`, 0x81},
	{"[MQTT-3.1.3-11] will topic", `10 ["MQTT" 05 04 0000 [] "" [] 0001 ff ""]`, 0x81},
	{"[MQTT-3.1.3-12] user name", `10 ["MQTT" 05 80 0000 [] "" 0001 ff]`, 0x81},
	{"[MQTT-4.7.3-1] empty will topic", `10 ["MQTT" 05 04 0000 [] "" [] "" ""]`, 0x90},
	{"[MQTT-4.7.0-1] will topic with a wildcard", `10 ["MQTT" 05 04 0000 [] "" [] "a/#" ""]`, 0x90},
	{"[MQTT-3.1.4-1] more than the fields", `10 ["MQTT" 05 02 0000 [] "" 00]`, 0x81},
	{"receive maximum 0", `10 ["MQTT" 05 02 0000 [21 0000] ""]`, 0x82},
	{"maximum packet size 0", `10 ["MQTT" 05 02 0000 [27 00000000] ""]`, 0x82},
	{"request response information 2", `10 ["MQTT" 05 02 0000 [19 02] ""]`, 0x82},
	{"request problem information 2", `10 ["MQTT" 05 02 0000 [17 02] ""]`, 0x82},
	{"authentication data without a method", `10 ["MQTT" 05 02 0000 [16 "d"] ""]`, 0x82},
	{"a property of CONNACK", `10 ["MQTT" 05 02 0000 [24 01] ""]`, 0x81},
	{"a will property in CONNECT", `10 ["MQTT" 05 02 0000 [18 00000001] ""]`, 0x81},
	{"a property of CONNECT in the will", `10 ["MQTT" 05 04 0000 [] "" [11 00000001] "w" ""]`, 0x81},
	{"will with a topic alias", `10 ["MQTT" 05 04 0000 [] "" [23 0001] "w" ""]`, 0x81},
	{"will with payload format 2", `10 ["MQTT" 05 04 0000 [] "" [01 02] "w" ""]`, 0x82},
	{"[MQTT-3.3.2-14] will with a response filter", `10 ["MQTT" 05 04 0000 [] "" [08 "a/+"] "w" ""]`, 0x82},

	// CONNACK.
	{"[MQTT-3.2.2-1] reserved flags", `20 [02 00 []]`, 0x81},
	{"[MQTT-3.2.2-6] session present, but refused", `20 [01 87 []]`, 0x82},
	{"[MQTT-3.2.2-8] a code that is no refusal", `20 [00 01 []]`, 0x81},
	{"the form of 3.1.1", `20 02 00 05`, 0x81},
	{"the form of 3.1.1", `20 02 01 01`, 0x82},
	{"too short", `20 01 00`, 0x81},
	{"receive maximum 0", `20 [00 00 [21 0000]]`, 0x82},
	{"maximum QoS 2", `20 [00 00 [24 02]]`, 0x82},
	{"retain available 2", `20 [00 00 [25 02]]`, 0x82},
	{"maximum packet size 0", `20 [00 00 [27 00000000]]`, 0x82},
	{"wildcard subscription available 2", `20 [00 00 [28 02]]`, 0x82},
	{"subscription identifiers available 2", `20 [00 00 [29 02]]`, 0x82},
	{"shared subscription available 2", `20 [00 00 [2a 02]]`, 0x82},
	{"a property of CONNECT", `20 [00 00 [19 01]]`, 0x81},
	{"a payload", `20 [00 00 [] 00]`, 0x81},

	// PUBLISH.
	{"[MQTT-3.3.1-2] DUP at QoS 0", `38 ["a" []]`, 0x82},
	{"[MQTT-3.3.1-4] QoS 3", `36 ["a" 0001 []]`, 0x81},
	{"[MQTT-3.3.2-1] topic not UTF-8", `30 [0001 ff []]`, 0x81},
	{"[MQTT-3.3.2-1] topic missing", `30 [00]`, 0x81},
	{"[MQTT-4.7.3-2] topic with U+0000", `30 [0001 00 []]`, 0x81},
	{"[MQTT-3.3.2-2] wildcard", `30 ["a/+" []]`, 0x90},
	{"[MQTT-4.7.0-1] wildcard", `30 ["#" []]`, 0x90},
	{"no topic, no alias", `30 ["" []]`, 0x82},
	{"no topic, no alias, other properties", `30 ["" [01 01]]`, 0x82},
	{"[MQTT-2.2.1-3] packet identifier 0", `32 ["a" 0000 []]`, 0x82},
	{"[MQTT-3.3.2-8] alias 0", `30 ["a" [23 0000]]`, 0x94},
	{"[MQTT-3.3.2-8] alias 0 and no topic", `30 ["" [23 0000]]`, 0x94},
	{"payload format 2", `30 ["a" [01 02]]`, 0x82},
	{"[MQTT-3.3.2-13] response topic not UTF-8", `30 ["a" [08 0001 ff]]`, 0x81},
	{"[MQTT-3.3.2-14] response topic with a wildcard", `30 ["a" [08 "r/#"]]`, 0x82},
	{"[MQTT-4.7.3-1] empty response topic", `30 ["a" [08 ""]]`, 0x82},
	{"[MQTT-3.3.2-19] content type not UTF-8", `30 ["a" [03 0001 ff]]`, 0x81},
	{"subscription identifier 0", `30 ["a" [0b 00]]`, 0x82},
	{"a property of CONNECT", `30 ["a" [11 00000000]]`, 0x81},
	{"a reason string", `30 ["a" [1f "r"]]`, 0x81},

	// Acknowledgements.
	{"[MQTT-2.2.1-5] packet identifier 0", `40 02 0000`, 0x82},
	{"[MQTT-2.2.1-5] packet identifier 0", `62 03 0000 92`, 0x82},
	{"[MQTT-3.4.2-1] PUBACK", `40 03 0001 92`, 0x81},
	{"[MQTT-3.4.2-1] PUBACK, no code at all", `40 03 0001 7f`, 0x81},
	{"[MQTT-3.5.2-1] PUBREC", `50 03 0001 01`, 0x81},
	{"[MQTT-3.6.2-1] PUBREL", `62 03 0001 80`, 0x81},
	{"[MQTT-3.7.2-1] PUBCOMP", `70 03 0001 87`, 0x81},
	{"too short", `40 01 00`, 0x81},
	{"a property of PUBLISH", `40 [0001 00 [01 01]]`, 0x81},
	{"more than the fields", `40 [0001 00 [] 00]`, 0x81},

	// SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
	{"[MQTT-2.2.1-3] SUBSCRIBE 0", `82 [0000 [] "a" 00]`, 0x82},
	{"subscription identifier 0", `82 [0001 [0b 00] "a" 00]`, 0x82},
	{"two subscription identifiers", `82 [0001 [0b 01 0b 02] "a" 00]`, 0x82},
	{"[MQTT-3.8.3-1] filter not UTF-8", `82 [0001 [] 0001 ff 00]`, 0x81},
	{"[MQTT-3.8.3-2] no filter", `82 [0001 []]`, 0x82},
	{"maximum QoS 3", `82 [0001 [] "a" 03]`, 0x82},
	{"retain handling 3", `82 [0001 [] "a" 30]`, 0x82},
	{"[MQTT-3.8.3-4] no local for a shared subscription", `82 [0001 [] "$share/g/a" 05]`, 0x82},
	{"[MQTT-3.8.3-5] reserved bits", `82 [0001 [] "a" 40]`, 0x81},
	{"[MQTT-3.8.3-5] reserved bits", `82 [0001 [] "a" 80]`, 0x81},
	{"options missing", `82 [0001 [] "a"]`, 0x81},
	{"[MQTT-4.7.1-1] # not at the end", `82 [0001 [] "#/a" 00]`, 0x8f},
	{"[MQTT-4.7.1-2] + with something else", `82 [0001 [] "a+" 00]`, 0x8f},
	{"[MQTT-4.7.3-1] empty filter", `82 [0001 [] "" 00]`, 0x8f},
	{"[MQTT-4.8.2-1] shared, no group", `82 [0001 [] "$share//a" 00]`, 0x8f},
	{"[MQTT-4.8.2-2] shared, no filter", `82 [0001 [] "$share/g/" 00]`, 0x8f},
	{"[MQTT-4.8.2-2] shared, wildcard in the group", `82 [0001 [] "$share/+/a" 00]`, 0x8f},
	{"a reason string", `82 [0001 [1f "r"] "a" 00]`, 0x81},
	{"[MQTT-2.2.1-6] SUBACK 0", `90 [0000 [] 00]`, 0x82},
	{"[MQTT-3.8.4-6] SUBACK without a code", `90 [0001 []]`, 0x81},
	{"[MQTT-3.9.3-2] SUBACK with another code", `90 [0001 [] 00 10]`, 0x81},
	{"[MQTT-2.2.1-3] UNSUBSCRIBE 0", `a2 [0000 [] "a"]`, 0x82},
	{"[MQTT-3.10.3-1] filter not UTF-8", `a2 [0001 [] 0001 ff]`, 0x81},
	{"[MQTT-3.10.3-2] no filter", `a2 [0001 []]`, 0x82},
	{"[MQTT-4.8.2-2] shared, no filter", `a2 [0001 [] "$share/g"]`, 0x8f},
	{"a subscription identifier", `a2 [0001 [0b 01] "a"]`, 0x81},
	{"[MQTT-2.2.1-6] UNSUBACK 0", `b0 [0000 [] 00]`, 0x82},
	{"[MQTT-3.11.3-2] UNSUBACK without a code", `b0 [0001 []]`, 0x81},
	{"[MQTT-3.11.3-2] UNSUBACK with another code", `b0 [0001 [] 01]`, 0x81},

	// The rest.
	{"PINGREQ with a body", `c0 01 00`, 0x81},
	{"PINGRESP with a body", `d0 01 00`, 0x81},
	{"[MQTT-3.14.2-1] DISCONNECT with another code", `e0 01 01`, 0x81},
	{"[MQTT-3.14.2-1] DISCONNECT with another code", `e0 [88 []]`, 0x81},
	{"a property of CONNECT", `e0 [00 [21 0001]]`, 0x81},
	{"more than the fields", `e0 [00 [] 00]`, 0x81},
	{"[MQTT-3.15.2-1] AUTH with another code", `f0 [80 [15 "M"]]`, 0x81},
	{"AUTH without a method", `f0 [18 []]`, 0x82},
	{"AUTH without a method", `f0 [18 [16 "d"]]`, 0x82},
	{"AUTH without property length", `f0 01 18`, 0x81},
	{"more than the fields", `f0 [18 [15 "M"] 00]`, 0x81},
}

func TestInvalidPackets5(t *testing.T) {
	for _, c := range invalid5 {
		f := frame(t, wire(t, c.raw))
		err := NewPacket(f.Type).Decode(f, V5)
		var e *Error
		if !errors.As(err, &e) || e.Code != c.code || e.Text == "" {
			t.Errorf("%s: %s: got %v, want %v", c.spec, c.raw, err, c.code)
		}
	}
}

// "It is a Protocol Error to include" each property but the user property twice, says the section about each of them.
func TestPropertiesComeOnce(t *testing.T) {
	body := map[Type]string{
		TypeConnect: `10 ["MQTT" 05 02 0000 [%s] ""]`, 0: `10 ["MQTT" 05 04 0000 [] "" [%s] "w" ""]`, TypeConnAck: `20 [00 80 [%s]]`,
		TypePublish: `30 ["a" [%s]]`, TypePubAck: `40 [0001 00 [%s]]`, TypePubRec: `50 [0001 00 [%s]]`, TypePubRel: `62 [0001 00 [%s]]`,
		TypePubComp: `70 [0001 00 [%s]]`, TypeSubscribe: `82 [0001 [%s] "a" 00]`, TypeSubAck: `90 [0001 [%s] 00]`,
		TypeUnsubscribe: `a2 [0001 [%s] "a"]`, TypeUnsubAck: `b0 [0001 [%s] 00]`, TypeDisconnect: `e0 [00 [%s]]`, TypeAuth: `f0 [18 [%s]]`,
	}
	value := map[int]string{
		propPayloadFormat: "01", propMessageExpiry: "00000001", propContentType: `"c"`, propResponseTopic: `"r"`, propCorrelationData: `"d"`,
		propSubscriptionID: "01", propSessionExpiry: "00000001", propAssignedClientID: `"i"`, propServerKeepAlive: "0001", propAuthMethod: `"m"`,
		propAuthData: `"d"`, propRequestProblem: "01", propWillDelay: "00000001", propRequestResponse: "01", propResponseInformation: `"i"`,
		propServerReference: `"s"`, propReasonString: `"r"`, propReceiveMaximum: "0001", propTopicAliasMaximum: "0001", propTopicAlias: "0001",
		propMaximumQoS: "01", propRetainAvailable: "01", propUser: `"k" "v"`, propMaximumPacketSize: "00000001", propWildcardAvailable: "01",
		propSubIDAvailable: "01", propSharedAvailable: "01",
	}
	// Table 2-4 of the specification; 0 is the will.
	table := map[int][]Type{
		propPayloadFormat: {TypePublish, 0}, propMessageExpiry: {TypePublish, 0}, propContentType: {TypePublish, 0},
		propResponseTopic: {TypePublish, 0}, propCorrelationData: {TypePublish, 0}, propSubscriptionID: {TypePublish, TypeSubscribe},
		propSessionExpiry: {TypeConnect, TypeConnAck, TypeDisconnect}, propAssignedClientID: {TypeConnAck}, propServerKeepAlive: {TypeConnAck},
		propAuthMethod: {TypeConnect, TypeConnAck, TypeAuth}, propAuthData: {TypeConnect, TypeConnAck, TypeAuth}, propRequestProblem: {TypeConnect},
		propWillDelay: {0}, propRequestResponse: {TypeConnect}, propResponseInformation: {TypeConnAck}, propServerReference: {TypeConnAck, TypeDisconnect},
		propReasonString:   {TypeConnAck, TypePubAck, TypePubRec, TypePubRel, TypePubComp, TypeSubAck, TypeUnsubAck, TypeDisconnect, TypeAuth},
		propReceiveMaximum: {TypeConnect, TypeConnAck}, propTopicAliasMaximum: {TypeConnect, TypeConnAck}, propTopicAlias: {TypePublish},
		propMaximumQoS: {TypeConnAck}, propRetainAvailable: {TypeConnAck}, propMaximumPacketSize: {TypeConnect, TypeConnAck},
		propWildcardAvailable: {TypeConnAck}, propSubIDAvailable: {TypeConnAck}, propSharedAvailable: {TypeConnAck},
		propUser: {
			TypeConnect, 0, TypeConnAck, TypePublish, TypePubAck, TypePubRec, TypePubRel, TypePubComp, TypeSubscribe, TypeSubAck, TypeUnsubscribe,
			TypeUnsubAck, TypeDisconnect, TypeAuth,
		},
	}
	decode := func(t *testing.T, typ Type, block string) error {
		f := frame(t, wire(t, fmt.Sprintf(body[typ], block)))
		return NewPacket(f.Type).Decode(f, V5)
	}
	if len(table) != 27 || len(value) != len(table) {
		t.Fatalf("%d properties, want 27", len(table))
	}
	for id := range 64 {
		for typ := range body {
			belongs := false
			for _, in := range table[id] {
				belongs = belongs || in == typ
			}
			base := ""
			if typ == TypeAuth && id != propAuthMethod || typ == TypeConnect && id == propAuthData {
				base = `15 "m"`
			}
			one := fmt.Sprintf("%02x %s", id, value[id])
			if err := decode(t, typ, base+one); (err == nil) != belongs || err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("property %#x in %v: got %v, belongs there: %v", id, typ, err, belongs)
			}
			if !belongs {
				continue
			}
			repeated := id == propUser || id == propSubscriptionID && typ == TypePublish
			if err := decode(t, typ, base+one+one); (err == nil) != repeated || err != nil && !errors.Is(err, ErrProtocol) {
				t.Errorf("property %#x twice in %v: got %v", id, typ, err)
			}
		}
	}
}

func TestRepeatedPropertiesAreBounded(t *testing.T) {
	for name, one := range map[string]string{"user properties": `26 "" ""`, "subscription identifiers": "0b 01"} {
		for n, want := range map[int]error{MaxRepeated: nil, MaxRepeated + 1: ErrTooLarge} {
			f := frame(t, wire(t, `30 ["a" [`+strings.Repeat(one, n)+`]]`))
			if err := (&Publish{}).Decode(f, V5); !errors.Is(err, want) {
				t.Errorf("%d %s: got %v, want %v", n, name, err, want)
			}
		}
	}
}
