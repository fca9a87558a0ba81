package api

import (
	"encoding/json"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/hub/internal/telemetry"
)

// maxPageBytes bounds what the values of a page weigh, see [core.Value.Weight]; as JSON they are up to six times that. A
// single value may be larger.
const maxPageBytes = 2 << 20

// maxLooked bounds how many entries or events are looked at for a page, where most may be left out.
const maxLooked = 10_000

// sampleMark is the cursor of listSamples; see [telemetry.Mark].
type sampleMark struct {
	At int64 `json:"at"` // microseconds
	N  int   `json:"n"`
}

func (s *Server) listSamples(r *request) (any, error) {
	rng := core.Range{Since: r.time("since"), To: r.time("to"), Limit: r.limit()}
	if b := r.flag("backwards"); b != nil {
		rng.Backwards = *b
	}
	var place sampleMark
	var after *telemetry.Mark
	if ok, err := r.cursor(&place); err != nil {
		return nil, err
	} else if ok {
		if place.N < 1 {
			return nil, refuse(core.ErrInvalid, "the cursor is not one that this list has given")
		}
		after = &telemetry.Mark{At: time.UnixMicro(place.At).UTC(), N: place.N}
	}
	var list []core.Sample
	var next *telemetry.Mark
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		d, err := r.device(rd)
		if err != nil {
			return err
		}
		list, next, err = telemetry.Page(rd, &core.Series{Device: d.Num, Channel: r.text("channel")}, rng, after, maxPageBytes)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := admin.Page[admin.Sample]{Items: make([]admin.Sample, 0, len(list))}
	for _, x := range list {
		v, err := sampleOf(x)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, v)
	}
	if next != nil {
		out.Next, err = makeCursor(sampleMark{At: next.At.UnixMicro(), N: next.N})
	}
	return out, err
}

func sampleOf(x core.Sample) (admin.Sample, error) {
	v, err := valueOf(x.Value)
	return admin.Sample{At: admin.Time{Time: x.At}, Received: admin.Time{Time: x.Received}, Value: v}, err
}

func (s *Server) listChannels(r *request) (any, error) {
	var after []byte // not text: JSON would change what is no UTF-8
	if _, err := r.cursor(&after); err != nil {
		return nil, err
	}
	out := admin.Page[admin.Channel]{Items: []admin.Channel{}}
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		d, err := r.device(rd)
		if err != nil {
			return err
		}
		list, err := rd.SeriesAfter(d.Num, r.text("prefix"), string(after), r.limit()+1)
		if err != nil {
			return err
		}
		size := 0
		for i, series := range list {
			if i == r.limit() || size > maxPageBytes {
				out.Next, err = makeCursor([]byte(list[i-1].Channel))
				return err
			}
			c := admin.Channel{Channel: series.Channel}
			last, ok, err := telemetry.Last(rd, series)
			if err != nil {
				return err
			}
			if ok {
				v, err := sampleOf(last)
				if err != nil {
					return err
				}
				c.Last = &v
				size += last.Value.Weight()
			}
			out.Items = append(out.Items, c)
		}
		return nil
	})
	return out, err
}

func (s *Server) changeDesired(r *request) (any, error) {
	n := r.body.(*admin.DesiredChange)
	return nil, s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		d, err := r.device(tx)
		if err != nil {
			return err
		}
		if director := s.cfg.Directors[d.Dialect]; director != nil {
			return reveal(director.Direct(tx, d, n.Document, n.Desired), core.ErrInvalid, core.ErrDenied, core.ErrNotFound, core.ErrTooLarge, core.ErrConflict)
		}
		return refuse(core.ErrInvalid, "devices of %s have no documents that could be changed", d.Dialect)
	})
}

// leafMark is the cursor of listDocuments.
type leafMark struct {
	Document []byte    `json:"document"`
	Side     core.Side `json:"side"`
	Path     []byte    `json:"path"`
}

func (s *Server) listDocuments(r *request) (any, error) {
	name, oneDocument := r.params["document"].(string)
	side := r.text("side")
	var place leafMark
	resumed, err := r.cursor(&place)
	if err != nil {
		return nil, err
	}
	from := core.Leaf{Document: name} // "" is before all others
	if resumed {
		// Nothing lies between a path and the same with a zero byte behind it.
		from = core.Leaf{Document: string(place.Document), Side: place.Side, Entry: core.Entry{Path: string(place.Path) + "\x00"}}
	}
	out := admin.Page[admin.Entry]{Items: []admin.Entry{}}
	err = s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		d, err := r.device(rd)
		if err != nil {
			return err
		}
		looked, size := 0, 0
		var last core.Leaf
		for l, err := range rd.Leaves(d.Num, from) {
			if err != nil {
				return err
			}
			if oneDocument && l.Document > name {
				return nil
			}
			wanted := (!oneDocument || l.Document == name) && (side == "" || l.Side.String() == side)
			if looked == maxLooked || size > maxPageBytes || wanted && len(out.Items) == r.limit() {
				out.Next, err = makeCursor(leafMark{[]byte(last.Document), last.Side, []byte(last.Path)})
				return err
			}
			looked++
			last = l
			if !wanted {
				continue
			}
			v, err := valueOf(l.Value)
			if err != nil {
				return err
			}
			size += l.Value.Weight()
			out.Items = append(out.Items, admin.Entry{
				Document: l.Document, Side: l.Side.String(), Path: l.Path, Changed: admin.NewTime(l.Changed), Value: v,
			})
		}
		return nil
	})
	return out, err
}

// A Director changes what is desired of a dialect's devices; package dialect says how.
type Director interface {
	Direct(tx *commit.Tx, dev core.Device, document string, patch json.RawMessage) error
}
