package rival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Yardstick is a front end of a few hundred lines that commits what has come together to SQLite before it
// acknowledges: no sessions, no QoS 2, no tenants, no checks. It shows what the shape of the hub can give. It is no
// part of this project; who has a checkout names its folder.
type Yardstick struct {
	Program string
}

// ErrNoYardstick means that no checkout was named.
var ErrNoYardstick = errors.New("no checkout of the yardstick is named (FAIRLEAD_YARDSTICK)")

// BuildYardstick builds the yardstick of a checkout into the file out.
func BuildYardstick(ctx context.Context, checkout, out string) (*Yardstick, error) {
	if checkout == "" {
		return nil, ErrNoYardstick
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, ".")
	cmd.Dir = filepath.Join(checkout, "protod")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the yardstick: %w\n%s", err, text)
	}
	return &Yardstick{Program: out}, nil
}

// Start starts a yardstick on a fresh database in a folder below dir.
func (y *Yardstick) Start(ctx context.Context, pki *PKI, dir string) (*Server, error) {
	data, err := os.MkdirTemp(dir, "yardstick-")
	if err != nil {
		return nil, err
	}
	return start(ctx, func(plain, tls string) (*exec.Cmd, error) {
		return exec.Command(y.Program, "-store", "sqlite", "-dir", data, "-plain", plain, "-mtls", tls, "-pki", pki.Dir), nil
	})
}
