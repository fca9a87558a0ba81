package awsiot

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var searchOperations = []operation{
	{name: "SearchIndex", method: post, path: "/indices/search", do: (*call).searchIndex},
	{name: "DescribeIndex", method: get, path: "/indices/{indexName}", do: (*call).describeIndex},
	{name: "ListIndices", method: get, path: "/indices", do: (*call).listIndices},
	{name: "GetIndexingConfiguration", method: get, path: "/indexing/config", do: (*call).getIndexing},
	{name: "UpdateIndexingConfiguration", method: post, path: "/indexing/config", do: (*call).updateIndexing},
}

// The indexes that can be searched. They are always up to date: what is searched is the registry itself.
const (
	indexThings = "AWS_Things"
	indexGroups = "AWS_ThingGroups"
)

func (c *call) listIndices() (any, error) {
	return map[string]any{"indexNames": []string{indexThings, indexGroups}}, nil
}

func (c *call) describeIndex() (any, error) {
	name := c.labels["indexName"]
	if name != indexThings && name != indexGroups {
		return nil, refuse(notFound, "The index %.128s does not exist.", name)
	}
	return map[string]any{"indexName": name, "indexStatus": "ACTIVE", "schema": "REGISTRY_AND_CONNECTIVITY_STATUS"}, nil
}

func (c *call) getIndexing() (out any, err error) {
	err = c.view(func(rd store.Reader) error {
		out, err = readIndexing(rd, c.tenant())
		return err
	})
	return out, err
}

func (c *call) updateIndexing() (any, error) {
	var in map[string]json.RawMessage
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		raw, err := readIndexing(tx, c.tenant())
		if err != nil {
			return err
		}
		all := map[string]json.RawMessage{}
		if err := json.Unmarshal(raw, &all); err != nil {
			return err
		}
		for _, name := range []string{"thingIndexingConfiguration", "thingGroupIndexingConfiguration"} {
			if len(in[name]) > 0 {
				all[name] = in[name]
			}
		}
		return writeRecord(tx, c.tenant(), keyIndexing, all)
	})
}

// A foundThing is a thing as a search shows it.
type foundThing struct {
	Name         string            `json:"thingName"`
	ID           string            `json:"thingId"`
	Type         string            `json:"thingTypeName,omitempty"`
	Groups       []string          `json:"thingGroupNames"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	Connectivity map[string]any    `json:"connectivity,omitempty"`
}

const (
	maxSearchPage     = 500
	defaultSearchPage = 100
)

func (c *call) searchIndex() (any, error) {
	var in struct {
		Index      string `json:"indexName"`
		Query      string `json:"queryString"`
		NextToken  string `json:"nextToken"`
		MaxResults int    `json:"maxResults"`
		Version    string `json:"queryVersion"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	q, err := parseQuery(in.Query)
	if err != nil {
		return nil, err
	}
	after, err := parseToken(in.NextToken)
	switch {
	case err != nil:
		return nil, refuse(invalidRequest, "Invalid nextToken.")
	case in.MaxResults < 0 || in.MaxResults > maxSearchPage:
		return nil, refuse(invalidRequest, "maxResults must be 1 to %d.", maxSearchPage)
	case in.MaxResults == 0:
		in.MaxResults = defaultSearchPage
	}
	if in.Index == indexGroups {
		return c.searchGroups(q, page{after, in.MaxResults})
	}
	if in.Index != "" && in.Index != indexThings {
		return nil, refuse(notFound, "The index %.128s does not exist.", in.Index)
	}
	return c.searchThings(q, page{after, in.MaxResults})
}

func (c *call) searchThings(q query, p page) (any, error) {
	list, more := []foundThing{}, false
	err := c.view(func(rd store.Reader) error {
		s := search{c: c, rd: rd, q: q}
		for name, err := range s.candidates(p.after) {
			if err != nil {
				return err
			}
			x, ok, err := s.look(name)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if more = len(list) == p.limit; more {
				return nil
			}
			list = append(list, x)
		}
		return nil
	})
	last := ""
	if len(list) > 0 {
		last = list[len(list)-1].Name
	}
	return struct {
		NextToken string       `json:"nextToken,omitempty"`
		Things    []foundThing `json:"things"`
	}{nextToken(last, more), list}, err
}

// A search is one run over an account's things.
type search struct {
	c  *call
	rd store.Reader
	q  query
}

// A candidate is a thing that may match, with its record if that has been read already.
type candidate struct {
	name string
	raw  []byte
}

// candidates yields things behind a name that may match, by name. It takes the shortest way: a term that every result must
// have, and that there is an index for, is looked up; else all things are looked at, and only those decoded whose records have
// the texts that all results must have.
func (s *search) candidates(after string) func(func(candidate, error) bool) {
	t := s.c.tenant()
	prefix, index := keyThing, false
	begins := ""
	needles := s.q.needles()
	for _, term := range s.q.required() {
		switch {
		case term.field == "thingName" && term.exact():
			begins = term.value
		case term.field == "thingName" && term.prefix() != "":
			begins = term.prefix()
		case term.field == "thingTypeName" && term.exact() && len(needles) == 0 && !index:
			prefix, index = keyThingTypeThing+term.value+"/", true
		case term.field == "thingGroupNames" && term.exact():
			prefix, index = keyThingThingGroupOf(term.value), true
		case term.field == "connectivity.connected" && term.value == "true" && !index:
			return s.connected(after)
		}
	}
	// Reading each thing that an index names costs more than passing over the records of the others.
	if !index {
		for _, term := range s.q.required() {
			if term.field == "thingTypeName" && term.exact() {
				needles = append(needles, []byte(`"type":"`+term.value+`"`))
			}
		}
	}
	from := prefix + begins
	if after != "" && after+"\x00" > begins {
		from = prefix + after + "\x00"
	}
	return func(yield func(candidate, error) bool) {
		for r, err := range s.rd.RecordsFrom(t, Name, prefix, from) {
			if err != nil {
				yield(candidate{}, err)
				return
			}
			c := candidate{name: r.Key[len(prefix):]}
			if !strings.HasPrefix(c.name, begins) {
				return // names are sorted
			}
			if !index {
				c.raw = r.Value
				if !containsAll(r.Value, needles) {
					continue
				}
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// connectedPage is how many connected devices are read at once.
const connectedPage = 500

// connected yields the things that are connected, behind a name.
func (s *search) connected(after string) func(func(candidate, error) bool) {
	yes := true
	q := core.DeviceQuery{Tenant: s.c.tenant(), Dialect: Name, After: core.DeviceID(after), Connected: &yes, Limit: connectedPage}
	return func(yield func(candidate, error) bool) {
		for {
			list, err := s.rd.FindDevices(q)
			if err != nil {
				yield(candidate{}, err)
				return
			}
			for _, dev := range list {
				if !yield(candidate{name: string(dev.ID)}, nil) {
					return
				}
			}
			if len(list) < connectedPage {
				return
			}
			q.After = list[len(list)-1].ID
		}
	}
}

func keyThingThingGroupOf(group string) string { return keyThingGroupThing + group + "/" }

func containsAll(raw []byte, needles [][]byte) bool {
	for _, n := range needles {
		if !bytes.Contains(raw, n) {
			return false
		}
	}
	return true
}

// look reads a thing and what the query asks about it, and reports whether it matches.
func (s *search) look(from candidate) (foundThing, bool, error) {
	t := s.c.tenant()
	var x thing
	var err error
	// Names are in the keys: a record is decoded when something else is asked, or when it is the answer.
	there, read := true, false
	decode := func() error {
		if read {
			return nil
		}
		read = true
		if from.raw != nil {
			return decodeRecord(t, keyThing+from.name, from.raw, &x)
		}
		x, err = readThing(s.rd, t, from.name)
		there, err = present(err)
		return err
	}
	out := foundThing{Groups: []string{}}
	loaded := false
	load := func() error {
		if loaded {
			return nil
		}
		loaded = true
		groups, err := groupsOfThing(s.rd, t, from.name)
		if err != nil {
			return err
		}
		out.Groups = append(out.Groups, groups...)
		dev, err := s.rd.Device(deviceKey(t, from.name))
		if found, err := present(err); err != nil || !found {
			return err
		}
		out.Connectivity = map[string]any{"connected": dev.Connected}
		if at := lastChange(&dev); !at.IsZero() {
			out.Connectivity["timestamp"] = millis(at)
		}
		return nil
	}
	ok := s.q.matches(func(field string) []string {
		if err != nil {
			return nil
		}
		switch {
		case field == "thingName":
			return []string{from.name}
		case field == "thingGroupNames":
			err = load()
			return out.Groups
		case field == "connectivity.connected":
			if err = load(); out.Connectivity["connected"] == true {
				return []string{"true"}
			}
			return []string{"false"}
		}
		if err = decode(); err != nil {
			return nil
		}
		switch {
		case field == "thingId":
			return some(x.ID)
		case field == "thingTypeName":
			return some(x.Type)
		case strings.HasPrefix(field, "attributes."):
			return some(x.Attributes[field[len("attributes."):]])
		}
		return nil
	})
	if err == nil && ok {
		err = decode()
	}
	if err != nil || !ok || !there {
		return out, false, err
	}
	out.Name, out.ID, out.Type, out.Attributes = x.Name, x.ID, x.Type, x.Attributes
	return out, true, load()
}

func (c *call) searchGroups(q query, p page) (any, error) {
	type foundGroup struct {
		Name        string            `json:"thingGroupName"`
		ID          string            `json:"thingGroupId"`
		Description string            `json:"thingGroupDescription,omitempty"`
		Attributes  map[string]string `json:"attributes,omitempty"`
		Parents     []string          `json:"parentGroupNames"`
	}
	list, more := []foundGroup{}, false
	err := c.view(func(rd store.Reader) error {
		all, _, err := thingGroups(rd, c.tenant(), p.after, 0)
		if err != nil {
			return err
		}
		for _, g := range all {
			above, err := rootToParent(rd, c.tenant(), g)
			if err != nil {
				return err
			}
			parents := []string{}
			for _, a := range above {
				parents = append(parents, a.Name)
			}
			ok := q.matches(func(field string) []string {
				switch {
				case field == "thingGroupName":
					return []string{g.Name}
				case field == "thingGroupId":
					return []string{g.ID}
				case field == "thingGroupDescription":
					return some(g.Description)
				case field == "parentGroupNames":
					return parents
				case strings.HasPrefix(field, "attributes."):
					return some(g.Attributes[field[len("attributes."):]])
				}
				return nil
			})
			if !ok {
				continue
			}
			if more = len(list) == p.limit; more {
				return nil
			}
			list = append(list, foundGroup{g.Name, g.ID, g.Description, g.Attributes, parents})
		}
		return nil
	})
	last := ""
	if len(list) > 0 {
		last = list[len(list)-1].Name
	}
	return struct {
		NextToken string       `json:"nextToken,omitempty"`
		Groups    []foundGroup `json:"thingGroups"`
	}{nextToken(last, more), list}, err
}
