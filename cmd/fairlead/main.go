// Fairlead is a hub for devices: the server side of several vendors' device platforms in one program. The vendors'
// unmodified official SDKs work against it.
//
//	fairlead up             start a hub for development in this folder
//	fairlead status         say how it is
//	fairlead env astarte    print how to point the official Astarte SDK at it
//	fairlead device list    see its devices
//	fairlead data DEVICE    see what one has sent
//	fairlead serve          run a hub in production
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// run runs one command line and returns the exit status: 1 for what could not be done, 2 for what could not be
// understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "fairlead: %v\n", err)
	if text := hint(err); text != "" {
		fmt.Fprintf(stderr, "%s\n", text)
	}
	var usage usageError
	var config configError
	if errors.As(err, &usage) || errors.As(err, &config) {
		return 2
	}
	return 1
}

// usageError is an error in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "A hub that devices' official SDKs talk to, whichever platform they were written for",
		Long: `Fairlead is the server side of several device platforms in one program: devices on the vendors' unmodified
official SDKs connect to it, and nothing that it has acknowledged is ever lost.`,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s: %w; see %s --help", verb(cmd), err, cmd.CommandPath())}
	})
	root.AddCommand(upCommand(), statusCommand(), envCommand(), versionCommand(),
		deviceCommand(), dataCommand(), certCommand(), authorityCommand(), mqttCommand(), awsCommand(), tokenCommand(), refusalsCommand(),
		serveCommand(), initCommand(), configCommand(), backupCommand(), restoreCommand(),
		connectionCommand(), sessionCommand(), tenantCommand(), eventsCommand(), astarteCommand())
	return root
}

// verb names a command in an error, without the program's name that is there already.
func verb(cmd *cobra.Command) string {
	if v := strings.TrimPrefix(cmd.CommandPath(), "fairlead "); v != "fairlead" {
		return v
	}
	return "command line"
}

func noArgs(cmd *cobra.Command, args []string) error { return atMost(0)(cmd, args) }

// atMost bounds the arguments of a command.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		what := "argument"
		if !cmd.HasParent() {
			what = "command"
		}
		return usageError{fmt.Errorf("%s: unknown %s %q; see %s --help", verb(cmd), what, args[n], cmd.CommandPath())}
	}
}

// dataDirFlag adds the flag that says which hub is meant.
func dataDirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "data-dir", defaultDataDir, "`folder` that holds everything the hub keeps")
}

const defaultDataDir = "fairlead-data"

// hint says what to do about an error, as far as we can know.
func hint(err error) string {
	var port *hub.PortError
	var inUse *hub.InUseError
	var refused *admin.Error
	var unprepared *hub.NotPreparedError
	var half *hub.RestoreError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusBadRequest && strings.HasPrefix(refused.Help, "Correct the request"):
		return "" // who types a command sends no requests
	case errors.As(err, &refused) && refused.Help != "":
		return "  " + refused.Help
	case errors.As(err, &port):
		return portHint(port)
	case errors.As(err, &inUse):
		return "  One hub at a time can use a data folder. Stop the other one, or choose another folder with --data-dir."
	case errors.As(err, &unprepared):
		return "  `fairlead init` makes one, with a new certificate authority. Devices know the old one: if there was one, find it first."
	case errors.As(err, &half):
		return "  Remove the folder and restore the backup again."
	case errors.Is(err, hub.ErrStorage):
		return "  Is there room on the disk of the data folder (df -h), and may it be written to? Nothing that was acknowledged is lost."
	case errors.Is(err, hub.ErrNotRunning):
		return "  Start one with `fairlead up`; if its data is elsewhere, say where with --data-dir."
	}
	return ""
}

func portHint(e *hub.PortError) string {
	flag, who := "--mqtt-port", "Another MQTT broker such as mosquitto may be using it"
	if e.Use == "HTTPS" {
		flag, who = "--https-port", "A web server may be using it"
	}
	_, port, _ := net.SplitHostPort(e.Address)
	switch {
	case e.InUse():
		return fmt.Sprintf("  %s, or another hub; `ss -ltnp 'sport = :%s'` tells.\n"+
			"  Stop that program, or choose another port with %s N (%s any takes a free one).", who, port, flag, flag)
	case e.Forbidden():
		return fmt.Sprintf("  Ports below 1024 are for privileged users. Choose another one with %s N, or allow this one with\n"+
			"  `sudo sysctl net.ipv4.ip_unprivileged_port_start=%s`.", flag, port)
	}
	return "  Is the address of --listen one of this machine?"
}
