package awsiot

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// ConnectivityInfo is a way to reach a core.
type ConnectivityInfo struct {
	ID       string
	Host     string
	Port     int
	Metadata string
}

// Address returns host and port, for [Config.Endpoint].
func (i *ConnectivityInfo) Address() string { return net.JoinHostPort(i.Host, strconv.Itoa(i.Port)) }

// CoreConnectivityInfo is a Greengrass core with the ways to reach it, the order of which is Greengrass'.
type CoreConnectivityInfo struct {
	CoreThingARN string
	GroupID      string
	Connectivity []ConnectivityInfo
}

// ConnectivityInfo returns the way with that ID.
func (c *CoreConnectivityInfo) ConnectivityInfo(id string) (ConnectivityInfo, bool) {
	i := slices.IndexFunc(c.Connectivity, func(i ConnectivityInfo) bool { return i.ID == id })
	if i < 0 {
		return ConnectivityInfo{}, false
	}
	return c.Connectivity[i], true
}

// Append adds a way, in the place of one with the same ID.
func (c *CoreConnectivityInfo) Append(info ConnectivityInfo) {
	c.Connectivity = put(c.Connectivity, info, func(i ConnectivityInfo) bool { return i.ID == info.ID })
}

// GroupConnectivityInfo is a group with its cores, and the authorities that their certificates come from.
type GroupConnectivityInfo struct {
	GroupID string
	Cores   []CoreConnectivityInfo
	CAs     []string // in PEM
}

// Core returns the core with that ARN.
func (g *GroupConnectivityInfo) Core(thingARN string) (CoreConnectivityInfo, bool) {
	i := slices.IndexFunc(g.Cores, func(c CoreConnectivityInfo) bool { return c.CoreThingARN == thingARN })
	if i < 0 {
		return CoreConnectivityInfo{}, false
	}
	return g.Cores[i], true
}

// AppendCore adds a core, in the place of one with the same ARN.
func (g *GroupConnectivityInfo) AppendCore(core CoreConnectivityInfo) {
	g.Cores = put(g.Cores, core, func(c CoreConnectivityInfo) bool { return c.CoreThingARN == core.CoreThingARN })
}

// AppendCA adds an authority.
func (g *GroupConnectivityInfo) AppendCA(pem string) { g.CAs = append(g.CAs, pem) }

// RootCAs returns the authorities, for [Config.RootCAs]. The error wraps fairlead.ErrInvalid if there is none that can be read.
func (g *GroupConnectivityInfo) RootCAs() (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for _, pem := range g.CAs {
		found = pool.AppendCertsFromPEM([]byte(pem)) || found
	}
	if !found {
		return nil, fmt.Errorf("authorities of group %.128q: %w: there is no certificate", g.GroupID, fairlead.ErrInvalid)
	}
	return pool, nil
}

func put[E any](list []E, e E, same func(E) bool) []E {
	if i := slices.IndexFunc(list, same); i >= 0 {
		list[i] = e
		return list
	}
	return append(list, e)
}

// DiscoveryInfo is what [Discovery.Discover] has found.
type DiscoveryInfo struct {
	// JSON is the answer as it came.
	JSON   []byte
	groups []GroupConnectivityInfo
}

// ParseDiscoveryInfo reads an answer of Greengrass. Of groups, cores and ways that are there twice the later one counts. The error wraps
// fairlead.ErrInvalid.
func ParseDiscoveryInfo(text []byte) (*DiscoveryInfo, error) {
	var in struct {
		GGGroups []struct {
			GGGroupID string `json:"GGGroupId"`
			Cores     []struct {
				ThingARN     string `json:"thingArn"`
				Connectivity []struct {
					ID          string `json:"Id"`
					HostAddress string
					PortNumber  int
					Metadata    string
				}
			}
			CAs []string
		}
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("parse discovery information: %w: %w", fairlead.ErrInvalid, err)
	}
	info := &DiscoveryInfo{JSON: text}
	for _, g := range in.GGGroups {
		group := GroupConnectivityInfo{GroupID: g.GGGroupID, CAs: g.CAs}
		for _, c := range g.Cores {
			core := CoreConnectivityInfo{CoreThingARN: c.ThingARN, GroupID: g.GGGroupID}
			for _, w := range c.Connectivity {
				if w.HostAddress == "" || w.PortNumber < 1 || w.PortNumber > 65535 {
					return nil, fmt.Errorf("parse discovery information: %w: core %.200q has host %.200q, port %d", fairlead.ErrInvalid, c.ThingARN, w.HostAddress, w.PortNumber)
				}
				core.Append(ConnectivityInfo{w.ID, w.HostAddress, w.PortNumber, w.Metadata})
			}
			group.AppendCore(core)
		}
		info.groups = put(info.groups, group, func(other GroupConnectivityInfo) bool { return other.GroupID == group.GroupID })
	}
	return info, nil
}

// Groups returns all groups that the thing is in.
func (d *DiscoveryInfo) Groups() []GroupConnectivityInfo { return slices.Clone(d.groups) }

// Group returns the group with that ID.
func (d *DiscoveryInfo) Group(id string) (GroupConnectivityInfo, bool) {
	g, ok := d.ByGroup()[id]
	return g, ok
}

// ByGroup returns all groups by their IDs.
func (d *DiscoveryInfo) ByGroup() map[string]GroupConnectivityInfo {
	m := make(map[string]GroupConnectivityInfo, len(d.groups))
	for _, g := range d.groups {
		m[g.GroupID] = g
	}
	return m
}

// Cores returns the cores of all groups.
func (d *DiscoveryInfo) Cores() []CoreConnectivityInfo {
	var all []CoreConnectivityInfo
	for _, g := range d.groups {
		all = append(all, g.Cores...)
	}
	return all
}

// A GroupCA is an authority of a group.
type GroupCA struct{ GroupID, PEM string }

// CAs returns the authorities of all groups.
func (d *DiscoveryInfo) CAs() []GroupCA {
	var all []GroupCA
	for _, g := range d.groups {
		for _, pem := range g.CAs {
			all = append(all, GroupCA{g.GroupID, pem})
		}
	}
	return all
}

// Connect looks for a core that can be reached: it tries the ways of all cores in turn, with the authorities of their groups, up to the
// end of the TLS handshake with the device's certificate. What it returns is cfg for the first one that answers: with its Endpoint and
// RootCAs. The error has those of all tries.
func (d *DiscoveryInfo) Connect(ctx context.Context, cfg Config) (Config, CoreConnectivityInfo, error) {
	var errs []error
	for _, g := range d.groups {
		roots, err := g.RootCAs()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, core := range g.Cores {
			for _, way := range core.Connectivity {
				try := cfg
				try.Endpoint, try.RootCAs = way.Address(), roots
				if err := try.reach(ctx, &way); err != nil {
					errs = append(errs, fmt.Errorf("core %.200q: %w", core.CoreThingARN, err))
					continue
				}
				return try, core, nil
			}
		}
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%w: there is no core", fairlead.ErrNotFound))
	}
	return Config{}, CoreConnectivityInfo{}, fmt.Errorf("connect to a core: %w", errors.Join(errs...))
}

// reach connects, and hangs up.
func (c *Config) reach(ctx context.Context, way *ConnectivityInfo) error {
	dialer := mqttclient.Dialer{Address: way.Address(), TLS: c.tls(way.Host), Proxy: c.Proxy, DialContext: c.Dial, Timeout: c.ConnectTimeout}
	nc, err := dialer.Dial(ctx)
	if err != nil {
		return err
	}
	_ = nc.Close() // the core may have been quicker
	return nil
}
