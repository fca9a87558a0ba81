package engine

import (
	"context"

	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

// receive is called by the goroutine that reads.
func (e *Engine) receive(m *mqttclient.Message) {
	var handlers []func(*mqttclient.Message)
	manual, known := false, false
	e.subs.mu.Lock()
	wanted := e.subs.wanted
	e.subs.mu.Unlock()
	for _, s := range wanted {
		if !matches(s.Filter, m.Topic) {
			continue
		}
		known = true
		if s.Reply != nil {
			if key, ok := s.Reply(m); ok && e.replies.answer(key, m) {
				m.Ack()
				return
			}
		}
		if s.Handler != nil {
			handlers = append(handlers, s.Handler)
			manual = manual || s.ManualAck
		}
	}
	if len(handlers) == 0 && e.cfg.OnMessage != nil {
		handlers, manual = append(handlers, e.cfg.OnMessage), e.cfg.ManualAck
	}
	if len(handlers) == 0 {
		if known {
			e.mu.Lock()
			e.stats.Stray++
			e.mu.Unlock()
		}
		m.Ack()
		return
	}
	call := func() {
		for _, h := range handlers {
			h(m)
		}
		if !manual {
			m.Ack()
		}
	}
	e.mu.Lock()
	ctx := context.Background()
	if e.live != nil {
		ctx = e.live.ctx
	}
	e.mu.Unlock()
	if !e.queue.put(ctx, item{call: call}, m.QoS > 0) && m.QoS == 0 {
		e.mu.Lock()
		e.stats.Dropped++
		e.mu.Unlock()
		e.cfg.Logger.Warn("message with QoS 0 dropped: the program does not keep up", "topic", m.Topic)
	}
}

// matches is topic.Match, also for shared subscriptions.
func matches(filter, name string) bool {
	if _, rest, err := topic.SplitShared(filter); err == nil && topic.IsShared(filter) {
		filter = rest
	}
	return topic.Match(filter, name)
}

func (e *Engine) event(ev Event) {
	if e.cfg.OnEvent != nil {
		e.queue.put(context.Background(), item{call: func() { e.cfg.OnEvent(ev) }, event: true}, false)
	}
}
