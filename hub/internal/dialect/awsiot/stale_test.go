package awsiot

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"testing"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
)

// claim is that of a client with a certificate.
func (g *connRig) claim(crt tls.Certificate, clientID string) core.Claim {
	g.Helper()
	leaf, err := x509.ParseCertificate(crt.Certificate[0])
	if err != nil {
		g.Fatal(err)
	}
	return core.Claim{Certificate: leaf, ClientID: clientID}
}

// What is withdrawn while a client signs in does not count for it, whenever the client looked: before the transaction that
// withdraws it, or in the midst of it, when readers still see what was before.
func TestWithdrawnDuringSignIn(t *testing.T) {
	for name, withdraw := range map[string]func(g *connRig, tx *commit.Tx, id string) error{
		"policy detached": func(g *connRig, tx *commit.Tx, id string) error {
			return g.d.detachPolicy(tx, testTenant, "p", certResource+id)
		},
		"policy changed": func(g *connRig, tx *commit.Tx, _ string) error {
			p, err := readPolicy(tx, testTenant, "p")
			if err != nil {
				return err
			}
			p.Versions[0].Document = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`
			return g.d.putPolicy(tx, testTenant, p)
		},
		"certificate revoked": func(g *connRig, tx *commit.Tx, id string) error {
			c, err := readCertificate(tx, testTenant, id)
			if err != nil {
				return err
			}
			c.Status = statusRevoked
			return g.d.updateCertificate(tx, testTenant, c)
		},
		"certificate deleted": func(g *connRig, tx *commit.Tx, id string) error {
			return g.d.deleteCertificate(tx, testTenant, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newConnRig(t)
			g.policy("p", allow("*", "*"))
			crt, id := g.enrol([]string{"p"})
			var grants []core.Grant
			var links []dialect.Link
			signIn := func() {
				grant, l, err := g.d.SignIn(t.Context(), g.claim(crt, "pump"))
				if err != nil {
					t.Fatal(err)
				}
				grants, links = append(grants, grant), append(links, l)
			}
			signIn()
			g.do(func(tx *commit.Tx) error {
				err := withdraw(g, tx, id)
				signIn() // on a snapshot that has nothing of it
				return err
			})
			for i, l := range slices.Backward(links) { // the one that looked in the midst first: it may share what it has read
				err := g.committer.Do(t.Context(), func(tx *commit.Tx) error {
					return l.Connected(tx, dialect.Presence{Session: grants[i].Session})
				})
				if err == nil && grants[i].Rules.Publish("x", false) == nil {
					t.Errorf("sign-in %d may publish", i)
				}
			}
		})
	}
}

// An access key opens nothing from the moment on when its tenant begins to be deleted, nor the next tenant of that name, and
// leaves nothing there.
func TestKeyOfDeletedTenant(t *testing.T) {
	g := newHTTPRig(t)
	ask := func(what, body string) string {
		g.Helper()
		w := g.send(g.request(what, serviceControl, body, nil))
		return w.Header().Get("x-amzn-ErrorType")
	}
	document := `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}"}`
	if got := ask("POST /policies/one", document); got != "" {
		t.Fatal(got)
	}
	const want = "UnrecognizedClientException"
	g.do(func(tx *commit.Tx) error { return tx.CloseTenant(testTenant) })
	if got := ask("POST /policies/two", document); got != want {
		t.Errorf("while the tenant is being deleted: got %q, want %s", got, want)
	}
	err := g.d.write(t.Context(), testTenant, func(tx *commit.Tx) error { return tx.PutRecord(testTenant, Name, "policy/three", nil) })
	if !errors.Is(err, core.ErrDenied) {
		t.Errorf("a request on its way: got %v", err)
	}
	g.do(func(tx *commit.Tx) error {
		for {
			if n, err := tx.SweepTenant(testTenant, 1000); err != nil {
				return err
			} else if n == 0 {
				break
			}
		}
		return errors.Join(tx.DeleteTenant(testTenant), tx.Emit(core.Event{Device: core.DeviceKey{Tenant: testTenant, Dialect: Name}, Kind: core.TenantDeleted}))
	})
	if got := ask("POST /policies/four", document); got != want {
		t.Errorf("when it is deleted: got %q, want %s", got, want)
	}
	g.do(func(tx *commit.Tx) error { return tx.InsertTenant(core.Tenant{ID: testTenant}) })
	if got := ask("GET /policies", ""); got != want {
		t.Errorf("in the next one of its name: got %q, want %s", got, want)
	}
}
