// Package trace sends spans to an OpenTelemetry collector: one for each HTTP request, and one for each transaction, never
// for a message. It is off by default and then costs nothing: what would make spans is not called.
package trace

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config configures [New]. Endpoint is required.
type Config struct {
	// Endpoint is the URL of the collector's OTLP/HTTP receiver: "http://localhost:4318". Without a path it is /v1/traces.
	Endpoint string
	Version  string       // of the hub
	Client   *http.Client // nil: one with a timeout of ten seconds
	Logger   *slog.Logger // nil: discard
}

// A Tracer makes spans and sends them in the background. How many wait is bounded; more are dropped.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	context  propagation.TraceContext
}

// New returns a Tracer. No span is sent yet; [Tracer.Close] sends the last ones.
func New(cfg Config) (*Tracer, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("trace endpoint %q: want a URL such as http://localhost:4318", cfg.Endpoint)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second}
	}
	e := &exporter{url: u.String(), version: cfg.Version, client: cfg.Client, log: cfg.Logger}
	p := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(e),
		// The caller's wish not to be traced is respected; that he wishes to be, changes nothing.
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
	)
	return &Tracer{provider: p, tracer: p.Tracer("github.com/fairlead-iot/fairlead/hub")}, nil
}

// Close sends what waits, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Handler makes a span of each request. The query, which may hold anything, is not in it.
func (t *Tracer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := t.context.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, "HTTP "+method(r.Method), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("http.request.method", method(r.Method)), attribute.String("url.path", cut(r.URL.Path)),
		))
		defer span.End()
		sw := &statusWriter{ResponseWriter: w}
		r = r.WithContext(ctx)
		next.ServeHTTP(sw, r)
		if route := r.Pattern[strings.IndexByte(r.Pattern, ' ')+1:]; route != "" { // a few patterns, where paths are many
			span.SetName(method(r.Method) + " " + route)
			span.SetAttributes(attribute.String("http.route", route))
		}
		if sw.status == 0 {
			sw.status = http.StatusOK
		}
		span.SetAttributes(attribute.Int("http.response.status_code", sw.status))
		if sw.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	})
}

// method keeps names of spans few: anybody can make up methods.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "_OTHER"
}

func cut(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 256)], "�")
}

// statusWriter remembers the status code. http.ResponseController finds the rest of the writer by Unwrap.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the writer that is wrapped.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Commit makes a span of a transaction that has just ended.
func (t *Tracer) Commit(begun time.Time, batches, operations int, err error) {
	_, span := t.tracer.Start(context.Background(), "commit", trace.WithTimestamp(begun), trace.WithAttributes(
		attribute.Int("fairlead.batches", batches), attribute.Int("fairlead.operations", operations),
	))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
