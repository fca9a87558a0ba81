package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
)

// What the standards say about all messages and sessions, in each version. Where two numbers stand together the first is
// the statement of 3.1.1 and the second that of 5.

// eachVersion runs a test with a hub of its own, whose clients may retain messages, in each version.
func eachVersion(t *testing.T, f func(t *testing.T, h *testHub, v mqtt.Version)) {
	t.Helper()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5} {
		t.Run(v.String(), func(t *testing.T) { f(t, retaining(t, t.TempDir(), Config{}), v) })
	}
}

// as connects in a version; a session that does not begin anew lasts for an hour.
func (h *testHub) as(v mqtt.Version, p mqtt.Connect) (*mqtttest.Client, mqtt.ConnAck) {
	h.t.Helper()
	p.Version, p.Username, p.HasUsername = v, "t", true
	if v == mqtt.V5 && !p.CleanStart {
		p.SessionExpiry = 3600
	}
	c := h.dial()
	return c, c.Connect(p)
}

// A CONNECT that is not well formed ends the connection: [MQTT-3.1.4-1], [MQTT-3.1.2-3]. Before version 5 nothing is said
// about it, and what is not CONNECT is never answered: [MQTT-3.1.0-1].
// Statements of 3.1.1: [MQTT-3.2.2-6].
func TestMalformedConnectIsNotAnswered(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	for name, b := range map[string][]byte{
		"reserved flag":  {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 0},
		"other protocol": {0x10, 12, 0, 4, 'M', 'Q', 'T', 'X', 4, 2, 0, 0, 0, 0}, // [MQTT-3.1.2-1]
		"too long":       {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0, 0},
		"reserved flag of 3.1 is no flag, but a will of QoS 3 is": {0x10, 20, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 0x1e, 0, 0, 0, 1, 'x', 0, 1, 'w', 0, 0},
		"SUBSCRIBE":   {0x82, 6, 0, 1, 0, 1, 'a', 0},
		"PUBLISH":     {0x30, 3, 0, 1, 'a'},
		"AUTH":        {0xf0, 0},
		"a response":  {0xd0, 0},
		"no packet":   {0, 0},
		"DISCONNECT":  {0xe0, 0},
		"flags of it": {0x11, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0}, // [MQTT-2.2.2-2]
	} {
		c := h.dial()
		c.SendBytes(b)
		t.Log(name)
		c.ExpectClosed()
	}
}

// What follows a CONNECT that is refused is not looked at: [MQTT-3.1.4-5] [MQTT-3.1.4-6]. The refusal says that no session
// is present, whether or not there is one, and is the end: [MQTT-3.2.2-4] [MQTT-3.2.2-6], [MQTT-3.2.2-5] [MQTT-3.2.2-7].
func TestRefusedConnectIsTheEnd(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		c, _ := h.as(v, mqtt.Connect{ClientID: "pump"})
		c.Subscribe("q", 1)
		c.Disconnect()
		h.plain.refuse = fmt.Errorf("no: %w", core.ErrDenied)
		c = h.dial()
		b := (&mqtt.Connect{Version: v, ClientID: "pump", Username: "t", HasUsername: true}).Append(nil, v)
		b = (&mqtt.Publish{Topic: []byte("a"), QoS: 1, ID: 1, Retain: true, Payload: []byte("x")}).Append(b, v)
		b = (&mqtt.Subscribe{ID: 2, Subscriptions: []mqtt.Subscription{{Filter: "b"}}}).Append(b, v)
		c.SendBytes(b)
		var answer [4]byte
		if _, err := c.Conn().Read(answer[:]); err != nil || answer[0] != 0x20 || answer[2] != 0 || answer[3] == 0 {
			t.Errorf("got %x, %v, want a refusal", answer, err)
		}
		rest := make([]byte, 100)
		for {
			n, err := c.Conn().Read(rest)
			if err != nil {
				break
			}
			if v != mqtt.V5 && n > 0 {
				t.Errorf("got %x behind CONNACK", rest[:n])
			}
		}
		if got := h.received("pump"); len(got) != 0 || h.broker.stats.Retained.Load() != 0 {
			t.Errorf("got %v", got)
		}
		h.plain.refuse = nil
		if _, ack := h.as(v, mqtt.Connect{ClientID: "pump"}); v != mqtt.V31 && !ack.SessionPresent {
			t.Error("the refusal ended the session")
		}
	})
}

// [MQTT-3.1.3-5]: identifiers that a server has to allow. [MQTT-3.1.3-6] in version 3.1.1: one without gets one that is
// nobody else's.
func TestClientIdentifiers(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for _, id := range []string{letters[:23], letters[23:46], letters[39:], "0", "Z"} {
			c, _ := h.as(v, mqtt.Connect{ClientID: id, CleanStart: true})
			c.Disconnect()
		}
		if v == mqtt.V31 {
			return // which wants one: TestClientIDOfVersion31
		}
		a, _ := h.as(v, mqtt.Connect{CleanStart: true})
		b, _ := h.as(v, mqtt.Connect{CleanStart: true})
		a.Subscribe("a", 1)
		h.publish("a", 1, "x")
		a.ReceiveMessage()
		b.ExpectNothing()
	})
}

// [MQTT-3.1.2-12]: no will, nothing to publish. [MQTT-3.1.2-16] [MQTT-3.1.2-14]: one that is not to be retained is not;
// [MQTT-3.1.2-17] [MQTT-3.1.2-15]: one that is, is. [MQTT-3.1.2-10]: each is published once.
// Statements of 3.1.1: [MQTT-3.1.2-8].
func TestRetainedWills(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		w, _ := h.as(v, mqtt.Connect{ClientID: "watcher", CleanStart: true})
		w.Subscribe("will/#", 2)
		for qos := range byte(3) {
			for _, flag := range []bool{false, true} {
				topic := fmt.Sprintf("will/%d/%v", qos, flag)
				c, _ := h.as(v, mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: topic, QoS: qos, Retain: flag, Payload: []byte("x")}})
				c.Close()
				if m := w.ReceiveMessage(); string(m.Topic) != topic || m.QoS != qos || m.Retain {
					t.Errorf("got %+v, want %s", m, topic)
				}
				late, _ := h.as(v, mqtt.Connect{ClientID: "late", CleanStart: true})
				late.Subscribe(topic, 2)
				if flag {
					if m := late.ReceiveMessage(); !m.Retain || m.QoS != qos {
						t.Errorf("%s: got %+v", topic, m)
					}
				}
				late.ExpectNothing()
				late.Disconnect()
			}
		}
		c, _ := h.as(v, mqtt.Connect{ClientID: "pump", CleanStart: true})
		c.Close()
		eventually(t, "disconnection", func() bool { return h.broker.stats.Connections.Load() == 1 })
		w.ExpectNothing()
	})
}

// [MQTT-3.1.2-7]: retained messages are no part of the session that sent them.
func TestRetainedMessagesOutliveTheSession(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		c, _ := h.as(v, mqtt.Connect{ClientID: "pump", CleanStart: true})
		retain(c, "a", "x")
		c.Disconnect()
		eventually(t, "end of the session", func() bool { return h.broker.stats.Sessions.Load() == 0 })
		c, _ = h.as(v, mqtt.Connect{ClientID: "other", CleanStart: true})
		c.Subscribe("a", 1)
		wantList(t, take(t, c, 1, true), "a=x")
	})
}

// [MQTT-3.8.3-2] of version 3.1.1: where there are no wildcards, filters with them are refused.
func TestNoWildcards(t *testing.T) {
	h := startHub(t, t.TempDir(), Config{})
	h.plain.grant = func(g *core.Grant) { g.Profile.NoWildcards = true }
	c, _ := h.connect("c", true)
	for filter, want := range map[string]byte{"a/b": 1, "a/+": mqtt.SubAckFailure, "#": mqtt.SubAckFailure} {
		if got := c.Subscribe(filter, 1); got != want {
			t.Errorf("%s: got %#x, want %#x", filter, got, want)
		}
	}
}

// [MQTT-4.7.3-4]: topics are passed on and compared as they are.
func TestTopicsAreNotNormalised(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		c, _ := h.as(v, mqtt.Connect{ClientID: "c", CleanStart: true})
		for _, filter := range []string{"a//b", "/a", "a/", "e\u0301", " a ", "\ufeffa"} { // [MQTT-1.5.3-3] [MQTT-1.5.4-3]
			c.Subscribe(filter, 0)
		}
		for topic, want := range map[string]bool{
			"a//b": true, "a/b": false, "/a": true, "a": false, "a/": true, "e\u0301": true, "\u00e9": false, " a ": true, "a ": false, "\ufeffa": true,
		} {
			h.publish(topic, 0, "")
			if want {
				if m := c.ReceiveMessage(); string(m.Topic) != topic { // [MQTT-3.3.2-3]
					t.Errorf("got %q, want %q", m.Topic, topic)
				}
			}
			c.ExpectNothing()
		}
		long := strings.Repeat("x", 65_535) // [MQTT-4.7.3-3]
		c.Subscribe("#", 0)
		h.publish(long, 0, "")
		if m := c.ReceiveMessage(); string(m.Topic) != long {
			t.Errorf("got %d bytes", len(m.Topic))
		}
	})
}

// [MQTT-4.8.0-1] [MQTT-4.13.1-1]: what breaks the rules ends the connection, with its will, and nothing of it is done.
func TestViolationsEndTheConnection(t *testing.T) {
	eachVersion(t, func(t *testing.T, h *testHub, v mqtt.Version) {
		w, _ := h.as(v, mqtt.Connect{ClientID: "watcher", CleanStart: true})
		w.Subscribe("#", 1)
		for name, raw := range map[string]string{
			"type 0":                      "\x00\x00",
			"flags of PUBACK":             "\x42\x02\x00\x01",
			"flags of PINGREQ":            "\xc1\x00",
			"flags of DISCONNECT":         "\xe4\x00",
			"PINGREQ with a body":         "\xc0\x01\x00",
			"QoS 3":                       "\x36\x05\x00\x01a\x00\x01",
			"no topic":                    "\x30\x00",
			"U+0000 in the topic":         "\x30\x04\x00\x01\x00\x00",
			"topic not UTF-8":             "\x30\x04\x00\x01\xff\x00",
			"length of five bytes":        "\x30\xff\xff\xff\xff\x01",
			"length longer than needed":   "\xc0\x80\x00",
			"SUBSCRIBE without a filter":  "\x82\x02\x00\x01",
			"SUBSCRIBE with identifier 0": "\x82\x06\x00\x00\x00\x01a\x00",
			"UNSUBSCRIBE without one":     "\xa2\x02\x00\x01",
			"CONNACK":                     "\x20\x02\x00\x00",
			"SUBACK":                      "\x90\x03\x00\x01\x00",
			"UNSUBACK":                    "\xb0\x02\x00\x01",
			"PINGRESP":                    "\xd0\x00",
			"AUTH":                        "\xf0\x00",
		} {
			if v == mqtt.V31 && strings.HasPrefix(name, "flags") {
				continue // nothing is said of them there
			}
			c, _ := h.as(v, mqtt.Connect{ClientID: "pump", CleanStart: true, Will: &mqtt.Will{Topic: "will", Payload: []byte(name), QoS: 1}})
			c.SendBytes([]byte(raw))
			t.Log(name)
			if v == mqtt.V5 {
				if d := c.Expect(mqtt.Disconnect{}).(*mqtt.Disconnect); !d.Code.Failed() {
					t.Errorf("got %+v", d)
				}
			}
			c.ExpectClosed()
			if m := w.ReceiveMessage(); string(m.Payload) != name {
				t.Errorf("got %+v", m)
			}
		}
		w.ExpectNothing()
	})
}
