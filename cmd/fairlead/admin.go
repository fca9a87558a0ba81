package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead-iot/fairlead/hub"
	"github.com/fairlead-iot/fairlead/hub/admin"
)

// adminFlags are the flags of all verbs that call the admin API.
type adminFlags struct {
	dataDir string
	url     string
	asJSON  bool
}

func (f *adminFlags) addTo(cmd *cobra.Command) {
	dataDirFlag(cmd, &f.dataDir)
	cmd.Flags().StringVar(&f.url, "url", "", "`address` of the hub, with FAIRLEAD_TOKEN and FAIRLEAD_CA in the environment; "+
		"default FAIRLEAD_URL, else the hub of --data-dir")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

// adminCommand completes a verb that calls the admin API.
func adminCommand(cmd *cobra.Command, run func(*session, []string) error) *cobra.Command {
	var f adminFlags
	f.addTo(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := f.client(cmd.Flags().Changed("data-dir"))
		if err == nil {
			defer client.HTTP.CloseIdleConnections()
			err = run(&session{
				ctx: cmd.Context(), client: client, dataDir: f.dataDir, changed: cmd.Flags().Changed,
				in: cmd.InOrStdin(), out: cmd.OutOrStdout(), asJSON: f.asJSON,
			}, args)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", verb(cmd), err)
		}
		return nil
	}
	return cmd
}

// client finds the hub: by --url, by --data-dir if that is given, by FAIRLEAD_URL, and else in the default folder.
func (f adminFlags) client(dirGiven bool) (*admin.Client, error) {
	url := f.url
	if url == "" && !dirGiven {
		url = os.Getenv("FAIRLEAD_URL")
	}
	if url == "" {
		state, err := hub.ReadState(f.dataDir)
		if err != nil {
			return nil, err
		}
		return state.Client(f.dataDir)
	}
	token := os.Getenv("FAIRLEAD_TOKEN")
	if token == "" {
		return nil, errors.New("FAIRLEAD_TOKEN is not set")
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: askTimeout}
	if file := os.Getenv("FAIRLEAD_CA"); file != "" {
		root, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("FAIRLEAD_CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(root) {
			return nil, fmt.Errorf("FAIRLEAD_CA: %s: no certificate in it", file)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &admin.Client{URL: url, Token: token, HTTP: &http.Client{Transport: transport}}, nil
}

// A session is one run of a verb.
type session struct {
	ctx     context.Context
	client  *admin.Client
	dataDir string                 // which need not be that of the hub
	changed func(flag string) bool // whether a flag was given
	in      io.Reader
	out     io.Writer
	asJSON  bool
}

// show prints v as JSON, or else has text print it.
func (s *session) show(v any, text func(w *table)) error {
	if s.asJSON {
		return printJSON(s.out, v)
	}
	t := &table{w: tabwriter.NewWriter(s.out, 0, 0, 3, ' ', 0)}
	text(t)
	return t.w.Flush()
}

// A table is printed in columns.
type table struct{ w *tabwriter.Writer }

// row prints a row. What devices have chosen must not move the cursor of a terminal, nor look like another row.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(t.w, "\t")
		}
		fmt.Fprint(t.w, printable(c))
	}
	fmt.Fprintln(t.w)
}

// more says that the list was cut off, if it was.
func (t *table) more(more bool, limit int) {
	if more {
		t.row(fmt.Sprintf("(there are more than %d; see --limit)", limit))
	}
}

// printable replaces what is no printable character.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '�'
		}
		return r
	}, s)
}

// when returns a time for people.
func when(t admin.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.String()
}

// or returns a placeholder for what is empty, so that columns can be cut by programs too.
func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// collect reads the pages of a list to its end, or to limit if that is not 0. more tells that there is more.
func collect[T any](limit int, page func(limit int, cursor string) (admin.Page[T], error)) (list []T, more bool, err error) {
	const most = 1000 // what a hub gives at once
	list = []T{}
	for cursor := ""; ; {
		size := most
		if limit > 0 {
			size = min(most, limit-len(list))
		}
		p, err := page(size, cursor)
		if err != nil {
			return nil, false, err
		}
		list = append(list, p.Items...)
		if cursor = p.Next; cursor == "" || limit > 0 && len(list) >= limit {
			return list, cursor != "", nil
		}
	}
}

// timeFlag is a flag for a time: RFC 3339, or how long ago.
type timeFlag struct{ admin.Time }

func (f *timeFlag) String() string {
	if f.IsZero() {
		return ""
	}
	return f.Time.String()
}

func (f *timeFlag) Set(s string) error {
	if ago, err := time.ParseDuration(s); err == nil {
		f.Time = admin.NewTime(time.Now().Add(-ago))
		return nil
	}
	t, err := admin.ParseTime(s)
	if err != nil {
		return errors.New(`want a time such as 2006-01-02T15:04:05Z, or how long ago, such as 90m`)
	}
	f.Time = t
	return nil
}

func (f *timeFlag) Type() string { return "time" }
