package astarte

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// registerDevice lets a device in and tells its secret, once and never again.
//
// The Python SDK takes any 422 for "already registered" (observed with astarte-device-sdk 0.14.0), so only what the
// platform answers with 422 is one here.
func registerDevice(c *call) (reply, error) {
	m, err := c.object()
	if err != nil {
		return reply{}, err
	}
	errs := fieldErrors{}
	id := m.text("hw_id", errs)
	if len(errs) == 0 {
		if id, err = astartewire.ParseExtendedDeviceID(id); err != nil {
			errs.add("hw_id", "is not a valid base64 encoded 128 bits id")
		}
	}
	in := initialIntrospection(m["initial_introspection"], errs)
	if err := errs.err(); err != nil {
		return reply{}, err
	}
	secret, hash := registry.NewSecret()
	key := deviceKey(c.realm.Name, id)
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error {
		r, err := c.d.realmIn(tx, c.realm.Name)
		if err != nil {
			return err
		}
		reg := registry.Registration{Device: key, SecretHash: hash, Limit: r.RegistrationLimit}
		dev, err := registry.Register(tx, reg)
		if err != nil {
			return err
		}
		return declareInitially(tx, dev, in)
	})
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, data: map[string]string{"credentials_secret": secret}}, nil
}

// initialIntrospection reads the interfaces that a registration declares for the device.
func initialIntrospection(raw json.RawMessage, errs fieldErrors) introspection {
	const field = "initial_introspection"
	if isNull(raw) {
		return nil
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		errs.add(field, msgInvalid)
		return nil
	}
	in := introspection{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var v struct {
			Major *int `json:"major"`
			Minor *int `json:"minor"`
		}
		if json.Unmarshal(all[name], &v) != nil || v.Major == nil || v.Minor == nil || !astartewire.ValidInterfaceName(name) ||
			*v.Major > math.MaxInt32 || *v.Minor > math.MaxInt32 {
			errs.add(field, "has invalid format for interface "+name)
			return nil
		}
		if *v.Major < 0 || *v.Minor < 0 {
			errs.add(field, "has negative versions in interface "+name)
			return nil
		}
		in[name] = astartewire.InterfaceVersion{Major: *v.Major, Minor: *v.Minor}
	}
	return in
}

// declareInitially gives a device the introspection of its registration. What it declared before, and does no longer,
// it may have left data under: that is remembered.
func declareInitially(tx *commit.Tx, dev core.Device, in introspection) error {
	m, err := loadModel(tx, dev.DeviceKey)
	if err != nil || len(in) == 0 && len(m.Introspection) == 0 {
		return err
	}
	for name, old := range m.Introspection {
		if v, found := in[name]; !found || v.Major != old.Major {
			m.addPrevious(name, old)
		}
	}
	for name, v := range in {
		m.removePrevious(name, v.Major)
	}
	m.Introspection = in
	return saveModel(tx, dev.DeviceKey, m)
}

// unregisterDevice takes a device's secret away; see registry.Unregister for what stays.
func unregisterDevice(c *call) (reply, error) {
	id, err := astartewire.ParseDeviceID(c.params["device"])
	if err != nil {
		return reply{}, errBadRequest
	}
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error {
		return registry.Unregister(tx, deviceKey(c.realm.Name, id))
	})
	if errors.Is(err, core.ErrNotFound) {
		return reply{}, errDevice
	}
	return emptyReply(http.StatusNoContent), err
}

// deviceInfo tells a device where the broker is.
func deviceInfo(c *call) (reply, error) {
	status := "confirmed"
	switch {
	case c.enrolment.Inhibited:
		status = "inhibited"
	case c.enrolment.FirstCredentials.IsZero():
		status = "pending"
	}
	if c.d.cfg.BrokerURL == nil {
		return reply{}, errors.New("info: BrokerURL is not configured")
	}
	return success(map[string]any{
		"version": c.d.cfg.Version,
		"status":  status,
		"protocols": map[string]any{
			"astarte_mqtt_v1": map[string]string{"broker_url": c.d.cfg.BrokerURL(hostname(c.r.Host))},
		},
	}), nil
}

// hostname returns a host without its port.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// issueCredentials has a certificate signed. Whatever names the request asks for, the certificate's is REALM/DEVICE.
func issueCredentials(c *call) (reply, error) {
	m, err := c.object()
	if err != nil {
		return reply{}, err
	}
	errs := fieldErrors{}
	text := m.text("csr", errs)
	if err := errs.err(); err != nil {
		return reply{}, err
	}
	// Before the CA is put to work; inside the transaction it is checked again.
	if err := registry.MayHaveCertificate(c.enrolment); err != nil {
		return reply{}, fmt.Errorf("credentials of %s: %w", c.device.DeviceKey, err)
	}
	csr, err := ca.ParseCSR([]byte(text))
	if err != nil {
		return reply{}, fieldErrors{"csr": {"is not a valid PEM CSR"}}
	}
	issued, err := c.d.cfg.CA.SignDevice(csr, ca.Leaf{CommonName: baseTopic(c.device.DeviceKey)})
	if err != nil {
		return reply{}, err
	}
	crt := core.Certificate{
		Serial: issued.Serial, SHA256: issued.SHA256, AuthorityKeyID: issued.AuthorityKeyID,
		NotBefore: issued.NotBefore, NotAfter: issued.NotAfter,
	}
	err = c.d.cfg.Committer.Do(c.ctx(), func(tx *commit.Tx) error {
		return registry.Issue(tx, c.device, c.enrolment, crt, c.addr())
	})
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, data: map[string]string{"client_crt": string(issued.PEM)}}, nil
}
