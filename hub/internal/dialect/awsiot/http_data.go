package awsiot

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// dataOperations are those of the data plane, service "iotdata".
func dataOperations() []operation {
	topicOf := func(c *call) string { return "topic/" + c.labels["topic"] }
	thingOf := func(c *call) string { return shadowResource(c.labels["thingName"], c.r.URL.Query().Get("name")) }
	clientOf := func(c *call) string { return "client/" + c.labels["clientId"] }
	anything := func(*call) string { return "*" }
	return []operation{
		{service: data, name: "Publish", method: post, path: "/topics/{topic+}", do: (*call).publish, action: "iot:Publish", resource: topicOf},
		{service: data, name: "GetRetainedMessage", method: get, path: "/retainedMessage/{topic+}", do: (*call).retainedMessage, action: "iot:GetRetainedMessage", resource: topicOf},
		{service: data, name: "ListRetainedMessages", method: get, path: "/retainedMessage", do: (*call).listRetained, action: "iot:ListRetainedMessages", resource: anything},
		{service: data, name: "GetThingShadow", method: get, path: "/things/{thingName}/shadow", do: (*call).getShadow, action: "iot:GetThingShadow", resource: thingOf},
		{service: data, name: "UpdateThingShadow", method: post, path: "/things/{thingName}/shadow", do: (*call).updateShadow, action: "iot:UpdateThingShadow", resource: thingOf},
		{service: data, name: "DeleteThingShadow", method: remove, path: "/things/{thingName}/shadow", do: (*call).deleteShadow, action: "iot:DeleteThingShadow", resource: thingOf},
		{
			service: data, name: "ListNamedShadowsForThing", method: get, path: "/api/things/shadow/ListNamedShadowsForThing/{thingName}",
			do: (*call).listShadows, action: "iot:ListNamedShadowsForThing", resource: anything,
		},
		{service: data, name: "GetConnection", method: get, path: "/connections/{clientId}", do: (*call).getConnection, action: "iot:GetConnection", resource: clientOf},
		{service: data, name: "ListSubscriptions", method: get, path: "/connections/{clientId}/subscriptions", do: (*call).listSubscriptions, action: "iot:ListSubscriptions", resource: clientOf},
		{service: data, name: "SendDirectMessage", method: post, path: "/connections/{clientId}/messages", do: (*call).sendDirect, action: "iot:SendDirectMessage", resource: clientOf},
		{service: data, name: "DeleteConnection", method: remove, path: "/connections/{clientId}", do: (*call).deleteConnection, action: "iot:DeleteConnection", resource: clientOf},
	}
}

func shadowResource(thing, shadow string) string {
	if shadow == "" {
		return keyThing + thing
	}
	return keyThing + thing + "/" + shadow
}

// message makes the message of a request: its properties are those of MQTT 5, which come as parameters and headers.
func (c *call) message(topic string) (core.Message, error) {
	m := core.Message{Topic: topic, Payload: c.body}
	if len(c.body) > maxPayloadBytes {
		return m, refuse(tooLarge, "The payload of %d bytes is larger than %d.", len(c.body), maxPayloadBytes)
	}
	qos, err := c.number("qos", 0, 1, 0)
	if err != nil {
		return m, err
	}
	m.QoS = byte(qos)
	if m.Retain, err = c.flag("retain", false); err != nil {
		return m, err
	}
	life, err := c.number("messageExpiry", 0, 1<<40, 0)
	if err != nil {
		return m, err
	}
	if life > 0 {
		m.Expires = c.d.cfg.Now().Add(time.Duration(min(life, maxExpiry)) * time.Second)
	}
	p, err := c.properties()
	if err == nil {
		m.Properties = p.Append(nil)
	}
	return m, err
}

const (
	maxExpiry        = 604_800        // seconds
	maxPropertyBytes = math.MaxUint16 // of a text or binary data in MQTT
)

func (c *call) properties() (p mqtt.MessageProperties, err error) {
	contentType := c.query.Get("contentType")
	p.ResponseTopic = c.query.Get("responseTopic")
	for _, text := range []string{contentType, p.ResponseTopic} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || len(text) > 256 {
			return p, refuse(invalidRequest, "Invalid contentType or responseTopic.")
		}
	}
	if strings.ContainsAny(p.ResponseTopic, "+#") {
		return p, refuse(invalidRequest, "Invalid responseTopic.")
	}
	if contentType != "" {
		p.ContentType = mqtt.Some(contentType)
	}
	switch v := c.r.Header.Get("x-amz-mqtt5-payload-format-indicator"); v {
	case "":
	case "UNSPECIFIED_BYTES":
		p.PayloadFormat = mqtt.Some(byte(mqtt.PayloadBytes))
	case "UTF8_DATA":
		p.PayloadFormat = mqtt.Some(byte(mqtt.PayloadUTF8))
		if !utf8.Valid(c.body) {
			return p, refuse(invalidRequest, "The payload is not UTF-8.")
		}
	default:
		return p, invalidValue(v, "payloadFormatIndicator", "Member must satisfy enum value set: [UNSPECIFIED_BYTES, UTF8_DATA]")
	}
	if v := c.r.Header.Get("x-amz-mqtt5-correlation-data"); v != "" {
		if p.CorrelationData, err = base64.StdEncoding.DecodeString(v); err != nil || len(p.CorrelationData) > maxPropertyBytes {
			return p, refuse(invalidRequest, "Invalid correlationData: it is not base64.")
		}
	}
	p.User, err = userProperties(c.r.Header.Get("x-amz-mqtt5-user-properties"))
	return p, err
}

// userProperties reads the header of that name: base64 of [{"name":"value"},...], or of a JSON string that holds this (boto3,
// when its caller hands over JSON).
func userProperties(header string) (list []mqtt.UserProperty, err error) {
	if header == "" {
		return nil, nil
	}
	malformed := refuse(invalidRequest, "Invalid userProperties: want base64 of a JSON array of objects.")
	text, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		return nil, malformed
	}
	var inner string
	if json.Unmarshal(text, &inner) == nil {
		text = []byte(inner)
	}
	var objects []map[string]string
	if json.Unmarshal(text, &objects) != nil {
		return nil, malformed
	}
	if len(objects) > mqtt.MaxRepeated {
		return nil, malformed
	}
	for _, o := range objects {
		if len(o) > 1 {
			return nil, malformed // their order would be lost
		}
		for name, value := range o {
			if !utf8.ValidString(name+value) || strings.ContainsRune(name+value, 0) || max(len(name), len(value)) > maxPropertyBytes {
				return nil, malformed
			}
			list = append(list, mqtt.UserProperty{Key: name, Value: value})
		}
	}
	return list, nil
}

// waiter is the owner of a batch that a request waits for.
type waiter chan error

func (w waiter) Committed(_ *commit.Batch, err error) { w <- err }

// publish takes a message the way that those of devices take, but for samples: it is no device's.
func (c *call) publish() (any, error) {
	m, err := c.message(c.labels["topic"])
	if err != nil {
		return nil, err
	}
	if err := checkHTTPTopic(m.Topic, m.Retain); err != nil {
		return nil, err
	}
	if m.Retain {
		if err := c.allowed("iot:RetainPublish", "topic/"+m.Topic); err != nil {
			return nil, err
		}
	}
	done := make(waiter, 1)
	b := &commit.Batch{Owner: done}
	r := reserved{kind: kindOther}
	if strings.HasPrefix(m.Topic, "$") {
		r = parseReserved(m.Topic)
	}
	if r.kind == kindShadow || r.kind == kindOther { // before its answers
		b.Do(func(tx *commit.Tx) error { return c.d.publishAll(tx, c.tenant(), m) }, nil)
	}
	if s := c.d.services[r.kind]; s != nil {
		err := s.receive(&sender{account: c.account, principal: c.principalName()}, &r, dialect.Publish{Payload: m.Payload, QoS: m.QoS}, b)
		if err != nil {
			return nil, err
		}
	}
	if !b.Empty() {
		if err := c.d.cfg.Committer.Submit(b); err != nil {
			return nil, err
		}
		select {
		case err = <-done:
		case <-c.ctx().Done():
			err = c.ctx().Err()
		}
	}
	return map[string]any{"message": "OK", "traceId": c.id}, err
}

// principalName is who makes the request, as what connections' principals are.
func (c *call) principalName() string {
	if c.signer != nil {
		return "" // it may do everything
	}
	return certResource + c.certificate
}

// checkHTTPTopic checks a topic that is published to.
func checkHTTPTopic(name string, retain bool) error {
	if !utf8.ValidString(name) || strings.ContainsAny(name, "+#\x00") {
		return refuse(invalidRequest, "Invalid topic: %.256s", name)
	}
	if err := checkTopic(name, retain); err != nil {
		return refuse(invalidRequest, "Invalid topic: %v", err)
	}
	return nil
}

func (c *call) retainedMessage() (any, error) {
	topic := c.labels["topic"]
	var m core.Retained
	err := c.view(func(rd store.Reader) (err error) {
		if m, err = rd.Retained(c.tenant(), Name, topic); err == nil && m.Expired(c.d.cfg.Now()) {
			err = core.ErrNotFound
		}
		return missing(err, "There is no retained message of topic %.256s.", topic)
	})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"topic": topic, "payload": m.Payload, "qos": m.QoS, "lastModifiedTime": millis(m.Stored)}
	if p, err := mqtt.DecodeMessageProperties(m.Properties); err == nil && p != nil && len(p.User) > 0 {
		var list []map[string]string
		for _, u := range p.User {
			list = append(list, map[string]string{u.Key: u.Value})
		}
		if text, err := marshalJSON(list); err == nil {
			out["userProperties"] = text
		}
	}
	return out, nil
}

func (c *call) listRetained() (any, error) {
	p, err := c.pageOf("nextToken", "maxResults", 200)
	if err != nil {
		return nil, err
	}
	type summary struct {
		Topic string `json:"topic"`
		Size  int    `json:"payloadSize"`
		QoS   byte   `json:"qos"`
		At    int64  `json:"lastModifiedTime"`
	}
	list, next, now := []summary{}, "", c.d.cfg.Now()
	err = c.view(func(rd store.Reader) error {
		from := p.after
		if from != "" {
			from += "\x00"
		}
		for m, err := range rd.RetainedFrom(c.tenant(), Name, "", from) {
			if err != nil {
				return err
			}
			if m.Expired(now) {
				continue
			}
			if len(list) == p.limit {
				next = nextToken(list[len(list)-1].Topic, true)
				return nil
			}
			list = append(list, summary{m.Topic, len(m.Payload), m.QoS, millis(m.Stored)})
		}
		return nil
	})
	return struct {
		Topics    []summary `json:"retainedTopics"`
		NextToken string    `json:"nextToken,omitempty"`
	}{list, next}, err
}

// shadowReply turns the answer of the shadow service into one of HTTP's.
func shadowReply(body []byte, err error) (any, error) {
	if name, refusal := shadowException(err); refusal != nil {
		return nil, refuse(name, "%s", refusal.Message)
	}
	return rawReply(body), err
}

func (c *call) getShadow() (any, error) {
	return shadowReply(c.d.getThingShadow(c.ctx(), c.tenant(), c.labels["thingName"], c.query.Get("name")))
}

func (c *call) updateShadow() (any, error) {
	return shadowReply(c.d.updateThingShadow(c.ctx(), c.tenant(), c.labels["thingName"], c.query.Get("name"), c.body))
}

func (c *call) deleteShadow() (any, error) {
	return shadowReply(c.d.deleteThingShadow(c.ctx(), c.tenant(), c.labels["thingName"], c.query.Get("name")))
}

func (c *call) listShadows() (any, error) {
	size, err := c.number("pageSize", 1, maxShadowPage, 0)
	if err != nil {
		return nil, err
	}
	return shadowReply(c.d.listNamedShadowsForThing(c.ctx(), c.tenant(), c.labels["thingName"], c.query.Get("nextToken"), int(size)))
}

// clientLabel reads the client id in the path.
func (c *call) clientLabel() (core.SessionKey, error) {
	id := c.labels["clientId"]
	if len(id) > 128 || strings.HasPrefix(id, "$") || !utf8.ValidString(id) {
		return core.SessionKey{}, refuse(invalidRequest, "Invalid client id.")
	}
	return sessionKey(c.tenant(), id), nil
}

func noConnection(id string) error {
	return refuse(notFound, "There is no connection or session of client %.128s.", id)
}

// session finds what is known of the session in the path.
func (c *call) session() (k core.SessionKey, st core.SessionState, err error) {
	if k, err = c.clientLabel(); err != nil {
		return k, st, err
	}
	states, err := c.d.cfg.Broker.SessionStates(c.ctx(), []core.SessionKey{k})
	if err != nil {
		return k, st, err
	}
	st, ok := states[k]
	if !ok {
		return k, st, noConnection(k.ClientID)
	}
	return k, st, nil
}

func (c *call) getConnection() (any, error) {
	k, st, err := c.session()
	sockets, ferr := c.flag("includeSocketInformation", false)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	out := map[string]any{"clientId": k.ClientID, "connected": st.Connected, "cleanSession": !st.Stored, "sessionExpiry": int64(st.Expiry / time.Second)}
	conn, open := c.d.cfg.Broker.Connection(k)
	if !open || !st.Connected { // or it is about to go
		if !st.Ended.IsZero() {
			out["disconnectedSince"] = millis(st.Ended)
		}
		if reason := c.d.versions.reason(liveKey{c.tenant(), k.ClientID}); reason != "" {
			out["disconnectReason"] = reason
		}
		return out, nil
	}
	out["connectedSince"], out["keepAliveDuration"] = millis(conn.Since), int(conn.KeepAlive/time.Second)
	if sockets {
		out["sourceIp"], out["sourcePort"] = conn.Addr.Addr().String(), conn.Addr.Port()
	}
	if conn.Device != 0 {
		err = c.view(func(rd store.Reader) error {
			dev, err := rd.DeviceByNum(conn.Device)
			if found, err := present(err); err != nil || !found {
				return err
			}
			out["thingName"] = string(dev.ID)
			return nil
		})
	}
	return out, err
}

func (c *call) listSubscriptions() (any, error) {
	k, _, err := c.session()
	p, perr := c.page()
	if err := errors.Join(err, perr); err != nil {
		return nil, err
	}
	if c.query.Get("maxResults") == "" {
		p.limit = defaultSubscriptions
	}
	all, err := c.d.cfg.Broker.SessionSubscriptions(c.ctx(), k)
	if err != nil {
		return nil, err
	}
	qos, filters := map[string]byte{}, []string{}
	for i := range all {
		qos[all[i].Filter], filters = all[i].QoS, append(filters, all[i].Filter)
	}
	type subscription struct {
		Filter string `json:"topicFilter"`
		QoS    byte   `json:"qos"`
	}
	page, next := p.pageOfList(filters)
	list := []subscription{}
	for _, f := range page {
		list = append(list, subscription{f, qos[f]})
	}
	return struct {
		Subscriptions []subscription `json:"subscriptions"`
		NextToken     string         `json:"nextToken,omitempty"`
	}{list, next}, nil
}

// defaultSubscriptions is how many subscriptions come at a time when nobody says how many (ListSubscriptions, maxResults).
const defaultSubscriptions = 20

func (c *call) sendDirect() (any, error) {
	k, st, err := c.session()
	if err != nil {
		return nil, err
	}
	m, err := c.message(c.query.Get("topic"))
	if err != nil {
		return nil, err
	}
	if m.QoS, m.Retain = 1, false; m.Topic == "" || strings.HasPrefix(m.Topic, "$") {
		return nil, refuse(invalidRequest, "Invalid topic: %.256s", m.Topic)
	}
	if err := checkHTTPTopic(m.Topic, false); err != nil {
		return nil, err
	}
	if !st.Connected {
		return nil, noConnection(k.ClientID)
	}
	err = c.do(func(tx *commit.Tx) error {
		sent, err := c.d.cfg.Broker.SendTo(tx, k, m)
		if err == nil && !sent {
			err = noConnection(k.ClientID)
		}
		return err
	})
	return map[string]any{"message": "OK", "traceId": c.id}, err
}

func (c *call) deleteConnection() (any, error) {
	k, _, err := c.session()
	wipe, werr := c.flag("cleanSession", false)
	noWill, perr := c.flag("preventWillMessage", false)
	if err := errors.Join(err, werr, perr); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		if noWill {
			if err := c.d.cfg.Broker.CallOffWill(tx, k); err != nil {
				return err
			}
		}
		return c.d.cfg.Broker.Disconnect(tx, k, wipe, endByRequest)
	})
}
