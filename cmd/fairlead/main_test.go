package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fairlead-iot/fairlead/hub"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fairlead": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"device": cmdDevice, "device-closed": cmdDeviceClosed, "capture": cmdCapture, "until": cmdUntil},
	})
}

// cmdCapture is the command "capture VARIABLE FILE REGEXP": it sets the variable to what the parentheses match.
func cmdCapture(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(m) != 2 {
		ts.Fatalf("%s does not match %s", args[1], args[2])
	}
	ts.Setenv(args[0], m[1])
}

// cmdUntil is the command "until REGEXP PROGRAM ARGS...": it runs the program until it prints what matches. The hub notes the end
// of a connection after the client has gone, so there is nothing else to wait on.
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v: nothing matches %s: %v", args[1:], args[0], err)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"grüß 1": "grüß 1", "a\tb\n": "a�b�", "\x1b[2J": "�[2J", "\u202eabc": "�abc", "\x7f\u0085": "��"} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q): got %q, want %q", in, got, want)
		}
	}
}

func TestTimeFlag(t *testing.T) {
	var f timeFlag
	if err := f.Set("2026-05-06T12:00:00+02:00"); err != nil || f.String() != "2026-05-06T10:00:00Z" {
		t.Errorf("got %v, %v", f, err)
	}
	if err := f.Set("90m"); err != nil || time.Since(f.Time.Time) < 89*time.Minute || time.Since(f.Time.Time) > 91*time.Minute {
		t.Errorf("got %v, %v", f, err)
	}
	if err := f.Set("yesterday"); err == nil {
		t.Errorf("got %v, want an error", f)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":         `''`,
		"/a b/c":   `'/a b/c'`,
		"it's $HO": `'it'\''s $HO'`,
		"a\nb":     "'a\nb'",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q): got %s, want %s", in, got, want)
		}
	}
}

func TestPortFlag(t *testing.T) {
	for in, want := range map[string]port{"1": 1, "65535": 65535, "any": hub.AnyPort} {
		var p port
		if err := p.Set(in); err != nil || p != want {
			t.Errorf("Set(%q): got %d, %v, want %d", in, p, err, want)
		}
		if got := p.String(); got != in {
			t.Errorf("String: got %q, want %q", got, in)
		}
	}
	for _, in := range []string{"", "0", "-1", "65536", "https", "1 "} {
		var p port
		if err := p.Set(in); err == nil {
			t.Errorf("Set(%q): got %d, want an error", in, p)
		}
	}
}

func TestGuide(t *testing.T) {
	s := hub.State{
		Version: "v1.2.3", URL: "https://localhost:8443", MQTT: "mqtts://localhost:8883", DataDir: "/data",
		Platforms: map[string]map[string]string{"astarte": {}},
	}
	for _, tt := range []struct {
		name  string
		state hub.State
		flags upFlags
		want  []string
		not   []string
	}{
		{"ports not chosen", s, upFlags{dataDir: defaultDataDir}, []string{"https://localhost:8443   (443 cannot be had here", "\n" + astarteProgram + "PYTHON\n"}, []string{"--data-dir"}},
		{"port chosen", s, upFlags{dataDir: defaultDataDir, https: 8443}, nil, []string{"443 cannot"}},
		{"folder with a space", s, upFlags{dataDir: "my data"}, []string{`env astarte --data-dir 'my data')"`, `status --data-dir 'my data'`}, nil},
		{"no platform", hub.State{Version: "v1.2.3"}, upFlags{dataDir: defaultDataDir}, []string{"v1.2.3"}, []string{"Astarte", "PYTHON"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			if err := newGuide(tt.state, tt.flags).print(&b); err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("got\n%s\nwant %q in it", &b, want)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(b.String(), not) {
					t.Errorf("got\n%s\nwant no %q in it", &b, not)
				}
			}
		})
	}
}

func TestCommandName(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := commandName(); got != "go run ./cmd/fairlead" && got != shellWord(exe) {
		t.Errorf("got %q, want how to run this program", got)
	}
}
