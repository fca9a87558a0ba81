package astarte

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/durable"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// Files of [Dialect.Develop]: private keys, of which Python's cryptography (and so PyJWT) and astartectl read the form.
const (
	realmKeyFile        = "astarte_realm_private.pem"
	housekeepingKeyFile = "astarte_housekeeping_private.pem"
)

// Develop makes a realm named like the tenant, and key pairs for it and for Housekeeping. The keys stay in their files: a
// later run finds them, and makes the realm accept that key again should it have been given another. The housekeeping
// key is accepted beside the configured one while this process runs.
func (d *Dialect) Develop(ctx context.Context, e dialect.Development) (map[string]string, error) {
	if !astartewire.ValidRealm(string(e.Tenant)) {
		return nil, fmt.Errorf("develop: tenant %q: %w", e.Tenant, errRealmNameInvalid)
	}
	realmFile := filepath.Join(e.Dir, realmKeyFile)
	realmKey, err := keyFromFile(realmFile)
	if err != nil {
		return nil, fmt.Errorf("develop: %w", err)
	}
	housekeepingFile := filepath.Join(e.Dir, housekeepingKeyFile)
	housekeepingKey, err := keyFromFile(housekeepingFile)
	if err != nil {
		return nil, fmt.Errorf("develop: %w", err)
	}
	err = d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error { return d.developRealm(tx, e.Tenant, realmKey) })
	if err != nil {
		return nil, fmt.Errorf("develop: realm %q: %w", e.Tenant, err)
	}
	k, err := parsePublicKey([]byte(housekeepingKey))
	if err != nil {
		return nil, fmt.Errorf("develop: %w", err)
	}
	d.http.developed.Store(k)
	return map[string]string{
		"ASTARTE_REALM":                    string(e.Tenant),
		"ASTARTE_REALM_PRIVATE_KEY":        realmFile,
		"ASTARTE_HOUSEKEEPING_PRIVATE_KEY": housekeepingFile,
		"ASTARTE_BASE_URL":                 e.BaseURL,
		"ASTARTE_PAIRING_URL":              e.BaseURL + "/" + pairing.prefix,
		"ASTARTE_APPENGINE_URL":            e.BaseURL + "/" + appEngine.prefix,
		"ASTARTE_REALM_MANAGEMENT_URL":     e.BaseURL + "/" + realmManagement.prefix,
		"ASTARTE_HOUSEKEEPING_URL":         e.BaseURL + "/" + housekeeping.prefix,
	}, nil
}

func (d *Dialect) developRealm(tx *commit.Tx, name core.TenantID, publicKey string) error {
	r, err := d.realmIn(tx, name)
	if errors.Is(err, core.ErrNotFound) {
		return d.createRealm(tx, realmConfig{Name: name, PublicKeyPEM: publicKey})
	}
	if err != nil || r.PublicKeyPEM == publicKey {
		return err
	}
	cfg := r.realmConfig
	cfg.PublicKeyPEM = publicKey
	return d.updateRealm(tx, cfg)
}

// keyFromFile returns the public half, as PEM, of the private key in a file, which it makes if there is none.
func keyFromFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newKeyFile(path); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	key, err := parsePrivateKey(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// parsePrivateKey reads any of the usual forms: a developer may put a key of their own into the file.
func parsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM block", core.ErrInvalid)
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: private key: %v", core.ErrInvalid, err)
	}
	signer, isKey := key.(crypto.Signer)
	if !isKey {
		return nil, fmt.Errorf("%w: a %T cannot sign", core.ErrInvalid, key)
	}
	return signer, nil
}

// newKeyFile makes a key and puts it into a file.
func newKeyFile(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return text, durable.WriteFile(path, text, 0o600)
}
