package awsiot

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

var caCertificateOperations = []operation{
	{name: "GetRegistrationCode", method: get, path: "/registrationcode", do: (*call).getRegistrationCode},
	{name: "DeleteRegistrationCode", method: remove, path: "/registrationcode", do: (*call).deleteRegistrationCode},
	{name: "RegisterCACertificate", method: post, path: "/cacertificate", do: (*call).registerCACertificate},
	{name: "DescribeCACertificate", method: get, path: "/cacertificate/{caCertificateId}", do: (*call).describeCACertificate},
	{name: "ListCACertificates", method: get, path: "/cacertificates", do: (*call).listCACertificates},
	{name: "UpdateCACertificate", method: put, path: "/cacertificate/{caCertificateId}", do: (*call).updateCACertificate},
	{name: "DeleteCACertificate", method: remove, path: "/cacertificate/{caCertificateId}", do: (*call).deleteCACertificate},
}

const caResource = "cacert/"

// maxCACertificates is how many authorities an account can have; each is tried for certificates that nobody knows.
const maxCACertificates = 100

// What "autoRegistrationStatus" says.
const (
	autoEnable  = "ENABLE"
	autoDisable = "DISABLE"
)

// getRegistrationCode returns the account's code, which stays the same until it is deleted.
func (c *call) getRegistrationCode() (any, error) {
	var code string
	err := c.do(func(tx *commit.Tx) error {
		a, err := readAccount(tx, c.tenant())
		if err != nil {
			return err
		}
		if code = a.RegistrationCode; code != "" {
			return nil
		}
		var raw [32]byte
		rand.Read(raw[:])
		code = hex.EncodeToString(raw[:])
		a.RegistrationCode = code
		return c.d.putAccount(tx, a)
	})
	return map[string]any{"registrationCode": code}, err
}

func (c *call) deleteRegistrationCode() (any, error) {
	return nil, c.do(func(tx *commit.Tx) error {
		a, err := readAccount(tx, c.tenant())
		if err != nil {
			return err
		}
		a.RegistrationCode = ""
		return c.d.putAccount(tx, a)
	})
}

// A registrationConfig says what is made of devices that an authority brings.
type registrationConfig struct {
	TemplateBody string `json:"templateBody,omitempty"`
	RoleARN      string `json:"roleArn,omitempty"`
	TemplateName string `json:"templateName,omitempty"`
}

func (rc *registrationConfig) apply(x *caCertificate) error {
	if rc == nil {
		return nil
	}
	if rc.TemplateBody != "" {
		t, err := parseTemplate(rc.TemplateBody)
		if err == nil {
			err = t.checkFleet()
		}
		if err != nil {
			return refuse(invalidRequest, "Invalid templateBody: %v", err)
		}
	}
	x.Template, x.TemplateBody, x.RoleARN = rc.TemplateName, rc.TemplateBody, rc.RoleARN
	return nil
}

// auto reads what a request says of automatic registration; "" is def.
func (c *call) auto(name string, def bool) (bool, error) {
	switch v := c.query.Get(name); v {
	case "":
		return def, nil
	case autoEnable:
		return true, nil
	case autoDisable:
		return false, nil
	default:
		return false, invalidValue(v, name, "Member must satisfy enum value set: [ENABLE, DISABLE]")
	}
}

func (c *call) registerCACertificate() (any, error) {
	var in struct {
		PEM          string              `json:"caCertificate"`
		Verification string              `json:"verificationCertificate"`
		Config       *registrationConfig `json:"registrationConfig"`
		Tags         []tag               `json:"tags"`
		Mode         string              `json:"certificateMode"`
	}
	active, err := c.flag("setAsActive", false)
	auto, aerr := c.flag("allowAutoRegistration", false)
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	authority, err := parseAuthority(in.PEM)
	if err != nil {
		return nil, err
	}
	x := caCertificate{
		ID: certificateID(authority.Raw), PEM: in.PEM, Status: activeIf(active), Mode: in.Mode, AutoRegister: auto,
		Version: 1, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
	}
	if x.Mode == "" {
		x.Mode = modeDefault
	}
	if err := errors.Join(in.Config.apply(&x), checkTags(in.Tags)); err != nil {
		return nil, err
	}
	verification, err := checkMode(x.Mode, in.Verification)
	if err != nil {
		return nil, err
	}
	err = c.do(func(tx *commit.Tx) error {
		a, err := readAccount(tx, c.tenant())
		if err != nil {
			return err
		}
		if verification != nil {
			if err := verifies(verification, authority, a.RegistrationCode); err != nil {
				return err
			}
		}
		all, _, err := caCertificates(tx, c.tenant(), "", 0)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(o caCertificate) bool { return o.ID == x.ID }) {
			return c.exists(x.ID, caResource+x.ID, "The CA certificate is already registered")
		}
		if len(all) >= maxCACertificates {
			return refuse(limitExceeded, "There are %d CA certificates already.", len(all))
		}
		x.Created, x.Changed = tx.Now(), tx.Now()
		return errors.Join(c.d.putCACertificate(tx, c.tenant(), x), putTags(tx, c.tenant(), caResource+x.ID, in.Tags))
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"certificateArn": c.account.arn(caResource + x.ID), "certificateId": x.ID}, nil
}

// parseAuthority reads a certificate that can sign others.
func parseAuthority(text string) (*x509.Certificate, error) {
	crt, err := ca.ParseCertificate([]byte(text))
	if err != nil {
		return nil, refuse(badCertificate, "The CA certificate cannot be read: %v", err)
	}
	if !crt.BasicConstraintsValid || !crt.IsCA || crt.KeyUsage != 0 && crt.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, refuse(badCertificate, "The certificate is not that of a CA.")
	}
	return crt, nil
}

// checkMode reads the verification certificate, which one of the modes needs and the other must not have.
func checkMode(mode, verification string) (*x509.Certificate, error) {
	switch mode {
	case modeSNIOnly:
		if verification != "" {
			return nil, refuse(invalidRequest, "A verification certificate cannot be given with the mode SNI_ONLY.")
		}
		return nil, nil //nolint:nilnil // there is none to be checked
	case modeDefault:
		if verification == "" {
			return nil, refuse(invalidRequest, "A verification certificate is required with the mode DEFAULT.")
		}
	default:
		return nil, invalidValue(mode, "certificateMode", "Member must satisfy enum value set: [DEFAULT, SNI_ONLY]")
	}
	crt, err := ca.ParseCertificate([]byte(verification))
	if err != nil {
		return nil, refuse(badCertificate, "The verification certificate cannot be read: %v", err)
	}
	return crt, nil
}

// verifies checks that the owner of an authority has signed a certificate with the account's code.
func verifies(crt, authority *x509.Certificate, code string) error {
	if err := crt.CheckSignatureFrom(authority); err != nil {
		return refuse(badCertificate, "The verification certificate is not signed by the CA certificate.")
	}
	if code == "" || crt.Subject.CommonName != code {
		return refuse("RegistrationCodeValidationException", "The common name of the verification certificate is not the registration code.")
	}
	return nil
}

func noCACertificate(err error, id string) error {
	return missing(err, "CA certificate %s does not exist.", id)
}

func (c *call) describeCACertificate() (any, error) {
	id, err := c.label("caCertificateId", certificateIDConstraint)
	if err != nil {
		return nil, err
	}
	var x caCertificate
	err = c.view(func(rd store.Reader) (err error) {
		x, err = readCACertificate(rd, c.tenant(), id)
		return noCACertificate(err, id)
	})
	if err != nil {
		return nil, err
	}
	auto := autoDisable
	if x.AutoRegister {
		auto = autoEnable
	}
	out := map[string]any{"certificateDescription": map[string]any{
		"certificateArn": c.account.arn(caResource + id), "certificateId": id, "status": x.Status, "certificatePem": x.PEM, "ownedBy": c.account.ID,
		"creationDate": epoch(x.Created), "autoRegistrationStatus": auto, "lastModifiedDate": epoch(x.Changed), "customerVersion": x.Version,
		"generationId": fmt.Sprint(x.Version), "certificateMode": x.Mode,
		"validity": map[string]any{"notBefore": epoch(x.NotBefore), "notAfter": epoch(x.NotAfter)},
	}}
	if rc := (registrationConfig{x.TemplateBody, x.RoleARN, x.Template}); rc != (registrationConfig{}) {
		out["registrationConfig"] = rc
	}
	return out, nil
}

func (c *call) listCACertificates() (any, error) {
	p, err := c.marked()
	ascending, aerr := c.flag("isAscendingOrder", true)
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	var all []caCertificate
	err = c.view(func(rd store.Reader) (err error) {
		all, _, err = caCertificates(rd, c.tenant(), "", 0) // there are few
		return err
	})
	slices.SortFunc(all, func(a, b caCertificate) int {
		if order := a.Created.Compare(b.Created); ascending {
			return order
		} else {
			return -order
		}
	})
	if i := slices.IndexFunc(all, func(x caCertificate) bool { return x.ID == p.after }); p.after != "" && i >= 0 {
		all = all[i+1:]
	}
	template := c.query.Get("templateName")
	out, last := certificatePage{List: []certificateSummary{}}, ""
	for _, x := range all {
		if template != "" && x.Template != template {
			continue
		}
		if len(out.List) == p.limit {
			out.Next = nextToken(last, true)
			break
		}
		last = x.ID
		out.List = append(out.List, certificateSummary{c.account.arn(caResource + x.ID), x.ID, x.Status, "", epoch(x.Created)})
	}
	return out, err
}

func (c *call) updateCACertificate() (any, error) {
	var in struct {
		Config *registrationConfig `json:"registrationConfig"`
		Remove bool                `json:"removeAutoRegistration"`
	}
	id, err := c.label("caCertificateId", certificateIDConstraint)
	if err == nil {
		err = c.decode(&in)
	}
	if err != nil {
		return nil, err
	}
	status := c.query.Get("newStatus")
	if status != "" && status != statusActive && status != statusInactive {
		return nil, invalidValue(status, "newStatus", "Member must satisfy enum value set: [ACTIVE, INACTIVE]")
	}
	return nil, c.do(func(tx *commit.Tx) error {
		x, err := readCACertificate(tx, c.tenant(), id)
		if err != nil {
			return noCACertificate(err, id)
		}
		if status != "" {
			x.Status = status
		}
		if x.AutoRegister, err = c.auto("newAutoRegistrationStatus", x.AutoRegister); err != nil {
			return err
		}
		if in.Remove {
			x.Template, x.TemplateBody, x.RoleARN = "", "", ""
		}
		if err := in.Config.apply(&x); err != nil {
			return err
		}
		x.Version++
		x.Changed = tx.Now()
		return c.d.putCACertificate(tx, c.tenant(), x)
	})
}

func (c *call) deleteCACertificate() (any, error) {
	id, err := c.label("caCertificateId", certificateIDConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		x, err := readCACertificate(tx, c.tenant(), id)
		if err != nil {
			return noCACertificate(err, id)
		}
		if x.Status == statusActive {
			return refuse(certificateState, "CA certificate must be deactivated (not ACTIVE) before deletion.")
		}
		return errors.Join(c.d.deleteCACertificate(tx, c.tenant(), id), putTags(tx, c.tenant(), caResource+id, nil))
	})
}

// claimLife is how long the claim certificate of a trusted user opens.
const claimLife = 5 * time.Minute
