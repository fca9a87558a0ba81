package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

// askTimeout bounds one question to the hub, pollPause is between two.
const (
	askTimeout = 5 * time.Second
	pollPause  = 50 * time.Millisecond
)

// report is what `fairlead status --json` prints.
type report struct {
	Ready  bool          `json:"ready"`
	Error  string        `json:"error,omitempty"` // why it is not
	Hub    *hub.State    `json:"hub,omitempty"`   // where it is
	Status *admin.Status `json:"status,omitempty"`
}

func statusCommand() *cobra.Command {
	var dataDir string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how the hub is; the exit status is 0 only if it is ready",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := await(cmd.Context(), dataDir, wait)
			if err != nil {
				err = fmt.Errorf("status: %w", err)
				r.Error = err.Error()
			}
			if asJSON {
				return errors.Join(err, printJSON(cmd.OutOrStdout(), r))
			}
			if r.Status != nil {
				return errors.Join(err, printStatus(cmd.OutOrStdout(), r))
			}
			return err
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait so long for the hub to become ready, also for one that has yet to start")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// await asks until the hub is ready or wait is over, once at least.
func await(ctx context.Context, dataDir string, wait time.Duration) (report, error) {
	deadline := time.Now().Add(wait)
	for {
		// The last question may take a little longer than the wait, or waiting for a moment would never get an answer.
		r, err := ask(ctx, dataDir, min(askTimeout, max(time.Until(deadline), time.Second)))
		if err == nil {
			return r, nil
		}
		if !time.Now().Before(deadline) {
			if wait > 0 {
				err = fmt.Errorf("not ready after %v: %w", wait, err)
			}
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(pollPause):
		}
	}
}

// ask asks once. The error is nil if the hub is ready.
func ask(ctx context.Context, dataDir string, timeout time.Duration) (report, error) {
	state, err := hub.ReadState(dataDir)
	if err != nil {
		return report{}, err
	}
	r := report{Hub: &state}
	client, err := state.Client(dataDir)
	if err != nil {
		return r, err
	}
	defer client.HTTP.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	st, err := client.Status(ctx)
	if err != nil {
		return r, fmt.Errorf("the hub (process %d) does not answer: %w", state.PID, err)
	}
	r.Status = &st
	if !st.Ready {
		return r, fmt.Errorf("the hub is not ready: %s", st.Reason)
	}
	r.Ready = true
	return r, nil
}

func printStatus(w io.Writer, r report) error {
	st := r.Status
	ready := "ready"
	if !st.Ready {
		ready = "NOT READY: " + st.Reason
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	rows := [][2]string{
		{"Fairlead " + st.Version, ready},
		{"Process", fmt.Sprintf("%d, up %v", r.Hub.PID, (time.Duration(st.UptimeSeconds) * time.Second))},
		{"REST APIs", r.Hub.URL},
		{"MQTT", r.Hub.MQTT},
		{"MQTT, WebSocket", r.Hub.MQTTWeb},
		{"MQTT, no TLS", cmp.Or(r.Hub.MQTTPlain, "off")},
		{"Default tenant", or(st.DefaultTenant)},
		{"Dialects", strings.Join(st.Dialects, ", ")},
		{"Devices", fmt.Sprintf("%d, %d connected", st.Devices.Total, st.Devices.Connected)},
		{"Messages", fmt.Sprintf("%d in, %d out, %d dropped", st.MQTT.MessagesIn, st.MQTT.MessagesOut, st.MQTT.Dropped)},
		{"Commits", fmt.Sprintf("%d, of %d batches; %d failed", st.Commit.Commits, st.Commit.Batches, st.Commit.Failures)},
	}
	for _, text := range st.Warnings {
		rows = append(rows, [2]string{"WARNING", printable(text)})
	}
	for _, row := range append(rows, storageRows(st.Storage)...) {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}

// storageRows say what the database takes and how long data is kept.
func storageRows(s admin.Storage) [][2]string {
	database := size(s.UsedBytes) + " of data"
	if s.ReusableBytes > 0 {
		database += ", " + size(s.ReusableBytes) + " free for new data"
	}
	kept := "all samples"
	if s.SampleLimitBytes > 0 {
		kept = "samples up to " + size(s.SampleLimitBytes)
	}
	if s.TenantLimitBytes > 0 {
		kept += ", of a tenant up to " + size(s.TenantLimitBytes)
	}
	if s.SampleAgeSeconds > 0 {
		kept += " for " + age(time.Duration(s.SampleAgeSeconds)*time.Second)
	}
	if s.Limiting {
		kept += "; THE OLDEST ARE BEING DROPPED"
	}
	if !s.OldestSamples.IsZero() {
		kept += ", the oldest of " + s.OldestSamples.String()
	}
	if s.SamplesDropped > 0 {
		kept += fmt.Sprintf("; %d dropped since the start", s.SamplesDropped)
	}
	rows := [][2]string{{"Database", database}, {"Kept", kept}, {"Events", fmt.Sprintf("%d, %d dropped since the start", s.Events, s.EventsDropped)}}
	if s.DiskBytes > 0 {
		disk := fmt.Sprintf("%s free of %s", size(s.DiskFreeBytes), size(s.DiskBytes))
		if s.Refusing {
			disk += "; TOO LITTLE: WRITES ARE REFUSED"
		}
		rows = append(rows, [2]string{"Disk", disk})
	}
	return rows
}

// age writes a duration as the configuration does: whole days as days.
func age(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}

// size writes a number of bytes for people.
func size(n int64) string {
	unit, div := "B", 1.0
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if float64(n)/div < 1024 {
			break
		}
		unit, div = u, div*1024
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", float64(n)/div, unit)
}
