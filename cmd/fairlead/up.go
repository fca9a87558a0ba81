package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/demo"
	"github.com/fairlead-iot/fairlead/hub"
)

// upFlags are the flags of `fairlead up`.
type upFlags struct {
	dataDir         string
	listen          netip.Addr
	mqttPort, https port
	plainPort       port
	plainListen     netip.Addr
	anonymous       bool
	names           []string
	awsLimits       bool
	morePorts       []int
	demo            bool
	stopGrace       time.Duration
	logLevel        slog.Level
}

func upCommand() *cobra.Command {
	f := upFlags{
		listen:      netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		mqttPort:    hub.DefaultMQTTPort,
		plainListen: netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		stopGrace:   hub.DefaultStopGrace,
	}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a hub for development, in the foreground",
		Long: `Starts a hub in a folder of its own. The first start makes a certificate authority, a tenant called dev, and
credentials for each platform; later starts find them there. It prints how to point an official SDK at it. With --demo there
are devices to look at: a house of them, on this project's own SDK, which come and go with the hub.

Sockets that a service manager has opened (LISTEN_FDS, named mqtt, https and mqtt-plain) are used in place of --listen and the ports.
The first interrupt or SIGTERM stops the hub in order, the second one at once; nothing acknowledged is lost either way.`,
		Example: "  fairlead up\n  fairlead up --demo\n  fairlead up --listen 0.0.0.0 --name hub.example.org",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("mqtt-plain-listen") {
				f.plainListen = netip.Addr{} // the hub's default, which needs no port to be of use
			}
			return up(cmd, f)
		},
	}
	fl := cmd.Flags()
	dataDirFlag(cmd, &f.dataDir)
	fl.TextVar(&f.listen, "listen", f.listen, "IP `address` to listen on; 0.0.0.0 or :: is all")
	fl.Var(&f.https, "https-port", `port for the REST APIs, or "any" (default 443 where it can be had, else 8443)`)
	fl.IntSliceVar(&f.morePorts, "https-more-ports", nil, "further `ports` for the same, with commas between them: for devices that have one fixed")
	fl.Var(&f.mqttPort, "mqtt-port", `port for MQTT over TLS, or "any"`)
	fl.Var(&f.plainPort, "mqtt-plain-port", `port for MQTT without TLS, or "any": for plain MQTT devices only (default none)`)
	fl.TextVar(&f.plainListen, "mqtt-plain-listen", f.plainListen, "IP `address` for --mqtt-plain-port, whatever --listen is")
	fl.BoolVar(&f.anonymous, "mqtt-anonymous", false, "let clients of --mqtt-plain-port in without a user name; on a loopback address only")
	fl.StringArrayVar(&f.names, "name", nil, "further host `name` or IP address for the server certificate, may be repeated; "+
		"the first one is what clients are told")
	fl.BoolVar(&f.awsLimits, "aws-service-limits", false, "bound what AWS IoT's devices do in a second as the service does, see docs/limits.md")
	fl.BoolVar(&f.demo, "demo", false, "run simulated devices of each platform too, until the hub ends")
	fl.DurationVar(&f.stopGrace, "stop-grace", f.stopGrace, "how long to go on answering HTTP after MQTT is closed, at a stop")
	fl.TextVar(&f.logLevel, "log-level", f.logLevel, "`level` of the log on stderr: debug, info, warn or error")
	return cmd
}

// up runs a hub until a signal comes.
func up(cmd *cobra.Command, f upFlags) error {
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: f.logLevel}))
	sockets, err := hub.InheritedListeners()
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	grace := f.stopGrace
	if grace == 0 {
		grace = -1 // zero asks the library for its default
	}
	err = runHub(cmd.Context(), hub.Config{
		DataDir:     f.dataDir,
		Listen:      f.listen,
		MQTTPort:    int(f.mqttPort),
		HTTPSPort:   int(f.https),
		Listeners:   sockets,
		Names:       f.names,
		Development: true,
		StopGrace:   grace,
		Logger:      log,

		MQTTPlainPort:   int(f.plainPort),
		MQTTPlainListen: f.plainListen,
		MQTTAnonymous:   f.anonymous,

		AWSServiceLimits: f.awsLimits,
		HTTPSMorePorts:   f.morePorts,
	}, func(ctx context.Context, h *hub.Hub) {
		g := newGuide(h.State(), f)
		if err := g.print(cmd.OutOrStdout()); err != nil {
			log.Warn("cannot print the guide", "err", err)
		}
		if !f.demo {
			return
		}
		err := demo.Run(ctx, demo.Config{State: h.State(), Logger: log}, func(devices []demo.Device) {
			if err := g.printDemo(cmd.OutOrStdout(), devices); err != nil {
				log.Warn("cannot print the guide", "err", err)
			}
		})
		if err != nil && ctx.Err() == nil {
			log.Error("there is no demo", "err", err)
		}
	})
	if err != nil {
		return fmt.Errorf("up: %w", err)
	}
	return nil
}

// stopOnSignal cancels at the first signal and ends the process at the second one, until done is closed. It does not leave
// the second one to the system's default, because a shell may have told the process to ignore it.
func stopOnSignal(cancel context.CancelFunc, done <-chan struct{}, log *slog.Logger) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	for n := 1; ; n++ {
		select {
		case <-done:
			return
		case s := <-signals:
			if n > 1 {
				log.Warn("stopped at once", "signal", s)
				os.Exit(1)
			}
			log.Info("stopping; a second signal stops at once", "signal", s)
			cancel()
		}
	}
}

// port is a flag: a number or "any". Zero is the default of the hub.
type port int

func (p *port) String() string {
	switch *p {
	case 0:
		return ""
	case hub.AnyPort:
		return "any"
	}
	return strconv.Itoa(int(*p))
}

func (p *port) Set(s string) error {
	if s == "any" {
		*p = hub.AnyPort
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return errors.New(`want 1 to 65535, or "any"`)
	}
	*p = port(n)
	return nil
}

func (p *port) Type() string { return "port" }
