package core

import (
	"fmt"
	"time"
)

// A TenantID names a tenant: one customer, environment or realm, invisible to all others.
type TenantID string

// A DeviceID names a device in its tenant and dialect: 1 to 128 bytes of [A-Za-z0-9_.:-], compared byte for byte.
type DeviceID string

// Validate reports, as [ErrInvalid], an id that no device may have. Only the edges call it; the core trusts.
func (id DeviceID) Validate() error {
	if len(id) == 0 || len(id) > 128 {
		return fmt.Errorf("%w: device id of %d bytes, want 1 to 128", ErrInvalid, len(id))
	}
	for i := range len(id) {
		if !idByte(id[i]) {
			return fmt.Errorf("%w: device id %q has a character outside [A-Za-z0-9_.:-]", ErrInvalid, string(id))
		}
	}
	return nil
}

func idByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == ':' || c == '-'
}

// A Tenant is a separate world of devices.
type Tenant struct {
	ID       TenantID
	Created  time.Time
	Deleting bool // it lets nobody in any more, and is gone when all that it has is deleted
}

// Validate reports, as [ErrInvalid], an id that no tenant may have. It is what all platforms' words for a tenant fit into;
// a dialect may be stricter.
func (id TenantID) Validate() error {
	if len(id) == 0 || len(id) > 64 {
		return fmt.Errorf("%w: tenant id of %d bytes, want 1 to 64", ErrInvalid, len(id))
	}
	for i := range len(id) {
		c := id[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '_' && c != '-') {
			return fmt.Errorf("%w: tenant id %q: want a-z, 0-9, _ and -, beginning with a letter or digit", ErrInvalid, string(id))
		}
	}
	return nil
}

// A DeviceKey says which device is meant: the same id in two tenants or two dialects are two devices.
type DeviceKey struct {
	Tenant  TenantID
	Dialect string
	ID      DeviceID
}

func (k DeviceKey) String() string { return k.Dialect + "/" + string(k.Tenant) + "/" + string(k.ID) }

// A DeviceNum is storage's number of a device: small, never reused, the key of everything stored about the device.
type DeviceNum int64

// A Device is one device as the hub knows it.
type Device struct {
	Num DeviceNum // given by storage
	DeviceKey
	Created          time.Time
	Connected        bool
	LastConnected    time.Time // zero: never
	LastDisconnected time.Time // zero: never
	LastAddr         string    // IP address of the last connection, "" if there was none
}

// A DeviceQuery selects devices of one tenant and dialect. Tenant and Dialect are required.
type DeviceQuery struct {
	Tenant    TenantID
	Dialect   string
	Prefix    string   // the beginning of their ids
	After     DeviceID // only ids behind this one; "": from the first
	Connected *bool    // nil: connected or not
	Limit     int      // at most that many
}

// An Enrolment is how a device proves, before it has a certificate, that it may have one.
type Enrolment struct {
	Device              DeviceNum
	SecretHash          []byte    // SHA-256 of a secret with 256 random bits, or a slow hash of one that can be guessed; nil: no secret opens this device
	FirstRegistered     time.Time // kept over re-registration
	FirstCredentials    time.Time // first certificate issued since registration; zero: none
	LastCredentialsAddr string    // IP address that asked for the last certificate
	Inhibited           bool      // an operator has forbidden further certificates
}

// CertificateState says whether a certificate may still be used.
type CertificateState uint8

// The states of a certificate.
const (
	CertificateActive     CertificateState = iota // the device's newest
	CertificateSuperseded                         // a newer one was issued; whether it still opens is the dialect's rule
	CertificateRevoked                            // must be refused
)

// A Certificate is what the hub keeps of each certificate that its CA issued.
type Certificate struct {
	Serial         string // lower-case hexadecimal
	Device         DeviceNum
	SHA256         [32]byte // of the DER form
	AuthorityKeyID string   // lower-case hexadecimal
	NotBefore      time.Time
	NotAfter       time.Time
	State          CertificateState
	Changed        time.Time // of State
}

// A Count is how much a device sent within a scope; scope "" is everything, others are the dialect's (an interface).
type Count struct {
	Scope    string
	Messages int64
	Bytes    int64
}
