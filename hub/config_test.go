package hub

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub/internal/broker"
)

func TestConfigIsChecked(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string // in the error, "" for none
	}{
		{"least", Config{DataDir: "x"}, ""},
		{"no folder", Config{}, "DataDir is empty"},
		{"port", Config{DataDir: "x", MQTTPort: 65536}, "MQTTPort is 65536"},
		{"negative port", Config{DataDir: "x", HTTPSPort: -2}, "HTTPSPort is -2"},
		{"any ports", Config{DataDir: "x", MQTTPort: AnyPort, HTTPSPort: AnyPort}, ""},
		{"more ports", Config{DataDir: "x", HTTPSPort: 443, HTTPSMorePorts: []int{8443, AnyPort, AnyPort}}, ""},
		{"one of them the first", Config{DataDir: "x", HTTPSPort: 443, HTTPSMorePorts: []int{443}}, "HTTPSMorePorts has 443, which another port is already"},
		{"one of them twice", Config{DataDir: "x", HTTPSMorePorts: []int{8443, 8443}}, "HTTPSMorePorts has 8443"},
		{"one of them none", Config{DataDir: "x", HTTPSMorePorts: []int{0}}, "HTTPSMorePorts has 0"},
		{"one port twice", Config{DataDir: "x", MQTTPort: 8443, HTTPSPort: 8443}, "HTTPSPort is 8443, as MQTTPort is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(tt.cfg)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestPorts(t *testing.T) {
	for _, tt := range []struct {
		port int
		want []int
	}{{0, []int{443, 8443}}, {AnyPort, []int{0}}, {8444, []int{8444}}} {
		if diff := cmp.Diff(tt.want, ports(tt.port, DefaultHTTPSPort, UnprivilegedHTTPSPort)); diff != "" {
			t.Errorf("ports(%d): -want +got\n%s", tt.port, diff)
		}
	}
}

// Clients are told a name that leads to the hub and is in its certificate.
func TestHostIsInTheCertificate(t *testing.T) {
	for _, tt := range []struct {
		listen string
		names  []string
		want   string
	}{
		{"", nil, "localhost"},
		{"127.0.0.1", nil, "localhost"},
		{"::1", nil, "localhost"},
		{"0.0.0.0", nil, "localhost"},
		{"::", nil, "localhost"},
		{"127.0.0.5", nil, "127.0.0.5"},
		{"192.0.2.7", nil, "192.0.2.7"},
		{"fe80::1%eth0", nil, "fe80::1"},
		{"192.0.2.7", []string{"hub.example.org", "other.example.org"}, "hub.example.org"},
	} {
		cfg := Config{DataDir: "x", Names: tt.names}
		if tt.listen != "" {
			cfg.Listen = netip.MustParseAddr(tt.listen)
		}
		cfg, err := cfg.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		got := cfg.host()
		if got != tt.want {
			t.Errorf("listen %q, names %v: got host %q, want %q", tt.listen, tt.names, got, tt.want)
		}
		names := cfg.serverNames("machine")
		for _, want := range append([]string{got, "localhost", "127.0.0.1", "::1", "machine"}, tt.names...) {
			if !slices.Contains(names, want) {
				t.Errorf("listen %q: names %v lack %q", tt.listen, names, want)
			}
		}
	}
}

func TestInheritedSocketSaysWhereWeListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.5:0")
	if err != nil {
		t.Skip("no such address here")
	}
	defer l.Close()
	cfg, err := Config{DataDir: "x", Listeners: Listeners{HTTPS: l}}.WithDefaults()
	if err != nil || cfg.host() != "127.0.0.5" {
		t.Errorf("got %q, %v, want 127.0.0.5", cfg.host(), err)
	}
}

func TestAddressesInURLs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p := &parts{host: "2001:db8::7", https: l, mqtt: l}
	if got, want := p.url(), "https://[2001:db8::7]:"+port; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for host, want := range map[string]string{
		"":              "[2001:db8::7]:" + port,
		"hub.example":   "hub.example:" + port,
		"[2001:db8::8]": "[2001:db8::8]:" + port,
		"2001:db8::8":   "[2001:db8::8]:" + port,
	} {
		if got := p.at(host, l); got != want {
			t.Errorf("at(%q): got %q, want %q", host, got, want)
		}
	}
}

// TestDefaultsOfTheBroker: the numbers that users of this package are told are those of the broker.
func TestDefaultsOfTheBroker(t *testing.T) {
	for _, d := range []struct {
		name      string
		got, want any
	}{
		{"DefaultMQTTPending", DefaultMQTTPending, broker.DefaultPending},
		{"DefaultConnectTimeout", DefaultConnectTimeout, broker.DefaultConnectTimeout},
		{"DefaultMQTTSessions", DefaultMQTTSessions, broker.DefaultMaxSessions},
		{"DefaultMQTTSessionsPerDevice", DefaultMQTTSessionsPerDevice, broker.DefaultLimits.Sessions},
		{"DefaultMQTTSubscriptionsPerDevice", DefaultMQTTSubscriptionsPerDevice, broker.DefaultLimits.DeviceFilters},
		{"DefaultMQTTRetained", DefaultMQTTRetained, broker.DefaultMaxRetained},
		{"DefaultMQTTRetainedBytes", DefaultMQTTRetainedBytes, broker.DefaultMaxRetainedBytes},
	} {
		if d.got != d.want {
			t.Errorf("%s: got %v, want %v as the broker has it", d.name, d.got, d.want)
		}
	}
}
