package broker

import (
	"math"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// sessionExpiry is how long a CONNECT wants the session to outlive the connection. Before version 5 that is for ever or
// not at all.
func sessionExpiry(p *mqtt.Connect) time.Duration {
	switch {
	case p.Version == mqtt.V5:
		return expiryOf(p.SessionExpiry)
	case p.CleanStart:
		return 0
	}
	return core.Forever
}

func expiryOf(seconds uint32) time.Duration {
	if seconds == mqtt.SessionNeverExpires {
		return core.Forever
	}
	return time.Duration(seconds) * time.Second
}

// expirySeconds is the opposite of expiryOf.
func expirySeconds(d time.Duration) uint32 {
	if d == core.Forever {
		return mqtt.SessionNeverExpires
	}
	return uint32(min(d/time.Second, math.MaxUint32-1))
}

// changeExpiry takes the session expiry interval of a DISCONNECT.
func (c *conn) changeExpiry(seconds uint32) error {
	if c.expiry == 0 && seconds > 0 { // MQTT 5.0 section 3.14.2.2.2; the session was not meant to stay and is not stored
		return &mqtt.Error{Code: mqtt.ReasonProtocolError, Text: "DISCONNECT with a session expiry interval, but CONNECT had none"}
	}
	c.expiry = expiryOf(seconds)
	if most := c.grant.Limits.SessionExpiry; most > 0 {
		c.expiry = min(c.expiry, most)
	}
	return nil
}

// hold keeps a stored session from ending while it has a connection, and notes for how long it outlives that.
func (b *Broker) hold(tx *commit.Tx, s *session, expiry time.Duration) error {
	if !s.stored() || s.Expiry == expiry && s.Expires.IsZero() {
		return nil
	}
	return b.setExpiry(tx, s, expiry, time.Time{})
}

// release lets the time run that a stored session has without a connection.
func (b *Broker) release(tx *commit.Tx, s *session, expiry time.Duration) error {
	var end time.Time
	if expiry != core.Forever {
		end = tx.Now().Add(expiry)
	} else if s.Expiry == expiry {
		return nil // the usual case before version 5: nothing to write
	}
	return b.setExpiry(tx, s, expiry, end)
}

func (b *Broker) setExpiry(tx *commit.Tx, s *session, expiry time.Duration, end time.Time) error {
	oldExpiry, oldEnd := s.Expiry, s.Expires
	s.Expiry, s.Expires = expiry, end
	tx.Undo(func() { s.Expiry, s.Expires = oldExpiry, oldEnd })
	b.appoint(tx, &s.end, end)
	return tx.SetSessionExpiry(s.Num, expiry, end)
}

// expireLoaded ends the sessions whose time was over before this start. Those that had a connection when the hub ended
// without notice have their time from now on, since nobody knows when it ended.
func (b *Broker) expireLoaded(tx *commit.Tx) error {
	for _, s := range b.sessions {
		if most := b.cfg.Limits.SessionExpiry; most > 0 && s.Expiry > most {
			s.Expiry = most
		}
		var err error
		switch {
		case s.Expiry == 0 || !s.Expires.IsZero() && !s.Expires.After(tx.Now()):
			err = b.forget(tx, s)
		case s.Expiry != core.Forever && s.Expires.IsZero():
			err = b.setExpiry(tx, s, s.Expiry, tx.Now().Add(s.Expiry))
		case !s.Expires.IsZero():
			b.appoint(tx, &s.end, s.Expires)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
