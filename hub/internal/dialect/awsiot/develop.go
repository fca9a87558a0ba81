package awsiot

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/accesskey"
	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// What [Dialect.Develop] makes, and where its secrets are.
const (
	developThing  = "demo-thing"
	developPolicy = "fairlead-development"
	developKey    = "fairlead up"

	accessKeyFile   = "access-key.json"
	certificateFile = "demo-thing.certificate.pem"
	privateKeyFile  = "demo-thing.private.pem"
)

// developDocument allows everything.
const developDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:*","greengrass:*"],"Resource":"*"}]}`

// Develop makes an account with an access key, and a thing with a certificate whose policy allows everything. Their files
// stay: a later run finds them, and makes what is missing of the rest.
func (d *Dialect) Develop(ctx context.Context, e dialect.Development) (map[string]string, error) {
	crt, err := d.developCertificate(e.Dir)
	if err != nil {
		return nil, fmt.Errorf("develop: certificate of thing %s: %w", developThing, err)
	}
	var a account
	err = d.cfg.Committer.Do(ctx, func(tx *commit.Tx) (err error) {
		if a, err = d.makeAccount(tx, e.Tenant); err != nil {
			return err
		}
		return d.developDevice(tx, e.Tenant, crt)
	})
	if err != nil {
		return nil, fmt.Errorf("develop: thing %s: %w", developThing, err)
	}
	id, secret, err := d.developAccessKey(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("develop: access key: %w", err)
	}
	return map[string]string{
		"AWS_ENDPOINT_URL":      e.BaseURL,
		"AWS_CA_BUNDLE":         d.cfg.CA.RootPath(),
		"AWS_ACCESS_KEY_ID":     id,
		"AWS_SECRET_ACCESS_KEY": secret,
		"AWS_DEFAULT_REGION":    a.Region,
		"AWS_REGION":            a.Region, // goes before it where SDKs read both
		"AWS_SESSION_TOKEN":     "",       // what a shell has of another account would go with this key, which has none
		"AWS_IOT_ENDPOINT":      endpoint(ctx, &a, e.Host),
		"AWS_IOT_MQTT_PORT":     strconv.Itoa(e.MQTTPort),
		"AWS_IOT_HTTPS_PORT":    strconv.Itoa(e.HTTPSPort),
		"AWS_IOT_THING_NAME":    developThing,
		"AWS_IOT_CERTIFICATE":   filepath.Join(e.Dir, certificateFile),
		"AWS_IOT_PRIVATE_KEY":   filepath.Join(e.Dir, privateKeyFile),
		"AWS_IOT_ROOT_CA":       d.cfg.CA.RootPath(),
	}, nil
}

// Host returns the name of the account of a tenant in a region, by which the v1 SDK finds out which region it is: it reads it out of the
// name.
func Host(t core.TenantID, region string) string {
	return string(t) + ".iot." + region + ".amazonaws.localhost"
}

// lookupTimeout bounds the wait for name servers. The name is in a file of hosts or answered by the machine itself, if it leads
// anywhere; a start must not wait for servers that are silent.
const lookupTimeout = 250 * time.Millisecond

// endpoint returns the name of the account if it leads where host does, else host.
func endpoint(ctx context.Context, a *account, host string) string {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	name := Host(a.Tenant, a.Region)
	there, err1 := net.DefaultResolver.LookupHost(ctx, name)
	here, err2 := net.DefaultResolver.LookupHost(ctx, host)
	if err1 == nil && err2 == nil && slices.ContainsFunc(there, func(addr string) bool { return slices.Contains(here, addr) }) {
		return name
	}
	return host
}

// developDevice makes thing and policy, and puts the certificate on record, as far as they are not there.
func (d *Dialect) developDevice(tx *commit.Tx, t core.TenantID, crt *x509.Certificate) error {
	_, err := readThing(tx, t, developThing)
	if errors.Is(err, core.ErrNotFound) {
		err = d.putThing(tx, t, thing{Name: developThing, ID: newUUID(), Version: 1, Created: tx.Now()})
	}
	if err != nil {
		return err
	}
	_, err = readPolicy(tx, t, developPolicy)
	if errors.Is(err, core.ErrNotFound) {
		first := policyVersion{Version: 1, Document: developDocument, Created: tx.Now()}
		err = d.putPolicy(tx, t, iotPolicy{
			Name: developPolicy, Default: 1, Last: 1, Versions: []policyVersion{first}, Created: tx.Now(), Changed: tx.Now(),
		})
	}
	if err != nil {
		return err
	}
	id := certificateID(crt.Raw)
	c, err := readCertificate(tx, t, id)
	switch {
	case errors.Is(err, core.ErrNotFound):
		err = d.insertCertificate(tx, t, certificate{
			ID: id, PEM: string(pemOf(crt.Raw)), Status: statusActive, Mode: modeDefault, Version: 1, Created: tx.Now(), Changed: tx.Now(),
			NotBefore: crt.NotBefore, NotAfter: crt.NotAfter,
		})
	case err == nil && c.Status != statusActive:
		c.Status = statusActive
		err = d.updateCertificate(tx, t, c)
	}
	if err != nil {
		return err
	}
	if err := d.attachPrincipal(tx, t, attachment{Principal: certResource + id, Thing: developThing}); err != nil {
		return err
	}
	return d.attachPolicy(tx, t, developPolicy, certResource+id)
}

// developCertificate returns the certificate in its file, if our CA has signed it for the key in the other file and it is
// valid now; else it makes both.
func (d *Dialect) developCertificate(dir string) (*x509.Certificate, error) {
	crtFile, keyFile := filepath.Join(dir, certificateFile), filepath.Join(dir, privateKeyFile)
	if text, err := os.ReadFile(crtFile); err == nil {
		_, kerr := os.Stat(keyFile)
		if crt, err := ca.ParseCertificate(text); err == nil && kerr == nil && d.cfg.CA.Verify(crt) == nil {
			return crt, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	issued, err := d.cfg.CA.SignDeviceKey(key.Public(), ca.Leaf{CommonName: issuedName, Lifetime: issuedLife})
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	if err := durable.WriteFile(crtFile, issued.PEM, 0o600); err != nil { // last: with it the pair is whole
		return nil, err
	}
	return ca.ParseCertificate(issued.PEM)
}

// issuedLife is how long certificates last that our CA signs for this dialect, as far as the CA does: the platform's end in
// 2049.
const issuedLife = 25 * 365 * 24 * time.Hour

// developAccessKey returns the access key in its file, if that is one of the tenant's, else a new one.
func (d *Dialect) developAccessKey(ctx context.Context, e dialect.Development) (id, secret string, err error) {
	var file struct {
		ID     string `json:"AccessKeyId"`
		Secret string `json:"SecretAccessKey"`
	}
	name := filepath.Join(e.Dir, accessKeyFile)
	text, err := os.ReadFile(name)
	if err == nil && json.Unmarshal(text, &file) == nil {
		k, s, err := d.keys.Find(ctx, file.ID, d.cfg.Now())
		if err == nil && k.Tenant == e.Tenant && s.Secret == file.Secret {
			return file.ID, file.Secret, nil
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", err
	}
	var k accesskey.Key
	var s accesskey.Secret
	err = d.cfg.Committer.Do(ctx, func(tx *commit.Tx) (err error) {
		k, s, err = d.keys.Make(tx, e.Tenant, developKey, time.Time{})
		return err
	})
	if err != nil {
		return "", "", err
	}
	file.ID, file.Secret = k.ID, s.Secret
	if text, err = json.Marshal(file); err != nil {
		return "", "", err
	}
	return file.ID, file.Secret, durable.WriteFile(name, append(text, '\n'), 0o600)
}
