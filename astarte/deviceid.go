package astarte

import "github.com/fairlead-iot/fairlead/internal/wire/astartewire"

// RandomDeviceID returns a new device ID: 128 random bits, as a UUID of version 4 has them, in URL-safe base64. Each call returns
// another, so keep it; for devices in the field [NamedDeviceID] is the better choice, because it gives the same ID after a factory reset.
func RandomDeviceID() string { return astartewire.RandomDeviceID() }

// NamedDeviceID returns the device ID that belongs to something unique about the device, such as its serial number, within a namespace,
// which is a UUID of yours. It is always the same one: a UUID of version 5, as the official SDKs and "astartectl utils device-id
// compute-from-string" compute it.
func NamedDeviceID(namespace [16]byte, unique string) string {
	return astartewire.DeviceIDFromName(namespace, []byte(unique))
}

// ValidDeviceID tells whether a text is a device ID in its canonical form: 22 characters of URL-safe base64 for 128 bits.
func ValidDeviceID(id string) bool {
	canonical, err := astartewire.ParseDeviceID(id)
	return err == nil && canonical == id
}

// ValidRealm tells whether a text may be the name of a realm.
func ValidRealm(name string) bool { return astartewire.ValidRealm(name) }
