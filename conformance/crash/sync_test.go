package crash

import (
	"bytes"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqtttest"
	"github.com/fairlead-iot/fairlead/internal/wire/astartewire"
)

// A killed process leaves what it wrote in the system's memory, so killing does not show whether the hub syncs. This
// does: one acknowledgement after the other, and strace counts the syncs. Each needs one of its own.
func TestEachAcknowledgementIsSynced(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("NOT RUN: there is no strace")
	}
	hub := newHub(t)
	trace := filepath.Join(t.TempDir(), "trace")
	// -D: the hub stays our own child, so that it can be killed like any other.
	hub.Wrap = []string{strace, "-D", "-f", "-e", "trace=fsync,fdatasync", "-o", trace}
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Kill() })
	if err := hub.AwaitReady(t.Context(), readyPatience); err != nil {
		t.Skipf("NOT RUN: the hub cannot be traced here: %v", err)
	}
	vars, err := hub.Variables(t.Context(), "astarte")
	if err != nil {
		t.Fatal(err)
	}
	realm, err := astarteapi.New(vars)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range definitions() {
		if err := realm.Install(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	id := astartewire.RandomDeviceID()
	secret, err := realm.Register(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := realm.Obtain(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", hub.MQTT(), cred.TLS)
	if err != nil {
		t.Fatal(err)
	}
	c := mqtttest.NewClient(t, conn)
	c.Connect(mqtt.Connect{CleanStart: true})
	base := realm.Name + "/" + id
	c.Publish(base, 2, introspection())

	value := "x"
	for name, once := range map[string]func(){
		"QoS 1":              func() { c.Publish(base+"/"+ifGuaranteed+"/p0/value", 1, payload(&value)) },
		"QoS 2":              func() { c.Publish(base+"/"+ifUnique+"/p0/value", 2, payload(&value)) },
		"property of device": func() { c.Publish(base+"/"+ifProps+"/p0/value", 2, payload(&value)) },
		"property of server": func() {
			value += "x" // storing the same again would change nothing
			if err := realm.Put(t.Context(), id, ifServerProps, "/p0/value", value); err != nil {
				t.Fatal(err)
			}
		},
	} {
		const n = 50
		before := syncs(t, trace)
		for range n {
			once()
		}
		deadline := time.Now().Add(30 * time.Second) // strace may be behind
		for syncs(t, trace)-before < n && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if got := syncs(t, trace) - before; got < n {
			t.Errorf("%s: %d acknowledgements and %d syncs", name, n, got)
		}
	}
}

func syncs(t *testing.T, trace string) int {
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	// A call that another one interrupts has a second line, "resumed", without the bracket.
	return bytes.Count(b, []byte("fsync(")) + bytes.Count(b, []byte("fdatasync("))
}
