package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func authorityCommand() *cobra.Command {
	cmd := group("authority", "Let certificates of other authorities open plain MQTT devices")
	cmd.AddCommand(authorityAddCommand(), authorityListCommand(), authorityRemoveCommand())
	return cmd
}

func tenantFlag(cmd *cobra.Command, tenant *string) {
	cmd.Flags().StringVar(tenant, "tenant", "", "the `tenant` that is meant (default "+defaultTenant+")")
}

func authorityAddCommand() *cobra.Command {
	var tenant string
	var n admin.NewAuthority
	cmd := adminCommand(&cobra.Command{
		Use: "add FILE", Short: "Let the certificates of an authority open plain MQTT devices of a tenant", Args: exactly("FILE"),
		Long: `Registers the certificate of an authority, in PEM. A certificate that it has signed itself then opens the device of the tenant
that its common name names. An authority can be registered for one tenant only.`,
		Example: "  fairlead authority add factory-ca.pem --tenant acme --auto-register",
	}, func(s *session, args []string) error {
		text, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		n.PEM = string(text)
		made, err := s.client.RegisterAuthority(s.ctx, tenant, n)
		if err != nil {
			return err
		}
		return s.show(made, func(t *table) {
			t.row("Authority", made.ID)
			t.row("Subject", made.Subject)
			t.row("Valid to", when(made.NotAfter))
			t.row("Auto-register", yesNo(made.AutoRegister))
		})
	})
	tenantFlag(cmd, &tenant)
	cmd.Flags().BoolVar(&n.AutoRegister, "auto-register", false, "make a device that shows such a certificate and is not there")
	return cmd
}

func authorityListCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{Use: "list", Short: "List the authorities of a tenant", Args: noArgs}, func(s *session, _ []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.Authority], error) {
			return s.client.Authorities(s.ctx, tenant, limit, cursor)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("ID", "VALID TO", "AUTO-REGISTER", "SUBJECT")
			for _, a := range list {
				t.row(a.ID, when(a.NotAfter), yesNo(a.AutoRegister), a.Subject)
			}
		})
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

func authorityRemoveCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{
		Use: "remove ID", Short: "Let the certificates of an authority open nothing any more, and end their connections", Args: exactly("ID"),
		Long: "Removes an authority: its certificates open nothing any more, and the connections that they have opened end. ID may be its beginning, of 8 digits at least, where only one begins so.",
	}, func(s *session, args []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		id, err := s.authority(tenant, args[0])
		if err != nil {
			return err
		}
		if err := s.client.RemoveAuthority(s.ctx, tenant, id); err != nil {
			return err
		}
		return s.show(map[string]string{"removed": id}, func(t *table) { t.row("authority " + id + " is removed") })
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

// minAuthorityID is how much of the id of an authority is enough where only one begins so: ids are digests.
const minAuthorityID = 8

// authority completes the id of an authority.
func (s *session) authority(tenant, id string) (string, error) {
	if len(id) < minAuthorityID {
		return id, nil
	}
	list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.Authority], error) {
		return s.client.Authorities(s.ctx, tenant, limit, cursor)
	})
	if err != nil {
		return "", err
	}
	var found []string
	for _, a := range list {
		if strings.HasPrefix(a.ID, id) {
			found = append(found, a.ID)
		}
	}
	if len(found) > 1 && !slices.Contains(found, id) {
		return "", fmt.Errorf("authority %q: several are meant, such as %s and %s", id, found[0], found[1])
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return id, nil // which the hub will look for
}

func mqttCommand() *cobra.Command {
	cmd := group("mqtt", "Send messages to plain MQTT devices")
	cmd.AddCommand(mqttPublishCommand())
	return cmd
}

func mqttPublishCommand() *cobra.Command {
	var tenant string
	var m admin.NewMessage
	cmd := adminCommand(&cobra.Command{
		Use: "publish TOPIC MESSAGE", Short: "Publish to the plain MQTT devices that subscribe to a topic",
		Long: `Publishes a message. It is on disk when this ends, in the queues of devices that are away too, if --qos is 1 or 2. The message "-" is
read from the standard input.`,
		Example: "  fairlead mqtt publish pump-7/cmd '{\"speed\": 3}' --qos 1",
		Args:    exactly("TOPIC", "MESSAGE"),
	}, func(s *session, args []string) error {
		m.Topic, m.Text = args[0], args[1]
		if m.Text == "-" {
			const most = 64 << 10 // what the API takes
			text, err := io.ReadAll(io.LimitReader(s.in, most+1))
			if err != nil {
				return err
			}
			if len(text) > most {
				return errors.New("the message has more than 64 KiB")
			}
			if m.Text = string(text); !utf8.Valid(text) {
				m.Text, m.Base64 = "", base64.StdEncoding.EncodeToString(text)
			}
		}
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		done, err := s.client.Publish(s.ctx, tenant, m)
		if err != nil {
			return err
		}
		return s.show(done, func(t *table) { t.row("reached " + strconv.Itoa(done.Reached)) })
	})
	tenantFlag(cmd, &tenant)
	cmd.Flags().IntVar(&m.QoS, "qos", 0, "`quality` of service: 0, 1 or 2")
	cmd.Flags().BoolVar(&m.Retain, "retain", false, "keep it for those who subscribe later too")
	return cmd
}
