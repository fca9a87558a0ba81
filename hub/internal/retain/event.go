package retain

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Where there are more events than may be, the tenants that have most of them lose their oldest, and of these the devices
// that have most: one that connects over and over pushes out its own events, not those of others.
//
// Who has how many is found out by counting all of them, in short views. That takes half a second for a million, so it is done
// only when a fiftieth too many are there.

const (
	eventSlack = 50 // the share of the limit that may be there above it
	countTime  = 20 * time.Millisecond
	topDevices = 1000 // of a tenant, that are told apart
)

// eventSum is how many events there were when they were counted. What is swept with a tenant stays in it until then.
type eventSum struct {
	known   bool
	n, upTo int64 // events, up to that number
}

// at returns how many there are now at most, where first and last are the numbers of the oldest and the newest.
func (s *eventSum) at(first, last int64) int64 {
	n := last - first + 1
	if s.known {
		n = min(n, s.n+last-s.upTo)
	}
	return n
}

// dropEvents drops events that are old, and those that are too many.
func (k *Keeper) dropEvents(ctx context.Context) error {
	n, oldest, err := k.countEvents(ctx)
	if age := k.cfg.EventAge; err == nil && n > 0 && age > 0 && oldest.Before(k.cfg.Now().Add(-age)) {
		if err = k.inEventSlices(ctx, k.dropOldEvents); err == nil {
			n, _, err = k.countEvents(ctx)
		}
	}
	limit := k.cfg.EventCount
	if err != nil || limit <= 0 || n <= limit+limit/eventSlack {
		return err
	}
	tenants, err := k.eventsByTenant(ctx)
	if err != nil {
		return err
	}
	if err := k.dropTooMany(ctx, tenants, k.events.n-limit); err != nil {
		k.events.known = false
		return err
	}
	_, _, err = k.countEvents(ctx)
	return err
}

// countEvents notes how many events there are, and returns it, and the time of the first one.
func (k *Keeper) countEvents(ctx context.Context) (n int64, oldest time.Time, err error) {
	err = k.cfg.Store.View(ctx, func(rd store.Reader) error {
		old, err := rd.Events(0, 1)
		if err != nil || len(old) == 0 {
			k.events = eventSum{}
			k.note(func(s *Status) { s.Events, s.OldestEvent = 0, 0 })
			return err
		}
		last, err := rd.LastEvent()
		n, oldest = k.events.at(old[0].Seq, last), old[0].At
		k.note(func(s *Status) { s.Events, s.OldestEvent = n, old[0].Seq })
		return err
	})
	if err != nil {
		return 0, oldest, fmt.Errorf("count events: %w", err)
	}
	return n, oldest, nil
}

// inEventSlices has drop change something until it does not, as much in one transaction as its time allows.
func (k *Keeper) inEventSlices(ctx context.Context, drop func(*commit.Tx) (int, error)) error {
	for done := false; !done; {
		dropped := 0
		err := k.cfg.Committer.Maintain(ctx, func(tx *commit.Tx) error {
			dropped, done = 0, false
			for start := time.Now(); !done && time.Since(start) < sliceTime; {
				n, err := drop(tx)
				if err != nil {
					return err
				}
				dropped += n
				done = n == 0
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("drop events: %w", err)
		}
		k.stats.Events.Add(int64(dropped))
		k.events.n -= int64(dropped)
	}
	return nil
}

// dropOldEvents drops some of those that are too old.
func (k *Keeper) dropOldEvents(tx *commit.Tx) (int, error) {
	old, err := tx.Events(0, sliceEvents)
	if err != nil {
		return 0, err
	}
	cutoff, keepFrom := tx.Now().Add(-k.cfg.EventAge), int64(0)
	for _, e := range old {
		if !e.At.Before(cutoff) {
			break
		}
		keepFrom = e.Seq + 1
	}
	if keepFrom == 0 {
		return 0, nil
	}
	return tx.DropEvents(keepFrom)
}

// tenantEvents are the events of a tenant, by device.
type tenantEvents struct {
	total int64
	top   []store.EventCount // of the devices that have most
	cut   int64              // no other device has more
}

func (t *tenantEvents) add(c store.EventCount) {
	t.total += c.Count
	if c.Device.ID == "" || c.Count <= t.cut {
		return
	}
	if t.top = append(t.top, c); len(t.top) == 2*topDevices {
		t.shorten()
	}
}

// shorten sorts the devices, those first that have most, and forgets the last ones if there are too many.
func (t *tenantEvents) shorten() {
	slices.SortStableFunc(t.top, func(a, b store.EventCount) int { return cmp.Compare(b.Count, a.Count) })
	if len(t.top) > topDevices {
		t.cut = t.top[topDevices].Count
		t.top = t.top[:topDevices]
	}
}

// eventsByTenant counts all events.
func (k *Keeper) eventsByTenant(ctx context.Context) (map[core.TenantID]*tenantEvents, error) {
	tenants := map[core.TenantID]*tenantEvents{}
	sum := eventSum{known: true}
	var from core.DeviceKey
	for more := true; more; {
		err := k.cfg.Store.View(ctx, func(rd store.Reader) (err error) {
			if sum.upTo == 0 { // what comes meanwhile may be counted twice, and never not at all
				if sum.upTo, err = rd.LastEvent(); err != nil {
					return err
				}
			}
			more = false
			begun := time.Now()
			for c, err := range rd.EventCounts(from) {
				if err != nil {
					return err
				}
				if time.Since(begun) > countTime && c.Device != from {
					from, more = c.Device, true
					return nil
				}
				t := tenants[c.Device.Tenant]
				if t == nil {
					t = &tenantEvents{}
					tenants[c.Device.Tenant] = t
				}
				t.add(c)
				sum.n += c.Count
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("count events: %w", err)
		}
	}
	k.events = sum
	return tenants, nil
}

// dropTooMany has tenants give up so many events in all.
func (k *Keeper) dropTooMany(ctx context.Context, tenants map[core.TenantID]*tenantEvents, take int64) error {
	type tenant struct {
		id core.TenantID
		*tenantEvents
	}
	var list []tenant
	for id, t := range tenants {
		list = append(list, tenant{id, t})
	}
	slices.SortFunc(list, func(a, b tenant) int { return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.id, b.id)) })
	var plan []store.EventCount // what to drop
	for i, n := range level(list, func(t tenant) int64 { return t.total }, 0, take) {
		t := list[i]
		t.shorten()
		for j, m := range level(t.top, func(c store.EventCount) int64 { return c.Count }, t.cut, n) {
			plan = append(plan, store.EventCount{Device: t.top[j].Device, Count: m})
			n -= m
		}
		plan = append(plan, store.EventCount{Device: core.DeviceKey{Tenant: t.id}, Count: n})
	}
	return k.inEventSlices(ctx, func(tx *commit.Tx) (int, error) {
		for ; len(plan) > 0; plan = plan[1:] {
			limit := int(min(plan[0].Count, sliceEvents))
			if limit <= 0 {
				continue
			}
			n, err := tx.DropEventsOf(plan[0].Device, limit)
			if plan[0].Count -= int64(n); n < limit {
				plan[0].Count = 0
			}
			if err != nil || n > 0 {
				return n, err
			}
		}
		return 0, nil
	})
}

// level says how many each of a list, which begins with those who have most, gives up so that it is take in all: those
// who have most come down to one level, which is not below least, and the others keep what they have.
func level[T any](list []T, has func(T) int64, least, take int64) []int64 {
	above, n := int64(0), 0 // what the first n have, which come down
	to := least
	for n < len(list) {
		above += has(list[n])
		n++
		next := int64(math.MinInt64)
		if n < len(list) {
			next = has(list[n])
		}
		if to = max(least, (above-take)/int64(n)); to >= next {
			break
		}
	}
	give := make([]int64, n)
	for i := range give {
		give[i] = max(0, has(list[i])-to)
		take -= give[i]
	}
	for i := 0; take < 0; i = (i + 1) % n { // by fewer than there are
		if give[i] > 0 {
			give[i]--
			take++
		}
	}
	return give
}
