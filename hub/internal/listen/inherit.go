package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// Names of inherited sockets, as FileDescriptorName= in a systemd socket unit gives them.
const (
	MQTT      = "mqtt"
	HTTPS     = "https"
	MQTTPlain = "mqtt-plain" // without TLS
)

// Inherited takes over the sockets that the parent process has put into place by the protocol of sd_listen_fds(3):
// LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES. The result has at most the keys [MQTT], [HTTPS] and [MQTTPlain], and is empty if this
// process was given nothing. Two sockets without one of these names are taken in the order MQTT, HTTPS.
//
// It can be called once: the variables are removed from the environment, so that no child takes them for its own.
func Inherited() (map[string]net.Listener, error) {
	files := activation.Files(true)
	defer func() {
		for _, f := range files {
			f.Close() // net.FileListener has made copies
		}
	}()
	names, err := assign(files)
	if err != nil {
		return nil, err
	}
	out := make(map[string]net.Listener, len(files))
	for i, f := range files {
		l, err := net.FileListener(f)
		if err == nil && Port(l) == 0 {
			l.Close()
			err = errors.New("not a TCP socket")
		}
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, fmt.Errorf("inherited socket %d (%s): %w", i+3, names[i], err)
		}
		out[names[i]] = l
	}
	return out, nil
}

// assign says which file is which socket.
func assign(files []*os.File) ([]string, error) {
	names := make([]string, len(files))
	known := 0
	seen := map[string]bool{}
	for i, f := range files {
		names[i] = f.Name()
		if names[i] != MQTT && names[i] != HTTPS && names[i] != MQTTPlain {
			continue
		}
		if seen[names[i]] {
			return nil, fmt.Errorf("inherited sockets: two are named %q", names[i])
		}
		seen[names[i]] = true
		known++
	}
	switch {
	case known == len(files):
		return names, nil
	case known == 0 && len(files) == 2:
		return []string{MQTT, HTTPS}, nil
	}
	return nil, fmt.Errorf("inherited sockets are named %s: want %q, %q, %q, or two sockets without names for the first two, in this order",
		strings.Join(names, ", "), MQTT, HTTPS, MQTTPlain)
}
