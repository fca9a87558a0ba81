package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/fairlead-iot/fairlead/bench/internal/hist"
	"github.com/fairlead-iot/fairlead/bench/internal/load"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// Sizes of the scenarios of AWS IoT.
const (
	shadowRate    = 2000 // updates a second, of all devices together
	jobDevices    = 1000
	registryOf    = 20_000
	registryReads = 300
)

// The subjects of the scenarios in which the hub is compared with nothing but a budget.
const (
	awsTLS      = "fairlead, aws"
	shadowPaced = "fairlead, 2,000 updates/s"
	shadowBest  = "fairlead, more than it can bear"

	readThing        = "describe a thing"
	readThings       = "list things, 250"
	readSearch       = "search things, 20 of them"
	readCertificates = "list certificates, 250"
	readPrincipals   = "principals of a thing"
)

// An awsFleet is the things of an account of the hub, made as they are needed.
type awsFleet struct {
	api    *admin.Client
	tenant string
	http   *http.Client
	base   *url.URL
	keys   sigv4.Credentials
	region string
	addr   string
	roots  *x509.CertPool
	things []*client
	once   sync.Once
	policy error // of making the policy
}

func openAWS(ctx context.Context, hub *hubproc.Hub, api *admin.Client, tenant string) (*awsFleet, error) {
	vars, err := hub.Variables(ctx, "aws")
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(vars["AWS_ENDPOINT_URL"])
	if err != nil {
		return nil, err
	}
	roots, err := os.ReadFile(vars["AWS_CA_BUNDLE"])
	if err != nil {
		return nil, err
	}
	f := &awsFleet{
		api: api, tenant: tenant, base: base, addr: hub.MQTT(), region: vars["AWS_DEFAULT_REGION"], roots: x509.NewCertPool(),
		keys: sigv4.Credentials{AccessKeyID: vars["AWS_ACCESS_KEY_ID"], SecretAccessKey: vars["AWS_SECRET_ACCESS_KEY"]},
	}
	f.roots.AppendCertsFromPEM(roots)
	f.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: f.roots}, MaxIdleConnsPerHost: registering,
	}}
	return f, nil
}

// call makes a request of the control plane, as the official clients do.
func (f *awsFleet) call(ctx context.Context, method, path, query string, in, out any) error {
	return f.callAs(ctx, method, path, query, "", in, out)
}

// callAs is call with the principal that some operations want in a header.
func (f *awsFleet) callAs(ctx context.Context, method, path, query, principal string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, f.base.String()+path+"?"+query, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if principal != "" {
		req.Header.Set("X-Amzn-Principal", principal)
	}
	signed := sigv4.Sign(sigv4.Request{
		Method: method, Path: req.URL.EscapedPath(), Query: req.URL.RawQuery, Host: req.URL.Host, Header: req.Header, Hash: sigv4.Hash(body),
	}, f.keys, sigv4.Scope{Region: f.region, Service: "iot"}, time.Now())
	for _, h := range signed {
		req.Header.Set(h.Name, h.Value)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s %.200s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// policyName is the policy of all things of the benchmark: real ones have a handful of statements with variables.
const policyName = "bench"

const policyDocument = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["arn:aws:iot:*:*:topic/test/*","arn:aws:iot:*:*:topic/$aws/things/${iot:Connection.Thing.ThingName}/*"]},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":["arn:aws:iot:*:*:topicfilter/test/*","arn:aws:iot:*:*:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/*"]},
	{"Effect":"Deny","Action":"iot:*","Resource":"arn:aws:iot:*:*:topic/test/secret/*"}]}`

// first returns the first n things.
func (f *awsFleet) first(ctx context.Context, n int) ([]*client, error) {
	f.once.Do(func() {
		f.policy = f.call(ctx, "POST", "/policies/"+policyName, "", map[string]string{"policyDocument": policyDocument}, nil)
	})
	if f.policy != nil {
		return nil, f.policy
	}
	have := len(f.things)
	if have < n {
		fresh := make([]*client, n-have)
		err := parallel(len(fresh), registering, func(i int) (err error) {
			fresh[i], err = f.thing(ctx, have+i)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("make things: %w", err)
		}
		f.things = append(f.things, fresh...)
	}
	return f.things[:n], nil
}

// thing makes a thing with a certificate of its own.
func (f *awsFleet) thing(ctx context.Context, i int) (*client, error) {
	name := fmt.Sprintf("bench-%06d", i)
	if err := f.call(ctx, "POST", "/things/"+name, "", map[string]any{
		"attributePayload": map[string]any{"attributes": map[string]string{"room": fmt.Sprint(i % 1000)}},
	}, nil); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	var made struct{ CertificateArn, CertificatePem string }
	if err := f.call(ctx, "POST", "/certificates", "setAsActive=true", map[string]string{
		"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
	}, &made); err != nil {
		return nil, err
	}
	if err := f.call(ctx, "PUT", "/target-policies/"+policyName, "", map[string]string{"target": made.CertificateArn}, nil); err != nil {
		return nil, err
	}
	if err := f.callAs(ctx, "PUT", "/things/"+name+"/principals", "", made.CertificateArn, nil, nil); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(made.CertificatePem))
	if block == nil {
		return nil, fmt.Errorf("thing %s: the certificate is not PEM", name)
	}
	crt := tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
	return &client{id: name, Target: load.Target{
		Addr: f.addr, TLS: &tls.Config{RootCAs: f.roots, ServerName: "localhost", Certificates: []tls.Certificate{crt}},
		ClientID: name, Topic: anonymousTopic(i),
	}}, nil
}

// verify reads back as fleet.verify does.
func (f *awsFleet) verify(ctx context.Context, r readBack) error {
	reader := &plainFleet{api: f.api, tenant: f.tenant, dialect: "aws"}
	for _, c := range r.clients {
		if err := reader.count(ctx, c.id, c.msgs); err != nil {
			return err
		}
	}
	whole := r.clients[r.whole]
	return reader.readAll(ctx, whole.id, whole, r.after, r.since)
}

// shadowLoads are how many devices update their shadows, and how often each. No shadow takes more than 20 updates a second.
var shadowLoads = map[string]struct {
	devices int
	every   time.Duration
}{
	shadowPaced: {200, 200 * time.Second / shadowRate},
	shadowBest:  {1000, 60 * time.Millisecond},
}

// runShadows has devices update their shadows and wait for the document that says that it is done: at a rate that the hub
// is to bear, and at one beyond it, which shows the highest.
func runShadows(ctx context.Context, b *bench, res *result) error {
	for name := range shadowLoads {
		b.subjects[name] = &subject{name: name, hub: true, pid: b.hub.PID, clients: b.fleet.aws.first}
	}
	return b.interleave(ctx, res, []string{shadowPaced, shadowBest}, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
		clients, err := s.clients(ctx, shadowLoads[s.name].devices)
		if err != nil {
			return nil, err
		}
		askers, err := ask(ctx, clients, "/shadow/update/accepted")
		defer closeAll(askers)
		if err != nil {
			return nil, err
		}
		update := func(i, seq int) error {
			topic := "$aws/things/" + clients[i].id + "/shadow/update"
			token := fmt.Sprintf(`"t%d-%d"`, i, seq)
			body := fmt.Appendf(nil, `{"state":{"reported":{"temperature":%d.5,"pump":{"speed":%d,"on":true}}},"clientToken":%s}`, seq%40, seq, token)
			return askers[i].Exchange(topic, body, topic+"/accepted", []byte(token))
		}
		every := shadowLoads[s.name].every
		if _, err := load.Converse(ctx, len(askers), every, b.warm, update); err != nil {
			return nil, fmt.Errorf("warm up: %w", err)
		}
		m := &meter{pid: s.pid()}
		profiled := b.profile("shadow", s)
		m.begin()
		talk, err := load.Converse(ctx, len(askers), every, b.options.measure, update)
		m.end()
		profiled()
		if err != nil {
			return nil, err
		}
		return m.result(talk.Exchanges, talk.Elapsed, &talk.Latency, ""), m.err
	})
}

// ask connects devices that wait for messages to a topic of their things.
func ask(ctx context.Context, clients []*client, topic string) ([]*load.Asker, error) {
	askers := make([]*load.Asker, len(clients))
	err := parallel(len(clients), registering, func(i int) (err error) {
		askers[i], err = load.Ask(ctx, clients[i].Target, "$aws/things/"+clients[i].id+topic)
		return err
	})
	if err != nil {
		err = fmt.Errorf("connect: %w", err)
	}
	return askers, err
}

// runJobs makes a job for a group of devices that all wait for it, and measures until the last one has it.
func runJobs(ctx context.Context, b *bench, res *result) error {
	f := b.fleet.aws
	clients, err := f.first(ctx, jobDevices)
	if err != nil {
		return err
	}
	var group struct{ ThingGroupArn string }
	if err := f.call(ctx, "POST", "/thing-groups/bench", "", map[string]any{}, &group); err != nil {
		return err
	}
	if err := parallel(len(clients), registering, func(i int) error {
		return f.call(ctx, "PUT", "/thing-groups/addThingToThingGroup", "", map[string]string{"thingGroupName": "bench", "thingName": clients[i].id}, nil)
	}); err != nil {
		return err
	}
	askers, err := ask(ctx, clients, "/jobs/notify-next")
	defer closeAll(askers)
	if err != nil {
		return err
	}
	number := 0
	return b.interleave(ctx, res, []string{awsTLS}, b.rounds, func(ctx context.Context, s *subject) (*runResult, error) {
		number++
		m := &meter{pid: s.pid()}
		m.begin()
		start := time.Now()
		job := fmt.Sprintf("bench-%d", number)
		made := make(chan error, 1)
		go func() {
			made <- f.call(ctx, "PUT", "/jobs/"+job, "", map[string]any{
				"targets": []string{group.ThingGroupArn}, "document": `{"action":"reboot","delay":5}`,
			}, nil)
		}()
		var lat hist.H
		var mu sync.Mutex
		err := parallel(len(askers), len(askers), func(i int) error {
			_, payload, err := askers[i].Next(time.Minute)
			if err == nil && !bytes.Contains(payload, []byte(`"`+job+`"`)) {
				err = fmt.Errorf("%s got %.200s, want job %s", clients[i].id, payload, job)
			}
			mu.Lock()
			defer mu.Unlock()
			lat.Add(time.Since(start))
			return err
		})
		took := time.Since(start)
		m.end()
		if err := <-made; err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		// Gone, so that the next one is at the head again; that is told too.
		if err := f.call(ctx, "DELETE", "/jobs/"+job, "force=true", nil, nil); err != nil {
			return nil, err
		}
		if err := parallel(len(askers), len(askers), func(i int) error {
			_, _, err := askers[i].Next(time.Minute)
			return err
		}); err != nil {
			return nil, fmt.Errorf("the end of the job: %w", err)
		}
		return m.result(uint64(len(askers)), took, &lat, ""), m.err
	})
}

// runRegistry reads from an account with very many things, each with a certificate, in the ways that consoles and scripts do.
func runRegistry(ctx context.Context, b *bench, res *result) error {
	f := b.fleet.aws
	began := time.Now()
	things, err := f.first(ctx, registryOf)
	if err != nil {
		return err
	}
	fmt.Printf("  %d things with a certificate each: %.0f s\n", registryOf, time.Since(began).Seconds())
	next := ""
	reads := []struct {
		name string
		read func(i int) error
	}{
		{readThing, func(int) error {
			return f.call(ctx, "GET", "/things/"+things[mathrand.IntN(len(things))].id, "", nil, nil)
		}},
		{readThings, func(int) error {
			var page struct {
				Things    []struct{ ThingName string }
				NextToken string
			}
			q := url.Values{"maxResults": {"250"}}
			if next != "" {
				q.Set("nextToken", next)
			}
			err := f.call(ctx, "GET", "/things", q.Encode(), nil, &page)
			next = page.NextToken
			if err == nil && len(page.Things) == 0 {
				err = fmt.Errorf("an empty page")
			}
			return err
		}},
		{readSearch, func(i int) error {
			var found struct{ Things []struct{ ThingName string } }
			err := f.call(ctx, "POST", "/indices/search", "", map[string]any{"queryString": fmt.Sprintf("attributes.room:%d", i%1000)}, &found)
			if err == nil && len(found.Things) != registryOf/1000 {
				err = fmt.Errorf("found %d things, want %d", len(found.Things), registryOf/1000)
			}
			return err
		}},
		{readCertificates, func(int) error {
			return f.call(ctx, "GET", "/certificates", "pageSize=250", nil, nil)
		}},
		{readPrincipals, func(int) error {
			return f.call(ctx, "GET", "/things/"+things[mathrand.IntN(len(things))].id+"/principals", "", nil, nil)
		}},
	}
	for _, r := range reads {
		m := &meter{pid: b.hub.PID()}
		var lat hist.H
		m.begin()
		start := time.Now()
		for i := range registryReads {
			began := time.Now()
			if err := r.read(i); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			lat.Add(time.Since(began))
		}
		took := time.Since(start)
		m.end()
		if m.err != nil {
			return m.err
		}
		run := m.result(registryReads, took, &lat, "")
		run.Value = lat.Quantile(.99).Seconds() * 1e3
		res.add(1, r.name, "", run)
	}
	return nil
}
