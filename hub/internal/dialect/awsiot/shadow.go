package awsiot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// shadows is the shadow service. Requests are parsed where they come in; everything that depends on the stored shadow is
// decided inside the transaction. The order of an update's messages is delta, documents, accepted: the official v1 SDK drops a
// delta that comes after the accepted of the same version (observed with AWSIoTPythonSDK 1.6.2).
type shadows struct {
	d       *Dialect
	limiter *limiter

	// Owned by the committer's goroutine.
	writing bool // the changes of documents that are told now are the service's own
}

// maxShadowsInFlight is how many requests of one connection may wait for their answers (AWS IoT Core quotas, "In-flight
// unacknowledged messages per thing").
const maxShadowsInFlight = 10

// receive implements service.
func (s *shadows) receive(from *sender, r *reserved, m dialect.Publish, b *commit.Batch) error {
	k := deviceKey(from.tenant(), r.thing)
	req := shadowRequest{s: s, from: from, k: k, name: r.shadow, op: awswire.Op(r.op)}
	var err error
	switch {
	case !awswire.ValidThingName(r.thing), r.shadow != "" && !awswire.ValidShadowName(r.shadow):
		err = awswire.ErrShadowNoThing
	case req.op == awswire.OpUpdate:
		req.update, err = awswire.ParseUpdate(m.Payload)
		req.token = req.update.Token
	default:
		req.token, err = awswire.ParseToken(m.Payload)
	}
	if from.shadows.Add(1) > maxShadowsInFlight || err == nil && !s.limiter.allow(k) {
		err = awswire.ErrShadowBusy
	}
	if err != nil && !errors.As(err, &req.refusal) {
		return err
	}
	b.Hold(len(m.Payload))
	b.DoRepeatable(req.do, req.done)
	return nil
}

// A shadowRequest is a request over MQTT, on its way into the transaction.
type shadowRequest struct {
	s       *shadows
	from    *sender
	k       core.DeviceKey
	name    string
	op      awswire.Op
	token   string
	update  awswire.Update
	refusal *awswire.ShadowError // nil: it is right as far as that could be seen before
}

// do handles the request and answers it. What is refused has changed nothing, so it is no error of the operation.
func (r *shadowRequest) do(tx *commit.Tx) error {
	refusal := r.refusal
	if refusal == nil {
		var err error
		switch r.op {
		case awswire.OpGet:
			var payload []byte
			if payload, refusal, err = r.s.get(tx, r.k, r.name, r.token, tx.Now().Unix()); err == nil && refusal == nil {
				err = r.s.publish(tx, r.k, r.name, r.op, awswire.Accepted, payload)
			}
		case awswire.OpUpdate:
			_, refusal, err = r.s.update(tx, r.k, r.name, &r.update)
		case awswire.OpDelete:
			_, refusal, err = r.s.delete(tx, r.k, r.name, r.token)
		}
		if err != nil {
			return err
		}
	}
	if refusal == nil {
		return nil
	}
	return r.s.publish(tx, r.k, r.name, r.op, awswire.Rejected, refusal.Append(nil, tx.Now().Unix(), r.token))
}

// done counts the request as answered. The disk's refusals are the broker's matter; any other error is a bug of ours.
func (r *shadowRequest) done(err error) {
	r.from.shadows.Add(-1)
	if err != nil && !errors.Is(err, core.ErrStorage) && !errors.Is(err, core.ErrStopping) {
		r.s.d.log.Error("cannot handle a shadow request", "device", r.k.String(), "err", err)
	}
}

// publish sends a message of a shadow to all who subscribe to it.
func (s *shadows) publish(tx *commit.Tx, k core.DeviceKey, name string, op awswire.Op, r awswire.Reply, payload []byte) error {
	topic := awswire.ShadowTopic(string(k.ID), name, op, r)
	return s.d.publishAll(tx, k.Tenant, core.Message{Topic: topic, Payload: payload, QoS: 1})
}

// get returns the document of a shadow; at is in seconds.
func (s *shadows) get(rd shadowReader, k core.DeviceKey, name, token string, at int64) ([]byte, *awswire.ShadowError, error) {
	// When a deletion is forgotten does not matter to who reads.
	x, err := readShadow(rd, k, name, s.d.cfg.Now())
	if err != nil {
		return nil, nil, err
	}
	if !x.Exists {
		return nil, awswire.ErrNoShadow(string(k.ID), name), nil
	}
	return x.AppendDocument(nil, at, token), nil, nil
}

// update changes a shadow and tells of it. It returns what was accepted.
func (s *shadows) update(tx *commit.Tx, k core.DeviceKey, name string, u *awswire.Update) ([]byte, *awswire.ShadowError, error) {
	x, err := readShadow(tx, k, name, tx.Now())
	if err != nil {
		return nil, nil, err
	}
	next, err := x.Apply(u, tx.Now().Unix())
	if refusal := (*awswire.ShadowError)(nil); errors.As(err, &refusal) {
		return nil, refusal, nil
	} else if err != nil {
		return nil, nil, err
	}
	list, err := x.changes(&next)
	if err != nil {
		return nil, nil, err
	}
	if err := s.write(tx, &x, &next, list); err != nil {
		return nil, nil, err
	}
	accepted, err := s.tell(tx, &x, &next, u)
	return accepted, nil, err
}

// write stores a change whose events are nobody's business here.
func (s *shadows) write(tx *commit.Tx, x *shadow, next *awswire.Shadow, list []leafChange) error {
	defer func(before bool) { s.writing = before }(s.writing)
	s.writing = true
	return s.d.writeShadow(tx, x, next, list)
}

// tell publishes the messages of an update.
func (s *shadows) tell(tx *commit.Tx, old *shadow, next *awswire.Shadow, u *awswire.Update) (accepted []byte, err error) {
	k, at := old.device.DeviceKey, tx.Now().Unix()
	if delta := next.Delta(); delta != nil {
		err := s.publish(tx, k, old.name, awswire.OpUpdate, awswire.Delta, next.AppendDelta(nil, delta, at, u.Token))
		if err != nil {
			return nil, err
		}
	}
	documents := awswire.AppendDocuments(nil, &old.Shadow, next, at, u.Token)
	if err := s.publish(tx, k, old.name, awswire.OpUpdate, awswire.Documents, documents); err != nil {
		return nil, err
	}
	accepted = u.AppendAccepted(nil, next.Version, at)
	return accepted, s.publish(tx, k, old.name, awswire.OpUpdate, awswire.Accepted, accepted)
}

// delete deletes a shadow and tells of it. It returns what was accepted.
func (s *shadows) delete(tx *commit.Tx, k core.DeviceKey, name, token string) ([]byte, *awswire.ShadowError, error) {
	x, err := readShadow(tx, k, name, tx.Now())
	if err != nil {
		return nil, nil, err
	}
	if !x.Exists {
		return nil, awswire.ErrNoShadow(string(k.ID), name), nil
	}
	next := x.Delete()
	list, err := x.changes(&next)
	if err != nil {
		return nil, nil, err
	}
	if err := s.write(tx, &x, &next, list); err != nil {
		return nil, nil, err
	}
	accepted := awswire.AppendDeleted(nil, x.Version, tx.Now().Unix(), token)
	return accepted, nil, s.publish(tx, k, name, awswire.OpDelete, awswire.Accepted, accepted)
}

// notify implements service: it follows changes of documents that others make, operators for instance.
func (s *shadows) notify(tx *commit.Tx, e core.Event) error {
	switch {
	case e.Kind == core.DeviceDeleted:
		return forgetShadows(tx, e.Device.Tenant, string(e.Device.ID))
	case e.Kind != core.DocumentChanged || s.writing:
		return nil
	}
	var c core.EntryChange
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return fmt.Errorf("event %d: %w: %v", e.Seq, core.ErrInvalid, err)
	}
	if err := s.adopt(tx, e, c); err != nil {
		return fmt.Errorf("shadow %q of %s: %w", c.Document, e.Device, err)
	}
	return nil
}

// adopt makes an update of a change of one leaf that is stored already: the version counts up, and devices are told. What no
// shadow may have is core.ErrInvalid, and the change is undone.
func (s *shadows) adopt(tx *commit.Tx, e core.Event, c core.EntryChange) error {
	if c.Document != "" && !awswire.ValidShadowName(c.Document) {
		return fmt.Errorf("%w: that is no name of a shadow", core.ErrInvalid)
	}
	side := core.Reported
	if c.Side == core.Desired.String() {
		side = core.Desired
	}
	x, err := readShadow(tx, e.Device, c.Document, tx.Now())
	if err != nil {
		return err
	}
	x.device.Num = e.Num
	if err := x.before(tx, side, c); err != nil {
		return err
	}
	value, err := nodeOf(orNull(c.New))
	if err != nil {
		return fmt.Errorf("%w: %v", core.ErrInvalid, err)
	}
	patch := awswire.NewObject()
	if err := plant(patch, c.Path, value); err != nil {
		return err
	}
	u := awswire.Update{State: true, Desired: patch}
	if side == core.Reported {
		u.Desired, u.Reported = nil, patch
	}
	next, err := x.Apply(&u, tx.Now().Unix())
	if err != nil {
		return fmt.Errorf("%w: %v", core.ErrInvalid, err)
	}
	list, err := x.changes(&next)
	if err != nil {
		return err
	}
	switch i := slices.IndexFunc(list, func(l leafChange) bool { return l.side == side && l.path == c.Path }); {
	case i < 0 && c.New != nil, i >= 0 && !bytes.Equal(list[i].new, c.New):
		// It is not stored as shadows have it: an object in one entry, for instance.
		if err := tx.DeleteEntry(x.ref(side).Key(), c.Path); err != nil {
			return err
		}
	case i >= 0:
		list = slices.Delete(list, i, i+1) // it is there already, and its event told
	}
	if err := s.write(tx, &x, &next, list); err != nil {
		return err
	}
	_, err = s.tell(tx, &x, &next, &u)
	return err
}

func orNull(v core.Value) core.Value {
	if v == nil {
		return core.AppendNull(nil)
	}
	return v
}

// before makes the shadow again what it was before a change of one leaf that is stored already. One that was not there had
// nothing.
func (s *shadow) before(rd shadowReader, side core.Side, c core.EntryChange) error {
	if !s.Exists {
		return nil
	}
	list, err := rd.Entries(s.ref(side).Key())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(e core.Entry) bool { return e.Path == c.Path })
	switch {
	case c.Old == nil && i >= 0:
		list = slices.Delete(list, i, i+1)
	case c.Old != nil && i >= 0:
		list[i].Value = c.Old
	case c.Old != nil:
		list = append(list, core.Entry{Path: c.Path, Value: c.Old})
	}
	section, err := sectionOf(list)
	if side == core.Desired {
		s.Desired = section
	} else {
		s.Reported = section
	}
	return err
}
