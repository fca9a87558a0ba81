package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// ErrHungUp ends a message that was given up because of [Config.HangUps]. It wraps fairlead.ErrDenied.
var ErrHungUp = fmt.Errorf("%w: the server has hung up instead of acknowledging it", fairlead.ErrDenied)

const (
	// firstTag is behind the numbers of messages in the outbox.
	firstTag = 1 << 63
	// requestTag is behind those of other messages. The rest is made of the topic: who asks again is the same suspect.
	requestTag = 1<<63 | 1<<62
)

// hangUps is what is known of the message that the server may hang up on. It belongs to Run.
type hangUps struct {
	careful int    // messages to be sent one at a time: as many as were in flight when the server hung up
	tag     uint64 // the suspect
	times   int    // how often in a row the server has hung up on it
	given   int    // messages that were given up since the last acknowledgement
	acked   uint64 // as counted by the session, at the end of the last connection
}

// judge looks at the end of a connection.
//
// One hang-up proves nothing: load balancers and servers that are stopped hang up in good order, too. So from then on each connection is
// a careful one (package mqttclient): PINGREQ is answered, one message is sent, and nothing else until it is acknowledged. A network that
// fails between that answer and that acknowledgement does so with an error or in silence, hardly ever with an orderly end of the stream,
// and not the same way at the same message time after time. Whatever else happens begins the count anew. A server that hangs up on
// everything, because it is ill, is told by nothing having been acknowledged: then each further message takes twice as long to be given
// up.
func (e *Engine) judge(t attempted) {
	h := e.hangUps
	if e.cfg.HangUps == 0 || !t.connected {
		return
	}
	if acked := e.session.Stats().Acked; acked != h.acked {
		h.careful = max(h.careful-int(min(acked-min(h.acked, acked), 1<<20)), 0)
		h.acked, h.given = acked, 0
	}
	last := e.session.Ending()
	if !e.hungUp(t.err) || last.Unacknowledged == 0 {
		h.times = 0
		return
	}
	h.careful = max(h.careful, last.Unacknowledged)
	if !last.Alone {
		h.times = 0
		return
	}
	if last.Tag != h.tag {
		h.tag, h.times = last.Tag, 0
	}
	h.times++
	e.cfg.Logger.Info("the server has hung up on a message", "topic", string(last.Topic), "err", t.err)
	if h.times < e.cfg.HangUps<<min(h.given, 6) {
		return
	}
	var said *mqttclient.ServerError
	err := fmt.Errorf("publish to %.200q: %w, %d times in a row: %v", last.Topic, ErrHungUp, h.times, t.err) // not %w: that one is worth another attempt
	if errors.As(t.err, &said) {
		err = fmt.Errorf("publish to %.200q: %w, %d times in a row: %w", last.Topic, ErrHungUp, h.times, said)
	}
	h.tag, h.times = 0, 0
	if e.session.GiveUp(err) {
		h.given++
		h.careful = max(h.careful-1, 1) // at least until something is acknowledged
		e.clean = e.clean || last.QoS == 2
		if last.Tag >= firstTag { // otherwise outcome says so
			e.cfg.Logger.Warn("message given up", "err", err)
		}
	}
}

// hungUp tells whether the server has ended the connection in good order: with version 5, whether it says that it is because of what was
// sent.
func (e *Engine) hungUp(err error) bool {
	if e.cfg.Session.Version != mqtt.V5 {
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) // the latter: without TLS' own goodbye, which some servers leave out
	}
	var said *mqttclient.ServerError
	return errors.As(err, &said) && said.Packet == mqtt.TypeDisconnect &&
		(errors.Is(err, fairlead.ErrDenied) || errors.Is(err, fairlead.ErrInvalid) || errors.Is(err, fairlead.ErrTooLarge))
}

// requestSeed is for the tags of requests.
var requestSeed = maphash.MakeSeed()

// tagOfRequest returns a number for requests to a topic.
func tagOfRequest(topic []byte) uint64 { return requestTag | maphash.Bytes(requestSeed, topic) }

// withdrawRequests ends the requests whose answers cannot come any more. A session that goes on would send them again, for nobody.
func (e *Engine) withdrawRequests() {
	e.replies.failAll(fmt.Errorf("%w before the answer came", mqttclient.ErrNotConnected))
	e.session.Withdraw(func(tag uint64) bool { return tag >= requestTag })
}

// tag returns a number for a message that is not in the outbox.
func (e *Engine) tag() uint64 { return e.tags.Add(1) }
