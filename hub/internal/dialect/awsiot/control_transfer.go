package awsiot

import (
	"errors"
	"slices"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// A certificate can be given to another account, which is another tenant here: it is offered by the one that has it, and the
// other one accepts or rejects it. Until then both have it on record as PENDING_TRANSFER, which opens nothing (API reference,
// TransferCertificate and the four actions that it names).

var transferOperations = []operation{
	{name: "TransferCertificate", method: patch, path: "/transfer-certificate/{certificateId}", do: (*call).transferCertificate},
	{name: "AcceptCertificateTransfer", method: patch, path: "/accept-certificate-transfer/{certificateId}", do: (*call).acceptTransfer},
	{name: "RejectCertificateTransfer", method: patch, path: "/reject-certificate-transfer/{certificateId}", do: (*call).rejectTransfer},
	{name: "CancelCertificateTransfer", method: patch, path: "/cancel-certificate-transfer/{certificateId}", do: (*call).cancelTransfer},
	{name: "ListOutgoingCertificates", method: get, path: "/certificates-out-going", do: (*call).listOutgoing},
}

const (
	keyCertOut = "cert-out/"
	keyCertIn  = "cert-in/"
	// maxTransfers bounds what an account has offered, and what it is offered: nobody shall fill another one's records.
	maxTransfers = 100
)

// Errors about transfers.
const (
	transferConflict  = "TransferConflictException"
	transferCompleted = "TransferAlreadyCompletedException"
)

var (
	accountConstraint  = constrain(`[0-9]+`, 12, 12)
	transferConstraint = constrain(`[\s\S]*`, 0, 128)
)

// A transfer is what is kept of one with a certificate, on either side.
type transfer struct {
	Incoming bool          `json:"incoming,omitempty"`
	Tenant   core.TenantID `json:"tenant"`  // the other side
	Account  string        `json:"account"` // its number
	Message  string        `json:"message,omitempty"`
	Reason   string        `json:"reason,omitempty"` // of a rejection
	Begun    time.Time     `json:"begun"`
	Accepted time.Time     `json:"accepted,omitzero"`
	Rejected time.Time     `json:"rejected,omitzero"`
}

// pending reports whether a certificate is being transferred.
func (c *certificate) pending() bool { return c.Status == statusPendingTransfer && c.Transfer != nil }

// settled refuses what would change a certificate that is being transferred. What was attached to it meanwhile would be
// attached still when it comes back.
func (c *certificate) settled() error {
	if c.pending() {
		return refuse(certificateState, "The certificate is being transferred: accept, reject or cancel that first.")
	}
	return nil
}

// transferData describes a transfer.
func (t *transfer) data() map[string]any {
	m := map[string]any{}
	if t == nil {
		return m
	}
	m["transferDate"] = epoch(t.Begun)
	for name, text := range map[string]string{"transferMessage": t.Message, "rejectReason": t.Reason} {
		if text != "" {
			m[name] = text
		}
	}
	for name, at := range map[string]time.Time{"acceptDate": t.Accepted, "rejectDate": t.Rejected} {
		if !at.IsZero() {
			m[name] = epoch(at)
		}
	}
	return m
}

// accountOf finds the account of a number on this hub. A tenant that has asked for nothing yet gets its account.
func (d *Dialect) accountOf(tx *commit.Tx, number string) (found account, err error) {
	tenants, err := tx.Tenants()
	if err != nil {
		return found, err
	}
	n := 0 // numbers are made of names, and two may be the same
	for _, t := range tenants {
		if t.Deleting {
			continue
		}
		a, err := readAccount(tx, t.ID)
		if known, perr := present(err); perr != nil {
			return found, perr
		} else if !known && accountID(t.ID) == number {
			if a, err = d.makeAccount(tx, t.ID); err != nil {
				return found, err
			}
		}
		if a.ID == number {
			found = a
			n++
		}
	}
	if n != 1 {
		return found, refuse(invalidRequest, "There is no account %s on this hub.", number)
	}
	return found, nil
}

func (c *call) transferCertificate() (any, error) {
	var in struct {
		Message string `json:"transferMessage"`
	}
	id, err := c.label("certificateId", certificateIDConstraint)
	target := c.query.Get("targetAwsAccount")
	if err := errors.Join(err, c.decode(&in), required("targetAwsAccount", target, accountConstraint)); err != nil {
		return nil, err
	}
	if err := transferConstraint.check("transferMessage", in.Message); err != nil {
		return nil, err
	}
	var to account
	err = c.do(func(tx *commit.Tx) (err error) {
		if to, err = c.d.accountOf(tx, target); err != nil {
			return err
		}
		crt, err := c.transferable(tx, id, &to)
		if err != nil {
			return err
		}
		if err := errors.Join(makeRoomFor(tx, c.tenant(), keyCertOut), makeRoomFor(tx, to.Tenant, keyCertIn)); err != nil {
			return err
		}
		crt.Status = statusPendingTransfer
		crt.Transfer = &transfer{Tenant: to.Tenant, Account: to.ID, Message: in.Message, Begun: tx.Now()}
		// There it is the certificate of nobody's authority, and whatever fleet provisioning had to do with it is over.
		offer := crt
		offer.CA, offer.Ownership, offer.OwnershipEnds, offer.PreviousOwner = "", nil, time.Time{}, c.account.ID
		offer.Transfer = &transfer{Incoming: true, Tenant: c.tenant(), Account: c.account.ID, Message: in.Message, Begun: tx.Now()}
		err = c.d.insertCertificate(tx, to.Tenant, offer)
		if errors.Is(err, core.ErrConflict) {
			return refuse(transferConflict, "The account %s has the certificate already.", target)
		}
		return errors.Join(err, c.d.updateCertificate(tx, c.tenant(), crt),
			tx.PutRecord(c.tenant(), Name, keyCertOut+id, nil), tx.PutRecord(to.Tenant, Name, keyCertIn+id, nil))
	})
	return map[string]any{"transferredCertificateArn": to.arn(certResource + id)}, err
}

// transferable returns a certificate that may be offered to an account.
func (c *call) transferable(tx *commit.Tx, id string, to *account) (crt certificate, err error) {
	crt, err = readCertificate(tx, c.tenant(), id)
	switch {
	case err != nil:
		return crt, noCertificate(err, id)
	case to.Tenant == c.tenant():
		return crt, refuse(invalidRequest, "The certificate is in the account %s already.", to.ID)
	case crt.pending():
		return crt, refuse(transferConflict, "The certificate is being transferred already.")
	case crt.Claim != "":
		return crt, refuse(invalidRequest, "A claim certificate cannot be transferred.")
	case crt.Status == statusActive:
		return crt, refuse(certificateState, "Certificate must be deactivated (not ACTIVE) before it is transferred.")
	}
	attached, _, err := policiesOf(tx, c.tenant(), certResource+id, "", 1)
	if err == nil && len(attached) > 0 {
		err = refuse(transferConflict, "The certificate cannot be transferred because policies are attached to it.")
	}
	return crt, err
}

// makeRoomFor reports that there are too many transfers.
func makeRoomFor(rd store.RecordReader, t core.TenantID, prefix string) error {
	list, _, err := names(rd, t, prefix, "", maxTransfers)
	if err == nil && len(list) >= maxTransfers {
		err = refuse(limitExceeded, "There are %d certificate transfers already that have not been accepted.", len(list))
	}
	return err
}

// pendingTransfer returns a certificate whose transfer is pending, in the direction that the caller has to do with.
func (c *call) pendingTransfer(rd store.RecordReader, id string, incoming bool) (crt certificate, err error) {
	crt, err = readCertificate(rd, c.tenant(), id)
	t := crt.Transfer
	switch {
	case err != nil:
		return crt, noCertificate(err, id)
	case crt.pending() && t.Incoming == incoming:
		return crt, nil
	case t != nil && t.Incoming && !t.Accepted.IsZero():
		return crt, refuse(transferCompleted, "The transfer of the certificate has been completed.")
	case crt.pending() && incoming:
		return crt, refuse(invalidRequest, "The certificate is offered by this account, and not to it.")
	case crt.pending():
		return crt, refuse(invalidRequest, "The certificate is offered to this account, and not by it.")
	}
	return crt, refuse(invalidRequest, "The certificate is not being transferred.")
}

// counterpart returns what the other side of a transfer has; false: nothing, since it is gone or has another transfer.
func (t *transfer) counterpart(rd store.RecordReader, id string, self core.TenantID) (certificate, bool, error) {
	crt, err := readCertificate(rd, t.Tenant, id)
	if errors.Is(err, core.ErrNotFound) {
		return crt, false, nil
	}
	is := crt.pending() && crt.Transfer.Tenant == self && crt.Transfer.Incoming != t.Incoming && crt.Transfer.Begun.Equal(t.Begun)
	return crt, is, err
}

func (c *call) acceptTransfer() (any, error) {
	id, err := c.label("certificateId", certificateIDConstraint)
	active, aerr := c.flag("setAsActive", false)
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		crt, err := c.pendingTransfer(tx, id, true)
		if err != nil {
			return err
		}
		_, there, err := crt.Transfer.counterpart(tx, id, c.tenant())
		if err != nil {
			return err
		} else if !there {
			return refuse(notFound, "The certificate is not offered any more: the account that it comes from has none. Reject it.")
		}
		crt.Status, crt.Transfer.Accepted = activeIf(active), tx.Now()
		from := crt.Transfer.Tenant
		return errors.Join(c.d.deleteCertificate(tx, from, id), tx.DeleteRecord(from, Name, keyCertOut+id),
			tx.DeleteRecord(c.tenant(), Name, keyCertIn+id), c.d.updateCertificate(tx, c.tenant(), crt))
	})
}

func (c *call) rejectTransfer() (any, error) {
	var in struct {
		Reason string `json:"rejectReason"`
	}
	id, err := c.label("certificateId", certificateIDConstraint)
	if err := errors.Join(err, c.decode(&in)); err != nil {
		return nil, err
	}
	if err := transferConstraint.check("rejectReason", in.Reason); err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		crt, err := c.pendingTransfer(tx, id, true)
		if err != nil {
			return err
		}
		if err := errors.Join(c.d.deleteCertificate(tx, c.tenant(), id), tx.DeleteRecord(c.tenant(), Name, keyCertIn+id)); err != nil {
			return err
		}
		from := crt.Transfer.Tenant
		offered, there, err := crt.Transfer.counterpart(tx, id, c.tenant())
		if err != nil || !there {
			return err
		}
		offered.Status = statusInactive
		offered.Transfer.Reason, offered.Transfer.Rejected = in.Reason, tx.Now()
		return errors.Join(tx.DeleteRecord(from, Name, keyCertOut+id), c.d.updateCertificate(tx, from, offered))
	})
}

func (c *call) cancelTransfer() (any, error) {
	id, err := c.label("certificateId", certificateIDConstraint)
	if err != nil {
		return nil, err
	}
	return nil, c.do(func(tx *commit.Tx) error {
		crt, err := c.pendingTransfer(tx, id, false)
		if err != nil {
			return err
		}
		to := crt.Transfer.Tenant
		_, there, err := crt.Transfer.counterpart(tx, id, c.tenant())
		if err == nil && there {
			err = errors.Join(c.d.deleteCertificate(tx, to, id), tx.DeleteRecord(to, Name, keyCertIn+id))
		}
		if err != nil {
			return err
		}
		crt.Status, crt.Transfer = statusInactive, nil
		return errors.Join(tx.DeleteRecord(c.tenant(), Name, keyCertOut+id), c.d.updateCertificate(tx, c.tenant(), crt))
	})
}

// An outgoingCertificate is one that is offered to another account, in a list.
type outgoingCertificate struct {
	Arn     string `json:"certificateArn"`
	ID      string `json:"certificateId"`
	To      string `json:"transferredTo"`
	Begun   epoch  `json:"transferDate"`
	Message string `json:"transferMessage,omitempty"`
	Created epoch  `json:"creationDate"`
}

func (c *call) listOutgoing() (any, error) {
	p, err := c.marked()
	ascending, aerr := c.flag("isAscendingOrder", false)
	if err := errors.Join(err, aerr); err != nil {
		return nil, err
	}
	byPlace := map[string]certificate{}
	var places []string
	err = c.view(func(rd store.Reader) error {
		ids, _, err := names(rd, c.tenant(), keyCertOut, "", 0)
		for _, id := range ids {
			crt, err := readCertificate(rd, c.tenant(), id)
			if err != nil {
				return err
			}
			place := certificateTime(&crt, ascending)
			byPlace[place], places = crt, append(places, place)
		}
		return err
	})
	slices.Sort(places)
	places, next := p.pageOfList(places)
	list := []outgoingCertificate{}
	for _, place := range places {
		if crt := byPlace[place]; crt.pending() {
			list = append(list, outgoingCertificate{
				c.account.arn(certResource + crt.ID), crt.ID, crt.Transfer.Account, epoch(crt.Transfer.Begun), crt.Transfer.Message, epoch(crt.Created),
			})
		}
	}
	return struct {
		List []outgoingCertificate `json:"outgoingCertificates"`
		Next string                `json:"nextMarker,omitempty"`
	}{list, next}, err
}
