package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

// A scope is the two flags that say of which device an id is. Whatever takes a device takes dialect/tenant/id too.
type scope struct{ dialect, tenant string }

// addTo adds the flags; what is set already are their defaults.
func (of *scope) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&of.dialect, "dialect", of.dialect, "the `dialect` that the device speaks: mqtt, astarte, ...")
	cmd.Flags().StringVar(&of.tenant, "tenant", of.tenant, "the `tenant` that the device belongs to")
}

// key returns the device that is named in full, with or without the help of flags.
func (s *session) key(arg string, of scope) (admin.DeviceKey, error) {
	if !strings.Contains(arg, "/") {
		if arg == "" || of.dialect == "" || of.tenant == "" {
			return admin.DeviceKey{}, usageError{fmt.Errorf("device %q: want dialect/tenant/id, or the id with --dialect and --tenant", arg)}
		}
		return admin.DeviceKey{Dialect: of.dialect, Tenant: of.tenant, ID: arg}, nil
	}
	k, err := admin.ParseDeviceKey(arg)
	switch {
	case err != nil:
		return k, usageError{err}
	case s.changed("dialect") && of.dialect != k.Dialect:
		return k, usageError{fmt.Errorf("device %q: --dialect is %q", arg, of.dialect)}
	case s.changed("tenant") && of.tenant != k.Tenant:
		return k, usageError{fmt.Errorf("device %q: --tenant is %q", arg, of.tenant)}
	}
	return k, nil
}

const deviceArg = "DEVICE is dialect/tenant/id, or the id alone or its beginning where only one device has it; --dialect and --tenant say among which."

// deviceVerb completes a verb whose first argument is a device; run gets the others.
func deviceVerb(cmd *cobra.Command, run func(*session, admin.DeviceKey, []string) error) *cobra.Command {
	var of scope
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long += "\n\n" + deviceArg
	adminCommand(cmd, func(s *session, args []string) error {
		k, err := s.device(args[0], of)
		if err != nil {
			return err
		}
		return run(s, k, args[1:])
	})
	of.addTo(cmd)
	return cmd
}

// device finds the device that an argument means: dialect/tenant/id, or an id, or the beginning of one, that only one
// device has of those that the flags leave.
func (s *session) device(arg string, of scope) (admin.DeviceKey, error) {
	if strings.Contains(arg, "/") {
		return s.key(arg, of)
	}
	if arg == "" {
		return admin.DeviceKey{}, errors.New(`device "": want dialect/tenant/id, or an id`)
	}
	list, more, err := collect(1000, func(limit int, cursor string) (admin.Page[admin.Device], error) {
		return s.client.Devices(s.ctx, admin.DeviceQuery{Dialect: of.dialect, Tenant: of.tenant, Prefix: arg, Limit: limit, Cursor: cursor})
	})
	if err != nil {
		return admin.DeviceKey{}, err
	}
	var exact []admin.DeviceKey
	for _, d := range list {
		if d.ID == arg {
			exact = append(exact, d.DeviceKey)
		}
	}
	switch {
	case len(exact) == 1 && !more:
		return exact[0], nil
	case len(list) == 1:
		return list[0].DeviceKey, nil
	case len(list) == 0:
		return admin.DeviceKey{}, fmt.Errorf("device %q: there is none whose id begins so", arg)
	}
	return admin.DeviceKey{}, fmt.Errorf("device %q: several are meant, such as %s and %s; say which as dialect/tenant/id",
		arg, list[0].DeviceKey, list[1].DeviceKey)
}
