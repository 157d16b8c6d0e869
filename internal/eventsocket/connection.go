package eventsocket

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/webhook"
)

const (
	// pingEvery is how long a connection is without events before it is pinged.
	pingEvery = 25 * time.Second
	// readWithin is how long a client has to read a frame, and to answer a ping.
	readWithin = 10 * time.Second
	// checkEvery is how often the token and the heartbeats are checked.
	checkEvery = 3 * time.Second
	// closeTimeout bounds the end of a connection.
	closeTimeout = time.Second
	// A client may send framesAtOnce frames at once, and as many in framesWithin.
	framesAtOnce = 100
	framesWithin = 10 * time.Second
)

// A connection is one client. One goroutine acknowledges and decides when it ends, one
// reads, and one checks; events are written by the goroutine that brings them.
type connection struct {
	sockets   *Sockets
	ws        *websocket.Conn
	conn      net.Conn // under ws
	principal *auth.Principal
	format    Format
	release   func() // the place in the limits
	end       context.CancelCauseFunc

	opened  chan struct{} // closed when the first frame was written
	written chan struct{} // an event was written
	recheck chan struct{} // the token is to be checked now
	sent    atomic.Uint64 // how many were
	heard   atomic.Int64  // when the last heartbeat came, in nanoseconds
	frames  quota.Bucket  // of the reader
}

// start serves the connection in the background.
func (c *connection) start(ctx context.Context, a Attachment) {
	refused := c.sockets.add(c)
	if refused != nil {
		c.end(refused)
	}
	go func() {
		c.run(ctx, a)
		c.release()
		if refused == nil {
			c.sockets.remove(c)
		}
	}()
}

// run serves the connection until it ends.
func (c *connection) run(ctx context.Context, a Attachment) {
	c.heard.Store(c.sockets.Clock().UnixNano())
	// What is being written must end soon once the connection has to.
	defer context.AfterFunc(ctx, func() { c.setDeadline() })()
	var helpers sync.WaitGroup
	helpers.Go(func() { c.guard(func() error { return c.read(ctx) }) })
	helpers.Go(func() { c.guard(func() error { return c.check(ctx) }) })
	c.guard(func() error { return c.deliver(ctx, a) })
	c.finish(ctx)
	helpers.Wait()
}

// guard ends the connection with the error of f.
func (c *connection) guard(f func() error) {
	defer func() {
		if v := recover(); v != nil {
			c.sockets.Log.Error("panic", slog.Any("value", v), slog.String("stack", string(debug.Stack())))
			c.end(Unavailable)
		}
	}()
	c.end(f())
}

// setDeadline bounds the end of the connection.
func (c *connection) setDeadline() {
	_ = c.conn.SetDeadline(time.Now().Add(closeTimeout)) // it fails if the connection is closed
}

// finish tells the client why the connection ends, and closes it.
func (c *connection) finish(ctx context.Context) {
	why, ok := errors.AsType[Reason](context.Cause(ctx))
	switch {
	case !ok:
		why = Unavailable
		c.sockets.Log.WarnContext(ctx, "event socket failed", slog.Any("err", context.Cause(ctx)))
	case why == Gone:
		_ = c.ws.CloseNow() // no one reads the error
		return
	}
	c.setDeadline()
	code, text := c.format.Close(why)
	_ = c.ws.Close(websocket.StatusCode(code), text) // likewise
}

// deliver lets events be written, and acknowledges those that the client has read, until
// the connection ends.
func (c *connection) deliver(ctx context.Context, a Attachment) error {
	defer a.Close()
	if first := c.format.Opened(); first != nil {
		if err := c.write(ctx, first); err != nil {
			return err
		}
	}
	close(c.opened)
	idle := time.NewTicker(pingEvery)
	defer idle.Stop()
	for {
		select {
		case <-a.Done():
			return reasonOf(a.Err())
		case <-c.written:
			idle.Reset(pingEvery)
		case <-idle.C:
		}
		sent := c.sent.Load()
		if err := c.ping(ctx); err != nil {
			return err
		}
		a.Acknowledge(sent)
	}
}

// ping waits until the client has read everything that was written before: a client
// answers frames in their order.
func (c *connection) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	if err := c.ws.Ping(ctx); err != nil {
		return broken(ctx)
	}
	return nil
}

// send writes an event.
func (c *connection) send(ctx context.Context, r *webhook.Request) error {
	select {
	case <-c.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	frame, err := c.format.Event(ctx, r)
	if err != nil {
		return err
	}
	if err := c.write(ctx, frame); err != nil {
		return err
	}
	c.sent.Add(1)
	select {
	case c.written <- struct{}{}:
	default:
	}
	return nil
}

// write writes a frame. It goes on when ctx is canceled, because that would cut the
// connection in the middle of a frame.
func (c *connection) write(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWithin)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		return broken(ctx)
	}
	return nil
}

// broken is why a write or a ping failed.
func broken(ctx context.Context) Reason {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Slow
	}
	return Gone
}

// reasonOf is why an attachment ended.
func reasonOf(err error) error {
	switch {
	case errors.Is(err, webhook.ErrReplaced):
		return Replaced
	case errors.Is(err, webhook.ErrRemoved), errors.Is(err, webhook.ErrHasEndpoint):
		return Ended
	case errors.Is(err, webhook.ErrNotDelivering):
		return Unavailable
	default:
		return err
	}
}

// read reads until the connection ends. Reading answers pings, and notices pongs.
func (c *connection) read(ctx context.Context) error {
	for {
		_, frame, err := c.ws.Read(context.WithoutCancel(ctx)) // an end of ctx would cut the connection
		if err != nil {
			return Gone
		}
		if _, wait := c.frames.Take(1, framesAtOnce, framesWithin, c.sockets.Clock()); wait > 0 {
			return TooFast
		}
		answer, heartbeat := c.format.Receive(frame)
		if heartbeat {
			c.heard.Store(c.sockets.Clock().UnixNano())
		}
		if answer == nil {
			continue
		}
		if err := c.write(ctx, answer); err != nil {
			return err
		}
	}
}

// check ends the connection of a client that is silent, or whose token is not valid any
// more.
func (c *connection) check(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.recheck:
		case <-ctx.Done():
			return nil
		}
		silent := c.sockets.Clock().Sub(time.Unix(0, c.heard.Load()))
		if most := c.format.Silence(); most > 0 && silent > most {
			return Silent
		}
		err := c.sockets.Access.Recheck(ctx, []*auth.Principal{c.principal})[0]
		switch {
		case errors.Is(err, auth.ErrSuspended):
			return Suspended
		case err != nil && auth.Refused(err):
			return Unauthorized
		}
	}
}
