// Package admin is the client of the hub's admin API, and the requests and responses of that API, which the server
// uses too.
//
//	c := admin.Client{URL: "https://localhost:8443", Token: token, HTTP: &http.Client{Transport: trustingTheHubsCA}}
//	st, err := c.Status(ctx)
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	Dialects      []string  `json:"dialects"`
	Devices       Devices   `json:"devices"`
	MQTT          MQTT      `json:"mqtt"`
	Commit        Commit    `json:"commit"`
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
	Status  int    `json:"-"`       // HTTP status code
	Kind    string `json:"kind"`    // as the hub names kinds of failure: "not found"
	Message string `json:"message"` // for people
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
const maxAnswerBytes = 16 << 20

// Status asks the hub how it is. A refusal is an [*Error].
func (c *Client) Status(ctx context.Context) (Status, error) {
	var st Status
	err := c.get(ctx, "/v1/status", &st)
	return st, err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	res, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("get %s: %w", path, err)
	case len(body) > maxAnswerBytes:
		return fmt.Errorf("get %s: answer is longer than %d bytes", path, maxAnswerBytes)
	case res.StatusCode != http.StatusOK:
		return refusal(res.StatusCode, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("get %s: %w", path, err)
	}
	return nil
}

// refusal reads the hub's error, and does what it can with an answer that something in between has made.
func refusal(status int, body []byte) error {
	var b ErrorBody
	if err := json.Unmarshal(body, &b); err != nil || b.Error.Message == "" {
		b.Error.Message = http.StatusText(status)
	}
	b.Error.Status = status
	return &b.Error
}

// IsUnauthenticated reports whether err says that the hub did not accept the token.
func IsUnauthenticated(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusUnauthorized
}
