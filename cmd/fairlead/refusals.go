package main

import (
	"fmt"

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
