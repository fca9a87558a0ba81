package awsiot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// requests are those that wait for an answer. An answer comes on the request's topic with "/accepted" or "/rejected" behind it, and has
// the request's client token in it. Several may be under way on one topic, also of other clients.
type requests struct {
	shadows chan struct{} // has an element for each request to a shadow: AWS IoT takes ten at a time ("Device Shadow service quotas")
	certify chan struct{} // likewise for provisioning, whose requests have no token: one at a time

	mu      sync.Mutex
	pending map[string][]string // tokens by topic
}

const maxShadowRequests = 10

func (r *requests) init() {
	r.shadows, r.certify = make(chan struct{}, maxShadowRequests), make(chan struct{}, 1)
	r.pending = map[string][]string{}
}

// A request is a question to AWS IoT.
type request struct {
	op      string        // for errors
	topic   string        // to publish to
	payload []byte        // with the token in it
	token   string        // "" if the service knows none
	filters []string      // by which the answer comes
	oneShot bool          // unsubscribe afterwards
	again   bool          // asking again is harmless
	gate    chan struct{} // bounds how many are under way; nil: nothing does
}

// newToken returns what tells answers apart.
func newToken() string { return rand.Text() }

const (
	accepted = "/accepted"
	rejected = "/rejected"
)

func requestKey(topic, token string) string { return topic + "\x00" + token }

// reply recognises answers. It is called by the goroutine that reads.
func (r *requests) reply(m *mqttclient.Message) (key string, ok bool) {
	topic, refused := strings.CutSuffix(m.Topic, rejected)
	if !refused {
		if topic, ok = strings.CutSuffix(m.Topic, accepted); !ok {
			return "", false
		}
	}
	r.mu.Lock()
	tokens := r.pending[topic]
	r.mu.Unlock()
	if len(tokens) == 0 {
		return "", false
	}
	if tokens[0] == "" {
		return requestKey(topic, ""), true
	}
	var body struct {
		ClientToken string `json:"clientToken"`
	}
	err := json.Unmarshal(m.Payload, &body)
	if refused && (err != nil || body.ClientToken == "") && len(tokens) == 1 {
		// What could not be read is refused without its token, and nobody else of us has asked.
		body.ClientToken = tokens[0]
	}
	return requestKey(topic, body.ClientToken), body.ClientToken != ""
}

func (r *requests) add(topic, token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending[topic] = append(r.pending[topic], token)
}

func (r *requests) remove(topic, token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.pending[topic][:0:0]
	for _, t := range r.pending[topic] {
		if t != token {
			left = append(left, t)
		}
	}
	if len(left) == 0 {
		delete(r.pending, topic)
		return
	}
	r.pending[topic] = left
}

const defaultRequestTimeout = 30 * time.Second

// ask sends a request and waits for its answer: body is that of an accepted one; refusal, if it is not nil, that of a rejected one.
func (c *Client) ask(ctx context.Context, r *request) (body, refusal []byte, err error) {
	if _, ok := ctx.Deadline(); !ok {
		timeout := c.cfg.RequestTimeout
		if timeout == 0 {
			timeout = defaultRequestTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	if n := len(r.payload); n > maxPayloadBytes {
		return nil, nil, fmt.Errorf("%s: %w: the request has %d bytes, AWS IoT takes %d", r.op, fairlead.ErrTooLarge, n, maxPayloadBytes)
	}
	if r.gate != nil {
		select {
		case r.gate <- struct{}{}:
			defer func() { <-r.gate }()
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%s: %w: %w", r.op, fairlead.ErrUnavailable, context.Cause(ctx))
		}
	}
	release, err := c.hold(ctx, r)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", r.op, err)
	}
	defer release()
	c.requests.add(r.topic, r.token)
	defer c.requests.remove(r.topic, r.token)
	for {
		m, err := c.current().Request(ctx, requestKey(r.topic, r.token), mqtt.Publish{Topic: []byte(r.topic), Payload: r.payload, QoS: 1})
		if err == nil {
			if strings.HasSuffix(m.Topic, rejected) {
				return nil, append([]byte{}, m.Payload...), nil
			}
			return m.Payload, nil, nil
		}
		var refused *fairlead.PlatformError
		if !r.again || ctx.Err() != nil || errors.As(err, &refused) || !errors.Is(err, fairlead.ErrUnavailable) {
			return nil, nil, fmt.Errorf("%s: %w", r.op, err)
		}
	}
}

// hold sees to it that answers come.
func (c *Client) hold(ctx context.Context, r *request) (release func(), err error) {
	subs := c.subs.changeAll(r.filters, func(s *subscription) { s.holds++ })
	release = func() {
		c.subs.changeAll(r.filters, func(s *subscription) { s.holds = max(0, s.holds-1) })
	}
	for _, sub := range subs {
		if _, err := c.subs.wait(ctx, sub); err != nil {
			release()
			return nil, err
		}
	}
	if !r.oneShot {
		c.subs.changeAll(r.filters, func(s *subscription) { s.kept = true })
	}
	return release, nil
}
