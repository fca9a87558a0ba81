package broker

import (
	"errors"
	"fmt"
	"math"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// A holding is what the sessions of one device take together. A client chooses its client id, and so how many sessions it
// has: what is bounded for each of them is not bounded for a device. It belongs to the committer's goroutine.
type holding struct {
	sessions, filters int
	filterBytes       int // see filterSize
}

// holdingOf returns the holding of a session's device, nil if it is nobody's.
func (b *Broker) holdingOf(s *session) *holding {
	if s.Device == 0 {
		return nil
	}
	h := b.holdings[s.Device]
	if h == nil {
		h = &holding{}
		b.holdings[s.Device] = h
	}
	return h
}

// enlist enters a session into what is counted, and delist takes it out.
func (b *Broker) enlist(s *session) { b.counts(s, 1) }
func (b *Broker) delist(s *session) { b.counts(s, -1) }

func (b *Broker) counts(s *session, n int) {
	b.stats.Sessions.Add(int64(n))
	if b.tenants[s.Key.Tenant] += n; b.tenants[s.Key.Tenant] == 0 {
		delete(b.tenants, s.Key.Tenant)
	}
	if h := b.holdingOf(s); h != nil {
		h.sessions += n
		b.tidy(s.Device, h)
	}
}

// countFilter counts a subscription of a session, or takes it out with n = -1.
func (b *Broker) countFilter(s *session, filter string, n int) {
	if h := b.holdingOf(s); h != nil {
		h.filters += n
		h.filterBytes += n * filterSize(filter)
		b.tidy(s.Device, h)
	}
}

func (b *Broker) tidy(n core.DeviceNum, h *holding) {
	if *h == (holding{}) {
		delete(b.holdings, n)
	}
}

// admits says whether the grant leaves room for one session more.
func (b *Broker) admits(g *core.Grant) error {
	if b.tenants[g.Session.Tenant] >= b.cfg.MaxSessions {
		return fmt.Errorf("%w: %w has %d", core.ErrSessions, errTenant, b.tenants[g.Session.Tenant])
	}
	if h := b.holdings[g.Device]; h != nil && g.Limits.Sessions > 0 && h.sessions >= g.Limits.Sessions {
		return fmt.Errorf("%w: %w has %d", core.ErrSessions, errDevice, h.sessions)
	}
	return nil
}

// Who has as many sessions as may be.
var (
	errTenant = errors.New("the tenant")
	errDevice = errors.New("the device")
)

// countFull counts what admits has refused; not there, because the transaction may run twice.
func (b *Broker) countFull(err error) {
	switch {
	case errors.Is(err, errTenant):
		b.stats.TenantFull.Add(1)
	case errors.Is(err, errDevice):
		b.stats.DeviceFull.Add(1)
	}
}

// takesFilter says whether the session's device may have one subscription more.
func (b *Broker) takesFilter(s *session, filter string) bool {
	h, most := b.holdings[s.Device], s.Limits.DeviceFilters
	return h == nil || most < 0 || h.filters < most && h.filterBytes+filterSize(filter) <= min(most, math.MaxInt/meanFilterBytes)*meanFilterBytes
}
