package framer

import (
	"bytes"
	"net/http"
)

// A refusal is why a message is not accepted. Its connection is closed.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return http.StatusText(r.status) + ": " + r.reason }

func malformed(reason string) error { return &refusal{http.StatusBadRequest, reason} }

// A head is what the framer learns from the head of a message, and how far it is parsed.
type head struct {
	scanned int  // bytes searched for the end of a line
	line    int  // start of the first line that is not parsed
	skipped bool // the empty line that may precede a request

	hosts, lengths, codings int // how many fields of the name there were
	length                  int64
	chunked                 bool
	expect, upgrade         bool
	closes, keepsAlive      bool // options of Connection
}

// parse parses the lines of buf that are whole, and reports whether the head is. It is
// called again when there is more in buf. r.Method is nil until the request line is parsed.
func (h *head) parse(buf []byte, r *Request) (whole bool, err error) {
	for {
		i := bytes.IndexByte(buf[h.scanned:], '\n')
		if i < 0 {
			h.scanned = len(buf)
			return false, nil
		}
		end := h.scanned + i
		h.scanned = end + 1
		if end == h.line || buf[end-1] != '\r' {
			return false, malformed("line ends with bare LF")
		}
		line := buf[h.line : end-1]
		h.line = end + 1
		switch {
		case len(line) > 0 && r.Method == nil:
			err = parseRequestLine(line, r)
		case len(line) > 0:
			err = h.parseField(line, r)
		case r.Method != nil:
			return true, h.check(r)
		case h.skipped:
			return false, malformed("empty request line")
		default:
			h.skipped = true // RFC 9112, section 2.2
		}
		if err != nil {
			return false, err
		}
	}
}

func parseRequestLine(line []byte, r *Request) error {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, ok := bytes.Cut(rest, []byte(" "))
	switch {
	case !ok || len(method) == 0 || len(target) == 0:
		return malformed("malformed request line")
	case !consistsOf(method, isToken):
		return malformed("invalid method")
	case !consistsOf(target, isVisible):
		return malformed("invalid character in request target")
	}
	switch string(version) {
	case "HTTP/1.1":
		r.Minor = 1
	case "HTTP/1.0":
		r.Minor = 0
	default:
		if _, _, ok := http.ParseHTTPVersion(string(version)); ok {
			return &refusal{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
		}
		return malformed("malformed HTTP version")
	}
	r.Method, r.Target = method, target
	return nil
}

func (h *head) parseField(line []byte, r *Request) error {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || !consistsOf(line[:colon], isToken) {
		return malformed("invalid header name") // a folded line is one, and a space before the colon
	}
	f := Field{Name: line[:colon], Value: trim(line[colon+1:])}
	if !consistsOf(f.Value, isText) {
		return malformed("invalid header value")
	}
	r.Fields = append(r.Fields, f)
	return h.note(f)
}

// note records a field that matters for framing.
func (h *head) note(f Field) error {
	switch {
	case is(f.Name, "Host"):
		if h.hosts++; !consistsOf(f.Value, isHost) {
			return malformed("malformed Host header")
		}
	case is(f.Name, "Content-Length"):
		h.lengths++
		return h.parseLength(f.Value)
	case is(f.Name, "Transfer-Encoding"):
		h.codings++
		h.chunked = is(f.Value, "chunked")
	case is(f.Name, "Connection"):
		h.parseConnection(f.Value)
	case is(f.Name, "Expect"):
		h.expect = true
	case is(f.Name, "Upgrade"):
		h.upgrade = true
	}
	return nil
}

// maxLengthDigits keeps a length within an int64.
const maxLengthDigits = 18

func (h *head) parseLength(value []byte) error {
	if len(value) == 0 || len(value) > maxLengthDigits {
		return malformed("bad Content-Length")
	}
	h.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return malformed("bad Content-Length")
		}
		h.length = 10*h.length + int64(c-'0')
	}
	return nil
}

func (h *head) parseConnection(value []byte) {
	for more := true; more; {
		var option []byte
		option, value, more = bytes.Cut(value, []byte(","))
		switch option = trim(option); {
		case is(option, "close"):
			h.closes = true
		case is(option, "keep-alive"):
			h.keepsAlive = true
		}
	}
}

// check refuses a head whose fields do not agree about where the message ends.
func (h *head) check(r *Request) error {
	switch {
	case h.hosts > 1:
		return malformed("too many Host headers")
	case h.hosts == 0 && r.Minor == 1:
		return malformed("missing required Host header")
	case h.lengths > 1:
		return malformed("too many Content-Length headers")
	case h.codings > 0 && h.lengths > 0:
		return malformed("both Transfer-Encoding and Content-Length")
	case h.codings > 0 && r.Minor == 0:
		return malformed("Transfer-Encoding in HTTP/1.0")
	case h.codings > 1, h.codings == 1 && !h.chunked:
		return &refusal{http.StatusNotImplemented, "Unsupported transfer encoding"}
	}
	return nil
}

// ends reports whether the connection ends after the message.
func (h *head) ends(r *Request) bool { return h.closes || r.Minor == 0 && !h.keepsAlive }

// is compares a name or a token without regard to case.
func is(b []byte, word string) bool { return len(b) == len(word) && bytes.EqualFold(b, []byte(word)) }

// trim removes spaces and tabs.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// A class is a set of bytes.
type class uint8

const (
	isToken   class = 1 << iota // of a method or a field name
	isVisible                   // of a request target: no control character and no space
	isText                      // of a field value: no control character but HTAB
	isHost                      // of a Host: what a URI may have as its host and port
)

var classes = classify()

func classify() (of [256]class) {
	for i := range of {
		c := byte(i)
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
		if letter || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 {
			of[i] |= isToken
		}
		if letter || bytes.IndexByte([]byte("!$%&()*+,-.:;=[']_~"), c) >= 0 {
			of[i] |= isHost
		}
		if c > ' ' && c != 0x7f {
			of[i] |= isVisible
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			of[i] |= isText
		}
	}
	return of
}

func consistsOf(b []byte, set class) bool {
	for _, c := range b {
		if classes[c]&set == 0 {
			return false
		}
	}
	return true
}
