package framer

import (
	"crypto/tls"
	"net"
)

// A Field is one header field. Its slices point into the connection's buffer.
type Field struct {
	Name, Value []byte // Value has no spaces and tabs around it
}

// A Request is a message that was read whole. It is valid until it is answered or
// declined.
type Request struct {
	Method, Target []byte
	Minor          int // HTTP/1.x
	Fields         []Field
	Body           []byte // set for Serve
}

// A Fast answers requests without net/http.
type Fast interface {
	// Wants reports by the head alone whether Serve may answer the request. The framer
	// asks only about messages whose body is short: at most MaxFastBody bytes, not
	// chunked, and neither expected nor an upgrade.
	Wants(r *Request) bool
	// Serve answers the request: it calls c.Reply or c.Decline exactly once, before it
	// returns or later from any goroutine.
	Serve(c *Conn, r *Request)
}

// MaxFastBody is the longest body of a request that a Fast is asked about.
const MaxFastBody = 4 << 10

// A Conn is one connection. At most one request of it is under way.
type Conn struct {
	State any // a Fast's own, nil at first

	conn net.Conn
}

// Reply writes a whole response. It never blocks on the peer; b may be reused when it
// returns.
func (c *Conn) Reply(b []byte) { _, _ = c.conn.Write(b) }

// Decline leaves the request to net/http. Nothing may have been changed by it.
func (c *Conn) Decline() { _ = c.conn.Close() }

// Closing reports whether the response must carry "Connection: close": the connection is
// closed after it.
func (c *Conn) Closing() bool { return false }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// TLS is the state of the TLS connection, or nil if the connection is plain.
func (c *Conn) TLS() *tls.ConnectionState { return nil }
