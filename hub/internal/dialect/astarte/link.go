package astarte

import (
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

type link struct {
	session core.SessionKey
	base    string
}

func newLink(d *Dialect, dev core.Device, slot *realmSlot) *link { panic("being written") }

func (l *link) Connected(tx *commit.Tx, s dialect.Presence) error { panic("being written") }

func (l *link) Disconnected(tx *commit.Tx, reason string) error { panic("being written") }

func (l *link) Receive(t *dialect.Topic, m dialect.Publish, b *commit.Batch) error {
	panic("being written")
}
