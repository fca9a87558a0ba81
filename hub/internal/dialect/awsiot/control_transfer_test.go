package awsiot

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

// A transferRig has a second account, and speaks for either.
type transferRig struct {
	*httpRig
	here, there sigv4.Credentials
}

const otherTenant core.TenantID = "222222222222"

func newTransferRig(t *testing.T) *transferRig {
	g := &transferRig{httpRig: newHTTPRig(t)}
	g.here = g.key
	g.do(func(tx *commit.Tx) error {
		if err := tx.InsertTenant(core.Tenant{ID: otherTenant}); err != nil {
			return err
		}
		made, secret, err := g.d.keys.Make(tx, otherTenant, "test", time.Time{})
		g.there = sigv4.Credentials{AccessKeyID: made.ID, SecretAccessKey: secret.Secret}
		return err
	})
	return g
}

// as has an account take some steps.
func (g *transferRig) as(k sigv4.Credentials, s ...step) {
	g.Helper()
	g.key = k
	g.tell(s...)
}

// certificate makes an INACTIVE one, captured as id and arn.
func (g *transferRig) certificate() {
	g.Helper()
	g.as(g.here, step{do: "POST /keys-and-certificate", capture: map[string]string{"id": "certificateId", "arn": "certificateArn"}})
}

const offer = "PATCH /transfer-certificate/${id}?targetAwsAccount=222222222222"

func TestCertificateTransfer(t *testing.T) {
	g := newTransferRig(t)
	g.certificate()
	status := func(k sigv4.Credentials, want string, has ...string) {
		t.Helper()
		if want == notFound {
			g.as(k, step{do: "GET /certificates/${id}", want: notFound})
			return
		}
		g.as(k, step{do: "GET /certificates/${id}", has: append(has, `"status":"`+want+`"`)})
	}
	g.as(g.here,
		step{do: "POST /policies/p", body: policyBody(`{"Version":"2012-10-17","Statement":[` + allow("iot:*", "*") + `]}`)},
		step{do: "POST /things/T"},
		step{do: "PUT /things/T/principals", header: map[string]string{"x-amzn-principal": "${arn}"}},
		step{do: "PATCH /transfer-certificate/${id}?targetAwsAccount=333333333333", want: invalidRequest},
		step{do: "PATCH /transfer-certificate/${id}?targetAwsAccount=x", want: invalidRequest},
		step{do: "PATCH /transfer-certificate/${id}?targetAwsAccount=" + g.a.ID, want: invalidRequest},
		step{do: "PUT /target-policies/p", body: `{"target":"${arn}"}`},
		step{do: offer, want: transferConflict},
		step{do: "POST /target-policies/p", body: `{"target":"${arn}"}`},
		step{do: "PUT /certificates/${id}?newStatus=ACTIVE"},
		step{do: offer, want: certificateState},
		step{do: "PUT /certificates/${id}?newStatus=INACTIVE"},
	)
	g.as(g.there, step{do: offer, want: notFound})

	// Rejected: it is back.
	g.as(g.here,
		step{do: offer, body: `{"transferMessage":"for you"}`, has: []string{`"transferredCertificateArn":"arn:aws:iot:us-east-1:222222222222:cert/${id}"`}},
		step{do: offer, want: transferConflict},
		step{do: "GET /certificates-out-going", has: []string{`"certificateId":"${id}"`, `"transferredTo":"222222222222"`, `"transferMessage":"for you"`, `"transferDate":1778051289.000`}},
		step{do: "PUT /certificates/${id}?newStatus=ACTIVE", want: certificateState},
		step{do: "DELETE /certificates/${id}", want: certificateState},
		step{do: "PATCH /accept-certificate-transfer/${id}", want: invalidRequest},
		step{do: "PATCH /reject-certificate-transfer/${id}", want: invalidRequest},
	)
	status(g.here, statusPendingTransfer, `"transferMessage":"for you"`)
	status(g.there, statusPendingTransfer, `"previousOwnedBy":"`+g.a.ID+`"`, `"transferMessage":"for you"`)
	g.as(g.there,
		step{do: "GET /certificates", has: []string{"${id}"}},
		step{do: "GET /certificates-out-going", no: []string{"${id}"}},
		step{do: "PUT /certificates/${id}?newStatus=ACTIVE", want: certificateState},
		step{do: "DELETE /certificates/${id}?forceDelete=true", want: certificateState},
		step{do: "POST /things", body: `{"templateBody":"{\"Resources\":{\"c\":{\"Type\":\"AWS::IoT::Certificate\",\"Properties\":{\"CertificateId\":\"${id}\",\"Status\":\"ACTIVE\"},\"OverrideSettings\":{\"Status\":\"REPLACE\"}}}}"}`, want: "ConflictingResourceUpdateException"},
		step{do: "PATCH /cancel-certificate-transfer/${id}", want: invalidRequest},
		step{do: "PATCH /reject-certificate-transfer/${id}", body: `{"rejectReason":"no"}`},
		step{do: "GET /certificates", no: []string{"${id}"}},
	)
	status(g.there, notFound)
	status(g.here, statusInactive, `"rejectReason":"no"`, `"rejectDate"`)

	// Cancelled: it never left.
	g.as(g.here, step{do: offer}, step{do: "PATCH /cancel-certificate-transfer/${id}"}, step{do: "PATCH /cancel-certificate-transfer/${id}", want: invalidRequest})
	status(g.there, notFound)
	status(g.here, statusInactive, `"transferData":{}`)
	g.as(g.here, step{do: "GET /things/T/principals", has: []string{"${id}"}})

	// Accepted: it is there.
	g.as(g.here, step{do: offer})
	g.as(g.there, step{do: "PATCH /accept-certificate-transfer/${id}?setAsActive=true"},
		step{do: "PATCH /accept-certificate-transfer/${id}", want: transferCompleted},
		step{do: "PATCH /reject-certificate-transfer/${id}", want: transferCompleted})
	status(g.here, notFound)
	status(g.there, statusActive, `"acceptDate"`, `"ownedBy":"222222222222"`)
	g.as(g.here, step{do: "GET /things/T/principals", no: []string{"${id}"}}, step{do: "GET /certificates-out-going", no: []string{"${id}"}},
		step{do: "PATCH /cancel-certificate-transfer/${id}", want: notFound})
	g.as(g.there, step{do: "PUT /certificates/${id}?newStatus=INACTIVE"}, step{do: "DELETE /certificates/${id}"})
}

// TestNothingIsAttachedMeanwhile checks that a rejected certificate comes back as it went, and can be offered again.
func TestNothingIsAttachedMeanwhile(t *testing.T) {
	g := newTransferRig(t)
	g.certificate()
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`
	g.as(g.here, step{do: offer, capture: map[string]string{"theirs": "transferredCertificateArn"}})
	for _, side := range []struct {
		key sigv4.Credentials
		arn string
	}{{g.here, "${arn}"}, {g.there, "${theirs}"}} {
		principal := func(name string) map[string]string { return map[string]string{name: side.arn} }
		g.as(side.key,
			step{do: "POST /policies/p", body: policyBody(policy)},
			step{do: "POST /things/T"},
			step{do: "PUT /target-policies/p", body: `{"target":"` + side.arn + `"}`, want: certificateState},
			step{do: "PUT /principal-policies/p", header: principal("x-amzn-iot-principal"), want: certificateState},
			step{do: "PUT /things/T/principals", header: principal("x-amzn-principal"), want: certificateState},
			step{do: "GET /things/T/principals", no: []string{"${id}"}},
		)
	}
	g.as(g.there, step{do: "PATCH /reject-certificate-transfer/${id}"})
	g.as(g.here, step{do: offer}, step{do: "PATCH /cancel-certificate-transfer/${id}"}, step{do: "PUT /target-policies/p", body: `{"target":"${arn}"}`})
}

// TestTransfersAreBounded has one account try to fill another one's records.
func TestTransfersAreBounded(t *testing.T) {
	g := newTransferRig(t)
	g.do(func(tx *commit.Tx) error {
		for i := range maxTransfers {
			if err := tx.PutRecord(otherTenant, Name, fmt.Sprintf("%s%064d", keyCertIn, i), nil); err != nil {
				return err
			}
		}
		return nil
	})
	g.certificate()
	g.as(g.here, step{do: offer, want: limitExceeded})
	g.as(g.there, step{do: "GET /certificates/${id}", want: notFound})
}

// TestOutgoingPages lists what is offered page by page, in either order.
func TestOutgoingPages(t *testing.T) {
	g := newTransferRig(t)
	for _, name := range []string{"first", "second"} {
		g.certificate()
		g.as(g.here, step{do: offer, body: `{"transferMessage":"` + name + `"}`})
		g.advance(time.Minute)
	}
	g.as(g.here,
		step{do: "GET /certificates-out-going?pageSize=1", has: []string{"second"}, no: []string{"first"}, capture: map[string]string{"next": "nextMarker"}},
		step{do: "GET /certificates-out-going?pageSize=1&marker=${next|path}", has: []string{"first"}, no: []string{"second", "nextMarker"}},
		step{do: "GET /certificates-out-going?pageSize=1&isAscendingOrder=true", has: []string{"first"}, no: []string{"second"}},
	)
}

// TestTransferWithoutTheOtherSide has an account be deleted whose transfer is pending.
func TestTransferWithoutTheOtherSide(t *testing.T) {
	g := newTransferRig(t)
	g.certificate()
	g.as(g.here, step{do: offer})
	g.do(func(tx *commit.Tx) error { return g.d.deleteCertificate(tx, testTenant, g.values["id"]) })
	g.as(g.there, step{do: "PATCH /accept-certificate-transfer/${id}", want: notFound}, step{do: "PATCH /reject-certificate-transfer/${id}"}, step{do: "GET /certificates/${id}", want: notFound})

	g.certificate()
	g.as(g.here, step{do: offer})
	g.do(func(tx *commit.Tx) error { return g.d.deleteCertificate(tx, otherTenant, g.values["id"]) })
	g.as(g.here, step{do: "PATCH /cancel-certificate-transfer/${id}"}, step{do: "GET /certificates/${id}", has: []string{`"status":"INACTIVE"`}})
}
