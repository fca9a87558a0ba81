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

const (
	deviceArg  = "DEVICE is dialect/tenant/id, or the id alone or its beginning where only one device has it; --dialect and --tenant say among which."
	deviceFull = "DEVICE is dialect/tenant/id, or the whole id where only one device has it; --dialect and --tenant say among which."
)

// candidates is how many an error names that may have been meant.
const candidates = 5

// deviceVerb completes a verb that reads, and whose first argument is a device; run gets the others.
func deviceVerb(cmd *cobra.Command, run func(*session, admin.DeviceKey, []string) error) *cobra.Command {
	return verbOfDevice(cmd, deviceArg, (*session).device, run)
}

// deviceWriteVerb is deviceVerb for a verb that changes something: the beginning of an id is not enough, since it would
// mean another device when the one that was meant is not there.
func deviceWriteVerb(cmd *cobra.Command, run func(*session, admin.DeviceKey, []string) error) *cobra.Command {
	return verbOfDevice(cmd, deviceFull, (*session).wholeDevice, run)
}

func verbOfDevice(cmd *cobra.Command, doc string, find func(*session, string, scope) (admin.DeviceKey, error),
	run func(*session, admin.DeviceKey, []string) error,
) *cobra.Command {
	var of scope
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long += "\n\n" + doc
	adminCommand(cmd, func(s *session, args []string) error {
		k, err := find(s, args[0], of)
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
	return s.findDevice(arg, of, false)
}

// wholeDevice is device without the beginnings of ids.
func (s *session) wholeDevice(arg string, of scope) (admin.DeviceKey, error) {
	return s.findDevice(arg, of, true)
}

func (s *session) findDevice(arg string, of scope, whole bool) (admin.DeviceKey, error) {
	if strings.Contains(arg, "/") {
		return s.key(arg, of)
	}
	if arg == "" {
		return admin.DeviceKey{}, usageError{errors.New(`device "": want dialect/tenant/id, or an id`)}
	}
	// An id as it is goes before all that begin with it.
	list, err := s.devices(admin.DeviceQuery{Dialect: of.dialect, Tenant: of.tenant, ID: arg})
	if err != nil {
		return admin.DeviceKey{}, err
	}
	begin := len(list) == 0
	if begin {
		if list, err = s.devices(admin.DeviceQuery{Dialect: of.dialect, Tenant: of.tenant, Prefix: arg}); err != nil {
			return admin.DeviceKey{}, err
		}
	}
	switch {
	case len(list) == 1 && !(begin && whole):
		return list[0], nil
	case len(list) == 0 && whole:
		return admin.DeviceKey{}, fmt.Errorf("device %q: there is none of that id", arg)
	case len(list) == 0:
		return admin.DeviceKey{}, fmt.Errorf("device %q: there is none whose id begins so", arg)
	case begin && whole:
		return admin.DeviceKey{}, fmt.Errorf("device %q: there is none of that id; what begins so: %s", arg, names(list))
	}
	return admin.DeviceKey{}, fmt.Errorf("device %q: several are meant: %s; say which as dialect/tenant/id", arg, names(list))
}

// devices returns the first devices that a query selects: one more than an error names.
func (s *session) devices(q admin.DeviceQuery) ([]admin.DeviceKey, error) {
	q.Limit = candidates + 1
	page, err := s.client.Devices(s.ctx, q)
	var list []admin.DeviceKey
	for _, d := range page.Items {
		list = append(list, d.DeviceKey)
	}
	return list, err
}

// names lists what may have been meant.
func names[T fmt.Stringer](list []T) string {
	var b strings.Builder
	for i, k := range list {
		if i == candidates {
			b.WriteString(", ...")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(printable(k.String()))
	}
	return b.String()
}
