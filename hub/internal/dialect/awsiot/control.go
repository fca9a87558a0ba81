package awsiot

import (
	"errors"
	"net/http"
	"slices"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// controlOperations are those of the control plane that this hub has, part by part.
func controlOperations() []operation {
	all := slices.Concat(
		thingOperations, thingTypeOperations, thingGroupOperations, billingGroupOperations, principalOperations,
		certificateOperations, transferOperations, caCertificateOperations, policyOperations, authorizerOperations, roleOperations,
		provisioningOperations, settingOperations, searchOperations, jobOperations, authorizationOperations,
	)
	for i := range all {
		all[i].service = control
	}
	return all
}

const (
	get    = http.MethodGet
	put    = http.MethodPut
	post   = http.MethodPost
	patch  = http.MethodPatch
	remove = http.MethodDelete
)

// do runs f in a transaction and waits until it is on disk.
func (c *call) do(f func(*commit.Tx) error) error { return c.d.write(c.ctx(), c.tenant(), f) }

// missing replaces the error of something that is not there by the platform's, with these words.
func missing(err error, format string, args ...any) error {
	if errors.Is(err, core.ErrNotFound) {
		return refuse(notFound, format, args...)
	}
	return err
}

// present replaces "not found" by nil, and reports whether it was found.
func present(err error) (bool, error) {
	if errors.Is(err, core.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// version returns the name in the path of a request, and the version that what has it must be in, 0: any.
func (c *call) version(label string) (name string, expected int64, err error) {
	if name, err = c.label(label, nameConstraint); err != nil {
		return "", 0, err
	}
	expected, err = c.number("expectedVersion", 0, 1<<62, 0)
	return name, expected, err
}

// exists is the error for a name that something else has.
func (c *call) exists(id, resource, format string, args ...any) error {
	e := refuse(alreadyExists, format, args...)
	e.extra = map[string]string{"resourceId": id, "resourceArn": c.account.arn(resource)}
	return e
}

// conflict is the error for a version that is not the expected one.
func conflict(kind, name string) error {
	return refuse(versionConflict, "The version for %s %s does not match the expected version.", kind, name)
}
