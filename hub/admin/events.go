package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An EventQuery selects events; zero fields select all.
type EventQuery struct {
	Tenant string
	Device DeviceKey // zero: any device, and what concerns none
	Kinds  []string  // "device.connected"
	// After says where to begin: behind the event of that number.
	After int64
	// Backwards has the newest first, from before the event of the number Before on; 0: with the newest.
	Backwards bool
	Before    int64
	Limit     int // of a page; 0: the hub's default
}

func (q EventQuery) query() query {
	v := query{}.text("tenant", q.Tenant).text("kind", strings.Join(q.Kinds, ","))
	if q.Device != (DeviceKey{}) {
		v.text("device", q.Device.String())
	}
	return v
}

// Events returns events in the order in which they happened, or the other way round, one page.
func (c *Client) Events(ctx context.Context, q EventQuery) (EventPage, error) {
	v := q.query().number("limit", q.Limit)
	if q.Backwards {
		v.text("backwards", "true").text("before", strconv.FormatInt(q.Before, 10))
	} else {
		v.text("after", strconv.FormatInt(q.After, 10))
	}
	return get[EventPage](ctx, c, "/v1/events", v)
}

// ErrGap means that events have been dropped, because they were old or too many, before they could be sent.
var ErrGap = errors.New("events are missing: they were dropped because they were old or too many")

// Follow yields events as they happen, from behind After on; with After 0 it begins now. When the connection is lost it
// connects again and goes on where it was, for as long as it takes; of what a caller has seen, nothing comes twice. It
// ends when ctx does, with the first error that trying again cannot help, or if there is no connection to begin with.
//
// [ErrGap] comes together with the zero Event and is not the end.
func (c *Client) Follow(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := follower{c: c, q: q, after: q.After, begun: q.After != 0, yield: yield}
		for wait := firstPause; ; {
			seen := s.after
			again, err := s.stream(ctx)
			switch {
			case s.ended:
				return
			case ctx.Err() != nil:
				yield(Event{}, ctx.Err())
				return
			case !again:
				yield(Event{}, err)
				return
			}
			if s.after != seen {
				wait = firstPause
			}
			if !pause(ctx, max(wait/2+rand.N(wait/2), retryAfter(err))) {
				yield(Event{}, ctx.Err())
				return
			}
			wait = min(2*wait, longestPause)
		}
	}
}

// Pauses between attempts of [Client.Follow].
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 30 * time.Second
)

// maxEventBytes bounds an event.
const maxEventBytes = 4 << 20

func retryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return min(e.RetryAfter, 10*longestPause)
	}
	return 0
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A follower is one call of Follow.
type follower struct {
	c         *Client
	q         EventQuery
	after     int64
	begun     bool // after is known
	connected bool // it has been, so it can be again
	ended     bool // the caller wants no more
	yield     func(Event, error) bool
}

// stream reads one stream to its end, and reports whether another one may help.
func (f *follower) stream(ctx context.Context) (again bool, err error) {
	req, err := f.c.request(ctx, http.MethodGet, "/v1/events/stream"+f.q.query().String(), nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.begun {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(f.after, 10))
	}
	res, err := f.c.HTTP.Do(req)
	if err != nil {
		return f.connected, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		temporary := res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests
		return temporary && f.connected, refusal(res, body)
	}
	f.connected = true
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxEventBytes)
	var m message
	for lines.Scan() {
		if m.add(lines.Bytes()) {
			if err := f.take(m); err != nil || f.ended {
				return false, err
			}
			m = message{}
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return false, fmt.Errorf("event after %d: %w", f.after, err)
	}
	return true, lines.Err()
}

// take hands on one message of the stream.
func (f *follower) take(m message) error {
	id, err := strconv.ParseInt(m.id, 10, 64)
	if err != nil {
		return fmt.Errorf("event after %d: id %.50q", f.after, m.id)
	}
	f.begun = true
	f.after = id
	switch m.event {
	case "hub.position":
		return nil
	case "hub.gap":
		f.ended = !f.yield(Event{}, ErrGap)
		return nil
	}
	var e Event
	if err := json.Unmarshal(m.data, &e); err != nil {
		return fmt.Errorf("event %d: %w", id, err)
	}
	f.ended = !f.yield(e, nil)
	return nil
}

// A message is one message of a stream of the form text/event-stream.
type message struct {
	id, event string
	data      []byte
	any       bool
}

// add takes the next line, and reports whether the message is complete.
func (m *message) add(line []byte) bool {
	if len(line) == 0 {
		return m.any
	}
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "id":
		m.id = string(value)
	case "event":
		m.event = string(value)
	case "data":
		if m.data != nil {
			m.data = append(m.data, '\n')
		}
		m.data = append(m.data, value...)
	default: // a comment, or something new
		return false
	}
	m.any = true
	return false
}
