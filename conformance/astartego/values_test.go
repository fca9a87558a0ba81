package astartego

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/fairlead-iot/fairlead/astarte"
)

var moment = time.Date(2022, 11, 22, 10, 11, 21, 0, time.UTC)

// kinds are the types of mappings, in the order of the vectors.
var kinds = []astarte.Type{
	astarte.Double, astarte.Integer, astarte.Boolean, astarte.LongInteger, astarte.String, astarte.BinaryBlob, astarte.Datetime, astarte.DoubleArray,
	astarte.IntegerArray, astarte.BooleanArray, astarte.LongIntegerArray, astarte.StringArray, astarte.BinaryBlobArray, astarte.DatetimeArray,
}

// values are those of conformance/astarte/harness/values.py: for each type the ordinary one, then those that are false or at a boundary. Their bytes are
// individual_TYPE_NUMBER of testdata/vectors/astarte/bson.json, which TestWire compares.
var values = map[astarte.Type][]any{
	astarte.Double:      {1.5, math.Copysign(0, -1), 1e308},
	astarte.Integer:     {int32(7), int32(-1), int32(math.MaxInt32), int32(math.MinInt32)},
	astarte.Boolean:     {true, false},
	astarte.LongInteger: {int64(7), int64(1 << 31), int64(1 << 55), int64(math.MaxInt64), int64(math.MinInt64)},
	astarte.String:      {"hi", "", "äß世😀", "a\x00b"},
	astarte.BinaryBlob:  {[]byte{1, 2}, []byte{}},
	astarte.Datetime: {
		moment, time.Date(2022, 11, 22, 10, 11, 21, 123456000, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999000000, time.UTC),
		time.Date(2022, 11, 22, 12, 11, 21, 0, time.FixedZone("", 2*3600)), moment,
	},
	astarte.DoubleArray:      {[]float64{1.5, 2.5}, []float64{}},
	astarte.IntegerArray:     {[]int32{1, -2}, []int32{}},
	astarte.BooleanArray:     {[]bool{true, false}, []bool{}},
	astarte.LongIntegerArray: {[]int64{1, 1 << 31}, []int64{}},
	astarte.StringArray:      {[]string{"a", "ä"}, []string{}},
	astarte.BinaryBlobArray:  {[][]byte{{1}, {}}, [][]byte{}},
	astarte.DatetimeArray:    {[]time.Time{moment}, []time.Time{}},
}

// received are those of the same file that programs write, as JSON, and what the device gets.
var received = map[astarte.Type][]struct{ posted, got any }{
	astarte.Double:      {{1.5, 1.5}, {7, 7.0}, {0, 0.0}, {-2.25e-300, -2.25e-300}},
	astarte.Integer:     {{7, int32(7)}, {0, int32(0)}, {-1, int32(-1)}, {math.MaxInt32, int32(math.MaxInt32)}},
	astarte.Boolean:     {{true, true}, {false, false}},
	astarte.LongInteger: {{7, int64(7)}, {0, int64(0)}, {"-5", int64(-5)}, {1 << 31, int64(1 << 31)}, {"9223372036854775807", int64(math.MaxInt64)}},
	astarte.String:      {{"hi", "hi"}, {"", ""}, {"äß世😀", "äß世😀"}},
	astarte.BinaryBlob:  {{"AQI=", []byte{1, 2}}, {"", []byte{}}},
	astarte.Datetime: {
		{"2022-11-22T10:11:21.000Z", moment},
		{"2022-11-22 10:11:21+00:00", moment},
		{"2022-11-22T12:11:21+02:00", moment},
		{1669111881000, moment},
		{"1969-12-31T23:59:59.999Z", time.Date(1969, 12, 31, 23, 59, 59, 999000000, time.UTC)},
	},
	astarte.DoubleArray:      {{[]any{1.5, 2}, []float64{1.5, 2}}, {[]any{}, []float64{}}},
	astarte.IntegerArray:     {{[]any{1, -2, 0}, []int32{1, -2, 0}}, {[]any{}, []int32{}}},
	astarte.BooleanArray:     {{[]any{true, false}, []bool{true, false}}, {[]any{}, []bool{}}},
	astarte.LongIntegerArray: {{[]any{1, "2147483648"}, []int64{1, 1 << 31}}, {[]any{}, []int64{}}},
	astarte.StringArray:      {{[]any{"a", "", "ä"}, []string{"a", "", "ä"}}, {[]any{}, []string{}}},
	astarte.BinaryBlobArray:  {{[]any{"AQ==", ""}, [][]byte{{1}, {}}}, {[]any{}, [][]byte{}}},
	astarte.DatetimeArray:    {{[]any{"2022-11-22T10:11:21Z"}, []time.Time{moment}}, {[]any{}, []time.Time{}}},
}

func endpoint(k astarte.Type) string { return string(k) + "_endpoint" }

// each calls f with every value; in a subtest that is named as the vector.
func each(t *testing.T, f func(t *testing.T, name string, k astarte.Type, value any)) {
	for _, k := range kinds {
		for n, v := range values[k] {
			name := fmt.Sprintf("%s_%d", k, n)
			t.Run(name, func(t *testing.T) { f(t, name, k, v) })
		}
	}
}

// empty tells whether a value alone, without a timestamp, means "unset" to the platform.
func empty(value any) bool {
	b, ok := value.([]byte)
	return ok && len(b) == 0
}

// object returns an object with the nth value of every type.
func object(n int) astarte.Object {
	o := astarte.Object{}
	for _, k := range kinds {
		o[endpoint(k)] = values[k][n]
	}
	return o
}

// shown is a value as AppEngine shows it: long integers as texts in series and objects, as numbers in properties and snapshots.
func shown(v any, longs bool) any {
	switch v := v.(type) {
	case float64, bool, string:
		return v
	case int32:
		return json.Number(strconv.Itoa(int(v)))
	case int64:
		if longs {
			return json.Number(strconv.FormatInt(v, 10))
		}
		return strconv.FormatInt(v, 10)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.Round(time.Millisecond).UTC().Format("2006-01-02T15:04:05.000Z")
	case astarte.Object:
		m := map[string]any{}
		for k, item := range v {
			m[k] = shown(item, longs)
		}
		return m
	}
	list := []any{}
	for s, i := reflect.ValueOf(v), 0; i < s.Len(); i++ {
		list = append(list, shown(s.Index(i).Interface(), longs))
	}
	return list
}

// same compares what AppEngine shows. A double may be written without a point; the sign of zero counts.
func same(got, want any) bool {
	switch w := want.(type) {
	case float64:
		n, ok := got.(json.Number)
		f, err := strconv.ParseFloat(string(n), 64)
		return ok && err == nil && f == w && math.Signbit(f) == math.Signbit(w)
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !same(g[i], w[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range w {
			if !same(g[k], w[k]) {
				return false
			}
		}
		return true
	}
	return got == want
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !same(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}

// without returns a row without one of its members.
func without(row any, key string) map[string]any {
	m := map[string]any{}
	for k, v := range row.(map[string]any) {
		if k != key {
			m[k] = v
		}
	}
	return m
}

// last returns the last element.
func last(list any) any {
	all, _ := list.([]any)
	if len(all) == 0 {
		return nil
	}
	return all[len(all)-1]
}

func numbers(from, to int) []any {
	var list []any
	for i := from; i < to; i++ {
		list = append(list, strconv.Itoa(i)) // as series show long integers
	}
	return list
}
