package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/config"
	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/heap"
	"github.com/fairlead-iot/fairlead/hub"
)

// settings are the flags of the verbs that take a configuration: its file, and a flag for each setting.
type settings struct {
	file string
}

func (s *settings) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&s.file, "config", "", "configuration `file` (TOML); docs/configuration.md says what may be in it")
	for _, f := range config.Fields() {
		fl.String(f.Flag(), "", fmt.Sprintf("sets %s; also %s", f.Key, f.Env()))
	}
}

// load reads the settings. Whoever runs several hubs beside each other says which one is meant, so there is no default file.
func (s *settings) load(cmd *cobra.Command) (*config.Config, error) {
	given := map[string]string{}
	for _, f := range config.Fields() {
		cmd.Flags().Visit(func(fl *pflag.Flag) {
			if fl.Name == f.Flag() {
				given[f.Key] = fl.Value.String()
			}
		})
	}
	cfg, err := config.Load(config.Sources{File: s.file, Env: os.Environ(), Flags: given})
	if err != nil {
		return nil, configError{err}
	}
	return cfg, nil
}

// configError is an error in the configuration, which may have several lines.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }
func (e configError) Error() string {
	var list config.Error
	if !errors.As(e.error, &list) {
		return e.error.Error() // the file cannot be read, which is one line
	}
	return "the configuration is not usable:\n" + list.Error()
}

func serveCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a hub in production, as a configuration file says",
		Long: `Runs a hub with exactly what is configured. Nothing is made silently: the data folder has to be there and complete
(fairlead init makes one), there is no development tenant, and tenants are made with the admin API.

Each setting can be in the file, in the environment, and on the command line; the latter ones win. What is not understood
stops the start: fairlead config check FILE tells beforehand.

Sockets that a service manager has opened (LISTEN_FDS, named mqtt, https and mqtt-plain) are used in place of listen and the ports.
The first interrupt or SIGTERM stops the hub in order, the second one at once; nothing acknowledged is lost either way.`,
		Example: "  fairlead init --config /etc/fairlead/fairlead.toml\n  fairlead serve --config /etc/fairlead/fairlead.toml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(cmd)
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			sockets, err := hub.InheritedListeners()
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			hc := cfg.Settings.Config
			hc.Prepared, hc.Listeners, hc.Logger = true, sockets, newLogger(cmd.ErrOrStderr(), cfg.Log)
			if err := runHub(cmd.Context(), hc, nil); err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		},
	}
	s.add(cmd)
	return cmd
}

// heapFloor is how much is allocated before garbage is collected, see package heap.
const heapFloor = 16 << 20

// runHub runs a hub until a signal comes. ready, which may be nil, is called when it serves.
func runHub(ctx context.Context, cfg hub.Config, ready func(context.Context, *hub.Hub)) error {
	h, err := hub.New(cfg)
	if err != nil {
		return err
	}
	defer heap.Floor(heapFloor)()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// What is started here has ended when this function returns.
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	defer close(done)
	wg.Go(func() { stopOnSignal(cancel, done, cfg.Logger) })
	wg.Go(func() {
		select {
		case <-h.Ready():
			if ready != nil {
				ready(ctx, h)
			}
		case <-done:
		}
	})
	err = h.Run(ctx)
	cancel() // ready may still be at work, also when it was not ctx that ended the hub
	return err
}

func newLogger(w io.Writer, l config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		options.ReplaceAttr = durationText
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// durationText writes durations as the text format does, "1.5s", where log/slog has nanoseconds without saying so.
func durationText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func initCommand() *cobra.Command {
	var s settings
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the data folder for fairlead serve: certificate authority, database, admin token",
		Long: `Makes the data folder that the configuration names, or completes it, and says what is in it. What is there stays as
it is, so running it again does no harm.

The first token of the admin API is in a file of the folder; whoever can read that owns the hub. Make others with it:
fairlead token create.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(cmd)
			if err != nil {
				return fmt.Errorf("init: %w", err)
			}
			hc := cfg.Settings.Config
			hc.Logger = newLogger(cmd.ErrOrStderr(), config.Log{Level: slog.LevelWarn, Format: cfg.Log.Format})
			made, err := hub.Init(cmd.Context(), hc)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]any{
					"data_dir": made.DataDir, "root": made.Root, "admin_token": made.AdminToken, "new": made.New,
				})
			}
			what := "Prepared"
			if !made.New {
				what = "Was prepared already:"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n  %s: the certificate that devices must trust\n"+
				"  %s: the admin token; it may do everything\n", what, made.DataDir, made.Root, made.AdminToken)
			return err
		},
	}
	s.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func configCommand() *cobra.Command {
	cmd := group("config", "Check a configuration, or show what is in effect")
	cmd.AddCommand(configCheckCommand(), configPrintCommand())
	return cmd
}

func configCheckCommand() *cobra.Command {
	var file string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Say everything that is wrong with a configuration file",
		Long: `Reads a configuration file together with the environment, as fairlead serve does, and reports everything that it would
refuse. Files that the configuration names are not looked at, so that it can be checked on another machine.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("config") { // as serve and init have it
				return noArgs(cmd, args)
			}
			return exactly("FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				file = args[0]
			}
			_, err := config.Load(config.Sources{File: file, Env: os.Environ()})
			var wrong config.Error
			if asJSON && (err == nil || errors.As(err, &wrong)) {
				problems := []map[string]string{}
				for _, p := range wrong {
					problems = append(problems, map[string]string{"where": p.Where, "text": p.Text})
				}
				if perr := printJSON(cmd.OutOrStdout(), map[string]any{"file": file, "problems": problems}); perr != nil {
					return perr
				}
			}
			switch {
			case err != nil:
				return fmt.Errorf("config check: %w", configError{err})
			case asJSON:
				return nil
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is fine\n", file)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the `file`, in place of the argument")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func configPrintCommand() *cobra.Command {
	var s settings
	var asJSON bool
	cmd := &cobra.Command{
		Use: "print", Short: "Print the settings in effect, and where each comes from",
		Long: `Prints all settings as a configuration file that says the same, each with where it comes from: a place in the file, a
variable, a flag, or the default. What is not set is a comment with what a hub that started now would take. No setting is
a secret.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load(cmd)
			if err != nil {
				return fmt.Errorf("config print: %w", err)
			}
			if !asJSON {
				return cfg.Print(cmd.OutOrStdout())
			}
			list, err := cfg.List()
			if err != nil {
				return fmt.Errorf("config print: %w", err)
			}
			return printJSON(cmd.OutOrStdout(), list)
		},
	}
	s.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list of settings, each with its key, value and origin")
	return cmd
}
