package fairlead_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairlead-iot/fairlead"

// layers says what each package may import of this module, besides the standard library; the first row that matches
// counts. A name that ends in "/..." stands for everything below it, "*" for one path element. Tests of a package may
// import what they like.
//
// A package without a row fails the test: think about where it belongs, and write the reason.
var layers = []struct{ pkg, may, why string }{
	{".", "", "words that all SDK packages share"},
	{"internal/topic", "", "topic rules are text and nothing else"},
	{"internal/memnet", "", "everybody's tests use it"},
	{"internal/coveragetest", "", "it reads pages and sources, and runs nothing"},
	{"internal/wire/...", "", "wire formats do no I/O and are shared by both ends"},
	{"internal/websocket", "", "frames are bytes, and both ends take the same ones apart"},
	{"internal/sigv4", "", "signatures are arithmetic, and both ends do the same one"},
	{"internal/mqtt", "internal/topic", "the codec is shared by broker and device engine, so it knows neither"},
	{"internal/mqtt/mqtttest", "internal/mqtt internal/topic internal/memnet", "a scripted peer needs the codec only"},

	{
		"internal/mqtt/mqttclient", ". internal/mqtt internal/topic internal/websocket",
		"a session and its connections; who reconnects, and what is kept, is the engine's business",
	},

	{"internal/durable", ".", "files, whoever uses them"},
	{"identity", ". internal/durable", "who a device is, whatever platform it speaks to"},
	{"outbox", ".", "a queue does not know who sends, nor in which file it lies"},
	{"outbox/outboxtest", ". outbox", "the suite must hold for every driver, so it knows none"},
	{"outbox/sqlitebox", ". outbox internal/durable", "a driver keeps records, and knows nothing of limits and sending"},
	{
		"astarte", ". identity outbox internal/durable internal/engine internal/mqtt internal/mqtt/mqttclient internal/topic internal/wire/astartewire",
		"a platform's SDK stands on the engine, and knows neither another platform's nor the hub",
	},

	{
		"awsiot", ". identity outbox internal/engine internal/mqtt internal/mqtt/mqttclient internal/sigv4 internal/topic internal/wire/awswire",
		"a platform's SDK stands on the engine, and knows neither another platform's nor the hub",
	},

	{
		"internal/engine", ". identity outbox internal/mqtt internal/mqtt/mqttclient internal/topic",
		"it stays connected and empties the outbox, on whatever platform",
	},

	{"hub/admin", "", "programs that watch a hub must not link it"},
	{"hub/internal/core", "", "words of the domain: whatever they import, everything imports"},
	{"hub/internal/listen", "hub/internal/core internal/websocket", "sockets, whoever uses them"},
	{"hub/internal/datadir", ". internal/durable", "what lies where in the data folder, whoever uses it"},
	{"hub/internal/store", "hub/internal/core", "the interface of storage drivers, in the core's words"},
	{"hub/internal/store/storetest", "hub/internal/core hub/internal/store", "the suite must hold for every driver, so it knows none"},
	{"hub/internal/store/*", ". hub/internal/core hub/internal/store internal/durable", "a driver knows what to keep, not why"},
	{"hub/internal/commit", "hub/internal/core hub/internal/store", "the committer commits whatever it is handed, into whatever driver"},
	{"hub/internal/ca", "hub/internal/core internal/durable", "whose certificate it is and whether it is valid now; the rest is the registry's"},
	{"hub/internal/registry", services, "rules about one noun; a neighbour only through an interface of its own"},
	{
		"hub/internal/credential", services + " hub/internal/registry hub/internal/ca internal/topic",
		"what devices without a platform sign in with; that they are devices with an enrolment is the registry's",
	},
	{"hub/internal/seal", "hub/internal/core internal/durable", "secrets, whosever they are"},
	{"hub/internal/accesskey", services + " hub/internal/seal", "rules about one noun; a neighbour only through an interface of its own"},
	{"hub/internal/guess", "hub/internal/core", "it counts tries, whatever is tried"},
	{"hub/internal/access", services, "rules about one noun; a neighbour only through an interface of its own"},
	{"hub/internal/document", services, "rules about one noun; a neighbour only through an interface of its own"},
	{"hub/internal/job", services, "rules about one noun; a neighbour only through an interface of its own"},
	{"hub/internal/telemetry", services, "rules about one noun; a neighbour only through an interface of its own"},
	{"hub/internal/feed", services + " hub/internal/registry", "samples of topics, whatever the dialect; that a device is connected is the registry's"},
	{"hub/internal/trace", "", "it sends what it is told"},
	{"hub/internal/sweep", services, "long work in slices, whatever it is"},
	{"hub/internal/refusal", "hub/internal/core hub/internal/ca internal/mqtt", "it puts the errors of others into plain words"},
	{"hub/internal/dialect", services, "what a dialect is, told to those who have never seen one"},
	{
		"hub/internal/dialect/astarte",
		services + " hub/internal/dialect hub/internal/ca hub/internal/registry hub/internal/document hub/internal/telemetry" +
			" internal/durable internal/topic internal/wire/astartewire",
		"a dialect translates: it knows no socket, no driver and no other dialect",
	},
	{
		"hub/internal/dialect/awsiot",
		services + " hub/internal/dialect hub/internal/dialect/awsiot/policy hub/internal/feed hub/internal/accesskey hub/internal/seal hub/internal/ca hub/internal/registry hub/internal/document hub/internal/job" +
			" internal/durable internal/mqtt internal/sigv4 internal/topic internal/wire/awscbor internal/wire/awswire",
		"a dialect translates: it knows no socket, no driver and no other dialect",
	},
	{"hub/internal/dialect/awsiot/policy", "hub/internal/core", "a language and what it means, fuzzed without a hub around it"},
	{
		"hub/internal/dialect/mqtt",
		services + " hub/internal/dialect hub/internal/ca hub/internal/credential hub/internal/feed hub/internal/registry hub/internal/guess internal/durable internal/topic internal/mqtt",
		"a dialect translates: it knows no socket, no driver and no other dialect",
	},
	{
		"hub/internal/broker", services + " hub/internal/dialect hub/internal/listen internal/mqtt internal/topic",
		"the broker enforces what dialects decide, and knows none of them",
	},
	{
		"hub/internal/api",
		services + " hub/admin hub/internal/access hub/internal/accesskey hub/internal/ca hub/internal/credential hub/internal/dialect hub/internal/guess hub/internal/refusal hub/internal/registry hub/internal/telemetry",
		"HTTP in front of the services and of what any dialect offers; it knows no driver, platform or broker",
	},
	{"hub/internal/retain", services, "it knows what is old and what is too much, not what it is"},
	{"hub/internal/backup", "hub/internal/core", "the form of an archive, whoever makes one"},
	{"hub/internal/metrics", "", "it shows what it is handed"},
	{"hub", "hub/... internal/topic", "it wires, so it knows everything, except the SDK and the test helpers"},
	{"hub/hubtest", "hub hub/admin identity internal/memnet internal/wire/astartewire", "users import it into their tests; it does what operators do, and no SDK may"},
	{"cmd/fairlead/internal/heap", "", "it tells the runtime of the process something, whatever runs in it"},
	{"cmd/fairlead/internal/config", "hub", "a setting is a field of the hub's configuration; the file format is nobody else's business"},
	{"examples/*", ". astarte awsiot identity outbox outbox/sqlitebox", "what users write has public packages only"},
	{
		"cmd/fairlead/internal/demo", ". astarte awsiot identity hub hub/admin internal/engine internal/mqtt internal/mqtt/mqttclient internal/sigv4 cmd/fairlead/internal/realm",
		"devices, and those who provision them: it knows the SDK, and of the hub only where it is",
	},
	{"cmd/fairlead/internal/realm", "astarte identity internal/wire/astartewire", "what operators of a realm do, who need no hub for it"},
	{"cmd/fairlead", "hub hub/admin internal/durable astarte cmd/fairlead/internal/...", "the program is a small shell around the library, so that others can be one too"},
}

// services may read storage and take part in transactions.
const services = "hub/internal/core hub/internal/store hub/internal/commit"

// never says what must not be linked at all, not even through others. Names without a dot are the standard library's.
var never = []struct{ from, not, why string }{
	{"internal/wire/...", "net/http", "wire formats do no I/O"},
	{"internal/mqtt", "net", "a pure codec is what can be fuzzed"},
	{"internal/websocket", "net", "a pure codec is what can be fuzzed"},
	{"internal/sigv4", "net", "what is pure can be fuzzed"},
	{"hub/internal/core", "net/http", "the core never hears of HTTP"},
	{"cmd/...", "testing", "test helpers stay out of the binary"},
	{"hub", module + "/astarte", "the hub must not lean on our SDK: others' devices use another"},
	{"hub", module + "/awsiot", "the hub must not lean on our SDK: others' devices use another"},
	{"awsiot", module + "/hub", "a device must not link the server"},
	{"awsiot", "zombiezen.com/go/sqlite", "a device that needs no file must not link a database"},
	{"outbox", "zombiezen.com/go/sqlite", "a device that needs no file must not link a database"},
	{"identity", "net/http", "it is asked for requests and given certificates; who carries them is others' business"},
	{"hub", "database/sql", "storage drivers use their library's direct interface, which is faster"},
}

// nowhere says what no package of ours imports itself.
var nowhere = map[string]string{
	"log":            "log/slog only; the old one writes where nobody asked for it",
	"net/http/pprof": "it puts handlers on a global mux",
	"unsafe":         "nothing here is worth it",
	"C":              "no cgo: the hub and the SDK must cross-compile",
}

// libraries says which package imports a third-party library, so that replacing it is one package's work. Two names
// mean one importer on each side, hub and device, where they share nothing else: docs/decisions/0011-outbox.md; and of
// golang.org/x/sys, one on each system.
var libraries = map[string]string{
	"github.com/coreos/go-systemd/v22":    "hub/internal/listen",
	"github.com/fxamacker/cbor/v2":        "internal/wire/awscbor",
	"github.com/golang-jwt/jwt/v5":        "hub/internal/dialect/astarte",
	"github.com/pelletier/go-toml/v2":     "cmd/fairlead/internal/config",
	"github.com/prometheus/client_golang": "hub/internal/metrics",
	"github.com/spf13/cobra":              "cmd/fairlead",
	"golang.org/x/crypto":                 "hub/internal/credential",
	"golang.org/x/sys":                    "hub/internal/listen internal/durable",
	"github.com/spf13/pflag":              "cmd/fairlead",
	"go.opentelemetry.io/otel":            "hub/internal/trace",
	"go.opentelemetry.io/otel/sdk":        "hub/internal/trace",
	"go.opentelemetry.io/otel/trace":      "hub/internal/trace",
	"zombiezen.com/go/sqlite":             "hub/internal/store/sqlite outbox/sqlitebox",
}

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
	Module     *struct{ Path string }
}

// TestImports checks the rules with one call of the go command for each system, as what is imported depends on it.
func TestImports(t *testing.T) {
	unused := maps.Clone(libraries)
	for _, system := range []string{"linux", "windows", "darwin", "freebsd"} {
		t.Run(system, func(t *testing.T) { checkImports(t, list(t, system), unused) })
	}
	for lib, owner := range unused {
		t.Errorf("%s does not import %s any more: remove its row in libraries", owner, lib)
	}
}

// checkImports checks one system's packages, and takes off unused which library each of them imports.
func checkImports(t *testing.T, all map[string]*pkg, unused map[string]string) {
	for _, p := range all {
		name, ours := within(p.ImportPath)
		if !ours {
			continue
		}
		row := slices.IndexFunc(layers, func(l struct{ pkg, may, why string }) bool { return matches(l.pkg, name) })
		if row < 0 {
			t.Errorf("%s has no row in layers: say what it may import and why", name)
			continue
		}
		for _, imp := range p.Imports {
			if why := nowhere[imp]; why != "" {
				t.Errorf("%s imports %s, which no package may: %s", name, imp, why)
			}
			if imported, ours := within(imp); ours {
				if !allowed(layers[row].may, imported) {
					t.Errorf("%s imports %s, which it must not: %s", name, imported, layers[row].why)
				}
				continue
			}
			lib := all[imp]
			if lib == nil || lib.Standard || lib.Module == nil {
				continue
			}
			if strings.HasSuffix(name, "test") && lib.Module.Path == "github.com/google/go-cmp" {
				continue // suites and helpers compare, like the tests they are for
			}
			if owner := libraries[lib.Module.Path]; owner == "" {
				t.Errorf("%s imports %s: a new library needs a reason and a row in libraries", name, lib.Module.Path)
			} else if owners := strings.Fields(owner); !slices.Contains(owners, name) {
				t.Errorf("%s imports %s, which only %s may: one library, one importer", name, lib.Module.Path, owner)
			} else if owners = slices.DeleteFunc(strings.Fields(unused[lib.Module.Path]), func(o string) bool { return o == name }); len(owners) > 0 {
				unused[lib.Module.Path] = strings.Join(owners, " ")
			} else {
				delete(unused, lib.Module.Path)
			}
		}
		for _, r := range never {
			if matches(r.from, name) && slices.Contains(p.Deps, r.not) {
				t.Errorf("%s links %s, which it must not: %s (%s)", name, r.not, r.why, blame(all, p, r.not))
			}
		}
	}
}

// TestChain keeps the module flat: a long chain of imports is a program that nobody can see the whole of.
func TestChain(t *testing.T) {
	all := list(t, runtime.GOOS)
	depth := map[string]int{}
	var measure func(string) int
	measure = func(name string) int {
		if _, ours := within(name); !ours {
			return 0
		}
		if d, ok := depth[name]; ok {
			return d
		}
		deepest := 0
		for _, imp := range all[name].Imports {
			deepest = max(deepest, measure(imp))
		}
		depth[name] = deepest + 1
		return depth[name]
	}
	const want = 8
	for name := range all {
		if got := measure(name); got > want {
			t.Errorf("%s stands on a chain of %d packages, want at most %d", name, got, want)
		}
	}
}

// list returns all packages of the module and what they import on a system, by import path.
func list(t *testing.T, system string) map[string]*pkg {
	t.Helper()
	touch(t)
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps,Module", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	all := map[string]*pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
	return all
}

// touch looks at every Go file, so that the cache of go test knows what the result depends on.
func touch(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && strings.HasPrefix(e.Name(), ".") && name != "." {
			return cmp.Or(err, fs.SkipDir)
		}
		if strings.HasSuffix(name, ".go") {
			_, err = os.Stat(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// within returns the name of a package in this module.
func within(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func matches(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "..."); ok {
		return below == "" || strings.HasPrefix(name+"/", below)
	}
	ok, _ := path.Match(pattern, name)
	return ok
}

func allowed(may, name string) bool {
	return slices.ContainsFunc(strings.Fields(may), func(p string) bool { return matches(p, name) })
}

// blame names the package that brings a dependency in.
func blame(all map[string]*pkg, p *pkg, dep string) string {
	for _, d := range append(p.Deps, p.ImportPath) {
		if q := all[d]; q != nil && slices.Contains(q.Imports, dep) && !q.Standard {
			return "imported by " + d
		}
	}
	return "imported by the standard library"
}
