package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestTCPFallsBack(t *testing.T) {
	taken, _, err := TCP("HTTPS", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l, skipped, err := TCP("HTTPS", "127.0.0.1", Port(taken), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(skipped) != 1 || !skipped[0].InUse() || skipped[0].Forbidden() {
		t.Errorf("got skipped %v, want the one port that is in use", skipped)
	}
}

func TestTCPSaysWhatIsWrong(t *testing.T) {
	taken, _, err := TCP("MQTT", "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, _, err = TCP("MQTT", "127.0.0.1", Port(taken))
	var pe *PortError
	if !errors.As(err, &pe) || !pe.InUse() {
		t.Fatalf("got %v, want a PortError that is InUse", err)
	}
	want := fmt.Sprintf("listen on 127.0.0.1:%d for MQTT: bind: address already in use", Port(taken))
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// An address that this machine does not have is no reason to try another port.
func TestTCPStopsAtOtherErrors(t *testing.T) {
	_, skipped, err := TCP("MQTT", "192.0.2.1", 0, 0, 0)
	if err == nil || len(skipped) != 1 {
		t.Errorf("got %d attempts and error %v, want one attempt and an error", len(skipped), err)
	}
}

func TestLocal(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "::", "::1", ""} {
		l, _, err := TCP("HTTPS", host, 0)
		if err != nil {
			t.Logf("%s: %v", host, err) // no IPv6 here
			continue
		}
		defer l.Close()
		c, err := net.Dial("tcp", Local(l))
		if err != nil {
			t.Errorf("listening on %q, at %s: %v", host, Local(l), err)
			continue
		}
		c.Close()
	}
}

func TestForbidden(t *testing.T) {
	pe := &PortError{Use: "HTTPS", Address: ":443", Err: &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}}
	if !pe.Forbidden() || pe.InUse() {
		t.Errorf("got Forbidden %v, InUse %v, want only Forbidden", pe.Forbidden(), pe.InUse())
	}
}

// TestInherited runs this test binary again with sockets in the places of the protocol.
func TestInherited(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sockets int
		names   string // of the sockets, "-" for no variable
		want    string // what the child prints, PORTn for the port of the n-th socket
	}{
		{"named", 2, "mqtt:https", "mqtt=PORT0 https=PORT1"},
		{"named the other way round", 2, "https:mqtt", "mqtt=PORT1 https=PORT0"},
		{"with plain", 3, "https:mqtt-plain:mqtt", "mqtt=PORT2 https=PORT0 plain=PORT1"},
		{"only one", 1, "https", "mqtt=0 https=PORT0"},
		{"unnamed", 2, "-", "mqtt=PORT0 https=PORT1"},
		{"systemd's default names", 2, "fairlead-mqtt.socket:fairlead-https.socket", "mqtt=PORT0 https=PORT1"},
		{"none", 0, "-", "mqtt=0 https=0"},
		{"one without name", 1, "-", `error: inherited sockets are named LISTEN_FD_3: want "mqtt", "https", "mqtt-plain", or two sockets without names for the first two, in this order`},
		{"three", 3, "mqtt:https:http", `error: inherited sockets are named mqtt, https, http: want "mqtt", "https", "mqtt-plain", or two sockets without names for the first two, in this order`},
		{"twice", 2, "mqtt:mqtt", `error: inherited sockets: two are named "mqtt"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			var files []*os.File
			for i := range tt.sockets {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				f, err := l.(*net.TCPListener).File()
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				files = append(files, f)
				want = strings.ReplaceAll(want, "PORT"+strconv.Itoa(i), strconv.Itoa(Port(l)))
			}
			if got := inChild(t, tt.names, files); got != want {
				t.Errorf("got %s\nwant %s", got, want)
			}
		})
	}
}

// inChild runs [TestChild] in a new process. The shell is there because LISTEN_PID has to be the child's own number.
func inChild(t *testing.T, names string, files []*os.File) string {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here")
	}
	cmd := exec.Command(sh, "-c", `export LISTEN_PID=$$; exec "$0" -test.run='^TestChild$' -test.v`, os.Args[0])
	cmd.Env = append(os.Environ(), "FAIRLEAD_LISTEN_CHILD=1", "LISTEN_FDS="+strconv.Itoa(len(files)))
	if names != "-" {
		cmd.Env = append(cmd.Env, "LISTEN_FDNAMES="+names)
	}
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if said, ok := strings.CutPrefix(strings.TrimSpace(line), "CHILD "); ok {
			return said
		}
	}
	t.Fatalf("the child said nothing:\n%s", out)
	return ""
}

// TestChild is the other half of [TestInherited].
func TestChild(t *testing.T) {
	if os.Getenv("FAIRLEAD_LISTEN_CHILD") == "" {
		return // nobody's child
	}
	ls, err := Inherited()
	if err != nil {
		fmt.Printf("CHILD error: %v\n", err)
		return
	}
	ports := map[string]int{}
	for name, l := range ls {
		ports[name] = Port(l)
	}
	if os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID")+os.Getenv("LISTEN_FDNAMES") != "" {
		t.Error("the variables of the protocol are still in the environment")
	}
	said := fmt.Sprintf("CHILD mqtt=%d https=%d", ports[MQTT], ports[HTTPS])
	if p := ports[MQTTPlain]; p != 0 {
		said += fmt.Sprintf(" plain=%d", p)
	}
	fmt.Println(said)
}
