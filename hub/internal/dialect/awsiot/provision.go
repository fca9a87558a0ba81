package awsiot

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect/awsiot/policy"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// What templates make of devices: by fleet provisioning (provision_mqtt.go), just in time (provision_jit.go), and by
// RegisterThing (control_provisioning.go).

// A provisioned is what became of a template.
type provisioned struct {
	thing       string
	certificate certificate
	resources   map[string]string // by type of resource, as in ARNs
}

// conflicts is the error of what is there already, where a template says that this is to fail.
func conflicts(format string, args ...any) error {
	return refuse("ConflictingResourceUpdateException", format, args...)
}

// freshCertificate returns the certificate that a template brings with it, on no record yet; the zero one if it names one.
func (d *Dialect) freshCertificate(ctx context.Context, t core.TenantID, p *provisionCertificate) (crt certificate, err error) {
	switch {
	case p.CSR != "":
		csr, err := ca.ParseCSR([]byte(p.CSR))
		if err != nil {
			return crt, refuse(invalidRequest, "CSR is invalid: %v", err)
		}
		return d.issue(csr.PublicKey, p.Status)
	case p.PEM != "":
		leaf, err := ca.ParseCertificate([]byte(p.PEM))
		if err != nil {
			return crt, refuse(badCertificate, "The certificate cannot be read: %v", err)
		}
		if err := d.mayBeRegistered(leaf); err != nil {
			return crt, err
		}
		crt = d.certificateRecord(leaf, p.PEM, p.Status)
		err = d.view(ctx, func(rd store.Reader) error {
			by, err := authorityOf(rd, t, leaf, p.CAPEM)
			crt.CA, crt.Mode = by.ID, by.Mode
			return err
		})
		return crt, err
	}
	return crt, nil
}

// apply makes what a template says for a certificate that is on record. Everything is there afterwards, or the operation is
// undone.
func (d *Dialect) apply(tx *commit.Tx, a *account, p *provision, crt certificate) (out provisioned, err error) {
	out = provisioned{resources: map[string]string{resourceCertificate: certResource + crt.ID}}
	if crt.pending() {
		return out, conflicts("Certificate %s is being transferred.", crt.ID)
	}
	if p.Thing != nil {
		if err := d.applyThing(tx, a, p.Thing); err != nil {
			return out, err
		}
		if err := d.attachAlso(tx, a.Tenant, certResource+crt.ID, p.Thing.Name); err != nil {
			return out, err
		}
		out.thing, out.resources[resourceThing] = p.Thing.Name, keyThing+p.Thing.Name
	}
	for _, policy := range p.Policies {
		name, err := d.applyPolicy(tx, a, policy)
		if err != nil {
			return out, err
		}
		if err := d.attachAnother(tx, a.Tenant, name, certResource+crt.ID); err != nil {
			return out, err
		}
		out.resources[resourcePolicy] = keyPolicy + name
	}
	if out.certificate, err = d.applyStatus(tx, a, p.Certificate, crt); err != nil {
		return out, err
	}
	return out, nil
}

// attachAlso attaches a principal to one thing more, unless another one is the only one that it may be.
func (d *Dialect) attachAlso(tx *commit.Tx, t core.TenantID, principal, thing string) error {
	others, err := someThings(tx, t, principal, 2)
	if err != nil {
		return err
	}
	for _, o := range others {
		if o.Exclusive && o.Thing != thing {
			return conflicts("The certificate is attached to thing %s exclusively.", o.Thing)
		} else if o.Exclusive {
			return nil
		}
	}
	return d.attachPrincipal(tx, t, attachment{Principal: principal, Thing: thing})
}

// applyStatus gives the certificate the template's status. One that waits for its activation always gets it.
func (d *Dialect) applyStatus(tx *commit.Tx, a *account, p *provisionCertificate, crt certificate) (certificate, error) {
	pending := crt.Status == statusPendingActivation
	if crt.Status == p.Status && crt.Ownership == nil {
		return crt, nil
	}
	if !pending && crt.Status != p.Status {
		switch p.Override {
		case overrideNothing:
			return crt, nil
		case overrideFail:
			return crt, conflicts("Certificate %s exists with status %s.", crt.ID, crt.Status)
		}
	}
	if err := tx.DeleteRecord(a.Tenant, Name, pendingKey(&crt)); err != nil {
		return crt, err
	}
	crt.Status, crt.Ownership, crt.OwnershipEnds = p.Status, nil, time.Time{}
	return crt, d.updateCertificate(tx, a.Tenant, crt)
}

// applyThing makes the thing of a template, or changes the one that is there as far as the template's override settings say.
// Without a setting nothing of it is changed.
func (d *Dialect) applyThing(tx *commit.Tx, a *account, p *provisionThing) error {
	err := errors.Join(required("ThingName", p.Name, nameConstraint), optional("ThingTypeName", p.Type, nameConstraint),
		optional("BillingGroup", p.BillingGroup, nameConstraint), checkAttributes(p.Attributes))
	if err != nil {
		return err
	}
	attributes := (&attributePayload{Attributes: p.Attributes}).apply(nil)
	x, err := readThing(tx, a.Tenant, p.Name)
	found, err := present(err)
	if err != nil {
		return err
	}
	if !found {
		x = thing{Name: p.Name, Type: p.Type, Attributes: attributes, BillingGroup: p.BillingGroup}
		if _, err := d.insertThing(tx, a, x); err != nil {
			return err
		}
		return d.enterGroups(tx, a, p)
	}
	old := x
	if err := override(p.Override["ThingTypeName"], p.Type != "" && p.Type != x.Type, func() { x.Type = p.Type }); err != nil {
		return fmt.Errorf("thing %s: %w", p.Name, err)
	}
	changed := p.Attributes != nil && !maps.Equal(attributes, x.Attributes)
	merge := p.Override["AttributePayload"] == overrideMerge
	if err := override(p.Override["AttributePayload"], changed, func() {
		x.Attributes = (&attributePayload{Attributes: p.Attributes, Merge: merge}).apply(x.Attributes)
	}); err != nil {
		return fmt.Errorf("thing %s: %w", p.Name, err)
	}
	if x.Type != old.Type {
		if err := checkType(tx, a.Tenant, x.Type); err != nil {
			return err
		}
	}
	if x.Type != old.Type || !maps.Equal(x.Attributes, old.Attributes) {
		if err := d.changeThing(tx, a, x, old.Type); err != nil {
			return err
		}
	}
	return d.overrideGroups(tx, a, p)
}

// override does what a template's setting says about something that is there and differs from the template.
func override(setting string, differs bool, change func()) error {
	if !differs {
		return nil
	}
	switch setting {
	case overrideReplace, overrideMerge:
		change()
	case overrideFail:
		return conflicts("it exists with other properties")
	}
	return nil
}

func (d *Dialect) enterGroups(tx *commit.Tx, a *account, p *provisionThing) error {
	for _, g := range p.Groups {
		if err := d.enterGroup(tx, a, g, p.Name); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dialect) overrideGroups(tx *commit.Tx, a *account, p *provisionThing) error {
	have, err := groupsOfThing(tx, a.Tenant, p.Name)
	if err != nil {
		return err
	}
	want := slices.Sorted(slices.Values(p.Groups))
	replace := false
	err = override(p.Override["ThingGroups"], len(want) > 0 && !slices.Equal(have, want), func() { replace = true })
	if err != nil || !replace {
		return err
	}
	if p.Override["ThingGroups"] == overrideReplace {
		for _, g := range have {
			if slices.Contains(want, g) {
				continue
			}
			if err := d.exitGroup(tx, a, g, p.Name); err != nil {
				return err
			}
		}
	}
	return d.enterGroups(tx, a, p)
}

// applyPolicy returns the name of a template's policy. One that the template has in full is made if it is not there, under
// the hash of its text.
func (d *Dialect) applyPolicy(tx *commit.Tx, a *account, p provisionPolicy) (string, error) {
	if p.Name != "" {
		_, err := readPolicy(tx, a.Tenant, p.Name)
		return p.Name, noPolicy(err, p.Name)
	}
	if err := checkDocument(p.Document); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(p.Document))
	name := hex.EncodeToString(sum[:])
	found, err := hasRecord(tx, a.Tenant, keyPolicy+name)
	if err != nil || found {
		return name, err
	}
	return name, d.insertPolicy(tx, a, name, p.Document)
}

// Certificates that nobody has provisioned yet are forgotten after a while, else whoever holds a claim certificate could fill
// the disk. They are listed under "cert-pending/MICROSECONDS/ID" with the time when they end.
const (
	keyCertPending  = "cert-pending/"
	maxPending      = 2000 // of an account
	pendingDropped  = 50   // in one transaction
	ownershipLife   = time.Hour
	pendingStampLen = 19
)

var errTooManyPending = fmt.Errorf("%w: certificates that wait to be provisioned", core.ErrTooLarge)

func pendingStamp(at time.Time) string { return fmt.Sprintf("%0*d", pendingStampLen, at.UnixMicro()) }

// pendingKey is where a certificate is listed as long as it is not provisioned.
func pendingKey(c *certificate) string {
	at := c.OwnershipEnds
	if c.Claim != "" {
		at = c.ClaimEnds
	}
	return keyCertPending + pendingStamp(at) + "/" + c.ID
}

// insertPending enters a certificate that is forgotten at a time if nobody provisions it.
func (d *Dialect) insertPending(tx *commit.Tx, t core.TenantID, c certificate) error {
	if err := tx.PutRecord(t, Name, pendingKey(&c), nil); err != nil {
		return err
	}
	return d.insertCertificate(tx, t, c)
}

// dropPending forgets certificates whose time is over, some at a time, and says if too many wait all the same. It is called
// before another one is made, so that there is always less to do than was done.
func (d *Dialect) dropPending(tx *commit.Tx, t core.TenantID) error {
	all, more, err := names(tx, t, keyCertPending, "", maxPending)
	if err != nil {
		return err
	}
	now, dropped := pendingStamp(tx.Now()), 0
	for _, place := range all {
		stamp, id, _ := strings.Cut(place, "/")
		if stamp > now || dropped == pendingDropped {
			break
		}
		dropped++
		if err := tx.DeleteRecord(t, Name, keyCertPending+place); err != nil {
			return err
		}
		c, err := readCertificate(tx, t, id)
		if found, err := present(err); err != nil {
			return err
		} else if !found || c.Status != statusPendingActivation && c.Claim == "" {
			continue
		}
		if err := d.deleteCertificate(tx, t, id); err != nil {
			return err
		}
	}
	if more && dropped == 0 {
		return errTooManyPending
	}
	return nil
}

// newOwnership returns the token with which a device proves that a certificate is its own, and what is kept of it.
func newOwnership(id string) (token string, hash []byte) {
	var raw [48]byte
	rand.Read(raw[:])
	token = id + "." + base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(token))
	return token, sum[:]
}

// owned returns the certificate that a token is for, which is neither used nor too old.
func owned(rd store.RecordReader, t core.TenantID, token string, now time.Time) (crt certificate, err error) {
	id, _, _ := strings.Cut(token, ".")
	if len(token) > 1024 || certificateIDConstraint.check("", id) != nil {
		return crt, errOwnership
	}
	crt, err = readCertificate(rd, t, id)
	if found, err := present(err); err != nil {
		return crt, err
	} else if !found {
		return crt, errOwnership
	}
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], crt.Ownership) != 1 || !now.Before(crt.OwnershipEnds) {
		return crt, errOwnership
	}
	return crt, nil
}

var errOwnership = fmt.Errorf("%w: certificate ownership token", core.ErrDenied)

// claimSlot is the policy of the claim certificates that trusted users get for a template: they may use the topics of fleet
// provisioning, and nothing else. Its name is none that a policy of the account can have.
func claimSlot(rd store.RecordReader, t core.TenantID, template string) (*policySlot, error) {
	a, err := readAccount(rd, t)
	if err != nil {
		return nil, err
	}
	topics := []string{"$aws/certificates/create*", "$aws/provisioning-templates/" + template + "/provision/*"}
	var publish, subscribe []string
	for _, topic := range topics {
		publish, subscribe = append(publish, a.arn("topic/"+topic)), append(subscribe, a.arn("topicfilter/"+topic))
	}
	type statement struct{ Effect, Action, Resource any }
	text, err := marshalJSON(map[string]any{"Version": "2012-10-17", "Statement": []statement{
		{"Allow", actionConnect, "*"}, {"Allow", []string{actionPublish, actionReceive}, publish}, {"Allow", actionSubscribe, subscribe},
	}})
	if err != nil {
		return nil, err
	}
	doc, err := policy.Parse(text)
	if err != nil {
		return nil, err
	}
	slot := &policySlot{name: "claim/" + template}
	slot.cur.Store(doc)
	return slot, nil
}
