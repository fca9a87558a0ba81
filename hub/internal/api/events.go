package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/access"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// maxSeq is the largest number of an event that this API takes; it is exact in JSON.
const maxSeq = maxSafe

var eventParams = []param{
	tenantParam,
	{name: "device", doc: "Only of this device: dialect/tenant/id."},
	{name: "kind", doc: "Only of these kinds, separated by commas: device.connected,device.disconnected."},
}

// eventKinds lists the kinds for people.
func eventKinds() string {
	var list []string
	for _, k := range core.EventKinds {
		list = append(list, string(k))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// eventQuery selects events.
type eventQuery struct {
	tenant core.TenantID  // "": all
	device core.DeviceKey // zero: all
	kinds  []string       // nil: all
}

// eventQuery reads what events a request asks for.
func (s *Server) eventQuery(r *request) (q eventQuery, err error) {
	if text := r.text("kind"); text != "" {
		q.kinds = strings.Split(text, ",")
		for _, kind := range q.kinds {
			if !slices.Contains(core.EventKinds, core.EventKind(kind)) {
				return q, refuse(core.ErrInvalid, "parameter kind: there is no kind %.50q; there is: %s", kind, eventKinds())
			}
		}
	}
	err = s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		if q.tenant, err = r.tenantParam(rd); err != nil {
			return err
		}
		text := r.text("device")
		if text == "" {
			return nil
		}
		k, err := admin.ParseDeviceKey(text)
		if err != nil {
			return refuse(core.ErrInvalid, "parameter device is %.100q: want dialect/tenant/id", text)
		}
		q.device = core.DeviceKey{Tenant: core.TenantID(k.Tenant), Dialect: k.Dialect, ID: core.DeviceID(k.ID)}
		if q.tenant != "" && q.tenant != q.device.Tenant {
			return refuse(core.ErrNotFound, "there is no device %.250q in tenant %s", text, q.tenant)
		}
		_, err = r.deviceOf(rd, q.device)
		return err
	})
	return q, err
}

// read returns a page of events behind after: at most limit, having looked at no more than maxLooked.
func (q eventQuery) read(rd store.Reader, after int64, limit int) (admin.EventPage, error) {
	out := admin.EventPage{Items: []admin.Event{}, Last: after}
	newest, err := rd.LastEvent()
	if err != nil {
		return out, err
	}
	oldest, err := rd.Events(0, 1)
	if err != nil {
		return out, err
	}
	dropped, err := rd.DroppedEvents(q.tenantOf())
	if err != nil {
		return out, err
	}
	// What is missing before the oldest one was dropped, and so were others up to the one that is known. Behind the newest one there was never
	// any: then the database is another one than the number comes from, an older backup perhaps.
	if after > newest {
		out.Gap, out.Last = true, newest
		return out, nil
	}
	switch {
	case len(oldest) > 0:
		out.Gap = after > 0 && (oldest[0].Seq > after+1 || dropped > after)
	default:
		out.Gap = after > 0 && after < newest
	}
	for looked := 0; ; {
		list, err := q.next(rd, out.Last, min(maxLooked-looked, limit-len(out.Items)+1))
		if err != nil {
			return out, err
		}
		if len(list) == 0 {
			if q.narrow() && !out.More {
				out.Last = newest // of others
			}
			return out, nil
		}
		for _, e := range list {
			wanted := q.kinds == nil || slices.Contains(q.kinds, string(e.Kind))
			if looked == maxLooked-1 || wanted && len(out.Items) == limit {
				out.More = true
				return out, nil
			}
			looked++
			out.Last = e.Seq
			if wanted {
				out.Items = append(out.Items, eventOf(e))
			}
		}
	}
}

// readBackwards returns a page of events before one, the newest first: at most limit, having looked at no more than maxLooked.
func (q eventQuery) readBackwards(rd store.Reader, before int64, limit int) (admin.EventPage, error) {
	out := admin.EventPage{Items: []admin.Event{}, Last: before}
	k := q.device
	if k.ID == "" {
		k = core.DeviceKey{Tenant: q.tenant}
	}
	for looked := 0; ; {
		list, err := rd.EventsBefore(k, out.Last, min(maxLooked-looked, limit-len(out.Items)+1))
		if err != nil || len(list) == 0 {
			return out, err
		}
		for _, e := range list {
			wanted := q.kinds == nil || slices.Contains(q.kinds, string(e.Kind))
			if looked == maxLooked-1 || wanted && len(out.Items) == limit {
				out.More = true
				return out, nil
			}
			looked++
			out.Last = e.Seq
			if wanted {
				out.Items = append(out.Items, eventOf(e))
			}
		}
	}
}

// narrow reports whether storage finds what is asked for among others.
func (q eventQuery) narrow() bool { return q.tenant != "" || q.device.ID != "" }

// tenantOf returns whose events are asked for, "" for everybody's.
func (q eventQuery) tenantOf() core.TenantID { return cmp.Or(q.tenant, q.device.Tenant) }

func (q eventQuery) next(rd store.Reader, after int64, limit int) ([]core.Event, error) {
	switch {
	case q.device.ID != "":
		return rd.DeviceEvents(q.device, after, limit)
	case q.tenant != "":
		return rd.TenantEvents(q.tenant, after, limit)
	}
	return rd.Events(after, limit)
}

func eventOf(e core.Event) admin.Event {
	return admin.Event{
		Seq: e.Seq, At: admin.NewTime(e.At), Kind: string(e.Kind),
		Tenant: string(e.Device.Tenant), Dialect: e.Device.Dialect, Device: string(e.Device.ID), Data: eventData(e),
	}
}

// eventData returns the data of an event; values of devices in it get the form that they have everywhere in this API.
func eventData(e core.Event) json.RawMessage {
	if e.Kind != core.DocumentChanged {
		return e.Data
	}
	var c core.EntryChange
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return e.Data
	}
	out := struct {
		Document string       `json:"document"`
		Side     string       `json:"side"`
		Path     string       `json:"path"`
		Old      *admin.Value `json:"old,omitempty"`
		New      *admin.Value `json:"new,omitempty"`
	}{Document: c.Document, Side: c.Side, Path: c.Path}
	for _, p := range []struct {
		from core.Value
		to   **admin.Value
	}{{c.Old, &out.Old}, {c.New, &out.New}} {
		if v, err := valueOf(p.from); err == nil && len(p.from) > 0 {
			*p.to = &v
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return e.Data
	}
	return data
}

func (s *Server) listEvents(r *request) (any, error) {
	q, err := s.eventQuery(r)
	if err != nil {
		return nil, err
	}
	var out admin.EventPage
	err = s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if before := r.number("before"); r.flag("backwards") != nil && *r.flag("backwards") {
			out, err = q.readBackwards(rd, before, r.limit())
			return err
		} else if before != 0 {
			return refuse(core.ErrInvalid, "parameter before is for backwards=true")
		}
		out, err = q.read(rd, r.number("after"), r.limit())
		return err
	})
	return out, err
}

// What streams cost is bounded.
const (
	maxStreams      = 256 // of all
	maxTokenStreams = 16  // of one token
	streamPage      = 200 // events that are read at once

	heartbeat    = 15 * time.Second
	streamPause  = 50 * time.Millisecond // between two looks at storage, however fast events come
	writeTimeout = 15 * time.Second      // for what has been read
)

// streams counts the open streams by token.
type streams struct {
	mu    sync.Mutex
	total int
	of    map[string]int
}

// take reports whether one more may be opened.
func (s *streams) take(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxStreams || s.of[id] >= maxTokenStreams {
		return false
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.total++
	s.of[id]++
	return true
}

func (s *streams) give(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.of[id]--; s.of[id] == 0 {
		delete(s.of, id)
	}
}

// streamEvents sends events until the caller goes, the token ends or the hub stops.
func (s *Server) streamEvents(w http.ResponseWriter, r *request) error {
	q, err := s.eventQuery(r)
	if err != nil {
		return err
	}
	after, err := lastEventID(r)
	if err != nil {
		return err
	}
	if !s.streams.take(r.caller.ID) {
		return &problem{
			kind: errTooMany, retry: 10 * time.Second,
			message: fmt.Sprintf("there are too many streams: a hub has up to %d, one token up to %d", maxStreams, maxTokenStreams),
		}
	}
	defer s.streams.give(r.caller.ID)
	st := stream{s: s, q: q, caller: r.caller, w: w, rc: http.NewResponseController(w), last: after, told: -1}
	if after < 0 {
		err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
			st.last, err = rd.LastEvent()
			return err
		})
		if err != nil {
			return err
		}
	}
	s.cfg.Stats.Streams.Add(1)
	defer s.cfg.Stats.Streams.Add(-1)
	// The time that a request may take is not for streams.
	_ = st.rc.SetReadDeadline(time.Time{})
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // to proxies, which otherwise keep what they think is a page
	if r.Method == http.MethodHead {
		return nil
	}
	if err := st.run(r.Context()); err != nil {
		s.cfg.Logger.Debug("event stream ended", "err", err)
	}
	return nil
}

// lastEventID returns where a stream is to go on; -1 is now.
func lastEventID(r *request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		return r.number("after"), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxSeq {
		return 0, refuse(core.ErrInvalid, "the header Last-Event-ID is %.50q: want the number of an event", text)
	}
	return n, nil
}

// A stream is one caller's stream of events.
type stream struct {
	s      *Server
	q      eventQuery
	caller core.Token
	w      http.ResponseWriter
	rc     *http.ResponseController
	last   int64 // that was looked at
	told   int64 // that the caller knows of
}

func (st *stream) run(ctx context.Context) error {
	tick := time.NewTicker(st.s.cfg.heartbeat)
	defer tick.Stop()
	for idle := false; ; {
		wake := st.s.cfg.Committer.Emitted() // before reading, so that nothing comes in between
		var page admin.EventPage
		err := st.s.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
			if st.caller != owner { // it may have been revoked
				if _, err := access.Find(rd, st.caller.Hash, st.s.cfg.Now()); err != nil {
					return err
				}
			}
			page, err = st.q.read(rd, st.last, streamPage)
			return err
		})
		if err != nil {
			return err
		}
		if err := st.send(page, idle); err != nil {
			return err
		}
		idle = false
		if !st.pause(ctx) {
			return nil
		}
		if page.More {
			continue
		}
		select {
		case <-wake:
		case <-tick.C:
			idle = true
		case <-ctx.Done():
			return nil
		case <-st.s.stopped:
			return nil
		}
	}
}

// pause waits before the next look, and reports whether the stream goes on.
func (st *stream) pause(ctx context.Context) bool {
	t := time.NewTimer(streamPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-st.s.stopped:
	}
	return false
}

// send sends a page, and where the stream is if the caller does not know: at the beginning, and now and then, so that
// who comes back need not begin where the last event was that he asked for. It also finds out that the caller has gone.
func (st *stream) send(page admin.EventPage, idle bool) error {
	var b []byte
	if page.Gap {
		b = appendMessage(b, page.Last, "hub.gap", []byte("{}"))
		if len(page.Items) > 0 {
			b = appendMessage(nil, page.Items[0].Seq-1, "hub.gap", []byte("{}"))
		}
	}
	for _, e := range page.Items {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b = appendMessage(b, e.Seq, e.Kind, data)
		st.told = e.Seq
	}
	st.last = page.Last
	switch {
	case st.told < 0 || idle && st.told != st.last:
		b = appendMessage(b, st.last, "hub.position", []byte("{}"))
		st.told = st.last
	case idle:
		b = append(b, ":\n\n"...)
	}
	if len(b) == 0 {
		return nil
	}
	_ = st.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // where that can be set
	if _, err := st.w.Write(b); err != nil {
		return err
	}
	return st.rc.Flush()
}

// appendMessage appends a message of the form that WHATWG HTML, section 9.2 "Server-sent events", describes. JSON has no
// line ends in it.
func appendMessage(b []byte, id int64, event string, data []byte) []byte {
	b = append(b, "id: "...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, "\nevent: "...)
	b = append(b, event...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}
