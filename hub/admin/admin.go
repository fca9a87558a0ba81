// Package admin is the client of the hub's admin API, and the requests and responses of that API, which the server
// uses too.
//
//	c := admin.Client{URL: "https://localhost:8443", Token: token, HTTP: &http.Client{Transport: trustingTheHubsCA}}
//	st, err := c.Status(ctx)
package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Status is what a hub says of itself: GET /v1/status. Counters begin at zero when the hub starts.
type Status struct {
	Version       string    `json:"version"`
	Started       time.Time `json:"started"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	Ready         bool      `json:"ready"`            // storage accepts writes and the hub is not stopping
	Reason        string    `json:"reason,omitempty"` // why it is not ready
	// What is wrong although it is ready, for people.
	Warnings  []string  `json:"warnings,omitempty"`
	Addresses Addresses `json:"addresses"`
	// The tenant of plain MQTT devices whose user names have none; absent: such names open nothing.
	DefaultTenant string   `json:"default_tenant,omitempty"`
	Dialects      []string `json:"dialects"`
	Devices       Devices  `json:"devices"`
	MQTT          MQTT     `json:"mqtt"`
	Commit        Commit   `json:"commit"`
	Storage       Storage  `json:"storage"`
}

// Addresses are where a hub is reached, by the name that it has for itself.
type Addresses struct {
	URL     string `json:"url"`      // of all HTTP APIs: "https://localhost:8443"
	MQTT    string `json:"mqtt"`     // over TLS: "mqtts://localhost:8883"
	MQTTWeb string `json:"mqtt_web"` // over WebSocket: "wss://localhost:8443/mqtt"
	// Without TLS: "mqtt://127.0.0.1:1883"; absent if nowhere.
	MQTTPlain string `json:"mqtt_plain,omitempty"`
}

// Storage says what the database takes, and how long data is kept. Numbers about its inside are some seconds old.
type Storage struct {
	// The size of the database's file and of its log.
	DatabaseBytes int64 `json:"database_bytes"`
	LogBytes      int64 `json:"log_bytes"`
	// What of the database holds data, and what in it is free for new data.
	UsedBytes     int64 `json:"used_bytes"`
	ReusableBytes int64 `json:"reusable_bytes"`
	// The disk that it is on; absent where that is not known.
	DiskBytes     int64 `json:"disk_bytes,omitempty"`
	DiskFreeBytes int64 `json:"disk_free_bytes,omitempty"`
	// When used_bytes reaches this, the oldest samples go; absent: they do not.
	SampleLimitBytes int64 `json:"sample_limit_bytes,omitempty"`
	// When a tenant's samples reach this, its oldest go; absent: they do not.
	TenantLimitBytes int64 `json:"tenant_limit_bytes,omitempty"`
	// What the samples of the tenant that has most take; absent: not looked at, because no limit is near.
	LargestTenantBytes int64 `json:"largest_tenant_bytes,omitempty"`
	// Samples go when they are so old; absent: they do not.
	SampleAgeSeconds float64 `json:"sample_age_seconds,omitempty"`
	// Whether samples are dropped for the size of the database.
	Limiting bool `json:"limiting"`
	// With less free than this, on the disk and in the database together, writes are refused; absent: they are not.
	MinFreeBytes int64 `json:"min_free_bytes,omitempty"`
	// Whether writes are refused for that.
	Refusing bool `json:"refusing"`
	// When the oldest samples that are kept were received; absent: there are none.
	OldestSamples Time `json:"oldest_samples,omitzero"`
	// How many events are kept, and the number of the oldest one.
	Events      int64 `json:"events"`
	OldestEvent int64 `json:"oldest_event,omitempty"`
	// What was dropped since the start.
	SamplesDropped int64 `json:"samples_dropped"`
	EventsDropped  int64 `json:"events_dropped"`
}

// Devices counts the devices of all tenants.
type Devices struct {
	Total     int `json:"total"`
	Connected int `json:"connected"`
}

// MQTT says what the broker is doing and has done.
type MQTT struct {
	Connections int64 `json:"connections"` // open now
	Sessions    int64 `json:"sessions"`    // now, connected or not
	MessagesIn  int64 `json:"messages_in"`
	MessagesOut int64 `json:"messages_out"`
	Dropped     int64 `json:"dropped"` // messages that a full queue or a slow client lost
}

// Commit says what the group commit has done. Batches per commit tell how well the cost of a sync is shared.
type Commit struct {
	Commits  int64 `json:"commits"`
	Batches  int64 `json:"batches"`
	Failures int64 `json:"failures"`
}

// An Error is an answer of the admin API that is no success.
type Error struct {
	// The HTTP status code.
	Status int `json:"-"`
	// How the hub names the kind of failure: "not found". Programs go by this and by the status code.
	Kind string `json:"kind"`
	// What was wrong, for people.
	Message string `json:"message"`
	// What to do about it, for people.
	Help string `json:"help"`
	// How long to wait before trying again; 0 if the hub gave no time.
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("hub answered %d: %s", e.Status, e.Message)
}

// ErrorBody is the JSON form of an [Error].
type ErrorBody struct {
	Error Error `json:"error"`
}

// Client calls the admin API of one hub. All fields are required. Its methods may be called concurrently.
type Client struct {
	URL   string // "https://localhost:8443"
	Token string
	HTTP  *http.Client
}

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 32 << 20

// Status asks the hub how it is. A refusal is an [*Error].
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	err := c.get(ctx, "/v1/status", &st)
	return st, err
}

// Addresses tells where the hub is reached, which tokens of one tenant may ask too.
func (c *Client) Addresses(ctx context.Context) (Addresses, error) {
	var a Addresses
	err := c.get(ctx, "/v1/addresses", &a)
	return a, err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.call(ctx, http.MethodGet, path, nil, into)
}

// call sends a request, with body as JSON unless that is nil, and reads the answer into into unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, body, into any) error {
	answer, err := c.raw(ctx, method, path, body)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: %w", strings.ToLower(method), path, err)
	}
	return nil
}

// raw is call for the bytes of the answer.
func (c *Client) raw(ctx context.Context, method, path string, body any) ([]byte, error) {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", strings.ToLower(method), path, err)
	case len(answer) > maxAnswerBytes:
		return nil, fmt.Errorf("%s %s: answer is longer than %d bytes", strings.ToLower(method), path, maxAnswerBytes)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return nil, refusal(res, answer)
	}
	return answer, nil
}

func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", strings.ToLower(method), path, err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// refusal reads the hub's error, and does what it can with an answer that something in between has made.
func refusal(res *http.Response, body []byte) error {
	var b ErrorBody
	if err := json.Unmarshal(body, &b); err != nil || b.Error.Message == "" {
		b.Error.Message = http.StatusText(res.StatusCode)
	}
	b.Error.Status = res.StatusCode
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 && n < 1<<20 {
		b.Error.RetryAfter = time.Duration(n) * time.Second
	}
	return &b.Error
}

// IsUnauthenticated reports whether err says that the hub did not accept the token.
func IsUnauthenticated(err error) bool { return hasStatus(err, http.StatusUnauthorized) }

// IsNotFound reports whether err says that there is no such thing, or that the token must not see it.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

func hasStatus(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == code
}
