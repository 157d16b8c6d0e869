package server

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSteadyClockAfterSleep: while the machine is suspended its clock advances, and the
// steady clock follows immediately.
func TestSteadyClockAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slept := 3 * time.Hour // before the clock was created
		var night atomic.Int64
		c := newSteadyClock(func() time.Time { return time.Now().Add(time.Duration(night.Load())) }, func() time.Duration { return slept + time.Duration(night.Load()) })
		go c.follow(t.Context(), slog.New(slog.DiscardHandler))
		night.Store(int64(8 * time.Hour))
		time.Sleep(followEvery + time.Millisecond)
		synctest.Wait()
		if apart := time.Now().Add(8 * time.Hour).Round(0).Sub(c.now().Round(0)); apart != 0 {
			t.Errorf("the clocks are %v apart after a night", apart)
		}
	})
}

// TestSteadyClock: when the system clock is set by an hour, in either direction, the
// steady clock slews by a tenth of the elapsed time until they agree.
func TestSteadyClock(t *testing.T) {
	for _, set := range []time.Duration{time.Hour, -time.Hour, 50 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			var by atomic.Int64
			c := newSteadyClock(func() time.Time { return time.Now().Add(time.Duration(by.Load())) }, func() time.Duration { return 0 })
			go c.follow(t.Context(), slog.New(slog.DiscardHandler))
			begun := c.now()
			time.Sleep(10*time.Minute + time.Millisecond)
			synctest.Wait()
			if passed := c.now().Sub(begun); passed != 10*time.Minute+time.Millisecond {
				t.Fatalf("the clock advanced %v in 10 minutes", passed)
			}
			by.Store(int64(set))
			before := c.now()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			moved := c.now().Sub(before) - 10*time.Second
			if want := max(-time.Second, min(time.Second, set)); moved != want {
				t.Errorf("after a step of %v the clock advanced %v in 10 s, want %v", set, moved, want)
			}
			time.Sleep(11 * time.Hour)
			synctest.Wait()
			if left := time.Now().Add(set).Round(0).Sub(c.now().Round(0)); left != 0 {
				t.Errorf("after a step of %v the clocks are still %v apart after 11 hours", set, left)
			}
		})
	}
}
