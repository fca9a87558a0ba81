package broker

import (
	"context"
	"errors"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// refuse answers CONNECT with the return code for the kind of an error.
func (c *conn) refuse(err error) {
	for _, k := range connackCodes {
		if errors.Is(err, k.kind) {
			c.reply(k.code)
			return
		}
	}
	c.reply(mqtt.ConnAckNotAuthorized)
}

// connackCodes is the only place where a kind of failure becomes an MQTT 3.1.1 return code; the first match wins.
var connackCodes = []struct {
	kind error
	code byte
}{
	{core.ErrUnauthenticated, mqtt.ConnAckBadCredentials},
	{core.ErrDenied, mqtt.ConnAckNotAuthorized},
	{core.ErrNotFound, mqtt.ConnAckNotAuthorized},
	{core.ErrConflict, mqtt.ConnAckNotAuthorized},
	{core.ErrInvalid, mqtt.ConnAckBadClientID},
	{core.ErrStorage, mqtt.ConnAckUnavailable},
	{core.ErrStopping, mqtt.ConnAckUnavailable},
	{core.ErrTooLarge, mqtt.ConnAckUnavailable},
	{core.ErrUnreachable, mqtt.ConnAckUnavailable},
	{context.Canceled, mqtt.ConnAckUnavailable},
	{context.DeadlineExceeded, mqtt.ConnAckUnavailable},
}

// reply writes a CONNACK that refuses; nobody else writes yet.
func (c *conn) reply(code byte) {
	c.src.attempt.answer(c.version, code)
	c.src.nc.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.src.app.Write((&mqtt.ConnAck{Code: code}).Append(nil, c.version))
}

// welcome answers CONNECT. Called on the committer's goroutine, before any message is delivered.
func (c *conn) welcome(present, stored bool) {
	c.send((&mqtt.ConnAck{SessionPresent: present && stored}).Append(nil, c.version))
	close(c.welcomed)
}
