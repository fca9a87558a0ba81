// Package greengrass holds the rules about groups for AWS IoT Greengrass discovery: which devices may find which cores, and
// where these can be reached. Operators edit them; devices only ask.
package greengrass

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"iter"
	"regexp"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Dialect is the one whose records groups are among.
const Dialect = "aws"

// Bounds of what is kept.
const (
	MaxGroups  = 1000 // of a tenant
	MaxCores   = 10
	MaxWays    = 10   // to a core
	MaxCAs     = 10   // of a group
	MaxDevices = 2500 // of a group
	maxPEM     = 8 << 10
	maxText    = 1024
)

const prefix = "greengrass/"

// A Group is some cores, and the devices that may find them.
type Group struct {
	ID      string   `json:"-"`
	Cores   []Core   `json:"cores"`
	CAs     []string `json:"cas,omitempty"` // certificates in PEM that those of the cores come from; none: the hub's own root
	Devices []string `json:"devices"`       // names of things
}

// A Core is a Greengrass core, which is a thing, and the ways to it.
type Core struct {
	Thing string `json:"thing"`
	Ways  []Way  `json:"ways"`
}

// A Way is where a core can be reached.
type Way struct {
	ID       string `json:"id"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Metadata string `json:"metadata,omitempty"`
}

// Reader is what the rules read; storage satisfies it.
type Reader interface {
	Record(t core.TenantID, dialect, key string) ([]byte, error)
	Records(t core.TenantID, dialect, prefix string) iter.Seq2[store.Record, error]
}

// Tx is a transaction that rules write in; *commit.Tx satisfies it.
type Tx interface {
	Reader
	PutRecord(t core.TenantID, dialect, key string, value []byte) error
	DeleteRecord(t core.TenantID, dialect, key string) error
}

var name = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}

// Validate reports, as core.ErrInvalid, a group that cannot be.
func (g *Group) Validate() error {
	switch {
	case !name.MatchString(g.ID):
		return invalid("group %.40q: want 1 to 128 letters, digits, colons, underscores or hyphens", g.ID)
	case len(g.Cores) == 0 || len(g.Cores) > MaxCores:
		return invalid("%d cores: want 1 to %d", len(g.Cores), MaxCores)
	case len(g.CAs) > MaxCAs:
		return invalid("%d certificates: at most %d", len(g.CAs), MaxCAs)
	case len(g.Devices) > MaxDevices:
		return invalid("%d devices: at most %d", len(g.Devices), MaxDevices)
	}
	for _, d := range g.Devices {
		if !name.MatchString(d) {
			return invalid("device %.40q is no name of a thing", d)
		}
	}
	for i, text := range g.CAs {
		block, _ := pem.Decode([]byte(text))
		if len(text) > maxPEM || block == nil || block.Type != "CERTIFICATE" {
			return invalid("certificate %d is not PEM of at most %d bytes", i+1, maxPEM)
		}
	}
	for _, c := range g.Cores {
		if err := c.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Core) validate() error {
	if !name.MatchString(c.Thing) {
		return invalid("core %.40q is no name of a thing", c.Thing)
	}
	if len(c.Ways) == 0 || len(c.Ways) > MaxWays {
		return invalid("core %s has %d ways to it: want 1 to %d", c.Thing, len(c.Ways), MaxWays)
	}
	for _, w := range c.Ways {
		if w.ID == "" || len(w.ID) > maxText || w.Host == "" || len(w.Host) > maxText || w.Port < 1 || w.Port > 65535 || len(w.Metadata) > maxText {
			return invalid("core %s: each way has an id, a host and a port", c.Thing)
		}
	}
	return nil
}

// Put makes a group or replaces one.
func Put(tx Tx, t core.TenantID, g Group) error {
	if err := g.Validate(); err != nil {
		return err
	}
	n := 0
	for r, err := range tx.Records(t, Dialect, prefix) {
		if err != nil {
			return err
		}
		if r.Key != prefix+g.ID {
			n++
		}
	}
	if n >= MaxGroups {
		return fmt.Errorf("%w: there are %d groups", core.ErrTooLarge, n)
	}
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return tx.PutRecord(t, Dialect, prefix+g.ID, value)
}

// Find returns a group; core.ErrNotFound if it is not there.
func Find(rd Reader, t core.TenantID, id string) (Group, error) {
	value, err := rd.Record(t, Dialect, prefix+id)
	if err != nil {
		return Group{}, fmt.Errorf("group %.40q: %w", id, err)
	}
	return parse(t, id, value)
}

func parse(t core.TenantID, id string, value []byte) (g Group, err error) {
	if err := json.Unmarshal(value, &g); err != nil {
		return g, fmt.Errorf("group %s of %s: %w: %v", id, t, core.ErrStorage, err)
	}
	g.ID = id
	return g, nil
}

// List returns the groups of a tenant, by id.
func List(rd Reader, t core.TenantID) ([]Group, error) {
	list := []Group{}
	for r, err := range rd.Records(t, Dialect, prefix) {
		if err != nil {
			return nil, err
		}
		g, err := parse(t, strings.TrimPrefix(r.Key, prefix), r.Value)
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

// Delete deletes a group; core.ErrNotFound if it is not there.
func Delete(tx Tx, t core.TenantID, id string) error {
	if _, err := Find(tx, t, id); err != nil {
		return err
	}
	return tx.DeleteRecord(t, Dialect, prefix+id)
}
