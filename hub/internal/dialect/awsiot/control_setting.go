package awsiot

import (
	"encoding/json"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var settingOperations = []operation{
	{name: "DescribeEndpoint", method: get, path: "/endpoint", do: (*call).describeEndpoint},
	{name: "DescribeEventConfigurations", method: get, path: "/event-configurations", do: (*call).describeEventConfigurations},
	{name: "UpdateEventConfigurations", method: patch, path: "/event-configurations", do: (*call).updateEventConfigurations},
	{name: "TagResource", method: post, path: "/tags", do: (*call).tagResource},
	{name: "UntagResource", method: post, path: "/untag", do: (*call).untagResource},
	{name: "ListTagsForResource", method: get, path: "/tags", do: (*call).listTags},
}

// endpointTypes are the labels that an endpoint has between the account's and the region, by its type.
var endpointTypes = map[string]string{
	"": "", "iot:Data": "", "iot:Data-Beta": "", "iot:Data-ATS": "-ats",
	"iot:CredentialProvider": "", "iot:Jobs": "", "iot:DeviceAdvisor": "",
}

// describeEndpoint tells where devices connect to. A client that has reached the hub by one of the platform's names, which
// must lead here, is told one of that form; others, which know a name or an address of their own making, are told that one.
func (c *call) describeEndpoint() (any, error) {
	kind := c.query.Get("endpointType")
	if _, ok := endpointTypes[kind]; !ok {
		return nil, refuse(invalidRequest, "Endpoint type %.100s not recognized.", kind)
	}
	host := c.r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return map[string]any{"endpointAddress": strings.Trim(host, "[]")}, nil
}

// A setting of events is one kind.
type eventSetting struct {
	Enabled bool `json:"Enabled"`
}

func (c *call) describeEventConfigurations() (any, error) {
	var a account
	err := c.view(func(rd store.Reader) (err error) {
		a, err = readAccount(rd, c.tenant())
		return err
	})
	all := map[string]eventSetting{}
	for _, kind := range eventKinds {
		all[kind] = eventSetting{a.Events[kind]}
	}
	return map[string]any{"eventConfigurations": all, "creationDate": epoch(a.Created), "lastModifiedDate": epoch(a.Created)}, err
}

func (c *call) updateEventConfigurations() (any, error) {
	var in struct {
		All map[string]eventSetting `json:"eventConfigurations"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	for kind := range in.All {
		if !slices.Contains(eventKinds, kind) {
			return nil, invalidValue(kind, "eventConfigurations", "Map keys must satisfy enum value set: ["+strings.Join(eventKinds, ", ")+"]")
		}
	}
	return nil, c.do(func(tx *commit.Tx) error {
		a, err := readAccount(tx, c.tenant())
		if err != nil {
			return err
		}
		events := maps.Clone(a.Events)
		if events == nil {
			events = map[string]bool{}
		}
		for kind, s := range in.All {
			events[kind] = s.Enabled
		}
		a.Events = events
		return c.d.putAccount(tx, a)
	})
}

const keyTags = "tags/"

// maxTags is how many tags a resource has at most.
const maxTags = 50

// A tag is a name and a value that somebody gave a resource.
type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

var (
	tagKeyConstraint   = constrain(`([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`, 1, 128)
	tagValueConstraint = constrain(`([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`, 0, 256)
)

func checkTags(tags []tag) error {
	if len(tags) > maxTags {
		return refuse(limitExceeded, "A resource has at most %d tags.", maxTags)
	}
	for _, t := range tags {
		if err := errors.Join(tagKeyConstraint.check("tags.Key", t.Key), tagValueConstraint.check("tags.Value", t.Value)); err != nil {
			return err
		}
		if strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return refuse(invalidRequest, "Tags that begin with aws: are the platform's: %.128s", t.Key)
		}
	}
	return nil
}

// readTags returns the tags of a resource, which is named as in ARNs.
func readTags(rd store.RecordReader, t core.TenantID, resource string) (tags []tag, err error) {
	err = readRecord(rd, t, keyTags+resource, &tags)
	_, err = present(err)
	return tags, err
}

// merged adds tags, each in place of one with its key, so that a key has one value. (AWS IoT developer guide, "Tag basics": the
// new value overwrites the old one. Nothing says that a request which has a key twice is refused.)
func merged(tags, more []tag) []tag {
	for _, t := range more {
		tags = slices.DeleteFunc(tags, func(old tag) bool { return old.Key == t.Key })
		tags = append(tags, t)
	}
	return tags
}

// putTags replaces the tags of a resource.
func putTags(tx *commit.Tx, t core.TenantID, resource string, tags []tag) error {
	if len(tags) == 0 {
		return tx.DeleteRecord(t, Name, keyTags+resource)
	}
	return writeRecord(tx, t, keyTags+resource, merged(nil, tags))
}

// tagged are the kinds of resources that can have tags, which are records under the same names.
var tagged = []string{keyThingType, keyThingGroup, keyBillingGroup, keyPolicy, keyCACert, keyTemplate, keyJob, keyJobTemplate, keyAuthorizer, keyRoleAlias}

// taggedResource returns the resource that an ARN names, which must be there.
func (c *call) taggedResource(rd store.RecordReader, arn string) (string, error) {
	r, ok := c.account.resource(arn)
	if !ok || !slices.ContainsFunc(tagged, func(kind string) bool { return strings.HasPrefix(r, kind) }) {
		return "", refuse(invalidRequest, "Invalid resourceArn: %.200s", arn)
	}
	found, err := hasRecord(rd, c.tenant(), r)
	if err == nil && !found {
		err = refuse(notFound, "The resource %.200s does not exist.", arn)
	}
	return r, err
}

func (c *call) changeTags(arn string, f func([]tag) []tag) (any, error) {
	return nil, c.do(func(tx *commit.Tx) error {
		r, err := c.taggedResource(tx, arn)
		if err != nil {
			return err
		}
		tags, err := readTags(tx, c.tenant(), r)
		if err != nil {
			return err
		}
		tags = f(tags)
		if err := checkTags(tags); err != nil {
			return err
		}
		return putTags(tx, c.tenant(), r, tags)
	})
}

func (c *call) tagResource() (any, error) {
	var in struct {
		Arn  string `json:"resourceArn"`
		Tags []tag  `json:"tags"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return c.changeTags(in.Arn, func(tags []tag) []tag { return merged(tags, in.Tags) })
}

func (c *call) untagResource() (any, error) {
	var in struct {
		Arn  string   `json:"resourceArn"`
		Keys []string `json:"tagKeys"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	return c.changeTags(in.Arn, func(tags []tag) []tag {
		return slices.DeleteFunc(tags, func(t tag) bool { return slices.Contains(in.Keys, t.Key) })
	})
}

func (c *call) listTags() (any, error) {
	tags := []tag{}
	err := c.view(func(rd store.Reader) error {
		r, err := c.taggedResource(rd, c.query.Get("resourceArn"))
		if err != nil {
			return err
		}
		found, err := readTags(rd, c.tenant(), r)
		tags = append(tags, found...)
		return err
	})
	return map[string]any{"tags": tags}, err
}

// indexing is the account's indexing configuration, which is kept as it was given: everything can be searched always.
const keyIndexing = "indexing"

func readIndexing(rd store.RecordReader, t core.TenantID) (json.RawMessage, error) {
	raw, err := rd.Record(t, Name, keyIndexing)
	if found, err := present(err); err != nil || !found {
		return json.RawMessage(`{"thingIndexingConfiguration":{"thingIndexingMode":"REGISTRY_AND_SHADOW","thingConnectivityIndexingMode":"STATUS"},` +
			`"thingGroupIndexingConfiguration":{"thingGroupIndexingMode":"ON"}}`), err
	}
	return raw, nil
}
