package broker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// An ending is why the broker ends a connection. Clients of version 5 are told.
type ending struct {
	code mqtt.ReasonCode
	text string
}

func (e *ending) Error() string { return e.text }

// Ways for a connection to end.
var (
	errGoodbye = errors.New(dialect.EndGoodbye)
	errGone    = errors.New(dialect.EndLost)
	errSilent  = &ending{mqtt.ReasonKeepAliveTimeout, dialect.EndSilent}
	// errNoRoom: what cannot be said in the client's maximum packet size must not be said in a larger packet. [MQTT-3.1.2-24]
	errNoRoom = &ending{mqtt.ReasonPacketTooLarge, "the answer is larger than the client's maximum packet size"}
	// errUnwelcome: no DISCONNECT may come without a CONNACK that accepts [MQTT-3.14.0-1].
	errUnwelcome = errors.New("CONNACK is larger than the client's maximum packet size")
	errLifetime  = &ending{mqtt.ReasonMaximumConnectTime, dialect.EndLifetime}

	stopping  = &ending{mqtt.ReasonServerShuttingDown, dialect.EndStopping}
	takenOver = &ending{mqtt.ReasonSessionTakenOver, dialect.EndTakenOver}
)

// fail ends the connection at once, without acknowledgements of what is not on disk. Any goroutine.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	c.wake.Store(true)
	c.src.nc.SetReadDeadline(time.Unix(1, 0))
	c.mu.Unlock()
	c.settled.Broadcast()
}

// leave ends the connection when the exchanges that are under way are complete. Any goroutine.
func (c *conn) leave(why *ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving == nil {
		c.leaving, c.since = why, time.Now()
		c.wake.Store(true)
		c.src.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader, which sees why
		c.settled.Broadcast()
	}
}

// farewell tells a client of version 5 why the broker ends its connection; nothing is sent behind it [MQTT-3.14.4-1].
// A client that has said goodbye itself, or has gone, or was not told that it is connected, is told nothing.
func (c *conn) farewell(why error) {
	if c.version != mqtt.V5 || errors.Is(why, errGoodbye) || errors.Is(why, errGone) || errors.Is(why, errUnwelcome) {
		return
	}
	p := &mqtt.Disconnect{Code: mqtt.ReasonUnspecified}
	var end *ending
	var wrong *mqtt.Error
	var answer *core.AnswerError
	switch {
	case errors.As(why, &end):
		p.Code, p.Reason = end.code, end.text
	case errors.As(why, &wrong):
		p.Code, p.Reason = wrong.Code, wrong.Text
	case errors.As(why, &answer):
		p.Code, p.Reason, p.ServerReference = mqtt.ReasonCode(answer.Code), answer.Text, answer.Server
	case errors.Is(why, core.ErrStopping):
		p.Code = mqtt.ReasonServerShuttingDown
	case errors.Is(why, core.ErrStorage):
		p.Code = mqtt.ReasonServerBusy
	case errors.Is(why, core.ErrDenied), errors.Is(why, core.ErrUnauthenticated):
		p.Code = mqtt.ReasonNotAuthorized
	}
	if !p.Code.Failed() || !p.Code.Allowed(mqtt.Server, mqtt.TypeDisconnect) {
		p.Code = mqtt.ReasonUnspecified
	}
	o := c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if b, fits := mqtt.AppendWithin(nil, p, c.version, c.maxPacket); fits { // [MQTT-3.14.2-3] [MQTT-3.14.2-4]
		o.append(b)
		c.flushLocked()
	}
	o.closing = true
}

// ended translates an error of the socket.
func ended(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errGone
	}
	var e *mqtt.Error
	if errors.As(err, &e) {
		return err
	}
	return fmt.Errorf("%w: %v", errGone, err)
}

// handleDisconnect ends the connection as the client wants it.
func (c *conn) handleDisconnect(f mqtt.Frame) error {
	var p mqtt.Disconnect
	if err := p.Decode(f, c.version); err != nil {
		return err
	}
	if c.version == mqtt.V5 {
		if err := p.CheckSender(mqtt.Client); err != nil {
			return err
		}
		if p.SessionExpiry.Present {
			if err := c.changeExpiry(p.SessionExpiry.Value); err != nil {
				return err
			}
		}
	}
	if p.Code == mqtt.ReasonSuccess { // [MQTT-3.14.4-3]: with any other code the will is published
		c.will = nil
	}
	return errGoodbye
}
