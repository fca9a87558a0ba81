package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// Publish sends a message around the outbox and waits until the server has acknowledged it; with QoS 0, until it is written. While there
// is no connection it waits for one, and when the server has lost the session, or a connection a message with QoS 0, it sends it again,
// until ctx ends. So a message can arrive twice, also with QoS 2. Errors wrap fairlead.ErrUnavailable when ctx has ended: whether the
// message has arrived is unknown then; a refusal is a [fairlead.PlatformError]. The slices must not change before Publish returns, nor
// after it when ctx has ended.
func (e *Engine) Publish(ctx context.Context, p mqtt.Publish) error {
	tag := e.tag()
	for {
		if err := e.await(ctx); err != nil {
			return fmt.Errorf("publish to %.200q: %w", p.Topic, err)
		}
		done := make(chan error, 1)
		err := e.session.Send(ctx, &mqttclient.Outgoing{Publish: p, Tag: tag, Done: func(_ uint64, err error) { done <- err }})
		if err == nil {
			select {
			case err = <-done:
			case <-ctx.Done():
				err = fmt.Errorf("publish to %.200q: %w: no acknowledgement: %w", p.Topic, fairlead.ErrUnavailable, context.Cause(ctx))
			}
		}
		e.leave()
		var refusal *fairlead.PlatformError
		if err == nil || ctx.Err() != nil || !retriable(err) || errors.As(err, &refusal) {
			return err
		}
	}
}

// Send sends a message around the outbox and does not wait: done is told how it ended, see [mqttclient.Outgoing]. Without a connection
// the error wraps fairlead.ErrUnavailable, and done is not called. It waits for room in the window until ctx ends. done is called by the
// engine's goroutines and must not wait; it may be nil.
func (e *Engine) Send(ctx context.Context, p mqtt.Publish, done func(error)) error {
	if err := e.claim(); err != nil {
		return fmt.Errorf("publish to %.200q: %w", p.Topic, err)
	}
	defer e.leave() // what is in flight a renewal waits for anyway
	return e.session.Send(ctx, &mqttclient.Outgoing{Publish: p, Tag: e.tag(), Done: func(_ uint64, err error) {
		if done != nil {
			done(err)
		}
	}})
}

// replies are the requests that wait for an answer.
type replies struct {
	mu      sync.Mutex
	pending map[string]chan reply
}

type reply struct {
	m   *mqttclient.Message
	err error
}

// answer hands a message to the request that waits for it, if one does.
func (r *replies) answer(key string, m *mqttclient.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.pending[key]
	if ch == nil {
		return false
	}
	delete(r.pending, key)
	ch <- reply{m: m}
	return true
}

func (r *replies) failAll(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, ch := range r.pending {
		delete(r.pending, key)
		ch <- reply{err: err}
	}
}

// Request sends a message and waits for its answer: the first message for which Reply of a subscription returns the key. Any number may
// be under way, each with a key of its own; a key that is in use is fairlead.ErrConflict. The request waits for a connection; when that
// ends before the answer has come, the error wraps fairlead.ErrUnavailable, and only the caller knows whether asking again is harmless.
// Give ctx a deadline: an answer may never come.
//
// It can be called from hooks, because answers do not go through them.
func (e *Engine) Request(ctx context.Context, key string, p mqtt.Publish) (*mqttclient.Message, error) {
	if err := e.await(ctx); err != nil {
		return nil, fmt.Errorf("request to %.200q: %w", p.Topic, err)
	}
	defer e.leave()
	ch := make(chan reply, 1)
	e.replies.mu.Lock()
	if e.replies.pending[key] != nil {
		e.replies.mu.Unlock()
		return nil, fmt.Errorf("request to %.200q: %w: another request waits for %.200q", p.Topic, fairlead.ErrConflict, key)
	}
	e.replies.pending[key] = ch
	e.replies.mu.Unlock()
	defer e.replies.forget(key, ch)

	refused := make(chan error, 1)
	err := e.session.Send(ctx, &mqttclient.Outgoing{Publish: p, Tag: tagOfRequest(p.Topic), Done: func(_ uint64, err error) {
		if err != nil {
			refused <- err
		}
	}})
	if err != nil {
		return nil, err
	}
	select {
	case r := <-ch:
		if r.err != nil {
			select {
			case err := <-refused: // it knows more
				return nil, err
			default:
			}
			return nil, fmt.Errorf("request to %.200q: %w", p.Topic, r.err)
		}
		return r.m, nil
	case err := <-refused:
		return nil, err
	case <-ctx.Done():
		return nil, fmt.Errorf("request to %.200q: %w: no answer: %w", p.Topic, fairlead.ErrUnavailable, context.Cause(ctx))
	}
}

// forget removes a request that does not wait any more.
func (r *replies) forget(key string, ch chan reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending[key] == ch {
		delete(r.pending, key)
	}
}
