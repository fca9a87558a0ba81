package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func awsCommand() *cobra.Command {
	cmd := group("aws", "Access keys and Greengrass groups of the AWS dialect")
	key := group("key", "Make, list and delete the access keys that requests to AWS IoT's API are signed with")
	key.AddCommand(awsKeyAddCommand(), awsKeyListCommand(), awsKeyDeleteCommand())
	gg := group("greengrass", "Say which devices find which cores by Greengrass discovery")
	gg.AddCommand(greengrassSetCommand(), greengrassListCommand(), greengrassShowCommand(), greengrassDeleteCommand())
	cmd.AddCommand(key, gg)
	return cmd
}

func awsKeyAddCommand() *cobra.Command {
	var tenant string
	var lifetime time.Duration
	cmd := adminCommand(&cobra.Command{
		Use: "add NAME", Short: "Make an access key; its secret is printed once", Args: exactly("NAME"),
		Long: `Makes an access key and prints it as variables for boto3, the AWS CLI and the AWS SDKs. The key may do everything that AWS IoT's API offers, in one tenant.
The hub keeps the secret encrypted. The name says what the key is for. With --lifetime it is a temporary one, with a session token.`,
		Example: "  eval \"$(fairlead aws key add deployment --tenant acme)\"",
	}, func(s *session, args []string) error {
		n := admin.NewAccessKey{Name: args[0]}
		if lifetime < 0 {
			return usageError{fmt.Errorf("--lifetime is %v", lifetime)}
		}
		if lifetime > 0 {
			n.Expires = admin.NewTime(time.Now().Add(lifetime))
		}
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		made, err := s.client.CreateAccessKey(s.ctx, tenant, n)
		if err != nil {
			return err
		}
		return s.show(made, func(t *table) {
			t.row("export AWS_ACCESS_KEY_ID=" + made.ID)
			t.row("export AWS_SECRET_ACCESS_KEY=" + made.Secret)
			t.row("export AWS_SESSION_TOKEN=" + made.SessionToken) // empty too: an earlier one would go with this key
		})
	})
	tenantFlag(cmd, &tenant)
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "how long it is good for, such as 12h (default for ever)")
	return cmd
}

func awsKeyListCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{Use: "list", Short: "List the access keys of a tenant", Args: noArgs}, func(s *session, _ []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.AccessKey], error) {
			return s.client.AccessKeys(s.ctx, tenant, limit, cursor)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("ID", "CREATED", "EXPIRES", "NAME")
			for _, k := range list {
				t.row(k.ID, when(k.Created), when(k.Expires), k.Name)
			}
		})
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

func awsKeyDeleteCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{
		Use: "delete ID", Short: "End an access key, and the connections that were opened with it", Args: exactly("ID"),
	}, func(s *session, args []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		if err := s.client.DeleteAccessKey(s.ctx, tenant, args[0]); err != nil {
			return err
		}
		return s.show(map[string]string{"deleted": args[0]}, func(t *table) { t.row("access key " + args[0] + " is deleted") })
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

func greengrassSetCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{
		Use: "set ID FILE", Short: "Make or replace a group", Args: exactly("ID", "FILE"),
		Long: `Makes or replaces a group, which FILE describes; "-" is the standard input:

  {"cores": [{"thing": "core1", "ways": [{"id": "lan", "host": "192.0.2.1", "port": 8883}]}], "devices": ["pump-7"]}

Members of "cas" are certificates in PEM that the cores' certificates come from; without them it is the hub's own root certificate.`,
		Example: "  fairlead aws greengrass set hall group.json --tenant acme",
	}, func(s *session, args []string) error {
		in := s.in
		if args[1] != "-" {
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		var g admin.SetGreengrassGroup
		dec := json.NewDecoder(io.LimitReader(in, 1<<20))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&g); err != nil {
			return fmt.Errorf("%s: %w", args[1], err)
		}
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		now, err := s.client.SetGreengrassGroup(s.ctx, tenant, args[0], g)
		if err != nil {
			return err
		}
		return s.show(now, func(t *table) { showGreengrass(t, now) })
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

func showGreengrass(t *table, g admin.GreengrassGroup) {
	t.row("Group", g.ID)
	for _, c := range g.Cores {
		var ways []string
		for _, w := range c.Ways {
			ways = append(ways, w.Host+":"+strconv.Itoa(w.Port))
		}
		t.row("Core", c.Thing+" at "+strings.Join(ways, ", "))
	}
	t.row("Devices", strings.Join(g.Devices, ", "))
	certificates := strconv.Itoa(len(g.CAs)) + " of its own"
	if len(g.CAs) == 0 {
		certificates = "the hub's"
	}
	t.row("Certificates", certificates)
}

func greengrassListCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{Use: "list", Short: "List the groups of a tenant", Args: noArgs}, func(s *session, _ []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.GreengrassGroup], error) {
			return s.client.GreengrassGroups(s.ctx, tenant, limit, cursor)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("ID", "CORES", "DEVICES")
			for _, g := range list {
				t.row(g.ID, strconv.Itoa(len(g.Cores)), strconv.Itoa(len(g.Devices)))
			}
		})
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

func greengrassShowCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{Use: "show ID", Short: "Show a group", Args: exactly("ID")}, func(s *session, args []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		g, err := s.client.GreengrassGroup(s.ctx, tenant, args[0])
		if err != nil {
			return err
		}
		return s.show(g, func(t *table) { showGreengrass(t, g) })
	})
	tenantFlag(cmd, &tenant)
	return cmd
}

func greengrassDeleteCommand() *cobra.Command {
	var tenant string
	cmd := adminCommand(&cobra.Command{Use: "delete ID", Short: "Delete a group", Args: exactly("ID")}, func(s *session, args []string) error {
		tenant, err := s.tenant(tenant)
		if err != nil {
			return err
		}
		if err := s.client.DeleteGreengrassGroup(s.ctx, tenant, args[0]); err != nil {
			return err
		}
		return s.show(map[string]string{"deleted": args[0]}, func(t *table) { t.row("group " + args[0] + " is deleted") })
	})
	tenantFlag(cmd, &tenant)
	return cmd
}
