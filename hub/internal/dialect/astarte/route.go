package astarte

import (
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// A service is one of the platform's four HTTP APIs. On the platform each is a server of its own behind a proxy that
// takes the prefix away.
type service struct {
	prefix   string
	claim    string // of the tokens that open it
	notFound string // detail of the 404 for an unknown route
	depth    int    // segments before what tokens are tested against
}

// access says who may use a route.
type access uint8

const (
	accessOpen   access = iota // anybody
	accessToken                // a token of the realm (of the cluster, in Housekeeping)
	accessDevice               // a device, by its credentials secret
)

// A route is one endpoint. {NAME} in a pattern is one segment of the path, {NAME...} at the end one or more.
type route struct {
	service *service
	method  string
	pattern string
	access  access
	handle  func(*call) (reply, error) // nil: documented by the platform, not built yet; answers as an unknown route
}

// segments returns the decoded segments of an escaped path. Empty ones are left out: clients put base URLs that end in a
// slash in front of theirs (observed with astarte-device-sdk 0.14.0). Splitting comes before decoding, so that %2F stays
// within its segment.
func segments(escaped string) ([]string, bool) {
	var out []string
	for s := range strings.SplitSeq(escaped, "/") {
		if s == "" {
			continue
		}
		d, err := url.PathUnescape(s)
		if err != nil || !utf8.ValidString(d) {
			return nil, false
		}
		out = append(out, d)
	}
	return out, true
}

// A compiledRoute is a route with its pattern split.
type compiledRoute struct {
	*route
	levels []string
}

func compileRoutes(all []route) map[*service][]compiledRoute {
	m := map[*service][]compiledRoute{}
	for i := range all {
		r := &all[i]
		m[r.service] = append(m[r.service], compiledRoute{r, strings.Split(strings.Trim(r.pattern, "/"), "/")})
	}
	return m
}

// find returns the route that fits, and the values of its parameters. A fixed segment wins over a parameter by coming
// first in the table.
func find(routes []compiledRoute, method string, segs []string) (*route, map[string]string) {
	for _, r := range routes {
		if r.method != method {
			continue
		}
		if params, ok := r.match(segs); ok {
			return r.route, params
		}
	}
	return nil, nil
}

func (r compiledRoute) match(segs []string) (map[string]string, bool) {
	params := map[string]string{}
	for i, l := range r.levels {
		if name, ok := strings.CutSuffix(l, "...}"); ok {
			if i >= len(segs) {
				return nil, false
			}
			params[name[1:]] = strings.Join(segs[i:], "/")
			return params, true
		}
		if i >= len(segs) || l[0] != '{' && l != segs[i] {
			return nil, false
		}
		if l[0] == '{' {
			params[l[1:len(l)-1]] = segs[i]
		}
	}
	return params, len(segs) == len(r.levels)
}

// routeMethod returns the method that a request is routed by: HEAD is answered like GET.
func routeMethod(r *http.Request) string {
	if r.Method == http.MethodHead {
		return http.MethodGet
	}
	return r.Method
}
