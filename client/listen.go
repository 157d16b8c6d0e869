package client

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"porchlight.dev/porchlight/api"
)

// ListenOptions say what to do with the events of a subscription.
type ListenOptions struct {
	// OnEvent gets one event at a time, in order. The server sends an event again, over
	// the next connection, unless OnEvent has returned. It must return within seconds,
	// because meanwhile the client answers no ping of the server.
	OnEvent func(context.Context, *api.EventFrame) error
	// OnState, if not nil, learns that the connection was made or lost.
	OnState func(State)
}

// Listen receives the events of a subscription without URL over a WebSocket. It
// reconnects with backoff; the server then sends the events that happened meanwhile. It
// returns when ctx ends, with its error; when OnEvent fails; or when reconnecting is
// pointless.
func (c *Client) Listen(ctx context.Context, subscription string, opts ListenOptions) error {
	l := &listener{client: c, path: path("v1", "subscriptions", subscription, "events"), opts: opts}
	wait := backoff{random: uniform}
	fresh := false // the token is new
	for {
		token, lasted, err := l.connection(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.failed != nil {
			return l.failed
		}
		if lasted >= proven {
			wait.failures = 0
		}
		if isRefused(err) && (!fresh || lasted >= taken) {
			var failed error
			if _, fresh, failed = renewed(ctx, c.tokens, token); fresh {
				continue
			}
			err = errors.Join(failed, err)
		}
		asked, again := shouldReconnect(err)
		if !again {
			return err
		}
		pause := wait.next(asked)
		l.state(State{Err: err, RetryAfter: pause})
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// A listener is a call of Listen.
type listener struct {
	client *Client
	path   string
	opts   ListenOptions
	failed error // of OnEvent
}

func (l *listener) state(s State) {
	if l.opts.OnState != nil {
		l.opts.OnState(s)
	}
}

// connection makes one connection and serves it until it ends.
func (l *listener) connection(ctx context.Context) (token string, lasted time.Duration, err error) {
	token, err = l.client.tokens.Token(ctx)
	if err != nil {
		return "", 0, err
	}
	// A stream's connection has the same handshake, errors and keepalive.
	c := &connection{stream: &Stream{client: l.client}, url: l.client.base + l.path, opened: make(chan struct{})}
	if err := c.dial(ctx, token); err != nil {
		return token, 0, err
	}
	defer func() { _ = c.ws.CloseNow() }()
	began := time.Now()
	l.state(State{Connected: true})
	err = l.receive(ctx, c)
	return token, time.Since(began), c.failure(err)
}

// silence is how long a server may send nothing, not even a ping.
const silence = 75 * time.Second

// closeWhenSilent detects a server that has vanished. The server's pings count as well.
func (c *connection) closeWhenSilent(ctx context.Context) {
	for left := silence; sleep(ctx, left); left = silence - c.quiet() {
		if c.quiet() >= silence {
			_ = c.ws.CloseNow() // it is lost
			return
		}
	}
}

// receive passes on events until the connection ends.
func (l *listener) receive(ctx context.Context, c *connection) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go c.closeWhenSilent(watching)
	for {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			if c.quiet() >= silence {
				return errSilent
			}
			return err
		}
		c.recordRead()
		frame := new(api.EventFrame)
		if err := json.Unmarshal(data, frame); err != nil {
			return &frameError{err}
		}
		if frame.Type != api.FrameEvent {
			continue // of a newer server
		}
		if l.failed = l.opts.OnEvent(ctx, frame); l.failed != nil {
			return l.failed
		}
	}
}
