package astartewire

import (
	"crypto/rand"
	"crypto/sha1" // UUID version 5 is defined on SHA-1; nothing here relies on its strength
	"encoding/base64"
	"errors"
	"strings"
)

// DeviceIDLen is the length of a device id's canonical text form: 128 bits in URL-safe base64 without padding.
const DeviceIDLen = 22

var (
	// ErrDeviceID means that a text is not a device id (platform: invalid_device_id).
	ErrDeviceID = errors.New("invalid device id")
	// ErrExtendedDeviceID means that a device id has more than 128 bits where only 128 are allowed
	// (platform: extended_id_not_allowed).
	ErrExtendedDeviceID = errors.New("extended device id not allowed")
)

// ParseDeviceID returns the canonical form of a device id. It accepts what the platform accepts: URL-safe base64, with
// correct padding or none, and with any bits after the 128th within the last character (observed 2026-11 with the
// decoder that astarte_core calls). Different texts can therefore mean the same device; look up and compare only the
// canonical form. Longer ids are [ErrExtendedDeviceID].
func ParseDeviceID(s string) (string, error) {
	id, extended, err := parseDeviceID(s)
	if err == nil && extended {
		return "", ErrExtendedDeviceID
	}
	return id, err
}

// ParseExtendedDeviceID is ParseDeviceID for the places where the platform takes longer ids too, of which it uses the
// first 128 bits: Pairing's register, info, credentials and verify, and the broker.
func ParseExtendedDeviceID(s string) (string, error) {
	id, _, err := parseDeviceID(s)
	return id, err
}

func parseDeviceID(s string) (id string, extended bool, err error) {
	// The standard library skips line breaks inside base64, the platform does not.
	if len(s) < DeviceIDLen || strings.ContainsAny(s, "\r\n") {
		return "", false, ErrDeviceID
	}
	enc := base64.RawURLEncoding
	if s[len(s)-1] == '=' {
		enc = base64.URLEncoding
	}
	var buf [64]byte
	raw, err := enc.AppendDecode(buf[:0], []byte(s))
	if err != nil || len(raw) < 16 {
		return "", false, ErrDeviceID
	}
	var text [DeviceIDLen]byte
	base64.RawURLEncoding.Encode(text[:], raw[:16])
	if string(text[:]) == s {
		return s, false, nil // already canonical: keep the caller's string
	}
	return string(text[:]), len(raw) > 16, nil
}

// DeviceIDFromBytes returns the device id of 16 bytes. Any bytes will do; they need not be a valid UUID.
func DeviceIDFromBytes(b [16]byte) string { return base64.RawURLEncoding.EncodeToString(b[:]) }

// DeviceIDBytes returns the 16 bytes of a device id in canonical or any other form that [ParseDeviceID] takes.
func DeviceIDBytes(id string) (b [16]byte, err error) {
	id, err = ParseDeviceID(id)
	if err != nil {
		return b, err
	}
	_, err = base64.RawURLEncoding.Decode(b[:], []byte(id))
	return b, err
}

// RandomDeviceID returns a new random device id: the bytes of a version 4 UUID.
func RandomDeviceID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	setUUID(&b, 4)
	return DeviceIDFromBytes(b)
}

// DeviceIDFromName returns the device id that belongs to data within a namespace: the bytes of a version 5 UUID. It is
// what the official SDKs and "astartectl utils device-id compute-from-string" compute.
func DeviceIDFromName(namespace [16]byte, data []byte) string {
	h := sha1.New()
	h.Write(namespace[:])
	h.Write(data)
	var b [16]byte
	copy(b[:], h.Sum(nil))
	setUUID(&b, 5)
	return DeviceIDFromBytes(b)
}

// setUUID writes the version and the RFC 9562 variant into b.
func setUUID(b *[16]byte, version byte) {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
}

// maxRealmLen is the longest realm name (astarte_core realm.ex).
const maxRealmLen = 48

// ValidRealm reports whether name may be a realm's name: ^[a-z][a-z0-9]{0,47}$, and neither "astarte" nor "system",
// which the platform reserves (astarte_core realm.ex; it also reserves the prefix "system_", which the pattern excludes).
func ValidRealm(name string) bool {
	if name == "" || len(name) > maxRealmLen || name == "astarte" || name == "system" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}
