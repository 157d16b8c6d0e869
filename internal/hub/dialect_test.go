package hub_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
)

// lineDialect is a dialect of the tests: a line of text for each presence and nothing
// else. It shows everything that a dialect needs.
type lineDialect struct{ encoded *atomic.Int64 }

func (l lineDialect) Encode(e hub.Event) []byte {
	l.encoded.Add(1)
	if p, ok := e.(*hub.Presence); ok {
		return fmt.Appendf(nil, "%s is %s\n", p.User, p.Presence.Status)
	}
	return nil
}

type lineSink struct {
	lineDialect

	mu   sync.Mutex
	text strings.Builder
}

func (s *lineSink) Append(b []byte, d hub.Delivery) []byte {
	return append(b, d.Encoded(s.lineDialect)...)
}

func (s *lineSink) TryWrite(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}
func (s *lineSink) Write(b []byte, _ *hub.Pace) error { _, err := s.TryWrite(b); return err }
func (*lineSink) AnswersPings() bool                  { return false }
func (*lineSink) TakesBroadcasts() bool               { return false }
func (*lineSink) End(hub.Close, time.Duration)        {}
func (*lineSink) Finish(_ bool, done func())          { done() }

func (s *lineSink) take() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.text.Reset()
	return s.text.String()
}

// TestAnotherDialect: a dialect with its own encoding shares a hub with others.
func TestAnotherDialect(t *testing.T) {
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop)
		s, plain := n.open("alice")
		n.follow(s, "", "bob")
		sink := &lineSink{lineDialect: lineDialect{new(atomic.Int64)}}
		other, err := n.hub.Open(n.Context(), "a", "alice", viewer("alice"), sink)
		if err != nil {
			n.Fatal(err)
		}
		n.follow(other, "", "bob")
		plain.takeFrames()
		n.applyEvents("bob", setStatus(presence.Busy, "x"))
		n.want(plain, "bob:busy ")
		n.applyEvents("bob", presence.SetUserState{State: presence.UserDeleted})
		if got, want := sink.take(), "bob is busy\nbob is offline\n"; got != want {
			n.Errorf("delivered %q, want %q", got, want)
		}
	})
}

// A countingViewer counts the views computed for it.
type countingViewer struct {
	viewer
	views *atomic.Int64
}

func (v countingViewer) Watcher(target presence.UserID) presence.Watcher {
	v.views.Add(1)
	return v.viewer.Watcher(target)
}

// TestEncodedOnceForEachDialectAndView: a change is encoded once for each dialect and
// view, and a view is computed once for each stream, however many streams deliver it.
func TestEncodedOnceForEachDialectAndView(t *testing.T) {
	const streams = 100 // of each dialect; half have a restricted view
	bubble(t, func(n *node) {
		n.applyEvents("bob", desktop, presence.SetVisibility{Watchers: map[presence.UserID]presence.Visibility{"carol": presence.VisibilityStatus}})
		var looked atomic.Int64
		dialects := []lineDialect{{new(atomic.Int64)}, {new(atomic.Int64)}}
		for i := range streams {
			for _, dialect := range dialects {
				v := countingViewer{[]viewer{"alice", "carol"}[i%2], &looked}
				s, err := n.hub.Open(n.Context(), "a", presence.UserID(v.viewer), v, &lineSink{lineDialect: dialect})
				if err != nil {
					n.Fatal(err)
				}
				n.follow(s, "", "bob")
			}
		}
		synctest.Wait()
		for _, c := range []struct {
			change  presence.Event
			encoded int64 // for each dialect
			views   int64
		}{
			{setStatus(presence.Busy, "x"), 2, 2 * streams},            // with and without the note
			{presence.SetUserState{State: presence.UserDeleted}, 2, 0}, // all see the same
		} {
			looked.Store(0)
			for _, d := range dialects {
				d.encoded.Store(0)
			}
			n.applyEvents("bob", c.change)
			synctest.Wait()
			for i, d := range dialects {
				if got := d.encoded.Load(); got != c.encoded {
					n.Errorf("%T: dialect %d encoded %d times, want %d", c.change, i, got, c.encoded)
				}
			}
			if got := looked.Load(); got != c.views {
				n.Errorf("%T: %d views, want %d", c.change, got, c.views)
			}
		}
	})
}
