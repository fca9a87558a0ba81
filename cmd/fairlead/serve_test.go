package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/config"
)

// TestLogDurations: both formats write them alike, with their unit.
func TestLogDurations(t *testing.T) {
	for format, want := range map[string]string{"text": "grace=1.5s", "json": `"grace":"1.5s"`} {
		var b bytes.Buffer
		newLogger(&b, config.Log{Level: slog.LevelInfo, Format: format}).With("a", 1).WithGroup("g").Info("stopping", "grace", 1500*time.Millisecond)
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: got %s, want %s", format, &b, want)
		}
	}
}
