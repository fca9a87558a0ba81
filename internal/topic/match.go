package topic

// Match reports whether a message published to name matches filter. Both must be valid. It does not allocate.
func Match[F, N Text](filter F, name N) bool {
	if len(filter) == 0 || len(name) == 0 {
		return false
	}
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	i, j := 0, 0 // start of the current level in filter and in name; behind the end if there is none
	for i <= len(filter) {
		fe := levelEnd(filter, i)
		if fe == i+1 && filter[i] == '#' {
			return true // all that is left, also if that is nothing: "a/#" matches "a"
		}
		if j > len(name) {
			return false
		}
		ne := levelEnd(name, j)
		if !(fe == i+1 && filter[i] == '+') && string(filter[i:fe]) != string(name[j:ne]) {
			return false
		}
		i, j = fe+1, ne+1
	}
	return j > len(name)
}

// Covers reports whether every name that matches requested also matches grant; both must be valid filters. It
// decides whether a client that may read grant may subscribe to requested.
func Covers[G, R Text](grant G, requested R) bool {
	if len(grant) == 0 || len(requested) == 0 {
		return false
	}
	if requested[0] == '$' && (grant[0] == '+' || grant[0] == '#') {
		return false
	}
	if string(requested) == "#" {
		return string(grant) == "#" || string(grant) == "+/#" // the same, as every name has a first level
	}
	i, j := 0, 0
	for i <= len(grant) {
		ge := levelEnd(grant, i)
		if ge == i+1 && grant[i] == '#' {
			return true
		}
		if j > len(requested) {
			return false
		}
		re := levelEnd(requested, j)
		if re == j+1 && requested[j] == '#' {
			return false // matches names of any depth, the rest of grant does not
		}
		if !(ge == i+1 && grant[i] == '+') && string(grant[i:ge]) != string(requested[j:re]) {
			return false
		}
		i, j = ge+1, re+1
	}
	return j > len(requested)
}

// levelEnd returns the end of the level that starts at i.
func levelEnd[S Text](s S, i int) int {
	for i < len(s) && s[i] != '/' {
		i++
	}
	return i
}

// Prefix returns what the names that match a filter begin with: its levels before the first wildcard. Names in between
// may begin so too and not match.
func Prefix(filter string) string {
	for i := 0; i <= len(filter); {
		end := levelEnd(filter, i)
		switch filter[i:end] {
		case "+":
			return filter[:i]
		case "#": // the name may end here
			return filter[:max(i-1, 0)]
		}
		i = end + 1
	}
	return filter
}

// Seek helps to find, in a sorted list of names, those that match a filter without a look at all of them: no name
// matches that is greater than name and smaller than what Seek returns. That is greater than name; or it is empty, and no
// greater name matches at all. It need not be a name. Filter and name must be valid.
func Seek(filter, name string) string {
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return "%" // the byte behind '$'
	}
	behind := ""  // all names that have the same levels up to the last "+"
	plus := false // the level before is a "+"
	i, j := 0, 0
	for i <= len(filter) && j <= len(name) {
		fe, ne := levelEnd(filter, i), levelEnd(name, j)
		want := filter[i:fe]
		plus = want == "+"
		switch {
		case want == "#":
			return name + least
		case plus:
			behind = name[:ne] + "0" // the byte behind '/'
		case want == name[j:ne]:
		case name[:j]+want > name:
			return name[:j] + want
		case fe < len(filter) && name[:j]+want+"/" > name:
			return name[:j] + want + "/"
		default:
			return behind
		}
		i, j = fe+1, ne+1
	}
	if j <= len(name) {
		return behind
	}
	if i <= len(filter) && !plus {
		return name + "/"
	}
	return name + least
}

// least begins what is next to a name in order: U+0000 is in none.
const least = "\x01"
