package awsiot

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/google/go-cmp/cmp"
)

const (
	createTopic = "$aws/certificates/create/json"
	csrTopic    = "$aws/certificates/create-from-csr/json"
	fleetTopic  = "$aws/provisioning-templates/fleet/provision/json"
)

// oneShot is a request whose answer is subscribed to for it alone. The answers of provisioning have no token.
//
// When the client unsubscribes is a matter of luck, if the next request has the same topic it may not at all: the steps leave that open,
// and tests wait a while between such requests.
func oneShot(topic string, x *exchange, suffix string, body func() string) mqtttest.Step {
	return steps(mqtttest.AnswerUnsubscribe(), subscribe(topic+accepted, 1), suback(), subscribe(topic+rejected, 1), suback(), x.expect(topic), puback(),
		mqtttest.SendThat("answer", func() any { return &mqtt.Publish{Topic: []byte(topic + suffix), Payload: []byte(body())} }))
}

func text(s string) func() string { return func() string { return s } }

func TestProvisioningRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		create, csr, register, refused := &exchange{t: t}, &exchange{t: t}, &exchange{t: t}, &exchange{t: t}
		r := newRig(t, nil, connect(), connack(false),
			oneShot(createTopic, create, accepted, text(`{"certificateId":"id","certificatePem":"PEM","privateKey":"KEY","certificateOwnershipToken":"tok"}`)),
			oneShot(csrTopic, csr, accepted, text(`{"certificateId":"id","certificatePem":"PEM","certificateOwnershipToken":"tok"}`)),
			oneShot(fleetTopic, register, accepted, text(`{"deviceConfiguration":{"a":"b"},"thingName":"dev-1"}`)),
			oneShot(fleetTopic, refused, rejected, text(`{"statusCode":400,"errorCode":"InvalidParameters","errorMessage":"no serial number"}`)),
			oneShot(fleetTopic, refused, rejected, text(`{"statusCode":403}`)),
			oneShot(createTopic, create, accepted, text(`{"certificateId":"id"}`)), oneShot(createTopic, create, accepted, text(`?`)), oneShot(createTopic, create, rejected, text(`?`)),
		)
		r.start()
		cert, err := r.CreateKeysAndCertificate(r.ctx)
		if err != nil || cert.ID != "id" || cert.PEM != "PEM" || cert.PrivateKey.Reveal() != "KEY" || cert.OwnershipToken.Reveal() != "tok" {
			t.Errorf("%+v, %v", cert, err)
		}
		cert, err = r.CreateCertificateFromCSR(r.ctx, []byte("CSR"))
		if err != nil || !cert.PrivateKey.IsZero() || !cmp.Equal(csr.payload, map[string]any{"certificateSigningRequest": "CSR"}) {
			t.Errorf("%+v, %v, asked %v", cert, err, csr.payload)
		}
		thing, err := r.RegisterThing(r.ctx, "fleet", cert.OwnershipToken, map[string]string{"SerialNumber": "1"})
		if diff := cmp.Diff(&RegisteredThing{"dev-1", map[string]string{"a": "b"}}, thing); diff != "" || err != nil {
			t.Error(err, diff)
		}
		// As the official SDK asks.
		var v struct{ PayloadText string }
		var want map[string]any
		if err := json.Unmarshal(loadVectors(t, "identity-requests.json")["identity-v2-mqtt5-13-publish"].Decoded, &v); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(v.PayloadText), &want); err != nil || !cmp.Equal(register.payload, want) || !cmp.Equal(create.payload, map[string]any{}) {
			t.Errorf("%v, asked %v, want %v", err, register.payload, want)
		}
		time.Sleep(time.Second)
		_, err = r.RegisterThing(r.ctx, "fleet", cert.OwnershipToken, nil)
		var refusal *fairlead.PlatformError
		if !errors.As(err, &refusal) || refusal.Code != "InvalidParameters" || refusal.Detail != "no serial number" || !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("RegisterThing: %v", err)
		}
		time.Sleep(time.Second)
		if _, err = r.RegisterThing(r.ctx, "fleet", cert.OwnershipToken, nil); !errors.As(err, &refusal) || refusal.Code != "403" || !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("RegisterThing: %v", err)
		}
		for _, template := range []string{"", "a/b"} {
			if _, err := r.RegisterThing(r.ctx, template, cert.OwnershipToken, nil); !errors.Is(err, fairlead.ErrInvalid) {
				t.Errorf("template %q: %v", template, err)
			}
		}
		for range 3 {
			time.Sleep(time.Second) // or it would not even unsubscribe
			if _, err := r.CreateKeysAndCertificate(r.ctx); !errors.Is(err, fairlead.ErrUnavailable) {
				t.Errorf("answer that makes no sense: %v", err)
			}
		}
		_ = r.finish()
	})
}

// Answers without a token belong to the only request that is under way.
func TestProvisioningOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &exchange{t: t}
		one := steps(x.expect(fleetTopic), puback(), mqtttest.SendThat("answer", func() any {
			return &mqtt.Publish{Topic: []byte(fleetTopic + accepted), Payload: []byte(`{"thingName":"` + x.payload["parameters"].(map[string]any)["n"].(string) + `"}`)}
		}))
		// Subscribed to anyway: otherwise it is a matter of luck whether the second comes before the first has unsubscribed.
		r := newRig(t, nil, connect(), connack(false), subscribe(fleetTopic+accepted, 1), suback(), subscribe(fleetTopic+rejected, 1), suback(), one, one)
		if err := errors.Join(r.SubscribeAsync(fleetTopic+accepted, 1, nil, nil), r.SubscribeAsync(fleetTopic+rejected, 1, nil, nil)); err != nil {
			t.Fatal(err)
		}
		r.start()
		var both sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			both.Go(func() {
				thing, err := r.RegisterThing(r.ctx, "fleet", identity.NewSecret("tok"), map[string]string{"n": name})
				if err != nil || thing.ThingName != name {
					t.Errorf("%s: %+v, %v", name, thing, err)
				}
			})
		}
		both.Wait()
		_ = r.finish()
	})
}

// A device gets an identity of its own, which is stored: with its own key, with one from elsewhere, and with one of AWS IoT's.
func TestProvision(t *testing.T) {
	for name, p := range map[string]Provisioning{"own key": {}, "key from elsewhere": {Key: mustKey(t)}, "key from AWS": {KeyFromAWS: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				p := p
				p.Template, p.Parameters = "fleet", map[string]string{"SerialNumber": "1"}
				p.KeyFile, p.CertificateFile = filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt")
				ask, register := &exchange{t: t}, &exchange{t: t}
				var r *rig
				topic, reply := csrTopic, func() string {
					block, _ := pem.Decode([]byte(ask.payload["certificateSigningRequest"].(string)))
					csr, err := x509.ParseCertificateRequest(block.Bytes)
					if err != nil {
						t.Error(err)
					}
					return certificateReply(t, r.gate.authority, csr.PublicKey, "")
				}
				if p.KeyFromAWS {
					topic, reply = createTopic, func() string {
						key := mustKey(t)
						secret, err := identity.EncodeKey(key)
						if err != nil {
							t.Error(err)
						}
						return certificateReply(t, r.gate.authority, key.Public(), secret.Reveal())
					}
				}
				r = newRig(t, nil, connect(), connack(false), oneShot(topic, ask, accepted, reply),
					oneShot(fleetTopic, register, accepted, text(`{"thingName":"dev-1"}`)), mqtttest.Expect(mqtt.Disconnect{}))
				done, err := Provision(r.ctx, r.cfg, p)
				if err != nil {
					t.Fatal(err)
				}
				if done.ThingName != "dev-1" || done.CertificateID != "id" || done.Identity.Check() != nil {
					t.Errorf("%+v", done)
				}
				key := p.Key
				if key == nil {
					key, err = identity.LoadKey(p.KeyFile)
				}
				chain, err2 := identity.LoadChain(p.CertificateFile)
				if err := errors.Join(err, err2); err != nil {
					t.Fatal(err)
				}
				if err := identity.CheckFit(chain[0], key); err != nil || !chain[0].Equal(done.Identity.Certificate()) {
					t.Errorf("what is stored: %v", err)
				}
				r.gate.close()
			})
		})
	}
}

func mustKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificateReply(t *testing.T, a *authority, public crypto.PublicKey, privateKey string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{
		"certificateId": "id", "certificatePem": string(identity.EncodeChain([]*x509.Certificate{a.sign(t, public, "AWS IoT Certificate")})),
		"privateKey": privateKey, "certificateOwnershipToken": "tok",
	})
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// What goes wrong is told, and no certificate is stored; the key stays for the next try.
func TestProvisionRefused(t *testing.T) {
	dir := t.TempDir()
	p := Provisioning{Template: "fleet", KeyFile: filepath.Join(dir, "device.key"), CertificateFile: filepath.Join(dir, "device.crt")}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil, connect(), mqtttest.Send(mqtt.ConnAck{Code: mqtt.ConnAckNotAuthorized}), mqtttest.Hangup())
		if _, err := Provision(r.ctx, r.cfg, p); !errors.Is(err, fairlead.ErrDenied) {
			t.Errorf("refused claim: %v", err)
		}
		r.gate.close()
	})
	synctest.Test(t, func(t *testing.T) {
		ask := &exchange{t: t}
		var r *rig
		r = newRig(t, nil, connect(), connack(false),
			oneShot(csrTopic, ask, accepted, func() string { return certificateReply(t, r.gate.authority, mustKey(t).Public(), "") }), mqtttest.Expect(mqtt.Disconnect{}))
		if _, err := Provision(r.ctx, r.cfg, p); !errors.Is(err, fairlead.ErrConflict) {
			t.Errorf("certificate of another key: %v", err)
		}
		r.gate.close()
		for _, p := range []Provisioning{{}, {KeyFile: "x"}, {CertificateFile: "x"}} {
			if _, err := Provision(r.ctx, r.cfg, p); !errors.Is(err, fairlead.ErrInvalid) {
				t.Errorf("%+v: %v", p, err)
			}
		}
		if _, err := Provision(r.ctx, Config{}, p); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("no configuration: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.GiveUp = func(error) bool { return true } }, connect(), mqtttest.Hangup())
		if _, err := Provision(r.ctx, r.cfg, p); !errors.Is(err, fairlead.ErrUnavailable) {
			t.Errorf("given up: %v", err)
		}
		r.gate.close()
	})
	if _, err := os.Stat(p.CertificateFile); !os.IsNotExist(err) {
		t.Errorf("the certificate was stored: %v", err)
	}
	if _, err := identity.LoadKey(p.KeyFile); err != nil {
		t.Errorf("the key was not: %v", err)
	}
}
