package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// How a stream reconnects.
const (
	firstWait = time.Second      // bounds the first wait; the bound doubles each time
	longest   = 30 * time.Second // the largest bound
	proven    = 10 * time.Second // a connection that lasted this long resets the backoff
	taken     = time.Second      // a connection that lasted this long had a valid token
)

// A backoff computes the wait before the next attempt: the time that the server asked
// for, plus a random time up to a bound that doubles, so that many clients do not
// reconnect at the same time ("full jitter").
type backoff struct {
	failures int
	random   func(below time.Duration) time.Duration
}

func (b *backoff) next(asked time.Duration) time.Duration {
	bound := longest
	if b.failures < 5 {
		bound = firstWait << b.failures
	}
	b.failures++
	return asked + b.random(bound)
}

func uniform(below time.Duration) time.Duration { return rand.N(below) }

// sleep waits, and reports whether ctx is still valid.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// A pace limits the rate of sending to four fifths of what a server accepts (see
// too_fast in docs/streaming.md).
type pace struct {
	frames, bytes allowance
}

func newPace() *pace {
	return &pace{
		frames: allowance{perSecond: 40, most: 400, left: 400},
		bytes:  allowance{perSecond: 51 << 10, most: 819 << 10, left: 819 << 10},
	}
}

// reserve counts a frame of this size, and returns how long to wait before sending it.
func (p *pace) reserve(size int, now time.Time) time.Duration {
	return max(p.frames.reserve(1, now), p.bytes.reserve(float64(size), now))
}

// An allowance is a token bucket that can be overdrawn by senders that then wait.
type allowance struct {
	perSecond, most, left float64
	at                    time.Time
}

func (a *allowance) reserve(n float64, now time.Time) time.Duration {
	if !a.at.IsZero() {
		a.left = min(a.most, a.left+now.Sub(a.at).Seconds()*a.perSecond)
	}
	a.at = now
	a.left -= n
	return time.Duration(max(0, -a.left/a.perSecond) * float64(time.Second))
}
