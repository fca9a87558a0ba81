package registry

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// changes is a transaction as Recall sees it.
type changes struct{ after, undo []func() }

func (c *changes) After(f func()) { c.after = append(c.after, f) }
func (c *changes) Undo(f func())  { c.undo = append(c.undo, f) }

func (c *changes) commit() {
	for _, f := range c.after {
		f()
	}
}

func (c *changes) rollback() {
	for _, f := range c.undo {
		f()
	}
}

// onRecord is what there is to read, and how often it was.
type onRecord struct {
	t     *testing.T
	r     Recall[string]
	now   string
	reads int
}

func (d *onRecord) find(crt string, want string, reads int) *Opening[string] {
	d.t.Helper()
	o, err := d.r.Find([]byte(crt), func() (string, core.DeviceNum, error) { d.reads++; return d.now, 7, nil })
	if err != nil || o.Value != want || d.reads != reads {
		d.t.Errorf("%s: got %q after %d reads (%v), want %q after %d", crt, o.Value, d.reads, err, want, reads)
	}
	return o
}

var revoked = core.Event{Kind: core.CertificateRevocation, Num: 7}

func TestRecall(t *testing.T) {
	d := &onRecord{t: t, now: "a"}
	o := d.find("crt", "a", 1)
	if o != d.find("crt", "a", 1) || !d.r.Holds(o) || d.r.Holds(nil) {
		t.Error("it is not remembered")
	}
	d.r.Changing(&changes{}, core.Event{Kind: core.DeviceConnected, Num: 7})
	d.r.Changing(&changes{}, core.Event{Kind: core.DocumentChanged, Num: 7})
	d.find("crt", "a", 1)
	other := &changes{}
	d.r.Changing(other, core.Event{Kind: core.GrantsChanged, Num: 8})
	other.commit()
	if d.find("crt", "a", 1); !d.r.Holds(o) {
		t.Error("another device's change had it forgotten")
	}
	renewed := d.find("renewed", "a", 2)
	if d.r.Holds(o) || !d.r.Holds(renewed) {
		t.Error("two certificates of one device are remembered")
	}
	d.find("crt", "a", 3)
}

// While a transaction that changes something is under way, others read what was before: none of it may stay.
func TestRecallForgetsWhatChanges(t *testing.T) {
	for name, end := range map[string]func(*changes){"committed": (*changes).commit, "undone": (*changes).rollback} {
		d := &onRecord{t: t, now: "before"}
		o := d.find("crt", "before", 1)
		tx := &changes{}
		d.r.Changing(tx, revoked)
		if d.r.Holds(o) {
			t.Errorf("%s: it holds in the transaction that changes it", name)
		}
		d.find("crt", "before", 2)
		d.find("crt", "before", 3)
		end(tx)
		d.now = "after"
		d.find("crt", "after", 4)
		d.find("crt", "after", 4)
	}
}

// A read that began before a change, and ends after it.
func TestRecallForgetsAReadAcrossAChange(t *testing.T) {
	d := &onRecord{t: t, now: "after"}
	o, err := d.r.Find([]byte("crt"), func() (string, core.DeviceNum, error) {
		tx := &changes{}
		d.r.Changing(tx, revoked)
		tx.commit()
		return "before", 7, nil
	})
	if err != nil || o.Value != "before" || d.r.Holds(o) {
		t.Errorf("got %q, %v, holds %t", o.Value, err, d.r.Holds(o))
	}
	d.find("crt", "after", 1)
}

func TestRecallForgetsATenant(t *testing.T) {
	d := &onRecord{t: t, now: "a"}
	o := d.find("crt", "a", 1)
	tx := &changes{}
	d.r.Changing(tx, core.Event{Kind: core.TenantDeleted})
	tx.commit()
	if d.r.Holds(o) {
		t.Error("a deleted tenant's device is remembered")
	}
	d.find("crt", "a", 2)
}

func TestRecallForgetsErrors(t *testing.T) {
	var r Recall[string]
	failed := errors.New("failed")
	for range 2 {
		if o, err := r.Find([]byte("crt"), func() (string, core.DeviceNum, error) { return "half", 7, failed }); err != failed || o.Value != "half" || r.Holds(o) {
			t.Errorf("got %q, %v", o.Value, err)
		}
	}
}

// However many come, no more than twice the bound are remembered, among them who came last.
func TestRecallIsBounded(t *testing.T) {
	var r Recall[int]
	var last *Opening[int]
	for i := range 5 * recalled {
		last, _ = r.Find(fmt.Appendf(nil, "%d", i), func() (int, core.DeviceNum, error) { return i, core.DeviceNum(i + 1), nil })
	}
	if all := len(r.young) + len(r.old); all > 2*recalled || len(r.numbers) != all || !r.Holds(last) {
		t.Errorf("%d are remembered, %d by certificate; at most %d", all, len(r.numbers), 2*recalled)
	}
}
