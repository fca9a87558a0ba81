package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// An Asker is one connection that publishes requests, one after the other, and waits for the message that answers each.
type Asker struct {
	conn   net.Conn
	frames *mqtt.FrameReader
	packet []byte
	id     uint16
}

// Ask connects an asker that subscribes, with QoS 0, to where its answers come.
func Ask(ctx context.Context, t Target, filters ...string) (*Asker, error) {
	c, frames, err := open(ctx, t, 4<<10, true)
	if err != nil {
		return nil, err
	}
	a := &Asker{conn: c, frames: frames}
	for _, f := range filters {
		if err := (&Subscriber{conn: c, frames: frames}).subscribe(f, 0); err != nil {
			c.Close()
			return nil, fmt.Errorf("subscribe to %s: %w", f, err)
		}
	}
	return a, nil
}

// Exchange publishes a request with QoS 1 and returns when it is acknowledged and a message has come to topic answer. That
// message must hold want; another one to the topic is an error. Messages to other topics are passed over.
func (a *Asker) Exchange(request string, payload []byte, answer string, want []byte) error {
	a.id = a.id%100 + 1
	p := mqtt.Publish{QoS: 1, ID: a.id, Topic: []byte(request), Payload: payload}
	a.packet = p.Append(a.packet[:0], mqtt.V311)
	_ = a.conn.SetDeadline(time.Now().Add(patience))
	if _, err := a.conn.Write(a.packet); err != nil {
		return err
	}
	acked, answered := false, false
	for !acked || !answered {
		f, err := a.frames.Next()
		if err != nil {
			return err
		}
		if f.Type == mqtt.TypePubAck {
			acked = true
			continue
		}
		var m mqtt.Publish
		if err := m.Decode(f, mqtt.V311); err != nil {
			return err
		}
		if string(m.Topic) != answer {
			continue
		}
		if !bytes.Contains(m.Payload, want) {
			return fmt.Errorf("%s: got %.200s, want what holds %s", answer, m.Payload, want)
		}
		answered = true
	}
	return nil
}

// Next waits for a message and returns its topic and payload, which are good until the next call.
func (a *Asker) Next(limit time.Duration) (topic, payload []byte, err error) {
	_ = a.conn.SetReadDeadline(time.Now().Add(limit))
	for {
		f, err := a.frames.Next()
		if err != nil {
			return nil, nil, err
		}
		if f.Type != mqtt.TypePublish {
			continue
		}
		var m mqtt.Publish
		if err := m.Decode(f, mqtt.V311); err != nil {
			return nil, nil, err
		}
		return m.Topic, m.Payload, nil
	}
}

// Close ends the connection in order.
func (a *Asker) Close() { bye(a.conn) }

// A Talk is what [Converse] has measured.
type Talk struct {
	Exchanges uint64
	Elapsed   time.Duration
	// Latency is from when an exchange was due to its end: who comes late because the server was slow is counted as slow.
	Latency hist.H
}

// Converse has n askers make exchanges for a time, each with interval between two of its own, evenly spread; 0: as fast as
// they go. do makes the exchange number seq, from 1, of one asker.
func Converse(ctx context.Context, n int, interval, d time.Duration, do func(asker, seq int) error) (*Talk, error) {
	counts, lats, errs := make([]uint64, n), make([]hist.H, n), make([]error, n)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			clock, err := newAlarm()
			if err != nil {
				errs[i] = err
				return
			}
			defer clock.close()
			due := start.Add(interval * time.Duration(i) / time.Duration(n))
			for seq := 1; time.Since(start) < d && ctx.Err() == nil; seq++ {
				if interval == 0 {
					due = time.Now()
				}
				if errs[i] = clock.until(due); errs[i] != nil {
					return
				}
				if errs[i] = do(i, seq); errs[i] != nil {
					return
				}
				lats[i].Add(time.Since(due))
				counts[i]++
				due = due.Add(interval)
			}
		})
	}
	wg.Wait()
	t := &Talk{Elapsed: time.Since(start)}
	for i := range n {
		t.Exchanges += counts[i]
		t.Latency.Merge(&lats[i])
	}
	return t, errors.Join(errors.Join(errs...), ctx.Err())
}
