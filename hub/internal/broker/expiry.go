package broker

import (
	"math"
	"time"

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
