package awsiot

import (
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// The credentials provider: a device that shows its certificate is lent an access key for a while, with which it signs requests
// (AWS IoT Core Developer Guide, "Authorizing direct calls to AWS services"). At the service such a key is that of an IAM role. There
// are no roles here, and a device must not become the administrator of its account: its key is a pass that stands for its
// certificate. With it the device may do on the data planes and over MQTT what the certificate's policies allow when it does it, so
// nothing that it could not do with the certificate alone; and the control plane is closed to it.

// thingNameHeader names the thing that the device is.
const thingNameHeader = "x-amzn-iot-thingname"

const actionAssumeRole = "iot:AssumeRoleWithCertificate"

func providerOperations() []operation {
	return []operation{{
		service: provider, name: "AssumeRoleWithCertificate", method: get, path: "/role-aliases/{roleAlias}/credentials", do: (*call).lendCredentials,
		action: actionAssumeRole, resource: func(c *call) string { return keyRoleAlias + c.labels["roleAlias"] },
	}}
}

// lendCredentials makes a pass for the certificate that was shown, whose policies have allowed it.
func (c *call) lendCredentials() (any, error) {
	if name := c.r.Header.Get(thingNameHeader); name != "" && (c.thing == nil || c.thing.Name != name) {
		return nil, refuse(forbidden, "Invalid thing name passed")
	}
	name, err := c.label("roleAlias", authorizerConstraint)
	if err != nil {
		return nil, err
	}
	var x roleAlias
	if err := c.view(func(rd store.Reader) (err error) {
		x, err = readRoleAlias(rd, c.tenant(), name)
		return err
	}); err != nil {
		return nil, err
	}
	expires := c.d.cfg.Now().Add(time.Duration(x.Seconds) * time.Second).Truncate(time.Second)
	p, secret, err := c.d.keys.Lend(c.tenant(), certResource+c.certificate, expires)
	return map[string]any{"credentials": map[string]string{
		"accessKeyId": p.ID, "secretAccessKey": secret.Secret, "sessionToken": secret.Token, "expiration": p.Expires.Format(time.RFC3339),
	}}, err
}
