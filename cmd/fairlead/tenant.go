package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func tenantCommand() *cobra.Command {
	cmd := group("tenant", "Make, list and delete tenants: separate worlds of devices")
	cmd.AddCommand(tenantListCommand(), tenantShowCommand(), tenantAddCommand(), tenantDeleteCommand())
	return cmd
}

func tenantListCommand() *cobra.Command {
	return adminCommand(&cobra.Command{Use: "list", Short: "List the tenants", Args: noArgs}, func(s *session, _ []string) error {
		list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.Tenant], error) {
			return s.client.Tenants(s.ctx, limit, cursor)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("ID", "CREATED", "DELETING")
			for _, x := range list {
				t.row(x.ID, when(x.Created), yesNo(x.Deleting))
			}
		})
	})
}

func tenantShowCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "show TENANT", Short: "Show one tenant and how many devices it has", Args: exactly("TENANT"),
	}, func(s *session, args []string) error {
		x, err := s.client.Tenant(s.ctx, args[0])
		if err != nil {
			return err
		}
		return s.show(x, func(t *table) { printTenant(t, x) })
	})
}

func printTenant(t *table, x admin.Tenant) {
	t.row("Tenant", x.ID)
	t.row("Created", when(x.Created))
	if x.Deleting {
		t.row("Deleting", "yes")
	}
	if n := x.Devices; n != nil {
		t.row("Devices", fmt.Sprintf("%d, %d connected", n.Total, n.Connected))
	}
}

func tenantAddCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "add TENANT", Short: "Make a tenant", Args: exactly("TENANT"),
		Long: `Makes a tenant without anything in it. Its name has 1 to 64 characters of a-z, 0-9, _ and -. A platform may need more: a realm
of Astarte is made with Housekeeping.`,
	}, func(s *session, args []string) error {
		x, err := s.client.CreateTenant(s.ctx, admin.NewTenant{ID: args[0]})
		if err != nil {
			return err
		}
		return s.show(x, func(t *table) { printTenant(t, x) })
	})
}

func tenantDeleteCommand() *cobra.Command {
	var yes bool
	cmd := adminCommand(&cobra.Command{
		Use: "delete TENANT --yes", Short: "Delete a tenant with all that it has", Args: exactly("TENANT"),
		Long: `Deletes a tenant: its devices and what they have stored, sessions, retained messages, tokens, authorities, refusals and events.
Connections end at once, nobody gets in any more, and certificates of its devices are revoked. There is no way back.

It waits until the tenant is gone and its name free, which takes minutes where there is very much. Interrupting that stops only the
waiting. The tenant of ` + "`fairlead up`" + ` comes back, empty, when that starts the next time.`,
		Example: "  fairlead tenant delete acme --yes",
	}, func(s *session, args []string) error {
		if !yes {
			x, err := s.client.Tenant(s.ctx, args[0])
			if err != nil {
				return err
			}
			return usageError{fmt.Errorf("with tenant %s all that it has would go (devices: %d): say --yes if that is meant", x.ID, x.Devices.Total)}
		}
		if _, err := s.client.DeleteTenant(s.ctx, args[0]); err != nil {
			return err
		}
		if err := s.tenantGone(args[0]); err != nil {
			return err
		}
		return s.show(map[string]string{"deleted": args[0]}, func(t *table) { t.row("tenant " + args[0] + " is deleted") })
	})
	cmd.Flags().BoolVar(&yes, "yes", false, "it is meant")
	return cmd
}

// tenantGone waits until a tenant that is being deleted is not there any more.
func (s *session) tenantGone(id string) error {
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		_, err := s.client.Tenant(s.ctx, id)
		var refused *admin.Error
		if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
			return nil
		} else if err != nil {
			return fmt.Errorf("tenant %s is being deleted; it is not known whether it is gone: %w", id, err)
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(pause):
		}
	}
}

func eventsCommand() *cobra.Command {
	var q admin.EventQuery
	var follow bool
	var device string
	var limit, last int
	cmd := adminCommand(&cobra.Command{
		Use: "events", Short: "Show what has happened, or with --follow what happens", Args: noArgs,
		Long: `Shows the last events, the oldest of them first; with --after, those behind one. With --follow it shows what happens from now on, until it is interrupted, and goes on where it was
when the connection to the hub is lost. With --json each event is one line.`,
		Example: "  fairlead events --follow --kind device.connected,device.disconnected\n  fairlead events --device astarte/dev/2TBn-jNESuuHamE2Zo1anA --json",
	}, func(s *session, _ []string) error {
		if device != "" {
			k, err := s.device(device, scope{tenant: q.Tenant})
			if err != nil {
				return err
			}
			q.Device = k
		}
		if follow {
			return followEvents(s, q)
		}
		switch {
		case s.changed("after") && s.changed("last"):
			return usageError{errors.New("--after and --last exclude each other")}
		case s.changed("after"):
			return listEvents(s, q, limit)
		case s.changed("limit") && !s.changed("last"):
			last = limit
		}
		return lastEvents(s, q, last)
	})
	fl := cmd.Flags()
	fl.BoolVarP(&follow, "follow", "f", false, "show what happens from now on")
	fl.StringVar(&q.Tenant, "tenant", "", "only of this `tenant`")
	fl.StringVar(&device, "device", "", "only of this `device`: dialect/tenant/id, or an id")
	fl.StringSliceVar(&q.Kinds, "kind", nil, "only of these `kinds`, such as device.connected")
	fl.Int64Var(&q.After, "after", 0, "begin behind the event of this `number`; 0: with the oldest that is kept")
	countFlag(cmd, &last, "last", 100, "show the last `N`; 0 is all")
	limitFlag(cmd, &limit, 100)
	return cmd
}

func listEvents(s *session, q admin.EventQuery, limit int) error {
	for n := 0; limit == 0 || n < limit; {
		q.Limit = 1000
		if limit > 0 {
			q.Limit = min(q.Limit, limit-n)
		}
		p, err := s.client.Events(s.ctx, q)
		if err != nil {
			return err
		}
		for _, e := range p.Items {
			if err := printEvent(s, e); err != nil {
				return err
			}
		}
		n += len(p.Items)
		if q.After = p.Last; !p.More {
			return nil
		}
	}
	if s.asJSON {
		return nil
	}
	_, err := fmt.Fprintf(s.out, "(there are more; go on with --after %d)\n", q.After)
	return err
}

// lastEvents prints the newest n events (0: all), in the order in which they happened.
func lastEvents(s *session, q admin.EventQuery, n int) error {
	if n == 0 {
		return listEvents(s, q, 0)
	}
	q.Backwards = true
	var list []admin.Event
	for more := true; more && len(list) < n; {
		q.Limit = min(1000, n-len(list))
		p, err := s.client.Events(s.ctx, q)
		if err != nil {
			return err
		}
		list = append(list, p.Items...)
		more, q.Before = p.More, p.Last
	}
	for _, e := range slices.Backward(list) {
		if err := printEvent(s, e); err != nil {
			return err
		}
	}
	return nil
}

func followEvents(s *session, q admin.EventQuery) error {
	ctx, stop := signal.NotifyContext(s.ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for e, err := range s.client.Follow(ctx, q) {
		switch {
		case errors.Is(err, admin.ErrGap) && !s.asJSON:
			_, err = fmt.Fprintln(s.out, "("+err.Error()+")")
		case errors.Is(err, admin.ErrGap):
			continue
		case errors.Is(err, context.Canceled) && s.ctx.Err() == nil:
			return nil // interrupted, which is how this ends
		case err == nil:
			err = printEvent(s, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printEvent prints an event as one line.
func printEvent(s *session, e admin.Event) error {
	if s.asJSON {
		return printLine(s.out, e)
	}
	about := e.Tenant
	if e.Device != "" {
		about = strings.Join([]string{e.Dialect, e.Tenant, e.Device}, "/")
	}
	var data bytes.Buffer // the answer is indented
	if len(e.Data) > 0 && json.Compact(&data, e.Data) != nil {
		data.WriteString("?")
	}
	_, err := fmt.Fprintln(s.out, printable(fmt.Sprintf("%d  %s  %s  %s  %s", e.Seq, when(e.At), e.Kind, or(about), or(data.String()))))
	return err
}
