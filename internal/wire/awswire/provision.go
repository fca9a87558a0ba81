package awswire

// What devices and the provisioning service say to each other (AWS IoT Core Developer Guide, "Device provisioning MQTT API",
// read 2026-11). The names are the same in both formats, JSON and CBOR.

// A CSRRequest is the payload of [OpCreateFromCSR].
type CSRRequest struct {
	CertificateSigningRequest string `json:"certificateSigningRequest"` // PEM
}

// A CertificateReply is the answer to [OpCreate] and [OpCreateFromCSR].
type CertificateReply struct {
	CertificateID  string `json:"certificateId"`
	CertificatePEM string `json:"certificatePem"`
	PrivateKey     string `json:"privateKey,omitempty"` // PEM; only of [OpCreate]
	// CertificateOwnershipToken is good for one [OpProvision], for an hour.
	CertificateOwnershipToken string `json:"certificateOwnershipToken"`
}

// A ProvisionRequest is the payload of [OpProvision].
type ProvisionRequest struct {
	CertificateOwnershipToken string            `json:"certificateOwnershipToken"`
	Parameters                map[string]string `json:"parameters,omitempty"`
}

// A ProvisionReply is the answer to [OpProvision].
type ProvisionReply struct {
	DeviceConfiguration map[string]string `json:"deviceConfiguration"`
	ThingName           string            `json:"thingName"`
}

// A ProvisionRejection is the payload on a rejected topic of certificates and provisioning.
type ProvisionRejection struct {
	StatusCode   int    `json:"statusCode"`
	ErrorCode    string `json:"errorCode"`
	ErrorMessage string `json:"errorMessage"`
}

// Error codes of provisioning. What the service has beside those of a refused hook is unspecified.
const (
	ProvisionInvalidParameters = "InvalidParameters"
	ProvisionInvalidToken      = "InvalidCertificateOwnershipToken"
	ProvisionNotFound          = "ResourceNotFound"
	ProvisionAccessDenied      = "AccessDenied"
	ProvisionInternal          = "InternalServerError"
)
