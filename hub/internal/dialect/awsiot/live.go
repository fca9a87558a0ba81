package awsiot

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// What changes about policies, certificates and groups counts for live connections at once. Two things make that cheap. A
// policy is kept once, however many connections it is about ([policySlot]), so that a new version of it is one assignment. And
// connections are found by their certificate, their thing and its groups, so that an attachment concerns those only whom it
// is about. Only transactions change policies, so all of this belongs to the committer's goroutine, but for what is read
// while a client signs in and publishes.
type live struct {
	mu       sync.Mutex
	accounts map[core.TenantID]*standing

	links map[liveKey]map[*link]struct{} // by "cert/ID", "accesskey/ID", "thing/NAME" and "thinggroup/NAME"
}

// A liveKey names something in an account.
type liveKey struct {
	tenant core.TenantID
	name   string
}

// A standing is what the connections of an account share.
type standing struct {
	// version grows when a decision of one of the account's policies may be another one.
	version atomic.Uint64
	// changes grows when anything has changed that decides what a connection may do: who signs in compares it. It grows in the
	// transaction, and again when that is on disk: who signs in in between reads what was before.
	changes atomic.Uint64

	mu       sync.Mutex
	policies map[string]*policySlot // those that connections stand under
}

// A policySlot holds the version of a policy that counts.
type policySlot struct {
	name string
	cur  atomic.Pointer[policy.Document] // nil: there is no such policy
	uses int                             // connections; the committer's goroutine only
}

// standing returns that of an account.
func (d *Dialect) standing(t core.TenantID) *standing {
	d.live.mu.Lock()
	defer d.live.mu.Unlock()
	s := d.live.accounts[t]
	if s == nil {
		s = &standing{policies: map[string]*policySlot{}}
		if d.live.accounts == nil {
			d.live.accounts = map[core.TenantID]*standing{}
		}
		d.live.accounts[t] = s
	}
	return s
}

// changing is called in transactions that change what decides about connections.
func (s *standing) changing(tx *commit.Tx) {
	s.changes.Add(1)
	tx.After(func() { s.changes.Add(1) })
}

// forgetAccount forgets what is kept of an account that is there no more.
func (d *Dialect) forgetAccount(tx *commit.Tx, t core.TenantID) {
	d.accounts.changing(tx)
	d.authorities.changing(tx)
	d.standing(t).changing(tx)
	d.keys.Forget(tx)
	d.live.mu.Lock()
	defer d.live.mu.Unlock()
	old := d.live.accounts[t]
	delete(d.live.accounts, t)
	tx.Undo(func() {
		d.live.mu.Lock()
		defer d.live.mu.Unlock()
		if old != nil {
			d.live.accounts[t] = old
		}
	})
}

// readDocument returns the document of a policy that counts, nil if there is no such policy.
func (d *Dialect) readDocument(rd store.RecordReader, t core.TenantID, name string) (*policy.Document, error) {
	p, err := readPolicy(rd, t, name)
	if errors.Is(err, core.ErrNotFound) {
		return nil, nil //nolint:nilnil // what there is not allows nothing
	} else if err != nil {
		return nil, err
	}
	doc, err := policy.Parse([]byte(p.document()))
	if err != nil { // it was right when it was stored
		d.log.Error("stored policy cannot be read; it allows nothing", "tenant", string(t), "err", fmt.Errorf("policy %q: %w", name, err))
		return nil, nil //nolint:nilnil // see above
	}
	return doc, nil
}

// slot returns a policy for somebody who signs in: the one that connections share, or one of its own.
func (d *Dialect) slot(rd store.RecordReader, t core.TenantID, name string) (*policySlot, error) {
	s := d.standing(t)
	s.mu.Lock()
	shared := s.policies[name]
	s.mu.Unlock()
	if shared != nil {
		return shared, nil
	}
	doc, err := d.readDocument(rd, t, name)
	if err != nil {
		return nil, err
	}
	own := &policySlot{name: name}
	own.cur.Store(doc)
	return own, nil
}

// share makes a connection one of those that stand under policies, and returns the shared ones. unshare ends that.
func (s *standing) share(tx *commit.Tx, own []*policySlot) []*policySlot {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*policySlot, len(own))
	for i, p := range own {
		if shared := s.policies[p.name]; shared != nil {
			p = shared
		} else {
			s.policies[p.name] = p
		}
		p.uses++
		list[i] = p
	}
	tx.Undo(func() { s.count(list, -1) })
	return list
}

func (s *standing) unshare(tx *commit.Tx, list []*policySlot) {
	s.count(list, -1)
	tx.Undo(func() { s.count(list, 1) })
}

func (s *standing) count(list []*policySlot, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range list {
		if p.uses += n; p.uses == 0 {
			delete(s.policies, p.name)
		} else {
			s.policies[p.name] = p
		}
	}
}

// changed is called by everything that changes what connections of an account may do, after the change and in its
// transaction. what is what has changed, as a key: "policy/NAME" a policy's documents, "cert/ID" and "thinggroup/NAME" which
// policies are attached to these (of a certificate also its state, and the things that it is attached to), "thing/NAME" a
// thing's attributes and groups, "cacert/ID" an authority, "account" the account's settings.
func (d *Dialect) changed(tx *commit.Tx, t core.TenantID, what string) error {
	s := d.standing(t)
	s.changing(tx)
	switch {
	case what == keyAccount:
		d.accounts.changing(tx)
	case strings.HasPrefix(what, keyCACert):
		d.authorities.changing(tx)
	case strings.HasPrefix(what, keyPolicy):
		return d.changedPolicy(tx, t, s, strings.TrimPrefix(what, keyPolicy))
	}
	for _, l := range slices.Collect(maps.Keys(d.live.links[liveKey{t, what}])) { // reload changes the map
		if err := l.reload(tx); err != nil {
			return err
		}
	}
	return nil
}

// changedPolicy puts the new document of a policy in the place of the old one.
func (d *Dialect) changedPolicy(tx *commit.Tx, t core.TenantID, s *standing, name string) error {
	s.mu.Lock()
	p := s.policies[name]
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	doc, err := d.readDocument(tx, t, name)
	if err != nil {
		return err
	}
	old := p.cur.Swap(doc)
	s.version.Add(1)
	tx.Undo(func() {
		p.cur.Store(old)
		s.version.Add(1)
	})
	return nil
}

// enlist has a connection found by what it depends on, delist ends that.
func (d *Dialect) enlist(tx *commit.Tx, l *link, names []string) {
	d.enter(l, names)
	tx.Undo(func() { d.remove(l, names) })
}

func (d *Dialect) delist(tx *commit.Tx, l *link, names []string) {
	d.remove(l, names)
	tx.Undo(func() { d.enter(l, names) })
}

func (d *Dialect) enter(l *link, names []string) {
	for _, name := range names {
		k := liveKey{l.tenant(), name}
		if d.live.links[k] == nil {
			if d.live.links == nil {
				d.live.links = map[liveKey]map[*link]struct{}{}
			}
			d.live.links[k] = map[*link]struct{}{}
		}
		d.live.links[k][l] = struct{}{}
	}
}

func (d *Dialect) remove(l *link, names []string) {
	for _, name := range names {
		k := liveKey{l.tenant(), name}
		if delete(d.live.links[k], l); len(d.live.links[k]) == 0 {
			delete(d.live.links, k)
		}
	}
}

// disconnectPrincipal ends the connections of a principal: "cert/ID" or "accesskey/ID".
func (d *Dialect) disconnectPrincipal(tx *commit.Tx, t core.TenantID, principal string) error {
	for l := range d.live.links[liveKey{t, principal}] {
		k, _ := l.session()
		if err := d.cfg.Broker.Disconnect(tx, k, false, endWithdrawn); err != nil {
			return err
		}
	}
	return nil
}

// endWithdrawn is why connections end whose certificate or access key opens nothing any more.
const endWithdrawn = "credentials withdrawn"
