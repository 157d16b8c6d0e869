package quota_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"porchlight.dev/porchlight/internal/quota"
)

// A turnRecorder requests turns and records who got one, in order.
type turnRecorder struct {
	*testing.T
	turns   *quota.Turns
	got     []string
	mu      sync.Mutex // guards refused: several may be refused at once
	refused []string
	end     chan struct{} // each element ends one turn
}

func newTurnRecorder(t *testing.T, atOnce, waiting int) *turnRecorder {
	t.Helper()
	return &turnRecorder{T: t, end: make(chan struct{}), turns: quota.NewTurns(atOnce, &quota.Limit{Name: "reads", Most: waiting, Unit: "reads"})}
}

// requestTurns requests a turn for each name, one after another.
func (r *turnRecorder) requestTurns(ctx context.Context, asked ...string) {
	for _, who := range asked {
		go func() {
			done, err := r.turns.Take(ctx, who[:1])
			if err != nil {
				if _, limit := errors.AsType[*quota.Error](err); !limit {
					who += " left"
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				r.refused = append(r.refused, who)
				return
			}
			r.got = append(r.got, who)
			<-r.end
			done()
		}()
		synctest.Wait()
	}
}

// endTurns ends n turns.
func (r *turnRecorder) endTurns(n int) {
	for range n {
		r.end <- struct{}{}
		synctest.Wait()
	}
}

func (r *turnRecorder) want(got, refused []string) {
	r.Helper()
	if !slices.Equal(r.got, got) || !slices.Equal(r.refused, refused) {
		r.Errorf("turns of %v, refused %v; want %v and %v", r.got, r.refused, got, refused)
	}
}

// TestQueuedCallersTakeTurns: a caller with many requests does not make others wait for
// all of them.
func TestQueuedCallersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTurnRecorder(t, 1, 0)
		r.requestTurns(t.Context(), "a1", "a2", "a3", "a4", "b1", "c1", "c2")
		r.want([]string{"a1"}, nil)
		r.endTurns(7)
		r.want([]string{"a1", "a2", "b1", "c1", "a3", "c2", "a4"}, nil)
		r.requestTurns(t.Context(), "d1") // the turn is free again
		r.endTurns(1)
		r.want([]string{"a1", "a2", "b1", "c1", "a3", "c2", "a4", "d1"}, nil)
	})
}

// TestConcurrencyIsBounded: as many requests run at once as the semaphore admits.
func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTurnRecorder(t, 2, 0)
		r.requestTurns(t.Context(), "a1", "a2", "a3", "b1")
		r.want([]string{"a1", "a2"}, nil)
		r.endTurns(2)
		r.want([]string{"a1", "a2", "a3", "b1"}, nil)
		r.endTurns(2)
	})
}

// TestQueueIsBounded: a full queue refuses the caller with the most requests, not the
// last one to arrive.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTurnRecorder(t, 1, 3)
		r.requestTurns(t.Context(), "a1", "a2", "a3", "a4")
		r.requestTurns(t.Context(), "a5")
		r.want([]string{"a1"}, []string{"a5"})
		r.requestTurns(t.Context(), "b1", "c1")
		r.want([]string{"a1"}, []string{"a5", "a4", "a3"})
		r.requestTurns(t.Context(), "d1") // no caller has more than one
		r.want([]string{"a1"}, []string{"a5", "a4", "a3", "d1"})
		r.endTurns(4)
		r.want([]string{"a1", "a2", "b1", "c1"}, []string{"a5", "a4", "a3", "d1"})
	})
}

// TestCancelledRequestPassesItsTurn: the next request gets the turn of one that is cancelled.
func TestCancelledRequestPassesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTurnRecorder(t, 1, 0)
		r.requestTurns(t.Context(), "a1")
		ctx, leave := context.WithCancel(t.Context())
		r.requestTurns(ctx, "a2", "b1")
		r.requestTurns(t.Context(), "b2")
		leave()
		synctest.Wait()
		slices.Sort(r.refused)
		r.want([]string{"a1"}, []string{"a2 left", "b1 left"})
		r.endTurns(2)
		r.want([]string{"a1", "b2"}, []string{"a2 left", "b1 left"})
	})
}
