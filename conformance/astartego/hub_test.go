package astartego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/conformance/astarteapi"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
)

// patience is how long anything may take that has to happen.
const patience = 60 * time.Second

// platform is a running hub, with the interfaces of conformance/astarte installed.
type platform struct {
	hub   *hubproc.Hub
	realm *astarteapi.Realm
	vars  map[string]string
}

// startPlatform starts the built hub on a folder.
func startPlatform(ctx context.Context, dir string) (*platform, error) {
	binary := os.Getenv("FAIRLEAD_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "fairlead")
		if err := hubproc.Build(ctx, binary); err != nil {
			return nil, err
		}
	}
	h, err := hubproc.New(binary, dir)
	if err != nil {
		return nil, err
	}
	p := &platform{hub: h}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	if p.vars, err = h.Variables(ctx, "astarte"); err != nil {
		return nil, err
	}
	if p.realm, err = astarteapi.New(p.vars); err != nil {
		return nil, err
	}
	definitions, err := definitions()
	if err != nil {
		return nil, err
	}
	for _, text := range definitions {
		if err := p.realm.Install(ctx, text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// start starts a process, also after one was killed or stopped.
func (p *platform) start(ctx context.Context) error {
	if err := p.hub.Start(); err != nil {
		return err
	}
	if p.realm != nil {
		p.realm.CloseIdle() // they lead to the process before
	}
	return p.hub.AwaitReady(ctx, patience)
}

// own starts a hub for one test, which may stop and kill it.
func own(t *testing.T) *platform {
	t.Helper()
	p, err := startPlatform(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.hub.LogTail())
		}
		if err := p.hub.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

var (
	started   atomic.Bool
	thePublic = sync.OnceValues(func() (*platform, error) {
		started.Store(true)
		dir, err := os.MkdirTemp("", "fairlead-astartego-")
		if err != nil {
			return nil, err
		}
		return startPlatform(context.Background(), dir)
	})
)

// shared returns the hub that all tests share which do it no harm.
func shared(t *testing.T) *platform {
	t.Helper()
	p, err := thePublic()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMain is also the device's program, see program_test.go. It stops the shared hub, if a test has started it.
func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		os.Exit(program())
	}
	status := m.Run()
	if started.Load() {
		if p, err := thePublic(); p != nil && err == nil {
			if err := p.hub.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				status = 1
			}
			_ = os.RemoveAll(filepath.Dir(p.hub.DataDir))
		}
	}
	os.Exit(status)
}

const prefix = "org.fairlead.conformance."

// definitions are the interfaces that the official SDK is tested with, and one of ours.
var definitions = sync.OnceValues(func() (map[string]json.RawMessage, error) {
	files, err := filepath.Glob("../astarte/interfaces/*.json")
	if err != nil || len(files) < 20 {
		return nil, fmt.Errorf("interfaces of conformance/astarte: found %d, %w", len(files), err)
	}
	all := map[string]json.RawMessage{"DeviceKept": json.RawMessage(deviceKept)}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		all[strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), prefix), ".json")] = text
	}
	return all, nil
})

// deviceKept has what the official SDK does not know: retention and expiry.
const deviceKept = `{"interface_name":"org.fairlead.conformance.DeviceKept","version_major":1,"version_minor":0,"type":"datastream","ownership":"device","mappings":[
	{"endpoint":"/guaranteed","type":"longinteger","reliability":"guaranteed","retention":"stored"},
	{"endpoint":"/unique","type":"longinteger","reliability":"unique","retention":"stored"},
	{"endpoint":"/volatile","type":"longinteger","reliability":"guaranteed","retention":"volatile"},
	{"endpoint":"/expiring","type":"longinteger","reliability":"guaranteed","retention":"volatile","expiry":1},
	{"endpoint":"/expiringstored","type":"longinteger","reliability":"guaranteed","retention":"stored","expiry":1},
	{"endpoint":"/discard","type":"longinteger","reliability":"guaranteed"}]}`

func definition(t *testing.T, short string) json.RawMessage {
	t.Helper()
	all, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	text := all[short]
	if text == nil {
		t.Fatalf("there is no interface %q", short)
	}
	return text
}

func iface(t *testing.T, short string) *astarte.Interface {
	t.Helper()
	return parse(t, definition(t, short))
}

func parse(t *testing.T, text []byte) *astarte.Interface {
	t.Helper()
	i, err := astarte.ParseInterface(text)
	must(t, err)
	return i
}

// edited returns a copy of an interface's definition with changes.
func edited(t *testing.T, short string, edit func(definition map[string]any, mappings []map[string]any)) *astarte.Interface {
	t.Helper()
	var d struct {
		Mappings []map[string]any `json:"mappings"`
	}
	root := map[string]any{}
	must(t, json.Unmarshal(definition(t, short), &root))
	must(t, json.Unmarshal(definition(t, short), &d))
	root["mappings"] = d.Mappings
	edit(root, d.Mappings)
	text, err := json.Marshal(root)
	must(t, err)
	return parse(t, text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read returns what AppEngine shows, numbers as json.Number.
func (p *platform) read(t *testing.T, id, short, path string, query ...string) any {
	t.Helper()
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	raw, err := p.realm.Read(t.Context(), id, prefix+short, path, q)
	must(t, err)
	return number(t, raw)
}

func number(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	must(t, d.Decode(&v))
	return v
}

// series returns the values of an individual datastream, in order; none if there is nothing yet.
func (p *platform) series(t *testing.T, id, short, path string) []any {
	t.Helper()
	raw, err := p.realm.Read(t.Context(), id, prefix+short, path, nil)
	var refused *astarteapi.StatusError
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound && strings.Contains(refused.Body, "Path not found") {
		return nil
	}
	must(t, err)
	var values []any
	for _, row := range number(t, raw).([]any) {
		values = append(values, row.(map[string]any)["value"])
	}
	return values
}

// write writes a value of the server.
func (p *platform) write(t *testing.T, id, short, path string, value any) {
	t.Helper()
	must(t, p.realm.Write(t.Context(), "PUT", id, prefix+short, path, value))
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
