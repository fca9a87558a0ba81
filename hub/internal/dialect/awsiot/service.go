package awsiot

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// A service is the part of the platform behind some reserved topics: shadows, jobs, provisioning.
type service interface {
	// receive takes a message that s may publish (policies and limits were checked) to a topic of one of the service's
	// kinds that is one which may be published to ([reserved.publishable]). It is called on the goroutine of the connection
	// or of the HTTP request, for one message of s at a time in the order of arrival. m.Payload aliases the read buffer: what
	// is kept of it is copied, and counted with b.Hold. Everything that the message asks for goes into the batch, with b.Do;
	// there it finds its place among the others, and the acknowledgement leaves when the batch is on disk. What is wrong with
	// a message is answered on its rejected topic, and is no error; an error closes the connection without an acknowledgement
	// (or fails the request).
	receive(s *sender, r *reserved, m dialect.Publish, b *commit.Batch) error
	// notify is told of each event of the dialect's devices, inside the transaction that emitted it. That a device is
	// deleted comes before it is.
	notify(tx *commit.Tx, e core.Event) error
}

// A sender is who a message comes from: an MQTT connection, or an HTTP request. It does not change.
type sender struct {
	account  account
	clientID string         // "": HTTP
	device   core.DeviceNum // of thing; 0: none
	// thing is the registry's thing of the connection, "" if it has none. It is what samples and counters go to, and need not
	// be the thing that a topic names: policies decide about that.
	thing string
	// principal is who signed in, as in ARNs: "cert/ID"; "" if it was an access key or an authorizer.
	principal string

	shadows atomic.Int32 // requests to shadows that wait for their answers
}

// tenant returns the tenant of the account.
func (s *sender) tenant() core.TenantID { return s.account.Tenant }

// session returns the key of the sender's MQTT session; ok is false for HTTP requests.
func (s *sender) session() (k core.SessionKey, ok bool) {
	return sessionKey(s.account.Tenant, s.clientID), s.clientID != ""
}

// reply sends m to the session of the sender alone, whoever else subscribes to its topic, and whether the sender does or not.
// For the request of an HTTP client it goes to all subscribers, there being nobody else who could want it. A session whose
// queue is full does not get it, as the platform has it for all messages.
func (d *Dialect) reply(tx *commit.Tx, s *sender, m core.Message) error {
	k, ok := s.session()
	if !ok {
		return d.publishAll(tx, s.account.Tenant, m)
	}
	if _, err := d.cfg.Broker.SendTo(tx, k, m); err != nil && !errors.Is(err, core.ErrTooLarge) {
		return fmt.Errorf("reply to %.128q: %w", s.clientID, err)
	}
	return nil
}

// publishAll sends m to all of the account's sessions that subscribe to its topic.
func (d *Dialect) publishAll(tx *commit.Tx, t core.TenantID, m core.Message) error {
	if _, err := d.cfg.Broker.Publish(tx, t, Name, m); err != nil {
		return fmt.Errorf("publish to %.256q: %w", m.Topic, err)
	}
	return nil
}
