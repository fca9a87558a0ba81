package astarte

import (
	"bytes"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestLog: what is refused is seen at Info, all else at Debug, and no token or secret anywhere.
func TestLog(t *testing.T) {
	s := newSite(t)
	secret := s.secret(testID)
	var out bytes.Buffer
	s.d.log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	token := "Bearer " + s.token()
	for _, c := range []struct {
		scenario
		level, msg string
	}{
		{scenario{do: "GET /housekeeping/v1/realms", auth: token}, "DEBUG", "request"},
		{scenario{do: "GET " + pairDevice, auth: secret}, "DEBUG", "request"},
		{scenario{do: "GET " + pairDevice + "/none", auth: secret}, "DEBUG", "request"},
		{scenario{do: "GET " + pairDevice, auth: secret + "x"}, "INFO", "request refused"},
		{scenario{do: "GET /housekeeping/v1/realms", auth: token + "x"}, "INFO", "request refused"},
		{scenario{do: "GET /housekeeping/v1/realms", auth: "-"}, "INFO", "request refused"},
		{scenario{do: "POST " + credentials, auth: secret, body: `{"data":{"csr":"-----BEGIN SECRET"}}`}, "DEBUG", "request"},
	} {
		out.Reset()
		s.ask(c.scenario)
		line := out.String()
		if !strings.Contains(line, "level="+c.level) || !strings.Contains(line, "addr=10.0.0.9") || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: got %q, want one line at %s", c.do, line, c.level)
		}
		for _, hidden := range []string{strings.TrimPrefix(secret, "Bearer "), strings.Split(token, ".")[2], "SECRET"} {
			if strings.Contains(line, hidden) {
				t.Errorf("%s: %q is in the log: %s", c.do, hidden, line)
			}
		}
	}
}

func TestRoutes(t *testing.T) {
	all := compileRoutes([]route{
		{service: pairing, method: "GET", pattern: "/a/{x}"},
		{service: pairing, method: "GET", pattern: "/a/{x}/{rest...}"},
		{service: pairing, method: "PUT", pattern: "/a/b"},
	})[pairing]
	for _, c := range []struct {
		method, path, pattern, x, rest string
	}{
		{"GET", "/a/1", "/a/{x}", "1", ""},
		{"GET", "//a//1/", "/a/{x}", "1", ""},
		{"GET", "/a/%2F%31", "/a/{x}", "/1", ""},
		{"GET", "/a/1/2", "/a/{x}/{rest...}", "1", "2"},
		{"GET", "/a/1/2%20/3/", "/a/{x}/{rest...}", "1", "2 /3"},
		{"GET", "/a", "", "", ""},
		{"GET", "/b/1", "", "", ""},
		{"PUT", "/a/1", "", "", ""},
		{"PUT", "/a/b", "/a/b", "", ""},
		{"PUT", "/a/b/c", "", "", ""},
		{"POST", "/a/1", "", "", ""},
		{"GET", "/", "", "", ""},
	} {
		segs, valid := segments(c.path)
		if !valid {
			t.Errorf("%s: not valid", c.path)
		}
		r, params := find(all, c.method, segs)
		pattern := ""
		if r != nil {
			pattern = r.pattern
		}
		if pattern != c.pattern || params["x"] != c.x || params["rest"] != c.rest {
			t.Errorf("%s %s: got %q %v, want %q %q %q", c.method, c.path, pattern, params, c.pattern, c.x, c.rest)
		}
	}
	for _, path := range []string{"/%ff", "/%zz", "/a%"} {
		if _, valid := segments(path); valid {
			t.Errorf("%s: is valid", path)
		}
	}
}

// FuzzOptions checks that any query string gives bounds that hold together, or an error of a field.
func FuzzOptions(f *testing.F) {
	f.Add("since=2026-01-01T00:00:00Z&to=2026-01-02&limit=5&downsample_to=9&format=table")
	f.Add("since_after=2026-01-01 00:00:00.123456+02:00&keep_milliseconds=1&limit=99999999999999999999")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		o, err := parseValueOptions(values)
		if err != nil {
			if status, _ := answerTo(err); status != 422 {
				t.Fatalf("%q: got %v, want a field error", text, err)
			}
			return
		}
		if o.bounds.Limit < 0 || o.downsampleTo != 0 && o.downsampleTo < 3 || o.format == "" {
			t.Fatalf("%q: got %+v", text, o)
		}
		for _, at := range []time.Time{o.bounds.Since, o.bounds.To} {
			if at.Nanosecond()%1e6 != 0 {
				t.Fatalf("%q: bound %v is not in milliseconds", text, at)
			}
		}
	})
}
