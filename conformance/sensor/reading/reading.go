// Package reading is what the sensor of package sensor sends: shared by the program, which should be no larger than such programs are, and by
// those who read back what arrived.
package reading

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
)

// Where readings go.
const (
	Interface  = "org.fairlead.sensor.Readings"
	Path       = "/s0/value"
	Definition = `{"interface_name":"org.fairlead.sensor.Readings","version_major":1,"version_minor":0,"type":"datastream","ownership":"device",
		"mappings":[{"endpoint":"/%{source}/value","type":"binaryblob","reliability":"guaranteed","retention":"stored"}]}`
)

// Producers is how many goroutines of the program make readings, at the same time. Reading n comes from number n % Producers.
const Producers = 64

// size makes a payload of 128 bytes: around the value are 13 bytes of BSON, a document {"v": binary}.
const size = 115

// Value is reading n: its number, and noise that follows from it.
func Value(n uint64) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, size+7), n)
	for noise := rand.NewPCG(n, 0); len(b) < size; {
		b = binary.LittleEndian.AppendUint64(b, noise.Uint64())
	}
	return b[:size]
}

// Number is the inverse of Value; ok is false for what is no reading.
func Number(value []byte) (n uint64, ok bool) {
	if len(value) != size {
		return 0, false
	}
	n = binary.BigEndian.Uint64(value)
	return n, bytes.Equal(value, Value(n))
}
