package server

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// A steadyClock shows the machine's time at its start and continues with elapsed
// time, so that setting the machine's clock ends no lease early, prolongs none
// and locks nobody out. It follows the machine's clock by at most a tenth of the
// time that passes. Time during which the machine is suspended counts as well.
type steadyClock struct {
	wall  func() time.Time
	slept func() time.Duration
	base  time.Time // with its monotonic reading
	ahead atomic.Int64
	// The goroutine of follow alone uses these.
	sleep  time.Duration // that ahead has in it
	warned bool
}

const (
	followEvery = time.Second
	// followBy is the part of elapsed time by which the clock moves toward the
	// machine's.
	followBy = 10
	// warnAbove is a difference that an operator should know about.
	warnAbove = 2 * time.Second
	// leastSleep is longer than the time between two readings of clocks.
	leastSleep = 100 * time.Millisecond
)

func newSteadyClock(wall func() time.Time, slept func() time.Duration) *steadyClock {
	return &steadyClock{wall: wall, slept: slept, base: wall(), sleep: slept()}
}

// now is the time to use everywhere.
func (c *steadyClock) now() time.Time {
	return c.base.Add(time.Since(c.base) + time.Duration(c.ahead.Load()))
}

// follow moves the clock toward the machine's until ctx ends.
func (c *steadyClock) follow(ctx context.Context, log *slog.Logger) {
	every(ctx, followEvery, func() { c.step(log) })
}

// step makes up for sleep, and for a part of the difference to the machine's clock.
func (c *steadyClock) step(log *slog.Logger) {
	if slept := c.slept(); slept-c.sleep > leastSleep {
		c.ahead.Add(int64(slept - c.sleep))
		c.sleep = slept
	}
	// Without monotonic readings Sub compares what the clocks show.
	difference := c.wall().Round(0).Sub(c.now().Round(0))
	c.ahead.Add(int64(max(-followEvery/followBy, min(followEvery/followBy, difference))))
	switch far := difference.Abs() > warnAbove; {
	case far && !c.warned:
		log.Warn("system clock stepped; adjusting to it gradually", slog.String("difference", difference.String()))
		c.warned = true
	case !far:
		c.warned = false
	}
}
