// Package awsgo puts the AWS SDK for Go v2, unmodified, in front of the built hub's control plane, and our device SDK behind it: what the one
// makes the other uses.
package awsgo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	data "github.com/aws/aws-sdk-go-v2/service/iotdataplane/types"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/conformance/hubproc"
	"github.com/fairlead-iot/fairlead/identity"
)

const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// account is the development account of a hub that runs.
type account struct {
	vars  map[string]string
	roots *x509.CertPool
	hub   *hubproc.Hub
	keys  credentials.StaticCredentialsProvider
	api   *iot.Client
}

func open(t *testing.T) *account {
	t.Helper()
	dir := t.TempDir()
	binary := os.Getenv("FAIRLEAD_BIN")
	if binary == "" {
		binary = filepath.Join(dir, "fairlead")
		if err := hubproc.Build(t.Context(), binary); err != nil {
			t.Fatal(err)
		}
	}
	hub, err := hubproc.New(binary, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Stop(); err != nil {
			t.Errorf("%v\n%s", err, hub.LogTail())
		}
	})
	if err := hub.AwaitReady(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	a := &account{hub: hub, roots: x509.NewCertPool()}
	if a.vars, err = hub.Variables(t.Context(), "aws"); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(a.vars["AWS_CA_BUNDLE"])
	if err != nil {
		t.Fatal(err)
	}
	a.roots.AppendCertsFromPEM(pem)
	a.keys = credentials.NewStaticCredentialsProvider(a.vars["AWS_ACCESS_KEY_ID"], a.vars["AWS_SECRET_ACCESS_KEY"], "")
	a.api = a.client(a.keys)
	return a
}

func (a *account) client(keys aws.CredentialsProvider) *iot.Client {
	return iot.New(iot.Options{
		BaseEndpoint: aws.String(a.vars["AWS_ENDPOINT_URL"]), Region: a.vars["AWS_DEFAULT_REGION"], Credentials: keys, RetryMaxAttempts: 1,
		HTTPClient: a.http(),
	})
}

// data is a client of the data plane. That of the jobs' data plane is not to be had with a checksum that Go could verify.
func (a *account) data(keys aws.CredentialsProvider) *iotdataplane.Client {
	return iotdataplane.New(iotdataplane.Options{
		BaseEndpoint: aws.String(a.vars["AWS_ENDPOINT_URL"]), Region: a.vars["AWS_DEFAULT_REGION"], Credentials: keys, RetryMaxAttempts: 1,
		HTTPClient: a.http(),
	})
}

func (a *account) http() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.roots}}}
}

// Every refusal is the SDK's own type, with what it says.
func TestTypedErrors(t *testing.T) {
	a, ctx := open(t), t.Context()
	create := func(attributes map[string]string) error {
		_, err := a.api.CreateThing(ctx, &iot.CreateThingInput{
			ThingName: aws.String("pump"), AttributePayload: &types.AttributePayload{Attributes: attributes},
		})
		return err
	}
	if err := create(map[string]string{"a": "1"}); err != nil {
		t.Fatal(err)
	}
	made, err := a.api.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, err error, is bool) {
		t.Helper()
		if !is {
			t.Errorf("%s: %v is not what the SDK has a type for", what, err)
		}
	}
	exists := new(types.ResourceAlreadyExistsException)
	err = create(map[string]string{"a": "2"})
	want("a thing that exists", err, errors.As(err, &exists))
	if aws.ToString(exists.ResourceArn) == "" {
		t.Errorf("a thing that exists: the error does not name it: %+v", exists)
	}
	_, err = a.api.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("nobody")})
	want("no thing", err, errors.As(err, new(*types.ResourceNotFoundException)))
	_, err = a.api.UpdateThing(ctx, &iot.UpdateThingInput{ThingName: aws.String("pump"), ExpectedVersion: aws.Int64(9)})
	want("another version", err, errors.As(err, new(*types.VersionConflictException)))
	_, err = a.api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("p"), PolicyDocument: aws.String("{")})
	want("a policy that is none", err, errors.As(err, new(*types.MalformedPolicyException)))
	_, err = a.api.DeleteCertificate(ctx, &iot.DeleteCertificateInput{CertificateId: made.CertificateId})
	want("an active certificate", err, errors.As(err, new(*types.CertificateStateException)))
	_, err = a.api.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("no spaces")})
	want("a bad name", err, errors.As(err, new(*types.InvalidRequestException)))

	var api interface{ ErrorCode() string }
	_, err = a.client(credentials.NewStaticCredentialsProvider(a.vars["AWS_ACCESS_KEY_ID"], "wrong", "")).ListThings(ctx, &iot.ListThingsInput{})
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidSignatureException" {
		t.Errorf("a wrong secret: got %v", err)
	}
	_, err = a.client(credentials.NewStaticCredentialsProvider("AKIDNOBODY", "wrong", "")).ListThings(ctx, &iot.ListThingsInput{})
	if !errors.As(err, &api) || api.ErrorCode() != "UnrecognizedClientException" {
		t.Errorf("an unknown key: got %v", err)
	}
}

// Shadows, publishing and retained messages through the data plane, and its refusals, each of the SDK's own type.
func TestDataPlane(t *testing.T) {
	a, ctx := open(t), t.Context()
	plane := a.data(a.keys)
	want := func(what string, err error, is bool) {
		t.Helper()
		if !is {
			t.Errorf("%s: %v is not what the SDK has a type for", what, err)
		}
	}
	get := func() (string, error) {
		out, err := plane.GetThingShadow(ctx, &iotdataplane.GetThingShadowInput{ThingName: aws.String("pump")})
		if err != nil {
			return "", err
		}
		var shadow struct{ State json.RawMessage }
		err = json.Unmarshal(out.Payload, &shadow)
		return string(shadow.State), err
	}
	update := func(document string) error {
		_, err := plane.UpdateThingShadow(ctx, &iotdataplane.UpdateThingShadowInput{ThingName: aws.String("pump"), Payload: []byte(document)})
		return err
	}
	_, err := get()
	want("no shadow", err, errors.As(err, new(*data.ResourceNotFoundException)))
	if err := update(`{"state":{"desired":{"speed":7}},"version":0}`); err != nil {
		t.Fatal(err)
	}
	err = update(`{"state":{"desired":{"speed":8}},"version":9}`)
	want("another version", err, errors.As(err, new(*data.ConflictException)))
	err = update(`{"state":`)
	want("a document that is none", err, errors.As(err, new(*data.InvalidRequestException)))
	err = update(`{"state":{"desired":{"text":"` + strings.Repeat("x", 9000) + `"}}}`)
	want("too large a document", err, errors.As(err, new(*data.RequestEntityTooLargeException)))
	if got, err := get(); err != nil || got != `{"desired":{"speed":7},"delta":{"speed":7}}` {
		t.Errorf("got %s, %v: refusals must change nothing", got, err)
	}

	if _, err := plane.Publish(ctx, &iotdataplane.PublishInput{Topic: aws.String("hall/lamp"), Qos: 1, Retain: true, Payload: []byte("on")}); err != nil {
		t.Fatal(err)
	}
	kept, err := plane.GetRetainedMessage(ctx, &iotdataplane.GetRetainedMessageInput{Topic: aws.String("hall/lamp")})
	if err != nil || string(kept.Payload) != "on" || kept.Qos != 1 {
		t.Errorf("retained: got %+v, %v", kept, err)
	}
	listed := 0
	pages := iotdataplane.NewListRetainedMessagesPaginator(plane, &iotdataplane.ListRetainedMessagesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		listed += len(page.RetainedTopics)
	}
	if listed != 1 {
		t.Errorf("listed %d retained messages, want 1", listed)
	}
	_, err = plane.Publish(ctx, &iotdataplane.PublishInput{Topic: aws.String("hall/+"), Payload: []byte("x")})
	want("a topic with a wildcard", err, errors.As(err, new(*data.InvalidRequestException)))
	var api interface{ ErrorCode() string }
	wrong := a.data(credentials.NewStaticCredentialsProvider(a.vars["AWS_ACCESS_KEY_ID"], "wrong", ""))
	if _, err := wrong.Publish(ctx, &iotdataplane.PublishInput{Topic: aws.String("hall/lamp")}); !errors.As(err, &api) || api.ErrorCode() != "InvalidSignatureException" {
		t.Errorf("a wrong secret: got %v", err)
	}
}

// Things are made and listed with the SDK's own pagers.
func TestPages(t *testing.T) {
	a, ctx := open(t), t.Context()
	want := map[string]bool{}
	for i := range 25 {
		name := "thing-" + strconv.Itoa(i)
		if _, err := a.api.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String(name)}); err != nil {
			t.Fatal(err)
		}
		want[name] = true
	}
	pages := iot.NewListThingsPaginator(a.api, &iot.ListThingsInput{MaxResults: aws.Int32(10)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range page.Things {
			delete(want, aws.ToString(one.ThingName))
		}
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
}

// A device on our SDK, with a certificate that the AWS SDK has had made, works on a job that the AWS SDK made; and another client signs its
// WebSocket with the AWS SDK's credentials.
func TestDevice(t *testing.T) {
	a, ctx := open(t), t.Context()
	if _, err := a.api.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("pump")}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.api.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("all"), PolicyDocument: aws.String(everything)}); err != nil {
		t.Fatal(err)
	}
	made, err := a.api.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.api.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("all"), Target: made.CertificateArn}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.api.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("pump"), Principal: made.CertificateArn}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, crt := filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt")
	for file, text := range map[string]*string{key: made.KeyPair.PrivateKey, crt: made.CertificatePem} {
		if err := os.WriteFile(file, []byte(*text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id, err := identity.Load(key, crt)
	if err != nil {
		t.Fatal(err)
	}
	device := a.run(t, awsiot.Config{
		Endpoint: net.JoinHostPort("localhost", strconv.Itoa(a.hub.MQTTPort)), ThingName: "pump", Identity: id,
	})
	signed := a.run(t, awsiot.Config{
		Endpoint: net.JoinHostPort("localhost", strconv.Itoa(a.hub.HTTPSPort)), ClientID: "application", Region: a.vars["AWS_DEFAULT_REGION"],
		Credentials: awsiot.FromSDK(a.keys, func(c aws.Credentials) awsiot.Credentials {
			return awsiot.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: identity.NewSecret(c.SecretAccessKey)}
		}),
	})

	heard := make(chan string, 1)
	if _, err := signed.Subscribe(ctx, "from/pump", awsiot.AtLeastOnce, func(m *awsiot.Message) { heard <- string(m.Payload) }, nil); err != nil {
		t.Fatal(err)
	}
	if err := device.Publish(ctx, "from/pump", awsiot.AtLeastOnce, []byte("hello"), nil); err != nil {
		t.Fatal(err)
	}
	if got := await(t, heard); got != "hello" {
		t.Errorf("got %q", got)
	}

	worked := make(chan string, 1)
	work, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_ = device.Jobs().Run(work, func(_ context.Context, job *awsiot.Job) (map[string]string, error) {
			var document struct{ Action string }
			if err := json.Unmarshal(job.Document, &document); err != nil {
				return nil, err
			}
			worked <- document.Action
			return map[string]string{"done": "yes"}, nil
		}, nil)
	}()
	thing, err := a.api.DescribeThing(ctx, &iot.DescribeThingInput{ThingName: aws.String("pump")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.api.CreateJob(ctx, &iot.CreateJobInput{
		JobId: aws.String("reboot-1"), Targets: []string{*thing.ThingArn}, Document: aws.String(`{"action":"reboot"}`),
	}); err != nil {
		t.Fatal(err)
	}
	if got := await(t, worked); got != "reboot" {
		t.Errorf("worked on %q", got)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		job, err := a.api.DescribeJob(ctx, &iot.DescribeJobInput{JobId: aws.String("reboot-1")})
		if err != nil {
			t.Fatal(err)
		}
		if job.Job.Status == types.JobStatusCompleted {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the job is %s", job.Job.Status)
		}
	}
}

// run starts a client and waits until it is connected.
func (a *account) run(t *testing.T, cfg awsiot.Config) *awsiot.Client {
	t.Helper()
	cfg.RootCAs = a.roots
	c, err := awsiot.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Await(limit); err != nil {
		t.Fatal(err)
	}
	return c
}

func await(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(time.Minute):
		t.Fatal("nothing comes for a minute")
		return ""
	}
}
