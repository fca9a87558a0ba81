// Package awscbor is the other format of AWS IoT's provisioning messages: what package awswire describes as JSON, in CBOR
// (RFC 8949). Names of members are those of the JSON forms, which structs of awswire have in their tags.
package awscbor

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// decoding bounds what a peer can have made of a message: requests are maps of texts, nested twice.
var decoding = must(cbor.DecOptions{
	DupMapKey:        cbor.DupMapKeyEnforcedAPF,
	MaxNestedLevels:  8,
	MaxArrayElements: 1024,
	MaxMapPairs:      1024,
	TagsMd:           cbor.TagsForbidden,
	UTF8:             cbor.UTF8RejectInvalid,
}.DecMode())

// encoding writes the same bytes for the same value.
var encoding = must(cbor.EncOptions{Sort: cbor.SortBytewiseLexical, TagsMd: cbor.TagsForbidden}.EncMode())

func must[T any](mode T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("awscbor: %v", err)) // options that contradict each other, found at the first start
	}
	return mode
}

// Unmarshal reads one value, with nothing behind it, into v. Members that v does not have are passed over.
func Unmarshal(text []byte, v any) error {
	if err := decoding.Unmarshal(text, v); err != nil {
		return fmt.Errorf("CBOR: %w", err)
	}
	return nil
}

// Marshal writes v.
func Marshal(v any) ([]byte, error) {
	text, err := encoding.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("CBOR: %w", err)
	}
	return text, nil
}
