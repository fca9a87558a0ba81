package awsiot

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/memnet"
	"github.com/google/go-cmp/cmp"
)

const twoGroups = `{"GGGroups":[
	{"GGGroupId":"g1","Cores":[
		{"thingArn":"arn:core1","Connectivity":[{"Id":"a","HostAddress":"192.0.2.1","PortNumber":8883,"Metadata":"m"},{"Id":"b","HostAddress":"core.local","PortNumber":443}]},
		{"thingArn":"arn:core2","Connectivity":[{"Id":"a","HostAddress":"old","PortNumber":1},{"Id":"a","HostAddress":"::1","PortNumber":2}]}],
	 "CAs":["PEM 1","PEM 2"]},
	{"GGGroupId":"g2","Cores":[{"thingArn":"arn:core3","Connectivity":[]}],"CAs":["PEM 3"]}]}`

func TestDiscoveryInfo(t *testing.T) {
	d, err := ParseDiscoveryInfo([]byte(twoGroups))
	if err != nil {
		t.Fatal(err)
	}
	core1 := CoreConnectivityInfo{"arn:core1", "g1", []ConnectivityInfo{{"a", "192.0.2.1", 8883, "m"}, {"b", "core.local", 443, ""}}}
	core2 := CoreConnectivityInfo{"arn:core2", "g1", []ConnectivityInfo{{"a", "::1", 2, ""}}}
	core3 := CoreConnectivityInfo{CoreThingARN: "arn:core3", GroupID: "g2"}
	g1 := GroupConnectivityInfo{"g1", []CoreConnectivityInfo{core1, core2}, []string{"PEM 1", "PEM 2"}}
	g2 := GroupConnectivityInfo{"g2", []CoreConnectivityInfo{core3}, []string{"PEM 3"}}
	for _, tt := range []struct{ got, want any }{
		{d.Groups(), []GroupConnectivityInfo{g1, g2}},
		{d.ByGroup(), map[string]GroupConnectivityInfo{"g1": g1, "g2": g2}},
		{d.Cores(), []CoreConnectivityInfo{core1, core2, core3}},
		{d.CAs(), []GroupCA{{"g1", "PEM 1"}, {"g1", "PEM 2"}, {"g2", "PEM 3"}}},
		{string(d.JSON), twoGroups},
		{core2.Connectivity[0].Address(), "[::1]:2"},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Error(diff)
		}
	}
	group, ok := d.Group("g1")
	core, ok2 := group.Core("arn:core1")
	way, ok3 := core.ConnectivityInfo("b")
	if !ok || !ok2 || !ok3 || way.Host != "core.local" {
		t.Errorf("%v %v %v %+v", ok, ok2, ok3, way)
	}
	_, ok = d.Group("x")
	_, ok2 = group.Core("x")
	_, ok3 = core.ConnectivityInfo("x")
	if ok || ok2 || ok3 {
		t.Error("found what is not there")
	}
	if _, err := group.RootCAs(); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("authorities: %v", err)
	}
	group.AppendCA("PEM 4")
	group.AppendCore(core3)
	core1.Append(ConnectivityInfo{ID: "a", Host: "new", Port: 5})
	core1.Append(ConnectivityInfo{ID: "c", Host: "new", Port: 6})
	if len(group.CAs) != 3 || len(group.Cores) != 3 || len(core1.Connectivity) != 3 || core1.Connectivity[0].Host != "new" {
		t.Errorf("%+v %+v", group, core1)
	}
	for _, bad := range []string{"", "[]", `{"GGGroups":1}`, `{"GGGroups":[{"Cores":[{"Connectivity":[{"HostAddress":"x","PortNumber":70000}]}]}]}`, `{"GGGroups":[{"Cores":[{"Connectivity":[{"PortNumber":1}]}]}]}`} {
		if _, err := ParseDiscoveryInfo([]byte(bad)); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if d, err := ParseDiscoveryInfo([]byte("{}")); err != nil || d.Groups() != nil {
		t.Errorf("no group: %v", err)
	}
}

func FuzzDiscoveryInfo(f *testing.F) {
	f.Add([]byte(twoGroups))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDiscoveryInfo(text)
		if err != nil {
			return
		}
		if got := len(d.ByGroup()); got != len(d.Groups()) {
			t.Errorf("%d groups of %d", got, len(d.Groups()))
		}
		for _, c := range d.Cores() {
			for _, w := range c.Connectivity {
				if _, _, err := splitEndpoint(w.Address(), 1); err != nil && !strings.ContainsAny(w.Host, "/ \r\n:%[]") {
					t.Errorf("%+v: %v", w, err)
				}
			}
		}
	})
}

// greengrass serves discovery on a network in memory.
func greengrass(t *testing.T, handler http.HandlerFunc) (d *Discovery, alpn *string) {
	t.Helper()
	a := newAuthority(t)
	l := memnet.Listen("greengrass:1")
	alpn = new(string)
	server := httptest.NewUnstartedServer(handler)
	server.Listener = l
	server.TLS = &tls.Config{Certificates: []tls.Certificate{a.server(t, endpoint)}, ClientAuth: tls.RequireAnyClientCert}
	server.TLS.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		*alpn = strings.Join(h.SupportedProtos, ",")
		c := server.TLS.Clone()
		c.NextProtos, c.GetConfigForClient = nil, nil // net/http serves no name that it does not know
		return c, nil
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return &Discovery{
		Endpoint: endpoint, Identity: a.device(t, "pump-7"), RootCAs: a.pool(),
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
	}, alpn
}

func TestDiscover(t *testing.T) {
	var asked string
	d, alpn := greengrass(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Host + " " + r.RequestURI + " " + r.TLS.PeerCertificates[0].Subject.CommonName
		fmt.Fprint(w, twoGroups)
	})
	for _, tt := range []struct{ endpoint, host, alpn string }{
		{endpoint, endpoint + ":8443", ""}, {endpoint + ":443", endpoint, "x-amzn-http-ca"},
	} {
		d.Endpoint = tt.endpoint
		info, err := d.Discover(t.Context(), "pump 7/ä")
		if err != nil || len(info.Groups()) != 2 {
			t.Fatalf("%+v, %v", info, err)
		}
		if want := tt.host + " /greengrass/discover/thing/pump%207%2F%C3%A4 pump-7"; asked != want || *alpn != tt.alpn {
			t.Errorf("asked %q, ALPN %q, want %q, %q", asked, *alpn, want, tt.alpn)
		}
	}
	for _, bad := range []*Discovery{{Endpoint: endpoint}, {Identity: d.Identity}, {Endpoint: "a/b", Identity: d.Identity}} {
		if _, err := bad.Discover(t.Context(), "x"); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := d.Discover(t.Context(), ""); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("no thing: %v", err)
	}
}

// The refusals that the official SDK has exceptions for.
func TestDiscoverRefused(t *testing.T) {
	status, body := 0, ""
	d, _ := greengrass(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
	for _, tt := range []struct {
		status       int
		body, detail string
		kind         error
	}{
		{400, "bad", "bad", fairlead.ErrInvalid},
		{401, `{"message":"no"}`, "no", fairlead.ErrUnauthenticated},
		{403, `{"message":null,"traceId":"x"}`, "", fairlead.ErrDenied},
		{404, `{"errorMessage":"The thing provided for discovery was not found"}`, "The thing provided for discovery was not found", fairlead.ErrNotFound},
		{429, "", "", fairlead.ErrThrottled},
		{500, "x", "x", fairlead.ErrUnavailable},
	} {
		status, body = tt.status, tt.body
		_, err := d.Discover(t.Context(), "x")
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != strconv.Itoa(tt.status) || refusal.Detail != tt.detail || !errors.Is(err, tt.kind) {
			t.Errorf("%d: %v", tt.status, err)
		}
	}
	status, body = 200, "no JSON"
	if _, err := d.Discover(t.Context(), "x"); !errors.Is(err, fairlead.ErrUnavailable) {
		t.Errorf("no JSON: %v", err)
	}
	d.RootCAs = newAuthority(t).pool()
	if _, err := d.Discover(t.Context(), "x"); !errors.Is(err, fairlead.ErrUnavailable) || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("wrong authority: %v", err)
	}
}

func TestDiscoverTimeout(t *testing.T) {
	release := make(chan struct{})
	d, _ := greengrass(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	d.Timeout = 10 * time.Millisecond
	if _, err := d.Discover(t.Context(), "x"); !errors.Is(err, ErrTimeout) || !errors.Is(err, fairlead.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// The first core that can be reached is taken, with the authority of its group.
func TestConnectToCore(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	var network memnet.Network
	l, err := network.Listen("192.0.2.9:8883")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			secure := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{a.server(t, "192.0.2.9")}, ClientAuth: tls.RequireAnyClientCert})
			_ = secure.Handshake() // the client may not like us
			_ = nc.Close()
		}
	}()
	group := func(id string, a *authority, hosts ...string) string {
		ca, _ := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})))
		var ways []string
		for i, h := range hosts {
			ways = append(ways, fmt.Sprintf(`{"Id":"%d","HostAddress":%q,"PortNumber":8883}`, i, h))
		}
		return fmt.Sprintf(`{"GGGroupId":%q,"CAs":[%s],"Cores":[{"thingArn":"core of %s","Connectivity":[%s]}]}`, id, ca, id, strings.Join(ways, ","))
	}
	info, err := ParseDiscoveryInfo([]byte(`{"GGGroups":[` + group("wrong", other, "192.0.2.9") + "," + group("right", a, "192.0.2.1", "192.0.2.9") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{ThingName: "pump-7", Identity: a.device(t, "pump-7"), Dial: network.DialContext}
	got, core, err := info.Connect(t.Context(), cfg)
	if err != nil || got.Endpoint != "192.0.2.9:8883" || got.ThingName != "pump-7" || core.GroupID != "right" || !got.RootCAs.Equal(a.pool()) {
		t.Errorf("%q, %+v, %v", got.Endpoint, core, err)
	}
	_ = l.Close()
	<-done
	if _, _, err := info.Connect(t.Context(), cfg); !errors.Is(err, fairlead.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
	if _, _, err := (&DiscoveryInfo{}).Connect(t.Context(), cfg); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("no core: %v", err)
	}
}
