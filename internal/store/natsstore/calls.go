package natsstore

import (
	"context"
	"errors"
	"sync"
	"time"
)

// calls are the questions that wait for an answer. When the connection ends,
// none of them will get one: they end as well, and are asked again on the next.
type calls struct {
	mu   sync.Mutex // guards the fields below
	next uint64
	m    map[uint64]context.CancelCauseFunc
}

var errHungUp = errors.New("the connection ended before the answer came")

// begin limits one question to a time, and to this connection.
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

// hangUp ends all of them.
func (c *calls) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.m {
		cancel(errHungUp)
	}
}
