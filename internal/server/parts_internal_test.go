package server

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func untilCancelled(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// TestParts runs parts that stop in order, fail, and hang.
func TestParts(t *testing.T) {
	broken := errors.New("broken")
	t.Run("stop in order", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var stopped []string
			note := func(name string) func(context.Context) {
				return func(context.Context) { stopped = append(stopped, name) }
			}
			ctx, end := context.WithCancel(t.Context())
			r := start(ctx, []*part{
				{name: "a", start: untilCancelled, stop: note("a")},
				{name: "b", start: untilCancelled},
				{name: "c", start: untilCancelled, stop: note("c")},
			})
			r.stop(ctx)
			end()
			if names := r.wait(time.Second); names != nil || !slices.Equal(stopped, []string{"a", "c"}) {
				t.Errorf("hanging parts: %v; stopped: %v", names, stopped)
			}
		})
	})
	t.Run("one fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			unaffected := &part{name: "unaffected", start: untilCancelled}
			r := start(ctx, []*part{unaffected, {name: "fails", start: func(context.Context) error { return broken }}})
			<-r.failed.Done()
			if err := r.failure(); !errors.Is(err, broken) || err.Error() != "fails stopped: broken" {
				t.Errorf("the cause is %v", err)
			}
			synctest.Wait()
			if unaffected.ended.Load() {
				t.Error("the failure stopped another part before requests could report it")
			}
			end()
			if names := r.wait(time.Second); names != nil {
				t.Errorf("hanging parts: %v", names)
			}
		})
	})
	t.Run("one hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			free := make(chan struct{})
			r := start(ctx, []*part{
				{name: "ends", start: untilCancelled},
				{name: "hangs", start: func(context.Context) error { <-free; return nil }},
			})
			end()
			begun := time.Now()
			if names := r.wait(endTimeout); !slices.Equal(names, []string{"hangs"}) || time.Since(begun) != endTimeout {
				t.Errorf("the hanging parts are %v, after %v", names, time.Since(begun))
			}
			close(free)
		})
	})
}
