package wire

import (
	"bytes"
	"net/http"
	"strings"
	"unicode/utf8"

	"porchlight.dev/porchlight/internal/presence"
)

// MaxDepth is how deep arrays and objects may nest in a body.
const MaxDepth = 16

// ReadJSON reads a body of application/json into a struct, strictly: unknown
// fields, duplicate keys, trailing data, wrong types, invalid UTF-8 and nesting
// past 16 are refused, with a *SyntaxError, or a *presence.FieldError that names
// the field. Names are compared exactly, which encoding/json alone does not do.
func ReadJSON(w http.ResponseWriter, r *http.Request, limit int64, into any) error {
	kind, params, err := MediaType(r)
	if err != nil {
		return err
	}
	if charset := params["charset"]; kind != jsonType || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &MediaTypeError{Given: r.Header.Get("Content-Type"), Accepted: jsonType}
	}
	body, err := ReadBody(w, r, limit)
	if err != nil {
		return err
	}
	return DecodeJSON(body, into)
}

const jsonType = "application/json"

// DecodeJSON is ReadJSON for what was read already.
func DecodeJSON(body []byte, into any) error {
	if len(bytes.Trim(body, " \t\r\n")) == 0 {
		return errNoObject
	}
	if err := CheckJSON(body); err != nil {
		return err
	}
	return fill(body, into)
}

var errNoObject = &SyntaxError{Reason: "the request body must be a JSON object"}

// CheckJSON refuses what is not exactly one JSON value of valid UTF-8 without
// duplicate keys, nested at most 16 deep.
func CheckJSON(data []byte) error {
	s := scanner{data: data, unique: true}
	if !s.value(0) {
		return s.err
	}
	return s.end()
}

// Members calls fn with each member of the one JSON object that data must be, in
// order: the key as text, and the value as it stands in data. Everything that
// CheckJSON refuses is refused but duplicate keys, also after fn has been called.
func Members(data []byte, fn func(key, value []byte)) error {
	s := scanner{data: data}
	s.space()
	if s.peek() != '{' {
		return errNoObject
	}
	if !s.object(1, fn) {
		return s.err
	}
	return s.end()
}

// Unquote is the text of a JSON string that Members gave; ok is false for a
// value that is no string.
func Unquote(value []byte) (text []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	return unescape(value[1 : len(value)-1]), true
}

// A scanner walks a JSON text once. Its methods return false and set err where
// the text is refused.
type scanner struct {
	data   []byte
	at     int
	unique bool // refuse duplicate keys
	err    error
}

func (s *scanner) fail(reason string) bool {
	s.err = &SyntaxError{Reason: reason}
	return false
}

const notJSON = "the request body is not valid JSON"

// end refuses what comes after the value.
func (s *scanner) end() error {
	s.space()
	if s.at < len(s.data) {
		return &SyntaxError{Reason: "the request body has more after the JSON value"}
	}
	return nil
}

func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// peek is the next byte, or 0 at the end: no token begins with it.
func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

// value passes over one value that lies in depth containers.
func (s *scanner) value(depth int) bool {
	s.space()
	switch c := s.peek(); {
	case c == '"':
		_, ok := s.text()
		return ok
	case c == '{' || c == '[':
		if depth == MaxDepth {
			return s.fail("the request body is nested more than 16 deep")
		}
		if c == '[' {
			return s.array(depth + 1)
		}
		return s.object(depth+1, nil)
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return s.fail(notJSON)
	}
}

func (s *scanner) literal(word string) bool {
	if end := s.at + len(word); end <= len(s.data) && string(s.data[s.at:end]) == word {
		s.at = end
		return true
	}
	return s.fail(notJSON)
}

func (s *scanner) array(depth int) bool {
	s.at++
	if s.space(); s.peek() == ']' {
		s.at++
		return true
	}
	for {
		if !s.value(depth) {
			return false
		}
		switch s.space(); s.peek() {
		case ',':
			s.at++
		case ']':
			s.at++
			return true
		default:
			return s.fail(notJSON)
		}
	}
}

// object passes over an object and tells fn, if there is one, of its members.
func (s *scanner) object(depth int, fn func(key, value []byte)) bool {
	s.at++
	if s.space(); s.peek() == '}' {
		s.at++
		return true
	}
	var seen keys
	for {
		s.space()
		key, ok := s.key()
		if !ok {
			return false
		}
		if s.unique && !seen.add(key) {
			s.err = &presence.FieldError{Field: cut(string(key)), Reason: "is given more than once"}
			return false
		}
		s.space()
		start := s.at
		if !s.value(depth) {
			return false
		}
		if fn != nil {
			fn(key, s.data[start:s.at])
		}
		switch s.space(); s.peek() {
		case ',':
			s.at++
		case '}':
			s.at++
			return true
		default:
			return s.fail(notJSON)
		}
	}
}

// key reads a key and its colon.
func (s *scanner) key() ([]byte, bool) {
	if s.peek() != '"' {
		return nil, s.fail(notJSON)
	}
	raw, ok := s.text()
	if !ok {
		return nil, false
	}
	if s.space(); s.peek() != ':' {
		return nil, s.fail(notJSON)
	}
	s.at++
	return unescape(raw), true
}

// text passes over a string and gives what is between its quotes, escapes and
// all.
func (s *scanner) text() (raw []byte, ok bool) {
	s.at++
	start := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return s.data[start : s.at-1], true
		case c == '\\':
			if !s.escape() {
				return nil, false
			}
		case c < ' ':
			return nil, s.fail(notJSON)
		case c < utf8.RuneSelf:
			s.at++
		default:
			r, size := utf8.DecodeRune(s.data[s.at:])
			if r == utf8.RuneError && size == 1 {
				return nil, s.fail("the request body is not valid UTF-8")
			}
			s.at += size
		}
	}
	return nil, s.fail(notJSON)
}

// escape passes over an escape. Half of a surrogate pair is no text: what reads
// it would put another character in its place.
func (s *scanner) escape() bool {
	if s.at+1 >= len(s.data) {
		return s.fail(notJSON)
	}
	switch s.data[s.at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at += 2
		return true
	case 'u':
	default:
		return s.fail(notJSON)
	}
	r, ok := unit(s.data[s.at:])
	if !ok {
		return s.fail(notJSON)
	}
	s.at += 6
	if r < surrogate || r >= surrogateEnd {
		return true
	}
	low, ok := unit(s.data[s.at:])
	if r >= surrogateLow || !ok || low < surrogateLow || low >= surrogateEnd {
		return s.fail("the request body is not valid UTF-8: it escapes half of a surrogate pair")
	}
	s.at += 6
	return true
}

const (
	surrogate    = 0xd800
	surrogateLow = 0xdc00
	surrogateEnd = 0xe000
)

// unit reads the UTF-16 code unit of an escape such as \u00e9.
func unit(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		return s.digits()
	}
	return true
}

// digits passes over one digit or more.
func (s *scanner) digits() bool {
	start := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > start || s.fail(notJSON)
}

// unescape is the text between a string's quotes that text passed over.
func unescape(raw []byte) []byte {
	for i, c := range raw {
		if c == '\\' {
			return appendUnescaped(append(make([]byte, 0, len(raw)), raw[:i]...), raw[i:])
		}
	}
	return raw
}

func appendUnescaped(b, raw []byte) []byte {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, _ := unit(raw[i-1:])
			i += 4
			if r >= surrogate && r < surrogateEnd {
				low, _ := unit(raw[i+1:])
				r = (r-surrogate)<<10 | (low - surrogateLow) + 0x10000
				i += 6
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
	return b
}

// keys are those of one object. Most have few, which are compared one by one.
type keys struct {
	few  [8][]byte
	n    int
	many map[string]struct{}
}

// add reports whether key is new.
func (k *keys) add(key []byte) bool {
	if k.many != nil {
		_, again := k.many[string(key)]
		k.many[string(key)] = struct{}{}
		return !again
	}
	for _, other := range k.few[:k.n] {
		if string(other) == string(key) {
			return false
		}
	}
	if k.n < len(k.few) {
		k.few[k.n] = key
		k.n++
		return true
	}
	k.many = make(map[string]struct{}, 2*len(k.few))
	for _, other := range k.few {
		k.many[string(other)] = struct{}{}
	}
	k.many[string(key)] = struct{}{}
	return true
}

// cut bounds what an error repeats of a request.
func cut(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
