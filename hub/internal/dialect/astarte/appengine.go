package astarte

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// isoTime is how AppEngine writes instants.
const isoTime = "2006-01-02T15:04:05.000Z"

const (
	defaultListLimit = 1_000
	maxListLimit     = 10_000 // ours, as the next: bounds the memory of one reply
	maxListDeclared  = 50_000 // interfaces on a page with details; one device can declare thousands
)

func deviceStats(c *call) (reply, error) {
	var stats struct {
		Total     int `json:"total_devices"`
		Connected int `json:"connected_devices"`
	}
	err := c.view(func(rd store.Reader) (err error) {
		stats.Total, stats.Connected, err = rd.CountDevices(c.realm.Name, dialectName)
		return err
	})
	return success(stats), err
}

// listDevices returns a page of the realm's devices. The token of the next page is the number of the last device of
// this one: an integer, as the platform's is, and no device is missed or shown twice while others are added.
func listDevices(c *call) (reply, error) {
	q := query{values: c.r.URL.Query(), errs: fieldErrors{}}
	limit := q.integer("limit")
	token := q.integer("from_token")
	details := q.boolean("details")
	if limit != nil && *limit <= 0 {
		q.errs.add("limit", "must be greater than 0")
	}
	if err := q.errs.err(); err != nil {
		return reply{}, err
	}
	size, after := defaultListLimit, core.DeviceNum(0)
	if limit != nil {
		size = int(min(*limit, maxListLimit))
	}
	if token != nil {
		after = core.DeviceNum(*token)
	}
	var data []any
	full := false
	err := c.view(func(rd store.Reader) error {
		devices, err := rd.Devices(c.realm.Name, dialectName, after, size)
		data = make([]any, 0, len(devices))
		declared := 0
		for _, dev := range devices {
			if !details {
				data = append(data, dev.ID)
				continue
			}
			obj, err := deviceObject(rd, dev)
			if err != nil {
				return err
			}
			data = append(data, obj)
			if declared += len(obj.Introspection) + len(obj.PreviousInterfaces); declared > maxListDeclared {
				break
			}
		}
		if full = len(data) == size || len(data) < len(devices); full {
			after = devices[len(data)-1].Num
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	links := map[string]string{"self": listLink(c.realm.Name, size, details, token)}
	if full {
		next := int64(after)
		links["next"] = listLink(c.realm.Name, size, details, &next)
	}
	return reply{status: http.StatusOK, data: data, links: links}, nil
}

// listLink returns the address of a page, relative to the service.
func listLink(realm core.TenantID, limit int, details bool, token *int64) string {
	v := url.Values{"limit": {strconv.Itoa(limit)}}
	if details {
		v.Set("details", "true")
	}
	if token != nil {
		v.Set("from_token", strconv.FormatInt(*token, 10))
	}
	return "/v1/" + string(realm) + "/devices?" + v.Encode()
}

// deviceKey returns the key of the device in the path.
func (c *call) deviceKey() (core.DeviceKey, error) {
	id, err := astartewire.ParseDeviceID(c.params["device"])
	if err != nil {
		return core.DeviceKey{}, errBadRequest
	}
	return deviceKey(c.realm.Name, id), nil
}

// findDevice returns the device in the path and what it said of itself.
func (c *call) findDevice(rd interface {
	store.DeviceReader
	store.RecordReader
},
) (core.Device, model, error) {
	k, err := c.deviceKey()
	if err != nil {
		return core.Device{}, model{}, err
	}
	dev, err := rd.Device(k)
	if errors.Is(err, core.ErrNotFound) {
		return dev, model{}, errDevice
	}
	if err != nil {
		return dev, model{}, err
	}
	m, err := loadModel(rd, k)
	return dev, m, err
}

func getDevice(c *call) (reply, error) {
	var data any
	err := c.view(func(rd store.Reader) error {
		dev, _, err := c.findDevice(rd)
		if err == nil {
			data, err = deviceObject(rd, dev)
		}
		return err
	})
	return success(data), err
}

// A deviceJSON is a device as AppEngine shows it.
type deviceJSON struct {
	ID                 core.DeviceID                `json:"id"`
	Connected          bool                         `json:"connected"`
	Introspection      map[string]introspectionJSON `json:"introspection"`
	ReceivedMsgs       int64                        `json:"total_received_msgs"`
	ReceivedBytes      int64                        `json:"total_received_bytes"`
	LastConnection     *string                      `json:"last_connection"`
	LastDisconnection  *string                      `json:"last_disconnection"`
	LastSeenIP         *string                      `json:"last_seen_ip"`
	LastCredentialsIP  *string                      `json:"last_credentials_request_ip"`
	Inhibited          bool                         `json:"credentials_inhibited"`
	FirstRegistration  *string                      `json:"first_registration"`
	FirstCredentials   *string                      `json:"first_credentials_request"`
	Aliases            map[string]string            `json:"aliases"` // this and the next two: not built yet
	Attributes         map[string]string            `json:"attributes"`
	Groups             []string                     `json:"groups"`
	PreviousInterfaces []previousJSON               `json:"previous_interfaces"`
	DeletionInProgress bool                         `json:"deletion_in_progress"`
}

type introspectionJSON struct {
	Major int   `json:"major"`
	Minor int   `json:"minor"`
	Msgs  int64 `json:"exchanged_msgs"`
	Bytes int64 `json:"exchanged_bytes"`
}

type previousJSON struct {
	Name string `json:"name"`
	introspectionJSON
}

// deviceObject reads what AppEngine shows of a device.
func deviceObject(rd store.Reader, dev core.Device) (*deviceJSON, error) {
	e, err := rd.Enrolment(dev.Num)
	if err != nil && !errors.Is(err, core.ErrNotFound) {
		return nil, err
	}
	m, err := loadModel(rd, dev.DeviceKey)
	if err != nil {
		return nil, err
	}
	list, err := rd.Counts(dev.Num)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]core.Count, len(list))
	for _, c := range list {
		counts[c.Scope] = c
	}
	exchanged := func(name string, major, minor int) introspectionJSON {
		c := counts[versioned(name, major)]
		return introspectionJSON{Major: major, Minor: minor, Msgs: c.Messages, Bytes: c.Bytes}
	}
	obj := &deviceJSON{
		ID: dev.ID, Connected: dev.Connected, Introspection: map[string]introspectionJSON{},
		ReceivedMsgs: counts[""].Messages, ReceivedBytes: counts[""].Bytes,
		LastConnection: timeOrNull(dev.LastConnected), LastDisconnection: timeOrNull(dev.LastDisconnected),
		LastSeenIP: textOrNull(dev.LastAddr), LastCredentialsIP: textOrNull(e.LastCredentialsAddr), Inhibited: e.Inhibited,
		FirstRegistration: timeOrNull(e.FirstRegistered), FirstCredentials: timeOrNull(e.FirstCredentials),
		Aliases: map[string]string{}, Attributes: map[string]string{}, Groups: []string{},
		PreviousInterfaces: []previousJSON{},
	}
	for name, v := range m.Introspection {
		obj.Introspection[name] = exchanged(name, v.Major, v.Minor)
	}
	for _, p := range m.Previous {
		obj.PreviousInterfaces = append(obj.PreviousInterfaces, previousJSON{p.Name, exchanged(p.Name, p.Major, p.Minor)})
	}
	return obj, nil
}

func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(isoTime)
	return &s
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// listDeclared returns the names of the interfaces that a device declares now.
func listDeclared(c *call) (reply, error) {
	names := []string{}
	err := c.view(func(rd store.Reader) error {
		_, m, err := c.findDevice(rd)
		for n := range m.Introspection {
			names = append(names, n)
		}
		return err
	})
	slices.Sort(names)
	return success(names), err
}
