package astartewire

import (
	"encoding/json"
	"errors"
)

// Limits of interface definitions (astarte_core interface.ex and mapping.ex; lengths of texts are in characters).
const (
	MaxInterfaceNameLen = 128
	MaxMappings         = 1_024
	MaxEndpointLen      = 256
	MaxEndpointLevels   = 64
	MaxDescriptionLen   = 1_000
	MaxDocLen           = 100_000
	MinDatabaseTTL      = 60          // seconds
	DatabaseTTLBound    = 630_720_000 // seconds (20 years); a TTL is below it
)

// An Interface is the definition of an interface: a named, versioned set of mappings. [ParseInterface] makes one that
// is valid and can resolve paths. It must not be changed after that; then it may be used concurrently.
type Interface struct {
	Name         string
	Major, Minor int
	Kind         Kind
	Ownership    Ownership
	Aggregation  Aggregation
	Description  string
	Doc          string
	Mappings     []Mapping

	exact  map[string]*Mapping // endpoints without parameters, by path
	root   *node               // all endpoints
	object *Object             // nil unless the aggregation is object
	base   []string            // an object's levels without the last one; "" is a parameter
}

// A Mapping is one endpoint of an interface, with the type of its values and how they are handled. Its JSON is the
// platform's form, without the fields that have their default value.
type Mapping struct {
	Endpoint string `json:"endpoint"` // such as "/%{room}/temperature"
	Type     Type   `json:"type"`

	Reliability             Reliability             `json:"reliability,omitzero"` // this and the next four: datastreams
	Retention               Retention               `json:"retention,omitzero"`
	Expiry                  int                     `json:"expiry,omitzero"` // seconds, 0 for never
	DatabaseRetentionPolicy DatabaseRetentionPolicy `json:"database_retention_policy,omitzero"`
	DatabaseRetentionTTL    int                     `json:"database_retention_ttl,omitzero"` // seconds, 0 unless the policy is UseTTL
	AllowUnset              bool                    `json:"allow_unset,omitzero"`            // properties
	ExplicitTimestamp       bool                    `json:"explicit_timestamp,omitzero"`     // datastreams
	Required                bool                    `json:"required,omitzero"`               // object interfaces (platform 1.4)

	Description string `json:"description,omitzero"`
	Doc         string `json:"doc,omitzero"`
}

// QoS returns the MQTT quality of service of m's messages, in either direction: 2 for properties, else by reliability.
func (i *Interface) QoS(m *Mapping) byte {
	if i.Kind == KindProperties {
		return 2
	}
	return byte(m.Reliability)
}

type interfaceJSON struct {
	Name        string    `json:"interface_name"`
	Major       int       `json:"version_major"`
	Minor       int       `json:"version_minor"`
	Kind        Kind      `json:"type"`
	Ownership   Ownership `json:"ownership"`
	Aggregation string    `json:"aggregation,omitempty"`
	Description string    `json:"description,omitempty"`
	Doc         string    `json:"doc,omitempty"`
	Mappings    []Mapping `json:"mappings"`
}

// MarshalJSON returns the definition in the platform's form, without the fields that have their default value.
func (i *Interface) MarshalJSON() ([]byte, error) {
	j := interfaceJSON{
		Name: i.Name, Major: i.Major, Minor: i.Minor, Kind: i.Kind, Ownership: i.Ownership,
		Description: i.Description, Doc: i.Doc, Mappings: i.Mappings,
	}
	if i.Aggregation != AggregationIndividual {
		j.Aggregation = i.Aggregation.String()
	}
	return json.Marshal(j)
}

// Reasons to refuse the update of an interface, in the order in which the platform checks them. The comments give
// status and text of its answer (Realm Management, PUT /v1/REALM/interfaces/NAME/MAJOR).
var (
	ErrNameMismatch       = errors.New("interface name does not match")          // 409 Interface name doesn't match the one in the interface json
	ErrMajorMismatch      = errors.New("interface major version does not match") // 409 Interface major version doesn't match the one in the interface json
	ErrInvalidUpdate      = errors.New("invalid interface update")               // 409 Invalid update
	ErrMinorNotIncreased  = errors.New("interface minor version not increased")  // 409 Interface minor version was not increased
	ErrDowngrade          = errors.New("interface downgrade not allowed")        // 409 Interface downgrade not allowed
	ErrMissingEndpoints   = errors.New("interface update misses endpoints")      // 409 Interface update has missing endpoints
	ErrIncompatibleUpdate = errors.New("interface update changes endpoints")     // 409 Interface update contains incompatible endpoint changes
)

// CheckUpdate reports whether newer may replace i under the same name and major version: the first of the errors
// above that applies, or nil. Both must be valid.
func (i *Interface) CheckUpdate(newer *Interface) error {
	switch {
	case newer.Name != i.Name:
		return ErrNameMismatch
	case newer.Major != i.Major:
		return ErrMajorMismatch
	case newer.Kind != i.Kind || newer.Ownership != i.Ownership || newer.Aggregation != i.Aggregation:
		return ErrInvalidUpdate
	case newer.Minor == i.Minor:
		return ErrMinorNotIncreased
	case newer.Minor < i.Minor:
		return ErrDowngrade
	}
	byEndpoint := make(map[string]*Mapping, len(newer.Mappings))
	for k := range newer.Mappings {
		byEndpoint[newer.Mappings[k].Endpoint] = &newer.Mappings[k]
	}
	incompatible := false
	for k := range i.Mappings {
		n := byEndpoint[i.Mappings[k].Endpoint]
		if n == nil {
			return ErrMissingEndpoints
		}
		incompatible = incompatible || fixedPart(i.Mappings[k]) != fixedPart(*n)
	}
	if incompatible {
		return ErrIncompatibleUpdate
	}
	return nil
}

// fixedPart returns m without what an update may change.
func fixedPart(m Mapping) Mapping {
	m.Doc, m.Description, m.ExplicitTimestamp, m.Retention, m.Expiry = "", "", false, 0, 0
	return m
}
