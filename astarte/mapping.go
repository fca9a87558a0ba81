package astarte

import (
	"fmt"
	"time"

	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A Type is the type of a mapping's values, by the name that definitions use.
type Type string

// The types of values, and what they are in Go. Where two are given, received values are of the first one, and both can be sent.
const (
	Double             Type = "double"           // float64, finite
	Integer            Type = "integer"          // int32, or int within its range
	LongInteger        Type = "longinteger"      // int64 or int
	Boolean            Type = "boolean"          // bool
	String             Type = "string"           // string, valid UTF-8
	BinaryBlob         Type = "binaryblob"       // []byte
	Datetime           Type = "datetime"         // time.Time; milliseconds, UTC
	DoubleArray        Type = "doublearray"      // []float64
	IntegerArray       Type = "integerarray"     // []int32 or []int
	LongIntegerArray   Type = "longintegerarray" // []int64 or []int
	BooleanArray       Type = "booleanarray"     // []bool
	StringArray        Type = "stringarray"      // []string
	BinaryBlobArray    Type = "binaryblobarray"  // [][]byte
	DatetimeArray      Type = "datetimearray"    // []time.Time
	MaxStringBytes          = astartewire.MaxStringLen
	MaxBinaryBlobBytes      = astartewire.MaxBlobLen
	MaxArrayLen             = astartewire.MaxArrayLen
)

// IsArray tells whether values are slices.
func (t Type) IsArray() bool { return t.wire().IsArray() }

// Elem returns the type of the elements of an array type, and any other type itself.
func (t Type) Elem() Type { return Type(t.wire().Elem().String()) }

func (t Type) wire() astartewire.Type {
	w, _ := astartewire.ParseType(string(t)) // 0, of which nothing can be sent, if there is no such type
	return w
}

// Check reports, as a [*ValidationError] without names, why a value cannot be sent as a t.
func (t Type) Check(value any) error {
	_, err := toWire(t.wire(), value)
	return err
}

// Reliability says how carefully the messages of a datastream are delivered. Its number is MQTT's quality of service.
type Reliability uint8

// The reliabilities.
const (
	Unreliable Reliability = iota // at most once: may get lost with a connection
	Guaranteed                    // at least once
	Unique                        // exactly once, while the session lasts
)

// String returns the name that definitions use.
func (r Reliability) String() string { return astartewire.Reliability(r).String() }

// Retention says what becomes of a datastream's values while there is no connection.
type Retention uint8

// The retentions.
const (
	Discard  Retention = iota // nothing is kept: sending fails with ErrDisconnected
	Volatile                  // kept in memory
	Stored                    // kept in the outbox, durably
)

// String returns the name that definitions use.
func (r Retention) String() string { return astartewire.Retention(r).String() }

// A Mapping is one endpoint of an [Interface]: a path, or a pattern of paths, and what can be sent there.
type Mapping struct {
	Endpoint          string // "/%{room}/temperature"
	Type              Type
	Reliability       Reliability   // Unique for properties
	Retention         Retention     // of datastreams
	Expiry            time.Duration // how long a value is worth sending; 0: for ever
	ExplicitTimestamp bool          // values have a timestamp of their own
	AllowUnset        bool          // of properties
	Required          bool          // of objects, platform 1.4
	Description, Doc  string
}

func newMapping(i *astartewire.Interface, m *astartewire.Mapping) Mapping {
	return Mapping{
		Endpoint: m.Endpoint, Type: Type(m.Type.String()), Reliability: Reliability(i.QoS(m)), Retention: Retention(m.Retention),
		Expiry: time.Duration(m.Expiry) * time.Second, ExplicitTimestamp: m.ExplicitTimestamp, AllowUnset: m.AllowUnset,
		Required: m.Required, Description: m.Description, Doc: m.Doc,
	}
}

// Check reports, as a [*ValidationError] that names the endpoint only, why a value with this timestamp cannot be sent to m. The zero time is
// no timestamp.
func (m Mapping) Check(value any, at time.Time) error {
	err := m.Type.Check(value)
	if err == nil {
		err = m.CheckTime(at)
	}
	if v, ok := err.(*ValidationError); ok { //nolint:errorlint // ours, just made
		v.Path = m.Endpoint
	}
	return err
}

// CheckTime reports why a value cannot be sent with this timestamp: mappings with an explicit timestamp need one, all others must not
// have one.
func (m Mapping) CheckTime(at time.Time) error {
	switch {
	case m.ExplicitTimestamp && at.IsZero():
		return invalid("a timestamp is required")
	case !m.ExplicitTimestamp && !at.IsZero():
		return invalid("there is a timestamp, but the mapping has no explicit_timestamp")
	}
	if ms := at.UnixMilli(); !at.IsZero() && (ms < minMillis || ms > maxMillis) {
		return invalid(fmt.Sprintf("timestamp %v is beyond the years that the platform knows", at))
	}
	return nil
}
