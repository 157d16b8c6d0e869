// Package eventsocket sends the events of a subscription to a client that connects by
// WebSocket, instead of an endpoint that the server calls.
//
// It is separate from the dialects because their sockets differ only in the frames: a
// dialect contributes a Format. It guarantees that an event counts as delivered only after
// the client is known to have read it, so that a client that reconnects misses none and
// may get some again; that one client's slowness delays nobody else; and that a
// connection ends within seconds of the revocation of its token, with the reason.
//
// It must not know the log, and must not decide which events a client gets.
package eventsocket

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/wire"
)

// An Attachment gives a client the events of one subscription. *webhook.Attachment is
// one.
type Attachment interface {
	// Acknowledge reports that the client has read the first n events that were sent.
	Acknowledge(n uint64)
	// Done is closed when the attachment has ended, and Err is why.
	Done() <-chan struct{}
	Err() error
	Close()
}

// Send sends one event to a client.
type Send = func(context.Context, *webhook.Request) error

// Attach begins to give events to send, one at a time and in order, until ctx or the
// attachment ends. An error of send ends it.
type Attach func(ctx context.Context, send Send) (Attachment, error)

// A Format is how a dialect writes the frames of a socket, all of which are text.
type Format interface {
	// Opened is the first frame; nil: none.
	Opened() []byte
	// Event writes an event.
	Event(ctx context.Context, r *webhook.Request) ([]byte, error)
	// Receive answers a frame of the client (nil: with nothing) and reports whether it is
	// a heartbeat.
	Receive(frame []byte) (answer []byte, heartbeat bool)
	// Silence is how long a client may send no heartbeat. Zero: it need not send any,
	// because it answers pings.
	Silence() time.Duration
	// Close is the code and the text of the frame that ends the connection.
	Close(why Reason) (code int, text string)
}

// A Reason is why a connection ends.
type Reason string

// The reasons. After the first five a client may reconnect at once.
const (
	Draining     Reason = "draining" // the server is stopping
	Isolated     Reason = "isolated" // the server cannot reach its store; another node may
	Slow         Reason = "slow"     // the client did not read, or answer a ping, in time
	Unavailable  Reason = "unavailable"
	Silent       Reason = "silent"   // no heartbeat
	Gone         Reason = "gone"     // the client closed the connection, or lost it
	Replaced     Reason = "replaced" // by a newer connection of the same subscription
	Ended        Reason = "ended"    // the subscription was deleted, or has a URL now
	Unauthorized Reason = "unauthorized"
	Suspended    Reason = "account_suspended"
	TooFast      Reason = "too_fast" // the client sent too much
)

func (r Reason) Error() string { return "the event socket has ended: " + string(r) }

// Access checks the tokens of connections; *auth.Authority is one.
type Access interface {
	Recheck(ctx context.Context, principals []*auth.Principal) []error
}

// Sockets are the open connections of a server. Set the fields before the first use.
type Sockets struct {
	Access Access
	Quotas *quota.Guard // nil: none
	Clock  func() time.Time
	Log    *slog.Logger

	mu       sync.Mutex // guards the fields below
	draining bool
	// suspended: no connections for now.
	suspended bool
	open      map[*connection]struct{}
	running   sync.WaitGroup
}

// Check reports why no socket can be opened for a request, before anything is done for
// it: it does not ask for one, or the server is stopping or suspended.
func (s *Sockets) Check(r *http.Request) error {
	if err := wire.CheckHandshake(r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return wire.ErrDraining
	case s.suspended:
		return wire.ErrIsolated
	default:
		return nil
	}
}

// Serve takes over the connection of a request that Check accepted, and sends it the
// events of attach. If it returns an error, nothing was written.
func (s *Sockets) Serve(w http.ResponseWriter, r *http.Request, p *auth.Principal, f Format, attach Attach) error {
	release, err := s.Quotas.Open(p.Caller(wire.ClientOf(w).LimitKey()))
	if err != nil {
		wire.CloseAfter(w, r)
		return err
	}
	c := &connection{
		sockets: s, principal: p, format: f, release: release, opened: make(chan struct{}), written: make(chan struct{}, 1),
		recheck: make(chan struct{}, 1),
	}
	var ctx context.Context
	ctx, c.end = context.WithCancelCause(context.WithoutCancel(r.Context()))
	// It is attached when the client learns that it is connected, so that of two clients
	// the later one stays.
	a, err := attach(ctx, c.send)
	if err == nil {
		c.ws, c.conn, err = accept(w, r)
	}
	if err != nil {
		c.end(err)
		release()
		return err
	}
	c.start(ctx, a)
	return nil
}

// Refuse takes over the connection of a request that Check accepted, only to send a frame
// and to close it: for clients that cannot read an HTTP response.
func (s *Sockets) Refuse(w http.ResponseWriter, r *http.Request, frame []byte, code int, text string) error {
	ws, conn, err := accept(w, r)
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	go func() {
		_ = conn.SetDeadline(time.Now().Add(closeTimeout)) // a failed write ends it
		_ = ws.Write(ctx, websocket.MessageText, frame)
		_ = ws.Close(websocket.StatusCode(code), text)
	}()
	return nil
}

// Recheck checks the tokens of some connections now.
func (s *Sockets) Recheck(covered func(*auth.Principal) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if !covered(c.principal) {
			continue
		}
		select {
		case c.recheck <- struct{}{}:
		default: // it is about to be checked
		}
	}
}

// Suspend opens no connections until Resume, and ends the open ones: the server cannot reach
// its store, but another node may.
func (s *Sockets) Suspend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended = true
	for c := range s.open {
		c.end(Isolated)
	}
}

// Resume opens connections again.
func (s *Sockets) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended = false
}

// Drain opens no more connections and ends the open ones, until ctx ends.
func (s *Sockets) Drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	for c := range s.open {
		c.end(Draining)
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// add registers a connection, or reports why the server accepts none.
func (s *Sockets) add(c *connection) (refused error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return Draining
	case s.suspended:
		return Isolated
	}
	if s.open == nil {
		s.open = make(map[*connection]struct{})
	}
	s.open[c] = struct{}{}
	s.running.Add(1)
	return nil
}

func (s *Sockets) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.running.Done()
}

// maxFrame bounds a frame of a client.
const maxFrame = wire.MaxBody

// accept takes over the connection and answers the handshake. Pages of any origin may
// connect, because the request itself has the token.
func accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, net.Conn, error) {
	u := &upgraded{ResponseWriter: w}
	ws, err := websocket.Accept(u, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	switch {
	case err == nil:
		ws.SetReadLimit(maxFrame)
		return ws, u.conn, nil
	case u.conn != nil:
		_ = u.conn.Close() // it has failed
		return nil, nil, err
	default:
		return nil, nil, &wire.SyntaxError{Reason: "the WebSocket handshake is invalid: its Sec-WebSocket-Key must be 16 bytes in Base64"}
	}
}

// upgraded is a response whose connection is taken over before its head is written, as
// wire.Hijack requires.
type upgraded struct {
	http.ResponseWriter

	conn net.Conn // nil: it was not taken over
}

func (u *upgraded) WriteHeader(int) {}

// Write discards the text of a refusal, which the dialect writes.
func (u *upgraded) Write(b []byte) (int, error) { return len(b), nil }

func (u *upgraded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := wire.Upgraded{ResponseWriter: u.ResponseWriter}.Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.conn = conn
	_ = conn.SetWriteDeadline(time.Now().Add(closeTimeout)) // a failure shows in the next call
	_, err = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	err = errors.Join(err, u.Header().Write(rw))
	_, last := rw.WriteString("\r\n")
	err = errors.Join(err, last, rw.Flush(), conn.SetWriteDeadline(time.Time{}))
	return conn, rw, err
}
