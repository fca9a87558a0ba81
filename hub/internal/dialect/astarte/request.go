package astarte

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
)

// maxBodyBytes bounds the bodies of requests; they are read only after the caller has been let in.
const maxBodyBytes = 1 << 20

// Why a request is refused for its form.
var (
	errBadRequest    = fmt.Errorf("%w: malformed request", core.ErrInvalid)
	errNotAcceptable = fmt.Errorf("%w: only JSON is served", core.ErrInvalid)
	errMediaType     = fmt.Errorf("%w: body is not JSON", core.ErrInvalid)
	errBodyTooLarge  = fmt.Errorf("%w: body", core.ErrTooLarge)
	errDevice        = fmt.Errorf("%w: device", core.ErrNotFound)
	errPanic         = errors.New("handler panicked")
)

// acceptsJSON reports whether the Accept header allows JSON.
func acceptsJSON(h http.Header) bool {
	accept := strings.Join(h.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return true
	}
	for item := range strings.SplitSeq(accept, ",") {
		typ, params, _ := strings.Cut(item, ";")
		switch strings.ToLower(strings.TrimSpace(typ)) {
		case "*/*", "application/*", "application/json":
			if !zeroQuality(params) {
				return true
			}
		}
	}
	return false
}

func zeroQuality(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if q, err := strconv.ParseFloat(value, 64); strings.EqualFold(key, "q") && err == nil {
			return q == 0
		}
	}
	return false
}

// isJSON reports whether a body is declared to be JSON, or not declared at all.
func isJSON(h http.Header) bool {
	ct := h.Get("Content-Type")
	if ct == "" {
		return true
	}
	typ, _, err := mime.ParseMediaType(ct)
	return err == nil && (typ == "application/json" || strings.HasPrefix(typ, "application/") && strings.HasSuffix(typ, "+json"))
}

// members is a JSON object, its names as they were written (encoding/json would ignore their case in a struct).
type members map[string]json.RawMessage

// data returns the member "data" of the body, which is present.
func (c *call) data() (json.RawMessage, error) {
	if c.r.ContentLength != 0 && !isJSON(c.r.Header) {
		return nil, errMediaType
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errBadRequest, err)
	}
	if len(body) > maxBodyBytes {
		return nil, errBodyTooLarge
	}
	var all members
	if !utf8.Valid(body) || json.Unmarshal(body, &all) != nil {
		return nil, errBadRequest
	}
	data, found := all["data"]
	if !found {
		return nil, errBadRequest
	}
	return data, nil
}

// object returns the member "data" of the body, which is an object.
func (c *call) object() (members, error) {
	data, err := c.data()
	if err != nil {
		return nil, err
	}
	var m members
	if json.Unmarshal(data, &m) != nil || m == nil {
		return nil, errBadRequest
	}
	return m, nil
}

func isNull(raw json.RawMessage) bool { return len(raw) == 0 || string(bytes.TrimSpace(raw)) == "null" }

// text returns a required string member, noting an error on the field if it is blank or no string.
func (m members) text(field string, errs fieldErrors) string {
	raw := m[field]
	var s string
	switch {
	case isNull(raw):
		errs.add(field, msgBlank)
	case json.Unmarshal(raw, &s) != nil:
		errs.add(field, msgInvalid)
	case strings.TrimSpace(s) == "":
		errs.add(field, msgBlank)
	}
	return s
}

// number returns an optional integer member that is not negative, nil if it is null or absent.
func (m members) number(field string, errs fieldErrors) *int {
	if isNull(m[field]) {
		return nil
	}
	var n int
	if json.Unmarshal(m[field], &n) != nil {
		errs.add(field, msgInvalid)
		return nil
	}
	if n < 0 {
		errs.add(field, "must be greater than or equal to 0")
		return nil
	}
	return &n
}

func (e fieldErrors) add(field, msg string) { e[field] = append(e[field], msg) }

// err returns e if there is an error in it.
func (e fieldErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
