package awsiot

import (
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const keyAuthorizer = "authorizer/"

// keyAccessKey is what the principals of access keys begin with: "accesskey/AKIA...". The keys themselves are those of
// package accesskey.
const keyAccessKey = "accesskey/"

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
