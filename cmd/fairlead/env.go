package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub"
)

func envCommand() *cobra.Command {
	var dataDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "env [platform]",
		Short: "Print the environment variables that point a platform's official SDK at the hub",
		Long: `Prints shell exports for the hub that runs in the data folder: what every client needs, and with a platform the
credentials and addresses that its official SDK takes. Values are quoted, files are absolute paths.

A shell that has them trusts this hub's certificates instead of those of public sites.`,
		Example: "  eval \"$(fairlead env astarte)\"\n  fairlead env astarte --json",
		Args:    atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			platform := ""
			if len(args) == 1 {
				platform = args[0]
			}
			state, err := hub.ReadState(dataDir)
			if err != nil {
				return fmt.Errorf("env: %w", err)
			}
			if err := state.Answers(cmd.Context()); err != nil {
				return fmt.Errorf("env: %w", err)
			}
			env, err := state.Env(dataDir, platform)
			if err != nil {
				return fmt.Errorf("env: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), env)
			}
			return printExports(cmd.OutOrStdout(), env)
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// printExports prints variables for a POSIX shell, sorted by name.
func printExports(w io.Writer, env map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(env[name]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// quote writes a value so that no shell finds anything in it to expand.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// printLine prints JSON as one line.
func printLine(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

func printJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
