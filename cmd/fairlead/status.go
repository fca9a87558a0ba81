package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
	for _, row := range [][2]string{
		{"Fairlead " + st.Version, ready},
		{"Process", fmt.Sprintf("%d, up %v", r.Hub.PID, (time.Duration(st.UptimeSeconds) * time.Second))},
		{"REST APIs", r.Hub.URL},
		{"MQTT", r.Hub.MQTT},
		{"MQTT, WebSocket", r.Hub.MQTTWeb},
		{"MQTT, no TLS", cmp.Or(r.Hub.MQTTPlain, "off")},
		{"Dialects", strings.Join(st.Dialects, ", ")},
		{"Devices", fmt.Sprintf("%d, %d connected", st.Devices.Total, st.Devices.Connected)},
		{"Messages", fmt.Sprintf("%d in, %d out, %d dropped", st.MQTT.MessagesIn, st.MQTT.MessagesOut, st.MQTT.Dropped)},
		{"Commits", fmt.Sprintf("%d, of %d batches; %d failed", st.Commit.Commits, st.Commit.Batches, st.Commit.Failures)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}
