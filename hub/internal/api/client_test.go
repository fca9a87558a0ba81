package api

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// client returns a client of a rig, over TLS and HTTP/2 as in the field.
func client(t *testing.T, g *rig, token string) *admin.Client {
	t.Helper()
	srv := httptest.NewUnstartedServer(g)
	srv.EnableHTTP2 = true
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = time.Minute, time.Minute
	srv.StartTLS()
	t.Cleanup(func() {
		g.Stop()
		srv.Close()
	})
	return &admin.Client{URL: srv.URL, Token: token, HTTP: srv.Client()}
}

var pumpKey = admin.DeviceKey{Dialect: "astarte", Tenant: "acme", ID: "pump-1"}

// TestClient calls every method of the client.
func TestClient(t *testing.T) {
	g := newRig(t, nil)
	c := client(t, g, ownerToken)
	ctx := t.Context()
	check := func(what string, err error, ok bool) {
		t.Helper()
		if err != nil || !ok {
			t.Errorf("%s: not as expected, %v", what, err)
		}
	}
	st, err := c.Status(ctx)
	check("status", err, st.Version == "v1.2.3")
	made, err := c.CreateTenant(ctx, admin.NewTenant{ID: "new"})
	check("create tenant", err, made.ID == "new" && made.Created.Equal(noon))
	one, err := c.Tenant(ctx, "acme")
	check("tenant", err, one.Devices.Total == 3)
	yes := true
	devices, err := c.Devices(ctx, admin.DeviceQuery{Tenant: "acme", Dialect: "astarte", Prefix: "pump", Connected: &yes})
	check("devices", err, len(devices.Items) == 1 && devices.Items[0].DeviceKey == pumpKey)
	d, err := c.Device(ctx, pumpKey)
	check("device", err, d.Credentials.Registered && d.Sent[0].Messages == 3)
	cred, err := c.SetCredentials(ctx, pumpKey, admin.SetCredentials{Inhibited: true})
	check("inhibit", err, cred.Inhibited)
	cred, err = c.Credentials(ctx, pumpKey)
	check("credentials", err, cred.Inhibited)
	crt, err := c.RevokeCertificate(ctx, "a0002")
	check("revoke certificate", err, crt.State == "revoked" && crt.Device == pumpKey)
	crt, err = c.Certificate(ctx, "a0002")
	check("certificate", err, crt.State == "revoked")
	root, err := c.RootCA(ctx)
	check("root", err, strings.HasPrefix(string(root), "-----BEGIN"))
	crl, err := c.CRL(ctx, "")
	check("crl", err, len(crl) > 0)
	if list, err := x509.ParseRevocationList(crl); err != nil {
		t.Errorf("revocation list: %v", err)
	} else if e := list.RevokedCertificateEntries; len(e) != 1 || e[0].SerialNumber.Text(16) != crt.Serial || !e[0].RevocationTime.Equal(noon) {
		t.Errorf("revocation list: got %v", e)
	}
	event, err := c.Events(ctx, admin.EventQuery{After: 4, Limit: 1, Tenant: "acme", Device: pumpKey, Kinds: []string{"document.changed"}})
	check("events", err, len(event.Items) == 1 && event.Items[0].Seq == 5)
	tok, err := c.CreateToken(ctx, admin.NewToken{Name: "n", Scope: "read", Tenant: "acme", Expires: admin.NewTime(noon.Add(time.Hour))})
	check("create token", err, strings.HasPrefix(tok.Secret, "fairlead_") && tok.Expires.Equal(noon.Add(time.Hour)))
	mine := *c
	mine.Token = tok.Secret
	self, err := mine.Self(ctx)
	check("self", err, self == tok.Token)
	check("revoke token", c.RevokeToken(ctx, tok.ID), true)
	if _, err := mine.Self(ctx); !admin.IsUnauthenticated(err) {
		t.Errorf("revoked: got %v", err)
	}
	_, err = c.Device(ctx, admin.DeviceKey{Dialect: "astarte", Tenant: "acme", ID: "no/ne"})
	var e *admin.Error
	if !admin.IsNotFound(err) || !errors.As(err, &e) || e.Kind != "not found" || e.Help == "" {
		t.Errorf("no device: got %#v", err)
	}
}

// TestPaging reads every list with pages of every size: nothing may be missing, and nothing come twice.
func TestPaging(t *testing.T) {
	g := newRig(t, nil)
	g.do(func(tx *commit.Tx) error {
		var errs []error
		for i := range 3 {
			errs = append(errs, tx.InsertTenant(core.Tenant{ID: core.TenantID(fmt.Sprint("t", i))}))
		}
		return errors.Join(errs...)
	})
	c := client(t, g, ownerToken)
	ctx := t.Context()
	for name, list := range map[string]func(limit int) []string{
		"tenants": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Tenant], error) { return c.Tenants(ctx, n, cur) }, func(x admin.Tenant) string { return x.ID })
		},
		"tokens": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Token], error) { return c.Tokens(ctx, n, cur) }, func(x admin.Token) string { return x.ID })
		},
		"devices": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Device], error) {
				return c.Devices(ctx, admin.DeviceQuery{Limit: n, Cursor: cur})
			}, func(x admin.Device) string { return x.String() })
		},
		"certificates": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Certificate], error) { return c.Certificates(ctx, pumpKey, n, cur) },
				func(x admin.Certificate) string { return x.Serial })
		},
		"channels": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Channel], error) { return c.Channels(ctx, pumpKey, "", n, cur) },
				func(x admin.Channel) string { return x.Channel })
		},
		"samples": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Sample], error) {
				return c.Samples(ctx, pumpKey, admin.SampleQuery{Channel: "temps:1/a", Limit: n, Cursor: cur})
			}, func(x admin.Sample) string { return string(x.Value.Value) })
		},
		"samples backwards": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Sample], error) {
				return c.Samples(ctx, pumpKey, admin.SampleQuery{Channel: "temps:1/a", Limit: n, Cursor: cur, Backwards: true})
			}, func(x admin.Sample) string { return string(x.Value.Value) })
		},
		"documents": func(n int) []string {
			return ids(t, n, func(cur string) (admin.Page[admin.Entry], error) {
				return c.Documents(ctx, pumpKey, admin.EntryQuery{Limit: n, Cursor: cur})
			}, func(x admin.Entry) string { return x.Document + x.Side + x.Path })
		},
		"desired of one document": func(n int) []string {
			one := "conf:1"
			return ids(t, n, func(cur string) (admin.Page[admin.Entry], error) {
				return c.Documents(ctx, pumpKey, admin.EntryQuery{Document: &one, Side: "desired", Limit: n, Cursor: cur})
			}, func(x admin.Entry) string { return x.Document + x.Side + x.Path })
		},
		"events": func(n int) (list []string) {
			for q := (admin.EventQuery{Limit: n}); ; {
				p, err := c.Events(ctx, q)
				if err != nil || len(p.Items) > n {
					t.Fatal(len(p.Items), err)
				}
				for _, e := range p.Items {
					list = append(list, fmt.Sprint(e.Seq))
				}
				if q.After = p.Last; !p.More {
					return list
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := list(1000)
			wantLen := map[string]int{
				"tenants": 5, "tokens": 6, "devices": 4, "certificates": 3, "channels": 3, "samples": 5, "samples backwards": 5,
				"documents": 18, "desired of one document": 3, "events": 6,
			}[name]
			if len(want) != wantLen {
				t.Errorf("got %d items, want %d: %v", len(want), wantLen, want)
			}
			for n := 1; n <= len(want)+1; n++ {
				if d := cmp.Diff(want, list(n)); d != "" {
					t.Errorf("pages of %d: -whole +pages\n%s", n, d)
				}
			}
		})
	}
}

func ids[T any](t *testing.T, limit int, page func(string) (admin.Page[T], error), id func(T) string) (list []string) {
	t.Helper()
	for x, err := range admin.All(func(cursor string) (admin.Page[T], error) {
		p, err := page(cursor)
		if len(p.Items) > limit {
			t.Errorf("got a page of %d, limit %d", len(p.Items), limit)
		}
		return p, err
	}) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, id(x))
	}
	return list
}

// TestPagesAreBounded: pages of large values, and of lists of which most is left out, are shorter than asked for, and
// nothing is missing.
func TestPagesAreBounded(t *testing.T) {
	g := newRig(t, nil)
	const large, many = 6, maxLooked + 500
	big := core.AppendBytes(nil, make([]byte, 1<<20))
	g.do(func(tx *commit.Tx) error {
		d := core.Device{DeviceKey: core.DeviceKey{Tenant: "acme", Dialect: "mqtt", ID: "big"}}
		if err := tx.InsertDevice(&d); err != nil {
			return err
		}
		var errs []error
		for i := range large {
			for _, channel := range []string{fmt.Sprint("c", i), "one"} {
				b := core.Block{Series: &core.Series{Device: d.Num, Channel: channel}}
				b.Add(int64(i), int64(i), big)
				errs = append(errs, tx.AppendBlock(&b))
			}
			errs = append(errs, tx.PutEntry(core.DocumentKey{Device: d.Num, Name: "big"}, core.Entry{Path: fmt.Sprint(i), Value: big}))
		}
		for i := range many {
			errs = append(errs, tx.PutEntry(core.DocumentKey{Device: d.Num, Name: "many"}, core.Entry{Path: fmt.Sprint(i), Value: core.AppendNull(nil)}))
		}
		errs = append(errs, tx.PutEntry(core.DocumentKey{Device: d.Num, Name: "many", Side: core.Desired}, core.Entry{Path: "x", Value: core.AppendNull(nil)}))
		return errors.Join(errs...)
	})
	c := client(t, g, readAll)
	k := admin.DeviceKey{Dialect: "mqtt", Tenant: "acme", ID: "big"}
	count := func(what string, want, most int, page func(cursor string) (items int, next string, err error)) {
		t.Helper()
		total, pages := 0, 0
		for cursor := ""; pages == 0 || cursor != ""; pages++ {
			n, next, err := page(cursor)
			if err != nil || n > most {
				t.Fatalf("%s: got a page of %d, want at most %d (%v)", what, n, most, err)
			}
			total, cursor = total+n, next
		}
		if total != want || pages < 2 {
			t.Errorf("%s: got %d items in %d pages, want %d in several", what, total, pages, want)
		}
	}
	const most = maxPageBytes>>20 + 1
	count("samples", large, most, func(cursor string) (int, string, error) {
		p, err := c.Samples(t.Context(), k, admin.SampleQuery{Channel: "one", Cursor: cursor})
		return len(p.Items), p.Next, err
	})
	count("channels", large, most, func(cursor string) (int, string, error) {
		p, err := c.Channels(t.Context(), k, "c", 0, cursor)
		return len(p.Items), p.Next, err
	})
	name := "big"
	count("documents", large, most, func(cursor string) (int, string, error) {
		p, err := c.Documents(t.Context(), k, admin.EntryQuery{Document: &name, Cursor: cursor})
		return len(p.Items), p.Next, err
	})
	name = "many"
	count("one side of many", 1, 1, func(cursor string) (int, string, error) {
		p, err := c.Documents(t.Context(), k, admin.EntryQuery{Document: &name, Side: "desired", Cursor: cursor})
		return len(p.Items), p.Next, err
	})
}
