package awsiot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/hub/hubtest"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

// account is an account on a hub, with a thing that may do everything.
type account struct {
	*hubtest.Hub
	env map[string]string
	id  *identity.Identity
}

func newAccount(t *testing.T) *account {
	t.Helper()
	h := hubtest.New(t)
	a := &account{Hub: h, env: h.Env(t, "aws")}
	id, err := identity.Load(a.env["AWS_IOT_PRIVATE_KEY"], a.env["AWS_IOT_CERTIFICATE"])
	if err != nil {
		t.Fatal(err)
	}
	a.id = id
	return a
}

// config is that of the ready thing.
func (a *account) config() awsiot.Config {
	return awsiot.Config{
		Endpoint: net.JoinHostPort("127.0.0.1", a.env["AWS_IOT_MQTT_PORT"]), ThingName: a.env["AWS_IOT_THING_NAME"], Identity: a.id, RootCAs: a.Roots(), Dial: a.Dial,
		Backoff: awsiot.Backoff{Base: 10 * time.Millisecond, Max: time.Second}, OnRefusedSubscription: func(string, error) {},
	}
}

// do asks the control plane, or the data plane if the service is "iotdata" or "iot-jobs-data".
func (a *account) do(t *testing.T, service, method, target string, in any) (status int, out map[string]any) {
	t.Helper()
	body := []byte{}
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(a.env["AWS_ENDPOINT_URL"] + target)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(soonAfter(t), method, u.String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range sigv4.Sign(sigv4.Request{Method: method, Path: u.EscapedPath(), Query: u.RawQuery, Host: u.Host, Hash: sigv4.Hash(body)},
		sigv4.Credentials{AccessKeyID: a.env["AWS_ACCESS_KEY_ID"], SecretAccessKey: a.env["AWS_SECRET_ACCESS_KEY"]},
		sigv4.Scope{Region: a.env["AWS_DEFAULT_REGION"], Service: service}, time.Now()) {
		req.Header.Set(h.Name, h.Value)
	}
	resp, err := a.HTTP().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 {
		_ = json.Unmarshal(text, &out) // not all that is refused is JSON
	}
	return resp.StatusCode, out
}

// must is do for what has to succeed.
func (a *account) must(t *testing.T, service, method, target string, in any) map[string]any {
	t.Helper()
	status, out := a.do(t, service, method, target, in)
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %v", method, target, status, out)
	}
	return out
}

func soonAfter(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// runs runs a client until the test ends.
func runs(t *testing.T, c *awsiot.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// online runs a client until the test ends, and waits until it is connected.
func online(t *testing.T, cfg awsiot.Config) *awsiot.Client {
	t.Helper()
	c, err := awsiot.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	runs(t, c)
	if err := c.Await(soonAfter(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

func next[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-soonAfter(t).Done():
		t.Fatal("nothing has come")
	}
	return v
}

// Every way to connect, in every version, publishes to itself.
func TestHubConnections(t *testing.T) {
	a := newAccount(t)
	https := net.JoinHostPort("127.0.0.1", a.env["AWS_IOT_HTTPS_PORT"])
	for _, protocol := range []awsiot.Protocol{awsiot.MQTT5, awsiot.MQTT311, awsiot.MQTT31} {
		for name, change := range map[string]func(*awsiot.Config){
			"certificate": func(*awsiot.Config) {},
			"ALPN":        func(c *awsiot.Config) { c.Endpoint = https },
			"access key": func(c *awsiot.Config) {
				c.Endpoint, c.Identity, c.Region = https, nil, a.env["AWS_DEFAULT_REGION"]
				c.Credentials = awsiot.StaticCredentials(a.env["AWS_ACCESS_KEY_ID"], identity.NewSecret(a.env["AWS_SECRET_ACCESS_KEY"]), identity.Secret{})
			},
		} {
			t.Run(name+", "+protocol.String(), func(t *testing.T) {
				cfg := a.config()
				change(&cfg)
				cfg.Protocol = protocol
				cfg.ClientID = "c" + strconv.Itoa(int(protocol)) + strings.ReplaceAll(name, " ", "-")
				c := online(t, cfg)
				got := make(chan *awsiot.Message, 10)
				granted, err := c.Subscribe(soonAfter(t), cfg.ClientID+"/#", awsiot.AtLeastOnce, func(m *awsiot.Message) { got <- m }, nil)
				if err != nil || granted != awsiot.AtLeastOnce {
					t.Fatalf("granted %d, %v", granted, err)
				}
				for _, qos := range []awsiot.QoS{awsiot.AtMostOnce, awsiot.AtLeastOnce} {
					if err := c.Publish(soonAfter(t), cfg.ClientID+"/x", qos, []byte("hello"), nil); err != nil {
						t.Fatal(err)
					}
					if m := next(t, got); string(m.Payload) != "hello" || m.QoS != qos {
						t.Errorf("got %+v", m)
					}
				}
				if err := c.Unsubscribe(soonAfter(t), cfg.ClientID+"/#"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	cfg := a.config()
	cfg.Endpoint, cfg.Identity, cfg.Region = https, nil, a.env["AWS_DEFAULT_REGION"]
	cfg.Credentials = awsiot.StaticCredentials(a.env["AWS_ACCESS_KEY_ID"], identity.NewSecret("wrong"), identity.Secret{})
	var refusal *fairlead.PlatformError
	if err := refused(t, cfg); !errors.As(err, &refusal) || refusal.Code != "403" || !errors.Is(err, fairlead.ErrDenied) {
		t.Errorf("wrong secret: %v", err)
	}
}

// A shadow from both sides: the device over MQTT, a program over HTTPS.
func TestHubShadow(t *testing.T) {
	a := newAccount(t)
	c := online(t, a.config())
	ctx := soonAfter(t)
	for _, name := range []string{"", "config"} {
		s := c.Shadow(name)
		if _, err := s.Get(ctx); !errors.Is(err, fairlead.ErrNotFound) {
			t.Errorf("no shadow yet: %v", err)
		}
		deltas, documents := make(chan *awsiot.ShadowDelta, 10), make(chan *awsiot.ShadowDocuments, 10)
		stop, err := s.OnDelta(ctx, func(d *awsiot.ShadowDelta) {
			if _, err := s.Report(ctx, d.State, nil); err != nil { // from a callback
				t.Error(err)
			}
			deltas <- d
		})
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		stopDocuments, err := s.OnDocuments(ctx, func(d *awsiot.ShadowDocuments) { documents <- d })
		if err != nil {
			t.Fatal(err)
		}
		defer stopDocuments()
		first, err := s.Report(ctx, map[string]any{"led": "off"}, nil)
		if err != nil || first.Version != 1 || string(first.Reported) != `{"led":"off"}` {
			t.Fatalf("%+v, %v", first, err)
		}
		if d := next(t, documents); d.Previous != nil || d.Current.Version != 1 {
			t.Errorf("%+v", d)
		}
		target := "/things/" + c.ThingName() + "/shadow"
		if name != "" {
			target += "?name=" + name
		}
		a.must(t, "iotdata", "POST", target, map[string]any{"state": map[string]any{"desired": map[string]any{"led": "on"}}})
		if d := next(t, deltas); d.Version != 2 || string(d.State) != `{"led":"on"}` {
			t.Errorf("%+v", d)
		}
		now, err := s.Get(ctx)
		if err != nil || now.Version != 3 || now.Delta != nil || string(now.Reported) != `{"led":"on"}` || string(now.Desired) != `{"led":"on"}` {
			t.Errorf("%+v, %v", now, err)
		}
		if _, err := s.Desire(ctx, map[string]int{"x": 1}, &awsiot.ShadowOptions{Version: 1}); !errors.Is(err, fairlead.ErrConflict) {
			t.Errorf("old version: %v", err)
		}
		if _, err := s.Report(ctx, map[string]string{"x": strings.Repeat("x", 9000)}, nil); !errors.Is(err, fairlead.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		if _, err := s.UpdateJSON(ctx, []byte(`{"state":{"delta":{}}}`)); !errors.Is(err, fairlead.ErrInvalid) {
			t.Errorf("no section: %v", err)
		}
		if _, err := s.Update(ctx, awsiot.ShadowUpdate{Desired: awsiot.Null}); err != nil {
			t.Error(err)
		}
		if v, err := s.OneShot().Delete(ctx); err != nil || v != 4 {
			t.Errorf("deleted version %d, %v", v, err)
		}
	}
}

// A job through its whole life, done by the runner; and refusals.
func TestHubJobs(t *testing.T) {
	a := newAccount(t)
	c := online(t, a.config())
	thing := a.must(t, "iot", "GET", "/things/"+c.ThingName(), nil)
	results := make(chan string, 10)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Jobs().Run(ctx, func(ctx context.Context, job *awsiot.Job) (map[string]string, error) {
			switch job.JobID {
			case "good":
				return map[string]string{"took": "0 s"}, job.Progress(ctx, map[string]string{"step": "1"})
			case "canceled":
				a.must(t, "iot", "PUT", "/jobs/canceled/cancel?force=true", map[string]any{})
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}
			return nil, errors.New("broken")
		}, &awsiot.RunOptions{OnResult: func(job *awsiot.Job, status awsiot.JobStatus, err error) {
			if errors.Is(err, awsiot.ErrJobEnded) {
				status = "ended"
			} else if err != nil {
				t.Error(err)
			}
			results <- job.JobID + " " + string(status)
		}})
	}()
	for _, tt := range []struct{ job, result, status string }{
		{"good", "good SUCCEEDED", "SUCCEEDED"}, {"bad", "bad FAILED", "FAILED"}, {"canceled", "canceled ended", "CANCELED"},
	} {
		a.must(t, "iot", "PUT", "/jobs/"+tt.job, map[string]any{"targets": []any{thing["thingArn"]}, "document": `{"operation":"` + tt.job + `"}`})
		if got := next(t, results); got != tt.result {
			t.Errorf("got %q, want %q", got, tt.result)
		}
		x := a.must(t, "iot", "GET", "/things/"+c.ThingName()+"/jobs/"+tt.job, nil)["execution"].(map[string]any)
		if x["status"] != tt.status {
			t.Errorf("%s: %v", tt.job, x)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	soon := soonAfter(t)
	// The runner may have asked for another job when it was stopped: this comes behind that.
	if pending, err := c.Jobs().Pending(soon); err != nil || len(pending.Queued) != 0 {
		t.Errorf("%+v, %v", pending, err)
	}
	a.must(t, "iot", "PUT", "/jobs/byhand", map[string]any{"targets": []any{thing["thingArn"]}, "document": `{"a":1}`})
	pending, err := c.Jobs().Pending(soon)
	if err != nil || len(pending.Queued) != 1 || pending.Queued[0].JobID != "byhand" {
		t.Errorf("%+v, %v", pending, err)
	}
	job, err := c.Jobs().StartNext(soon, &awsiot.StartNextOptions{StepTimeout: time.Minute})
	if err != nil || job.Status != awsiot.JobInProgress || string(job.Document) != `{"a":1}` || job.TimeLeft == 0 {
		t.Fatalf("%+v, %v", job, err)
	}
	var refusal *awsiot.JobError
	if _, err := c.Jobs().Update(soon, "byhand", awsiot.JobUpdate{Status: awsiot.JobSucceeded, ExpectedVersion: 99}); !errors.As(err, &refusal) || refusal.State == nil || refusal.State.Version != job.Version {
		t.Errorf("wrong version: %v", err)
	}
	done, err := c.Jobs().Update(soon, "byhand", awsiot.JobUpdate{Status: awsiot.JobRejected, ExpectedVersion: job.Version, IncludeDocument: true})
	if err != nil || done.State.Status != awsiot.JobRejected || string(done.Document) != `{"a":1}` {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := c.Jobs().StartNext(soon, nil); !errors.Is(err, awsiot.ErrNoJob) {
		t.Errorf("no job: %v", err)
	}
	if _, err := c.Jobs().Describe(soon, "unknown", nil); !errors.Is(err, fairlead.ErrNotFound) {
		t.Errorf("unknown job: %v", err)
	}
}

// What policies do not allow is refused with the reason, and the rest goes on.
func TestHubPolicies(t *testing.T) {
	a := newAccount(t)
	made := a.narrow(t)
	cfg := a.config()
	cfg.ThingName, cfg.ClientID, cfg.Identity = "", "narrow", parseIdentity(t, made)
	undeliverable := make(chan error, 10)
	cfg.OnUndeliverable = func(m *awsiot.Message, err error) {
		if m.Topic != "theirs/x" || m.QoS != awsiot.AtLeastOnce || string(m.Payload) != "precious" {
			t.Errorf("%+v", m)
		}
		undeliverable <- err
	}
	c := online(t, cfg)
	ctx := soonAfter(t)
	var refusal *fairlead.PlatformError
	if err := c.Publish(ctx, "theirs/x", awsiot.AtLeastOnce, []byte("precious"), nil); !errors.As(err, &refusal) || refusal.Code != "135" || !errors.Is(err, fairlead.ErrDenied) {
		t.Errorf("publish: %v", err)
	}
	if err := next(t, undeliverable); !errors.Is(err, fairlead.ErrDenied) || !strings.Contains(err.Error(), "theirs/x") {
		t.Errorf("undeliverable: %v", err)
	}
	if _, err := c.Subscribe(ctx, "theirs/#", awsiot.AtLeastOnce, nil, nil); !errors.Is(err, fairlead.ErrDenied) {
		t.Errorf("subscribe: %v", err)
	}
	if err := c.Publish(ctx, "mine/x", awsiot.AtLeastOnce, nil, nil); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
	if _, err := c.ThingShadow("pump", "").Get(ctx); !errors.Is(err, fairlead.ErrDenied) {
		t.Errorf("shadow: %v", err)
	}
}

// A device with a claim gets an identity of its own, and connects with it.
func TestHubProvision(t *testing.T) {
	a := newAccount(t)
	a.must(t, "iot", "POST", "/provisioning-templates", map[string]any{
		"templateName": "fleet", "enabled": true, "provisioningRoleArn": "arn:aws:iam::000000000000:role/r",
		"templateBody": `{"Parameters":{"SerialNumber":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
			"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Fn::Join":["",["dev-",{"Ref":"SerialNumber"}]]}}},
			"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"Active"}},
			"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}}}},
			"DeviceConfiguration":{"color":"blue"}}`,
	})
	for i, fromAWS := range []bool{false, true} {
		dir := t.TempDir()
		claim := a.config()
		claim.ThingName, claim.ClientID = "", "claim"
		p := awsiot.Provisioning{
			Template: "fleet", Parameters: map[string]string{"SerialNumber": strconv.Itoa(i)}, KeyFromAWS: fromAWS,
			KeyFile: filepath.Join(dir, "device.key"), CertificateFile: filepath.Join(dir, "device.crt"),
		}
		made, err := awsiot.Provision(soonAfter(t), claim, p)
		if err != nil {
			t.Fatal(err)
		}
		if want := "dev-" + strconv.Itoa(i); made.ThingName != want || made.Configuration["color"] != "blue" || len(made.CertificateID) != 64 {
			t.Errorf("%+v", made)
		}
		cfg := a.config()
		cfg.ThingName = made.ThingName
		if cfg.Identity, err = identity.Load(p.KeyFile, p.CertificateFile); err != nil {
			t.Fatal(err)
		}
		if _, err := online(t, cfg).Shadow("").Report(soonAfter(t), map[string]int{"i": i}, nil); err != nil {
			t.Error(err)
		}
	}
	cfg := a.config()
	cfg.ThingName, cfg.ClientID = "", "claim"
	c := online(t, cfg)
	var refusal *fairlead.PlatformError
	if _, err := c.RegisterThing(soonAfter(t), "fleet", identity.NewSecret("forged"), map[string]string{"SerialNumber": "9"}); !errors.As(err, &refusal) || refusal.Code == "" {
		t.Errorf("forged token: %v", err)
	}
	if _, err := c.CreateCertificateFromCSR(soonAfter(t), []byte("no CSR")); !errors.Is(err, fairlead.ErrInvalid) {
		t.Errorf("no CSR: %v", err)
	}
}

// Nothing that was accepted is lost, and it is in order, over connections that are cut and restarts of the hub.
func TestHubOutbox(t *testing.T) {
	a := newAccount(t)
	store, err := sqlitebox.Open(t.Context(), sqlitebox.Config{Path: filepath.Join(t.TempDir(), "outbox.db")})
	if err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(t.Context(), outbox.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = box.Close() })
	cfg := a.config()
	cfg.Outbox = box
	c := online(t, cfg)
	const each, rounds = 50, 4
	for round := range rounds {
		for i := range each {
			if err := c.Enqueue(soonAfter(t), "dt/count", awsiot.AtLeastOnce, []byte(strconv.Itoa(round*each+i)), nil); err != nil {
				t.Fatal(err)
			}
			if i == each/2 {
				if round%2 == 0 {
					a.Cut()
				} else {
					a.Restart(t)
				}
			}
		}
	}
	if err := c.Flush(soonAfter(t)); err != nil {
		t.Fatal(err)
	}
	next := 0
	for _, v := range hubtest.Decode(t, a.Samples(t, c.ThingName(), "dt/count")...) { // one may have come twice, and then those behind it, too
		n, err := strconv.Atoi(fmt.Sprint(v))
		if b, ok := v.([]byte); ok {
			n, err = strconv.Atoi(string(b))
		}
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		if n > next {
			t.Fatalf("%d where %d should be", n, next)
		}
		next = max(next, n+1)
	}
	if next != each*rounds {
		t.Errorf("%d of %d have come", next, each*rounds)
	}
}
