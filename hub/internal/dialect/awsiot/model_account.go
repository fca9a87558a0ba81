package awsiot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const keyAccount = "account"

// An account is a tenant that has AWS IoT.
type account struct {
	Tenant core.TenantID `json:"-"`
	ID     string        `json:"id"`     // twelve digits
	Region string        `json:"region"` // "us-east-1"
	// RegistrationCode is what owners of authorities put into the certificate that proves it; "": none was asked for yet.
	RegistrationCode string `json:"registrationCode,omitempty"`
	// DefaultAuthorizer is the custom authorizer of connections that name none; "": none.
	DefaultAuthorizer string `json:"defaultAuthorizer,omitempty"`
	// SessionExpiry is the longest that MQTT sessions outlive their connections, in seconds; 0: an hour, as at the service.
	SessionExpiry int64 `json:"sessionExpiry,omitempty"`
	// Events are the kinds of registry events that are published ("THING", "POLICY", ...).
	Events  map[string]bool `json:"events,omitempty"`
	Created time.Time       `json:"created"`
}

// arn returns the name of a resource of the account in all of the platform: resource is "thing/pump-7".
func (a *account) arn(resource string) string {
	return "arn:aws:iot:" + a.Region + ":" + a.ID + ":" + resource
}

// resource is the inverse of arn: ok is false for names of other services, accounts and regions.
func (a *account) resource(arn string) (resource string, ok bool) {
	return strings.CutPrefix(arn, a.arn(""))
}

// readAccount returns a tenant's account; core.ErrNotFound if it has none.
func readAccount(rd store.RecordReader, t core.TenantID) (account, error) {
	a := account{Tenant: t}
	if err := readRecord(rd, t, keyAccount, &a); err != nil {
		return a, fmt.Errorf("account of tenant %s: %w", t, err)
	}
	return a, nil
}

// putAccount writes it.
func (d *Dialect) putAccount(tx *commit.Tx, a account) error {
	if err := writeRecord(tx, a.Tenant, keyAccount, a); err != nil {
		return err
	}
	return d.changed(tx, a.Tenant, keyAccount)
}

// accountReader is what finding accounts reads.
type accountReader interface {
	store.RecordReader
	Tenants() ([]core.Tenant, error)
}

// accounts returns all accounts. Tenants are few.
func accounts(rd accountReader) (list []account, err error) {
	tenants, err := rd.Tenants()
	if err != nil {
		return nil, err
	}
	for _, t := range tenants {
		a, err := readAccount(rd, t.ID)
		if errors.Is(err, core.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// makeAccount returns a tenant's account, and makes it if there is none. Its number is the tenant's id where that is twelve
// digits, else made of it.
func (d *Dialect) makeAccount(tx *commit.Tx, t core.TenantID) (account, error) {
	a, err := readAccount(tx, t)
	if !errors.Is(err, core.ErrNotFound) {
		return a, err
	}
	a = account{Tenant: t, ID: accountID(t), Region: d.cfg.Region, Created: tx.Now()}
	return a, d.putAccount(tx, a)
}

func accountID(t core.TenantID) string {
	if len(t) == 12 && strings.Trim(string(t), "0123456789") == "" {
		return string(t)
	}
	sum := sha256.Sum256([]byte(t))
	const digits = 1_000_000_000_000
	return fmt.Sprintf("%012d", binary.BigEndian.Uint64(sum[:8])%digits)
}

// tenantOf returns the tenant that a host name means: the one that it names, else the default tenant, which may be "".
func (d *Dialect) tenantOf(host string) core.TenantID {
	return cmp.Or(namedTenant(host), d.cfg.DefaultTenant)
}

// namedTenant returns the tenant that a host name names, "" if it names none: "ACCOUNT.iot.REGION.amazonaws.localhost" or
// "ACCOUNT-ats.iot...", which is what DescribeEndpoint tells.
func namedTenant(host string) core.TenantID {
	first, rest, ok := strings.Cut(strings.ToLower(host), ".")
	service, rest, ok2 := strings.Cut(rest, ".")
	if ok && ok2 && oneOf(service, "iot", "credentials", "jobs") && strings.Contains(rest, "amazonaws") {
		if t := core.TenantID(strings.TrimSuffix(first, "-ats")); t.Validate() == nil {
			return t
		}
	}
	return ""
}

// view runs f on a snapshot.
func (d *Dialect) view(ctx context.Context, f func(store.Reader) error) error {
	return d.cfg.Store.View(ctx, f)
}

// sessionExpiry returns the longest that a session outlives its connection.
func (a *account) sessionExpiry() time.Duration {
	return time.Duration(cmp.Or(a.SessionExpiry, 3600)) * time.Second
}
