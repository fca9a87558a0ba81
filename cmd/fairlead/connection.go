package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func connectionCommand() *cobra.Command {
	cmd := group("connection", "See who is connected over MQTT, and end connections")
	cmd.AddCommand(connectionListCommand(), connectionShowCommand(), connectionEndCommand())
	return cmd
}

// sessionFlags adds the flags that select sessions and connections.
func sessionFlags(cmd *cobra.Command, q *admin.SessionQuery, limit *int) {
	fl := cmd.Flags()
	fl.StringVar(&q.Tenant, "tenant", "", "only of this `tenant`")
	fl.StringVar(&q.Dialect, "dialect", "", "only of this `dialect`: astarte, ...")
	fl.StringVar(&q.Prefix, "prefix", "", "only those whose client ids begin so")
	limitFlag(cmd, limit, 1000)
}

func connectionListCommand() *cobra.Command {
	var q admin.SessionQuery
	var limit int
	cmd := adminCommand(&cobra.Command{Use: "list", Short: "List open connections", Args: noArgs}, func(s *session, _ []string) error {
		list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Connection], error) {
			q.Limit, q.Cursor = limit, cursor
			return s.client.Connections(s.ctx, q)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("CLIENT", "ADDRESS", "MQTT", "OVER", "SINCE", "IN", "OUT", "WAITING")
			for _, c := range list {
				t.row(c.String(), or(c.Address), c.Version, c.Transport, when(c.Since), fmt.Sprint(c.MessagesIn), fmt.Sprint(c.MessagesOut), fmt.Sprint(c.Queued))
			}
			t.more(more, limit)
		})
	})
	sessionFlags(cmd, &q, &limit)
	return cmd
}

func connectionShowCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "show CLIENT", Short: "Show one connection", Long: "Shows one connection.\n\n" + clientArg, Args: exactly("CLIENT"),
	}, func(s *session, args []string) error {
		k, err := s.findClient(args[0], s.connections, false)
		if err != nil {
			return err
		}
		c, err := s.client.Connection(s.ctx, k)
		if err != nil {
			return err
		}
		return s.show(c, func(t *table) {
			t.row("Client", c.String())
			t.row("Device", or(c.Device))
			t.row("Address", or(c.Address))
			t.row("MQTT", c.Version+" over "+c.Transport+" "+c.TLSVersion)
			t.row("Since", when(c.Since))
			t.row("Heard", when(c.Heard))
			t.row("Keep-alive", fmt.Sprint(time.Duration(c.KeepAliveSeconds*float64(time.Second))))
			t.row("In", fmt.Sprintf("%d messages, %d bytes in all", c.MessagesIn, c.BytesIn))
			t.row("Out", fmt.Sprintf("%d messages, %d bytes in all", c.MessagesOut, c.BytesOut))
			t.row("Not acknowledged", fmt.Sprint(c.InFlight))
			t.row("Waiting", fmt.Sprint(c.Queued))
			t.row("Subscriptions", fmt.Sprint(c.Subscriptions))
			t.row("Session stays", yesNo(c.Stored))
		})
	})
}

func connectionEndCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "end CLIENT", Short: "End a connection; most clients come back at once", Long: "Ends a connection. Most clients come back at once.\n\n" + clientFull, Args: exactly("CLIENT"),
	}, func(s *session, args []string) error {
		k, err := s.findClient(args[0], s.connections, true)
		if err != nil {
			return err
		}
		if err := s.client.Disconnect(s.ctx, k); err != nil {
			return err
		}
		return s.show(map[string]string{"ended": k.String()}, func(t *table) { t.row("connection of " + k.String() + " is ended") })
	})
}

func sessionCommand() *cobra.Command {
	cmd := group("session", "See what the hub keeps for MQTT clients, and forget it")
	cmd.AddCommand(sessionListCommand(), sessionShowCommand(), sessionForgetCommand())
	return cmd
}

func sessionListCommand() *cobra.Command {
	var q admin.SessionQuery
	var limit int
	cmd := adminCommand(&cobra.Command{Use: "list", Short: "List sessions", Args: noArgs}, func(s *session, _ []string) error {
		list, more, err := collect(limit, func(limit int, cursor string) (admin.Page[admin.Session], error) {
			q.Limit, q.Cursor = limit, cursor
			return s.client.Sessions(s.ctx, q)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("CLIENT", "CONNECTED", "STAYS", "CREATED", "SUBSCRIPTIONS", "WAITING", "BYTES")
			for _, x := range list {
				t.row(x.String(), yesNo(x.Connected), yesNo(x.Stored), when(x.Created), fmt.Sprint(x.Subscriptions), fmt.Sprint(x.Queued), fmt.Sprint(x.QueuedBytes))
			}
			t.more(more, limit)
		})
	})
	sessionFlags(cmd, &q, &limit)
	return cmd
}

func sessionShowCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "show CLIENT", Short: "Show one session and its subscriptions", Long: "Shows one session and its subscriptions.\n\n" + clientArg, Args: exactly("CLIENT"),
	}, func(s *session, args []string) error {
		k, err := s.findClient(args[0], s.sessions, false)
		if err != nil {
			return err
		}
		x, err := s.client.Session(s.ctx, k)
		if err != nil {
			return err
		}
		return s.show(x, func(t *table) {
			t.row("Client", x.String())
			t.row("Device", or(x.Device))
			t.row("Connected", yesNo(x.Connected))
			t.row("Stays", yesNo(x.Stored))
			t.row("Created", when(x.Created))
			t.row("Expires", when(x.Expires))
			t.row("Waiting", fmt.Sprintf("%d messages, %d bytes", x.Queued, x.QueuedBytes))
			for _, f := range x.Filters {
				t.row("Subscription", f)
			}
		})
	})
}

func sessionForgetCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "forget CLIENT", Short: "Forget a session, its subscriptions and its messages", Long: "Forgets a session, its subscriptions and its messages. Its connection ends.\n\n" + clientFull, Args: exactly("CLIENT"),
	}, func(s *session, args []string) error {
		k, err := s.findClient(args[0], s.sessions, true)
		if err != nil {
			return err
		}
		if err := s.client.ForgetSession(s.ctx, k); err != nil {
			return err
		}
		return s.show(map[string]string{"forgotten": k.String()}, func(t *table) { t.row("session of " + k.String() + " is forgotten") })
	})
}
