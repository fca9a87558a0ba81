package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func deviceCommand() *cobra.Command {
	cmd := group("device", "See devices, and decide about their credentials")
	cmd.AddCommand(deviceListCommand(), deviceShowCommand(), deviceAddCommand(), devicePasswordCommand(), deviceTokenCommand(),
		deviceGrantCommand(), deviceDocumentsCommand(), deviceDesireCommand(), deviceWhyCommand(), deviceDeleteCommand(),
		inhibitCommand("inhibit", "Forbid a device further certificates; those that it has stay usable, see `fairlead cert revoke`. A plain MQTT device is kept out altogether", true),
		inhibitCommand("allow", "Allow a device certificates again; let a plain MQTT device in again", false))
	return cmd
}

// group makes a command that has others below it.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s: unknown command %q; see %s --help", verb(cmd), args[0], cmd.CommandPath())}
}

// exactly wants so many arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usageError{fmt.Errorf("%s: %s is missing; see %s --help", verb(cmd), names[len(args)], cmd.CommandPath())}
		}
		return atMost(len(names))(cmd, args)
	}
}

func deviceListCommand() *cobra.Command {
	var q admin.DeviceQuery
	var limit int
	var connected, away bool
	cmd := adminCommand(&cobra.Command{
		Use: "list", Short: "List devices", Args: noArgs,
		Example: "  fairlead device list --connected --tenant dev",
	}, func(s *session, _ []string) error {
		if s.changed("connected") && s.changed("away") {
			return usageError{errors.New("--connected and --away exclude each other")}
		}
		if connected != away {
			q.Connected = &connected
		}
		list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Device], error) {
			q.Limit, q.Cursor = limit, cursor
			return s.client.Devices(s.ctx, q)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("DEVICE", "CONNECTED", "LAST CONNECTED", "ADDRESS")
			for _, d := range list {
				t.row(d.String(), yesNo(d.Connected), when(d.LastConnected), or(d.LastAddress))
			}
			t.more(more, limit)
		})
	})
	fl := cmd.Flags()
	fl.StringVar(&q.Tenant, "tenant", "", "only of this `tenant`")
	fl.StringVar(&q.Dialect, "dialect", "", "only those that speak this `dialect`: astarte, ...")
	fl.StringVar(&q.Prefix, "prefix", "", "only those whose ids begin so")
	fl.BoolVar(&connected, "connected", false, "only those that are connected")
	fl.BoolVar(&away, "away", false, "only those that are not")
	limitFlag(cmd, &limit, 1000)
	return cmd
}

func limitFlag(cmd *cobra.Command, limit *int, def int) {
	countFlag(cmd, limit, "limit", def, "print at most `N`; 0 is all")
}

// countFlag adds a flag for a number from 0.
func countFlag(cmd *cobra.Command, n *int, name string, def int, usage string) {
	*n = def
	cmd.Flags().Var((*count)(n), name, usage)
}

type count int

func (c *count) String() string { return strconv.Itoa(int(*c)) }
func (c *count) Type() string   { return "int" }
func (c *count) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return errors.New("want a number from 0")
	}
	*c = count(n)
	return nil
}

func deviceShowCommand() *cobra.Command {
	return deviceVerb(&cobra.Command{
		Use: "show DEVICE", Short: "Show one device, its credentials, what its platform knows of it and what it has sent", Args: exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		var shown struct {
			admin.Device
			Grants *admin.Grants `json:"grants,omitempty"` // of a plain MQTT device
		}
		d, err := s.client.Device(s.ctx, k)
		if err != nil {
			return err
		}
		if shown.Device = d; d.Dialect == dialectMQTT {
			g, err := s.client.Grants(s.ctx, k)
			if err != nil {
				return err
			}
			shown.Grants = &g
		}
		return s.show(shown, func(t *table) {
			t.row("Device", d.String())
			t.row("Created", when(d.Created))
			t.row("Connected", yesNo(d.Connected))
			t.row("Last connected", when(d.LastConnected))
			t.row("Last disconnected", when(d.LastDisconnected))
			t.row("Address", or(d.LastAddress))
			if c := d.Credentials; c != nil {
				t.row("Registered", yesNo(c.Registered))
				t.row("Inhibited", yesNo(c.Inhibited))
				t.row("First certificate", when(c.FirstCertificate))
			}
			for _, x := range d.Details {
				t.row(capital(x.Name), x.Value)
			}
			if g := shown.Grants; g != nil {
				t.row("May publish", or(strings.Join(g.Publish, "  ")))
				t.row("May subscribe", or(strings.Join(g.Subscribe, "  ")))
				if g.NoSamples {
					t.row("Stored", "no: what it publishes is passed on only")
				}
			}
			for _, c := range d.Sent {
				what := "Sent"
				if c.Scope != "" {
					what = "  " + c.Scope
				}
				t.row(what, fmt.Sprintf("%d messages, %d bytes", c.Messages, c.Bytes))
			}
		})
	})
}

// capital begins a text with a capital letter.
func capital(text string) string {
	if text == "" {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func deviceDeleteCommand() *cobra.Command {
	var of scope
	cmd := adminCommand(&cobra.Command{
		Use: "delete DEVICE", Short: "Delete a device with all that it has stored, and revoke its certificates", Args: exactly("DEVICE"),
		Long: `Deletes a device: its documents, samples, counters, credentials and sessions. Its certificates are revoked. Its id is free then: a
device that registers with it is a new one. There is no way back.

DEVICE is named in full, so that nothing else is deleted by a slip: dialect/tenant/id, tenant/id, or the id with --tenant.`,
		Example: "  fairlead device delete mqtt/dev/pump-7",
	}, func(s *session, args []string) error {
		named, _, err := s.named(args[0], of)
		if err != nil {
			return err
		}
		if named.tenant == "" {
			return usageError{fmt.Errorf("device %q: want dialect/tenant/id or tenant/id, or the id with --tenant", args[0])}
		}
		k, err := s.wholeDevice(args[0], of)
		if err != nil {
			return err
		}
		if err := s.client.DeleteDevice(s.ctx, k); err != nil {
			return err
		}
		return s.show(map[string]string{"deleted": k.String()}, func(t *table) { t.row("device " + k.String() + " is deleted") })
	})
	of.addTo(cmd)
	return cmd
}

func deviceDocumentsCommand() *cobra.Command {
	var q admin.EntryQuery
	var document string
	var limit int
	cmd := deviceVerb(&cobra.Command{
		Use: "documents DEVICE", Short: "Show what is desired of a device, and what it reports", Args: exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		if document != "" {
			q.Document = &document
		}
		list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Entry], error) {
			q.Limit, q.Cursor = limit, cursor
			return s.client.Documents(s.ctx, k, q)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("DOCUMENT", "SIDE", "PATH", "CHANGED", "VALUE")
			for _, e := range list {
				t.row(or(e.Document), e.Side, or(e.Path), when(e.Changed), valueText(e.Value))
			}
			t.more(more, limit)
		})
	})
	cmd.Flags().StringVar(&document, "document", "", "only of this `document`")
	cmd.Flags().StringVar(&q.Side, "side", "", "only of this `side`: desired or reported")
	limitFlag(cmd, &limit, 1000)
	return cmd
}

func deviceDesireCommand() *cobra.Command {
	var document string
	cmd := deviceWriteVerb(&cobra.Command{
		Use: "desire DEVICE JSON", Short: "Say what is desired of a device",
		Long: `Says what is desired of a device: the desired state of an AWS shadow, the server-owned properties of an Astarte interface. The
device is told, now or when it returns. JSON is merged into what is desired already: null deletes a member, what is not named
stays as it is.`,
		Example: "  fairlead device desire aws/dev/pump-7 '{\"setpoint\": 21.5}'\n" +
			"  fairlead device desire pump-7 --document org.example.Config:1 '{\"interval\": 60}'",
		Args: exactly("DEVICE", "JSON"),
	}, func(s *session, k admin.DeviceKey, args []string) error {
		if !json.Valid([]byte(args[0])) {
			return fmt.Errorf("%.100q is not JSON; in a shell it is best put in single quotes", args[0])
		}
		return s.client.ChangeDesired(s.ctx, k, admin.DesiredChange{Document: document, Desired: json.RawMessage(args[0])})
	})
	cmd.Flags().StringVar(&document, "document", "", "the `document`, as \"device documents\" names it: a named shadow, an interface and its major version")
	return cmd
}

// maxValueText bounds what a table shows of a value; --json has all of it.
const maxValueText = 200

// valueText returns a value for a table: strings as they are, everything else as JSON.
func valueText(v admin.Value) string {
	var line bytes.Buffer // the answer is indented
	if json.Compact(&line, v.Value) != nil {
		return "?"
	}
	text := line.String()
	if x, err := v.Decode(); err == nil {
		switch x := x.(type) {
		case string:
			text = strconv.Quote(x)
		case []byte:
			text = fmt.Sprintf("%d bytes: %s", len(x), text)
		case int64:
			text = strconv.FormatInt(x, 10)
		}
	}
	if runes := []rune(text); len(runes) > maxValueText {
		text = string(slices.Concat(runes[:maxValueText], []rune("...")))
	}
	return text
}

func inhibitCommand(use, short string, on bool) *cobra.Command {
	return deviceWriteVerb(&cobra.Command{Use: use + " DEVICE", Short: short, Args: exactly("DEVICE")},
		func(s *session, k admin.DeviceKey, _ []string) error {
			c, err := s.client.SetCredentials(s.ctx, k, admin.SetCredentials{Inhibited: on})
			if err != nil {
				return err
			}
			return s.show(c, func(t *table) {
				t.row(k.String() + " " + inhibitedText(k.Dialect, c.Inhibited))
			})
		})
}

// inhibitedText says what it means for a device: credentials of plain MQTT devices are the hub's own, those of others are
// what their platform has them fetch.
func inhibitedText(dialect string, inhibited bool) string {
	switch {
	case dialect == dialectMQTT && inhibited:
		return "is kept out"
	case dialect == dialectMQTT:
		return "may connect again"
	case inhibited:
		return "gets no further certificates"
	}
	return "may get certificates"
}
