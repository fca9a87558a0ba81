package astartewire

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

var (
	// ErrMalformedInterface means that a definition is not a JSON object at all (platform: 400 "Bad request").
	ErrMalformedInterface = errors.New("interface definition is not a JSON object")
	// ErrOverlap means that a path could match two endpoints, or that one endpoint begins with another
	// (platform: 422 "Overlapping endpoints in interface mappings").
	ErrOverlap = errors.New("overlapping endpoints in interface mappings")
)

// Texts of field errors (Ecto's and astarte_core's).
const (
	msgBlank         = "can't be blank"
	msgInvalid       = "is invalid"
	msgFormat        = "has invalid format"
	msgReserved      = "is reserved"
	msgNotNegative   = "must be greater than or equal to 0"
	msgNullVersion   = "must be > 0 if major_version is 0"
	msgIndividual    = "must be individual for properties interfaces"
	msgMustBeBlank   = "must be blank"
	msgPolicyNeeded  = "must be use_ttl if database_retention_ttl is set"
	msgTTLNeeded     = "must be set if database_retention_policy is use_ttl"
	msgEndpoints     = "contain conflicting endpoints"
	msgAttributes    = "contain conflicting attributes"
	msgPrefix        = "must have the same prefix in endpoints"
	msgNotSupported  = "is not supported" // ours
	fmtAtMost        = "should be at most %d character(s)"
	fmtAtLeast       = "should be at least %d character(s)"
	fmtItems         = "should have at most %d item(s)"
	fmtLess          = "must be less than %d"
	fmtGreaterEqual  = "must be greater than or equal to %d"
	keyMappings      = "mappings"
	keyEndpoint      = "endpoint"
	keyInterfaceName = "interface_name"
)

// A FieldSet holds messages by the name of the field; of one field, the latest found comes first, as on the platform.
type FieldSet map[string][]string

func (s FieldSet) add(field, msg string) { s[field] = append([]string{msg}, s[field]...) }

// FieldErrors says what is wrong with an interface definition. Its JSON is the platform's "errors" object of a 422:
//
//	{"interface_name":["has invalid format"],"mappings":[{},{"endpoint":["has invalid format"]}]}
type FieldErrors struct {
	Fields   FieldSet   // of the definition itself
	Mappings []FieldSet // of each mapping, if any mapping has errors; then Fields["mappings"] is not shown
}

// MarshalJSON returns the platform's form.
func (e *FieldErrors) MarshalJSON() ([]byte, error) {
	all := make(map[string]any, len(e.Fields)+1)
	for field, msgs := range e.Fields {
		all[field] = msgs
	}
	if e.Mappings != nil {
		all[keyMappings] = e.Mappings
	}
	return json.Marshal(all)
}

// Error lists the fields and their messages in one line.
func (e *FieldErrors) Error() string {
	parts := e.Fields.list(nil, "")
	for i, s := range e.Mappings {
		parts = s.list(parts, fmt.Sprintf("mappings[%d].", i))
		if len(parts) > 8 {
			parts = append(parts[:8], "...")
			break
		}
	}
	return "invalid interface: " + strings.Join(parts, "; ")
}

func (s FieldSet) list(parts []string, prefix string) []string {
	for _, field := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, prefix+field+" "+strings.Join(s[field], ", "))
	}
	return parts
}
