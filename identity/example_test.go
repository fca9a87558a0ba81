package identity_test

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"path/filepath"

	"github.com/fairlead-iot/fairlead/identity"
)

// A device makes its own key, which never leaves it, and has a certificate signed.
func ExampleCSR() {
	key, err := identity.LoadOrMakeKey(filepath.Join(dir, "device.key"))
	if err != nil {
		log.Fatal(err)
	}
	csr, err := identity.CSR(key, identity.Request{Subject: pkix.Name{CommonName: "pump-7"}})
	if err != nil {
		log.Fatal(err)
	}
	chain, err := identity.ParseChain(authority(csr)) // over HTTPS, for example
	if err != nil {
		log.Fatal(err)
	}
	id, err := identity.Save(filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt"), key, chain)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id.Certificate().Subject, id.Check())
	// Output: CN=pump-7 <nil>
}

// Connections made after a renewal use the new certificate.
func ExampleIdentity() {
	id, err := identity.Load(filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt"))
	if err != nil {
		log.Fatal(err)
	}
	conn, err := tls.Dial("tcp", "hub.example:8883", &tls.Config{GetClientCertificate: id.GetClientCertificate})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

// A certificate is renewed when two thirds of its life are over, for as long as the program runs.
func ExampleRenewer() {
	id, err := identity.Load(filepath.Join(dir, "device.key"), filepath.Join(dir, "device.crt"))
	if err != nil {
		log.Fatal(err)
	}
	r := identity.Renewer{
		Life: id.Life,
		Renew: func(context.Context) error {
			csr, err := identity.CSR(id.Key(), identity.Request{Subject: id.Certificate().Subject})
			if err != nil {
				return err
			}
			chain, err := identity.ParseChain(authority(csr))
			if err != nil {
				return err
			}
			return id.Renew(chain)
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	stop() // when the program ends
	fmt.Println(r.Run(ctx))
	// Output: context canceled
}

func ExampleSecret() {
	password := identity.NewSecret("correct horse battery staple")
	fmt.Println("signing in with", password)
	fmt.Println(len(password.Reveal()))
	// Output:
	// signing in with [secret]
	// 28
}
