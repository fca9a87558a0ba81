package api

import (
	"net/http"
	"net/netip"
	"reflect"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/refusal"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func (s *Server) mqttRoutes() []route {
	var stages []string
	for _, st := range core.Stages {
		stages = append(stages, string(st))
	}
	sessions := []param{
		tenantParam,
		{name: "dialect", doc: "Only those of this platform's dialect."},
		{name: "client", doc: "Only those of this client id: one at most in each tenant and dialect."},
		{name: "prefix", doc: "Only those whose client ids begin with this."},
		{name: "device", doc: "Only of this device: dialect/tenant/id."},
		limitParam, cursorParam,
	}
	return []route{
		{
			method: http.MethodGet, path: "/v1/connections", id: "listConnections", tag: "connections", summary: "List connections", doc: "Open MQTT connections by tenant, dialect and client id.",
			scope: core.ScopeRead, params: sessions, answer: reflect.TypeFor[admin.Page[admin.Connection]](), do: s.listConnections,
		},
		{
			method: http.MethodGet, path: connectionPath, id: "showConnection", tag: "connections", summary: "Show a connection", doc: "The open MQTT connection of a session.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Connection](), do: s.showConnection,
		},
		{
			method: http.MethodDelete, path: connectionPath, id: "disconnect", tag: "connections", summary: "End a connection",
			doc:   "End a connection. Its session stays, and most clients connect again by themselves: to keep a device out, revoke its certificate.",
			scope: core.ScopeWrite, status: http.StatusNoContent, do: s.disconnect,
		},
		{
			method: http.MethodGet, path: "/v1/sessions", id: "listSessions", tag: "sessions", summary: "List sessions", doc: "MQTT sessions by tenant, dialect and client id, connected or not.",
			scope: core.ScopeRead, params: sessions, answer: reflect.TypeFor[admin.Page[admin.Session]](), do: s.listSessions,
		},
		{
			method: http.MethodGet, path: sessionPath, id: "showSession", tag: "sessions", summary: "Show a session", doc: "One MQTT session, with the filters of its subscriptions.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Session](), do: s.showSession,
		},
		{
			method: http.MethodDelete, path: sessionPath, id: "forgetSession", tag: "sessions", summary: "Forget a session",
			doc:   "End a session for good: its subscriptions and the messages that wait in it are gone, and its connection ends.",
			scope: core.ScopeWrite, status: http.StatusNoContent, do: s.forgetSession,
		},
		{
			method: http.MethodGet, path: "/v1/refusals", id: "listRefusals", tag: "refusals", summary: "List refusals",
			doc: "Clients that were refused, and why, the last one first. They are kept in memory, for each tenant up to 256. " +
				"A client that did not come so far as to say whose it is can only be seen with a token for all tenants.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Page[admin.Refusal]](), do: s.listRefusals,
			params: []param{
				tenantParam,
				{name: "name", doc: "Only where this is a part of the device's id, the client id, the user name or the certificate's subject."},
				{name: "address", doc: "Only from this IP address."},
				{name: "stage", values: stages, doc: "Only at this stage."},
				{name: "since", kind: aTime, doc: "Only where the last time is this time or later."},
				limitParam, cursorParam,
			},
		},
	}
}

func (s *Server) listRefusals(r *request) (any, error) {
	q := refusal.Query{Name: r.text("name"), Stage: core.Stage(r.text("stage")), Since: r.time("since"), Limit: r.limit() + 1}
	if _, err := r.cursor(&q.Before); err != nil {
		return nil, err
	}
	if text := r.text("address"); text != "" {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, refuse(core.ErrInvalid, "parameter address is %.100q: want an IP address", text)
		}
		q.Addr = addr.Unmap().WithZone("")
	}
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		q.Tenant, err = r.tenantParam(rd)
		return err
	})
	if err != nil {
		return nil, err
	}
	list := s.cfg.Refusals.List(q)
	out := admin.Page[admin.Refusal]{Items: []admin.Refusal{}}
	if len(list) > r.limit() {
		list = list[:r.limit()]
		if out.Next, err = makeCursor(list[len(list)-1].Seq); err != nil {
			return nil, err
		}
	}
	for _, e := range list {
		out.Items = append(out.Items, refusalOf(e))
	}
	return out, nil
}

func refusalOf(e refusal.Entry) admin.Refusal {
	out := admin.Refusal{
		Seq: e.Seq, First: admin.NewTime(e.First), Last: admin.NewTime(e.Last), Count: e.Count, Stage: string(e.Stage),
		Reason: string(e.Reason), Text: e.Text, Help: e.Hint, Code: e.Code,
		Tenant: string(e.Device.Tenant), Dialect: e.Device.Dialect, Device: string(e.Device.ID), Proven: e.Proven,
		ClientID: e.ClientID, Username: e.Username, ServerName: e.ServerName,
		TLSVersion: e.TLSVersion, MQTTVersion: mqttVersions[e.MQTTVersion],
	}
	if e.Addr.IsValid() {
		out.Address = e.Addr.String()
	}
	if c := e.Certificate; c != nil {
		out.Certificate = &admin.RefusedCertificate{Subject: c.Subject, Issuer: c.Issuer, Serial: c.Serial, NotAfter: admin.NewTime(c.NotAfter)}
	}
	return out
}

// mqttVersions names the protocol levels of MQTT.
var mqttVersions = map[uint8]string{3: "3.1", 4: "3.1.1", 5: "5"}
