package zoomapi

import "bytes"

// plainMembers finds the members of a body as clients usually send it: status, a string
// without escapes, and perhaps duration, in digits. Any other body needs a decoder, which
// takes ten times as long and finds the same in one like these.
func plainMembers(body []byte) (status, duration []byte, ok bool) {
	p := plainJSON(body)
	if !p.skip('{') {
		return nil, nil, false
	}
	for more := true; more; more = p.skip(',') {
		name, ok := p.text()
		if !ok || !p.skip(':') {
			return nil, nil, false
		}
		switch {
		case string(name) == "status" && status == nil:
			status, ok = p.text()
		case string(name) == "duration" && duration == nil:
			duration, ok = p.digits()
		default:
			ok = false
		}
		if !ok {
			return nil, nil, false
		}
	}
	return status, duration, status != nil && p.skip('}') && len(bytes.TrimLeft(p, jsonSpace)) == 0
}

const jsonSpace = " \t\r\n"

// plainJSON is the rest of a body.
type plainJSON []byte

// skip passes over c and the space before it.
func (p *plainJSON) skip(c byte) bool {
	rest := bytes.TrimLeft(*p, jsonSpace)
	if len(rest) == 0 || rest[0] != c {
		return false
	}
	*p = rest[1:]
	return true
}

// text reads a string without escapes, in printable ASCII.
func (p *plainJSON) text() ([]byte, bool) {
	if !p.skip('"') {
		return nil, false
	}
	rest := *p
	for i, c := range rest {
		switch {
		case c == '"':
			*p = rest[i+1:]
			return rest[:i], true
		case c < ' ' || c >= 0x7f || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// digits reads a number of digits without a leading zero.
func (p *plainJSON) digits() ([]byte, bool) {
	rest := bytes.TrimLeft(*p, jsonSpace)
	n := 0
	for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
		n++
	}
	*p = rest[n:]
	return rest[:n], n > 0 && rest[0] != '0'
}
