package awsiot

import (
	"crypto/tls"
	"os"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

func TestDevelop(t *testing.T) {
	g := newConnRig(t)
	e := dialect.Development{Tenant: testTenant, Dir: t.TempDir(), BaseURL: "https://localhost:8443", Host: "localhost", HTTPSPort: 8443, MQTTPort: 8883}
	develop := func() map[string]string {
		t.Helper()
		env, err := g.d.Develop(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		return env
	}
	connect := func(env map[string]string) {
		t.Helper()
		crt, err := tls.LoadX509KeyPair(env["AWS_IOT_CERTIFICATE"], env["AWS_IOT_PRIVATE_KEY"])
		if err != nil {
			t.Fatal(err)
		}
		c := g.connect(crt, mqtt.Connect{ClientID: env["AWS_IOT_THING_NAME"], CleanStart: true})
		c.Publish("anything", 1, []byte("1"))
		c.Disconnect()
	}
	first := develop()
	connect(first)
	if got := g.samples("demo-thing")["anything"]; got != 1 {
		t.Errorf("got %d samples", got)
	}
	if _, _, err := g.d.keys.Find(t.Context(), first["AWS_ACCESS_KEY_ID"], g.now()); err != nil {
		t.Errorf("the access key: %v", err)
	}
	again := develop()
	for name, value := range first {
		if again[name] != value {
			t.Errorf("%s: got %q the second time, %q before", name, again[name], value)
		}
	}
	// What was taken away is made again.
	if err := os.Remove(first["AWS_IOT_CERTIFICATE"]); err != nil {
		t.Fatal(err)
	}
	connect(develop())
	for name, file := range map[string]string{"key": first["AWS_IOT_PRIVATE_KEY"], "access key": e.Dir + "/" + accessKeyFile} {
		if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}
