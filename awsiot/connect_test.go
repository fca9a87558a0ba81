package awsiot

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

func TestConfig(t *testing.T) {
	id := newAuthority(t).device(t, "x")
	good := Config{Endpoint: endpoint, Identity: id}
	for name, change := range map[string]func(*Config){
		"endpoint is empty":           func(c *Config) { c.Endpoint = "" },
		"without a scheme":            func(c *Config) { c.Endpoint = "mqtts://x" },
		"host:port":                   func(c *Config) { c.Endpoint = "x:0" },
		"there are 0":                 func(c *Config) { c.Identity = nil },
		"there are 2":                 func(c *Config) { c.Authorizer = &Authorizer{} },
		"no client certificates":      func(c *Config) { c.WebSocket = true },
		"ThingName":                   func(c *Config) { c.ThingName = "a/b" },
		"ClientID":                    func(c *Config) { c.ClientID = "$x" },
		"want up to 128 bytes":        func(c *Config) { c.ClientID = strings.Repeat("x", 129) },
		"protocol 9":                  func(c *Config) { c.Protocol = 9 },
		"KeepAlive":                   func(c *Config) { c.KeepAlive = time.Millisecond },
		"MaxInFlight":                 func(c *Config) { c.MaxInFlight = -1 },
		"SessionExpiry":               func(c *Config) { c.SessionExpiry = -1 },
		"DrainInterval":               func(c *Config) { c.DrainInterval = -1 },
		"negative time configuration": func(c *Config) { c.Backoff.Max = -1 },
		"min connect time":            func(c *Config) { c.Backoff.Base = 20 * time.Second },
		"base 3s and max 2s":          func(c *Config) { c.Backoff.Base, c.Backoff.Max = 3*time.Second, 2*time.Second },
		"drop behavior 3":             func(c *Config) { c.OfflineQueue = &OfflineQueue{Drop: 3} },
		"AWS IoT knows 0 and 1":       func(c *Config) { c.Will = &Will{Topic: "a", QoS: 2} },
		"topic \"a/#\"":               func(c *Config) { c.Will = &Will{Topic: "a/#"} },
		"only MQTT 5":                 func(c *Config) { c.Protocol, c.Will = MQTT311, &Will{Topic: "a", Delay: time.Second} },
		"invalid endpoint pattern for wss": func(c *Config) {
			c.Identity, c.Credentials, c.Endpoint = nil, EnvironmentCredentials(), "localhost"
		},
		"token without a name":      func(c *Config) { c.Identity, c.Authorizer = nil, &Authorizer{Token: identity.NewSecret("x")} },
		"a signature, and no token": func(c *Config) { c.Identity, c.Authorizer = nil, &Authorizer{Signature: "x"} },
		"Authorizer has token name \"": func(c *Config) {
			c.Identity, c.Authorizer = nil, &Authorizer{TokenName: "a&b", Token: identity.NewSecret("x")}
		},
	} {
		cfg := good
		change(&cfg)
		_, err := New(cfg)
		if !errors.Is(err, fairlead.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.ClientID(), "fairlead-") || !c.cfg.CleanSession || c.State() != Disconnected {
		t.Errorf("client ID %q, clean session %v, %v", c.ClientID(), c.cfg.CleanSession, c.State())
	}
}

// What the official SDK sends in CONNECT, but for the name of the SDK, which is sent by default.
func TestConnectVectors(t *testing.T) {
	id := newAuthority(t).device(t, "x")
	vectors := loadVectors(t, "mqtt-connect.json")
	for name, tt := range map[string]struct {
		cfg  Config
		want string // of the user name, if it is not the vector's
	}{
		"v1-defaults":           {cfg: Config{ClientID: "cid", KeepAlive: 600 * time.Second, CleanSession: true, Protocol: MQTT311, Username: "?SDK=Python&Version=1.6.2", NoMetrics: true}},
		"v1-will-user":          {cfg: Config{ClientID: "will", KeepAlive: 30 * time.Second, Protocol: MQTT311, Username: "user?SDK=Python&Version=1.6.2", Password: identity.NewSecret("pw"), NoMetrics: true, Will: &Will{Topic: "w/t", Payload: []byte("bye"), QoS: 1, Retain: true}}},
		"v1-mqtt31":             {cfg: Config{ClientID: "v31", KeepAlive: 1200 * time.Second, CleanSession: true, Protocol: MQTT31, NoMetrics: true}},
		"v1-no-metrics":         {cfg: Config{ClientID: "nometrics", KeepAlive: -1, CleanSession: true, Protocol: MQTT311, NoMetrics: true}},
		"v2-mqtt311-no-metrics": {cfg: Config{ClientID: "cid", KeepAlive: 1200 * time.Second, Protocol: MQTT311, NoMetrics: true}},
	} {
		tt.cfg.Endpoint, tt.cfg.Identity = endpoint, id
		c, err := New(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		p := c.connectPacket()
		if got, want := p.Append(nil, 0), vectors[name].bytes(t); p.Version != 0 || !bytes.Equal(withVersion(p, c), want) {
			t.Errorf("%s:\n got %x\nwant %x", name, got, want)
		}
	}
}

func withVersion(p mqtt.Connect, c *Client) []byte {
	p.Version = c.cfg.Protocol.version()
	return p.Append(nil, p.Version)
}

func TestUsername(t *testing.T) {
	metrics := "SDK=FairleadGo&Version=" + version()
	auth := &Authorizer{Name: "myauth", Signature: "c2ln+/==", TokenName: "tok", Token: identity.NewSecret("abc")}
	// The same as in vector v2-mqtt311-customauth-direct.
	const custom = "?x-amz-customauthorizer-name=myauth&x-amz-customauthorizer-signature=c2ln%2B/%3D%3D&tok=abc"
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "?" + metrics},
		{Config{NoMetrics: true}, ""},
		{Config{Username: "user"}, "user?" + metrics},
		{Config{Username: "user?a=b"}, "user?a=b&" + metrics},
		{Config{Username: "user", Authorizer: auth}, "user" + custom + "&" + metrics},
		{Config{Authorizer: auth, NoMetrics: true}, custom},
		{Config{Authorizer: &Authorizer{}}, "?" + metrics},
		{Config{Authorizer: &Authorizer{TokenName: "t n", Token: identity.NewSecret("a&b=c d?")}, NoMetrics: true}, "?t%20n=a%26b%3Dc%20d%3F"},
	} {
		if got := tt.cfg.username(); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
	v := loadVectors(t, "mqtt-connect.json")["v2-mqtt311-customauth-direct"]
	if !bytes.Contains(v.bytes(t), []byte("user"+custom)) {
		t.Error("the vector has another form")
	}
}

func TestRegion(t *testing.T) {
	for endpoint, want := range map[string]string{
		"a1-ats.iot.eu-west-1.amazonaws.com":         "eu-west-1",
		"a1.iot.cn-north-1.amazonaws.com.cn":         "cn-north-1",
		"DEV.IOT.us-east-1.amazonaws.localhost:8443": "us-east-1",
		"localhost":   "",
		"127.0.0.1":   "",
		"a.iot.b.org": "",
	} {
		c := Config{Endpoint: endpoint}
		if got, err := c.region(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", endpoint, got, err)
		}
	}
	if got, err := (&Config{Endpoint: "localhost", Region: "x"}).region(); got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Which port and which name in ALPN each way to sign in has, and that the certificate goes along.
func TestWays(t *testing.T) {
	for name, tt := range map[string]struct {
		change      func(*Config)
		address     string
		alpn        string
		certificate bool
		webSocket   bool
	}{
		"certificate":      {func(c *Config) {}, endpoint + ":8883", "", true, false},
		"certificate, 443": {func(c *Config) { c.Endpoint += ":443" }, endpoint + ":443", "x-amzn-mqtt-ca", true, false},
		"authorizer":       {func(c *Config) { c.Authorizer = &Authorizer{} }, endpoint + ":443", "mqtt", false, false},
		"authorizer, WebSocket": {func(c *Config) {
			c.Authorizer, c.WebSocket = &Authorizer{Name: "a"}, true
		}, endpoint + ":443", "", false, true},
		"access key": {func(c *Config) { c.Credentials = StaticCredentials("AKID", identity.NewSecret("s"), identity.Secret{}) }, endpoint + ":443", "", false, true},
		"access key, port": {func(c *Config) {
			c.Endpoint, c.Credentials = endpoint+":9443", StaticCredentials("AKID", identity.NewSecret("s"), identity.Secret{})
		}, endpoint + ":9443", "", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, tt.change, connect(), connack(false))
				r.start()
				if err := r.Await(r.ctx); err != nil {
					t.Fatal(err)
				}
				if err := r.finish(); err != nil {
					t.Error(err)
				}
				r.want("connected", "disconnected")
				state := r.gate.states[0]
				if got := r.gate.dialed; !slices.Equal(got, []string{tt.address}) {
					t.Errorf("dialed %q", got)
				}
				if state.NegotiatedProtocol != tt.alpn || (len(state.PeerCertificates) > 0) != tt.certificate || state.ServerName != endpoint {
					t.Errorf("ALPN %q, %d certificates, SNI %q", state.NegotiatedProtocol, len(state.PeerCertificates), state.ServerName)
				}
				if got := len(r.gate.requests) > 0; got != tt.webSocket {
					t.Errorf("WebSocket %v", got)
				}
			})
		})
	}
}

// The URL is signed with the credentials of the moment, again before each connection: before the day is over that AWS IoT allows, and
// before the credentials end.
func TestSigned(t *testing.T) {
	for name, tt := range map[string]struct {
		life       time.Duration // of the credentials; 0: for ever
		least, max time.Duration // until the next connection
	}{
		"for ever":       {0, 23 * time.Hour, 23*time.Hour + 30*time.Minute},
		"an hour":        {time.Hour, 40 * time.Minute, 45 * time.Minute},
		"nearly nothing": {10 * time.Second, time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked []time.Time
				r := newRig(t, func(c *Config) {
					c.Credentials = CredentialsFunc(func(context.Context) (Credentials, error) {
						asked = append(asked, time.Now())
						cred := Credentials{AccessKeyID: "AKID", SecretAccessKey: identity.NewSecret("secretTest"), SessionToken: identity.NewSecret("tok/en+==")}
						if tt.life > 0 {
							cred.Expires = time.Now().Add(tt.life)
						}
						return cred, nil
					})
				}, connect(), connack(false), mqtttest.Expect(mqtt.Disconnect{}), mqtttest.Hangup(), connect(), connack(false))
				r.start()
				if err := r.finish(); err != nil {
					t.Error(err)
				}
				r.want("connected", "connecting", "connected", "disconnected")
				if len(asked) < 2 {
					t.Fatalf("asked %d times", len(asked))
				}
				if after := asked[1].Sub(asked[0]); after < tt.least || after > tt.max+time.Second {
					t.Errorf("asked again after %v", after)
				}
				for i, req := range r.gate.requests[:2] {
					checkSigned(t, req, asked[i])
				}
			})
		})
	}
}

func checkSigned(t *testing.T, req *http.Request, at time.Time) {
	t.Helper()
	u, err := url.ParseRequestURI(req.RequestURI)
	if err != nil || u.Path != "/mqtt" || req.Header.Get("Sec-WebSocket-Protocol") != "mqtt" || req.Host != endpoint {
		t.Fatalf("%q of host %q, protocol %q", req.RequestURI, req.Host, req.Header.Get("Sec-WebSocket-Protocol"))
	}
	signed := &sigv4.Request{Method: req.Method, Path: u.EscapedPath(), Query: u.RawQuery, Host: req.Host, Header: req.Header}
	s, err := sigv4.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	cred := sigv4.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secretTest", SessionToken: "tok/en+=="}
	if err := s.Verify(signed, cred, sigv4.Window{Now: at}); err != nil {
		t.Error(err)
	}
	if s.AccessKeyID != "AKID" || s.Scope != (sigv4.Scope{Region: "eu-west-1", Service: "iotdevicegateway"}) || u.Query().Get("X-Amz-Expires") != "86400" {
		t.Errorf("%+v, query %q", s, u.RawQuery)
	}
}

// A refusal has its own code and text, Await returns it at once, and Run goes on, with the pauses that are configured.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []error
		var at []time.Duration
		start := time.Now()
		r := newRig(t, func(c *Config) {
			c.Backoff = Backoff{Base: 2 * time.Second, Max: 8 * time.Second, Stable: 9 * time.Second}
			c.OnConnection = func(conn Connection) {
				if conn.State == Connecting {
					errs = append(errs, conn.Err)
					at = append(at, conn.Retry)
				}
			}
		},
			connect(), mqtttest.Send(mqtt.ConnAck{Code: mqtt.ConnAckNotAuthorized}), mqtttest.Hangup(), connect(), mqtttest.Send(mqtt.ConnAck{Code: 7}), mqtttest.Hangup(),
			connect(), mqtttest.Send(mqtt.ConnAck{Code: mqtt.ConnAckBadClientID}), mqtttest.Hangup(), connect(), mqtttest.Send(mqtt.ConnAck{Code: mqtt.ConnAckUnavailable}), mqtttest.Hangup(),
			connect(), connack(false), mqtttest.Do("soon", func() { time.Sleep(8 * time.Second) }), mqtttest.Hangup(), connect(), connack(false), mqtttest.Do("later", func() { time.Sleep(9 * time.Second) }), mqtttest.Hangup(),
			connect(), connack(false),
		)
		r.start()
		err := r.Await(r.ctx)
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != "5" || !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("Await: %v", err)
		}
		if err := r.finish(); err != nil {
			t.Error(err)
		}
		kinds := []error{fairlead.ErrDenied, fairlead.ErrDenied, fairlead.ErrInvalid, fairlead.ErrUnavailable, fairlead.ErrUnavailable, fairlead.ErrUnavailable}
		const s = time.Second
		waits := []time.Duration{2 * s, 4 * s, 8 * s, 8 * s, 8 * s, 2 * s}
		for i := range kinds {
			if !errors.Is(errs[i], kinds[i]) || at[i] != waits[i] {
				t.Errorf("%d: %v, retry in %v; want %v, %v", i, errs[i], at[i], kinds[i], waits[i])
			}
		}
		if took := time.Since(start).Truncate(time.Second); took != (2+4+8+8+8+8+9+2)*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.GiveUp = func(err error) bool { return errors.Is(err, fairlead.ErrDenied) } },
			connect(), mqtttest.Send(mqtt.ConnAck{Code: mqtt.ConnAckUnavailable}), mqtttest.Hangup(), connect(), mqtttest.Send(mqtt.ConnAck{Code: mqtt.ConnAckNotAuthorized}))
		r.start()
		if err := r.finish(); !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("Run: %v", err)
		}
		r.want("connecting", "connecting", "disconnected")
	})
}

// The handshake of the WebSocket is refused by HTTP, and the server's certificate by us.
func TestRefusedBelowMQTT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Credentials = StaticCredentials("AKID", identity.NewSecret("s"), identity.Secret{}) })
		r.gate.status = 403
		r.start()
		err := r.Await(r.ctx)
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != "403" || !strings.Contains(refusal.Detail, "not this time") || !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("Await: %v", err)
		}
		_ = r.finish()
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.RootCAs = newAuthority(t).pool() })
		r.start()
		if err := r.Await(r.ctx); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("Await: %v", err)
		}
		_ = r.finish()
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Credentials = ChainCredentials() })
		r.start()
		if err := r.Await(r.ctx); !errors.Is(err, ErrNoCredentials) {
			t.Errorf("Await: %v", err)
		}
		_ = r.finish()
	})
}

// Without an end to its context Await would wait for ever; with one it says that there is no connection.
func TestAwaitTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, connect(), mqtttest.Do("wait", func() { time.Sleep(2 * time.Second) }), connack(false))
		r.start()
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		if err := r.Await(ctx); !errors.Is(err, fairlead.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Await: %v", err)
		}
		_ = r.finish()
	})
}

// A client can be connected, disconnected and connected again; what it has subscribed to stays, and the will can be changed in between.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, func(c *Config) { c.Will = &Will{Topic: "will", Payload: []byte("1")} },
			mqtttest.Expect(mqtt.Connect{ClientID: "pump-7", Will: &mqtt.Will{Topic: "will", Payload: []byte("1")}}), connack(false), subscribe("a", 1), suback(),
			settle(), mqtttest.Do("stop", func() { r.cancel() }), mqtttest.Expect(mqtt.Disconnect{}), mqtttest.Hangup(),
			mqtttest.ExpectThat("CONNECT without a will", func(p mqtt.Packet) error {
				if c, ok := p.(*mqtt.Connect); !ok || c.Will != nil {
					return errors.New("there is one")
				}
				return nil
			}), connack(false), subscribe("a", 1), suback(), settle(), mqtttest.Send(publish("a", 0)), settle(),
		)
		r.start()
		granted, err := r.Subscribe(r.ctx, "a", 1, func(m *Message) { r.note("got %s", m.Topic) }, nil)
		if granted != 1 || err != nil {
			t.Errorf("granted %d, %v", granted, err)
		}
		if err := r.Run(r.ctx); !errors.Is(err, fairlead.ErrInUse) {
			t.Errorf("second Run: %v", err)
		}
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := r.SetWill(nil); err != nil {
			t.Error(err)
		}
		if err := r.SetWill(&Will{}); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("bad will: %v", err)
		}
		r.ctx, r.cancel = context.WithCancel(t.Context())
		r.start()
		if err := r.finish(); err != nil {
			t.Error(err)
		}
		r.want("connected", "disconnected", "connected", "got a", "disconnected")
	})
}
