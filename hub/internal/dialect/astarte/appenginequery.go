package astarte

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-iot/fairlead/hub/internal/core"
	"github.com/fairlead-iot/fairlead/hub/internal/telemetry"
)

// query reads options from a query string, noting what is wrong with them by field. An empty value is as good as none.
type query struct {
	values url.Values
	errs   fieldErrors
}

func (q query) integer(field string) *int64 {
	text := q.values.Get(field)
	if text == "" {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		q.errs.add(field, msgInvalid)
		return nil
	}
	return &n
}

func (q query) boolean(field string) bool {
	switch q.values.Get(field) {
	case "true", "1":
		return true
	case "", "false", "0":
	default:
		q.errs.add(field, msgInvalid)
	}
	return false
}

// timeLayouts are the forms of ISO 8601 that bounds may have; without an offset they are in UTC. A fraction of the
// second is read in all of them.
var timeLayouts = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05", "2006-01-02T15:04",
}

// instant reads a point in time; the zero time if there is none.
func (q query) instant(field string) time.Time {
	text := q.values.Get(field)
	if text == "" {
		return time.Time{}
	}
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	// A plus that the client did not escape has become a space.
	text = strings.Replace(text, " ", "+", 1)
	for _, l := range timeLayouts {
		if t, err := time.Parse(l, text); err == nil {
			return t.UTC()
		}
	}
	q.errs.add(field, msgInvalid)
	return time.Time{}
}

// The formats of series.
const (
	formatStructured = "structured"
	formatTable      = "table"
	formatDisjoint   = "disjoint_tables"
)

// valueOptions are the options of a query for values.
type valueOptions struct {
	bounds        core.Range
	bounded       bool // since or since_after is given
	limited       bool // limit is given
	downsampleTo  int  // 0: not asked for
	downsampleKey string
	format        string
	encoding
}

// parseValueOptions reads the options of a query for values. Bounds are compared with times in whole milliseconds, as clients
// see them: else "since_after" with the last time of a page would give that sample again.
func parseValueOptions(values url.Values) (valueOptions, error) {
	q := query{values: values, errs: fieldErrors{}}
	since, after, to := q.instant("since"), q.instant("since_after"), q.instant("to")
	limit, down := q.integer("limit"), q.integer("downsample_to")
	_ = q.boolean("retrieve_metadata") // without effect, as on the platform
	o := valueOptions{
		bounded: !since.IsZero() || !after.IsZero(), limited: limit != nil,
		downsampleKey: q.values.Get("downsample_key"), format: q.values.Get("format"),
		encoding: encoding{
			bigIntegers: q.boolean("allow_bigintegers"), safeBigIntegers: q.boolean("allow_safe_bigintegers"),
			milliseconds: q.boolean("keep_milliseconds"),
		},
	}
	switch {
	case q.values.Get("since") != "" && q.values.Get("since_after") != "":
		q.errs.add("since_after", msgConflicts)
	case !after.IsZero():
		o.bounds.Since = after.Truncate(time.Millisecond).Add(time.Millisecond)
	case !since.IsZero():
		o.bounds.Since = ceilMillisecond(since)
	}
	if !to.IsZero() {
		o.bounds.To = ceilMillisecond(to)
	}
	if limit != nil && *limit < 0 {
		q.errs.add("limit", "must be greater than or equal to 0")
	}
	if down != nil && *down <= 2 {
		q.errs.add("downsample_to", "must be greater than 2")
	}
	if o.format == "" {
		o.format = formatStructured
	}
	if !slices.Contains([]string{formatStructured, formatTable, formatDisjoint}, o.format) {
		q.errs.add("format", msgInvalid)
	}
	if limit != nil {
		o.bounds.Limit = int(min(*limit, telemetry.MaxPoints))
	}
	if down != nil {
		o.downsampleTo = int(min(*down, telemetry.MaxSamples))
	}
	// Whoever sets a limit and no beginning wants the newest.
	o.bounds.Backwards = o.limited && !o.bounded
	return o, q.errs.err()
}

func ceilMillisecond(t time.Time) time.Time {
	return t.Add(time.Millisecond - 1).Truncate(time.Millisecond)
}
