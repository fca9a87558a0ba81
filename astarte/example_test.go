package astarte_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/astarte"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/outbox"
	"github.com/fairlead-iot/fairlead/outbox/sqlitebox"
)

var (
	ctx    = context.Background()
	device *astarte.Device
)

const (
	pairingURL = "https://api.astarte.example/pairing"
	deviceID   = "Vi3j3M8YVpOPyuzqk8sg5A"
)

var climate = astarte.MustParseInterface(`{
	"interface_name": "org.example.Climate", "version_major": 1, "version_minor": 0, "type": "datastream", "ownership": "device",
	"mappings": [{"endpoint": "/%{room}/temperature", "type": "double", "reliability": "guaranteed", "retention": "stored", "expiry": 3600}]
}`)

// A thermometer that loses nothing for an hour.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	secret, err := identity.LoadSecret("/etc/thermometer/secret")
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlitebox.Open(ctx, sqlitebox.Config{Path: "/var/lib/thermometer/outbox.db"})
	if err != nil {
		log.Fatal(err)
	}
	box, err := outbox.Open(ctx, outbox.Config{Store: store, Policy: outbox.DropOldest})
	if err != nil {
		log.Fatal(err)
	}
	defer box.Close()

	device, err := astarte.New(astarte.Config{
		PairingURL: pairingURL, Realm: "test", DeviceID: deviceID, CredentialsSecret: secret, Dir: "/var/lib/thermometer",
		Interfaces: []*astarte.Interface{climate}, Outbox: box,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer device.Close()
	go func() {
		for ctx.Err() == nil {
			if err := device.Send(ctx, "org.example.Climate", "/kitchen/temperature", 21.5, nil); err != nil {
				log.Print(err)
			}
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
			}
		}
	}()
	if err := device.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func ExampleNew_callbacks() {
	_, err := astarte.New(astarte.Config{
		PairingURL: pairingURL, Realm: "test", DeviceID: deviceID, CredentialsSecret: identity.NewSecret("from registration"), Dir: "/var/lib/lamp",
		OnData: func(d astarte.Data) {
			switch v := d.Value.(type) {
			case nil:
				fmt.Println(d.Path, "was unset")
			case bool:
				fmt.Println(d.Path, "is", v)
			case astarte.Object:
				fmt.Println(d.Path, "brings", v["red"], v["green"], v["blue"])
			}
		},
		OnConnection: func(c astarte.Connection) {
			if c.State == astarte.Connecting {
				fmt.Println("no connection:", c.Err, "- next attempt in", c.Retry)
			}
		},
	})
	fmt.Println(err)
	// Output: <nil>
}

// Connects for as long as it takes to send something.
func ExampleDevice_Flush() {
	ctx, disconnect := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- device.Run(ctx) }()
	if err := device.Send(ctx, "org.example.Climate", "/kitchen/temperature", 21.5, nil); err != nil {
		log.Fatal(err)
	}
	if err := device.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	disconnect()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}

func ExampleDevice_Pair() {
	err := device.Pair(ctx)
	var refusal *fairlead.PlatformError
	switch {
	case errors.As(err, &refusal) && errors.Is(err, fairlead.ErrDenied):
		log.Fatalf("wrong credentials secret: Astarte says %q", refusal.Detail)
	case errors.Is(err, fairlead.ErrUnavailable):
		log.Print("no network yet; Run keeps trying")
	}
}

func ExampleDevice_Send() {
	// With a timestamp, which the mapping has to want.
	err := device.Send(ctx, "org.example.Log", "/line", "door opened", &astarte.SendOptions{Time: time.Now()})
	var wrong *astarte.ValidationError
	switch {
	case errors.As(err, &wrong):
		log.Fatalf("a mistake in the program: %s", wrong.Problem)
	case errors.Is(err, astarte.ErrInterfaceNotFound):
		log.Fatal("the device does not declare that interface")
	case errors.Is(err, astarte.ErrDisconnected):
		log.Print("dropped: the mapping's retention is discard")
	case errors.Is(err, fairlead.ErrFull):
		log.Print("the outbox is full: slow down")
	}
}

func ExampleDevice_SendObject() {
	err := device.SendObject(ctx, "org.example.Station", "/roof", astarte.Object{"wind": 3.5, "direction": 270, "gusts": []float64{7.1, 9.0}}, nil)
	if err != nil {
		log.Print(err)
	}
}

func ExampleDevice_SetProperty() {
	if err := device.SetProperty(ctx, "org.example.Settings", "/display/brightness", 80); err != nil {
		log.Print(err)
	}
}

func ExampleDevice_UnsetProperty() {
	if err := device.UnsetProperty(ctx, "org.example.Settings", "/display/brightness"); err != nil {
		log.Print(err)
	}
}

// What Astarte has set is there without a connection, too.
func ExampleDevice_Property() {
	v, err := device.Property(ctx, "org.example.Wishes", "/target")
	if errors.Is(err, fairlead.ErrNotFound) {
		v = 20.0
	}
	target, ok := v.(float64)
	fmt.Println(target, ok)
}

func ExampleDevice_Properties() {
	all, err := device.Properties(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range all {
		fmt.Println(p.Ownership, p.Interface, p.Path, p.Value)
	}
}

func ExampleDevice_AddInterface() {
	i, err := astarte.LoadInterface("/etc/thermometer/interfaces/org.example.Extra.json")
	if err != nil {
		log.Fatal(err)
	}
	if err := device.AddInterface(ctx, i); err != nil {
		log.Fatal(err)
	}
}

func ExampleDevice_RemoveInterface() {
	if err := device.RemoveInterface(ctx, "org.example.Extra"); errors.Is(err, astarte.ErrInterfaceNotFound) {
		log.Print("it was not there")
	}
}

func ExampleLoadInterfaces() {
	interfaces, err := astarte.LoadInterfaces("/etc/thermometer/interfaces")
	var wrong *astarte.InterfaceError
	if errors.As(err, &wrong) {
		log.Fatalf("%s: %s", wrong.File, wrong.Problem)
	}
	fmt.Println(astarte.NewIntrospection(interfaces...))
}

func ExampleInterface() {
	m, ok := climate.Mapping("/kitchen/temperature")
	fmt.Println(ok, m.Type, m.Reliability, m.Retention, m.Expiry)
	fmt.Println(climate.Check("/kitchen/temperature", 21.5, time.Time{}))
	fmt.Println(climate.Check("/kitchen/temperature", 21, time.Time{}))
	fmt.Println(climate.CheckPath("/kitchen"))
	// Output:
	// true double guaranteed stored 1h0m0s
	// <nil>
	// org.example.Climate "/kitchen/temperature": found a value of type int, want double
	// org.example.Climate "/kitchen": no endpoint has this path: ambiguous path
}

func ExampleNewIntrospection() {
	in := astarte.NewIntrospection(climate)
	fmt.Println(in, len(in.ServerOwned()))
	// Output: org.example.Climate:1:0 0
}

func ExampleNamedDeviceID() {
	// A UUID of yours: f79ad91f-c638-4889-ae74-9d001a3b4cf8.
	namespace := [16]byte{0xf7, 0x9a, 0xd9, 0x1f, 0xc6, 0x38, 0x48, 0x89, 0xae, 0x74, 0x9d, 0x00, 0x1a, 0x3b, 0x4c, 0xf8}
	fmt.Println(astarte.NamedDeviceID(namespace, "sn-0001"))
	// Output: Vi3j3M8YVpOPyuzqk8sg5A
}

func ExamplePairing_Register() {
	pairing := &astarte.Pairing{URL: pairingURL, Realm: "test"}
	secret, err := pairing.Register(ctx, astarte.RandomDeviceID(), identity.NewSecret("a token that may register devices"))
	if errors.Is(err, astarte.ErrAlreadyRegistered) {
		log.Fatal("the device has connected before; unregister it first")
	}
	if err := identity.SaveSecret("/etc/thermometer/secret", secret); err != nil {
		log.Fatal(err)
	}
}

func ExamplePairing_RegisterWithKeyFile() {
	pairing := &astarte.Pairing{URL: pairingURL, Realm: "test"}
	if _, err := pairing.RegisterWithKeyFile(ctx, deviceID, "test_private.pem"); errors.Is(err, astarte.ErrToken) {
		log.Fatal("that is no usable key: ", err)
	}
}

// What Run does by itself, by hand.
func ExampleCredentials() {
	c := &astarte.Credentials{
		Pairing: &astarte.Pairing{URL: pairingURL, Realm: "test"}, DeviceID: deviceID, Secret: identity.NewSecret("from registration"), Dir: "/var/lib/thermometer/crypto",
	}
	usable, err := c.Usable(ctx)
	if err == nil && !usable {
		_, err = c.Obtain(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
	id, err := c.Load()
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := c.Pairing.Verify(ctx, deviceID, c.Secret, chain(id))
	fmt.Println(verdict.Valid, err)
	where, err := c.Pairing.Transport(ctx, deviceID, c.Secret)
	fmt.Println(where.BrokerURL, err)
}

func ExampleOpenPropertyFile() {
	dir, err := os.MkdirTemp("", "properties")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := astarte.OpenPropertyFile(astarte.PropertyFile{Path: dir + "/properties.log"})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	all, err := store.Load(ctx)
	fmt.Println(len(all), err)
	// Output: 0 <nil>
}

func chain(id *identity.Identity) []*x509.Certificate { return []*x509.Certificate{id.Certificate()} }
