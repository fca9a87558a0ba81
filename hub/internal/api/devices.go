package api

import (
	"encoding/hex"
	"errors"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/registry"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

func (s *Server) listDevices(r *request) (any, error) {
	f := registry.Filter{Dialect: r.text("dialect"), ID: core.DeviceID(r.text("id")), Prefix: r.text("prefix"), Connected: r.flag("connected")}
	var after core.DeviceKey
	if _, err := r.cursor(&after); err != nil {
		return nil, err
	}
	var list []core.Device
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		if f.Tenant, err = r.tenantParam(rd); err != nil {
			return err
		}
		list, err = registry.List(rd, f, after, r.limit()+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := admin.Page[admin.Device]{Items: []admin.Device{}}
	if len(list) > r.limit() {
		list = list[:r.limit()]
		if out.Next, err = makeCursor(list[len(list)-1].DeviceKey); err != nil {
			return nil, err
		}
	}
	for _, d := range list {
		out.Items = append(out.Items, deviceOf(d))
	}
	return out, nil
}

func keyOf(k core.DeviceKey) admin.DeviceKey {
	return admin.DeviceKey{Dialect: k.Dialect, Tenant: string(k.Tenant), ID: string(k.ID)}
}

func deviceOf(d core.Device) admin.Device {
	return admin.Device{
		DeviceKey: keyOf(d.DeviceKey), Created: admin.NewTime(d.Created), Connected: d.Connected,
		LastConnected: admin.NewTime(d.LastConnected), LastDisconnected: admin.NewTime(d.LastDisconnected), LastAddress: d.LastAddr,
	}
}

// device finds the device that the path of a request names.
func (r *request) device(rd registry.Reader) (core.Device, error) {
	k := core.DeviceKey{
		Tenant: core.TenantID(r.PathValue("tenant")), Dialect: r.PathValue("dialect"), ID: core.DeviceID(r.PathValue("device")),
	}
	return r.deviceOf(rd, k)
}

func (r *request) deviceOf(rd registry.Reader, k core.DeviceKey) (d core.Device, err error) {
	err = core.ErrNotFound
	if r.sees(k.Tenant) {
		d, err = rd.Device(k)
	}
	return d, explain(err, core.ErrNotFound, "there is no device %.250q", k.String())
}

func (s *Server) showDevice(r *request) (any, error) {
	var out admin.Device
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		d, err := r.device(rd)
		if err != nil {
			return err
		}
		out = deviceOf(d)
		counts, err := rd.Counts(d.Num)
		if err != nil {
			return err
		}
		for _, c := range counts {
			out.Sent = append(out.Sent, admin.Count{Scope: c.Scope, Messages: c.Messages, Bytes: c.Bytes})
		}
		if out.Details, err = s.details(rd, d); err != nil {
			return err
		}
		e, err := rd.Enrolment(d.Num)
		if errors.Is(err, core.ErrNotFound) {
			return nil
		}
		out.Credentials = new(credentialsOf(e))
		return err
	})
	return out, err
}

// details returns what only the dialect knows of a device.
func (s *Server) details(rd store.Reader, d core.Device) (list []admin.Detail, err error) {
	describer := s.cfg.Describers[d.Dialect]
	if describer == nil {
		return nil, nil
	}
	facts, err := describer.Describe(rd, d)
	for _, f := range facts {
		list = append(list, admin.Detail(f))
	}
	return list, err
}

func (s *Server) deleteDevice(r *request) (any, error) {
	var key core.DeviceKey
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		d, err := r.device(tx)
		if err != nil {
			return err
		}
		key = d.DeviceKey
		if err := s.cfg.Broker.ForgetDevice(tx, d.Num, "device deleted"); err != nil {
			return err
		}
		return registry.Delete(tx, d)
	})
	if err == nil {
		s.cfg.Logger.Info("device deleted by an operator", "device", key.String(), "token", r.by())
		s.cfg.Deleted()
	}
	return nil, err
}

func credentialsOf(e core.Enrolment) admin.Credentials {
	return admin.Credentials{
		Registered: len(e.SecretHash) > 0, Inhibited: e.Inhibited, FirstRegistered: admin.NewTime(e.FirstRegistered),
		FirstCertificate: admin.NewTime(e.FirstCredentials), LastAddress: e.LastCredentialsAddr,
	}
}

// enrolment finds the credentials of the device in the path.
func (r *request) enrolment(rd registry.Reader) (core.Enrolment, error) {
	d, err := r.device(rd)
	if err != nil {
		return core.Enrolment{}, err
	}
	e, err := rd.Enrolment(d.Num)
	return e, explain(err, core.ErrNotFound, "device %s has no credentials: it has never registered", d.DeviceKey)
}

func (s *Server) showCredentials(r *request) (any, error) {
	var e core.Enrolment
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) (err error) {
		e, err = r.enrolment(rd)
		return err
	})
	return credentialsOf(e), err
}

func (s *Server) setCredentials(r *request) (any, error) {
	var e core.Enrolment
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) (err error) {
		if e, err = r.enrolment(tx); err != nil {
			return err
		}
		e.Inhibited = r.body.(*admin.SetCredentials).Inhibited
		return registry.SetInhibited(tx, e.Device, e.Inhibited)
	})
	return credentialsOf(e), err
}

func (s *Server) listCertificates(r *request) (any, error) {
	var after string
	if _, err := r.cursor(&after); err != nil {
		return nil, err
	}
	out := admin.Page[admin.Certificate]{Items: []admin.Certificate{}}
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		d, err := r.device(rd)
		if err != nil {
			return err
		}
		list, err := rd.Certificates(d.Num)
		if err != nil {
			return err
		}
		slices.Reverse(list)
		if after != "" {
			i := slices.IndexFunc(list, func(c core.Certificate) bool { return c.Serial == after })
			if i < 0 {
				return refuse(core.ErrInvalid, "the cursor is not one that this list has given")
			}
			list = list[i+1:]
		}
		if len(list) > r.limit() {
			list = list[:r.limit()]
			if out.Next, err = makeCursor(list[len(list)-1].Serial); err != nil {
				return err
			}
		}
		for _, c := range list {
			out.Items = append(out.Items, certificateOf(c, d))
		}
		return nil
	})
	return out, err
}

func certificateOf(c core.Certificate, d core.Device) admin.Certificate {
	states := map[core.CertificateState]string{
		core.CertificateActive: "active", core.CertificateSuperseded: "superseded", core.CertificateRevoked: "revoked",
	}
	return admin.Certificate{
		Serial: c.Serial, Device: keyOf(d.DeviceKey), SHA256: hex.EncodeToString(c.SHA256[:]), Issuer: c.AuthorityKeyID,
		NotBefore: admin.NewTime(c.NotBefore), NotAfter: admin.NewTime(c.NotAfter), State: states[c.State], Changed: admin.NewTime(c.Changed),
	}
}

// certificate finds the certificate that the path of a request names, and its device.
func (r *request) certificate(rd registry.Reader) (core.Certificate, core.Device, error) {
	serial := r.PathValue("serial")
	none := refuse(core.ErrNotFound, "there is no certificate %.64q", serial)
	c, err := rd.Certificate(serial)
	if errors.Is(err, core.ErrNotFound) {
		return c, core.Device{}, none
	} else if err != nil {
		return c, core.Device{}, err
	}
	d, err := rd.DeviceByNum(c.Device)
	if errors.Is(err, core.ErrNotFound) || err == nil && !r.sees(d.Tenant) {
		return c, d, none
	}
	return c, d, err
}

func (s *Server) showCertificate(r *request) (any, error) {
	var out admin.Certificate
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		c, d, err := r.certificate(rd)
		out = certificateOf(c, d)
		return err
	})
	return out, err
}

// revokeCertificate disconnects the device also if it is not this certificate that it is connected with: it comes back
// with the other one.
func (s *Server) revokeCertificate(r *request) (any, error) {
	var out admin.Certificate
	err := s.cfg.Committer.Do(r.Context(), func(tx *commit.Tx) error {
		c, d, err := r.certificate(tx)
		if err != nil {
			return err
		}
		if c.State != core.CertificateRevoked {
			if err := registry.Revoke(tx, c.Serial); err != nil {
				return err
			}
			if err := s.cfg.Broker.DisconnectDevice(tx, d.Num, "certificate revoked"); err != nil {
				return err
			}
		}
		c, d, err = r.certificate(tx)
		out = certificateOf(c, d)
		return err
	})
	return out, err
}

func (s *Server) revocationList(r *request) (any, error) {
	issuer := r.text("issuer")
	if issuer == "" {
		issuer = s.cfg.CA.IssuerKeyID()
	}
	var list []ca.Revocation
	err := s.cfg.Store.View(r.Context(), func(rd store.Reader) error {
		for c, err := range rd.Revoked(issuer, s.cfg.Now()) {
			if err != nil {
				return err
			}
			list = append(list, ca.Revocation{Serial: c.Serial, At: c.Changed, Reason: ca.ReasonUnspecified})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	der, err := s.cfg.CA.CRL(issuer, list)
	return der, explain(err, core.ErrNotFound, "no issuing certificate has the key identifier %.100q", issuer)
}
