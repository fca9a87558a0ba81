package awsiot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// A Shadow is a handle on a document that AWS IoT keeps for a thing: what is desired of the thing, and what it reports. Handles are free
// to make, cannot fail, and may be used from any goroutine; a wrong name is noticed by the methods.
type Shadow struct {
	c           *Client
	thing, name string
	oneShot     bool
}

// Shadow returns the shadow of that name of [Config.ThingName]; "" is the classic one, which has none.
func (c *Client) Shadow(name string) *Shadow { return c.ThingShadow(c.cfg.ThingName, name) }

// ThingShadow returns a shadow of another thing, as far as policies allow that.
func (c *Client) ThingShadow(thing, name string) *Shadow {
	return &Shadow{c: c, thing: thing, name: name}
}

// OneShot returns a handle that subscribes to the answers of each request anew and unsubscribes when no request is under way. Other
// handles stay subscribed, which saves two round trips for each request, and costs up to four of the fifty subscriptions that a
// connection may have.
func (s *Shadow) OneShot() *Shadow {
	other := *s
	other.oneShot = true
	return &other
}

// Thing returns the name of the thing.
func (s *Shadow) Thing() string { return s.thing }

// Name returns the name of the shadow, "" if it is the classic one.
func (s *Shadow) Name() string { return s.name }

// Null stands for a section that is to be removed.
var Null = json.RawMessage("null")

// A ShadowDocument is the state of a shadow, or the part of it that an answer has. Sections are JSON objects; nil if there is none.
type ShadowDocument struct {
	Desired, Reported json.RawMessage
	// Delta is what of Desired differs from Reported. Only [Shadow.Get] brings it.
	Delta    json.RawMessage
	Metadata ShadowMetadata
	Version  int64
	Time     time.Time // of the answer
	// ClientToken is that of the request which has brought the document about.
	ClientToken string
}

// ShadowMetadata has an object {"timestamp":SECONDS} in the place of each value.
type ShadowMetadata struct{ Desired, Reported json.RawMessage }

// A ShadowDelta tells what is desired and not reported.
type ShadowDelta struct {
	State       json.RawMessage // what of desired differs: all of it, not only what has changed now
	Metadata    json.RawMessage // when it became desired
	Version     int64
	Time        time.Time
	ClientToken string // of the request, if it had one
}

// ShadowDocuments is the state before and after an update.
type ShadowDocuments struct {
	Previous    *ShadowDocument // nil if there was none
	Current     *ShadowDocument
	Time        time.Time
	ClientToken string
}

// A ShadowUpdate says what to change. Desired and Reported are anything that encoding/json makes an object of: members are set, those
// that are null are removed, others stay. nil leaves a section alone, [Null] removes it.
type ShadowUpdate struct {
	Desired, Reported any
	// Version is the one that the shadow must have. 0: any.
	Version int64
}

// ShadowOptions are the extras of [Shadow.Report] and [Shadow.Desire].
type ShadowOptions struct {
	// Version is the one that the shadow must have; otherwise the error wraps fairlead.ErrConflict. 0: any.
	Version int64
}

// Get returns the shadow. The error wraps fairlead.ErrNotFound if there is none. This one and those of the other methods are a
// [fairlead.PlatformError] when AWS IoT has refused, with the codes of "Device Shadow error messages": "409" for a version that is not
// the present one. When ctx, or [Config.RequestTimeout] if it has no deadline, ends first they wrap fairlead.ErrUnavailable and the
// cause.
func (s *Shadow) Get(ctx context.Context) (*ShadowDocument, error) {
	token := newToken()
	return s.document(ctx, "get", awswire.OpGet, token, tokenPayload(token))
}

// Update changes the shadow. What it returns has only what was changed, and the new version. When the connection is lost before the
// answer comes, the error wraps fairlead.ErrUnavailable, and the update may have been made.
func (s *Shadow) Update(ctx context.Context, u ShadowUpdate) (*ShadowDocument, error) {
	token := newToken()
	r := awswire.ShadowRequest{State: &awswire.ShadowState{}, Version: u.Version, ClientToken: token}
	err := section(&r.State.Desired, u.Desired)
	if err == nil {
		err = section(&r.State.Reported, u.Reported)
	}
	if err == nil && u.Version < 0 {
		err = fmt.Errorf("version %d", u.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", s.doing("update"), fairlead.ErrInvalid, err)
	}
	return s.document(ctx, "update", awswire.OpUpdate, token, awswire.AppendPayload(nil, r))
}

// section encodes one. A nil stays one.
func section(to *json.RawMessage, v any) error {
	if v == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if text[0] != '{' && !bytes.Equal(text, Null) {
		return fmt.Errorf("a %T is no JSON object", v)
	}
	*to = text
	return nil
}

// Report sets what the thing reports: [Shadow.Update] with Reported.
func (s *Shadow) Report(ctx context.Context, state any, opts *ShadowOptions) (*ShadowDocument, error) {
	return s.Update(ctx, ShadowUpdate{Reported: state, Version: opts.version()})
}

// Desire sets what is desired of the thing: [Shadow.Update] with Desired.
func (s *Shadow) Desire(ctx context.Context, state any, opts *ShadowOptions) (*ShadowDocument, error) {
	return s.Update(ctx, ShadowUpdate{Desired: state, Version: opts.version()})
}

func (o *ShadowOptions) version() int64 {
	if o == nil {
		return 0
	}
	return o.Version
}

// UpdateJSON is [Shadow.Update] with a whole document in JSON, such as {"state":{"reported":{"led":"on"}},"version":7}. Its client token
// is replaced.
func (s *Shadow) UpdateJSON(ctx context.Context, document []byte) (*ShadowDocument, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(document, &members); err != nil || members == nil {
		return nil, fmt.Errorf("%s: %w: the document is no JSON object", s.doing("update"), fairlead.ErrInvalid)
	}
	token := newToken()
	members["clientToken"] = awswire.AppendText(nil, token)
	return s.document(ctx, "update", awswire.OpUpdate, token, awswire.AppendPayload(nil, members))
}

// Delete removes the shadow. It returns the version that is gone; the next one goes on counting from there, for two days.
func (s *Shadow) Delete(ctx context.Context) (version int64, err error) {
	token := newToken()
	d, err := s.document(ctx, "delete", awswire.OpDelete, token, tokenPayload(token))
	if err != nil {
		return 0, err
	}
	return d.Version, nil
}

func tokenPayload(token string) []byte {
	return append(awswire.AppendText([]byte(`{"clientToken":`), token), '}')
}

// doing is for errors.
func (s *Shadow) doing(op string) string {
	if s.name == "" {
		return fmt.Sprintf("%s shadow of %.128q", op, s.thing)
	}
	return fmt.Sprintf("%s shadow %.64q of %.128q", op, s.name, s.thing)
}

// check reports names that no shadow has.
func (s *Shadow) check(op string) error {
	if !awswire.ValidThingName(s.thing) || s.name != "" && !awswire.ValidShadowName(s.name) {
		return fmt.Errorf("%s: %w: name of thing or shadow", s.doing(op), fairlead.ErrInvalid)
	}
	return nil
}

// document asks AWS IoT.
func (s *Shadow) document(ctx context.Context, what string, op awswire.Op, token string, payload []byte) (*ShadowDocument, error) {
	if err := s.check(what); err != nil {
		return nil, err
	}
	t := awswire.Topic{Service: awswire.ServiceShadow, Thing: s.thing, Shadow: s.name, Op: op}
	filters := []string{t.String() + "/+"}
	if op == awswire.OpUpdate { // "+" would bring delta and documents, too
		filters = []string{t.With(awswire.Accepted).String(), t.With(awswire.Rejected).String()}
	}
	body, refusal, err := s.c.ask(ctx, &request{
		op: s.doing(what), topic: t.String(), payload: payload, token: token, filters: filters, oneShot: s.oneShot,
		again: op == awswire.OpGet, gate: s.c.requests.shadows,
	})
	if err != nil {
		return nil, err
	}
	if refusal != nil {
		return nil, shadowRefusal(s.doing(what), refusal)
	}
	var r awswire.ShadowReply
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("%s: %w: answer: %w", s.doing(what), fairlead.ErrUnavailable, err)
	}
	return newDocument(r.State, r.Metadata, r.Version, r.Timestamp, r.ClientToken), nil
}

// shadowRefusal makes an error of what came on a rejected topic.
func shadowRefusal(op string, body []byte) error {
	var r awswire.ShadowRejection
	if err := json.Unmarshal(body, &r); err != nil {
		return fmt.Errorf("%s: %w: refusal: %w", op, fairlead.ErrUnavailable, err)
	}
	return &fairlead.PlatformError{Op: op, Code: strconv.Itoa(r.Code), Detail: r.Message, Kind: mqttclient.HTTPKind(r.Code)}
}

func newDocument(state *awswire.ShadowState, metadata *awswire.ShadowMetadata, version, at int64, token string) *ShadowDocument {
	d := &ShadowDocument{Version: version, Time: seconds(at), ClientToken: token}
	if state != nil {
		d.Desired, d.Reported, d.Delta = present(state.Desired), present(state.Reported), present(state.Delta)
	}
	if metadata != nil {
		d.Metadata = ShadowMetadata{present(metadata.Desired), present(metadata.Reported)}
	}
	return d
}

// present returns nil for null.
func present(m json.RawMessage) json.RawMessage {
	if bytes.Equal(m, Null) {
		return nil
	}
	return m
}

// seconds converts times of shadows and jobs.
func seconds(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}

// OnDelta calls handle whenever something is desired that is not reported, like the callbacks of [Config]: after each update that leaves
// a difference. It returns when the subscription is in place; stop ends it, and may be called any number of times. A delta that comes
// again, or late, is passed over; one that has the version of an update that the program has just made is not.
//
// What was desired while nobody listened comes only if AWS IoT still had the session: see [Shadow.Get] for what is desired now.
func (s *Shadow) OnDelta(ctx context.Context, handle func(*ShadowDelta)) (stop func(), err error) {
	var last struct{ version, at int64 }
	return s.on(ctx, awswire.Delta, func(payload []byte) error {
		var d awswire.ShadowDelta
		if err := json.Unmarshal(payload, &d); err != nil {
			return err
		}
		// A shadow that is made anew after two days begins with version 1, which must not count as late for ever.
		if d.Version <= last.version && d.Timestamp <= last.at {
			return nil
		}
		last.version, last.at = d.Version, d.Timestamp
		handle(&ShadowDelta{State: present(d.State), Metadata: present(d.Metadata), Version: d.Version, Time: seconds(d.Timestamp), ClientToken: d.ClientToken})
		return nil
	})
}

// OnDocuments calls handle after each accepted update, with the state before and after it. For the rest it is like [Shadow.OnDelta].
func (s *Shadow) OnDocuments(ctx context.Context, handle func(*ShadowDocuments)) (stop func(), err error) {
	snapshot := func(d *awswire.ShadowSnapshot) *ShadowDocument {
		if d == nil {
			return nil
		}
		return newDocument(&d.State, &d.Metadata, d.Version, 0, "")
	}
	return s.on(ctx, awswire.Documents, func(payload []byte) error {
		var d awswire.ShadowDocuments
		if err := json.Unmarshal(payload, &d); err != nil {
			return err
		}
		handle(&ShadowDocuments{Previous: snapshot(d.Previous), Current: snapshot(d.Current), Time: seconds(d.Timestamp), ClientToken: d.ClientToken})
		return nil
	})
}

// on listens to what follows updates.
func (s *Shadow) on(ctx context.Context, what awswire.Reply, handle func(payload []byte) error) (stop func(), err error) {
	op := "listen to " + string(what) + " of"
	if err := s.check(op); err != nil {
		return nil, err
	}
	ctx, cancel := s.c.operation(ctx)
	defer cancel()
	stop, err = s.c.attach(ctx, awswire.ShadowTopic(s.thing, s.name, awswire.OpUpdate, what), AtLeastOnce, func(m *Message) {
		if err := handle(m.Payload); err != nil {
			s.c.log.Warn("message of AWS IoT dropped", "topic", m.Topic, "err", err)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.doing(op), err)
	}
	return stop, nil
}
