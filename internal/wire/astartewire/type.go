package astartewire

import (
	"fmt"
	"strings"
)

// A Type is the type of a mapping's values. The numbers are those of astarte_core mapping/value_type.ex; the zero Type
// is none.
type Type uint8

// The fourteen types. Each array type follows the type of its elements.
const (
	TypeDouble Type = iota + 1
	TypeDoubleArray
	TypeInteger
	TypeIntegerArray
	TypeLongInteger
	TypeLongIntegerArray
	TypeString
	TypeStringArray
	TypeBoolean
	TypeBooleanArray
	TypeBinaryBlob
	TypeBinaryBlobArray
	TypeDatetime
	TypeDatetimeArray
)

var typeNames = []string{
	"", "double", "doublearray", "integer", "integerarray", "longinteger", "longintegerarray", "string", "stringarray",
	"boolean", "booleanarray", "binaryblob", "binaryblobarray", "datetime", "datetimearray",
}

// Types lists all types.
var Types = []Type{
	TypeDouble, TypeDoubleArray, TypeInteger, TypeIntegerArray, TypeLongInteger, TypeLongIntegerArray, TypeString,
	TypeStringArray, TypeBoolean, TypeBooleanArray, TypeBinaryBlob, TypeBinaryBlobArray, TypeDatetime, TypeDatetimeArray,
}

// ParseType returns the type that interface definitions call name.
func ParseType(name string) (Type, error) { return parseName[Type](typeNames, name) }

// String returns the name that interface definitions use.
func (t Type) String() string { return nameOf(typeNames, t) }

// MarshalText returns the name of t.
func (t Type) MarshalText() ([]byte, error) { return marshalName(typeNames, t) }

// IsArray reports whether values of t are arrays.
func (t Type) IsArray() bool { return t != 0 && t&1 == 0 }

// Elem returns the type of the elements of an array type, and any other type itself.
func (t Type) Elem() Type {
	if t.IsArray() {
		return t - 1
	}
	return t
}

// A Kind is the type of an interface, which the definition calls just "type".
type Kind uint8

// The kinds of interfaces.
const (
	KindDatastream Kind = iota + 1
	KindProperties
)

var kindNames = []string{"", "datastream", "properties"}

// String returns the name that interface definitions use.
func (k Kind) String() string { return nameOf(kindNames, k) }

// MarshalText returns the name of k.
func (k Kind) MarshalText() ([]byte, error) { return marshalName(kindNames, k) }

// Ownership says who writes the data of an interface.
type Ownership uint8

// The owners.
const (
	OwnershipDevice Ownership = iota + 1
	OwnershipServer
)

var ownershipNames = []string{"", "device", "server"}

// String returns the name that interface definitions use.
func (o Ownership) String() string { return nameOf(ownershipNames, o) }

// MarshalText returns the name of o.
func (o Ownership) MarshalText() ([]byte, error) { return marshalName(ownershipNames, o) }

// Aggregation says whether an interface's mappings are sent one by one or together.
type Aggregation uint8

// The aggregations; the zero value is the default.
const (
	AggregationIndividual Aggregation = iota
	AggregationObject
)

var aggregationNames = []string{"individual", "object"}

// String returns the name that interface definitions use.
func (a Aggregation) String() string { return nameOf(aggregationNames, a) }

// MarshalText returns the name of a.
func (a Aggregation) MarshalText() ([]byte, error) { return marshalName(aggregationNames, a) }

// Reliability says how carefully a datastream's messages are delivered; its numbers are the MQTT quality of service.
type Reliability uint8

// The reliabilities; the zero value is the default.
const (
	ReliabilityUnreliable Reliability = iota
	ReliabilityGuaranteed
	ReliabilityUnique
)

var reliabilityNames = []string{"unreliable", "guaranteed", "unique"}

// String returns the name that interface definitions use.
func (r Reliability) String() string { return nameOf(reliabilityNames, r) }

// MarshalText returns the name of r.
func (r Reliability) MarshalText() ([]byte, error) { return marshalName(reliabilityNames, r) }

// Retention says what becomes of a datastream's messages while there is no connection.
type Retention uint8

// The retentions; the zero value is the default.
const (
	RetentionDiscard Retention = iota
	RetentionVolatile
	RetentionStored
)

var retentionNames = []string{"discard", "volatile", "stored"}

// String returns the name that interface definitions use.
func (r Retention) String() string { return nameOf(retentionNames, r) }

// MarshalText returns the name of r.
func (r Retention) MarshalText() ([]byte, error) { return marshalName(retentionNames, r) }

// DatabaseRetentionPolicy says whether stored samples expire.
type DatabaseRetentionPolicy uint8

// The policies; the zero value is the default.
const (
	NoTTL DatabaseRetentionPolicy = iota
	UseTTL
)

var policyNames = []string{"no_ttl", "use_ttl"}

// String returns the name that interface definitions use.
func (p DatabaseRetentionPolicy) String() string { return nameOf(policyNames, p) }

// MarshalText returns the name of p.
func (p DatabaseRetentionPolicy) MarshalText() ([]byte, error) { return marshalName(policyNames, p) }

func nameOf[E ~uint8](names []string, e E) string {
	if int(e) < len(names) && names[e] != "" {
		return names[e]
	}
	return fmt.Sprintf("invalid(%d)", uint8(e))
}

func marshalName[E ~uint8](names []string, e E) ([]byte, error) {
	if int(e) < len(names) && names[e] != "" {
		return []byte(names[e]), nil
	}
	return nil, fmt.Errorf("no name for %T %d", e, uint8(e))
}

func parseName[E ~uint8](names []string, name string) (E, error) {
	for i, n := range names {
		if n == name && n != "" {
			return E(i), nil
		}
	}
	var e E
	kind := fmt.Sprintf("%T", e)
	return e, fmt.Errorf("unknown %s %q", strings.ToLower(kind[strings.IndexByte(kind, '.')+1:]), name)
}
