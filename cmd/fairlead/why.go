package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

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
		out := why{Findings: []finding{}, Devices: []admin.Device{}, Refusals: []admin.Refusal{}, Silent: []admin.Refusal{}}
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
		for _, d := range found.Items {
			if d.ID == name || len(found.Items) <= whyFindings {
				list, err := findings(s, d.DeviceKey)
				if err != nil {
					return err
				}
				out.Findings = append(out.Findings, list...)
			}
		}
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
	Findings []finding       `json:"findings"` // what keeps those devices from connecting, whoever was refused
	Devices  []admin.Device  `json:"devices"`  // whose ids begin so
	Refusals []admin.Refusal `json:"refusals"` // of clients that called themselves so
	Silent   []admin.Refusal `json:"silent"`   // where there are none: of clients that did not say who they are
}

func (y why) print(t *table, name string) {
	for _, f := range y.Findings {
		t.row(f.Device + " " + f.Text + ".")
		t.row("  -> " + f.Help)
	}
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

// whyFindings is how many devices `device why` looks at, of those that are not called exactly what was asked for.
const whyFindings = 3

// A finding is something that keeps a device from connecting.
type finding struct {
	Device string `json:"device"`
	Text   string `json:"text"`
	Help   string `json:"help"`
}

// dialectMQTT is the dialect of devices whose credentials operators decide about.
const dialectMQTT = "mqtt"

// findings looks at the credentials of a device.
func findings(s *session, k admin.DeviceKey) ([]finding, error) {
	d, err := s.client.Device(s.ctx, k)
	if err != nil {
		return nil, err
	}
	certs, err := s.client.Certificates(s.ctx, k, 100, "")
	if err != nil {
		return nil, err
	}
	var tokens admin.Page[admin.DeviceToken]
	if k.Dialect == dialectMQTT {
		if tokens, err = s.client.DeviceTokens(s.ctx, k, 1000, ""); err != nil {
			return nil, err
		}
	}
	return judge(d, certs.Items, tokens.Items, time.Now()), nil
}

// judge says what is wrong with the credentials of a device. certs are the newest first.
func judge(d admin.Device, certs []admin.Certificate, tokens []admin.DeviceToken, now time.Time) []finding {
	var list []finding
	k, own := d.DeviceKey.String(), d.Dialect == dialectMQTT
	add := func(text, help string) { list = append(list, finding{k, text, help}) }
	if d.Credentials != nil && d.Credentials.Inhibited {
		if own {
			add("is kept out: it was inhibited by an operator", "fairlead device allow "+k)
		} else {
			add("gets no further certificates: it was inhibited by an operator", "fairlead device allow "+k)
		}
	}
	another := "Let the device fetch a new one."
	if own {
		another = "fairlead cert issue " + k
	}
	usable := false
	for i, c := range certs {
		switch {
		case c.State == "revoked":
			if i == 0 {
				add("has no newer certificate than "+c.Serial+", which was revoked at "+when(c.Changed), another)
			}
		case !c.NotAfter.After(now):
			if i == 0 {
				add("has no newer certificate than "+c.Serial+", which expired at "+when(c.NotAfter), another)
			}
		default:
			usable = true
		}
	}
	live := false
	for _, t := range tokens {
		live = live || t.Expires.After(now)
	}
	if own && !live && (d.Credentials == nil || !d.Credentials.Registered) {
		text := "has no password and no live token"
		if !usable {
			text += ", and no certificate of this hub that opens it"
		}
		add(text, "fairlead device password "+k+", or fairlead device token "+k)
	}
	return list
}
