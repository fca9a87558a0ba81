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
