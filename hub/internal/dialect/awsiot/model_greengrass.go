package awsiot

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Groups of Greengrass discovery: which devices may find which cores, and where these can be reached. At the service they come
// from deployments; here operators edit them, in the hub's own API, and devices only ask.

const keyGreengrass = "greengrass/"

// Bounds of what is kept.
const (
	maxGreengrassGroups  = 1000 // of an account
	maxGreengrassCores   = 10
	maxGreengrassWays    = 10   // to a core
	maxGreengrassCAs     = 10   // of a group
	maxGreengrassDevices = 2500 // of a group
	maxGreengrassPEM     = 8 << 10
	maxGreengrassText    = 1024
)

// A greengrassGroup is some cores, and the devices that may find them.
type greengrassGroup struct {
	ID      string           `json:"-"`
	Cores   []greengrassCore `json:"cores"`
	CAs     []string         `json:"cas,omitempty"` // certificates in PEM that those of the cores come from; none: the hub's own root
	Devices []string         `json:"devices"`       // names of things
}

// A greengrassCore is a Greengrass core, which is a thing, and the ways to it.
type greengrassCore struct {
	Thing string          `json:"thing"`
	Ways  []greengrassWay `json:"ways"`
}

// A greengrassWay is where a core can be reached.
type greengrassWay struct {
	ID       string `json:"id"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Metadata string `json:"metadata,omitempty"`
}

var greengrassName = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}

// validate reports, as core.ErrInvalid, a group that cannot be.
func (g *greengrassGroup) validate() error {
	switch {
	case !greengrassName.MatchString(g.ID):
		return invalid("group %.40q: want 1 to 128 letters, digits, colons, underscores or hyphens", g.ID)
	case len(g.Cores) == 0 || len(g.Cores) > maxGreengrassCores:
		return invalid("%d cores: want 1 to %d", len(g.Cores), maxGreengrassCores)
	case len(g.CAs) > maxGreengrassCAs:
		return invalid("%d certificates: at most %d", len(g.CAs), maxGreengrassCAs)
	case len(g.Devices) > maxGreengrassDevices:
		return invalid("%d devices: at most %d", len(g.Devices), maxGreengrassDevices)
	}
	for _, d := range g.Devices {
		if !greengrassName.MatchString(d) {
			return invalid("device %.40q is no name of a thing", d)
		}
	}
	for i, text := range g.CAs {
		block, _ := pem.Decode([]byte(text))
		if len(text) > maxGreengrassPEM || block == nil || block.Type != "CERTIFICATE" {
			return invalid("certificate %d is not PEM of at most %d bytes", i+1, maxGreengrassPEM)
		}
	}
	for _, c := range g.Cores {
		if err := c.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (c *greengrassCore) validate() error {
	if !greengrassName.MatchString(c.Thing) {
		return invalid("core %.40q is no name of a thing", c.Thing)
	}
	if len(c.Ways) == 0 || len(c.Ways) > maxGreengrassWays {
		return invalid("core %s has %d ways to it: want 1 to %d", c.Thing, len(c.Ways), maxGreengrassWays)
	}
	for _, w := range c.Ways {
		if w.ID == "" || len(w.ID) > maxGreengrassText || w.Host == "" || len(w.Host) > maxGreengrassText || w.Port < 1 || w.Port > 65535 || len(w.Metadata) > maxGreengrassText {
			return invalid("core %s: each way has an id, a host and a port", c.Thing)
		}
	}
	return nil
}

func readGreengrassGroup(t core.TenantID, r store.Record) (g greengrassGroup, err error) {
	g.ID = strings.TrimPrefix(r.Key, keyGreengrass)
	return g, decodeRecord(t, r.Key, r.Value, &g)
}

func putGreengrassGroup(tx *commit.Tx, t core.TenantID, g greengrassGroup) error {
	if err := g.validate(); err != nil {
		return err
	}
	others, _, err := names(tx, t, keyGreengrass, "", 0)
	if err != nil {
		return err
	}
	others = slices.DeleteFunc(others, func(id string) bool { return id == g.ID })
	if len(others) >= maxGreengrassGroups {
		return fmt.Errorf("%w: there are %d groups", core.ErrTooLarge, len(others))
	}
	return writeRecord(tx, t, keyGreengrass+g.ID, g)
}

// itemsGreengrass is the kind of item that groups are.
const itemsGreengrass = "greengrass"

// errNoItems is what items of any other kind are answered with.
func errNoItems(kind string) error {
	return fmt.Errorf("items of the kind %.40q: %w", kind, core.ErrNotFound)
}

// Items implements dialect.Curator.
func (d *Dialect) Items(rd store.Reader, t core.TenantID, kind string) ([]dialect.Item, error) {
	if kind != itemsGreengrass {
		return nil, errNoItems(kind)
	}
	var list []dialect.Item
	for r, err := range rd.Records(t, Name, keyGreengrass) {
		if err != nil {
			return nil, err
		}
		list = append(list, dialect.Item{ID: strings.TrimPrefix(r.Key, keyGreengrass), Value: r.Value})
	}
	return list, nil
}

// SetItem implements dialect.Curator.
func (d *Dialect) SetItem(tx *commit.Tx, t core.TenantID, kind string, item dialect.Item) error {
	if kind != itemsGreengrass {
		return errNoItems(kind)
	}
	g := greengrassGroup{ID: item.ID}
	if err := json.Unmarshal(item.Value, &g); err != nil {
		return invalid("group %.40q: %v", item.ID, err)
	}
	return putGreengrassGroup(tx, t, g)
}

// DeleteItem implements dialect.Curator.
func (d *Dialect) DeleteItem(tx *commit.Tx, t core.TenantID, kind, id string) error {
	if kind != itemsGreengrass {
		return errNoItems(kind)
	}
	if _, err := tx.Record(t, Name, keyGreengrass+id); err != nil {
		return err
	}
	return tx.DeleteRecord(t, Name, keyGreengrass+id)
}
