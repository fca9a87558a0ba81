package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/internal/durable"
)

// maxFileBytes is more than any key, chain or token has.
const maxFileBytes = 256 << 10

// readFile reads a whole file. A secret one must not be open to others.
func readFile(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", fairlead.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", fairlead.ErrInvalid, path)
	}
	if private, err := durable.Private(f); secret && err == nil && !private {
		return nil, fmt.Errorf("%w: %s has mode %04o: others may read it; use chmod 600, and a new one if they did", fairlead.ErrInvalid, path, fi.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	if len(b) > maxFileBytes {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", fairlead.ErrTooLarge, path, maxFileBytes)
	}
	return b, nil
}

// The modes of files.
const (
	secretMode fs.FileMode = 0o600
	publicMode fs.FileMode = 0o644
)

func writeFile(path string, content []byte, mode fs.FileMode) error {
	err := durable.MakeDir(filepath.Dir(path))
	if err == nil {
		err = durable.WriteFile(path, content, mode)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", fairlead.ErrStorage, err)
	}
	return nil
}

// LoadSecret reads a token, password or shared key from a file, without white space around it. The error wraps
// fairlead.ErrNotFound if there is no file, fairlead.ErrInvalid if the file is empty or others may read it.
func LoadSecret(path string) (Secret, error) {
	b, err := readFile(path, true)
	if err != nil {
		return Secret{}, fmt.Errorf("load secret: %w", err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return Secret{}, fmt.Errorf("load secret: %w: %s is empty", fairlead.ErrInvalid, path)
	}
	return NewSecret(s), nil
}

// SaveSecret writes a secret into a file, durably.
func SaveSecret(path string, s Secret) error {
	if s.IsZero() {
		return fmt.Errorf("save secret %s: %w: it is empty", path, fairlead.ErrInvalid)
	}
	if err := writeFile(path, []byte(s.Reveal()+"\n"), secretMode); err != nil {
		return fmt.Errorf("save secret: %w", err)
	}
	return nil
}
