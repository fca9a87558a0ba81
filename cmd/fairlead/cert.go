package main

import (
	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub/admin"
)

func certCommand() *cobra.Command {
	cmd := group("cert", "See and revoke certificates of devices, and get those of the CA")
	cmd.AddCommand(certListCommand(), certShowCommand(), certIssueCommand(), certRevokeCommand(), certRootCommand(), certCRLCommand())
	return cmd
}

func certListCommand() *cobra.Command {
	return deviceVerb(&cobra.Command{
		Use: "list DEVICE", Short: "List the certificates of a device, the newest first", Args: exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.Certificate], error) {
			return s.client.Certificates(s.ctx, k, limit, cursor)
		})
		if err != nil {
			return err
		}
		return s.show(list, func(t *table) {
			t.row("SERIAL", "STATE", "NOT BEFORE", "NOT AFTER")
			for _, c := range list {
				t.row(c.Serial, c.State, when(c.NotBefore), when(c.NotAfter))
			}
		})
	})
}

func (s *session) showCertificate(c admin.Certificate) error {
	return s.show(c, func(t *table) {
		t.row("Serial", c.Serial)
		t.row("Device", c.Device.String())
		t.row("State", c.State+" since "+when(c.Changed))
		t.row("Valid", when(c.NotBefore)+" to "+when(c.NotAfter))
		t.row("Issuer", c.Issuer)
		t.row("SHA-256", c.SHA256)
	})
}

func certShowCommand() *cobra.Command {
	return adminCommand(&cobra.Command{Use: "show SERIAL", Short: "Show one certificate", Args: exactly("SERIAL")},
		func(s *session, args []string) error {
			c, err := s.client.Certificate(s.ctx, args[0])
			if err != nil {
				return err
			}
			return s.showCertificate(c)
		})
}

func certRevokeCommand() *cobra.Command {
	return adminCommand(&cobra.Command{
		Use: "revoke SERIAL", Short: "Withdraw a certificate for good and disconnect its device", Args: exactly("SERIAL"),
		Long: `Withdraws a certificate for good and disconnects its device. A device that has its secret can get another certificate:
to keep it out, inhibit it first (fairlead device inhibit).`,
	}, func(s *session, args []string) error {
		c, err := s.client.RevokeCertificate(s.ctx, args[0])
		if err != nil {
			return err
		}
		return s.showCertificate(c)
	})
}

func certRootCommand() *cobra.Command {
	return adminCommand(&cobra.Command{Use: "root", Short: "Print the root certificate that clients must trust, in PEM", Args: noArgs},
		func(s *session, _ []string) error {
			text, err := s.client.RootCA(s.ctx)
			if err != nil {
				return err
			}
			if s.asJSON {
				return printJSON(s.out, map[string]string{"pem": string(text)})
			}
			_, err = s.out.Write(text)
			return err
		})
}

func certCRLCommand() *cobra.Command {
	var issuer string
	cmd := adminCommand(&cobra.Command{
		Use: "crl", Short: "Print the list of revoked certificates, in DER", Args: noArgs,
		Example: "  fairlead cert crl | openssl crl -inform der -text",
	}, func(s *session, _ []string) error {
		der, err := s.client.CRL(s.ctx, issuer)
		if err != nil {
			return err
		}
		if s.asJSON {
			return printJSON(s.out, map[string][]byte{"der": der})
		}
		_, err = s.out.Write(der)
		return err
	})
	cmd.Flags().StringVar(&issuer, "issuer", "", "`key identifier` of the issuing certificate (default the one in use)")
	return cmd
}
