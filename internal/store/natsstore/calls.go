package natsstore

import (
	"context"
	"errors"
	"sync"
	"time"
)

// calls are the requests in flight. When the connection ends they are cancelled, since no
// response will arrive. Their callers repeat them on the next connection.
type calls struct {
	mu   sync.Mutex // guards the fields below
	next uint64
	m    map[uint64]context.CancelCauseFunc
}

var errDisconnected = errors.New("the connection ended before the response arrived")

// begin registers a request, and limits it to a duration and to the current connection.
func (c *calls) begin(ctx context.Context, within time.Duration) (context.Context, func()) {
	ctx, stop := context.WithTimeout(ctx, within)
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	id := c.next
	c.m[id] = cancel
	return ctx, func() {
		c.mu.Lock()
		delete(c.m, id)
		c.mu.Unlock()
		cancel(nil)
		stop()
	}
}

func (c *calls) cancelAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.m {
		cancel(errDisconnected)
	}
}
