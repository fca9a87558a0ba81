package astarte

import (
	"errors"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

var _ dialect.Expirer = (*Dialect)(nil)

// expiringDevices is how many devices one call of Expiring looks at.
const expiringDevices = 200

// Expiring implements [dialect.Expirer]: the platform keeps a value for the database_retention_ttl of its mapping, if the
// policy of that is use_ttl, and never longer than the realm's datastream_maximum_storage_retention. It reads the
// definitions as they are now, so a new minor version of an interface holds for values that are there already; the
// platform decides when a value comes.
func (d *Dialect) Expiring(rd store.Reader, t core.TenantID, after core.DeviceNum) (list []core.Expiring, next core.DeviceNum, err error) {
	r, err := readRealm(rd, t)
	if errors.Is(err, core.ErrNotFound) {
		return nil, 0, nil // a tenant that is no realm
	} else if err != nil {
		return nil, 0, err
	}
	var some []*astartewire.Interface
	for _, name := range r.names() {
		for _, i := range r.interfaces[name] {
			if r.expires(i) {
				some = append(some, i)
			}
		}
	}
	if len(some) == 0 {
		return nil, 0, nil
	}
	devices, err := rd.Devices(t, dialectName, after, expiringDevices)
	if err != nil {
		return nil, 0, err
	}
	for _, dev := range devices {
		for _, i := range some {
			version := versioned(i.Name, i.Major)
			series, err := rd.Series(dev.Num, version+"/")
			if err != nil {
				return nil, 0, err
			}
			for _, s := range series {
				if age := r.maxAge(i, s.Channel[len(version):]); age > 0 {
					list = append(list, core.Expiring{Series: s, Age: age})
				}
			}
		}
	}
	if len(devices) == expiringDevices {
		next = devices[len(devices)-1].Num
	}
	return list, next, nil
}

// expires reports whether any value of an interface may expire.
func (r *realm) expires(i *astartewire.Interface) bool {
	if i.Kind != astartewire.KindDatastream {
		return false
	}
	if r.MaxRetention != nil && *r.MaxRetention > 0 {
		return true
	}
	for _, m := range i.Mappings {
		if m.DatabaseRetentionPolicy == astartewire.UseTTL {
			return true
		}
	}
	return false
}

// maxAge returns how long the values at a path of a datastream are kept, 0 for ever.
func (r *realm) maxAge(i *astartewire.Interface, path string) time.Duration {
	var m *astartewire.Mapping
	if i.Aggregation == astartewire.AggregationObject {
		m = &i.Mappings[0] // all mappings of an object have the same retention
	} else if found, err := i.Resolve(path); err == nil {
		m = found
	}
	seconds := 0
	if m != nil && m.DatabaseRetentionPolicy == astartewire.UseTTL {
		seconds = m.DatabaseRetentionTTL
	}
	if most := r.MaxRetention; most != nil && *most > 0 && (seconds == 0 || *most < seconds) {
		seconds = *most
	}
	return time.Duration(seconds) * time.Second
}
