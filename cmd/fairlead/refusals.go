package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func refusalsCommand() *cobra.Command {
	var q admin.RefusalQuery
	var since timeFlag
	var limit int
	cmd := adminCommand(&cobra.Command{
		Use: "refusals", Short: "List the clients that were refused, and why, the last one first", Args: noArgs,
		Long: `Lists clients that were refused, and messages, subscriptions and requests of devices that were not allowed. The hub keeps
the newest ones in memory until it ends.`,
		Example: "  fairlead refusals --since 10m\n  fairlead refusals --stage tls --json",
	}, func(s *session, _ []string) error {
		q.Since = since.Time
		list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Refusal], error) {
			q.Limit, q.Cursor = limit, cursor
			return s.client.Refusals(s.ctx, q)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("LAST", "COUNT", "ADDRESS", "STAGE", "WHO", "WHY")
			for _, r := range list {
				t.row(when(r.Last), fmt.Sprint(r.Count), or(r.Address), r.Stage, marked(r), r.Text)
			}
			t.more(more, limit)
			if m := markMeans(list); m != "" {
				t.row(m)
			}
		})
	})
	fl := cmd.Flags()
	fl.StringVar(&q.Tenant, "tenant", "", "only of this `tenant`")
	fl.StringVar(&q.Name, "name", "", "only where this is a `part` of device id, client id, user name or certificate's subject")
	fl.StringVar(&q.Address, "address", "", "only from this `IP` address")
	fl.StringVar(&q.Stage, "stage", "", "only at this `stage`: accept, tls, connect, sign-in, session, publish, subscribe, http")
	fl.Var(&since, "since", "only those of this time and later: 2006-01-02T15:04:05Z, or how long ago: 90m")
	limitFlag(cmd, &limit, 50)
	return cmd
}

// who says as well as it is known who was refused, "-" if it is not. The client id comes last: anybody uses any.
func who(r admin.Refusal) string {
	switch {
	case r.Device != "":
		return r.Dialect + "/" + r.Tenant + "/" + r.Device
	case r.Username != "":
		return "user " + r.Username
	case r.Certificate != nil:
		return r.Certificate.Subject
	case r.ClientID != "":
		return "client " + r.ClientID
	}
	return "-"
}

// marked is who with a question mark behind what nobody has proven.
func marked(r admin.Refusal) string {
	name := who(r)
	if !r.Proven && name != "-" {
		name += " ?"
	}
	return name
}

// markMeans explains the question marks, if there are any.
func markMeans(list []admin.Refusal) string {
	for _, r := range list {
		if marked(r) != who(r) {
			return `"?": the client says that it is this one, and has not proven it`
		}
	}
	return ""
}

// whySilent is how many refusals `device why` shows of clients that have not said who they are.
const whySilent = 5

func deviceWhyCommand() *cobra.Command {
	var of scope
	cmd := adminCommand(&cobra.Command{
		Use: "why NAME", Short: "Say why a device cannot connect", Args: exactly("NAME"),
		Long: `Says what the hub knows of a device that cannot connect: whether it is there, and the last times that it was refused, with
the exact reason and what to do. NAME is a part of what the device calls itself: its id, client id, user name, or the
subject of its certificate, or tenant/id, or dialect/tenant/id. The device need not be known to the hub.`,
		Example: "  fairlead device why 2TBn-jNESuuHamE2Zo1anA",
	}, func(s *session, args []string) error {
		out := why{Devices: []admin.Device{}, Refusals: []admin.Refusal{}, Silent: []admin.Refusal{}}
		name := args[0]
		devices := admin.DeviceQuery{Tenant: of.tenant, Dialect: of.dialect, Prefix: name, Limit: 10}
		if strings.Contains(name, "/") {
			named, id, err := s.named(name, of)
			if err != nil {
				return err
			}
			devices = admin.DeviceQuery{Tenant: named.tenant, Dialect: named.dialect, Prefix: id, Limit: 10}
		}
		found, err := s.client.Devices(s.ctx, devices)
		switch {
		case err == nil:
			name = devices.Prefix
		case !admin.IsNotFound(err) || s.changed("tenant") || !strings.Contains(name, "/"):
			return err
		} // else it is no device's name, but a client id with a slash in it
		out.Devices = append(out.Devices, found.Items...)
		named, err := s.client.Refusals(s.ctx, admin.RefusalQuery{Name: name, Limit: 10})
		if err != nil {
			return err
		}
		out.Refusals = append(out.Refusals, named.Items...)
		if len(named.Items) == 0 {
			// It may have been refused before it could say who it is.
			all, err := s.client.Refusals(s.ctx, admin.RefusalQuery{Limit: 200})
			if err != nil {
				return err
			}
			for _, r := range all.Items {
				if who(r) == "-" && len(out.Silent) < whySilent {
					out.Silent = append(out.Silent, r)
				}
			}
		}
		return s.show(out, func(t *table) { out.print(t, args[0]) })
	})
	of.addTo(cmd)
	return cmd
}

// why is what `fairlead device why --json` prints.
type why struct {
	Devices  []admin.Device  `json:"devices"`  // whose ids begin so
	Refusals []admin.Refusal `json:"refusals"` // of clients that called themselves so
	Silent   []admin.Refusal `json:"silent"`   // where there are none: of clients that did not say who they are
}

func (y why) print(t *table, name string) {
	switch len(y.Devices) {
	case 0:
		t.row(fmt.Sprintf("The hub knows no device whose id begins with %q.", name))
	default:
		for _, d := range y.Devices {
			state := "is not connected, and never was"
			switch {
			case d.Connected:
				state = "is connected, since " + when(d.LastConnected)
			case !d.LastConnected.IsZero():
				state = "is not connected; it was until " + when(d.LastDisconnected) + ", from " + or(d.LastAddress)
			}
			t.row(d.String() + " " + state + ".")
		}
	}
	list := y.Refusals
	switch {
	case len(list) > 0:
		t.row("Refused, the last one first:")
	case len(y.Silent) > 0:
		t.row("Nobody of that name was refused since the hub started. These were refused before they had said who they are:")
		list = y.Silent
	default:
		t.row("Nobody of that name was refused since the hub started, and nobody without a name: has the device reached this hub?")
		t.row("Compare the address and port that it connects to with `fairlead status`, and look for a firewall between them.")
	}
	for _, r := range list {
		t.row("")
		times := "once"
		if r.Count > 1 {
			times = fmt.Sprintf("%d times since %s", r.Count, when(r.First))
		}
		t.row(when(r.Last) + "  from " + or(r.Address) + ", " + times)
		switch name := who(r); {
		case r.Proven, name == "-":
			t.row("  " + name)
		default:
			t.row("  " + name + ", so it says: it has not proven it")
		}
		told := ""
		if r.Code != "" {
			told = ", and was told " + r.Code
		}
		t.row("  at " + r.Stage + told + ": " + r.Text)
		if r.Help != "" {
			t.row("  -> " + r.Help)
		}
	}
}
