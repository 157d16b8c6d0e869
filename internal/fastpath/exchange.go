package fastpath

import (
	"net/http"
	"strconv"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/framer"
	"porchlight.dev/porchlight/internal/telemetry"
	"porchlight.dev/porchlight/internal/wire"
)

// An Exchange is a request and its response. It is used again for another request once
// Reply, Fail or Decline was called.
type Exchange struct {
	// Principal is who the request acts for.
	Principal *auth.Principal
	// Own is the handler's, and remains for other requests, of any route.
	Own any
	// Scratch is a buffer for the dialect, and remains as well.
	Scratch []byte

	server    *Server
	conn      *framer.Conn
	request   *framer.Request
	peer      *peer
	route     *route
	segment   []byte
	forwarded wire.Forwarded
	parents   []string // the headers traceparent, if requests are traced
	states    []string // the headers tracestate, likewise
	arrived   wire.Arrival
	facts     wire.Facts
	fields    fields
	out       []byte
	replied   bool // or the panic is that of the framer
}

func (x *Exchange) begin(c *framer.Conn, r *framer.Request) {
	x.conn, x.request, x.peer = c, r, x.server.peerOf(c)
	x.peer.later = false
}

// end makes the exchange ready for another request.
func (x *Exchange) end() {
	*x = Exchange{
		server: x.server, Own: x.Own, Scratch: kept(x.Scratch), out: kept(x.out), fields: fields{text: kept(x.fields.text)},
	}
	x.server.exchanges.Put(x)
}

// kept is an empty buffer for the next request, unless it is unusually large.
func kept(b []byte) []byte {
	const most = 4 << 10
	if cap(b) > most {
		return nil
	}
	return b[:0]
}

// Segment is the variable segment of the path.
func (x *Exchange) Segment() []byte { return x.segment }

// Body is the body of the request. It may be used until the response.
func (x *Exchange) Body() []byte { return x.request.Body }

// Method is the method of the request.
func (x *Exchange) Method() string { return x.route.method }

// RequestID is the request's id.
func (x *Exchange) RequestID() string { return x.facts.RequestID() }

// Span is the request's span, or nil.
func (x *Exchange) Span() *telemetry.Span { return x.facts.Span() }

// SetCode records the code of an error for the access log, in the dialect's terms.
func (x *Exchange) SetCode(code string) { x.facts.SetCode(code) }

// Set sets a header field.
func (x *Exchange) Set(name, value string) { setField(&x.fields, name, value) }

// SetBytes is Set for a value that may change after the call.
func (x *Exchange) SetBytes(name string, value []byte) { setField(&x.fields, name, value) }

// Later declares that the answer comes on another goroutine. The caller must not use x
// afterwards, and that goroutine defers Recover.
func (x *Exchange) Later() { x.peer.later = true }

// Decline leaves the request to net/http: nothing was changed or counted.
func (x *Exchange) Decline() {
	x.server.declined.Add(1)
	x.server.observer.Leave(&x.facts)
	x.conn.Decline()
	x.end()
}

// Fail answers with an error.
func (x *Exchange) Fail(err error) {
	x.facts.SetError(err)
	x.route.dialect.Fail(x, err)
}

// Reply answers.
func (x *Exchange) Reply(status int, body []byte) {
	x.server.observer.Responding(&x.facts)
	x.appendResponse(status, body)
	x.server.observer.End(&x.facts, x.route.meter, status, len(body))
	x.server.answered.Add(1)
	x.replied = true
	x.conn.Reply(x.out)
	x.end()
}

// announce sets the headers that every response has.
func (x *Exchange) announce() {
	x.Set("X-Request-Id", x.facts.RequestID())
	x.Set("Cache-Control", "no-store")
	x.Set("X-Content-Type-Options", "nosniff")
	x.route.dialect.Announce(x)
	hsts, vary := x.server.observer.Site.Fixed(x.route.prefix, x.facts.Client())
	if hsts != "" {
		x.Set("Strict-Transport-Security", hsts)
	}
	if vary != "" {
		x.Set("Vary", vary)
	}
}

// appendResponse writes the response as net/http does: the fields of the handler by name,
// then its own.
func (x *Exchange) appendResponse(status int, body []byte) {
	b := append(x.out[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = x.fields.appendTo(append(b, "\r\n"...))
	b = append(x.server.date.appendTo(append(b, "Date: "...)), "\r\n"...)
	if status != http.StatusNoContent {
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	if x.conn.Closing() {
		b = append(b, "Connection: close\r\n"...)
	}
	x.out = append(append(b, "\r\n"...), body...)
}

// Recover is deferred where a handler continues after Later: it answers after a panic.
func (x *Exchange) Recover() {
	if v := recover(); v != nil {
		x.panicked(v)
	}
}

// recoverServe is Recover for the goroutine of the connection, whose other panics are the
// framer's. After Later, x may be another request's: p is asked, which is only this
// goroutine's.
func (x *Exchange) recoverServe(p *peer) {
	v := recover()
	switch {
	case v == nil:
	case p.later:
		panic(v)
	default:
		x.panicked(v)
	}
}

// panicked answers after a panic, or closes the connection.
func (x *Exchange) panicked(v any) {
	conn, err := x.conn, x.server.observer.Panicked(v)
	answered := false
	defer func() {
		if !answered {
			conn.Abort()
		}
	}()
	if !x.replied {
		x.Fail(err)
		answered = true
	}
}
