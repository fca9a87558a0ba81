package main

import (
	"cmp"
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

// named reads dialect/tenant/id, tenant/id or an id: what it leaves open, flags may say.
func (s *session) named(arg string, of scope) (scope, string, error) {
	said, id, n := scope{}, arg, strings.Count(arg, "/")
	switch p := strings.SplitN(arg, "/", 3); len(p) {
	case 2:
		said.tenant, id = p[0], p[1]
	case 3:
		said.dialect, said.tenant, id = p[0], p[1], p[2]
	}
	switch {
	case id == "", n > 0 && said.tenant == "", n > 1 && said.dialect == "":
		return of, id, usageError{fmt.Errorf("device %q: want dialect/tenant/id, tenant/id or an id", arg)}
	case s.changed("dialect") && said.dialect != "" && of.dialect != said.dialect:
		return of, id, usageError{fmt.Errorf("device %q: --dialect is %q", arg, of.dialect)}
	case s.changed("tenant") && said.tenant != "" && of.tenant != said.tenant:
		return of, id, usageError{fmt.Errorf("device %q: --tenant is %q", arg, of.tenant)}
	}
	return scope{dialect: cmp.Or(said.dialect, of.dialect), tenant: cmp.Or(said.tenant, of.tenant)}, id, nil
}

// key returns the device of an id whose dialect and tenant are known.
func (of scope) key(id string) (admin.DeviceKey, error) {
	k := admin.DeviceKey{Dialect: of.dialect, Tenant: of.tenant, ID: id}
	if _, err := admin.ParseDeviceKey(k.String()); err != nil {
		return k, usageError{err}
	}
	return k, nil
}

const defaultTenant = "that of the token, the hub's default tenant, or the only one there is"

// tenant returns the tenant that is meant where a flag says none: [defaultTenant].
func (s *session) tenant(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	self, err := s.client.Self(s.ctx)
	if err != nil || self.Tenant != "" {
		return self.Tenant, err
	}
	st, err := s.client.Status(s.ctx)
	if err != nil || st.DefaultTenant != "" {
		return st.DefaultTenant, err
	}
	page, err := s.client.Tenants(s.ctx, 2, "")
	switch {
	case err != nil:
		return "", err
	case len(page.Items) == 0:
		return "", errors.New("there is no tenant; `fairlead tenant add NAME` makes one")
	case len(page.Items) == 1:
		return page.Items[0].ID, nil
	}
	return "", usageError{fmt.Errorf("there are several tenants, such as %s and %s: say which one with --tenant", page.Items[0].ID, page.Items[1].ID)}
}

const (
	deviceArg  = "DEVICE is dialect/tenant/id, or tenant/id, or the id alone or its beginning where only one device has it; --dialect and --tenant say among which."
	deviceFull = "DEVICE is dialect/tenant/id, or tenant/id, or the whole id where only one device has it; --dialect and --tenant say among which."
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

// device finds the device that an argument means: dialect/tenant/id, tenant/id, an id, or the beginning of one, that only one
// device has of those that the flags leave.
func (s *session) device(arg string, of scope) (admin.DeviceKey, error) {
	return s.findDevice(arg, of, false)
}

// wholeDevice is device without the beginnings of ids.
func (s *session) wholeDevice(arg string, of scope) (admin.DeviceKey, error) {
	return s.findDevice(arg, of, true)
}

func (s *session) findDevice(arg string, of scope, whole bool) (admin.DeviceKey, error) {
	of, id, err := s.named(arg, of)
	if err != nil {
		return admin.DeviceKey{}, err
	}
	if strings.Count(arg, "/") > 1 {
		return of.key(id)
	}
	// An id as it is goes before all that begin with it.
	list, err := s.devices(admin.DeviceQuery{Dialect: of.dialect, Tenant: of.tenant, ID: id})
	if err != nil {
		return admin.DeviceKey{}, err
	}
	begin := len(list) == 0
	if begin {
		if list, err = s.devices(admin.DeviceQuery{Dialect: of.dialect, Tenant: of.tenant, Prefix: id}); err != nil {
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
