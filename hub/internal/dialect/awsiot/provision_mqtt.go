package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/wire/awscbor"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// provisioning is the service behind $aws/certificates/... and $aws/provisioning-templates/...: a device that has a claim
// certificate asks for one of its own, which it may use once a template has been applied to it (AWS IoT guide, "Device
// provisioning MQTT API").
type provisioning struct{ d *Dialect }

// keyTime bounds the wait for a key to be made, among all who want one.
const keyTime = 10 * time.Second

// receive implements service. Answers go to the sender alone: there is a private key in them.
func (p *provisioning) receive(s *sender, r *reserved, m dialect.Publish, b *commit.Batch) error {
	q := provisionRequest{p: p, from: s, template: r.name, format: r.format}
	var err error
	switch r.op {
	case "create":
		q.topic = "$aws/certificates/create/" + r.format
		q.reply, err = q.create()
	case "create-from-csr":
		q.topic = "$aws/certificates/create-from-csr/" + r.format
		q.reply, err = q.sign(m.Payload)
	case "provision":
		q.topic = "$aws/provisioning-templates/" + r.name + "/provision/" + r.format
		if err = q.unmarshal(m.Payload, &q.request); err == nil {
			q.step = q.provision
		}
	}
	if err != nil {
		if errors.Is(err, core.ErrStorage) {
			return err
		}
		q.refusal = err
	}
	b.Hold(len(m.Payload))
	b.Do(q.do, nil)
	return nil
}

// A provisionRequest is one message on its way.
type provisionRequest struct {
	p           *provisioning
	from        *sender
	topic       string // of the request
	template    string
	format      string
	request     awswire.ProvisionRequest
	certificate certificate              // that is to be entered
	reply       awswire.CertificateReply // about it
	step        func(*commit.Tx) (any, error)
	refusal     error
}

func (q *provisionRequest) unmarshal(payload []byte, v any) error {
	var err error
	if q.format == "cbor" {
		err = awscbor.Unmarshal(payload, v)
	} else if len(payload) > 0 {
		err = json.Unmarshal(payload, v)
	}
	if err != nil {
		return fmt.Errorf("%w: the payload cannot be read", core.ErrInvalid)
	}
	return nil
}

func (q *provisionRequest) marshal(v any) ([]byte, error) {
	if q.format == "cbor" {
		return awscbor.Marshal(v)
	}
	return marshalJSON(v)
}

// create makes a key and a certificate for it.
func (q *provisionRequest) create() (reply awswire.CertificateReply, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTime)
	defer cancel()
	keys, pub, err := newKeyPair(ctx)
	if err != nil {
		return reply, err
	}
	if q.certificate, err = q.p.d.issue(pub, statusPendingActivation); err != nil {
		return reply, err
	}
	reply.PrivateKey = keys.PrivateKey
	return q.own(reply), nil
}

// sign makes a certificate for a key of the device.
func (q *provisionRequest) sign(payload []byte) (reply awswire.CertificateReply, err error) {
	var in awswire.CSRRequest
	if err := q.unmarshal(payload, &in); err != nil {
		return reply, err
	}
	csr, err := ca.ParseCSR([]byte(in.CertificateSigningRequest))
	if err != nil {
		return reply, err
	}
	if q.certificate, err = q.p.d.issue(csr.PublicKey, statusPendingActivation); err != nil {
		return reply, err
	}
	return q.own(reply), nil
}

// own completes the answer about a certificate that was issued, which is entered in the transaction.
func (q *provisionRequest) own(reply awswire.CertificateReply) awswire.CertificateReply {
	c := &q.certificate
	reply.CertificateID, reply.CertificatePEM = c.ID, c.PEM
	reply.CertificateOwnershipToken, c.Ownership = newOwnership(c.ID)
	c.OwnershipEnds = c.Created.Add(ownershipLife)
	q.step = q.enter
	return reply
}

func (q *provisionRequest) enter(tx *commit.Tx) (any, error) {
	if err := q.p.d.dropPending(tx, q.from.tenant()); err != nil {
		return nil, err
	}
	return q.reply, q.p.d.insertPending(tx, q.from.tenant(), q.certificate)
}

var (
	errTemplateDisabled = fmt.Errorf("%w: the provisioning template is not enabled", core.ErrDenied)
	errTemplateType     = fmt.Errorf("%w: the provisioning template is not one for fleet provisioning", core.ErrDenied)
)

// provision applies a template to the certificate that the token of the request is for.
func (q *provisionRequest) provision(tx *commit.Tx) (any, error) {
	d, t := q.p.d, q.from.tenant()
	x, err := readTemplate(tx, t, q.template)
	if err != nil {
		return nil, noTemplate(err, q.template)
	}
	switch {
	case !x.Enabled:
		return nil, errTemplateDisabled
	case x.Type != templateFleet:
		return nil, errTemplateType
	}
	crt, err := owned(tx, t, q.request.CertificateOwnershipToken, tx.Now())
	if err != nil {
		return nil, err
	}
	out, err := d.applyTemplate(tx, &q.from.account, x.version(x.Default).Body, q.request.Parameters, crt)
	if err != nil {
		return nil, err
	}
	return awswire.ProvisionReply{DeviceConfiguration: out.configuration, ThingName: out.thing}, nil
}

// A fleetResult is what became of a template that was applied to a certificate that was there.
type fleetResult struct {
	provisioned
	configuration map[string]string
}

// applyTemplate fills a template in, with parameters of a device or its certificate, and applies it to a certificate.
func (d *Dialect) applyTemplate(tx *commit.Tx, a *account, body string, given map[string]string, crt certificate) (out fleetResult, err error) {
	t, err := parseTemplate(body)
	if err != nil {
		return out, err
	}
	params := map[string]string{}
	for name, value := range given {
		params[name] = value
	}
	params[certificateIDParameter] = crt.ID
	p, err := t.evaluateFor(params, true)
	if err != nil {
		return out, err
	}
	if p.Certificate.ID != crt.ID {
		return out, templateError("the template is for another certificate")
	}
	if out.configuration = p.DeviceConfiguration; out.configuration == nil {
		out.configuration = map[string]string{}
	}
	out.provisioned, err = d.apply(tx, a, p, crt)
	return out, err
}

// do makes what the request asks for, and answers it. What is refused has changed nothing.
func (q *provisionRequest) do(tx *commit.Tx) error {
	var reply any
	refusal := q.refusal
	if refusal == nil {
		err := tx.Savepoint(func() (err error) {
			reply, err = q.step(tx)
			refusal = err
			return err
		})
		if err != nil && (refusal == nil || errors.Is(err, core.ErrStorage)) {
			return err
		}
	}
	topic := q.topic + "/accepted"
	if refusal != nil {
		topic, reply = q.topic+"/rejected", q.rejection(refusal)
	}
	payload, err := q.marshal(reply)
	if err != nil {
		return err
	}
	return q.p.d.reply(tx, q.from, core.Message{Topic: topic, Payload: payload, QoS: 1})
}

// rejection is a failure as devices are told of it.
func (q *provisionRequest) rejection(err error) awswire.ProvisionRejection {
	r := awswire.ProvisionRejection{StatusCode: http.StatusBadRequest, ErrorCode: awswire.ProvisionInvalidParameters, ErrorMessage: err.Error()}
	var own *awsError
	if errors.As(err, &own) {
		r.ErrorMessage = own.message
	}
	switch {
	case errors.Is(err, errOwnership):
		r.ErrorCode, r.ErrorMessage = awswire.ProvisionInvalidToken, "The certificate ownership token is not valid."
	case errors.Is(err, core.ErrNotFound):
		r.StatusCode, r.ErrorCode = http.StatusNotFound, awswire.ProvisionNotFound
	case errors.Is(err, core.ErrDenied):
		r.StatusCode, r.ErrorCode = http.StatusForbidden, awswire.ProvisionAccessDenied
	case errors.Is(err, core.ErrTooLarge):
		r.StatusCode = http.StatusTooManyRequests
	case errors.Is(err, core.ErrConflict):
		r.StatusCode = http.StatusConflict
	case !errors.Is(err, core.ErrInvalid):
		r = awswire.ProvisionRejection{StatusCode: http.StatusInternalServerError, ErrorCode: awswire.ProvisionInternal, ErrorMessage: "Internal server error"}
		q.p.d.log.Error("provisioning failed", "client", q.from.clientID, "err", err)
	}
	return r
}

// notify implements service.
func (p *provisioning) notify(*commit.Tx, core.Event) error { return nil }
