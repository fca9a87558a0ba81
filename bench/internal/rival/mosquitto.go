package rival

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNotFound means that mosquitto is not installed.
var ErrNotFound = errors.New("mosquitto is not installed (Debian: apt-get install mosquitto)")

// Mosquitto is a mosquitto that is configured to be as fast as it can: nothing is persisted, no queue is short, nothing
// is logged but errors, nobody is asked for a password.
type Mosquitto struct {
	Program string
}

// FindMosquitto returns where mosquitto is, or ErrNotFound.
func FindMosquitto() (*Mosquitto, error) {
	for _, p := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		if found, err := exec.LookPath(p); err == nil {
			return &Mosquitto{Program: found}, nil
		}
	}
	return nil, ErrNotFound
}

// Version returns what the program calls itself: "mosquitto version 2.0.11".
func (m *Mosquitto) Version() string {
	text, _ := exec.Command(m.Program, "-h").Output() // its exit status is not 0
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// mosquittoConfig is for one listener without and one with TLS, in a folder. Started by root, mosquitto would drop its
// rights for a user who cannot read the keys; for anybody else "user" means nothing.
const mosquittoConfig = `allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_inflight_bytes 0
max_queued_messages 0
max_queued_bytes 0
log_dest stderr
log_type error
connection_messages false
user root
listener %[1]s 127.0.0.1
listener %[2]s 127.0.0.1
cafile %[3]s/ca.pem
certfile %[3]s/server.pem
keyfile %[3]s/server.key
require_certificate true
`

// Start starts a mosquitto.
func (m *Mosquitto) Start(ctx context.Context, pki *PKI) (*Server, error) {
	return start(ctx, func(plain, tls string) (*exec.Cmd, error) {
		file := filepath.Join(pki.Dir, "mosquitto.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, mosquittoConfig, port(plain), port(tls), pki.Dir), 0o600); err != nil {
			return nil, err
		}
		return exec.Command(m.Program, "-c", file), nil
	})
}
