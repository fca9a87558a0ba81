package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/commit"
	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/internal/mqtt"
)

// open does what comes before a session: handshake, CONNECT, sign-in, session. A refusal has been sent when it returns.
func (b *Broker) open(ctx context.Context, src *source, plain bool) (*conn, error) {
	claim := core.Claim{Remote: src.Remote(), Plain: plain}
	src.attempt = &attempt{stage: core.StageTLS, claim: claim}
	// Nobody may make us wait for longer than this, and a stopping hub waits for nobody.
	stop := context.AfterFunc(ctx, func() { src.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	src.nc.SetDeadline(time.Now().Add(b.cfg.ConnectTimeout))
	var c *conn
	err := guarded(b.log, func() (err error) { c, err = b.signIn(ctx, src, claim); return err })
	if err != nil {
		b.refused(src, err)
		src.finish()
		return nil, err
	}
	src.attempt = nil
	return c, nil
}

func (b *Broker) signIn(ctx context.Context, src *source, claim core.Claim) (*conn, error) {
	if t, ok := src.tls(); ok {
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		st := src.Handshake()
		claim.ServerName, claim.ALPN = st.ServerName, st.NegotiatedProtocol
		if len(st.PeerCertificates) > 0 {
			claim.Certificate = st.PeerCertificates[0]
		}
		src.nc.SetDeadline(time.Now().Add(b.cfg.ConnectTimeout))
	}
	if r := src.Web(); r != nil {
		claim.Path, claim.Web = r.Path, &core.WebRequest{Host: r.Host, Query: r.Query, Header: r.Header}
		defer src.Forget()
	}
	src.attempt.at(core.StageConnect, claim)
	c := &conn{b: b, src: src, welcomed: make(chan struct{}), stuck: make(chan struct{}), done: make(chan struct{}), left: make(chan struct{})}
	c.settled.L = &c.mu
	c.attach()
	c.frames = mqtt.NewFrameReader(c.buf, b.cfg.Limits.MaxPacketBytes)
	connect, err := c.readConnect()
	if err != nil {
		return nil, err
	}
	c.src.Busy(true)
	c.maxPacket, c.quiet = connect.MaximumPacketSize, connect.NoProblemInformation
	claim.Version, claim.ClientID, claim.CleanStart = uint8(connect.Version), connect.ClientID, connect.CleanStart
	claim.Keeps, claim.Will = sessionExpiry(connect) > 0, connect.Will != nil
	claim.Username, claim.HasUsername, claim.Password = connect.Username, connect.HasUsername, connect.Password
	src.attempt.at(core.StageSignIn, claim)
	if connect.AuthMethod.Present {
		err = c.authenticate(ctx, connect, claim)
	} else {
		err = c.claim(ctx, claim)
	}
	if err != nil {
		c.refuse(err)
		return nil, err
	}
	src.attempt.at(core.StageSession, claim)
	src.attempt.signedIn(c.grant)
	if err := c.accept(ctx, connect, claim); err != nil {
		c.refuse(err)
		return nil, err
	}
	return c, nil
}

// readConnect reads the first packet. It answers what is wrong with it, where MQTT has an answer.
func (c *conn) readConnect() (*mqtt.Connect, error) {
	// A look at the first byte, so that a client of another protocol need not send a packet's worth before it is told.
	if first, err := c.buf.Peek(1); err == nil && first[0] != byte(mqtt.TypeConnect)<<4 {
		return nil, fmt.Errorf("first byte is %#x, want CONNECT", first[0])
	}
	f, err := c.frames.Next()
	if err != nil {
		return nil, fmt.Errorf("wait for CONNECT: %w", err)
	}
	p := &mqtt.Connect{}
	err = p.Decode(f, 0)
	c.version = p.Version
	switch {
	case errors.Is(err, mqtt.ErrVersion): // [MQTT-3.1.2-2]; in a form that every client can read
		c.version = mqtt.V311
		c.reply(&mqtt.ConnAck{Code: mqtt.ConnAckBadVersion})
	case err != nil && c.version == mqtt.V5: // older versions have no code for it: the connection is just closed
		c.refuse(err)
	}
	if err != nil {
		return nil, fmt.Errorf("read CONNECT: %w", err)
	}
	if reason := badClientID(p); reason != "" {
		c.reply(&mqtt.ConnAck{Code: mqtt.ConnAckBadClientID})
		return nil, errors.New(reason)
	}
	return p, nil
}

// badClientID says what an older version has against the client identifier. In version 5 each is right, and an empty one
// is replaced.
func badClientID(p *mqtt.Connect) string {
	switch {
	case p.Version == mqtt.V311 && p.ClientID == "" && !p.CleanStart: // [MQTT-3.1.3-8]
		return "CONNECT has no client id and asks for a session that stays"
	case p.Version == mqtt.V31 && p.ClientID == "": // MQTT V3.1 section 3.1
		return "CONNECT of MQTT 3.1 without a client id"
	}
	return ""
}

// claim asks the dialects whose connection this is.
func (c *conn) claim(ctx context.Context, claim core.Claim) error {
	for _, d := range *c.b.dialects.Load() {
		if claim.Plain && !takesPlain(d) {
			continue
		}
		g, link, err := d.SignIn(ctx, claim)
		if errors.Is(err, dialect.ErrNotMine) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s sign-in: %w", d.Name(), err)
		}
		return c.grantTo(claim, d.Name(), g, link)
	}
	return core.ErrUnknownClient
}

// grantTo takes over what a dialect grants.
func (c *conn) grantTo(claim core.Claim, name string, g core.Grant, link dialect.Link) error {
	if !g.Profile.Serves(claim.Version) {
		return &core.AnswerError{Code: uint8(mqtt.ReasonUnsupportedVersion), Text: name + " does not serve this version of MQTT"}
	}
	if mqtt.Version(claim.Version) == mqtt.V31 && !g.Profile.LongClientIDs && utf8.RuneCountInString(claim.ClientID) > 23 { // MQTT V3.1 section 3.1
		return &core.AnswerError{ReturnCode: mqtt.ConnAckBadClientID, Text: "CONNECT of MQTT 3.1 with a client id of more than 23 characters", Kind: core.ErrInvalid}
	}
	if g.Session.ClientID == "" {
		g.Session.ClientID = "auto-" + rand.Text()
	}
	c.grant, c.link = g, link
	c.grant.Limits = limits(g.Limits, c.b.cfg.Limits)
	return nil
}

// takesPlain says which dialects may see what comes without TLS: those that say so.
func takesPlain(d dialect.Dialect) bool {
	p, ok := d.(dialect.Plain)
	return ok && p.TakesPlain()
}

// accept binds the connection to its session; CONNACK leaves with the commit.
func (c *conn) accept(ctx context.Context, p *mqtt.Connect, claim core.Claim) error {
	if err := c.checkWill(p.Will); err != nil {
		return err
	}
	if !c.b.arrivals.admit(c.grant.Session, c.grant.Limits.ConnectInterval) {
		c.b.stats.TooSoon.Add(1)
		return core.ErrReconnect
	}
	c.clean, c.will, c.addr = p.CleanStart, p.Will, claim.Remote.Addr().Unmap().String()
	c.heard = time.Now()
	if c.grant.Lifetime > 0 {
		c.ends = c.heard.Add(c.grant.Lifetime)
	}
	c.negotiate(p)
	c.stored = c.expiry > 0
	c.log = c.b.log.With("dialect", c.grant.Session.Dialect, "tenant", string(c.grant.Session.Tenant), "client", c.grant.Session.ClientID)
	c.frames.SetMax(c.grant.Limits.MaxPacketBytes)
	c.watch(claim)
	c.meterRates()
	c.b.joinBacklog(c)
	if err := c.b.evict(ctx, c); err != nil {
		c.b.leaveBacklog(c)
		return err
	}
	bind := c.b.cfg.Committer.Do
	if c.clean && !c.stored { // nothing that the connection takes over from its session
		bind = c.b.cfg.Committer.DoRepeatable
		if c.b.cfg.Pending.Open() >= crowd {
			bind = c.b.amongMany
		}
	}
	if err := bind(ctx, func(tx *commit.Tx) error { return c.b.bind(tx, c) }); err != nil {
		c.b.countFull(err)
		close(c.done)
		c.b.remove(c)
		c.b.leaveBacklog(c)
		return err
	}
	<-c.welcomed // nothing may be answered before CONNECT is
	c.greet()
	c.log.Info("connected", "remote", claim.Remote.String(), "version", c.version.String(), "clean", c.clean)
	return nil
}

// When many sign in at the same time, each of them waits a little, so that fewer transactions do for all.
const (
	crowd         = 8
	crowdPatience = time.Millisecond
)

func (b *Broker) amongMany(ctx context.Context, do func(*commit.Tx) error) error {
	return b.cfg.Committer.DoSoon(ctx, crowdPatience, do)
}

// evict ends the connection that has the session of c, and waits until everything it had read is settled, so that the
// new connection begins after the last word of the old. Then it enters c as the session's connection.
func (b *Broker) evict(ctx context.Context, c *conn) error {
	timeout := time.NewTimer(b.cfg.ConnectTimeout)
	defer timeout.Stop()
	for {
		b.mu.Lock()
		old := b.current[c.grant.Session]
		if old == nil {
			if most := b.cfg.MaxConnections; most > 0 && len(b.current) >= most {
				b.mu.Unlock()
				b.stats.Full.Add(1)
				return core.ErrFull
			}
			b.current[c.grant.Session] = c
			b.mu.Unlock()
			b.stats.Connections.Add(1)
			return nil
		}
		b.mu.Unlock()
		old.leave(takenOver)
		b.cfg.Committer.Hurry() // it may be ending anyway, see conn.unbind
		select {
		case <-old.done:
			b.remove(old)
		case <-old.stuck:
			return fmt.Errorf("the session's older connection cannot end: %w", core.ErrStorage)
		case <-timeout.C:
			return fmt.Errorf("the session's older connection does not end: %w", core.ErrStorage)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// remove lets the session's next connection in.
func (b *Broker) remove(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current[c.grant.Session] == c {
		delete(b.current, c.grant.Session)
		b.stats.Connections.Add(-1)
	}
}
