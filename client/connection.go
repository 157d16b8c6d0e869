package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/api"
)

// Limits of one connection.
const (
	maxFrame     = 16 << 20         // from the server; a part of a snapshot has at most 2 MiB
	writeTimeout = 10 * time.Second // after this time without progress the connection is lost
	leaveTimeout = 2 * time.Second  // for signing out and closing when Run returns
	defaultPing  = 30 * time.Second // until hello has the server's interval
)

// A ClosedError means that the server closed the stream.
type ClosedError struct {
	Code       int           // of the close frame
	Reason     string        // as in docs/streaming.md
	RetryAfter time.Duration // before reconnecting
}

func (e *ClosedError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the server closed the stream (%d)", e.Code)
	}
	return fmt.Sprintf("the server closed the stream: %s (%d)", e.Reason, e.Code)
}

// final reports whether a client must fix the cause before it reconnects: after the
// codes from 3500, and after protocol errors.
func (e *ClosedError) final() bool {
	switch websocket.StatusCode(e.Code) {
	case websocket.StatusProtocolError, websocket.StatusInvalidFramePayloadData, websocket.StatusMessageTooBig:
		return true
	default:
		return e.Code >= 3500 && e.Code <= 3999
	}
}

// errSilent ends a connection on which nothing arrives.
var errSilent = errors.New("keepalive timeout: the server has sent nothing for too long")

// connection makes one connection and serves it until it ends. lasted is how long it
// was usable.
func (s *Stream) connection(ctx context.Context) (token string, lasted time.Duration, err error) {
	token, err = s.client.tokens.Token(ctx)
	if err != nil {
		return "", 0, err
	}
	if err := s.name(ctx); err != nil {
		return token, 0, err
	}
	c := &connection{stream: s, url: s.client.base + "/v1/stream", opened: make(chan struct{})}
	if s.opts.OnWatch != nil {
		c.url += "?watches=true"
	}
	if err := c.dial(ctx, token); err != nil {
		return token, 0, err
	}
	err = c.serve(ctx)
	s.mu.Lock()
	s.disconnected()
	s.mu.Unlock()
	if !c.since.IsZero() {
		lasted = time.Since(c.since)
	}
	return token, lasted, err
}

// name asks once for the token's user, and refuses to act as the owner unless AsOwner is
// set.
func (s *Stream) name(ctx context.Context) error {
	if s.named || s.opts.AsOwner {
		return nil
	}
	me, err := s.client.Me(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named, s.ofAccount = true, me.AccountLevel
	if s.ofAccount && (s.opts.SignIn != nil || s.wanted[theContacts] != nil) {
		return ErrActsAsOwner
	}
	return nil
}

// A connection is one WebSocket.
type connection struct {
	stream   *Stream
	url      string
	ws       *websocket.Conn
	lastRead atomic.Int64  // when anything last arrived, in nanoseconds
	opened   chan struct{} // closed at hello
	since    time.Time     // of hello
}

func (c *connection) dial(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, c.url, &websocket.DialOptions{ //nolint:bodyclose // the library closes it, as documented
		HTTPClient:     c.stream.client.http,
		HTTPHeader:     http.Header{"Authorization": {"Bearer " + token}},
		OnPingReceived: func(context.Context, []byte) bool { c.recordRead(); return true },
	})
	switch {
	case err == nil:
		ws.SetReadLimit(maxFrame)
		c.ws = ws
		c.recordRead()
		return nil
	case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
		body, _ := io.ReadAll(resp.Body) // at most 1 KiB, and already here
		return errorOf(http.MethodGet, resp, body)
	default:
		return &TransportError{Method: http.MethodGet, URL: c.url, Err: causeOf(err)}
	}
}

func (c *connection) recordRead() { c.lastRead.Store(time.Now().UnixNano()) }

// serve runs the connection until it ends, and releases all its resources.
func (c *connection) serve(ctx context.Context) error {
	// The WebSocket does not outlive the context that it reads with. This one outlives
	// the caller's, so that the stream can sign out when that ends.
	open, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	for _, part := range []func(context.Context) error{c.write, c.supervise} {
		parts.Go(func() {
			if err := part(open); err != nil {
				end(err)
			}
		})
	}
	parts.Go(func() {
		select {
		case <-open.Done():
		case <-ctx.Done():
			c.leave(open, end)
		}
	})
	err := c.read(open)
	if _, closed := errors.AsType[websocket.CloseError](err); !closed && open.Err() != nil {
		err = context.Cause(open)
	}
	end(err)
	_ = c.ws.CloseNow() // it is lost or closed
	parts.Wait()
	return c.failure(err)
}

// failure converts the error that ended the connection for callers.
func (c *connection) failure(err error) error {
	if closed, ok := errors.AsType[websocket.CloseError](err); ok {
		var why api.CloseReason
		if json.Unmarshal([]byte(closed.Reason), &why) != nil {
			why.Reason = closed.Reason
		}
		return &ClosedError{Code: int(closed.Code), Reason: why.Reason, RetryAfter: time.Duration(why.RetryMS) * time.Millisecond}
	}
	if _, ours := errors.AsType[*Error](err); ours {
		return err
	}
	if _, nonsense := errors.AsType[*frameError](err); nonsense {
		return err
	}
	if !errors.Is(err, errSilent) {
		err = fmt.Errorf("connection lost: %w", innermost(err))
	}
	return &TransportError{Method: http.MethodGet, URL: c.url, Err: err}
}

// innermost is the network's error, without the layers around it.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// A frameError is a frame that cannot be decoded.
type frameError struct{ err error }

func (e *frameError) Error() string {
	return fmt.Sprintf("the stream has something that this client does not know: %v", e.err)
}

func (c *connection) read(ctx context.Context) error {
	for {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			return err
		}
		c.recordRead()
		frame := new(api.ServerFrame)
		if err := json.Unmarshal(data, frame); err != nil {
			return &frameError{err}
		}
		if err := c.stream.receive(frame); err != nil {
			return err
		}
		if frame.Type == api.FrameHello && c.since.IsZero() {
			c.since = time.Now()
			close(c.opened)
		}
	}
}

// receive processes a frame and calls the stream's callbacks.
func (s *Stream) receive(frame *api.ServerFrame) error {
	s.mu.Lock()
	err := s.handle(frame)
	callbacks := s.callbacks
	s.callbacks = nil
	s.mu.Unlock()
	for _, call := range callbacks {
		call()
	}
	return err
}

func (c *connection) write(ctx context.Context) error {
	pace := newPace()
	for {
		frame, ok := c.stream.toSend()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-c.stream.wake:
			}
			continue
		}
		data, err := json.Marshal(frame)
		if err != nil {
			return &frameError{err}
		}
		if !sleep(ctx, pace.reserve(len(data), time.Now())) {
			return nil
		}
		if err := c.send(ctx, data); err != nil {
			sleep(ctx, time.Second) // the reader may be about to learn why
			return err
		}
	}
}

func (s *Stream) toSend() (api.ClientFrame, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next()
}

func (c *connection) send(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, data)
}

// supervise detects a server that has vanished, which TCP alone takes many minutes to
// notice.
func (c *connection) supervise(ctx context.Context) error {
	hello := time.NewTimer(defaultPing)
	defer hello.Stop()
	select {
	case <-ctx.Done():
		return nil
	case <-hello.C:
		return errSilent
	case <-c.opened:
	}
	ping := c.stream.pingEvery()
	for {
		switch quiet := c.quiet(); {
		case quiet < 2*ping:
			if !sleep(ctx, 2*ping-quiet) {
				return nil
			}
		case !c.ping(ctx, ping) && c.quiet() >= ping: // another frame may have arrived
			return errSilent
		}
	}
}

// quiet is the time since anything last arrived.
func (c *connection) quiet() time.Duration { return time.Since(time.Unix(0, c.lastRead.Load())) }

// ping reports whether the server answers a ping.
func (c *connection) ping(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if c.ws.Ping(ctx) != nil {
		return false
	}
	c.recordRead()
	return true
}

func (s *Stream) pingEvery() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinged == 0 {
		return defaultPing
	}
	return s.pinged
}

// leave signs out and closes the connection, within a short timeout.
func (c *connection) leave(ctx context.Context, end context.CancelCauseFunc) {
	late := time.AfterFunc(leaveTimeout, func() { end(context.Canceled) })
	defer late.Stop()
	if c.stream.opts.SignIn != nil {
		signOut, err := json.Marshal(api.ClientFrame{Type: api.FrameSignOut})
		if err == nil {
			_ = c.send(ctx, signOut) // the session ends by itself, too
		}
	}
	_ = c.ws.Close(websocket.StatusNormalClosure, "") // likewise
}
