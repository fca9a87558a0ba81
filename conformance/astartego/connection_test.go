package astartego

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
)

// visitor connects with the device's certificate, as a second program with it would. A connection that the device has is ended by that. The returned function leaves.
func (g *gadget) visitor(p mqtt.Connect) (leave func()) {
	g.t.Helper()
	dir := filepath.Join(g.cfg.Dir, "crypto")
	id, err := identity.Load(filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt"))
	must(g.t, err)
	d := mqttclient.Dialer{Address: g.p.hub.MQTT(), TLS: &tls.Config{RootCAs: g.p.realm.Roots(), ServerName: "localhost", GetClientCertificate: id.GetClientCertificate}}
	nc, err := d.Dial(g.t.Context())
	must(g.t, err)
	s, err := mqttclient.NewSession(mqttclient.Config{})
	must(g.t, err)
	ctx, cancel := context.WithCancel(g.t.Context())
	connected, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, nc, p, func(mqttclient.Connected) { close(connected) }) }()
	select {
	case <-connected:
	case err := <-ended:
		g.t.Fatal(err)
	}
	return func() {
		cancel()
		<-ended
	}
}

// visit connects, and leaves. With clean the device's session is forgotten.
func (g *gadget) visit(clean bool) {
	g.t.Helper()
	g.visitor(mqtt.Connect{ClientID: "visitor", CleanStart: clean, KeepAlive: 60})()
}

// kick ends the device's connection, and leaves its session alone.
func (g *gadget) kick() {
	g.t.Helper()
	g.visit(false)
	g.await(astarte.Connecting)
}

// forgetSession makes the hub forget the session of a device that is away.
func (g *gadget) forgetSession() {
	g.t.Helper()
	g.visit(true)
}

func TestConnects(t *testing.T) {
	p := shared(t)
	t.Run("with all interfaces", func(t *testing.T) {
		all, err := definitions()
		must(t, err)
		var names []string
		for short := range all {
			names = append(names, short)
		}
		g := p.connected(t, names...)
		d, err := p.realm.Device(t.Context(), g.ID())
		must(t, err)
		slices.Sort(names)
		if got := g.declared(); !d.Connected || !slices.Equal(got, names) { // once: Connected means that it is acknowledged
			t.Errorf("got %v", got)
		}
	})
	t.Run("with none", func(t *testing.T) {
		g := p.connected(t)
		d, err := p.realm.Device(t.Context(), g.ID())
		must(t, err)
		if !d.Connected || len(d.Introspection) > 0 {
			t.Errorf("got %+v", d)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		one, two := p.connected(t, "DeviceQos"), p.connected(t, "DeviceQos")
		one.send("DeviceQos", "/unique", 1)
		two.send("DeviceQos", "/unique", 2)
		one.settle()
		two.settle()
		equal(t, one.series("DeviceQos", "/unique"), numbers(1, 2))
		equal(t, two.series("DeviceQos", "/unique"), numbers(2, 3))
	})
}

// Asked to end, the device says goodbye, and can run again; another process uses the certificate that is there.
func TestDisconnects(t *testing.T) {
	p := shared(t)
	g := p.gadget(t, "DeviceQos").make()
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- g.Run(ctx) }()
		g.await(astarte.Connected)
		g.send("DeviceQos", "/unique", 7)
		g.settle()
		cancel()
		must(t, <-result)
		if c := g.await(astarte.Disconnected); c.Err != nil {
			t.Errorf("got %v", c.Err)
		}
		g.away()
		if err := g.Send(t.Context(), prefix+"DeviceQos", "/unique", 1, nil); !errors.Is(err, astarte.ErrDisconnected) {
			t.Errorf("got %v", err)
		}
	}
	file := filepath.Join(g.cfg.Dir, "crypto", "device.crt")
	before, err := os.ReadFile(file)
	must(t, err)
	g.restart()
	after, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the certificate has changed")
	}
	equal(t, g.series("DeviceQos", "/unique"), append(numbers(7, 8), numbers(7, 8)...))
}

// Somebody else connects as the device, and it takes over again; once the other one has had the session forgotten, and it tells everything anew.
func TestTakenOver(t *testing.T) {
	p := shared(t)
	g := p.connected(t, "DeviceQos", "DeviceProperties", "ServerProperties", "ServerIndividualUnique")
	g.set("DeviceProperties", "/integer_endpoint", 0)
	g.settle()
	for i := range 3 {
		g.kick()
		if c := g.await(astarte.Connected); !c.SessionPresent {
			t.Error("the session was lost")
		}
		g.send("DeviceQos", "/unique", i)
		g.settle()
	}
	g.visit(true)
	g.await(astarte.Connecting)
	if c := g.await(astarte.Connected); c.SessionPresent {
		t.Error("the session is there")
	}
	g.send("DeviceQos", "/unique", 3)
	g.settle()
	equal(t, g.series("DeviceQos", "/unique"), numbers(0, 4))
	equal(t, g.read("DeviceProperties", ""), map[string]any{"integer_endpoint": shown(int32(0), true)})
	p.write(t, g.ID(), "ServerIndividualUnique", "/integer_endpoint", 5)
	want(t, g.received(), "ServerIndividualUnique", "/integer_endpoint", int32(5))
}

// failed waits until an attempt has failed, and returns why.
func (g *gadget) failed() error {
	g.t.Helper()
	g.make()
	g.run()
	return g.await(astarte.Connecting).Err
}

// The server proves who it is, to Pairing's client and to the broker's, in each version of TLS; and the device may be told not to care.
func TestTLS(t *testing.T) {
	p := shared(t)
	t.Run("an unknown authority", func(t *testing.T) {
		g := p.gadget(t)
		g.cfg.RootCAs = x509.NewCertPool()
		var unknown x509.UnknownAuthorityError
		if err := g.failed(); !errors.As(err, &unknown) {
			t.Errorf("got %v", err)
		}
		g = p.gadget(t)
		g.cfg.RootCAs, g.cfg.HTTP = x509.NewCertPool(), p.client() // only the broker's
		if err := g.failed(); !errors.As(err, &unknown) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not verified", func(t *testing.T) {
		g := p.gadget(t)
		g.cfg.RootCAs, g.cfg.InsecureSkipVerify = x509.NewCertPool(), true
		g.connect()
	})
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(v), func(t *testing.T) {
			g := p.gadget(t, "DeviceQos")
			newTap(t, g).versions(v, v)
			g.connect()
			g.send("DeviceQos", "/unique", 1)
			g.settle()
			equal(t, g.series("DeviceQos", "/unique"), numbers(1, 2))
		})
	}
	t.Run("TLS 1.1", func(t *testing.T) {
		g := p.gadget(t)
		newTap(t, g).versions(tls.VersionTLS10, tls.VersionTLS11)
		if err := g.failed(); err == nil {
			t.Error("connected")
		}
	})
}

// stranger makes a certificate for a key that the platform has not issued.
func stranger(t *testing.T, key *ecdsa.PrivateKey, name string, until time.Time) []*x509.Certificate {
	t.Helper()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), other)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return []*x509.Certificate{leaf}
}

// A certificate that is no good is replaced: one that has expired, one of a foreign authority, one of another key; and so is one that is gone.
func TestCertificateIsReplaced(t *testing.T) {
	p := shared(t)
	for name, spoil := range map[string]func(g *gadget, key, crt string){
		"expired": func(g *gadget, key, crt string) {
			k, err := identity.LoadKey(key)
			must(g.t, err)
			must(g.t, identity.SaveChain(crt, stranger(g.t, k.(*ecdsa.PrivateKey), "x", time.Now().Add(-time.Minute))))
		},
		"foreign": func(g *gadget, key, crt string) {
			k, err := identity.LoadKey(key)
			must(g.t, err)
			must(g.t, identity.SaveChain(crt, stranger(g.t, k.(*ecdsa.PrivateKey), g.cfg.Realm+"/"+g.cfg.DeviceID, time.Now().Add(time.Hour))))
		},
		"of another key": func(g *gadget, _, crt string) {
			k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			must(g.t, err)
			must(g.t, identity.SaveChain(crt, stranger(g.t, k, "x", time.Now().Add(time.Hour))))
		},
		"gone": func(g *gadget, _, crt string) { must(g.t, os.Remove(crt)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := p.connected(t, "DeviceQos")
			g.halt()
			dir := filepath.Join(g.cfg.Dir, "crypto")
			spoil(g, filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt"))
			g.connect()
			g.send("DeviceQos", "/unique", 1)
			g.settle()
			equal(t, g.series("DeviceQos", "/unique"), numbers(1, 2))
		})
	}
}

// A key from elsewhere, and of another kind.
func TestForeignKey(t *testing.T) {
	g := shared(t).gadget(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	g.cfg.Key = key
	g.connect()
	if _, err := os.Stat(filepath.Join(g.cfg.Dir, "crypto", "device.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was written: %v", err)
	}
}
