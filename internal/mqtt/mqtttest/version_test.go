package mqtttest

import (
	"strings"
	"testing"

	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// Client and script play version 5 against each other: properties, reason codes, and the server's DISCONNECT.
func TestClientAndScript5(t *testing.T) {
	hello := mqtt.Connect{
		Version: mqtt.V5, ClientID: "pump-7", SessionExpiry: 60, ReceiveMaximum: 10,
		User: []mqtt.UserProperty{{Key: "k", Value: "v"}},
		Will: &mqtt.Will{Topic: "gone", Delay: 5, Properties: &mqtt.MessageProperties{ContentType: mqtt.Some("text")}},
	}
	request := mqtt.Publish{
		QoS: 1, Topic: []byte("ask"), TopicAlias: 1, MessageExpiry: mqtt.Some[uint32](0),
		Properties: &mqtt.MessageProperties{ResponseTopic: "answer", CorrelationData: []byte("7")},
	}
	subscribe := mqtt.Subscribe{SubscriptionID: 9, Subscriptions: []mqtt.Subscription{
		{Filter: "a", QoS: 2, NoLocal: true}, {Filter: "$share/g/b", RetainHandling: mqtt.RetainDontSend},
	}}
	peer := Script(t,
		ExpectExactly(hello), Send(mqtt.ConnAck{ReceiveMaximum: 5, AssignedClientID: "x"}),
		Expect(subscribe), Send(mqtt.SubAck{}),
		Expect(mqtt.Publish{MessageExpiry: mqtt.Some[uint32](0), Properties: &mqtt.MessageProperties{ResponseTopic: "answer"}}),
		Send(mqtt.Ack{Type: mqtt.TypePubAck, Code: mqtt.ReasonNoMatchingSubscribers, Reason: "nobody"}),
		Expect(mqtt.Publish{QoS: 2}), Send(mqtt.Ack{Type: mqtt.TypePubRec, Code: mqtt.ReasonQuotaExceeded}), // and no PUBREL
		Expect(mqtt.Publish{QoS: 2}), Send(mqtt.Ack{Type: mqtt.TypePubRec}),
		Expect(mqtt.Ack{Type: mqtt.TypePubRel}), Send(mqtt.Ack{Type: mqtt.TypePubComp}),
		Expect(mqtt.Unsubscribe{}), Send(mqtt.Ack{Type: mqtt.TypeUnsubAck}),
		Expect(mqtt.Unsubscribe{}), Send(mqtt.Ack{Type: mqtt.TypeUnsubAck, Codes: []mqtt.ReasonCode{mqtt.ReasonNoSubscriptionExisted}}),
		Expect(mqtt.PingReq{}), Send(mqtt.Publish{Topic: []byte("a"), SubscriptionIDs: []uint32{9}}), Send(mqtt.PingResp{}),
		Send(mqtt.Publish{Topic: []byte("last")}), Send(mqtt.Disconnect{Code: mqtt.ReasonServerMoved, ServerReference: "b"}), Hangup(),
		Expect(mqtt.Connect{Version: mqtt.V31}), Send(mqtt.ConnAck{}), ExpectExactly(mqtt.Disconnect{}), ExpectHangup(),
		Expect(mqtt.Connect{Version: mqtt.V5}), SendBytes(0x20, 2, 0, 1), Hangup(), // a server of 3.1.1
	)
	c := connect(t, peer)
	if ack := c.Connect(hello); ack.ReceiveMaximum != 5 || ack.AssignedClientID != "x" {
		t.Errorf("got %+v", ack)
	}
	if ack := c.SubscribeWith(subscribe); string(ack.Codes) != "\x02\x00" {
		t.Errorf("got %+v", ack)
	}
	if ack := c.PublishWith(request); ack.Code != mqtt.ReasonNoMatchingSubscribers || ack.Reason != "nobody" {
		t.Errorf("got %+v", ack)
	}
	if ack := c.PublishWith(mqtt.Publish{QoS: 2, Topic: []byte("a")}); ack.Code != mqtt.ReasonQuotaExceeded {
		t.Errorf("got %+v", ack)
	}
	c.Publish("a", 2, nil)
	if got := c.Unsubscribe("a", "b"); len(got) != 2 || got[0] != 0 {
		t.Errorf("got %v", got)
	}
	if got := c.Unsubscribe("a"); got[0] != mqtt.ReasonNoSubscriptionExisted {
		t.Errorf("got %v", got)
	}
	c.Ping()
	if p := c.ReceiveMessage(); len(p.SubscriptionIDs) != 1 || p.SubscriptionIDs[0] != 9 {
		t.Errorf("got %+v", p)
	}
	if d := c.ExpectDisconnect(mqtt.ReasonServerMoved); d.ServerReference != "b" {
		t.Errorf("got %+v", d)
	}
	if p := c.ReceivePublish(); string(p.Topic) != "last" {
		t.Errorf("got %+v", p)
	}

	c = connect(t, peer)
	c.Connect(mqtt.Connect{Version: mqtt.V31, ClientID: "c"})
	c.Disconnect()
	c = connect(t, peer)
	if ack := c.TryConnect(mqtt.Connect{Version: mqtt.V5}); ack.Code != byte(mqtt.ReasonUnsupportedVersion) {
		t.Errorf("got %+v", ack)
	}
	c.ExpectClosed()
}

func TestClientReportsFailures5(t *testing.T) {
	add := func(packets ...mqtt.Packet) (b []byte) {
		for _, p := range packets {
			b = p.Append(b, mqtt.V5)
		}
		return b
	}
	hello := &mqtt.ConnAck{}
	for _, c := range []struct {
		name string
		sent []byte // by the server, which then closes
		do   func(*Client)
		want string
	}{
		{
			"refused publish", add(hello, &mqtt.Ack{Type: mqtt.TypePubAck, ID: 1, Code: mqtt.ReasonNotAuthorized}),
			func(c *Client) { c.Publish("a", 1, nil) }, `publish to "a": refused: not authorized`,
		},
		{
			"other reason", add(hello, &mqtt.Disconnect{Code: mqtt.ReasonServerBusy, Reason: "later"}),
			func(c *Client) { c.ExpectDisconnect(mqtt.ReasonServerMoved) }, `got Disconnect{Code:server busy Reason:"later"}, want server moved`,
		},
		{
			"something behind DISCONNECT", add(hello, &mqtt.Disconnect{}, &mqtt.PingResp{}),
			func(c *Client) { c.ExpectDisconnect(0) }, "got PingResp{}, want the connection closed",
		},
		{
			"too few codes", add(hello, &mqtt.SubAck{ID: 1, Codes: []byte{0}}),
			func(c *Client) { c.SubscribeWith(mqtt.Subscribe{Subscriptions: make([]mqtt.Subscription, 2)}) }, "got 1 codes, want 2",
		},
		{
			"too many codes", add(hello, &mqtt.Ack{Type: mqtt.TypeUnsubAck, ID: 1, Codes: make([]mqtt.ReasonCode, 2)}),
			func(c *Client) { c.Unsubscribe("a") }, `unsubscribe ["a"]: got 2 codes, want 1`,
		},
		{
			"acknowledgement", add(hello, &mqtt.Ack{Type: mqtt.TypePubAck, ID: 7, Code: mqtt.ReasonQuotaExceeded}),
			func(c *Client) { c.ExpectNothing() }, "got PUBACK{Code:quota exceeded ID:7}, want nothing",
		},
	} {
		near, far := memnet.Pipe(0)
		if _, err := far.Write(c.sent); err != nil {
			t.Fatal(err)
		}
		_ = far.CloseWrite()
		r := &recorder{TB: t}
		got := r.run(func() {
			client := NewClient(r, near)
			client.Connect(mqtt.Connect{Version: mqtt.V5})
			c.do(client)
		})
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
