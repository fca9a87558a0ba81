package core

import "time"

// Side tells who writes a part of a document.
type Side uint8

// The sides of a document.
const (
	Reported Side = iota // written by the device
	Desired              // written by operators and applications
)

func (s Side) String() string {
	if s == Desired {
		return "desired"
	}
	return "reported"
}

// A DocumentKey names one side of one of a device's documents: a twin, a shadow, the properties of an interface.
type DocumentKey struct {
	Device DeviceNum
	Name   string // the dialect's: "" for the only one, a shadow's name, "org.example.Config:1"
	Side   Side
}

// An Entry is one leaf of a document. Its path is the dialect's own spelling of a place in it, such as "/room1/target".
type Entry struct {
	Path    string
	Value   Value
	Changed time.Time
}

// A Leaf is an entry and where it is: one line of everything that is known about a device.
type Leaf struct {
	Document string // DocumentKey.Name
	Side     Side
	Entry
}
