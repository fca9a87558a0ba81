package awsiot

import (
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// changing is called by everything that changes what connections of an account may do. what is what has changed, as a key:
// "policy/NAME" a policy's documents, "cert/ID" and "thinggroup/NAME" which policies are attached to these, "thing/NAME" a
// thing's attributes, groups and principals, "cacert/ID" an authority, "account" the account's settings.
func (d *Dialect) changing(tx *commit.Tx, t core.TenantID, what string) {}

// disconnectPrincipal ends the connections of a principal.
func (d *Dialect) disconnectPrincipal(tx *commit.Tx, t core.TenantID, principal string) error {
	return nil
}
