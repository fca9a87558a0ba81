package awswire

import (
	"errors"
)

// Limits of shadows ("AWS IoT Core endpoints and quotas", read 2026-11).
const (
	// MaxShadowBytes is the size of a shadow's state: desired and reported as compact JSON, without metadata. No request's
	// state may be larger either, else those who delete many members could be of any size.
	MaxShadowBytes = 8192
	// MaxShadowDepth is how deep a section may be nested, counting the section itself. The text of the refusal says 6, which
	// is what the service allowed before.
	MaxShadowDepth = 8
	// MaxTokenBytes is the length of a client token.
	MaxTokenBytes = 64
)

// A Shadow is the state of a device as the service keeps it. The zero value is one that has never been.
type Shadow struct {
	// Desired and Reported are objects, or nil if they have no members. See [Node.At] for the times of their leaves.
	Desired, Reported *Node
	Version           int64 // counts accepted updates
	Exists            bool  // it may be there without a state, and be gone with a version
}

// An Update is a request to change a shadow.
type Update struct {
	// State says that the request has one; with false it empties the shadow ("state":null).
	State bool
	// Desired and Reported are what is to be changed in the sections: objects, null to remove the section, or nil if the
	// request does not have it.
	Desired, Reported *Node
	Version           int64 // that the shadow must have
	HasVersion        bool
	Token             string // to be echoed; "": none

	reportedFirst bool // in the request; the echo has the same order
}

// ParseUpdate reads the payload of an update. Errors are of type *[ShadowError]; then the Update holds the token if there was a
// good one, and nothing else.
func ParseUpdate(payload []byte) (Update, error) {
	root, err := parseShadow(payload)
	if err != nil {
		return Update{}, err
	}
	var u Update
	if u.Token, err = token(root); err != nil {
		return Update{}, err
	}
	if err := u.read(root); err != nil {
		return Update{Token: u.Token}, err
	}
	return u, nil
}

// ParseToken reads the payload of a get or a delete, of which only the token counts. What is no JSON has none, and is as good
// as an empty payload (unspecified; the documentation says that the content of a delete is ignored).
func ParseToken(payload []byte) (string, error) {
	root, err := ParseJSON(payload)
	if err != nil || !root.IsObject() {
		return "", nil
	}
	return token(root)
}

func parseShadow(payload []byte) (*Node, error) {
	root, err := ParseJSON(payload)
	switch {
	case errors.Is(err, ErrEncoding):
		return nil, ErrShadowEncoding
	case errors.Is(err, ErrNesting):
		return nil, ErrShadowNesting
	case err != nil || !root.IsObject():
		return nil, ErrShadowJSON
	}
	return root, nil
}

func token(root *Node) (string, error) {
	n := root.Member("clientToken")
	if n.IsNull() {
		return "", nil
	}
	if n.Kind != KindString || len(n.Text) > MaxTokenBytes {
		return "", ErrShadowToken
	}
	return n.Text, nil
}

// read reads all but the token.
func (u *Update) read(root *Node) error {
	state := root.Member("state")
	switch {
	case state == nil:
		return ErrShadowNoState
	case state.Kind == KindObject:
		u.State = true
	case state.Kind != KindNull:
		return ErrShadowState
	}
	for _, m := range state.Members {
		switch m.Name {
		case "desired":
			u.Desired = m.Value
		case "reported":
			u.Reported, u.reportedFirst = m.Value, u.Desired == nil
		default:
			return ErrShadowNode
		}
	}
	if u.Desired != nil && u.Desired.Kind != KindObject && u.Desired.Kind != KindNull {
		return ErrShadowDesired
	}
	if u.Reported != nil && u.Reported.Kind != KindObject && u.Reported.Kind != KindNull {
		return ErrShadowReported
	}
	for _, section := range []*Node{u.Desired, u.Reported} {
		if err := check(section, 1, false); err != nil {
			return err
		}
	}
	if sectionBytes(u.Desired)+sectionBytes(u.Reported) > MaxShadowBytes {
		return ErrShadowTooLarge
	}
	if v := root.Member("version"); !v.IsNull() {
		if u.Version, u.HasVersion = v.Int(); !u.HasVersion || u.Version < 0 {
			return ErrShadowVersion
		}
	}
	return nil
}

// check reports what may be in no section: nesting that is too deep, and null in an array.
func check(n *Node, depth int, inArray bool) error {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case KindNull:
		if inArray {
			return ErrShadowNode
		}
		return nil
	case KindArray, KindObject:
		if depth > MaxShadowDepth {
			return ErrShadowNesting
		}
	}
	for _, e := range n.Elems {
		if err := check(e, depth+1, true); err != nil {
			return err
		}
	}
	for _, m := range n.Members {
		if err := check(m.Value, depth+1, inArray); err != nil {
			return err
		}
	}
	return nil
}

// sectionBytes returns the size of a section as compact JSON.
func sectionBytes(n *Node) int {
	if n == nil {
		return 0
	}
	var room [512]byte
	return len(n.Append(room[:0]))
}

// Apply returns the shadow that an accepted update makes of s, which stays as it is; at is now, in seconds. Errors are of type
// *[ShadowError].
//
// A request for a version of a shadow that is not there is accepted if it says 0 or 1, as when it says none (unspecified; the
// vendor's gateway accepts 1).
func (s *Shadow) Apply(u *Update, at int64) (Shadow, error) {
	if u.HasVersion {
		if s.Exists && u.Version != s.Version || !s.Exists && u.Version > 1 {
			return Shadow{}, ErrShadowConflict
		}
	}
	next := Shadow{Version: s.Version + 1, Exists: true}
	if u.State {
		next.Desired = mergeSection(s.Desired, u.Desired, at)
		next.Reported = mergeSection(s.Reported, u.Reported, at)
	}
	if err := next.Check(); err != nil {
		return Shadow{}, err
	}
	return next, nil
}

// Check reports a state that no shadow may have: one that is too large or too deep, or that has null in an array.
func (s *Shadow) Check() error {
	for _, section := range []*Node{s.Desired, s.Reported} {
		if err := check(section, 1, false); err != nil {
			return err
		}
	}
	if sectionBytes(s.Desired)+sectionBytes(s.Reported) > MaxShadowBytes {
		return ErrShadowTooLarge
	}
	return nil
}

// Delete returns what is left of a deleted shadow. The deletion takes a version of its own, so that no number ever means two
// states (unspecified; published tests of emulators count so).
func (s *Shadow) Delete() Shadow { return Shadow{Version: s.Version + 1} }

// mergeSection merges what an update has for a section. A section without members is none.
func mergeSection(old, patch *Node, at int64) *Node {
	switch {
	case patch == nil:
		return old
	case patch.Kind == KindNull:
		return nil
	}
	if n := merge(old, patch, at); len(n.Members) > 0 {
		return n
	}
	return nil
}

// merge returns old with the patch in it (AWS IoT Core Developer Guide, "Device Shadow service documents"): objects merge,
// everything else replaces, null deletes. What the patch has gets the time at, changed or not; what it does not have is
// shared with old. An object stays when its last member goes, as with the vendor's gateway.
func merge(old, patch *Node, at int64) *Node {
	if patch.Kind != KindObject {
		n := *patch
		n.At = at
		return &n
	}
	n := &Node{Kind: KindObject, At: at}
	if old.IsObject() {
		n.Members = append(make([]Member, 0, len(old.Members)+len(patch.Members)), old.Members...)
	}
	gone := false
	for _, m := range patch.Members {
		switch {
		case m.Value.Kind != KindNull:
			n.Put(m.Name, merge(n.Member(m.Name), m.Value, at))
		case n.Member(m.Name) != nil:
			n.Put(m.Name, nil)
			gone = true
		}
	}
	if gone {
		kept := n.Members[:0]
		for _, m := range n.Members {
			if m.Value != nil {
				kept = append(kept, m)
			}
		}
		n.Members, n.index = kept, nil
	}
	return n
}

// Delta returns what desired has and reported has not, or not so: an object that holds nothing else, nil if there is nothing.
// Arrays are compared, and returned, whole; numbers are compared by value. Times are those of desired.
func (s *Shadow) Delta() *Node { return diff(s.Desired, s.Reported) }

func diff(desired, reported *Node) *Node {
	if desired == nil {
		return nil
	}
	if !reported.IsObject() {
		return desired
	}
	var n *Node
	for _, m := range desired.Members {
		other := reported.Member(m.Name)
		v := m.Value
		switch {
		case v.IsObject() && other.IsObject():
			v = diff(v, other)
		case v.Equal(other):
			v = nil
		}
		if v == nil {
			continue
		}
		if n == nil {
			n = NewObject()
		}
		n.Put(m.Name, v)
	}
	return n
}
