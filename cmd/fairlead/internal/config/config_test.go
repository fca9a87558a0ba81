package config

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-iot/fairlead/hub"
)

// load reads text as a file.
func load(t *testing.T, text string, from Sources) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	from.File = "f.toml"
	if err := os.WriteFile(from.File, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(from)
}

func TestLoad(t *testing.T) {
	c, err := load(t, `
data_dir = "/d"
mqtt_port = 1_883
https_port = "any"
names = ["hub.example.org", "192.0.2.7"]
stop_grace = "off"
log.level = "debug"
retention = { sample_bytes = "20GiB", event_count = "off" }
`, Sources{
		Env:   []string{"FAIRLEAD_LISTEN=192.0.2.7", "FAIRLEAD_MQTT_PORT=8884", "FAIRLEAD_URL=x", "FAIRLEAD_PORT_8883_TCP=tcp://x", "HOME=/"},
		Flags: map[string]string{"mqtt_port": "8885", "retention.event_age": "36h", "log.format": "json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := hub.Config{
		DataDir: "/d", MQTTPort: 8885, HTTPSPort: hub.AnyPort, Names: []string{"hub.example.org", "192.0.2.7"},
		StopGrace: -1, Listen: netip.MustParseAddr("192.0.2.7"),
		Retention: hub.Retention{SampleBytes: 20 << 30, EventCount: -1, EventAge: 36 * time.Hour},
	}
	want, err = want.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Settings{want, Log{Level: -4, Format: "json"}}, c.Settings, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Logger" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

// TestProblems: everything that is wrong is found in one go, with its place.
func TestProblems(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		from       Sources
		want       string
	}{
		{"keys", "listn = \"::\"\n[retntion]\nx = 1\n[log]\nleve = 1\nx.y = 1\n", Sources{}, `
f.toml:1:1: unknown listn; did you mean listen?
f.toml:2:2: unknown [retntion]; did you mean [retention]?
f.toml:5:1: unknown log.leve; did you mean log.level?
f.toml:6:1: unknown log.x.y; ` + "`fairlead config print` shows all there are"},
		{"key of a table", "level = \"info\"\nretention = 3\nlog.format.x = 1\n", Sources{}, `
f.toml:1:1: unknown level; did you mean log.level?
f.toml:2:1: retention is a table: write [retention] and its keys below
f.toml:3:1: unknown log.format.x; did you mean log.format?`},
		{"types", "mqtt_port = \"8883\"\nnames = \"a\"\nstop_grace = 3\nlisten = \"here\"\nhttps_port = 2.5\ndata_dir = true\n[retention]\nevent_count = \"10\"\nsample_bytes = \"10 parsecs\"", Sources{}, `
f.toml:1:1: mqtt_port wants 1 to 65535, or "any"
f.toml:2:1: names wants a list
f.toml:3:1: stop_grace wants a duration such as "90s", "12h" or "30d", or "off"
f.toml:4:1: listen is "here"; it wants an IP address such as "192.0.2.7" or "::"
f.toml:5:1: https_port wants 1 to 65535, or "any"
f.toml:6:1: data_dir wants text
f.toml:8:1: retention.event_count wants a number from 1, or "off"
f.toml:9:1: retention.sample_bytes is "10 parsecs"; it wants a number of bytes such as 1048576, "64KiB" or "20GB", or "off"`},
		{"values", "mqtt_port = 65536\n[retention]\nevent_count = 0\nsample_bytes = -1\nsample_age = \"-1h\"\nevent_age = \"0s\"\n", Sources{}, `
f.toml:1:1: mqtt_port is 65536; it wants 1 to 65535, or "any"
f.toml:3:1: retention.event_count is 0: write "off" for no limit, or leave it out for the default
f.toml:4:1: retention.sample_bytes is -1; it wants a number of bytes such as 1048576, "64KiB" or "20GB", or "off"
f.toml:5:1: retention.sample_age is "-1h"; it wants a duration such as "90s", "12h" or "30d", or "off"
f.toml:6:1: retention.event_age is 0: write "off" for no limit, or leave it out for the default`},
		{"never off", "[limits]\nheader_timeout = \"10\"\nconnect_timeout = 0\nheader_bytes = \"big\"\n", Sources{Flags: map[string]string{"limits.connect_timeout": "x"}}, `
f.toml:2:1: limits.header_timeout is "10"; it wants a duration such as "90s", "12h" or "30d"
f.toml:3:1: limits.connect_timeout is 0: leave it out for the default
f.toml:4:1: limits.header_bytes is "big"; it wants a number of bytes such as 1048576, "64KiB" or "20GB"
--limits-connect-timeout: limits.connect_timeout is "x"; it wants a duration such as "90s", "12h" or "30d"`},
		{"off", "[limits]\nheader_timeout = \"off\"\nmqtt_sessions = \"off\"\n", Sources{}, "f.toml:2:1: limits.header_timeout cannot be off"},
		{"twice", "mqtt_port = 1\nmqtt_port = 2\n", Sources{}, `
f.toml:2:1: mqtt_port is set a second time; the first is at f.toml:1:1`},
		{"table twice", "[log]\nlevel = \"info\"\n[log]\nformat = \"text\"\n", Sources{}, `
f.toml:3:2: table log already exists`},
		{"syntax", "nonsense = 1\nmqtt_port = = 1\n", Sources{}, `
f.toml:1:1: unknown nonsense; ` + "`fairlead config print` shows all there are" + `
f.toml:2:13: unexpected character U+003D '=' at start of value`},
		{"array table", "[[log]]\nlevel = 1\n", Sources{}, "f.toml:1:3: write [log] with single brackets: there is one"},
		{"variable and flag", "", Sources{Env: []string{"FAIRLEAD_LISTEN=x", "FAIRLEAD_LOG_LEVE=x"}, Flags: map[string]string{"mqtt_port": "0"}}, `
FAIRLEAD_LISTEN: listen is "x"; it wants an IP address such as "192.0.2.7" or "::"
FAIRLEAD_LOG_LEVE: no such setting; did you mean FAIRLEAD_LOG_LEVEL?
--mqtt-port: mqtt_port is 0; it wants 1 to 65535, or "any"`},
		{"together", "mqtt_port = 8443\nkey_file = \"k\"\n", Sources{Flags: map[string]string{"https_port": "8443"}}, `
--https-port: https_port is 8443, as mqtt_port is
f.toml:2:1: key_file is of no use without certificate_file`},
		{"together with others", "nmaes = []\nstop_grace = 0\nkey_file = \"k\"\nmqtt_anonymous = true\nmqtt_plain_port = \"1883\"\n", Sources{}, `
f.toml:1:1: unknown nmaes; did you mean names?
f.toml:2:1: stop_grace is 0: write "off" for no limit, or leave it out for the default
f.toml:5:1: mqtt_plain_port wants 1 to 65535, or "any"
f.toml:4:1: mqtt_anonymous is of no use without mqtt_default_tenant
f.toml:3:1: key_file is of no use without certificate_file`},
		{"not text", "a = \"\xff\"", Sources{}, "f.toml: want UTF-8 text of at most 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.file, tt.from)
			if err == nil {
				t.Fatal("no error")
			}
			if d := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), err.Error()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// TestFields: whatever the hub can be told can be set, under one name.
func TestFields(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if _, ok := f.form(); !ok {
			t.Errorf("%s: no way to write a %v; tag it config:\"-\" or teach package config", f.Key, f.typ)
		}
		for _, name := range []string{f.Key, f.Flag(), f.Env()} {
			if seen[name] && strings.ContainsAny(name, "-_.") {
				t.Errorf("%s: %s is another setting too", f.Key, name)
			}
			seen[name] = true
		}
	}
	for in, want := range map[string]string{"MQTTPort": "mqtt_port", "DataDir": "data_dir", "HTTPSPort": "https_port", "Names": "names", "OTelURL": "o_tel_url"} {
		if got := snake(in); got != want {
			t.Errorf("snake(%s): got %s, want %s", in, got, want)
		}
	}
}

// TestPrintIsAFile: what is printed can be read, and says the same.
func TestPrintIsAFile(t *testing.T) {
	c, err := load(t, "https_more_ports = [8443, \"any\"]\nnames = [\"a\", \"b\\\"\\\\\"]\n[retention]\nsample_age = \"90d\"\nsample_bytes = 3072\nmin_free_bytes = \"off\"\n", Sources{
		Flags: map[string]string{"https_port": "any"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`data_dir = "/var/lib/fairlead" # default`, `https_port = "any" # --https-port`, `names = ["a", "b\"\\"] # f.toml:2:1`, `https_more_ports = [8443, "any"] # f.toml:1:1`,
		`sample_age = "90d" # f.toml:4:1`, `sample_bytes = "3KiB" # f.toml:5:1`, `min_free_bytes = "off" # f.toml:6:1`, `level = "info" # default`,
		`# certificate_file is not set`,
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("want %s in\n%s", want, &b)
		}
	}
	list, err := c.List()
	if err != nil || len(list) != len(Fields()) {
		t.Errorf("listed: %d settings, %v", len(list), err)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"key":"https_port","value":"any","origin":"--https-port"}`, `{"key":"names","value":["a","b\"\\"],"origin":"f.toml:2:1"}`, `{"key":"https_more_ports","value":[8443,"any"],"origin":"f.toml:1:1"}`,
		`{"key":"retention.sample_age","value":"90d","origin":"f.toml:4:1"}`, `{"key":"log.level","value":"info"}`, `{"key":"certificate_file"}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("want %s in\n%s", want, text)
		}
	}
	again, err := load(t, b.String(), Sources{})
	if err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	a, bb := c.Settings, again.Settings
	a.Logger, bb.Logger = nil, nil
	if !reflect.DeepEqual(a, bb) {
		t.Errorf("got %+v, want %+v", bb, a)
	}
}

// TestPrintKnowsTheMachine: where nothing is set, what a hub would do here is said, and that it is the default.
func TestPrintKnowsTheMachine(t *testing.T) {
	dir := t.TempDir()
	c, err := load(t, "[limits]\nmqtt_pending = 7\nmqtt_sessions = \"off\"\n", Sources{Flags: map[string]string{"data_dir": dir}})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.Print(&b); err != nil {
		t.Fatal(err)
	}
	list, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`\n# mqtt_connections = [1-9]\d*   # default on this machine\n`, `\n# connect_timeout = "10s"   # default on this machine\n`,
		`\n# header_bytes = "64KiB"   # default on this machine\n`, `\n# sample_bytes = .*[1-9].*   # default on this machine\n`,
		`\nmqtt_pending = 7 # f\.toml:2:1\n`, `\nmqtt_sessions = "off" # f\.toml:3:1\n`, `\n# sample_age is not set\n`, `\n# mqtt_pending_per_address is not set\n`,
		`{"key":"limits.mqtt_connections","default":[1-9]\d*}`, `{"key":"limits.header_bytes","default":"64KiB"}`, `{"key":"limits.mqtt_pending","value":7,`,
		`{"key":"retention.sample_age"}`,
	} {
		if !regexp.MustCompile(want).MatchString(b.String() + string(text)) {
			t.Errorf("want %s in\n%s\n%s", want, &b, text)
		}
	}
	// A folder that is not there may be on a disk that is not mounted.
	c.DataDir = filepath.Join(dir, "none")
	b.Reset()
	if err := c.Print(&b); err != nil || !strings.Contains(b.String(), "\n# sample_bytes is not set\n") {
		t.Errorf("%v in\n%s", err, &b)
	}
}

// TestDocumentation: docs/configuration.md has a row for each setting and no other, and its examples can be read.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\| (.+?) \\| (.+?) \\|").FindAllStringSubmatch(string(text), -1)
	var documented, want []string
	for _, r := range rows {
		documented = append(documented, r[1])
	}
	for _, f := range Fields() {
		want = append(want, f.Key)
	}
	slices.Sort(documented)
	slices.Sort(want)
	if d := cmp.Diff(want, documented); d != "" {
		t.Errorf("settings in docs/configuration.md: -want +got\n%s", d)
	}
	for _, m := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if _, err := load(t, m[1], Sources{}); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
}

// TestLimitsAreDocumentedOnce: docs/limits.md has each limit, with the default that docs/configuration.md has.
func TestLimitsAreDocumentedOnce(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile("../../../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	simple := strings.NewReplacer(", or what file descriptors allow", "", "`", "", `"`, "", " ", "")
	explained := map[string]string{}
	for _, r := range regexp.MustCompile("(?m)^\\| (`[a-z0-9_`, ]+`) \\| (.+?) \\|").FindAllStringSubmatch(read("limits.md"), -1) {
		defaults := strings.Split(r[2], ";")
		for i, name := range strings.Split(r[1], ",") {
			explained[simple.Replace(name)] = simple.Replace(defaults[min(i, len(defaults)-1)])
		}
	}
	for _, r := range regexp.MustCompile("(?m)^\\| `limits\\.([a-z0-9_]+)` \\| .+? \\| (.+?) \\|").FindAllStringSubmatch(read("configuration.md"), -1) {
		if got, want := explained[r[1]], simple.Replace(r[2]); got != want {
			t.Errorf("%s: docs/limits.md has the default %q, docs/configuration.md %q", r[1], got, want)
		}
		delete(explained, r[1])
	}
	for name := range explained {
		t.Errorf("docs/limits.md has %s, which is no setting", name)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("data_dir = \"/d\"\nretention = { sample_bytes = \"20GiB\" }\n[log]\nlevel = \"info\"\n")
	f.Add("names = [\"a\", 'b', [1]]\n[[retention]]\nx.y = 2024-01-01\nmqtt_port = 0x10")
	name := filepath.Join(f.TempDir(), "f.toml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Sources{File: name})
		if err != nil {
			return
		}
		var b strings.Builder
		if err := c.Print(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Load(Sources{File: name})
		if err != nil {
			t.Fatalf("%v in\n%s\nof\n%s", err, &b, text)
		}
		c.Logger, again.Logger = nil, nil
		if !reflect.DeepEqual(c.Settings, again.Settings) {
			t.Errorf("%q: got %+v, want %+v", text, again.Settings, c.Settings)
		}
	})
}
