package astartewire

import (
	"regexp"
	"strings"
)

// Names of the claims that hold a token's authorisation entries, one for each API ("Authentication and
// Authorization" in the platform's documentation).
const (
	ClaimPairing         = "a_pa"
	ClaimRealmManagement = "a_rma"
	ClaimAppEngine       = "a_aea"
	ClaimChannels        = "a_ch"
	ClaimHousekeeping    = "a_ha"
)

// Authorized reports whether one of the entries of a token's claim allows method on path. An entry is
// METHOD:OPTIONS:PATH, where METHOD and PATH are regular expressions; the options are not used. The method is in upper
// case; the path is what follows the realm in the URL (what follows the version in Housekeeping), without leading slash
// and query.
//
// As on the platform each expression is tested as ^expression$ with no group around it, so an alternative at its top
// level is anchored at one end only. An entry that has fewer than three parts or does not compile matches nothing.
// (The platform's dialect is PCRE; look-around, which Go does not have, is the one practical difference.)
func Authorized(entries []string, method, path string) bool {
	for _, entry := range entries {
		m, rest, ok := strings.Cut(entry, ":")
		if !ok {
			continue
		}
		_, p, ok := strings.Cut(rest, ":") // the path expression keeps its own colons
		if ok && matchAnchored(m, method) && matchAnchored(p, path) {
			return true
		}
	}
	return false
}

func matchAnchored(expr, s string) bool {
	if expr == ".*" && !strings.Contains(s, "\n") {
		return true // the usual entry is ".*::.*"; spare it the compilation
	}
	re, err := regexp.Compile("^" + expr + "$")
	return err == nil && re.MatchString(s)
}
