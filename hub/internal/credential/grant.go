package credential

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/topic"
)

const (
	// MaxFilters is how many filters a device may be granted in each direction.
	MaxFilters = 100
	// maxFilterBytes bounds one of them.
	maxFilterBytes = 1024
)

// Grants say what a device may do. In a filter ${device} stands for the device's id and ${tenant} for its tenant.
type Grants struct {
	Publish   []string `json:"publish"`              // topic filters; what is published must match one of them
	Subscribe []string `json:"subscribe"`            // topic filters; what is subscribed to must lie within one of them
	NoSamples bool     `json:"no_samples,omitempty"` // what it publishes is passed on and not stored
}

// DefaultGrants are those of a device that was given none: everything below its own id, both ways.
func DefaultGrants() Grants {
	return Grants{Publish: []string{"${device}/#"}, Subscribe: []string{"${device}/#"}}
}

// Validate reports, as core.ErrInvalid, grants that cannot be.
func (g Grants) Validate() error {
	for _, list := range []struct {
		name    string
		filters []string
	}{{"publish", g.Publish}, {"subscribe", g.Subscribe}} {
		if n := len(list.filters); n > MaxFilters {
			return fmt.Errorf("%w: %s has %d filters, at most %d are possible", core.ErrInvalid, list.name, n, MaxFilters)
		}
		for _, f := range list.filters {
			if err := validFilter(f); err != nil {
				return fmt.Errorf("%w: %s filter %.100q: %v", core.ErrInvalid, list.name, f, err)
			}
		}
	}
	return nil
}

func validFilter(f string) error {
	if len(f) > maxFilterBytes {
		return fmt.Errorf("has %d bytes, at most %d are possible", len(f), maxFilterBytes)
	}
	if topic.IsShared(f) {
		return fmt.Errorf("begins with $share: a filter is good for shared subscriptions to it too")
	}
	// The longest values that can be, so that what is stored can always be used.
	full, err := expand(f, strings.Repeat("d", 128), strings.Repeat("t", 64))
	if err != nil {
		return err
	}
	return topic.ValidateFilter(full)
}

// ValidTopic returns what is wrong with a topic that an operator publishes to.
func ValidTopic(name string) error {
	if strings.HasPrefix(name, "$") {
		return errors.New("topics that begin with $ are the hub's")
	}
	return topic.Validate(name)
}

// For returns the filters for one device, expanded.
func (g Grants) For(k core.DeviceKey) (publish, subscribe []string, err error) {
	if publish, err = expandAll(g.Publish, k); err != nil {
		return nil, nil, err
	}
	subscribe, err = expandAll(g.Subscribe, k)
	return publish, subscribe, err
}

func expandAll(filters []string, k core.DeviceKey) ([]string, error) {
	out := make([]string, len(filters))
	for i, f := range filters {
		var err error
		if out[i], err = expand(f, string(k.ID), string(k.Tenant)); err != nil {
			return nil, fmt.Errorf("%w: filter %.100q: %v", core.ErrInvalid, f, err)
		}
	}
	return out, nil
}

// expand puts in what ${...} stands for. Ids of devices and tenants have no character that means something in a filter.
func expand(f, device, tenant string) (string, error) {
	head, rest, found := strings.Cut(f, "${")
	if !found {
		return f, nil
	}
	var b strings.Builder
	for found {
		b.WriteString(head)
		name, after, closed := strings.Cut(rest, "}")
		switch {
		case !closed:
			return "", fmt.Errorf("${ without }")
		case name == "device":
			b.WriteString(device)
		case name == "tenant":
			b.WriteString(tenant)
		default:
			return "", fmt.Errorf("unknown name ${%.40s}; there are ${device} and ${tenant}", name)
		}
		head, rest, found = strings.Cut(after, "${")
	}
	b.WriteString(head)
	return b.String(), nil
}
