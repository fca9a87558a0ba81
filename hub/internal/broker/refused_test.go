package broker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// refusedErrors is a log of which only the errors of refused connections are kept.
type refusedErrors chan string

func (refusedErrors) Enabled(context.Context, slog.Level) bool { return true }
func (r refusedErrors) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r refusedErrors) WithGroup(string) slog.Handler          { return r }
func (r refusedErrors) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message == "connection refused" {
		rec.Attrs(func(a slog.Attr) bool {
			if a.Key == "err" {
				select {
				case r <- a.Value.String():
				default:
				}
			}
			return true
		})
	}
	return nil
}

// TestRefusedInPlainWords: the log says why, and leaves out what kind of failure that is for programs.
func TestRefusedInPlainWords(t *testing.T) {
	log := make(refusedErrors, 1)
	h := startHub(t, t.TempDir(), Config{Logger: slog.New(log)})
	h.plain.refuse = core.ErrReconnect
	packet := (&mqtt.Connect{Version: mqtt.V311, ClientID: "pump", CleanStart: true, Username: "t", HasUsername: true, KeepAlive: 60}).Append(nil, mqtt.V311)
	if _, err := h.dialFrom("127.0.0.1").Write(packet); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-log:
		if want := "plain sign-in: the client id connects too often"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was logged")
	}
}
