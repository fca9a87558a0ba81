package api

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	connectionPath = "/v1/connections/{dialect}/{tenant}/{client}"
	sessionPath    = "/v1/sessions/{dialect}/{tenant}/{client}"
)

// byOperator is what a client's connection ends with, in the events and the log.
const byOperator = "disconnected by an operator"

// sessionMark is the cursor of lists of sessions; client ids need not be UTF-8 for ever.
type sessionMark struct {
	Tenant, Dialect string
	ClientID        []byte
}

// sessionQuery reads which sessions, or connections, a request asks for; one more than the page has.
func (s *Server) sessionQuery(r *request) (q core.SessionQuery, err error) {
	var place sessionMark
	if _, err := r.cursor(&place); err != nil {
		return q, err
	}
	q = core.SessionQuery{
		Dialect: r.text("dialect"), ClientID: r.text("client"), Prefix: r.text("prefix"), Limit: r.limit() + 1,
		After: core.SessionKey{Tenant: core.TenantID(place.Tenant), Dialect: place.Dialect, ClientID: string(place.ClientID)},
	}
	err = s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if q.Tenant, err = r.tenantParam(rd); err != nil {
			return err
		}
		if text := r.text("device"); text != "" {
			d, err := r.deviceNamed(rd, text, q.Tenant)
			q.Device = d.Num
			return err
		}
		return nil
	})
	return q, err
}

// deviceNamed finds the device of a parameter; tenant is the only one that may be meant, "" is any.
func (r *request) deviceNamed(rd store.Reader, text string, tenant core.TenantID) (core.Device, error) {
	k, err := admin.ParseDeviceKey(text)
	if err != nil {
		return core.Device{}, refuse(core.ErrInvalid, "parameter device is %.100q: want dialect/tenant/id", text)
	}
	key := core.DeviceKey{Tenant: core.TenantID(k.Tenant), Dialect: k.Dialect, ID: core.DeviceID(k.ID)}
	if tenant != "" && tenant != key.Tenant {
		return core.Device{}, refuse(core.ErrNotFound, "there is no device %.250q in tenant %s", text, tenant)
	}
	return r.deviceOf(rd, key)
}

// sessionKey is what the path of a request names; ok is false if the caller must not know of it.
func (r *request) sessionKey() (k core.SessionKey, ok bool) {
	k = core.SessionKey{Tenant: core.TenantID(r.PathValue("tenant")), Dialect: r.PathValue("dialect"), ClientID: r.PathValue("client")}
	return k, r.sees(k.Tenant)
}

func sessionKeyOf(k core.SessionKey) admin.SessionKey {
	return admin.SessionKey{Dialect: k.Dialect, Tenant: string(k.Tenant), ClientID: k.ClientID}
}

func cursorBehind(k core.SessionKey) (string, error) {
	return makeCursor(sessionMark{string(k.Tenant), k.Dialect, []byte(k.ClientID)})
}

func (s *Server) listConnections(r *request) (any, error) {
	q, err := s.sessionQuery(r)
	if err != nil {
		return nil, err
	}
	list := s.cfg.Broker.Connections(q)
	out := admin.Page[admin.Connection]{Items: []admin.Connection{}}
	if len(list) > r.limit() {
		list = list[:r.limit()]
		if out.Next, err = cursorBehind(list[len(list)-1].Key); err != nil {
			return nil, err
		}
	}
	out.Items, err = s.connectionsOf(r, list)
	return out, err
}

// around returns what the broker and the devices of a page of sessions, or connections, know.
func around[T any](s *Server, r *request, list []T, of func(T) (core.SessionKey, core.DeviceNum)) (states map[core.SessionKey]core.SessionState, ids map[core.DeviceNum]string, err error) {
	keys := make([]core.SessionKey, len(list))
	devices := make([]core.DeviceNum, len(list))
	for i, x := range list {
		keys[i], devices[i] = of(x)
	}
	if states, err = s.cfg.Broker.SessionStates(r.Context(), keys); err != nil {
		return nil, nil, err
	}
	ids, err = s.deviceIDs(r, devices)
	return states, ids, err
}

// connectionsOf adds to connections what their sessions and devices know.
func (s *Server) connectionsOf(r *request, list []core.Connection) ([]admin.Connection, error) {
	states, ids, err := around(s, r, list, func(c core.Connection) (core.SessionKey, core.DeviceNum) { return c.Key, c.Device })
	if err != nil {
		return nil, err
	}
	out := make([]admin.Connection, 0, len(list))
	for _, c := range list {
		st := states[c.Key]
		x := admin.Connection{
			SessionKey: sessionKeyOf(c.Key), Device: ids[c.Device], Address: address(c.Addr), Version: mqttVersions[c.Version], Transport: c.Transport,
			Since: admin.NewTime(c.Since), Heard: admin.NewTime(c.Heard), KeepAliveSeconds: c.KeepAlive.Seconds(),
			MessagesIn: c.MessagesIn, MessagesOut: c.MessagesOut, BytesIn: c.BytesIn, BytesOut: c.BytesOut,
			InFlight: c.InFlight, Queued: c.Waiting, Subscriptions: st.Subscriptions, Stored: c.Stored,
		}
		if c.TLS != 0 {
			x.TLSVersion = refusal.TLSVersion(c.TLS)
		}
		if c.Stored {
			x.Queued = max(st.Queued-c.InFlight, 0)
		}
		out = append(out, x)
	}
	return out, nil
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// deviceIDs returns the ids of devices by their numbers; 0 and what is not there any more are left out.
func (s *Server) deviceIDs(r *request, nums []core.DeviceNum) (map[core.DeviceNum]string, error) {
	ids := map[core.DeviceNum]string{}
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		for _, n := range nums {
			if n == 0 || ids[n] != "" {
				continue
			}
			d, err := rd.DeviceByNum(n)
			if err == nil {
				ids[n] = string(d.ID)
			} else if !errors.Is(err, core.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return ids, err
}

func (s *Server) showConnection(r *request) (any, error) {
	k, ok := r.sessionKey()
	var c core.Connection
	if ok {
		c, ok = s.cfg.Broker.Connection(k)
	}
	if !ok {
		return nil, noConnection(k)
	}
	list, err := s.connectionsOf(r, []core.Connection{c})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func noConnection(k core.SessionKey) error {
	return refuse(core.ErrNotFound, "no client %.250q is connected", sessionKeyOf(k).String())
}

func (s *Server) disconnect(r *request) (any, error) {
	k, ok := r.sessionKey()
	if !ok || !s.cfg.Broker.DisconnectClient(k, byOperator) {
		return nil, noConnection(k)
	}
	s.cfg.Logger.Info("client disconnected by an operator", "dialect", k.Dialect, "tenant", k.Tenant, "client", k.ClientID, "token", r.by())
	return nil, nil
}

// listSessions merges what is stored with the sessions that end with their connections, which only the broker has.
func (s *Server) listSessions(r *request) (any, error) {
	q, err := s.sessionQuery(r)
	if err != nil {
		return nil, err
	}
	var list []core.Session
	err = s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		list, err = rd.FindSessions(q)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, c := range s.cfg.Broker.Connections(q) {
		if !c.Stored {
			list = append(list, core.Session{Key: c.Key, Device: c.Device, Created: c.Since})
		}
	}
	slices.SortFunc(list, func(a, b core.Session) int { return a.Key.Compare(b.Key) })
	// One may have been seen in both places while its client connected anew.
	list = slices.CompactFunc(list, func(a, b core.Session) bool { return a.Key == b.Key })
	out := admin.Page[admin.Session]{Items: []admin.Session{}}
	if len(list) > r.limit() {
		list = list[:r.limit()]
		if out.Next, err = cursorBehind(list[len(list)-1].Key); err != nil {
			return nil, err
		}
	}
	out.Items, err = s.sessionsOf(r, list)
	return out, err
}

// sessionsOf adds to sessions what the broker and their devices know.
func (s *Server) sessionsOf(r *request, list []core.Session) ([]admin.Session, error) {
	states, ids, err := around(s, r, list, func(x core.Session) (core.SessionKey, core.DeviceNum) { return x.Key, x.Device })
	if err != nil {
		return nil, err
	}
	out := make([]admin.Session, 0, len(list))
	for _, x := range list {
		st, there := states[x.Key]
		if !there {
			continue // has ended meanwhile
		}
		out = append(out, admin.Session{
			SessionKey: sessionKeyOf(x.Key), Device: ids[x.Device], Connected: st.Connected, Stored: st.Stored, Created: admin.NewTime(x.Created),
			Expires: admin.NewTime(x.Expires), Subscriptions: st.Subscriptions, Queued: st.Queued, QueuedBytes: st.QueuedBytes,
		})
	}
	return out, nil
}

// session finds the session that the path of a request names.
func (s *Server) session(r *request) (core.SessionKey, admin.Session, error) {
	k, ok := r.sessionKey()
	none := refuse(core.ErrNotFound, "there is no session %.250q", sessionKeyOf(k).String())
	if !ok {
		return k, admin.Session{}, none
	}
	var list []core.Session
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		list, err = rd.FindSessions(core.SessionQuery{Tenant: k.Tenant, Dialect: k.Dialect, Prefix: k.ClientID, Limit: 1})
		return err
	})
	if err != nil {
		return k, admin.Session{}, err
	}
	if len(list) == 0 || list[0].Key != k {
		c, connected := s.cfg.Broker.Connection(k)
		if !connected {
			return k, admin.Session{}, none
		}
		list = []core.Session{{Key: k, Device: c.Device, Created: c.Since}}
	}
	out, err := s.sessionsOf(r, list)
	if err != nil {
		return k, admin.Session{}, err
	}
	if len(out) == 0 {
		return k, admin.Session{}, none
	}
	return k, out[0], nil
}

func (s *Server) showSession(r *request) (any, error) {
	k, out, err := s.session(r)
	if err != nil {
		return nil, err
	}
	out.Filters, err = s.cfg.Broker.SessionFilters(r.Context(), k)
	return out, err
}

func (s *Server) forgetSession(r *request) (any, error) {
	k, ok := r.sessionKey()
	err := core.ErrNotFound
	if ok {
		err = s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error { return s.cfg.Broker.ForgetSession(tx, k) })
	}
	if err != nil {
		return nil, explain(err, core.ErrNotFound, "there is no session %.250q", sessionKeyOf(k).String())
	}
	s.cfg.Logger.Info("session forgotten by an operator", "dialect", k.Dialect, "tenant", k.Tenant, "client", k.ClientID, "token", r.by())
	return nil, nil
}
