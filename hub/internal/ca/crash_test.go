package ca

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// crashDir names the environment variable that makes the test binary the process to be killed.
const crashDir = "FAIRLEAD_CA_CRASH_DIR"

// TestCrash kills a process that renews its issuing certificate all the time, and opens the folder anew each time:
// no certificate that was handed out may have lost its issuer.
func TestCrash(t *testing.T) {
	if dir := os.Getenv(crashDir); dir != "" {
		renewForever(t, dir, os.Getenv("FAIRLEAD_CA_CRASH_FROM"))
		return
	}
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	dir := t.TempDir()
	at := newClock().now()
	var signed []string
	for range rounds {
		var crts []string
		crts, at = crashOnce(t, dir, at)
		signed = append(signed, crts...)
		c, err := Open(crashConfig(dir, func() time.Time { return at }))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range signed {
			crt := parse(t, must(base64.StdEncoding.DecodeString(s)))
			if err := c.Verify(crt); err != nil && !errors.Is(err, ErrExpired) {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d certificates, %d kills", len(signed), rounds)
	if len(signed) < rounds {
		t.Errorf("only %d certificates were signed in %d rounds: the kills come too early to show anything", len(signed), rounds)
	}
}

// crashOnce runs the process, kills it after a moment, and returns what it has signed and how far its clock came.
func crashOnce(t *testing.T, dir string, at time.Time) ([]string, time.Time) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$", "-test.v")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, "FAIRLEAD_CA_CRASH_FROM="+strconv.FormatInt(at.Unix(), 10))
	out := must(cmd.StdoutPipe())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var signed []string
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var unix int64
		var crt string
		if n, _ := fmt.Sscanf(lines.Text(), "signed %d %s", &unix, &crt); n != 2 {
			continue
		}
		if len(signed) == 0 { // it runs; from here on, any moment will do
			timer.Reset(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		}
		signed, at = append(signed, crt), time.Unix(unix, 0).UTC()
	}
	timer.Stop()
	cmd.Wait() // killed
	return signed, at
}

func crashConfig(dir string, now func() time.Time) Config {
	return Config{Dir: dir, Now: now, IssuingLifetime: 1000 * time.Hour}
}

// renewForever signs and moves the clock on, so that each certificate has another issuer.
func renewForever(t *testing.T, dir, from string) {
	at := time.Unix(must(strconv.ParseInt(from, 10, 64)), 0).UTC()
	c := open(t, crashConfig(dir, func() time.Time { return at }))
	key := newECDSA(t)
	for {
		issued, err := c.SignDeviceKey(key.Public(), Leaf{CommonName: "a", Lifetime: 1000 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("signed", at.Unix(), base64.StdEncoding.EncodeToString(issued.PEM))
		at = at.Add(700 * time.Hour)
	}
}
