package framer

import (
	"fmt"
	"net/http"

	"porchlight.dev/porchlight/internal/netconn"
)

// A message is the buffer of a connection that has unread bytes: those of the message
// under way, then those of the next one.
type message struct {
	Request

	head   head
	parsed bool // the head
	chunks chunks
	left   int64 // of a Content-Length, after ok
	broken bool  // the body is malformed

	buf     []byte
	off, ok int // buf[off:ok] is of the message under way, checked, and not yet given to net/http

	out    []byte // an answer that the connection's goroutine is to write
	writer netconn.Writer
}

const (
	bufferSize    = 4 << 10
	maxKeptFields = 64 // for the next message
)

// reset prepares for the message after the one under way.
func (m *message) reset() {
	n := copy(m.buf, m.buf[m.ok:])
	m.buf = m.buf[:n]
	fields := m.Fields[:0]
	if cap(fields) > maxKeptFields {
		fields = nil
	}
	m.Request = Request{Fields: fields}
	m.head, m.parsed, m.chunks, m.left, m.broken = head{}, false, chunks{}, 0, false
	m.off, m.ok = 0, 0
}

// room is where to read more, or nil if the buffer is full.
func (m *message) room() []byte { return m.buf[len(m.buf):cap(m.buf)] }

// grow makes room. What points into the old buffer stays valid.
func (m *message) grow() {
	if len(m.buf) == cap(m.buf) {
		m.buf = append(make([]byte, 0, 2*cap(m.buf)), m.buf...)
	}
}

// parse parses the head as far as it is there.
func (m *message) parse(most int) error {
	whole, err := m.head.parse(m.buf, &m.Request)
	switch {
	case err != nil:
		return err
	case whole && m.head.line <= most:
		m.parsed, m.ok, m.left = true, m.head.line, m.head.length
		if m.head.skipped {
			m.off = len("\r\n")
		}
		m.advance()
	case len(m.buf) >= most:
		return &refusal{http.StatusRequestHeaderFieldsTooLarge, "head is too long"}
	}
	return nil
}

// advance checks the part of the body that is in the buffer.
func (m *message) advance() {
	rest := m.buf[m.ok:]
	if !m.head.chunked {
		n := min(m.left, int64(len(rest)))
		m.ok += int(n)
		m.left -= n
		return
	}
	n, err := m.chunks.advance(rest)
	m.ok += n
	if err != nil {
		m.breakOff()
	}
}

// broken marks a body as malformed in a way that net/http is sure to notice.
const brokenChunk = "!\r\n"

func (m *message) breakOff() {
	m.buf = append(m.buf[:m.ok], brokenChunk...)
	m.ok = len(m.buf)
	m.broken = true
}

// whole reports whether the end of the message was found.
func (m *message) whole() bool {
	if m.head.chunked {
		return m.broken || m.chunks.ended()
	}
	return m.left == 0
}

// simple reports whether a Fast may answer the message.
func (m *message) simple() bool {
	h := &m.head
	return h.length <= MaxFastBody && !h.chunked && !h.expect && !h.upgrade
}

// response is what is written for a refusal: net/http's words.
func (r *refusal) response() []byte {
	status := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	body := status
	switch r.status {
	case http.StatusRequestHeaderFieldsTooLarge:
	case http.StatusNotImplemented:
		body = r.reason
	default:
		status += ": " + r.reason
		body = status
	}
	return fmt.Appendf(nil, "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s", status, body)
}
