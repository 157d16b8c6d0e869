package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// How a stream comes back.
const (
	firstWait = time.Second      // bounds the first wait; each one after may be twice as long
	longest   = 30 * time.Second // and no longer
	proven    = 10 * time.Second // a connection that lasted as long begins anew
	taken     = time.Second      // one that lasted as long had a token that was good
)

// A backoff says how long to wait before another attempt: what the server asked
// for, and a random time up to a bound that doubles, so that many clients do not
// come back together ("full jitter").
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

// sleep reports whether ctx lasted.
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

// A pace keeps what is sent below what a server takes (see docs/streaming.md,
// too_fast), with a fifth to spare.
type pace struct {
	frames, bytes allowance
}

func newPace() *pace {
	return &pace{
		frames: allowance{perSecond: 40, most: 400, left: 400},
		bytes:  allowance{perSecond: 51 << 10, most: 819 << 10, left: 819 << 10},
	}
}

// take is how long to wait before a frame of so many bytes.
func (p *pace) take(size int, now time.Time) time.Duration {
	return max(p.frames.take(1, now), p.bytes.take(float64(size), now))
}

// An allowance fills over time, and may be overdrawn by those that wait.
type allowance struct {
	perSecond, most, left float64
	at                    time.Time
}

func (a *allowance) take(n float64, now time.Time) time.Duration {
	if !a.at.IsZero() {
		a.left = min(a.most, a.left+now.Sub(a.at).Seconds()*a.perSecond)
	}
	a.at = now
	a.left -= n
	return time.Duration(max(0, -a.left/a.perSecond) * float64(time.Second))
}
