package hub

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A blockedSink writes nothing and reports no error.
type blockedSink struct{}

func (blockedSink) Append(b []byte, _ Delivery) []byte { return b }
func (blockedSink) TryWrite([]byte) (int, error)       { return 0, nil }
func (blockedSink) Write([]byte, *Pace) error          { return nil }
func (blockedSink) AnswersPings() bool                 { return false }
func (blockedSink) TakesBroadcasts() bool              { return false }
func (blockedSink) End(Close, time.Duration)           {}
func (blockedSink) Finish(_ bool, done func())         { done() }

// TestUnfollowDuringEnd: a user is removed from a stream, for example a former contact,
// while the stream ends with a change of that user in its queue and is still
// registered.
func TestUnfollowDuringEnd(t *testing.T) {
	h := &Hub{targets: make(map[store.User]*target), streams: make(map[*Stream]struct{}), owners: make(map[store.User]*Stream)}
	s := &Stream{hub: h, account: "acme", sink: blockedSink{}}
	e := h.addEdge(s, store.User{Account: "acme", ID: "bob"})
	e.loading = false
	s.edges = []*edge{e}
	s.enqueueView(e, &changeView{change: new(change), seen: Presence{Presence: presence.Presence{Revision: 1}}})

	h.mu.Lock() // End waits for it
	var ending sync.WaitGroup
	ending.Go(func() { s.End(CloseGone, 0) })
	for !s.Ended() {
		runtime.Gosched()
	}
	s.removeEdgesLocked([]presence.UserID{"bob"}, func(*edge) bool { return true })
	h.mu.Unlock()
	ending.Wait()
	if len(s.edges) != 0 || len(h.targets) != 0 {
		t.Errorf("%d edges and %d targets remain", len(s.edges), len(h.targets))
	}
}
