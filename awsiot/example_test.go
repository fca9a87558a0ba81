package awsiot_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/awsiot"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

var (
	ctx    = context.Background()
	client *awsiot.Client
	id     *identity.Identity
)

const endpoint = "a1b2c3-ats.iot.eu-west-1.amazonaws.com"

// A device that loses nothing: what it measures is on disk before it is sent, and deleted when AWS IoT has it.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	id, err := identity.Load("/etc/pump/device.key", "/etc/pump/device.crt")
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: "/var/lib/pump/outbox.db"})
	if err != nil {
		log.Fatal(err)
	}
	var client *awsiot.Client
	box, err := outbox.Open(ctx, outbox.Config{Store: store, Policy: outbox.DropOldest, OnDrop: func(d outbox.Drop) { client.Dropped(d) }})
	if err != nil {
		log.Fatal(err)
	}
	defer box.Close()

	client, err = awsiot.New(awsiot.Config{Endpoint: endpoint, ThingName: "pump-7", Identity: id, Outbox: box})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for ctx.Err() == nil {
			if err := client.Enqueue(ctx, "dt/pump-7/temperature", awsiot.AtLeastOnce, []byte(`{"celsius":21.5}`), nil); err != nil {
				log.Print(err)
			}
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
			}
		}
	}()
	if err := client.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// Mutual TLS: configureCredentials and configureEndpoint of AWS' SDK for Python.
func ExampleNew() {
	roots, err := identity.LoadRoots("/etc/pump/AmazonRootCA1.pem")
	if err != nil {
		log.Fatal(err)
	}
	client, err = awsiot.New(awsiot.Config{
		Endpoint: endpoint + ":443", // by ALPN; without the port it is 8883
		ClientID: "pump-7", Identity: id, RootCAs: roots,
		KeepAlive: 10 * time.Minute, ConnectTimeout: 10 * time.Second, OperationTimeout: 5 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
}

// With an access key, over a signed WebSocket: here the one in the environment or in the AWS tools' shared file.
func ExampleNew_webSocket() {
	client, _ = awsiot.New(awsiot.Config{Endpoint: endpoint, ThingName: "pump-7", Credentials: awsiot.DefaultCredentials()})
}

// awsCredentials stands for aws.Credentials of the AWS SDK for Go, and sdk for the Credentials of its aws.Config: this module does not
// link it.
type awsCredentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	CanExpire                                  bool
	Expires                                    time.Time
}

var sdk interface {
	Retrieve(ctx context.Context) (awsCredentials, error)
}

// With the credentials of the AWS SDK for Go v2: whatever config.LoadDefaultConfig has found, refreshed by it.
//
//	sdk, err := config.LoadDefaultConfig(ctx)
//	...
//	awsiot.FromSDK(sdk.Credentials, func(c aws.Credentials) awsiot.Credentials { ... })
func ExampleFromSDK() {
	provider := awsiot.FromSDK(sdk, func(c awsCredentials) awsiot.Credentials {
		return awsiot.Credentials{
			AccessKeyID: c.AccessKeyID, SecretAccessKey: identity.NewSecret(c.SecretAccessKey), SessionToken: identity.NewSecret(c.SessionToken), Expires: c.Expires,
		}
	})
	client, _ = awsiot.New(awsiot.Config{Endpoint: endpoint, ThingName: "pump-7", Credentials: provider})
}

// With an access key that the device borrows for its certificate, over a signed WebSocket. The same provider serves the AWS SDK for Go,
// for other services.
func ExampleRoleAliasCredentials() {
	lent := &awsiot.RoleAliasCredentials{Endpoint: "a1b2c3.credentials.iot.eu-west-1.amazonaws.com", RoleAlias: "cameras", ThingName: "pump-7", Identity: id}
	client, _ = awsiot.New(awsiot.Config{Endpoint: endpoint, ThingName: "pump-7", Credentials: lent})
}

// configureIAMCredentials: the same access key for ever.
func ExampleStaticCredentials() {
	secret, err := identity.LoadSecret("/etc/pump/secret-access-key")
	if err != nil {
		log.Fatal(err)
	}
	client, _ = awsiot.New(awsiot.Config{Endpoint: endpoint, Region: "eu-west-1", Credentials: awsiot.StaticCredentials("AKIAEXAMPLE", secret, identity.Secret{})})
}

func ExampleAuthorizer() {
	client, _ = awsiot.New(awsiot.Config{
		Endpoint: endpoint, ClientID: "pump-7", Username: "pump-7", Password: identity.NewSecret("for the authorizer"),
		Authorizer: &awsiot.Authorizer{Name: "doorman", TokenName: "ticket", Token: identity.NewSecret("T-1000"), Signature: "c2lnbmVkIGJ5IHVz"},
	})
}

// The documented back-off: 1 s at first, up to 128 s, anew after a connection that has lasted for 20 s.
func ExampleBackoff() {
	client, _ = awsiot.New(awsiot.Config{
		Endpoint: endpoint, ThingName: "pump-7", Identity: id,
		Backoff: awsiot.Backoff{Base: time.Second, Max: 128 * time.Second, Stable: 20 * time.Second},
	})
}

// Twenty messages at most wait for a connection, the oldest ones make room, and two a second are sent when it is back.
func ExampleOfflineQueue() {
	client, _ = awsiot.New(awsiot.Config{
		Endpoint: endpoint, ThingName: "pump-7", Identity: id,
		OfflineQueue: &awsiot.OfflineQueue{Size: 20, Drop: awsiot.DropOldest}, DrainInterval: time.Second / 2,
	})
}

func ExampleConfig() {
	proxy, _ := url.Parse("http://proxy.example:3128")
	client, _ = awsiot.New(awsiot.Config{
		Endpoint: endpoint, ThingName: "pump-7", Identity: id, Proxy: proxy, NoMetrics: true,
		Will:      &awsiot.Will{Topic: "last/will", Payload: []byte("gone"), QoS: awsiot.AtLeastOnce},
		OnMessage: func(m *awsiot.Message) { fmt.Println(m.Topic, len(m.Payload)) },
		OnConnection: func(c awsiot.Connection) {
			switch c.State {
			case awsiot.Connected:
				fmt.Println("online")
			case awsiot.Connecting:
				fmt.Println("offline:", c.Err, "- next attempt in", c.Retry)
			case awsiot.Disconnected:
				fmt.Println("done")
			}
		},
	})
}

// connect and disconnect: Await tells at once when AWS IoT does not want us, though Run goes on trying.
func ExampleClient_Await() {
	ctx, disconnect := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- client.Run(ctx) }()
	err := client.Await(ctx)
	var refusal *fairlead.PlatformError
	switch {
	case errors.As(err, &refusal) && errors.Is(err, fairlead.ErrDenied):
		log.Printf("no policy lets us connect: code %s", refusal.Code)
	case err != nil:
		log.Print(err)
	}
	disconnect()
	if err := <-done; err != nil {
		log.Print(err)
	}
}

func ExampleClient_Publish() {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := client.Publish(ctx, "dt/pump-7/log", awsiot.AtLeastOnce, []byte("door opened"), nil)
	switch {
	case errors.Is(err, awsiot.ErrQueued):
		log.Print("no acknowledgement yet; the message is kept and sent later")
	case errors.Is(err, awsiot.ErrQueueFull), errors.Is(err, awsiot.ErrQueueDisabled):
		log.Print("dropped: ", err)
	case errors.Is(err, fairlead.ErrDenied):
		log.Print("no policy allows this: ", err)
	}
}

func ExampleClient_PublishAsync() {
	result, err := client.PublishAsync(ctx, "dt/pump-7/log", awsiot.AtLeastOnce, []byte("door opened"), &awsiot.PublishOptions{Lifetime: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	// Meanwhile something else; then:
	<-result.Done()
	fmt.Println(result.Err())
}

func ExampleClient_Subscribe() {
	granted, err := client.Subscribe(ctx, "cmd/pump-7/#", awsiot.AtLeastOnce, func(m *awsiot.Message) {
		fmt.Println(m.Topic, string(m.Payload))
		// Calls that wait are possible here, too.
		_ = client.Publish(ctx, "ack/pump-7", awsiot.AtLeastOnce, nil, nil)
	}, nil)
	fmt.Println(granted, err)
	if err := client.Unsubscribe(ctx, "cmd/pump-7/#"); err != nil {
		log.Print(err)
	}
}

// A message is acknowledged when its handlers have returned; or, as here, when what it has asked for is done elsewhere. If the program
// ends before, it comes again.
func ExampleMessage_Hold() {
	type order struct {
		*awsiot.Message
		done func()
	}
	orders := make(chan order, 10)
	go func() {
		for o := range orders {
			fmt.Println("opened valve", string(o.Payload))
			o.done()
		}
	}()
	_, err := client.Subscribe(ctx, "cmd/valves", awsiot.AtLeastOnce, func(m *awsiot.Message) { orders <- order{m, m.Hold()} }, nil)
	if err != nil {
		log.Fatal(err)
	}
}

// Subscriptions that are made before Run are there from the first connection on.
func ExampleClient_SubscribeAsync() {
	err := client.SubscribeAsync("$share/pumps/work/#", awsiot.AtLeastOnce, func(m *awsiot.Message) { fmt.Println(m.Topic) }, &awsiot.SubscribeOptions{
		OnSettled: func(granted awsiot.QoS, err error) { log.Print(granted, err) },
	})
	if err != nil {
		log.Fatal(err)
	}
}

// Connects for as long as it takes to send something.
func ExampleClient_Flush() {
	ctx, disconnect := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- client.Run(ctx) }()
	if err := client.Enqueue(ctx, "dt/pump-7/log", awsiot.AtLeastOnce, []byte("door opened"), nil); err != nil {
		log.Fatal(err)
	}
	if err := client.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	disconnect()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}

// A lamp: what is desired now, then each change, and what it reports.
func ExampleClient_Shadow() {
	type lamp struct {
		On bool `json:"on"`
	}
	shadow := client.Shadow("")
	apply := func(state json.RawMessage) {
		var want lamp
		if state == nil || json.Unmarshal(state, &want) != nil {
			return
		}
		fmt.Println("switched to", want.On)
		if _, err := shadow.Report(ctx, want, nil); err != nil {
			log.Print(err)
		}
	}
	stop, err := shadow.OnDelta(ctx, func(d *awsiot.ShadowDelta) { apply(d.State) })
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	now, err := shadow.Get(ctx)
	switch {
	case errors.Is(err, fairlead.ErrNotFound): // nobody has made one yet
	case err != nil:
		log.Fatal(err)
	default:
		apply(now.Delta)
	}
}

// An update that depends on what was there before, on a named shadow.
func ExampleShadow_Update() {
	shadow := client.Shadow("config")
	for {
		now, err := shadow.Get(ctx)
		if err != nil {
			log.Fatal(err)
		}
		_, err = shadow.Update(ctx, awsiot.ShadowUpdate{Desired: map[string]any{"level": 7}, Reported: awsiot.Null, Version: now.Version})
		if !errors.Is(err, fairlead.ErrConflict) { // somebody was quicker
			fmt.Println(err)
			return
		}
	}
}

func ExampleShadow_Delete() {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	version, err := client.Shadow("").OneShot().Delete(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		log.Print("no answer: it may be deleted or not")
	case errors.Is(err, fairlead.ErrNotFound):
		log.Print("there is none")
	case err == nil:
		fmt.Println("deleted version", version)
	}
}

// Jobs, done one after the other: only the work is left to write.
func ExampleJobs_Run() {
	err := client.Jobs().Run(ctx, func(ctx context.Context, job *awsiot.Job) (map[string]string, error) {
		var todo struct{ Operation, URL string }
		if err := json.Unmarshal(job.Document, &todo); err != nil {
			return nil, err // FAILED, with the reason
		}
		if todo.Operation != "update" {
			return nil, fmt.Errorf("%w: unknown operation %q", awsiot.ErrRejectJob, todo.Operation)
		}
		for _, step := range []string{"download", "verify", "install"} {
			if err := job.Progress(ctx, map[string]string{"step": step}); err != nil {
				return nil, err // canceled, or the program ends
			}
		}
		return map[string]string{"installed": todo.URL}, nil // SUCCEEDED
	}, nil)
	if err != nil {
		log.Print(err)
	}
}

// The same by hand.
func ExampleJobs() {
	jobs := client.Jobs()
	job, err := jobs.StartNext(ctx, &awsiot.StartNextOptions{StatusDetails: map[string]string{"startedBy": client.ClientID()}})
	if errors.Is(err, awsiot.ErrNoJob) {
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	_, err = jobs.Update(ctx, job.JobID, awsiot.JobUpdate{Status: awsiot.JobSucceeded, ExpectedVersion: job.Version, ExecutionNumber: job.ExecutionNumber})
	var refusal *awsiot.JobError
	if errors.As(err, &refusal) && refusal.State != nil {
		log.Printf("%s: it is %s in version %d", refusal.Platform.Code, refusal.State.Status, refusal.State.Version)
	}
}

func ExampleJobs_OnNotifyNext() {
	stop, err := client.Jobs().OnNotifyNext(ctx, func(job *awsiot.JobExecution) {
		if job != nil {
			fmt.Println(job.JobID, "is next")
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	pending, err := client.Jobs().Pending(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pending.InProgress), "in progress,", len(pending.Queued), "waiting")
}

func ExampleJobs_Subscribe() {
	_, err := client.Jobs().Subscribe(ctx, awsiot.JobTopicUpdate, awsiot.JobRefused, "+", awsiot.AtLeastOnce, func(m *awsiot.Message) { fmt.Println(m.Topic) })
	fmt.Println(err)
}

// A device that has but a claim certificate becomes a thing of its own, once.
func ExampleProvision() {
	id, err := identity.Load("/var/lib/pump/device.key", "/var/lib/pump/device.crt")
	if errors.Is(err, fairlead.ErrNotFound) {
		claim, err := identity.Load("/etc/pump/claim.key", "/etc/pump/claim.crt")
		if err != nil {
			log.Fatal(err)
		}
		made, err := awsiot.Provision(ctx, awsiot.Config{Endpoint: endpoint, ClientID: "serial-0815", Identity: claim}, awsiot.Provisioning{
			Template: "pumps", Parameters: map[string]string{"SerialNumber": "0815"}, KeyFile: "/var/lib/pump/device.key", CertificateFile: "/var/lib/pump/device.crt",
		})
		if err != nil {
			log.Fatal(err)
		}
		id = made.Identity
		fmt.Println("this is", made.ThingName)
	} else if err != nil {
		log.Fatal(err)
	}
	client, _ = awsiot.New(awsiot.Config{Endpoint: endpoint, Identity: id})
}

// Finds a Greengrass core, and connects to it.
func ExampleDiscovery() {
	discovery := awsiot.Discovery{Endpoint: "greengrass-ats.iot.eu-west-1.amazonaws.com", Identity: id, Timeout: 10 * time.Second}
	found, err := discovery.Discover(ctx, "pump-7")
	switch {
	case errors.Is(err, fairlead.ErrNotFound):
		log.Fatal("the thing is in no Greengrass group")
	case errors.Is(err, fairlead.ErrDenied), errors.Is(err, fairlead.ErrUnauthenticated):
		log.Fatal("no policy allows greengrass:Discover")
	case err != nil:
		log.Fatal(err)
	}
	cfg, core, err := found.Connect(ctx, awsiot.Config{ThingName: "pump-7", Identity: id})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("connecting to", core.CoreThingARN, "at", cfg.Endpoint)
	client, _ = awsiot.New(cfg)
}

// Those who know which way they want take it out of what was found.
func ExampleDiscoveryInfo() {
	found, err := awsiot.ParseDiscoveryInfo([]byte(`{"GGGroups":[{"GGGroupId":"g","Cores":[{"thingArn":"arn:aws:iot:eu-west-1:1:thing/core",` +
		`"Connectivity":[{"Id":"lan","HostAddress":"192.0.2.1","PortNumber":8883,"Metadata":"hall"}]}],"CAs":["-----BEGIN CERTIFICATE-----..."]}]}`))
	if err != nil {
		log.Fatal(err)
	}
	group, _ := found.Group("g")
	core, _ := group.Core("arn:aws:iot:eu-west-1:1:thing/core")
	way, ok := core.ConnectivityInfo("lan")
	fmt.Println(way.Address(), way.Metadata, len(group.CAs), len(found.Cores()), ok)
	// Output: 192.0.2.1:8883 hall 1 1 true
}
