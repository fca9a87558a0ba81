package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func tokenCommand() *cobra.Command {
	cmd := group("token", "Make, list and revoke tokens of the admin API")
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var t admin.NewToken
	var lifetime time.Duration
	cmd := adminCommand(&cobra.Command{
		Use: "create NAME", Short: "Make a token; it is printed once and kept nowhere",
		Long: `Makes a token and prints it. The hub keeps only a hash of it. The name says what it is for.

A token of scope read sees everything, one of scope write also changes devices, one of scope admin also manages tenants
and tokens. With --tenant it opens that tenant only.`,
		Example: "  fairlead token create grafana --tenant acme --lifetime 8760h",
		Args:    exactly("NAME"),
	}, func(s *session, args []string) error {
		t.Name = args[0]
		if lifetime < 0 {
			return usageError{fmt.Errorf("--lifetime is %v", lifetime)}
		}
		if lifetime > 0 {
			t.Expires = admin.NewTime(time.Now().Add(lifetime))
		}
		made, err := s.client.CreateToken(s.ctx, t)
		if err != nil {
			return err
		}
		if s.asJSON {
			return printJSON(s.out, made)
		}
		// Nothing else, so that scripts can take it.
		_, err = fmt.Fprintln(s.out, made.Secret)
		return err
	})
	cmd.Flags().StringVar(&t.Scope, "scope", "read", "what it may do: read, write or admin")
	cmd.Flags().StringVar(&t.Tenant, "tenant", "", "the only `tenant` that it opens (default all)")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "how long it is good for, such as 720h (default for ever)")
	return cmd
}

func tokenListCommand() *cobra.Command {
	return adminCommand(&cobra.Command{Use: "list", Short: "List the tokens", Args: noArgs}, func(s *session, _ []string) error {
		list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.Token], error) {
			return s.client.Tokens(s.ctx, limit, cursor)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("ID", "SCOPE", "TENANT", "CREATED", "EXPIRES", "NAME")
			for _, x := range list {
				tenant := x.Tenant
				if tenant == "" {
					tenant = "(all)"
				}
				t.row(x.ID, x.Scope, tenant, when(x.Created), when(x.Expires), x.Name)
			}
		})
	})
}

func tokenRevokeCommand() *cobra.Command {
	return adminCommand(&cobra.Command{Use: "revoke ID", Short: "End a token", Args: exactly("ID")}, func(s *session, args []string) error {
		if err := s.client.RevokeToken(s.ctx, args[0]); err != nil {
			return err
		}
		return s.show(map[string]string{"revoked": args[0]}, func(t *table) { t.row("token " + args[0] + " is revoked") })
	})
}
