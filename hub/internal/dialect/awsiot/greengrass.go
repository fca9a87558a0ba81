package awsiot

import (
	"errors"
	"net/http"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Greengrass discovery: a device asks which cores it can connect to (AWS IoT Greengrass developer guide, "Greengrass
// discovery RESTful API"). Groups are made by operators, see model_greengrass.go. Policies alone say who may ask: that a
// certificate is not attached to the thing is none of the causes of a 403 or a 404 there ("Troubleshooting client devices").

// A connectivity is one way to a core. Clients read these names as they are written here.
type connectivity struct {
	ID       string `json:"Id"`
	Host     string `json:"HostAddress"`
	Port     int    `json:"PortNumber"`
	Metadata string `json:"Metadata"`
}

func discoveryOperations() []operation {
	return []operation{{
		service: discovery, name: "Discover", method: http.MethodGet, path: "/greengrass/discover/thing/{thingName}", do: (*call).discover,
		action: "greengrass:Discover", resource: func(c *call) string { return keyThing + c.labels["thingName"] },
	}}
}

// A discovered group, in the names that clients read.
type discoveredGroup struct {
	ID    string           `json:"GGGroupId"`
	Cores []discoveredCore `json:"Cores"`
	CAs   []string         `json:"CAs"`
}

type discoveredCore struct {
	Arn          string         `json:"thingArn"`
	Connectivity []connectivity `json:"Connectivity"`
}

// discover answers with literal headers in every case: see literalReply.
func (c *call) discover() (any, error) {
	groups, err := c.discovered(c.labels["thingName"])
	if err != nil {
		return nil, err
	}
	body, err := marshalJSON(map[string]any{"GGGroups": groups})
	return literalReply{http.StatusOK, body}, err
}

var errNoDiscovery = errors.New("the thing is in no group")

func (c *call) discovered(name string) ([]discoveredGroup, error) {
	list := []discoveredGroup{}
	err := c.view(func(rd store.Reader) error {
		for r, err := range rd.Records(c.tenant(), Name, keyGreengrass) {
			if err != nil {
				return err
			}
			g, err := readGreengrassGroup(c.tenant(), r)
			if err != nil {
				return err
			}
			if !slices.Contains(g.Devices, name) {
				continue
			}
			out := discoveredGroup{ID: g.ID, Cores: []discoveredCore{}, CAs: g.CAs}
			if len(out.CAs) == 0 {
				out.CAs = []string{string(c.d.cfg.CA.RootPEM())}
			}
			for _, core := range g.Cores {
				ways := []connectivity{}
				for _, w := range core.Ways {
					ways = append(ways, connectivity(w))
				}
				out.Cores = append(out.Cores, discoveredCore{c.account.arn(keyThing + core.Thing), ways})
			}
			list = append(list, out)
		}
		return nil
	})
	if err == nil && len(list) == 0 {
		err = errNoDiscovery
	}
	return list, err
}

// discoveryError is the answer to a discovery that has failed. It has a body always: AWSIoTPythonSDK waits for ever for an
// empty one (observed with 1.6.2).
func discoveryError(err error, id string) literalReply {
	if errors.Is(err, errNoDiscovery) || errors.Is(err, core.ErrNotFound) {
		return literalReply{http.StatusNotFound, []byte(`{"errorMessage":"The thing provided for discovery was not found"}`)}
	}
	e := awsErrorOf(err)
	if status := e.status(); status != http.StatusForbidden {
		return literalReply{status, e.body(id)}
	}
	return literalReply{http.StatusForbidden, []byte(`{"message":null,"traceId":"` + id + `"}`)}
}
