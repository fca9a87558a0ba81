package awswire

import "strconv"

// AppendAccepted appends the answer to an accepted update to b: what the request had, with nulls, the new version and the
// time in seconds.
func (u *Update) AppendAccepted(b []byte, version, at int64) []byte {
	b = append(b, `{"state":`...)
	if !u.State {
		b = append(b, "null"...)
	} else {
		b = u.appendSections(b, (*Node).Append)
	}
	b = append(b, `,"metadata":`...)
	if !u.State {
		b = appendStamp(b, at)
	} else {
		b = u.appendSections(b, func(n *Node, b []byte) []byte { return appendStamps(b, n, at) })
	}
	return appendVersion(b, version, at, u.Token)
}

// appendSections appends the sections that the request has, in its order.
func (u *Update) appendSections(b []byte, one func(*Node, []byte) []byte) []byte {
	if u.reportedFirst {
		return appendPair(b, "reported", u.Reported, "desired", u.Desired, one)
	}
	return appendPair(b, "desired", u.Desired, "reported", u.Reported, one)
}

// AppendDocument appends the answer to a get to b: the state with the delta that follows from it, but no metadata of the delta.
func (s *Shadow) AppendDocument(b []byte, at int64, token string) []byte {
	b = append(b, `{"state":`...)
	b = appendPair(b, "desired", s.Desired, "reported", s.Reported, (*Node).Append)
	if delta := s.Delta(); delta != nil {
		b = b[:len(b)-1] // the brace
		if s.Desired != nil || s.Reported != nil {
			b = append(b, ',')
		}
		b = append(delta.Append(append(b, `"delta":`...)), '}')
	}
	b = s.appendMetadata(b)
	return appendVersion(b, s.Version, at, token)
}

// AppendDelta appends the message of a difference to b: the delta, which is not nil, and when its leaves became desired.
func (s *Shadow) AppendDelta(b []byte, delta *Node, at int64, token string) []byte {
	b = strconv.AppendInt(append(b, `{"version":`...), s.Version, 10)
	b = strconv.AppendInt(append(b, `,"timestamp":`...), at, 10)
	b = delta.Append(append(b, `,"state":`...))
	b = appendMetadata(append(b, `,"metadata":`...), delta)
	return appendToken(b, token)
}

// AppendDocuments appends the message of an accepted update to b: the state before, which is null if there was none, and after.
func AppendDocuments(b []byte, previous, current *Shadow, at int64, token string) []byte {
	b = append(b, `{"previous":`...)
	if previous.Exists {
		b = previous.appendState(b)
	} else {
		b = append(b, "null"...)
	}
	b = current.appendState(append(b, `,"current":`...))
	return appendEnd(b, at, token)
}

// appendState appends state, metadata and version.
func (s *Shadow) appendState(b []byte) []byte {
	b = append(b, `{"state":`...)
	b = s.appendMetadata(appendPair(b, "desired", s.Desired, "reported", s.Reported, (*Node).Append))
	return append(strconv.AppendInt(append(b, `,"version":`...), s.Version, 10), '}')
}

// appendMetadata appends the metadata, as the next member.
func (s *Shadow) appendMetadata(b []byte) []byte {
	b = append(b, `,"metadata":`...)
	return appendPair(b, "desired", s.Desired, "reported", s.Reported, func(n *Node, b []byte) []byte {
		return appendMetadata(b, n)
	})
}

// AppendDeleted appends the answer to an accepted delete to b; version is that of the deleted state.
func AppendDeleted(b []byte, version, at int64, token string) []byte {
	b = strconv.AppendInt(append(b, `{"version":`...), version, 10)
	return appendEnd(b, at, token)
}

// AppendShadowList appends one page of a thing's named shadows to b; next is left out if it is empty.
func AppendShadowList(b []byte, names []string, next string, at int64) []byte {
	b = append(b, `{"results":[`...)
	for i, s := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendText(b, s)
	}
	b = append(b, ']')
	if next != "" {
		b = AppendText(append(b, `,"nextToken":`...), next)
	}
	return appendEnd(b, at, "")
}

// appendPair appends an object of two members, of which those that are nil are left out.
func appendPair(b []byte, name1 string, v1 *Node, name2 string, v2 *Node, one func(*Node, []byte) []byte) []byte {
	b = append(b, '{')
	if v1 != nil {
		b = one(v1, append(AppendText(b, name1), ':'))
	}
	if v2 != nil {
		if v1 != nil {
			b = append(b, ',')
		}
		b = one(v2, append(AppendText(b, name2), ':'))
	}
	return append(b, '}')
}

func appendVersion(b []byte, version, at int64, token string) []byte {
	return appendEnd(strconv.AppendInt(append(b, `,"version":`...), version, 10), at, token)
}

func appendStamp(b []byte, at int64) []byte {
	return append(strconv.AppendInt(append(b, `{"timestamp":`...), at, 10), '}')
}

// appendMetadata appends the times of n's leaves in the shape of n.
func appendMetadata(b []byte, n *Node) []byte {
	switch n.Kind {
	case KindObject:
		b = append(b, '{')
		for i, m := range n.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendMetadata(append(AppendText(b, m.Name), ':'), m.Value)
		}
		return append(b, '}')
	case KindArray:
		return appendStamps(b, n, n.At) // an array has one time, its elements show it
	}
	return appendStamp(b, n.At)
}

// appendStamps appends one time for all leaves of n, in the shape of n: arrays have one for each element (AWS IoT Core
// Developer Guide, "Device Shadow service documents").
func appendStamps(b []byte, n *Node, at int64) []byte {
	switch n.Kind {
	case KindObject:
		b = append(b, '{')
		for i, m := range n.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendStamps(append(AppendText(b, m.Name), ':'), m.Value, at)
		}
		return append(b, '}')
	case KindArray:
		b = append(b, '[')
		for i, e := range n.Elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendStamps(b, e, at)
		}
		return append(b, ']')
	}
	return appendStamp(b, at)
}
