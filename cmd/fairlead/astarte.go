package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/cmd/fairlead/internal/realm"
	"github.com/fairlead-iot/fairlead/hub"
)

// astarteCommand holds what the operator of a realm does while devices are developed. It uses the development credentials, so it works on a hub of `fairlead up`.
func astarteCommand() *cobra.Command {
	cmd := group("astarte", "Run the Astarte realm of a hub for development: interfaces, devices, commands")
	cmd.AddCommand(astarteInstallCommand(), astarteRegisterCommand(), astarteSendCommand())
	return cmd
}

// realmCommand completes a verb that works on the development realm.
func realmCommand(cmd *cobra.Command, run func(*cobra.Command, *realm.Realm, []string) error) *cobra.Command {
	var dataDir string
	dataDirFlag(cmd, &dataDir)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, r, err := openRealm(dataDir)
		if err == nil {
			defer client.CloseIdleConnections()
			err = run(cmd, r, args)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", verb(cmd), err)
		}
		return nil
	}
	return cmd
}

func openRealm(dataDir string) (*http.Client, *realm.Realm, error) {
	state, err := hub.ReadState(dataDir)
	if err != nil {
		return nil, nil, err
	}
	env, err := state.Env(dataDir, "astarte")
	if err != nil {
		return nil, nil, err
	}
	client, err := state.Client(dataDir)
	if err != nil {
		return nil, nil, err
	}
	r, err := realm.Open(env, client.HTTP)
	return client.HTTP, r, err
}

func astarteInstallCommand() *cobra.Command {
	return realmCommand(&cobra.Command{
		Use: "install FILE...", Short: "Install interfaces by their definitions in JSON",
		Long: `Installs interfaces in the realm, which has to know those that devices declare. One that is there already stays, or is
replaced by a newer minor version.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly("FILE")(cmd, args)
			}
			return nil
		},
	}, func(cmd *cobra.Command, r *realm.Realm, files []string) error {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			i, err := r.Install(cmd.Context(), text)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "installed %s %d.%d in realm %s\n", printable(i.Name()), i.Major(), i.Minor(), r.Name)
		}
		return nil
	})
}

func astarteRegisterCommand() *cobra.Command {
	var asJSON bool
	cmd := realmCommand(&cobra.Command{
		Use: "register [DEVICE-ID]", Short: "Register a device and print its id and credentials secret",
		Long: `Registers a device in the realm, with a random id if none is given, and prints shell exports: ASTARTE_DEVICE_ID and
ASTARTE_CREDENTIALS_SECRET. A device that is registered already gets another secret, and its old one and its certificates
open nothing any more.`,
		Example: "  eval \"$(fairlead astarte register)\"",
		Args:    atMost(1),
	}, func(cmd *cobra.Command, r *realm.Realm, args []string) error {
		id := astarte.RandomDeviceID()
		if len(args) == 1 {
			id = args[0]
		}
		if !astarte.ValidDeviceID(id) {
			return usageError{fmt.Errorf("device id %q: want 22 characters of URL-safe base64, for 128 bits", id)}
		}
		secret, err := r.Register(cmd.Context(), id)
		if err != nil {
			return err
		}
		vars := map[string]string{"ASTARTE_DEVICE_ID": id, "ASTARTE_CREDENTIALS_SECRET": secret.Reveal()}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), vars)
		}
		return printExports(cmd.OutOrStdout(), vars)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func astarteSendCommand() *cobra.Command {
	return realmCommand(&cobra.Command{
		Use: "send DEVICE-ID INTERFACE PATH VALUE", Short: "Set a property of a device, or send it a value",
		Long: `Sets a property of a device, or sends it a value or an object, on an interface that the server owns. VALUE is JSON; what is
no JSON is taken for a string.`,
		Example: "  fairlead astarte send 2TBn-jNESuuHamE2Zo1anA org.example.Heating /target 21.5",
		Args:    exactly("DEVICE-ID", "INTERFACE", "PATH", "VALUE"),
	}, func(cmd *cobra.Command, r *realm.Realm, args []string) error {
		if !strings.HasPrefix(args[2], "/") {
			return usageError{errors.New("the path begins with a slash")}
		}
		value := json.RawMessage(args[3])
		if !json.Valid(value) {
			text, err := json.Marshal(args[3])
			if err != nil {
				return err
			}
			value = text
		}
		return r.Send(cmd.Context(), args[0], args[1], args[2], value)
	})
}
