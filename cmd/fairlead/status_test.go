package main

import (
	"testing"
	"time"
)

// TestAge: an age reads as it is written in a configuration.
func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{365 * 24 * time.Hour: "365d", 36 * time.Hour: "36h0m0s", 90 * time.Second: "1m30s"} {
		if got := age(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
