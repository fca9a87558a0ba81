package awsiot

import (
	"context"
	"crypto"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/fairlead-iot/fairlead"
	"github.com/fairlead-iot/fairlead/identity"
	"github.com/fairlead-iot/fairlead/internal/mqtt/mqttclient"
	"github.com/fairlead-iot/fairlead/internal/wire/awswire"
)

// A NewCertificate is one that AWS IoT has made in fleet provisioning. It is of no use before [Client.RegisterThing].
type NewCertificate struct {
	ID  string
	PEM string
	// PrivateKey is in PEM, if AWS IoT has made the key.
	PrivateKey identity.Secret
	// OwnershipToken proves to [Client.RegisterThing] whose certificate it is. It is valid for an hour.
	OwnershipToken identity.Secret
}

// A RegisteredThing is what a provisioning template has made.
type RegisteredThing struct {
	ThingName string
	// Configuration is the template's DeviceConfiguration.
	Configuration map[string]string
}

// CreateKeysAndCertificate makes AWS IoT make a key and a certificate. A device that makes its own key, and asks with
// [Client.CreateCertificateFromCSR], has one that nobody else has seen. Refusals are a [fairlead.PlatformError] with AWS IoT's error
// code; see [Shadow.Get] for other errors.
func (c *Client) CreateKeysAndCertificate(ctx context.Context) (*NewCertificate, error) {
	return c.certificate(ctx, "create keys and certificate", awswire.OpCreate, []byte("{}"))
}

// CreateCertificateFromCSR makes AWS IoT sign a certificate for the key of a request in PEM, see [identity.CSR].
func (c *Client) CreateCertificateFromCSR(ctx context.Context, csr []byte) (*NewCertificate, error) {
	return c.certificate(ctx, "create certificate from request", awswire.OpCreateFromCSR, awswire.AppendPayload(nil, awswire.CSRRequest{CertificateSigningRequest: string(csr)}))
}

func (c *Client) certificate(ctx context.Context, op string, what awswire.Op, payload []byte) (*NewCertificate, error) {
	t := awswire.Topic{Service: awswire.ServiceCertificates, Op: what, Format: awswire.FormatJSON}
	var r awswire.CertificateReply
	if err := c.provisioning(ctx, op, t, payload, true, &r); err != nil {
		return nil, err
	}
	if r.CertificatePEM == "" || r.CertificateOwnershipToken == "" {
		return nil, fmt.Errorf("%s: %w: the answer has no certificate or no token", op, fairlead.ErrUnavailable)
	}
	return &NewCertificate{r.CertificateID, r.CertificatePEM, identity.NewSecret(r.PrivateKey), identity.NewSecret(r.CertificateOwnershipToken)}, nil
}

// RegisterThing makes AWS IoT make a thing by a provisioning template, with a certificate that was created on this connection. Parameters
// are what the template asks for.
func (c *Client) RegisterThing(ctx context.Context, template string, ownershipToken identity.Secret, parameters map[string]string) (*RegisteredThing, error) {
	op := fmt.Sprintf("register thing by template %.40q", template)
	if !awswire.ValidTemplateName(template) || ownershipToken.IsZero() {
		return nil, fmt.Errorf("%s: %w: the template's name, or there is no ownership token", op, fairlead.ErrInvalid)
	}
	t := awswire.Topic{Service: awswire.ServiceProvisioning, Template: template, Op: awswire.OpProvision, Format: awswire.FormatJSON}
	payload := awswire.AppendPayload(nil, awswire.ProvisionRequest{CertificateOwnershipToken: ownershipToken.Reveal(), Parameters: parameters})
	var r awswire.ProvisionReply
	if err := c.provisioning(ctx, op, t, payload, false, &r); err != nil {
		return nil, err
	}
	return &RegisteredThing{r.ThingName, r.DeviceConfiguration}, nil
}

// provisioning asks AWS IoT. The answers carry no token, so there is one request at a time; and they may carry a private key, so the
// subscription does not stay.
func (c *Client) provisioning(ctx context.Context, op string, t awswire.Topic, payload []byte, again bool, into any) error {
	body, refusal, err := c.ask(ctx, &request{
		op: op, topic: t.String(), payload: payload, filters: []string{t.With(awswire.Accepted).String(), t.With(awswire.Rejected).String()}, oneShot: true,
		again: again, gate: c.requests.certify,
	})
	if err != nil {
		return err
	}
	if refusal != nil {
		var r awswire.ProvisionRejection
		if err := json.Unmarshal(refusal, &r); err != nil {
			return fmt.Errorf("%s: %w: refusal: %w", op, fairlead.ErrUnavailable, err)
		}
		code := r.ErrorCode
		if code == "" {
			code = strconv.Itoa(r.StatusCode)
		}
		return &fairlead.PlatformError{Op: op, Code: code, Detail: r.ErrorMessage, Kind: mqttclient.HTTPKind(r.StatusCode)}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w: answer: %w", op, fairlead.ErrUnavailable, err)
	}
	return nil
}

// A Provisioning says how [Provision] is to make a device. Template, KeyFile and CertificateFile are required, the former of the files
// unless there is a Key.
type Provisioning struct {
	// Template is the name of the provisioning template, and Parameters are what it asks for, such as a serial number.
	Template   string
	Parameters map[string]string
	// KeyFile and CertificateFile are where the device's identity is stored; load it with [identity.Load]. A key that is there is used.
	KeyFile, CertificateFile string
	// Key is a private key from elsewhere, such as a TPM. nil: the one in KeyFile, which is made if there is none.
	Key crypto.Signer
	// KeyFromAWS lets AWS IoT make the key. A key that is in KeyFile is replaced.
	KeyFromAWS bool
	// Subject is what the certificate is to say about the device.
	Subject pkix.Name
}

// A Provisioned is a new device.
type Provisioned struct {
	RegisteredThing
	// CertificateID is what AWS IoT calls the certificate.
	CertificateID string
	// Identity is for [Config.Identity].
	Identity *identity.Identity
}

// Provision makes a device of one that has but a claim certificate, which many share: it connects with cfg, whose Identity is the claim,
// gets a certificate of the device's own, registers the thing, stores the identity, and disconnects. What it returns is usable at once.
// Nothing is stored unless all went well, but for a key that was made: calling it again goes on with that one.
func Provision(ctx context.Context, cfg Config, p Provisioning) (*Provisioned, error) {
	if p.KeyFile == "" && (p.Key == nil || p.KeyFromAWS) || p.CertificateFile == "" {
		return nil, fmt.Errorf("provision: %w: KeyFile or CertificateFile is empty", fairlead.ErrInvalid)
	}
	cfg.CleanSession = true // an answer, perhaps with a private key, must not wait for whoever connects next with the same client ID
	c, err := New(cfg)
	if err != nil {
		return nil, fmt.Errorf("provision: %w", err)
	}
	running, disconnect := context.WithCancel(ctx)
	defer disconnect()
	var run sync.WaitGroup
	var ended error
	run.Go(func() {
		ended = c.Run(running)
		disconnect() // if it has given up
	})
	done, err := p.run(running, c)
	if !errors.Is(err, fairlead.ErrClosed) { // otherwise Run has given up, and is about to say why
		disconnect()
	}
	run.Wait()
	if err != nil {
		if ctx.Err() == nil {
			err = errors.Join(ended, err)
		}
		return nil, fmt.Errorf("provision: %w", err)
	}
	return done, nil
}

func (p *Provisioning) run(ctx context.Context, c *Client) (*Provisioned, error) {
	if err := c.Await(ctx); err != nil {
		return nil, err
	}
	key := p.Key
	var cert *NewCertificate
	var err error
	if p.KeyFromAWS {
		if cert, err = c.CreateKeysAndCertificate(ctx); err != nil {
			return nil, err
		}
		if key, err = identity.ParseKey([]byte(cert.PrivateKey.Reveal())); err != nil {
			return nil, err
		}
	} else {
		if key == nil {
			if key, err = identity.LoadOrMakeKey(p.KeyFile); err != nil {
				return nil, err
			}
		}
		csr, err := identity.CSR(key, identity.Request{Subject: p.Subject})
		if err != nil {
			return nil, err
		}
		if cert, err = c.CreateCertificateFromCSR(ctx, csr); err != nil {
			return nil, err
		}
	}
	chain, err := identity.ParseChain([]byte(cert.PEM))
	if err != nil {
		return nil, err
	}
	if err := identity.CheckFit(chain[0], key); err != nil {
		return nil, err
	}
	thing, err := c.RegisterThing(ctx, p.Template, cert.OwnershipToken, p.Parameters)
	if err != nil {
		return nil, err
	}
	done := &Provisioned{RegisteredThing: *thing, CertificateID: cert.ID}
	switch {
	case p.KeyFromAWS:
		done.Identity, err = identity.Save(p.KeyFile, p.CertificateFile, key, chain)
	case p.Key != nil:
		if err = identity.SaveChain(p.CertificateFile, chain); err == nil {
			done.Identity, err = identity.New(key, chain)
		}
	default:
		if err = identity.SaveChain(p.CertificateFile, chain); err == nil {
			done.Identity, err = identity.Load(p.KeyFile, p.CertificateFile)
		}
	}
	if err != nil {
		return nil, err
	}
	return done, nil
}
