package awsiot

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/ca"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
	"github.com/fairlead-iot/fairlead/internal/sigv4"
)

const (
	// maxClientID is how many bytes a client id may have (AWS IoT Core quotas).
	maxClientID = 128
	// webSocketPath is where MQTT over WebSocket is.
	webSocketPath = "/mqtt"
	// signedLife is how long a connection lasts whose request was signed, and customLife one that an authorizer has let in
	// (AWS IoT Core quotas).
	signedLife = 24 * time.Hour
	customLife = 24 * time.Hour
)

// A caller is who has proven to be who signs in.
type caller struct {
	account   account
	principal string // "cert/ID", "accesskey/ID" or "authorizer/NAME"
	thing     string // that samples go to; "" none
	all       bool   // everything is allowed
	// load reads what the caller stands under, from a snapshot or in a transaction.
	load    func(rd store.RecordReader) (*papers, error)
	life    time.Duration // of the connection; 0: for ever
	expires string        // disconnectReason then
}

// SignIn implements dialect.Dialect.
func (d *Dialect) SignIn(ctx context.Context, c core.Claim) (core.Grant, dialect.Link, error) {
	if c.ClientID == "" {
		c.ClientID = newUUID()
	}
	who, seen, err := d.identify(ctx, c)
	if err != nil {
		return core.Grant{}, nil, err
	}
	return d.grant(ctx, c, who, seen)
}

// identify finds out who a client is. seen are the account's changes from before anything was read.
func (d *Dialect) identify(ctx context.Context, c core.Claim) (who *caller, seen uint64, err error) {
	login := parseLogin(c)
	switch {
	case d.isSigned(c):
		return d.bySignature(ctx, c)
	case login.custom:
		return d.byAuthorizer(ctx, c, login)
	case c.Certificate != nil:
		if who, seen, err = d.byCertificate(ctx, c); !errors.Is(err, dialect.ErrNotMine) {
			return who, seen, err
		}
	}
	return d.byAuthorizer(ctx, c, login)
}

// grant says what a connection may do.
func (d *Dialect) grant(ctx context.Context, c core.Claim, who *caller, seen uint64) (core.Grant, dialect.Link, error) {
	refuse := func(err error) (core.Grant, dialect.Link, error) {
		return core.Grant{}, nil, &core.SignInError{Device: deviceKey(who.account.Tenant, who.thing), Proven: true, Err: err}
	}
	clientID := c.ClientID
	if strings.HasPrefix(clientID, "$") || len(clientID) > maxClientID {
		return refuse(fmt.Errorf("%w: client id %.40q begins with $ or has more than %d bytes", core.ErrInvalid, clientID, maxClientID))
	}
	l := &link{
		d: d, seen: seen, load: who.load, id: newUUID(), expires: who.expires,
		sender: &sender{account: who.account, clientID: clientID, thing: who.thing, principal: who.principal},
		rules:  &rules{arn: who.account.arn(""), standing: d.standing(who.account.Tenant), all: who.all},
	}
	err := d.view(ctx, func(rd store.Reader) error {
		p, err := who.load(rd)
		if err != nil {
			return err
		}
		l.rules.papers.Store(p)
		return l.findDevice(rd)
	})
	if err != nil {
		return refuse(err)
	}
	if !l.rules.allows(&l.rules.sending, actionConnect, "client/"+clientID) {
		return refuse(d.mayNotConnect(l))
	}
	k, _ := l.session()
	return core.Grant{
		Session: k, Assigned: clientID, Device: l.device, Rules: l.rules, Retain: true, Lifetime: who.life, Profile: profile,
		Limits: d.limits(who.account),
	}, l, nil
}

// What the service takes of a connection in a second, and gives it (AWS IoT Core quotas: "publish requests per second per
// connection", of which those beyond "are discarded"; "throughput per second per connection", beyond which data "is delayed";
// "connect requests per second per client ID"). Each direction counts for itself, as the metrics PublishIn.Throttle and
// PublishOut.Throttle do.
const (
	serviceMessages = 100
	serviceBytes    = 512 << 10
	serviceConnects = time.Second // between two of a client id
)

// limits bounds what a connection can use.
func (d *Dialect) limits(a account) core.Limits {
	l := core.Limits{
		MaxPacketBytes: maxPacketBytes, Inflight: 100, ReceiveMaximum: 100, TopicAliases: 8, MaxFilters: 50, PacketFilters: 8,
		KeepAlive: 1200 * time.Second, MinKeepAlive: 30 * time.Second, SessionExpiry: a.sessionExpiry(),
	}
	if d.cfg.ServiceLimits {
		l.MessageRate, l.ByteRate, l.ConnectInterval = serviceMessages, serviceBytes, serviceConnects
	}
	return l
}

// maxPacketBytes is the remaining length of the largest packet, so that clients are told 149504 (awsiotsdk 1.31.0 takes it).
const maxPacketBytes = 149_500

// findDevice finds the device of the connection's thing, which samples are kept by.
func (l *link) findDevice(rd store.Reader) error {
	if l.thing == "" {
		return nil
	}
	k := deviceKey(l.tenant(), l.thing)
	dev, err := rd.Device(k)
	if errors.Is(err, core.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	l.device, l.line = dev.Num, l.d.feed.Line(k, dev.Num)
	return nil
}

// isSigned reports whether the request of a WebSocket is signed, or meant to be.
func (d *Dialect) isSigned(c core.Claim) bool {
	return c.Web != nil && c.Path == webSocketPath && sigv4.Signed(webRequest(c))
}

func webRequest(c core.Claim) *sigv4.Request {
	return &sigv4.Request{Method: http.MethodGet, Path: c.Path, Query: c.Web.Query, Host: c.Web.Host, Header: c.Web.Header}
}

// Upgrade implements dialect.Upgrader: a request for a WebSocket that is signed wrongly gets an answer in HTTP.
// (AWSIoTPythonSDK 1.6.2 spins for ever if it gets none.)
func (d *Dialect) Upgrade(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.EscapedPath() != webSocketPath {
		return true
	}
	req := &sigv4.Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Header: r.Header}
	if !sigv4.Signed(req) {
		return true
	}
	if _, err := d.verifySigned(r.Context(), req, serviceData, serviceGateway); err != nil {
		d.refuseUpgrade(w, r, err)
		return false
	}
	return true
}

// bySignature finds the access key that has signed a WebSocket's request. Whoever has one may do everything; whoever has a pass
// what the certificate may that it stands for.
func (d *Dialect) bySignature(ctx context.Context, c core.Claim) (*caller, uint64, error) {
	s, err := d.verifySigned(ctx, webRequest(c), serviceData, serviceGateway)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", core.ErrUnauthenticated, err)
	}
	if s.certificate != "" {
		return d.byPass(ctx, c, s)
	}
	seen := d.standing(s.account.Tenant).changes.Load()
	v, life := d.valuesOf(c), signedLife
	if ends := s.key.Expires; !ends.IsZero() {
		life = max(min(life, ends.Sub(d.cfg.Now())), 1)
	}
	return &caller{
		account: s.account, principal: s.principal(), all: true, life: life, expires: "WEBSOCKET_TTL_EXPIRATION",
		thing: thingName(c.ClientID),
		load: func(rd store.RecordReader) (*papers, error) {
			known, err := hasRecord(rd, s.account.Tenant, keyAccessKey+s.key.ID)
			if err == nil && !known {
				err = fmt.Errorf("%w: access key %s has been deleted", core.ErrUnauthenticated, s.key.ID)
			}
			return &papers{values: v}, err
		},
	}, seen, nil
}

// byPass has a connection stand for a certificate: it ends with it, like those that have shown it.
func (d *Dialect) byPass(ctx context.Context, c core.Claim, s *signer) (*caller, uint64, error) {
	crt, leaf, err := d.leafOf(ctx, s.account.Tenant, s.certificate)
	if err != nil {
		return nil, 0, err
	}
	c.Certificate = leaf
	who, seen, err := d.ofCertificate(ctx, c, s.account, crt)
	if err == nil {
		who.life, who.expires = max(min(who.life, signedLife, s.key.Expires.Sub(d.cfg.Now())), 1), "WEBSOCKET_TTL_EXPIRATION"
	}
	return who, seen, err
}

// thingName returns the name of the thing that a client id would be that of, "" if it can be none's.
func thingName(clientID string) string {
	if core.DeviceID(clientID).Validate() != nil {
		return ""
	}
	return clientID
}

// valuesOf returns what policies may ask of any connection.
func (d *Dialect) valuesOf(c core.Claim) values {
	v := values{clientID: c.ClientID, sourceIP: c.Remote.Addr().Unmap().String(), domain: c.ServerName}
	if c.Keeps {
		v.connect = append(v.connect, "PersistentConnect")
	}
	if c.Will {
		v.connect = append(v.connect, "LastWill")
	}
	return v
}

// A silent refusal closes the connection without CONNACK, as the platform does with certificates that open nothing.
func silent(text, help string) error {
	return &core.HelpError{Text: text, Help: help, Err: &core.AnswerError{Silent: true, Kind: core.ErrDenied}}
}

// isRefusal reports whether an error means that the caller may not come in, and not that this could not be found out.
func isRefusal(err error) bool {
	return errors.Is(err, core.ErrDenied) || errors.Is(err, core.ErrUnauthenticated)
}

// mayNotConnect says that no policy lets the client in.
func (d *Dialect) mayNotConnect(l *link) error {
	return &core.HelpError{
		Text: fmt.Sprintf("no policy of %s allows iot:Connect on client/%.128s", l.principal, l.clientID),
		Help: "See which policies it has with `aws iot list-attached-policies --target ARN`, and whether one of them allows " + actionConnect + " on " + l.account.arn("client/"+l.clientID) + ".",
		Err:  core.ErrDenied,
	}
}

// byCertificate finds a certificate on record.
func (d *Dialect) byCertificate(ctx context.Context, c core.Claim) (*caller, uint64, error) {
	if d.elsewhere(c.Certificate) {
		return nil, 0, dialect.ErrNotMine // without a look at what is on record: it is none of ours
	}
	a, crt, err := d.findCertificate(ctx, c.ServerName, c.Certificate)
	if errors.Is(err, core.ErrNotFound) {
		return nil, 0, d.unknownCertificate(ctx, c)
	} else if err != nil {
		return nil, 0, err
	}
	if crt.Status == statusPendingActivation && crt.CA != "" && d.validNow(c.Certificate) {
		if err := d.announce(ctx, a, crt); err != nil {
			return nil, 0, err
		}
	}
	return d.ofCertificate(ctx, c, a, crt)
}

// validNow reports whether it is in a certificate's time.
func (d *Dialect) validNow(crt *x509.Certificate) bool {
	now := d.cfg.Now()
	return !now.After(crt.NotAfter) && !now.Before(crt.NotBefore)
}

// ofCertificate returns the caller that a certificate on record is, or stands for.
func (d *Dialect) ofCertificate(ctx context.Context, c core.Claim, a account, crt certificate) (*caller, uint64, error) {
	id := crt.ID
	if !d.validNow(c.Certificate) {
		err := silent("certificate "+id+" is not valid now", "Make another one: `aws iot create-keys-and-certificate --set-as-active`.")
		return nil, 0, &core.SignInError{Device: core.DeviceKey{Tenant: a.Tenant, Dialect: Name}, Proven: true, Err: err}
	}
	seen := d.standing(a.Tenant).changes.Load()
	v := d.valuesOf(c)
	v.certificate = c.Certificate
	ends := c.Certificate.NotAfter
	if !crt.ClaimEnds.IsZero() && crt.ClaimEnds.Before(ends) {
		ends = crt.ClaimEnds
	}
	who := &caller{account: a, principal: certResource + id, life: max(ends.Sub(d.cfg.Now()), 1)}
	who.load = func(rd store.RecordReader) (*papers, error) { return d.papersOf(rd, a.Tenant, id, v) }
	err := d.view(ctx, func(rd store.Reader) (err error) {
		who.thing, err = sampleThing(rd, a.Tenant, who.principal, c.ClientID)
		return err
	})
	return who, seen, err
}

// papersOf reads what a certificate stands under: its policies, and those of the groups of its thing. A certificate that is
// not ACTIVE opens nothing.
func (d *Dialect) papersOf(rd store.RecordReader, t core.TenantID, id string, v values) (*papers, error) {
	crt, err := readCertificate(rd, t, id)
	switch {
	case errors.Is(err, core.ErrNotFound):
		return nil, silent("certificate "+id+" has been deleted", "Register it again, or give the device another one.")
	case err != nil:
		return nil, err
	case crt.Status != statusActive:
		return nil, silent("certificate "+id+" is "+crt.Status, "Activate it: `aws iot update-certificate --new-status ACTIVE --certificate-id "+id+"`.")
	case !crt.ClaimEnds.IsZero() && d.cfg.Now().After(crt.ClaimEnds):
		return nil, silent("claim certificate "+id+" is good no more", "Make another one: `aws iot create-provisioning-claim`.")
	}
	targets := []string{certResource + id}
	p := &papers{values: v}
	x, attached, err := connectionThing(rd, t, certResource+id, v.clientID)
	if err != nil {
		return nil, err
	}
	if x != nil {
		p.values.thing, p.values.attached = x, attached
		p.names = append(p.names, keyThing+x.Name)
		groups, err := allGroups(rd, t, x.Name)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			targets = append(targets, groupResource+g)
			p.names = append(p.names, groupResource+g)
		}
	}
	if crt.Claim != "" {
		slot, err := claimSlot(rd, t, crt.Claim)
		if err != nil {
			return nil, err
		}
		p.policies = append(p.policies, slot)
	}
	seen := map[string]bool{}
	for _, target := range targets {
		list, _, err := policiesOf(rd, t, target, "", 0)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			if seen[name] {
				continue
			}
			seen[name] = true
			slot, err := d.slot(rd, t, name)
			if err != nil {
				return nil, err
			}
			p.policies = append(p.policies, slot)
		}
	}
	return p, nil
}

// connectionThing returns the thing of a connection: the one that the principal is attached to exclusively, or else the one
// of the client id's name, if it is attached; nil if there is none. (AWS IoT guide, "Thing policy variables".)
func connectionThing(rd store.RecordReader, t core.TenantID, principal, clientID string) (*thing, bool, error) {
	// There may be very many things: this is asked at each sign-in, and for each connection when one more is attached.
	list, err := someThings(rd, t, principal, 2)
	if err != nil {
		return nil, false, err
	}
	name := thingName(clientID)
	if i := slices.IndexFunc(list, func(a attachment) bool { return a.Exclusive }); i >= 0 {
		name = list[i].Thing
	} else if name != "" {
		if attached, err := hasRecord(rd, t, keyPrincipalThing+principal+"/"+name); err != nil || !attached {
			return nil, false, err
		}
	}
	if name == "" || len(list) == 0 {
		return nil, false, nil
	}
	x, err := readThing(rd, t, name)
	if found, err := present(err); err != nil || !found {
		return nil, false, err
	}
	return &x, true, nil
}

// sampleThing returns the thing that a connection's samples are: that of the connection, or else the only one that the principal
// is attached to.
func sampleThing(rd store.RecordReader, t core.TenantID, principal, clientID string) (string, error) {
	x, _, err := connectionThing(rd, t, principal, clientID)
	if err != nil || x != nil {
		if x == nil {
			return "", err
		}
		return x.Name, err
	}
	list, err := someThings(rd, t, principal, 2)
	if err != nil || len(list) != 1 {
		return "", err
	}
	return list[0].Thing, nil
}

// allGroups returns the groups of a thing, with those above them.
func allGroups(rd store.RecordReader, t core.TenantID, thing string) ([]string, error) {
	direct, err := groupsOfThing(rd, t, thing)
	if err != nil {
		return nil, err
	}
	list := direct
	for _, name := range direct {
		g, err := readThingGroup(rd, t, name)
		if errors.Is(err, core.ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		above, err := rootToParent(rd, t, g)
		if err != nil && !errors.Is(err, core.ErrNotFound) {
			return nil, err
		}
		for _, g := range above {
			list = append(list, g.Name)
		}
	}
	return list, nil
}

// unknownCertificate refuses a certificate that is on no account's record, if it is for us to judge. One that an authority has
// signed which an account lets register its devices is put on record first.
func (d *Dialect) unknownCertificate(ctx context.Context, c core.Claim) error {
	issuer, err := d.issuer(ctx, c.ServerName, c.Certificate)
	if err != nil && !errors.Is(err, ca.ErrUnknownIssuer) {
		return err
	}
	if issuer != nil {
		if !issuer.AutoRegister {
			return silent("certificate of a registered authority is not on record, and the authority does not register devices",
				"Register the certificate, or let the authority do so: `aws iot update-ca-certificate --new-auto-registration-status ENABLE --certificate-id "+issuer.ID+"`.")
		}
		return d.registerUnknown(ctx, issuer, c.Certificate)
	}
	if c.Certificate.Subject.CommonName == issuedName && d.cfg.CA.Verify(c.Certificate) == nil {
		return silent("certificate "+certificateID(c.Certificate.Raw)+" is on record no more", "It was deleted. Make another one: `aws iot create-keys-and-certificate --set-as-active`.")
	}
	return dialect.ErrNotMine
}

// VerifyForeign implements dialect.Verifier: certificates of others are those that are on record, and those that a registered
// authority has signed. Whether they open anything is decided when the client signs in.
func (d *Dialect) VerifyForeign(ctx context.Context, leaf *x509.Certificate) error {
	_, _, err := d.findCertificate(ctx, "", leaf)
	if errors.Is(err, core.ErrNotFound) {
		_, err = d.issuerOf(ctx, leaf, func(*authority) bool { return true }) // the server name is not known here
	}
	return err
}
