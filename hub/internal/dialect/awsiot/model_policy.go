package awsiot

import (
	"slices"
	"strconv"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

const (
	keyPolicy       = "policy/"
	keyPolicyTarget = "policy-target/"
	keyTargetPolicy = "target-policy/"
)

// maxPolicyVersions is how many versions a policy has at most (AWS IoT Core quotas).
const maxPolicyVersions = 5

// An iotPolicy is a policy with all its versions.
type iotPolicy struct {
	Name     string          `json:"name"`
	Default  int             `json:"default"` // the version that counts
	Last     int             `json:"last"`    // number of the newest version there ever was; numbers are not used again
	Versions []policyVersion `json:"versions"`
	Created  time.Time       `json:"created"`
	Changed  time.Time       `json:"changed"`
}

// A policyVersion is one text of a policy.
type policyVersion struct {
	Version  int       `json:"version"`
	Document string    `json:"document"` // as it was written
	Created  time.Time `json:"created"`
}

// id is how the platform writes the number of a version.
func (v *policyVersion) id() string { return strconv.Itoa(v.Version) }

// version returns a version of the policy, nil if there is none of that number.
func (p *iotPolicy) version(n int) *policyVersion {
	i := slices.IndexFunc(p.Versions, func(v policyVersion) bool { return v.Version == n })
	if i < 0 {
		return nil
	}
	return &p.Versions[i]
}

// document returns the text that counts.
func (p *iotPolicy) document() string {
	if v := p.version(p.Default); v != nil {
		return v.Document
	}
	return ""
}

func readPolicy(rd store.RecordReader, t core.TenantID, name string) (p iotPolicy, err error) {
	return p, readRecord(rd, t, keyPolicy+name, &p)
}

// putPolicy writes a policy, whose documents are right (policy.Parse). What it allows counts for live connections at once.
func (d *Dialect) putPolicy(tx *commit.Tx, t core.TenantID, p iotPolicy) error {
	if err := writeRecord(tx, t, keyPolicy+p.Name, p); err != nil {
		return err
	}
	return d.changed(tx, t, keyPolicy+p.Name)
}

// deletePolicy deletes a policy that is attached to nothing.
func (d *Dialect) deletePolicy(tx *commit.Tx, t core.TenantID, name string) error {
	if err := tx.DeleteRecord(t, Name, keyPolicy+name); err != nil {
		return err
	}
	return d.changed(tx, t, keyPolicy+name)
}

// policiesOf returns a page of the names of policies that are attached to a target: "cert/ID" or "thinggroup/NAME".
func policiesOf(rd store.RecordReader, t core.TenantID, target, after string, limit int) ([]string, bool, error) {
	return names(rd, t, keyTargetPolicy+target+"/", after, limit)
}

// targetsOf returns a page of the targets that a policy is attached to.
func targetsOf(rd store.RecordReader, t core.TenantID, policy, after string, limit int) ([]string, bool, error) {
	return names(rd, t, keyPolicyTarget+policy+"/", after, limit)
}

// attachPolicy attaches a policy to a target; both exist. detachPolicy is its inverse. What is so already is no error.
func (d *Dialect) attachPolicy(tx *commit.Tx, t core.TenantID, policy, target string) error {
	if err := link2(tx, t, keyTargetPolicy+target+"/"+policy, keyPolicyTarget+policy+"/"+target, nil); err != nil {
		return err
	}
	return d.changed(tx, t, target)
}

func (d *Dialect) detachPolicy(tx *commit.Tx, t core.TenantID, policy, target string) error {
	if err := unlink2(tx, t, keyTargetPolicy+target+"/"+policy, keyPolicyTarget+policy+"/"+target); err != nil {
		return err
	}
	return d.changed(tx, t, target)
}
