package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// An exporter sends spans as OTLP over HTTP in its JSON encoding (OpenTelemetry Protocol 1.9, "JSON Protobuf Encoding"):
// identifiers in hexadecimal, 64-bit numbers as text. Why not the one of OpenTelemetry: decision 0008.
type exporter struct {
	url, version string
	client       *http.Client
	log          *slog.Logger
	failing      atomic.Bool
}

// ExportSpans implements sdktrace.SpanExporter. It keeps failures to itself, or OpenTelemetry would write them to stderr:
// the first one is logged, until it works again.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.send(ctx, spans); err != nil {
		if !e.failing.Swap(true) {
			e.log.Warn("cannot send traces; they are dropped until it works again", "url", e.url, "err", err)
		}
		return nil
	}
	if e.failing.Swap(false) {
		e.log.Info("traces are sent again", "url", e.url)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

func (e *exporter) send(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	body, err := json.Marshal(e.encode(spans))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answered %s", res.Status)
	}
	return nil
}

// The messages of OTLP, as far as they are used.
type (
	tracesData struct {
		ResourceSpans []resourceSpans `json:"resourceSpans"`
	}
	resourceSpans struct {
		Resource   resource     `json:"resource"`
		ScopeSpans []scopeSpans `json:"scopeSpans"`
	}
	resource struct {
		Attributes []keyValue `json:"attributes"`
	}
	scopeSpans struct {
		Scope scope  `json:"scope"`
		Spans []span `json:"spans"`
	}
	scope struct {
		Name string `json:"name"`
	}
	span struct {
		TraceID    string     `json:"traceId"`
		SpanID     string     `json:"spanId"`
		ParentID   string     `json:"parentSpanId,omitempty"`
		Name       string     `json:"name"`
		Kind       int        `json:"kind"`
		Start      string     `json:"startTimeUnixNano"`
		End        string     `json:"endTimeUnixNano"`
		Attributes []keyValue `json:"attributes,omitempty"`
		Status     *status    `json:"status,omitempty"`
	}
	status struct {
		Code    int    `json:"code"`
		Message string `json:"message,omitempty"`
	}
	keyValue struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
)

func (e *exporter) encode(spans []sdktrace.ReadOnlySpan) tracesData {
	sc := scopeSpans{Scope: scope{Name: "github.com/fairlead-iot/fairlead/hub"}}
	for _, s := range spans {
		x := span{
			TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(), Name: s.Name(),
			Kind: int(s.SpanKind()), Start: nanos(s.StartTime()), End: nanos(s.EndTime()),
		}
		if s.Parent().SpanID().IsValid() {
			x.ParentID = s.Parent().SpanID().String()
		}
		for _, a := range s.Attributes() {
			x.Attributes = append(x.Attributes, attributeOf(a))
		}
		if st := s.Status(); st.Code == codes.Error {
			x.Status = &status{Code: 2, Message: st.Description} // STATUS_CODE_ERROR
		}
		sc.Spans = append(sc.Spans, x)
	}
	res := resource{Attributes: []keyValue{
		{"service.name", map[string]string{"stringValue": "fairlead"}},
		{"service.version", map[string]string{"stringValue": e.version}},
	}}
	return tracesData{[]resourceSpans{{Resource: res, ScopeSpans: []scopeSpans{sc}}}}
}

func nanos(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// attributeOf encodes an attribute; this package makes texts and whole numbers only.
func attributeOf(a attribute.KeyValue) keyValue {
	if a.Value.Type() == attribute.INT64 {
		return keyValue{string(a.Key), map[string]string{"intValue": strconv.FormatInt(a.Value.AsInt64(), 10)}}
	}
	return keyValue{string(a.Key), map[string]string{"stringValue": a.Value.String()}}
}
