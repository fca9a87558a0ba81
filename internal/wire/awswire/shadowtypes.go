package awswire

import "encoding/json"

// What clients of the shadow service write and read. The hub has faster ways; the fields are the same.

// A ShadowRequest is the payload of an update; of a get or delete only the token is used.
type ShadowRequest struct {
	State       *ShadowState `json:"state,omitempty"`
	Version     int64        `json:"version,omitempty"`
	ClientToken string       `json:"clientToken,omitempty"`
}

// A ShadowState is the state of a shadow, or a part of it. Each section is an object; null in a request removes it.
type ShadowState struct {
	Desired  json.RawMessage `json:"desired,omitempty"`
	Reported json.RawMessage `json:"reported,omitempty"`
	Delta    json.RawMessage `json:"delta,omitempty"` // only in the answer to a get
}

// ShadowMetadata has an object {"timestamp":SECONDS} in the place of each value of a state.
type ShadowMetadata struct {
	Desired  json.RawMessage `json:"desired,omitempty"`
	Reported json.RawMessage `json:"reported,omitempty"`
}

// A ShadowReply is what is accepted: of a get the whole document, of an update what it had, of a delete the version and the
// time only. After an update that empties the shadow State is nil.
type ShadowReply struct {
	State       *ShadowState    `json:"state"`
	Metadata    *ShadowMetadata `json:"metadata"`
	Version     int64           `json:"version"`
	Timestamp   int64           `json:"timestamp"` // seconds since 1970
	ClientToken string          `json:"clientToken"`
}

// A ShadowDelta is the message that desired and reported differ.
type ShadowDelta struct {
	State       json.RawMessage `json:"state"`    // what of desired differs
	Metadata    json.RawMessage `json:"metadata"` // when it became desired
	Version     int64           `json:"version"`
	Timestamp   int64           `json:"timestamp"`
	ClientToken string          `json:"clientToken"`
}

// ShadowDocuments is the message of an accepted update.
type ShadowDocuments struct {
	Previous    *ShadowSnapshot `json:"previous"` // nil: there was none
	Current     *ShadowSnapshot `json:"current"`
	Timestamp   int64           `json:"timestamp"`
	ClientToken string          `json:"clientToken"`
}

// A ShadowSnapshot is the document at one version.
type ShadowSnapshot struct {
	State    ShadowState    `json:"state"`
	Metadata ShadowMetadata `json:"metadata"`
	Version  int64          `json:"version"`
}

// A ShadowRejection is the payload on a rejected topic.
type ShadowRejection struct {
	Code        int    `json:"code"`
	Message     string `json:"message"`
	Timestamp   int64  `json:"timestamp"`
	ClientToken string `json:"clientToken"`
}

// A ShadowList is a page of the names of a thing's shadows.
type ShadowList struct {
	Results   []string `json:"results"`
	NextToken string   `json:"nextToken"`
	Timestamp int64    `json:"timestamp"`
}
