package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const tenantPath = "/v1/tenants/{tenant}"

// maxTokenLife bounds the tokens of devices.
const maxTokenLife = 10 * 365 * 24 * time.Hour

// plainRoutes are those for the devices whose credentials and grants operators decide about: plain MQTT devices.
func (s *Server) plainRoutes() []route {
	return []route{
		{
			method: http.MethodPost, path: "/v1/devices", id: "addDevice", tag: "devices", summary: "Make a device",
			example: `{"dialect": "mqtt", "tenant": "dev", "id": "pump-7"}`,
			doc:     "Make a plain MQTT device. Devices of other dialects come into being as their platforms have it. The answer is the only place where a password is told that the hub has made.",
			scope:   core.ScopeWrite, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewDevice](), answer: reflect.TypeFor[admin.CreatedDevice](), do: s.addDevice,
		},
		{
			method: http.MethodPut, path: devicePath + "/password", id: "setPassword", tag: "credentials", summary: "Change the password",
			example: `{}`,
			doc:     "Give a plain MQTT device another password, and end its connections. The answer is the only place where a password is told that the hub has made.",
			scope:   core.ScopeWrite, body: reflect.TypeFor[admin.SetPassword](), answer: reflect.TypeFor[admin.Login](), do: s.setPassword,
		},
		{
			method: http.MethodGet, path: devicePath + "/tokens", id: "listDeviceTokens", tag: "credentials", summary: "List tokens of a device", doc: "The tokens of a plain MQTT device, by id.",
			scope: core.ScopeRead, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.DeviceToken]](), do: s.listDeviceTokens,
		},
		{
			method: http.MethodPost, path: devicePath + "/tokens", id: "addDeviceToken", tag: "credentials", summary: "Give a device a token",
			example: `{"lifetime_seconds": 86400}`,
			doc:     "Give a plain MQTT device a token to use in place of its password. Connections that it opens end with it. The answer is the only place where it is told.",
			scope:   core.ScopeWrite, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewDeviceToken](), answer: reflect.TypeFor[admin.CreatedDeviceToken](), do: s.addDeviceToken,
		},
		{
			method: http.MethodDelete, path: devicePath + "/tokens/{id}", id: "revokeDeviceToken", tag: "credentials", summary: "Revoke a token of a device",
			doc:   "End a token of a plain MQTT device, and the device's connections.",
			scope: core.ScopeWrite, status: http.StatusNoContent, do: s.revokeDeviceToken,
		},
		{
			method: http.MethodGet, path: devicePath + "/grants", id: "showGrants", tag: "credentials", summary: "Show grants", doc: "What a plain MQTT device may do.",
			scope: core.ScopeRead, answer: reflect.TypeFor[admin.Grants](), do: s.showGrants,
		},
		{
			method: http.MethodPut, path: devicePath + "/grants", id: "setGrants", tag: "credentials", summary: "Change grants",
			example: `{"publish": ["${device}/#"], "subscribe": ["${device}/#", "plant/alarms/#"]}`,
			doc:     "Say what a plain MQTT device may do. Its subscriptions outside of that are removed, and its connections end, so that it signs in anew.",
			scope:   core.ScopeWrite, body: reflect.TypeFor[admin.Grants](), answer: reflect.TypeFor[admin.Grants](), do: s.setGrants,
		},
		{
			method: http.MethodPost, path: devicePath + "/certificates", id: "issueCertificate", tag: "certificates", summary: "Make a certificate",
			example: `{}`,
			doc:     "Make a certificate for a plain MQTT device. The answer is the only place where a private key is told that the hub has made.",
			scope:   core.ScopeWrite, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewCertificate](), answer: reflect.TypeFor[admin.IssuedCertificate](), do: s.issueCertificate,
		},
		{
			method: http.MethodGet, path: tenantPath + "/authorities", id: "listAuthorities", tag: "authorities", summary: "List authorities",
			doc:   "The certificate authorities whose certificates open plain MQTT devices of a tenant, by id.",
			scope: core.ScopeRead, params: []param{limitParam, cursorParam},
			answer: reflect.TypeFor[admin.Page[admin.Authority]](), do: s.listAuthorities,
		},
		{
			method: http.MethodPost, path: tenantPath + "/authorities", id: "registerAuthority", tag: "authorities", summary: "Register an authority",
			example: `{"pem": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n", "auto_register": true}`,
			doc:     "Let the certificates of an authority open plain MQTT devices of a tenant. An authority can be registered for one tenant only.",
			scope:   core.ScopeAdmin, whole: true, status: http.StatusCreated,
			body: reflect.TypeFor[admin.NewAuthority](), answer: reflect.TypeFor[admin.Authority](), do: s.registerAuthority,
		},
		{
			method: http.MethodDelete, path: tenantPath + "/authorities/{id}", id: "removeAuthority", tag: "authorities", summary: "Remove an authority",
			doc:   "Let the certificates of an authority open nothing any more, and end the connections that they have opened.",
			scope: core.ScopeAdmin, whole: true, status: http.StatusNoContent, do: s.removeAuthority,
		},
		{
			method: http.MethodPost, path: tenantPath + "/publish", id: "publish", tag: "messages", summary: "Publish a message",
			example: `{"topic": "pump-7/cmd", "text": "on", "qos": 1}`,
			doc:     "Publish a message to the plain MQTT devices of a tenant that subscribe to its topic. When the answer comes it is on disk, in the queues of those that are not connected too.",
			scope:   core.ScopeWrite, body: reflect.TypeFor[admin.NewMessage](), answer: reflect.TypeFor[admin.PublishedMessage](), do: s.publish,
		},
	}
}

// plain finds the plain MQTT device that the path of a request names.
func (r *request) plain(rd credential.Reader) (credential.Holder, error) {
	d, err := r.device(rd)
	if err != nil {
		return credential.Holder{}, err
	}
	if d.Dialect != credential.Dialect {
		return credential.Holder{}, refuse(core.ErrInvalid, "%s speaks the dialect of a platform, which decides how its devices sign in: this is for dialect %s", d.DeviceKey, credential.Dialect)
	}
	return credential.Of(rd, d)
}

// password returns a password and what is kept of it; chosen is that of the caller, "" if the hub is to make one.
func (s *Server) password(r *request, chosen string) (made string, hash []byte, err error) {
	if chosen == "" {
		made, hash = credential.NewPassword()
		return made, hash, nil
	}
	hash, err = s.cfg.Hasher.Hash(r.Context(), chosen)
	return "", hash, reveal(err, core.ErrInvalid)
}

func loginOf(k core.DeviceKey, password string) admin.Login {
	return admin.Login{Username: credential.Username(k), Password: password, TopicPrefix: string(k.ID) + "/"}
}

func (s *Server) addDevice(r *request) (any, error) {
	n := r.body.(*admin.NewDevice)
	k := core.DeviceKey{Tenant: core.TenantID(n.Tenant), Dialect: n.Dialect, ID: core.DeviceID(n.ID)}
	var password string
	var hash []byte
	if n.NoPassword {
		if n.Password != "" {
			return nil, refuse(core.ErrInvalid, "no_password is true, and there is a password")
		}
	} else {
		var err error
		if password, hash, err = s.password(r, n.Password); err != nil {
			return nil, err
		}
	}
	var h credential.Holder
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if err := r.tenantExists(tx, k.Tenant); err != nil {
			return err
		}
		h, err = credential.Add(tx, k, hash, nil)
		return explain(reveal(err, core.ErrInvalid), core.ErrConflict, "there is a device %s already", k)
	})
	return admin.CreatedDevice{Device: deviceOf(h.Device), Login: loginOf(k, password)}, err
}

func (s *Server) setPassword(r *request) (any, error) {
	password, hash, err := s.password(r, r.body.(*admin.SetPassword).Password)
	if err != nil {
		return nil, err
	}
	var h credential.Holder
	err = s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if h, err = r.plain(tx); err != nil {
			return err
		}
		return credential.SetPassword(tx, h.DeviceKey, hash)
	})
	return loginOf(h.DeviceKey, password), err
}

func (s *Server) listDeviceTokens(r *request) (any, error) {
	var h credential.Holder
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		h, err = r.plain(rd)
		return err
	})
	if err != nil {
		return nil, err
	}
	list := make([]admin.DeviceToken, 0, len(h.Tokens))
	for _, t := range h.SortedTokens() {
		list = append(list, deviceTokenOf(t))
	}
	page, next, err := window(r, list, func(t admin.DeviceToken) string { return t.ID })
	return admin.Page[admin.DeviceToken]{Items: page, Next: next}, err
}

func deviceTokenOf(t credential.Token) admin.DeviceToken {
	return admin.DeviceToken{ID: t.ID, Created: admin.NewTime(t.Created), Expires: admin.NewTime(t.Expires)}
}

func (s *Server) addDeviceToken(r *request) (any, error) {
	n := r.body.(*admin.NewDeviceToken).LifetimeSeconds
	if n < 1 || n > int64(maxTokenLife/time.Second) {
		return nil, refuse(core.ErrInvalid, "lifetime_seconds is %d: want 1 to %d", n, int64(maxTokenLife/time.Second))
	}
	secret, t := credential.NewToken(s.cfg.Now(), time.Duration(n)*time.Second)
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		h, err := r.plain(tx)
		if err != nil {
			return err
		}
		return reveal(credential.AddToken(tx, h.DeviceKey, t), core.ErrTooLarge)
	})
	return admin.CreatedDeviceToken{DeviceToken: deviceTokenOf(t), Secret: secret}, err
}

func (s *Server) revokeDeviceToken(r *request) (any, error) {
	id := r.PathValue("id")
	return nil, s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		h, err := r.plain(tx)
		if err != nil {
			return err
		}
		return explain(credential.RevokeToken(tx, h.DeviceKey, id), core.ErrNotFound, "%s has no token %.40q", h.DeviceKey, id)
	})
}

func grantsOf(g credential.Grants) admin.Grants {
	return admin.Grants{Publish: append([]string{}, g.Publish...), Subscribe: append([]string{}, g.Subscribe...), NoSamples: g.NoSamples}
}

func (s *Server) showGrants(r *request) (any, error) {
	var h credential.Holder
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		h, err = r.plain(rd)
		return err
	})
	return grantsOf(h.Grants), err
}

func (s *Server) setGrants(r *request) (any, error) {
	n := r.body.(*admin.Grants)
	g := credential.Grants{Publish: n.Publish, Subscribe: n.Subscribe, NoSamples: n.NoSamples}
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		h, err := r.plain(tx)
		if err != nil {
			return err
		}
		return reveal(credential.SetGrants(tx, h.DeviceKey, g), core.ErrInvalid)
	})
	return grantsOf(g), err
}

// inhibited says what is in the way of a device's credentials, which no other token helps against.
func inhibited(err error, k core.DeviceKey) error {
	if !errors.Is(err, core.ErrDenied) {
		return err
	}
	p := refuse(core.ErrDenied, "credentials of %s are inhibited", k)
	p.help = fmt.Sprintf("Allow them again first: `fairlead device allow %s`, or PUT %s/credentials.", k, strings.NewReplacer("{dialect}", k.Dialect, "{tenant}", string(k.Tenant), "{device}", string(k.ID)).Replace(devicePath))
	return p
}

func (s *Server) issueCertificate(r *request) (any, error) {
	var h credential.Holder
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		h, err = r.plain(rd)
		return err
	})
	if err != nil {
		return nil, err
	}
	issued, key, err := s.sign(h.DeviceKey, r.body.(*admin.NewCertificate).CSR)
	if err != nil {
		return nil, err
	}
	c := core.Certificate{
		Serial: issued.Serial, SHA256: issued.SHA256, AuthorityKeyID: issued.AuthorityKeyID, NotBefore: issued.NotBefore, NotAfter: issued.NotAfter,
	}
	var out admin.Certificate
	err = s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if h, err = r.plain(tx); err != nil {
			return err
		}
		if err := registry.IssueDirectly(tx, h.Device, c); err != nil {
			return inhibited(err, h.DeviceKey)
		}
		c, err := tx.Certificate(c.Serial)
		out = certificateOf(c, h.Device)
		return err
	})
	return admin.IssuedCertificate{Certificate: out, PEM: string(issued.PEM), Key: key}, err
}

// sign signs a certificate for the key of a request, or for a new one.
func (s *Server) sign(k core.DeviceKey, csr string) (issued ca.Issued, key string, err error) {
	leaf := ca.Leaf{CommonName: credential.Username(k)}
	if csr != "" {
		req, err := ca.ParseCSR([]byte(csr))
		if err != nil {
			return issued, "", reveal(err, core.ErrInvalid)
		}
		issued, err = s.cfg.CA.SignDevice(req, leaf)
		return issued, "", err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issued, "", fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return issued, "", fmt.Errorf("make a key: %w", err)
	}
	issued, err = s.cfg.CA.SignDeviceKey(private.Public(), leaf)
	return issued, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}

func (s *Server) listAuthorities(r *request) (any, error) {
	t := core.TenantID(r.PathValue("tenant"))
	var all []credential.Authority
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if err := r.tenantExists(rd, t); err != nil {
			return err
		}
		all, err = credential.Authorities(rd, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	page, next, err := window(r, all, func(a credential.Authority) string { return a.ID })
	out := admin.Page[admin.Authority]{Items: []admin.Authority{}, Next: next}
	for _, a := range page {
		out.Items = append(out.Items, authorityOf(a))
	}
	return out, err
}

func authorityOf(a credential.Authority) admin.Authority {
	out := admin.Authority{ID: a.ID, Tenant: string(a.Tenant), AutoRegister: a.Register, Created: admin.NewTime(a.Created), PEM: a.PEM}
	if f, err := ca.ParseForeign([]byte(a.PEM)); err == nil {
		out.Subject, out.NotAfter = f.Certificate.Subject.String(), admin.NewTime(f.Certificate.NotAfter)
	}
	return out
}

func (s *Server) registerAuthority(r *request) (any, error) {
	n := r.body.(*admin.NewAuthority)
	a := credential.Authority{Tenant: core.TenantID(r.PathValue("tenant")), PEM: n.PEM, Register: n.AutoRegister}
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if err := r.tenantExists(tx, a.Tenant); err != nil {
			return err
		}
		a, err = credential.RegisterAuthority(tx, a)
		return reveal(err, core.ErrInvalid, core.ErrConflict, core.ErrTooLarge)
	})
	return authorityOf(a), err
}

func (s *Server) removeAuthority(r *request) (any, error) {
	t, id := core.TenantID(r.PathValue("tenant")), r.PathValue("id")
	return nil, s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		return explain(credential.RemoveAuthority(tx, t, id), core.ErrNotFound, "tenant %s has no authority %.64q", t, id)
	})
}

func (s *Server) publish(r *request) (any, error) {
	n := r.body.(*admin.NewMessage)
	m := core.Message{Topic: n.Topic, Payload: []byte(n.Text), QoS: byte(n.QoS), Retain: n.Retain}
	if n.QoS < 0 || n.QoS > 2 {
		return nil, refuse(core.ErrInvalid, "qos is %d: want 0, 1 or 2", n.QoS)
	}
	if err := credential.ValidTopic(n.Topic); err != nil {
		return nil, refuse(core.ErrInvalid, "topic %.100q: %v", n.Topic, err)
	}
	if n.Base64 != "" {
		var err error
		if m.Payload, err = base64.StdEncoding.Strict().DecodeString(n.Base64); err != nil || n.Text != "" {
			return nil, refuse(core.ErrInvalid, "base64 is not padded base64, or there is text too")
		}
	}
	t := core.TenantID(r.PathValue("tenant"))
	var out admin.PublishedMessage
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if err := r.tenantExists(tx, t); err != nil {
			return err
		}
		out.Reached, err = s.cfg.Broker.Publish(tx, t, credential.Dialect, m)
		return err
	})
	return out, err
}
