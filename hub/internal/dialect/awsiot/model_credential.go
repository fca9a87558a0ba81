package awsiot

import (
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	keyAccessKey  = "accesskey/"
	keyAuthorizer = "authorizer/"
)

// An accessKey signs requests: those of boto3 and the AWS CLI, and MQTT over WebSocket. Whoever has it may do everything in
// its account, unless it has a policy.
type accessKey struct {
	ID     string `json:"id"` // "AKIA...": an access key; "ASIA...": one that expires, with a session token
	User   string `json:"user"`
	Secret string `json:"secret"`
	Token  string `json:"token,omitempty"` // the session token that has to come with it; "": none
	// Policy is a policy document that bounds what the key opens; "": everything.
	Policy  string    `json:"policy,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// findAccessKey returns an access key, and whose it is. One that has expired is core.ErrNotFound too.
func (d *Dialect) findAccessKey(rd accountReader, id string) (k accessKey, a account, err error) {
	now := d.cfg.Now()
	all, err := accounts(rd)
	if err != nil {
		return k, a, err
	}
	for _, a := range all {
		known, err := hasRecord(rd, a.Tenant, keyAccessKey+id)
		if err != nil {
			return k, a, err
		}
		if !known {
			continue
		}
		if err := readRecord(rd, a.Tenant, keyAccessKey+id, &k); err != nil {
			return k, a, err
		}
		if !k.Expires.IsZero() && !now.Before(k.Expires) {
			continue
		}
		return k, a, nil
	}
	return accessKey{}, account{}, core.ErrNotFound
}

func accessKeys(rd store.RecordReader, t core.TenantID, after string, limit int) ([]accessKey, bool, error) {
	return records[accessKey](rd, t, keyAccessKey, after, limit)
}

func (d *Dialect) putAccessKey(tx *commit.Tx, t core.TenantID, k accessKey) error {
	return writeRecord(tx, t, keyAccessKey+k.ID, k)
}

// deleteAccessKey deletes an access key, and ends the connections that it has opened.
func (d *Dialect) deleteAccessKey(tx *commit.Tx, t core.TenantID, id string) error {
	if err := tx.DeleteRecord(t, Name, keyAccessKey+id); err != nil {
		return err
	}
	return d.disconnectPrincipal(tx, t, keyAccessKey+id)
}

// An authorizer lets clients in by a token, or by user name and password. There are no functions to call here: what the
// platform has a Lambda function decide is decided by the account's policy of the function's name, for everybody whose token
// has a good signature.
type authorizer struct {
	Name     string `json:"name"`
	Function string `json:"function"` // ARN; its last part is the name of the policy
	Active   bool   `json:"active"`
	TokenKey string `json:"tokenKey,omitempty"` // name of the parameter that has the token
	// Keys are public keys (PEM), by name, one of which has signed the token.
	Keys map[string]string `json:"keys,omitempty"`
	// Unsigned lets in whoever names the authorizer.
	Unsigned bool      `json:"unsigned,omitempty"`
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"`
}

func readAuthorizer(rd store.RecordReader, t core.TenantID, name string) (a authorizer, err error) {
	return a, readRecord(rd, t, keyAuthorizer+name, &a)
}

func authorizers(rd store.RecordReader, t core.TenantID, after string, limit int) ([]authorizer, bool, error) {
	return records[authorizer](rd, t, keyAuthorizer, after, limit)
}

func (d *Dialect) putAuthorizer(tx *commit.Tx, t core.TenantID, a authorizer) error {
	return writeRecord(tx, t, keyAuthorizer+a.Name, a)
}

func (d *Dialect) deleteAuthorizer(tx *commit.Tx, t core.TenantID, name string) error {
	return tx.DeleteRecord(t, Name, keyAuthorizer+name)
}
