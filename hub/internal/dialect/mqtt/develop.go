package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/credential"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

const (
	// developDevice is the device that [Dialect.Develop] makes.
	developDevice core.DeviceID = "demo"
	// passwordFile has its password.
	passwordFile = "password"
)

// Develop makes a device with a password, which stays in a file: a later run finds it there, and gives it to the device
// again should that have been given another.
func (d *Dialect) Develop(ctx context.Context, e dialect.Development) (map[string]string, error) {
	password, err := readPassword(filepath.Join(e.Dir, passwordFile))
	if err != nil {
		return nil, fmt.Errorf("develop: %w", err)
	}
	k := deviceKey(e.Tenant, developDevice)
	err = d.cfg.Committer.Do(ctx, func(tx *commit.Tx) error {
		h, err := credential.Find(tx, k)
		if errors.Is(err, core.ErrNotFound) {
			_, err = credential.Add(tx, k, credential.HashPassword(password), nil)
			return err
		}
		if err != nil || string(h.Enrolment.SecretHash) == string(credential.HashPassword(password)) {
			return err
		}
		return credential.SetPassword(tx, k, credential.HashPassword(password))
	})
	if err != nil {
		return nil, fmt.Errorf("develop: device %s: %w", k, err)
	}
	user := string(k.ID)
	if d.cfg.DefaultTenant != e.Tenant {
		user = string(e.Tenant) + "/" + user
	}
	return map[string]string{
		"MQTT_HOST":         e.Host,
		"MQTT_PORT":         strconv.Itoa(e.MQTTPort),
		"MQTT_USERNAME":     user,
		"MQTT_PASSWORD":     password,
		"MQTT_TOPIC_PREFIX": string(k.ID) + "/",
	}, nil
}

// readPassword returns the password in a file, which it makes if there is none.
func readPassword(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		password := strings.TrimSpace(string(text))
		if credential.Made(password) {
			return password, nil
		}
		return "", fmt.Errorf("%s: %w: not a password that the hub has made; remove it to get a new one", path, core.ErrInvalid)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	password, _ := credential.NewPassword()
	return password, durable.WriteFile(path, []byte(password+"\n"), 0o600)
}
