// Package datadir knows the folder that holds everything a hub keeps: who may use it, what lies where in it, and what
// a running hub says of itself to other programs on the machine.
//
//	lock            held by the process that uses the folder; its content is that process's number
//	hub.json        what the running hub tells `fairlead status` and `fairlead env`; absent after an orderly stop
//	admin-token     the bearer token of the admin API
//	secrets.key     what the secrets in the database are encrypted with, see package seal
//	ca/             certificates and keys, see package ca
//	database/       the database
//	development/    credentials for developers, one folder for each dialect
//
// The folder has mode 0700, its files 0600.
package datadir

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

const (
	lockFile  = "lock"
	stateFile = "hub.json"
	tokenFile = "admin-token"

	databaseDir = "database"
)

// A Dir is a data folder in use by this process.
type Dir struct {
	path   string // absolute
	unlock func() error
}

// Open takes the folder into use, and creates it if it does not exist. What an earlier process that was killed said
// of itself is removed. The error is an [*InUseError] if another process uses the folder.
func Open(path string) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open data folder: %w", err)
	}
	if err := durable.MakeDir(abs); err != nil {
		return nil, fmt.Errorf("open data folder: %w", err)
	}
	if err := restored(abs); err != nil {
		return nil, err
	}
	d := &Dir{path: abs}
	if d.unlock, err = durable.Lock(filepath.Join(abs, lockFile)); err != nil {
		if errors.Is(err, fairlead.ErrInUse) {
			return nil, &InUseError{Path: path, PID: lockHolder(abs)}
		}
		return nil, fmt.Errorf("open data folder: %w", err)
	}
	if err := d.RemoveState(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// An InUseError says that another process uses the data folder.
type InUseError struct {
	Path string
	PID  string // "" if it is not known
}

func (e *InUseError) Error() string {
	who := "another hub"
	if e.PID != "" {
		who += " (process " + e.PID + ")"
	}
	return fmt.Sprintf("open data folder %s: in use by %s", e.Path, who)
}

// lockHolder reads the number of the process that holds the lock; it is for the error text only.
func lockHolder(path string) string {
	text, err := os.ReadFile(filepath.Join(path, lockFile))
	pid := strings.TrimSpace(string(text))
	if err != nil || len(pid) > 10 || strings.Trim(pid, "0123456789") != "" {
		return ""
	}
	return pid
}

// Close lets another process use the folder.
func (d *Dir) Close() error { return d.unlock() }

// CA returns the folder of the certificate authority.
func (d *Dir) CA() string { return filepath.Join(d.path, "ca") }

// Database returns the folder of the database.
func (d *Dir) Database() string { return DatabaseOf(d.path) }

// DatabaseOf returns the folder of the database of a data folder that is not open.
func DatabaseOf(path string) string { return filepath.Join(path, databaseDir) }

// SecretsKey returns the file of the key that secrets in the database are encrypted with.
func (d *Dir) SecretsKey() string { return filepath.Join(d.path, "secrets.key") }

// Path returns the absolute path of the data folder.
func (d *Dir) Path() string { return d.path }

// Development returns the folder for a dialect's development credentials, and creates it if it does not exist.
func (d *Dir) Development(dialect string) (string, error) {
	dir := filepath.Join(d.path, "development", dialect)
	if err := durable.MakeDir(dir); err != nil {
		return "", fmt.Errorf("development credentials: %w", err)
	}
	return dir, nil
}

// TokenPath returns the file of the token of the admin API.
func (d *Dir) TokenPath() string { return filepath.Join(d.path, tokenFile) }

// AdminToken returns the token of the admin API, and makes one if there is none. An operator may have put another one
// there.
func (d *Dir) AdminToken() (string, error) {
	token, err := Token(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		token = rand.Text()
		err = durable.WriteFile(d.TokenPath(), []byte(token+"\n"), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return token, nil
}

// Token reads the token of the admin API of the data folder at path.
func Token(path string) (string, error) {
	name := filepath.Join(path, tokenFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 16 || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("%s: want one token of at least 16 characters", name)
	}
	return token, nil
}

// WriteState replaces what the running hub says of itself: v as JSON.
func (d *Dir) WriteState(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = durable.WriteFile(filepath.Join(d.path, stateFile), append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("state of the hub: %w", err)
	}
	return nil
}

// RemoveState removes it, if it is there.
func (d *Dir) RemoveState() error {
	if err := os.Remove(filepath.Join(d.path, stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state of the hub: %w", err)
	}
	return nil
}

// ReadState reads into v what the hub in the data folder at path says of itself. The error is [fs.ErrNotExist] if no
// hub runs there; after a kill there may be a state without a hub.
func ReadState(path string, v any) error {
	name := filepath.Join(path, stateFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
