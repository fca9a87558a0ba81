package awsiot

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// provisionJustInTime applies the template of an authority, if it has one, to a certificate that it has signed and that waits
// to be activated (AWS IoT guide, "Just-in-time provisioning"). The certificate is ACTIVE afterwards, unless the template says
// otherwise, and the device can connect at its next try. That the template does not fit is no error here: the device is not to
// blame, and cannot be told.
func (d *Dialect) provisionJustInTime(tx *commit.Tx, a account, crt certificate) error {
	by, err := readCACertificate(tx, a.Tenant, crt.CA)
	if found, err := present(err); err != nil || !found {
		return err
	}
	body, err := d.jitTemplate(tx, &a, &by)
	if err != nil || body == "" {
		return err
	}
	leaf, err := ca.ParseCertificate([]byte(crt.PEM))
	if err != nil {
		return err
	}
	var misfit error
	err = tx.Savepoint(func() error {
		_, misfit = d.applyTemplate(tx, &a, body, subjectParameters(leaf, crt.ID), crt)
		return misfit
	})
	if misfit == nil || errors.Is(err, core.ErrStorage) {
		return err
	}
	d.log.Warn("just-in-time provisioning failed", "tenant", string(a.Tenant), "err", fmt.Errorf("certificate %s: %w", crt.ID, misfit))
	return nil
}

// jitTemplate returns the body of the template that an authority has, "" if it has none.
func (d *Dialect) jitTemplate(tx *commit.Tx, a *account, by *caCertificate) (string, error) {
	if by.Template == "" {
		return by.TemplateBody, nil
	}
	t, err := readTemplate(tx, a.Tenant, by.Template)
	if found, err := present(err); err != nil || !found || !t.Enabled {
		return "", err
	}
	return t.version(t.Default).Body, nil
}

// subjectParameters are what templates for just-in-time provisioning can refer to.
func subjectParameters(leaf *x509.Certificate, id string) map[string]string {
	s := leaf.Subject
	params := map[string]string{certificateIDParameter: id}
	for name, value := range map[string]string{
		"Country": first(s.Country), "Organization": first(s.Organization), "OrganizationalUnit": first(s.OrganizationalUnit),
		"StateName": first(s.Province), "CommonName": s.CommonName, "SerialNumber": s.SerialNumber, "DistinguishedNameQualifier": qualifier(leaf),
	} {
		if value != "" {
			params["AWS::IoT::Certificate::"+name] = value
		}
	}
	return params
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// qualifier returns the subject's dnQualifier (X.520: 2.5.4.46), which crypto/x509 has no field for.
func qualifier(leaf *x509.Certificate) string {
	for _, n := range leaf.Subject.Names {
		if text, ok := n.Value.(string); ok && n.Type.String() == "2.5.4.46" {
			return text
		}
	}
	return ""
}
