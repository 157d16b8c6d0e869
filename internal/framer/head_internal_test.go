package framer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const host = "Host: a\r\n"

// heads are heads, each with the status of its refusal; 0: accepted.
func heads() map[string]int {
	return map[string]int{
		// Request lines.
		"GET / HTTP/1.1\r\n" + host + "\r\n":                                   0,
		"\r\nGET / HTTP/1.1\r\n" + host + "\r\n":                               0,
		"\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n":                           400,
		"\nGET / HTTP/1.1\r\n" + host + "\r\n":                                 400,
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\n":                               0,
		"GET http://b/c?d=e HTTP/1.1\r\n" + host + "\r\n":                      0,
		"CONNECT b:443 HTTP/1.1\r\n" + host + "\r\n":                           0,
		"GET /?a[]=%20&b=\"<>\\^`{|} HTTP/1.1\r\n" + host + "\r\n":             0,
		"GET /\xc3\xa4 HTTP/1.1\r\n" + host + "\r\n":                           0,
		"M-SEARCH /a!#$&' HTTP/1.1\r\n" + host + "\r\n":                        0,
		"get / HTTP/1.1\r\n" + host + "\r\n":                                   0,
		"GET / HTTP/1.1\n" + host + "\r\n":                                     400,
		"GET / HTTP/1.1\r\r\n" + host + "\r\n":                                 400,
		"GET  / HTTP/1.1\r\n" + host + "\r\n":                                  400,
		"GET /  HTTP/1.1\r\n" + host + "\r\n":                                  400,
		"GET / HTTP/1.1 \r\n" + host + "\r\n":                                  400,
		" GET / HTTP/1.1\r\n" + host + "\r\n":                                  400,
		" / HTTP/1.1\r\n" + host + "\r\n":                                      400,
		"GET\t/ HTTP/1.1\r\n" + host + "\r\n":                                  400,
		"GET /a b HTTP/1.1\r\n" + host + "\r\n":                                400,
		"GET /\ta HTTP/1.1\r\n" + host + "\r\n":                                400,
		"GET /\x7f HTTP/1.1\r\n" + host + "\r\n":                               400,
		"GET /\x00 HTTP/1.1\r\n" + host + "\r\n":                               400,
		"GET /\r HTTP/1.1\r\n" + host + "\r\n":                                 400,
		"G(T / HTTP/1.1\r\n" + host + "\r\n":                                   400,
		"GET /\r\n" + host + "\r\n":                                            400,
		"GET\r\n" + host + "\r\n":                                              400,
		"GET / http/1.1\r\n" + host + "\r\n":                                   400,
		"GET / HTTP/1.10\r\n" + host + "\r\n":                                  400,
		"GET / HTTP/01.1\r\n" + host + "\r\n":                                  400,
		"GET / HTTP/1\r\n" + host + "\r\n":                                     400,
		"GET / HTTP/1.2\r\n" + host + "\r\n":                                   505,
		"GET / HTTP/0.9\r\n" + host + "\r\n":                                   505,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                     505,
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\r\n" + host + "\r\n": 400,

		// Lines and names.
		"GET / HTTP/1.1\r\nHost: a\n\r\n":                   400,
		"GET / HTTP/1.1\r\n" + host + "\n":                  400,
		"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n":               400,
		"GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n":  400,
		"GET / HTTP/1.1\r\n" + host + "A: b\r\n\tc\r\n\r\n": 400,
		"GET / HTTP/1.1\r\n A: b\r\n" + host + "\r\n":       400,
		"GET / HTTP/1.1\r\n" + host + "A : b\r\n\r\n":       400,
		"GET / HTTP/1.1\r\n" + host + "A\t: b\r\n\r\n":      400,
		"GET / HTTP/1.1\r\n" + host + ": b\r\n\r\n":         400,
		"GET / HTTP/1.1\r\n" + host + "A\r\n\r\n":           400,
		"GET / HTTP/1.1\r\n" + host + "A/B: c\r\n\r\n":      400,
		"GET / HTTP/1.1\r\n" + host + "A\x80: c\r\n\r\n":    400,
		"GET / HTTP/1.1\r\n" + host + "A_b.c~|: c\r\n\r\n":  0,
		"GET / HTTP/1.1\r\n" + host + "A: b\x00\r\n\r\n":    400,
		"GET / HTTP/1.1\r\n" + host + "A: b\x7f\r\n\r\n":    400,
		"GET / HTTP/1.1\r\n" + host + "A: b\rc\r\n\r\n":     400,
		"GET / HTTP/1.1\r\n" + host + "A:\r\n\r\n":          0,
		"GET / HTTP/1.1\r\n" + host + "A:b\tc \xe4\r\n\r\n": 0,

		// Hosts.
		"GET / HTTP/1.1\r\n\r\n":                          400,
		"GET / HTTP/1.0\r\n\r\n":                          0,
		"GET / HTTP/1.1\r\n" + host + host + "\r\n":       400,
		"GET / HTTP/1.0\r\n" + host + host + "\r\n":       400,
		"GET / HTTP/1.1\r\n" + host + "hOST: b\r\n\r\n":   400,
		"GET / HTTP/1.1\r\nHost:\r\n\r\n":                 0,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":             400,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":             400,
		"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n":             400,
		"GET / HTTP/1.1\r\nHost: [::1%25eth0]:80\r\n\r\n": 0,

		// Lengths and codings.
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n":                                        0,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: \t12 \r\n\r\n":                                    0,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 000000000000000012\r\n\r\n":                       0,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 999999999999999999\r\n\r\n":                       0,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 1000000000000000000\r\n\r\n":                      400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n":                                          400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n":                                       400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n":                                       400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 1 2\r\n\r\n":                                      400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\n":                                      400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\n":                                     400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n":                   400,
		"PUT / HTTP/1.1\r\n" + host + "content-length: 1\r\nCONTENT-LENGTH: 2\r\n\r\n":                   400,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n":                               0,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: Chunked\t\r\n\r\n":                             0,
		"PUT / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n":                               400,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n":          400,
		"PUT / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n":          400,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n":             400,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n":                         501,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n":                      501,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": 501,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n":                              501,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n":                           400,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n\r\n":                                       501,
		"PUT / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n":                              400,
		"PUT / HTTP/1.1\r\n" + host + "Transfer_Encoding: chunked\r\n\r\n":                               0,
	}
}

// parseHead parses a head that came whole or, if drip, byte by byte.
func parseHead(text string, drip bool) (m *message, err error) {
	m = &message{buf: make([]byte, 0, bufferSize)}
	step := len(text)
	if drip {
		step = 1
	}
	for len(text) > 0 && !m.parsed && err == nil {
		n := min(step, len(text))
		m.buf = append(m.buf, text[:n]...)
		text = text[n:]
		err = m.parse(20 << 10)
	}
	return m, err
}

// TestHeads: what is accepted and refused, whole and byte by byte. net/http accepts what
// is accepted, with the same method, target and length.
func TestHeads(t *testing.T) {
	for text, want := range heads() {
		for _, drip := range []bool{false, true} {
			m, err := parseHead(text, drip)
			var r *refusal
			switch errors.As(err, &r); {
			case err == nil && !m.parsed:
				t.Errorf("%q is not whole", text)
			case err == nil && want != 0, err != nil && r.status != want:
				t.Errorf("%q: %v, want status %d", text, err, want)
			case err == nil:
				agrees(t, m)
			}
		}
	}
}

// agrees compares an accepted head with net/http's reading of it. The target may be one
// that net/http cannot parse and answers with 400.
func agrees(t *testing.T, m *message) {
	t.Helper()
	text := string(m.buf[m.off:m.head.line])
	target := string(m.Target)
	if string(m.Method) == http.MethodConnect && target[0] != '/' {
		target = "http://" + target
	}
	if _, err := url.ParseRequestURI(target); err != nil {
		return
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Errorf("net/http refuses %q: %v", text, err)
		return
	}
	length := m.head.length
	if m.head.chunked {
		length = -1
	}
	if r.Method != string(m.Method) || r.RequestURI != string(m.Target) || r.ContentLength != length || r.ProtoMinor != m.Minor {
		t.Errorf("%q: net/http reads %s %s, length %d", text, r.Method, r.RequestURI, r.ContentLength)
	}
	if r.Close != m.head.ends(&m.Request) {
		t.Errorf("%q: net/http closes: %v", text, r.Close)
	}
	for _, f := range m.Fields {
		name := http.CanonicalHeaderKey(string(f.Name))
		if values := r.Header[name]; len(values) == 0 && name != "Host" && name != "Transfer-Encoding" { // ReadRequest moves these
			t.Errorf("%q: net/http does not have %s", text, name)
		}
	}
}

func FuzzHead(f *testing.F) {
	for text := range heads() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		whole, err := parseHead(text, false)
		slow, slowErr := parseHead(text, true)
		if (err == nil) != (slowErr == nil) || whole.parsed != slow.parsed || whole.head.line != slow.head.line && err == nil {
			t.Fatalf("%q: %v and %v whole, %v and %v in bytes", text, whole.parsed, err, slow.parsed, slowErr)
		}
		if whole.parsed && err == nil {
			agrees(t, whole)
		}
	})
}

// bodies are chunked bodies, each with the number of bytes that belong to it; -1: malformed.
func bodies() map[string]int {
	long := strings.Repeat("x", 300)
	return map[string]int{
		"0\r\n\r\n":                           5,
		"0\r\n\r\nGET":                        5,
		"000\r\n\r\n":                         7,
		"3\r\nabc\r\n0\r\n\r\n":               13,
		"A\r\n0123456789\r\n0\r\n\r\nrest":    20,
		"3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n": 25,
		"0\r\nA: b\r\n\r\n":                   11,
		"0\r\nA: b\r\nC:\r\n\r\nGET":          15,
		"":                                    0,
		"\r\n":                                -1,
		";\r\n":                               -1,
		"g\r\n":                               -1,
		"0x3\r\nabc\r\n":                      -1,
		"+3\r\nabc\r\n":                       -1,
		"3 \r\nabc\r\n":                       -1,
		" 3\r\nabc\r\n":                       -1,
		"3\nabc\r\n":                          -1,
		"3\r\nabc\n0\r\n\r\n":                 -1,
		"3\r\nabcd\r\n0\r\n\r\n":              -1,
		"3\r\nabc0\r\n\r\n":                   -1,
		"3\r\nabc\r0\r\n\r\n":                 -1,
		"3;a\rb\r\nabc\r\n":                   -1,
		"3;a\nb\r\nabc\r\n":                   -1,
		"3;\x00\r\nabc\r\n":                   -1,
		"3;" + long + "\r\nabc\r\n":           -1,
		"1000000000000000\r\n":                -1,
		"0\r\nA: b\n\r\n":                     -1,
		"0\r\nA : b\r\n\r\n":                  -1,
		"0\r\n A: b\r\n\r\n":                  -1,
		"0\r\nContent-Length: 1\r\n\r\n":      -1,
		"0\r\nTransfer-Encoding: chunked\r\n\r\n": -1,
		"0\r\nhost: b\r\n\r\n":                    -1,
		"0\r\nTrailer: b\r\n\r\n":                 -1,
		"0\r\nA: " + strings.Repeat(long, 14):     -1,
		"0\r\n\n":                                 -1,
	}
}

// readChunks passes a body to the validator in pieces, and returns how much belongs to it.
func readChunks(text string, size int) (n int, ended bool, err error) {
	var c chunks
	for end := min(size, len(text)); ; end = min(end+size, len(text)) {
		took, err := c.advance([]byte(text[n:end]))
		if n += took; err != nil || c.ended() || end == len(text) {
			return n, c.ended(), err
		}
	}
}

func TestChunks(t *testing.T) {
	for text, want := range bodies() {
		for _, size := range []int{1, 2, 3, 5000} {
			n, ended, err := readChunks(text, size)
			switch {
			case want < 0 && err == nil:
				t.Errorf("%q in pieces of %d: accepted %d bytes", text, size, n)
			case want >= 0 && (err != nil || n != want || ended != (want > 0)):
				t.Errorf("%q in pieces of %d: %d bytes, ended %v, %v", text, size, n, ended, err)
			case want > 0:
				chunksAgree(t, text, n)
			}
		}
	}
}

// chunksAgree compares an accepted body with net/http's reading of it.
func chunksAgree(t *testing.T, text string, n int) {
	t.Helper()
	in := bufio.NewReader(strings.NewReader("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + text))
	r, err := http.ReadRequest(in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		if !strings.Contains(err.Error(), "too much non-data") { // a limit that the framer leaves to net/http
			t.Errorf("net/http refuses the body %q: %v", text, err)
		}
		return
	}
	rest, _ := io.ReadAll(in)
	if !bytes.Equal(rest, []byte(text[n:])) {
		t.Errorf("%q: net/http leaves %q, the framer %q", text, rest, text[n:])
	}
}

func FuzzChunks(f *testing.F) {
	for text := range bodies() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, ended, err := readChunks(text, len(text)+1)
		_, slowEnded, slowErr := readChunks(text, 1)
		if ended != slowEnded || (err == nil) != (slowErr == nil) {
			t.Fatalf("%q: %v, %v whole; %v, %v in bytes", text, ended, err, slowEnded, slowErr)
		}
		if ended && err == nil {
			chunksAgree(t, text, n)
		}
	})
}
