package astarte

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// errNoRealm is Housekeeping's; elsewhere an unknown realm is no 404.
var errNoRealm = failure(http.StatusNotFound, "realm not found")

func listRealms(c *call) (reply, error) {
	names, err := c.d.realmNames(c.ctx())
	if names == nil {
		names = []core.TenantID{}
	}
	return success(names), err
}

func getRealm(c *call) (reply, error) {
	r, err := c.d.realm(c.ctx(), core.TenantID(c.params["realm"]))
	if errors.Is(err, core.ErrNotFound) {
		return reply{}, errNoRealm
	}
	if err != nil {
		return reply{}, err
	}
	return success(realmObject(r.realmConfig)), nil
}

// createRealm makes a realm; whoever holds the private half of its key rules it from then on.
func createRealm(c *call) (reply, error) {
	m, err := c.object()
	if err != nil {
		return reply{}, err
	}
	errs := fieldErrors{}
	cfg := realmConfig{
		Name:              core.TenantID(realmName(m, errs)),
		PublicKeyPEM:      publicKey(m, errs),
		RegistrationLimit: m.number("device_registration_limit", errs),
		MaxRetention:      m.number("datastream_maximum_storage_retention", errs),
		Replication:       replication(m, errs),
	}
	if err := errs.err(); err != nil {
		return reply{}, err
	}
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error { return c.d.createRealm(tx, cfg) })
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, data: realmObject(cfg), location: "/v1/realms/" + string(cfg.Name)}, nil
}

// patchRealm changes a realm's key and limits; a limit that is null is removed, other members are ignored.
func patchRealm(c *call) (reply, error) {
	m, err := c.object()
	if err != nil {
		return reply{}, err
	}
	errs := fieldErrors{}
	key := ""
	if _, given := m["jwt_public_key_pem"]; given {
		key = publicKey(m, errs)
	}
	registrations := m.number("device_registration_limit", errs)
	retention := m.number("datastream_maximum_storage_retention", errs)
	if err := errs.err(); err != nil {
		return reply{}, err
	}
	var cfg realmConfig
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error {
		r, err := c.d.realmIn(tx, core.TenantID(c.params["realm"]))
		if err != nil {
			return err
		}
		cfg = r.realmConfig
		if key != "" {
			cfg.PublicKeyPEM = key
		}
		if _, given := m["device_registration_limit"]; given {
			cfg.RegistrationLimit = registrations
		}
		if _, given := m["datastream_maximum_storage_retention"]; given {
			cfg.MaxRetention = retention
		}
		return c.d.updateRealm(tx, cfg)
	})
	if errors.Is(err, core.ErrNotFound) {
		return reply{}, errNoRealm
	}
	if err != nil {
		return reply{}, err
	}
	return success(realmObject(cfg)), nil
}

// deleteRealm refuses, as the platform does unless its operator has switched deletion on.
func deleteRealm(*call) (reply, error) {
	return reply{}, failure(http.StatusMethodNotAllowed, "Realm deletion disabled")
}

func realmName(m members, errs fieldErrors) string {
	name := m.text("realm_name", errs)
	switch {
	case len(errs["realm_name"]) > 0 || astartewire.ValidRealm(name):
	case name == "astarte" || name == "system" || strings.HasPrefix(name, "system_"):
		errs.add("realm_name", msgReserved)
	default:
		errs.add("realm_name", msgInvalid)
	}
	return name
}

func publicKey(m members, errs fieldErrors) string {
	const field = "jwt_public_key_pem"
	text := m.text(field, errs)
	if len(errs[field]) == 0 {
		if _, err := parsePublicKey([]byte(text)); err != nil {
			errs.add(field, "is not a valid PEM public key")
		}
	}
	return text
}

// replicationJSON is what Housekeeping is told about the copies that the platform's database keeps. It means nothing
// here, and is kept to be shown again, since tools compare.
type replicationJSON struct {
	Class       string         `json:"replication_class"`
	Factor      *int           `json:"replication_factor,omitempty"`
	Datacenters map[string]int `json:"datacenter_replication_factors,omitempty"`
}

const (
	simpleStrategy  = "SimpleStrategy"
	networkStrategy = "NetworkTopologyStrategy"
)

func replication(m members, errs fieldErrors) json.RawMessage {
	r := replicationJSON{Class: simpleStrategy}
	if !isNull(m["replication_class"]) {
		r.Class = m.text("replication_class", errs)
	}
	switch r.Class {
	case simpleStrategy:
		if r.Factor = m.number("replication_factor", errs); r.Factor == nil {
			one := 1
			r.Factor = &one
		}
		if *r.Factor == 0 {
			errs.add("replication_factor", "must be greater than 0")
		}
	case networkStrategy:
		const field = "datacenter_replication_factors"
		if isNull(m[field]) {
			errs.add(field, msgBlank)
		} else if json.Unmarshal(m[field], &r.Datacenters) != nil || len(r.Datacenters) == 0 {
			errs.add(field, msgInvalid)
		}
	default:
		if len(errs["replication_class"]) == 0 {
			errs.add("replication_class", msgInvalid)
		}
	}
	raw, err := json.Marshal(r)
	if err != nil {
		errs.add("replication_class", msgInvalid)
	}
	return raw
}

// realmObject returns a realm as Housekeeping shows it.
func realmObject(cfg realmConfig) any {
	r := replicationJSON{}
	if json.Unmarshal(cfg.Replication, &r) != nil || r.Class == "" {
		one := 1
		r = replicationJSON{Class: simpleStrategy, Factor: &one}
	}
	return struct {
		Name core.TenantID `json:"realm_name"`
		Key  string        `json:"jwt_public_key_pem"`
		replicationJSON
		RegistrationLimit *int `json:"device_registration_limit"`
		MaxRetention      *int `json:"datastream_maximum_storage_retention"`
	}{cfg.Name, cfg.PublicKeyPEM, r, cfg.RegistrationLimit, cfg.MaxRetention}
}
