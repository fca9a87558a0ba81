package mqtt

import (
	"errors"
	"testing"
)

// The tables of the sections about the packets, in the specification's order; c and s say who may send the code.
func TestReasonsAllowed(t *testing.T) {
	tables := map[Type]string{
		// [MQTT-3.2.2-8]
		TypeConnAck: "s00 s80 s81 s82 s83 s84 s85 s86 s87 s88 s89 s8a s8c s90 s95 s97 s99 s9a s9b s9c s9d s9f",
		// [MQTT-3.4.2-1] [MQTT-3.5.2-1]
		TypePubAck: "cs00 s10 cs80 cs83 cs87 cs90 cs91 cs97 cs99",
		TypePubRec: "cs00 s10 cs80 cs83 cs87 cs90 cs91 cs97 cs99",
		// [MQTT-3.6.2-1] [MQTT-3.7.2-1]
		TypePubRel:  "cs00 cs92",
		TypePubComp: "cs00 cs92",
		// [MQTT-3.9.3-2] [MQTT-3.11.3-2]
		TypeSubAck:   "s00 s01 s02 s80 s83 s87 s8f s91 s97 s9e sa1 sa2",
		TypeUnsubAck: "s00 s11 s80 s83 s87 s8f s91",
		// [MQTT-3.14.2-1]; 8c from table 2-6, 9b of the client from section 3.3.4
		TypeDisconnect: "cs00 c04 cs80 cs81 cs82 cs83 s87 s89 s8b s8c s8d s8e s8f cs90 cs93 cs94 cs95 cs96 cs97 cs98 cs99 s9a cs9b s9c s9d s9e s9f sa0 sa1 sa2",
		// [MQTT-3.15.2-1]
		TypeAuth: "s00 cs18 c19",
	}
	named := map[ReasonCode]bool{}
	for typ := range TypeAuth + 1 {
		want := map[ReasonCode]string{}
		for len(tables[typ]) > 0 {
			s := tables[typ]
			n := 0
			for n < len(s) && s[n] != ' ' {
				n++
			}
			code := unhex(t, s[n-2:n])[0]
			want[ReasonCode(code)] = s[:n-2]
			tables[typ] = s[min(n+1, len(s)):]
			named[ReasonCode(code)] = true
		}
		for c := range 256 {
			code, got := ReasonCode(c), ""
			if code.Allowed(Client, typ) {
				got += "c"
			}
			if code.Allowed(Server, typ) {
				got += "s"
			}
			if got != want[code] {
				t.Errorf("%v in %v: got %q, want %q", code, typ, got, want[code])
			}
		}
	}
	for c := range 256 {
		if has := reasons[c].name != ""; has != named[ReasonCode(c)] {
			t.Errorf("code %#x has a name: %v", c, has)
		}
	}
	if len(named) != 43 {
		t.Errorf("got %d codes, want 43", len(named))
	}
}

func TestReasonNames(t *testing.T) {
	for got, want := range map[string]string{
		ReasonNotAuthorized.String(): "not authorized", ReasonCode(0x7f).String(): "reason 0x7f", Client.String(): "client",
		Server.String(): "server", Sender(3).String(): "sender 3",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if ReasonReauthenticate.Failed() || !ReasonUnspecified.Failed() {
		t.Error("failures begin at 0x80")
	}
}

func TestCheckSender(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet interface{ CheckSender(Sender) error }
		by     string // who may send it
	}{
		{"PUBLISH", &Publish{}, "cs"},
		{"[MQTT-3.3.4-6] subscription identifier", &Publish{SubscriptionIDs: []uint32{1}}, "s"},
		{"PUBACK", &Ack{Type: TypePubAck}, "cs"},
		{"no matching subscribers", &Ack{Type: TypePubRec, Code: ReasonNoMatchingSubscribers}, "s"},
		{"UNSUBACK", &Ack{Type: TypeUnsubAck, Codes: []ReasonCode{0}}, "s"},
		{"DISCONNECT", &Disconnect{}, "cs"},
		{"with will", &Disconnect{Code: ReasonDisconnectWithWill}, "c"},
		{"[MQTT-3.14.2-2] session expiry", &Disconnect{SessionExpiry: Some[uint32](0)}, "c"},
		{"server reference", &Disconnect{Code: 0x80, ServerReference: "x"}, "s"},
		{"taken over", &Disconnect{Code: ReasonSessionTakenOver}, "s"},
		{"authentication succeeds", &Auth{}, "s"},
		{"and goes on", &Auth{Code: ReasonContinueAuthentication}, "cs"},
		{"and begins anew", &Auth{Code: ReasonReauthenticate}, "c"},
	} {
		got := ""
		for s, by := range map[string]Sender{"c": Client, "s": Server} {
			err := c.packet.CheckSender(by)
			if err == nil && s == "c" {
				got = s + got
			} else if err == nil {
				got += s
			} else if !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: got %v", c.name, err)
			}
		}
		if got != c.by {
			t.Errorf("%s: got %q, want %q", c.name, got, c.by)
		}
	}
}
