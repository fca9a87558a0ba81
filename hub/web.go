package hub

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/admin"
	"github.com/fairlead-iot/fairlead/hub/internal/api"
	"github.com/fairlead-iot/fairlead/hub/internal/dialect"
	"github.com/fairlead-iot/fairlead/hub/internal/listen"
	"github.com/fairlead-iot/fairlead/hub/internal/store"
)

// Limits of HTTP requests, whatever the dialect; see also [Limits]. Official SDKs wait 30 s for an answer.
const (
	readTimeout  = time.Minute
	writeTimeout = 5 * time.Minute // long queries on slow lines
	idleTimeout  = 2 * time.Minute
	maxBodyBytes = 16 << 20
)

// getCertificate is the field of that name in tls.Config.
type getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error)

// httpServer is the one server for the APIs of the hub and of all dialects.
func (h *Hub) httpServer(p *parts) *http.Server {
	var stats api.Stats
	own := api.New(api.Config{
		Token:      p.token,
		Ready:      func() error { return h.health(p) },
		Status:     func(ctx context.Context) (admin.Status, error) { return h.status(ctx, p) },
		Backup:     func(ctx context.Context) (api.Backup, error) { return h.backup(ctx, p) },
		Store:      p.store,
		Committer:  p.committer,
		Broker:     p.broker,
		Directors:  that[api.Director](p.dialects),
		Describers: that[dialect.Describer](p.dialects),
		Curators:   that[dialect.Curator](p.dialects),
		CA:         p.ca,
		Hasher:     p.hasher,
		Keys:       p.keys,
		Refusals:   p.refusals,
		Deleted:    p.sweeper.Wake,
		Metrics:    h.metrics(p, &stats),
		Stats:      &stats,
		Served:     "the APIs of " + strings.Join(p.names(), ", "),
		Logger:     h.cfg.Logger,
	})
	log := h.cfg.Logger.With("server", "https")
	handler := route(p.dialects, own)
	if p.tracer != nil { // inside of what copies requests: it reads which pattern was found
		handler = p.tracer.Handler(handler)
	}
	handler = http.MaxBytesHandler(handler, maxBodyBytes)
	web := &http.Server{
		Handler:           survive(log, h.webSockets(p, handler)),
		TLSConfig:         p.httpsTLS(), // the handshakes are the front's; this says that HTTP/2 was negotiated there
		ReadHeaderTimeout: p.limits.HeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    p.limits.HeaderBytes,
		ConnState:         listen.State,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // handshakes that strangers broke off
	}
	web.RegisterOnShutdown(own.Stop)
	return web
}

// route gives each request to the first dialect that wants it, and the rest to the hub's own API.
func route(dialects []dialect.Dialect, own http.Handler) http.Handler {
	type target struct {
		dialect.Dialect
		handler http.Handler
	}
	var targets []target
	for _, d := range dialects {
		if handler := d.Handler(); handler != nil {
			targets = append(targets, target{d, handler})
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, t := range targets {
			if t.Serves(r) {
				t.handler.ServeHTTP(w, r)
				return
			}
		}
		own.ServeHTTP(w, r)
	})
}

// survive logs a panic as the mistake of ours that it is, where net/http would leave it to the log of broken handshakes.
func survive(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause != http.ErrAbortHandler { //nolint:errorlint // a value to panic with, compared as net/http does
				log.Error("panic while serving a request", "method", r.Method, "path", r.URL.Path,
					"panic", fmt.Sprint(cause), "stack", string(bytes.TrimSpace(debug.Stack())))
			}
			panic(http.ErrAbortHandler) // the connection is in no state to go on
		}()
		next.ServeHTTP(w, r)
	})
}

// status collects what the hub says of itself.
func (h *Hub) status(ctx context.Context, p *parts) (admin.Status, error) {
	mqtt, commits := p.broker.Stats(), p.committer.Stats()
	st := admin.Status{
		Version:       h.state.Version,
		Started:       h.state.Started,
		UptimeSeconds: time.Since(h.state.Started).Round(time.Millisecond).Seconds(),
		Ready:         true,
		Addresses:     admin.Addresses{URL: h.state.URL, MQTT: h.state.MQTT, MQTTWeb: h.state.MQTTWeb, MQTTPlain: h.state.MQTTPlain},
		DefaultTenant: string(h.defaultTenant()),
		Dialects:      p.names(),
		MQTT: admin.MQTT{
			Connections: mqtt.Connections.Load(),
			Sessions:    mqtt.Sessions.Load(),
			MessagesIn:  mqtt.MessagesIn.Load(),
			MessagesOut: mqtt.MessagesOut.Load(),
			Dropped:     mqtt.Dropped.Load(),
		},
		Commit: admin.Commit{
			Commits:  commits.Commits.Load(),
			Batches:  commits.Batches.Load(),
			Failures: commits.Failures.Load(),
		},
	}
	st.Storage = h.storage(p)
	if err := h.health(p); err != nil {
		st.Ready, st.Reason = false, err.Error()
	}
	err := p.store.View(ctx, func(rd store.Reader) error {
		if text, err := h.lostDefaultTenant(rd); err != nil {
			return err
		} else if text != "" {
			st.Warnings = append(st.Warnings, text)
		}
		tenants, err := rd.Tenants()
		if err != nil {
			return err
		}
		for _, t := range tenants {
			total, connected, err := rd.CountDevices(t.ID, "")
			if err != nil {
				return err
			}
			st.Devices.Total += total
			st.Devices.Connected += connected
		}
		return nil
	})
	return st, err
}

// storage says what the database takes. A disk that does not say so is no reason to say nothing of the rest.
func (h *Hub) storage(p *parts) admin.Storage {
	database, log, _ := p.store.Size()
	k, stats := p.keeper.Status(), p.keeper.Stats()
	return admin.Storage{
		DatabaseBytes:    database,
		LogBytes:         log,
		UsedBytes:        k.Used,
		ReusableBytes:    k.Reusable,
		DiskBytes:        k.DiskSize,
		DiskFreeBytes:    k.DiskFree,
		SampleLimitBytes: k.SampleLimit, TenantLimitBytes: k.TenantLimit, LargestTenantBytes: k.Largest,
		SampleAgeSeconds: max(0, h.cfg.Retention.SampleAge.Seconds()),
		Limiting:         k.Limiting,
		MinFreeBytes:     k.MinFree,
		Refusing:         k.Refusing,
		OldestSamples:    admin.NewTime(k.Oldest),
		Events:           k.Events,
		OldestEvent:      k.OldestEvent,
		SamplesDropped:   stats.Samples.Load(),
		EventsDropped:    stats.Events.Load(),
	}
}

// that returns the dialects that have a power of their own, by name.
func that[T any](dialects []dialect.Dialect) map[string]T {
	found := map[string]T{}
	for _, d := range dialects {
		if one, ok := d.(T); ok {
			found[d.Name()] = one
		}
	}
	return found
}

// names lists the dialects, in the order in which they are asked.
func (p *parts) names() []string {
	var names []string
	for _, d := range p.dialects {
		names = append(names, d.Name())
	}
	return names
}
