package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

// passwordFlag is --password: absent the hub makes one, "-" is the first line of the standard input. A password is not
// taken as an argument, which other programs of the machine can read.
func passwordFlag(cmd *cobra.Command, p *string) {
	cmd.Flags().StringVar(p, "password", "", `"-" reads a password to use from the standard input; without it the hub makes one, which nobody can guess`)
}

// password returns what --password asks for.
func (s *session) password(flag string) (string, error) {
	switch flag {
	case "":
		return "", nil
	case "-":
		line, err := bufio.NewReader(io.LimitReader(s.in, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("password: %w", err)
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("password: the standard input has none")
		}
		return line, nil
	}
	return "", usageError{errors.New(`--password takes "-" only, and reads the password from the standard input`)}
}

// settings returns the environment variables that point an MQTT client at the hub as a device. Where MQTT is, the data
// folder says, or the hub.
func (s *session) settings(l admin.Login) map[string]string {
	env := map[string]string{"MQTT_USERNAME": l.Username, "MQTT_TOPIC_PREFIX": l.TopicPrefix}
	if l.Password != "" {
		env["MQTT_PASSWORD"] = l.Password
	}
	address, root := "", os.Getenv("FAIRLEAD_CA")
	if state, err := hub.ReadState(s.dataDir); err == nil && state.URL == s.client.URL {
		address, root = state.MQTT, state.CA
	} else if at, err := s.client.Addresses(s.ctx); err == nil { // older hubs do not say
		address = at.MQTT
	}
	if u, err := url.Parse(address); err == nil {
		if host, port, err := net.SplitHostPort(u.Host); err == nil {
			env["MQTT_HOST"], env["MQTT_PORT"] = host, port
		}
	}
	if root != "" {
		env["FAIRLEAD_CA"] = root
	}
	return env
}

func (s *session) printLogin(v any, l admin.Login) error {
	if s.asJSON {
		return printJSON(s.out, v)
	}
	if err := printExports(s.out, s.settings(l)); err != nil || l.Password != "" {
		return err
	}
	// A shell that has had another device's would go on with that.
	_, err := fmt.Fprintln(s.out, "unset MQTT_PASSWORD")
	return err
}

func deviceAddCommand() *cobra.Command {
	of := scope{dialect: "mqtt"}
	var n admin.NewDevice
	var password string
	cmd := adminCommand(&cobra.Command{
		Use: "add DEVICE", Short: "Make a plain MQTT device, and print what it signs in with",
		Long: `Makes a plain MQTT device and prints the settings of its client, ready to paste. Its password is printed once and kept nowhere.

It may publish and subscribe to everything below its id and a slash, unless it is granted something else (fairlead device grant).
Devices of platforms are not made here: they register as their platforms have it.

DEVICE is tenant/id, or the id; its tenant then is that of --tenant, or ` + defaultTenant + `.`,
		Example: "  fairlead device add pump-7\n  echo 'my own password' | fairlead device add mqtt/acme/pump-7 --password -",
		Args:    exactly("DEVICE"),
	}, func(s *session, args []string) (err error) {
		of, id, err := s.named(args[0], of)
		if err != nil {
			return err
		}
		if of.tenant, err = s.tenant(of.tenant); err != nil {
			return err
		}
		k, err := of.key(id)
		if err != nil {
			return err
		}
		n.Dialect, n.Tenant, n.ID = k.Dialect, k.Tenant, k.ID
		if n.Password, err = s.password(password); err != nil {
			return err
		}
		made, err := s.client.AddDevice(s.ctx, n)
		if err != nil {
			return err
		}
		return s.printLogin(made, made.Login)
	})
	of.addTo(cmd)
	cmd.Flags().BoolVar(&n.NoPassword, "no-password", false, "it signs in with a token or a certificate only")
	passwordFlag(cmd, &password)
	return cmd
}

func devicePasswordCommand() *cobra.Command {
	var password string
	cmd := deviceWriteVerb(&cobra.Command{
		Use: "password DEVICE", Short: "Give a plain MQTT device another password, and end its connections", Args: exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		text, err := s.password(password)
		if err != nil {
			return err
		}
		login, err := s.client.SetPassword(s.ctx, k, admin.SetPassword{Password: text})
		if err != nil {
			return err
		}
		return s.printLogin(login, login)
	})
	passwordFlag(cmd, &password)
	return cmd
}

func deviceTokenCommand() *cobra.Command {
	lifetime := 30 * 24 * time.Hour
	var revoke string
	var list bool
	cmd := deviceWriteVerb(&cobra.Command{
		Use: "token DEVICE", Short: "Give a plain MQTT device a token to use as its password for a while",
		Long: "Makes a token and prints it, once. The device uses it in place of its password; a connection that it has opened ends with it.",
		Example: "  fairlead device token pump-7 --lifetime 720h\n  fairlead device token pump-7 --list\n" +
			"  fairlead device token pump-7 --revoke B6XKQ2T7",
		Args: exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		switch {
		case list && revoke != "":
			return usageError{errors.New("--list and --revoke exclude each other")}
		case list:
			return s.listDeviceTokens(k)
		case revoke != "":
			if err := s.client.RevokeDeviceToken(s.ctx, k, revoke); err != nil {
				return err
			}
			return s.show(map[string]string{"revoked": revoke}, func(t *table) { t.row("token " + revoke + " is revoked") })
		case lifetime < time.Second:
			return usageError{fmt.Errorf("--lifetime is %v: want at least a second", lifetime)}
		}
		made, err := s.client.AddDeviceToken(s.ctx, k, admin.NewDeviceToken{LifetimeSeconds: int64(lifetime / time.Second)})
		if err != nil {
			return err
		}
		if s.asJSON {
			return printJSON(s.out, made)
		}
		_, err = fmt.Fprintln(s.out, made.Secret) // nothing else, so that scripts can take it
		return err
	})
	cmd.Flags().DurationVar(&lifetime, "lifetime", lifetime, "how long it is good for")
	cmd.Flags().BoolVar(&list, "list", false, "list the device's tokens")
	cmd.Flags().StringVar(&revoke, "revoke", "", "end the token of this `id`, and the device's connections")
	return cmd
}

func (s *session) listDeviceTokens(k admin.DeviceKey) error {
	list, _, err := collect(0, func(limit int, cursor string) (admin.Page[admin.DeviceToken], error) {
		return s.client.DeviceTokens(s.ctx, k, limit, cursor)
	})
	if err != nil {
		return err
	}
	return s.show(list, func(t *table) {
		t.row("ID", "CREATED", "EXPIRES")
		for _, x := range list {
			expires := when(x.Expires)
			if !x.Expires.IsZero() && x.Expires.Before(time.Now()) {
				expires += " (expired)"
			}
			t.row(x.ID, when(x.Created), expires)
		}
	})
}

func deviceGrantCommand() *cobra.Command {
	var publish, subscribe []string
	var noSamples bool
	cmd := deviceWriteVerb(&cobra.Command{
		Use: "grant DEVICE", Short: "Show or say what a plain MQTT device may publish and subscribe to",
		Long: `Without flags: shows what a plain MQTT device may do. With flags: says it anew; what is left out stays as it is. In a filter
${device} stands for the device's id and ${tenant} for its tenant. The device's connections end, so that it signs in anew.`,
		Example: "  fairlead device grant pump-7 --subscribe '${device}/#' --subscribe 'plant/alarms/#'\n  fairlead device grant pump-7 --publish ''",
		Args:    exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		g, err := s.client.Grants(s.ctx, k)
		if err != nil {
			return err
		}
		if s.changed("publish") {
			g.Publish = filters(publish)
		}
		if s.changed("subscribe") {
			g.Subscribe = filters(subscribe)
		}
		if s.changed("no-samples") {
			g.NoSamples = noSamples
		}
		if s.changed("publish") || s.changed("subscribe") || s.changed("no-samples") {
			if g, err = s.client.SetGrants(s.ctx, k, g); err != nil {
				return err
			}
		}
		return s.show(g, func(t *table) {
			for _, f := range g.Publish {
				t.row("publish", f)
			}
			for _, f := range g.Subscribe {
				t.row("subscribe", f)
			}
			t.row("samples stored", yesNo(!g.NoSamples))
		})
	})
	cmd.Flags().StringArrayVar(&publish, "publish", nil, "topic `filter` that it may publish to, may be repeated; '' alone is nothing")
	cmd.Flags().StringArrayVar(&subscribe, "subscribe", nil, "topic `filter` that it may subscribe to, may be repeated; '' alone is nothing")
	cmd.Flags().BoolVar(&noSamples, "no-samples", false, "pass on what it publishes and store none of it")
	return cmd
}

// filters returns the filters of a flag, none if there is only an empty one.
func filters(list []string) []string {
	if len(list) == 1 && list[0] == "" {
		return []string{}
	}
	return list
}

func certIssueCommand() *cobra.Command {
	var csr, dir string
	cmd := deviceWriteVerb(&cobra.Command{
		Use: "issue DEVICE", Short: "Make a certificate for a plain MQTT device",
		Long:    "Makes a certificate and writes it to DEVICE.pem, and its key to DEVICE.key unless the device has its own (--csr).",
		Example: "  fairlead cert issue pump-7\n  fairlead cert issue pump-7 --csr pump-7.csr",
		Args:    exactly("DEVICE"),
	}, func(s *session, k admin.DeviceKey, _ []string) error {
		var n admin.NewCertificate
		if csr != "" {
			text, err := os.ReadFile(csr)
			if err != nil {
				return err
			}
			n.CSR = string(text)
		}
		crtFile, keyFile := filepath.Join(dir, k.ID+".pem"), filepath.Join(dir, k.ID+".key")
		if n.CSR == "" { // before there is a key that could not be written
			if err := writeNew(keyFile, "", 0o600); err != nil {
				return err
			}
		}
		made, err := s.client.IssueCertificate(s.ctx, k, n)
		if err != nil {
			if n.CSR == "" {
				err = errors.Join(err, os.Remove(keyFile))
			}
			return err
		}
		if n.CSR == "" {
			if err := os.WriteFile(keyFile, []byte(made.Key), 0o600); err != nil {
				return err
			}
		}
		if err := os.WriteFile(crtFile, []byte(made.PEM), 0o644); err != nil {
			return err
		}
		made.Key = "" // it is in the file
		return s.show(made, func(t *table) {
			t.row("Certificate", crtFile)
			if n.CSR == "" {
				t.row("Key", keyFile)
			}
			t.row("Serial", made.Serial)
			t.row("Valid", when(made.NotBefore)+" to "+when(made.NotAfter))
		})
	})
	cmd.Flags().StringVar(&csr, "csr", "", "`file` with a certificate signing request of the device's own key")
	cmd.Flags().StringVar(&dir, "out", ".", "`folder` to write to")
	return cmd
}

// writeNew writes a file that is not there yet.
func writeNew(name, text string, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
