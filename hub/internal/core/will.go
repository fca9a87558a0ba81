package core

import "time"

// A Will is what a connection leaves behind: a message that is published when the connection ends, unless its client says
// goodbye. It is stored while the connection lasts, so that it is published also when the hub itself ends without notice.
type Will struct {
	Num     int64 // given by storage
	Session SessionKey
	Device  DeviceNum
	Delay   time.Duration // from the end of the connection; the session's end comes first if it is earlier
	Due     time.Time     // when it will be published; zero: the connection is there, or was when the hub ended
	Message               // its Expires is not used:
	// Lasts is how long the message is worth something once it is published; Forever if nothing is said about that.
	Lasts time.Duration
}
