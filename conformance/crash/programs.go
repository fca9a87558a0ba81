package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A program uses the REST APIs while a hub runs, until ctx ends or the hub is dead. It never repeats a request, so that
// a value that nobody acknowledged can be there once at most.
type program interface {
	live(ctx context.Context, lf *life, rng *rand.Rand)
}

// outcome is what a request has come to.
type outcome int

const (
	acked   outcome = iota // a 2xx
	unknown                // no answer
	unsent                 // there was no connection
	refused                // another status
)

func outcomeOf(err error) outcome {
	var op *net.OpError
	switch {
	case err == nil:
		return acked
	case astarteapi.Status(err) != 0:
		return refused
	case errors.As(err, &op) && op.Op == "dial":
		return unsent
	}
	return unknown
}

// settle reports outcomes that a running hub may not have, and tells whether to go on in this life.
func settle(ctx context.Context, lf *life, where string, err error) bool {
	switch o := outcomeOf(err); {
	case o == refused:
		lf.report(Refused, where, "%v", err)
	case o == unknown && !lf.ended.Load() && ctx.Err() == nil:
		lf.report(Refused, where, "no answer while the hub ran: %v", err)
	}
	if lf.ended.Load() || ctx.Err() != nil {
		return false
	}
	if outcomeOf(err) == unsent {
		pause(ctx, 5*time.Millisecond) // it is starting
	}
	return true
}

// A setter sets and unsets one server-owned property.
type setter struct {
	realm    *astarteapi.Realm
	device   string // id
	path     string
	property *Property
	number   int
	pace     time.Duration // longest pause
}

func (s *setter) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for goOn := true; goOn; {
		var op *Op
		var err error
		// Only what is certainly set is unset, because the platform may tell a device about each unset, or not if
		// nothing was set; both would be right then, and the check could not be exact.
		if n := len(s.property.ops); n > 0 && s.property.ops[n-1].Acked && s.property.Current() != nil && rng.IntN(4) == 0 {
			op = s.property.Add(nil)
			err = s.realm.Unset(ctx, s.device, ifServerProps, s.path)
		} else {
			s.number++
			value := fmt.Sprintf("%s-%d", s.property.Where, s.number)
			op = s.property.Add(&value)
			err = s.realm.Put(ctx, s.device, ifServerProps, s.path, value)
		}
		switch outcomeOf(err) {
		case acked:
			op.Acked = true
		case unsent:
			s.property.Drop()
		}
		goOn = settle(ctx, lf, s.property.Where, err)
		pause(ctx, time.Duration(rng.Int64N(int64(s.pace))))
	}
}

// A sender sends on one server-owned datastream, to a device that has a persistent session and so always takes it.
type sender struct {
	realm  *astarteapi.Realm
	device string // id
	iface  string
	path   string
	stream *Stream
	number int
	pace   time.Duration
}

func (s *sender) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for goOn := true; goOn; {
		s.number++
		value := fmt.Sprintf("%s-%d", s.stream.Where, s.number)
		m := s.stream.Add(value)
		m.Times = 1
		err := s.realm.Send(ctx, s.device, s.iface, s.path, value)
		switch outcomeOf(err) {
		case acked:
			m.Acked = true
		case unsent:
			s.stream.Drop()
		}
		goOn = settle(ctx, lf, s.stream.Where, err)
		pause(ctx, time.Duration(rng.Int64N(int64(s.pace))))
	}
}

// An installer installs interfaces.
type installer struct {
	realm     *astarteapi.Realm
	installed []installed
	number    int
}

type installed struct {
	name  string
	text  json.RawMessage
	acked bool
}

func (i *installer) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for goOn := true; goOn; {
		i.number++
		name := fmt.Sprintf("org.fairlead.crash.Extra%d", i.number)
		text := datastream(name, "device", "guaranteed")
		err := i.realm.Install(ctx, text)
		if o := outcomeOf(err); o == acked || o == unknown {
			i.installed = append(i.installed, installed{name, text, o == acked})
		}
		goOn = settle(ctx, lf, name, err)
		pause(ctx, time.Duration(50+rng.IntN(150))*time.Millisecond)
	}
}

// check compares the interfaces from the one numbered from on.
func (i *installer) check(ctx context.Context, from int) (list []Violation, err error) {
	for _, one := range i.installed[from:] {
		v := violations{where: one.name}
		got, err := i.realm.Interface(ctx, one.name, 1)
		switch {
		case err == nil:
			if want, _ := astartewire.ParseInterface(one.text); got.Mappings[0] != want.Mappings[0] {
				v.add(Invented, "is %+v, installed was %+v", got.Mappings[0], want.Mappings[0])
			}
		case astarteapi.Status(err) != 404:
			return nil, err
		case one.acked:
			v.add(Missing, "its installation was acknowledged")
		}
		list = append(list, v.done()...)
	}
	return list, nil
}

// A registrar registers devices, which then connect, send a little, and leave for ever.
type registrar struct {
	realm     *astarteapi.Realm
	addr      string
	newcomers []*newcomer
}

type newcomer struct {
	id, name             string
	secret               string
	registered, obtained bool // acknowledged
	asked                bool // a certificate may have been issued
	device               *device
}

func (r *registrar) live(ctx context.Context, lf *life, rng *rand.Rand) {
	for goOn := true; goOn; {
		n := &newcomer{id: randomID(rng)}
		n.name = fmt.Sprintf("newcomer%d", len(r.newcomers))
		if len(r.newcomers) > 0 && rng.IntN(2) == 0 {
			// A registration that got no answer may be repeated as long as no certificate was asked for.
			if last := r.newcomers[len(r.newcomers)-1]; !last.obtained && !last.asked {
				n = last
			}
		}
		err := r.register(ctx, n)
		if outcomeOf(err) != unsent && (len(r.newcomers) == 0 || r.newcomers[len(r.newcomers)-1] != n) {
			r.newcomers = append(r.newcomers, n)
		}
		if err == nil {
			n.device = newDevice(n.name, n.device.cred, r.addr, false)
			within, cancel := context.WithTimeout(ctx, time.Duration(20+rng.IntN(80))*time.Millisecond)
			n.device.live(within, lf, rng)
			cancel()
		}
		goOn = settle(ctx, lf, n.name, err)
		pause(ctx, time.Duration(rng.IntN(50))*time.Millisecond)
	}
}

// register registers a device and obtains its certificate.
func (r *registrar) register(ctx context.Context, n *newcomer) error {
	secret, err := r.realm.Register(ctx, n.id)
	if err != nil {
		return err
	}
	n.secret, n.registered = secret, true
	n.asked = true
	cred, err := r.realm.Obtain(ctx, n.id, secret)
	if outcomeOf(err) == unsent {
		n.asked = false
	}
	if err != nil {
		return err
	}
	n.obtained = true
	n.device = &device{cred: cred}
	return nil
}

// check looks for a newcomer at Pairing and AppEngine.
func (r *registrar) check(ctx context.Context, n *newcomer) ([]Violation, error) {
	v := violations{where: n.name}
	if !n.registered {
		return nil, nil
	}
	switch _, err := r.realm.Device(ctx, n.id); {
	case astarteapi.Status(err) == 404:
		v.add(Missing, "its registration was acknowledged")
		return v.done(), nil
	case err != nil:
		return nil, err
	}
	status, _, err := r.realm.Info(ctx, n.id, n.secret)
	switch {
	case astarteapi.Status(err) == 403 || astarteapi.Status(err) == 401:
		v.add(Missing, "its credentials secret was acknowledged, and is refused")
	case err != nil:
		return nil, err
	case n.obtained && status != "confirmed":
		v.add(Missing, "its certificate was acknowledged; its status is %q", status)
	case !n.asked && status != "pending":
		v.add(Invented, "it asked for no certificate; its status is %q", status)
	}
	return v.done(), nil
}

func randomID(rng *rand.Rand) string {
	var b [16]byte
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return astartewire.DeviceIDFromBytes(b)
}
