package notify_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/notify"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// A quietSink is a connection that takes everything.
type quietSink struct {
	answers bool

	mu    sync.Mutex // guards the fields below
	pings int
	bytes int
	ended bool
	why   notify.Close
}

func (q *quietSink) Append(b []byte, f *notify.Frame) []byte {
	if f.Kind == notify.Ping {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.pings++
	}
	return append(append(b, f.Kind...), '\n')
}

func (q *quietSink) TryWrite(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes += len(b)
	return len(b), nil
}

func (q *quietSink) Write(b []byte, _ *notify.Pace) error {
	_, err := q.TryWrite(b)
	return err
}

func (q *quietSink) Answers() bool { return q.answers }

func (q *quietSink) Hears() bool { return true }

func (q *quietSink) Finish(_ bool, done func()) { done() }

func (q *quietSink) End(why notify.Close, _ time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.why = true, why
}

func (q *quietSink) state() (pings int, ended bool, why notify.Close) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pings, q.ended, q.why
}

// bareFormat writes nothing that matters.
type bareFormat struct{}

func (bareFormat) AppendPresence(b []byte, _ presence.UserID, _ *presence.Presence) []byte {
	return append(b, '{')
}
func (bareFormat) AppendGone(b []byte, _ presence.UserID, _ string) []byte { return append(b, '{') }
func (bareFormat) Snapshot(s *notify.Snapshot) []notify.Frame {
	return []notify.Frame{{Kind: "snapshot", Body: []byte("{"), Cursor: s.Cursor}}
}

type nobody struct{}

func (nobody) Watcher(presence.UserID) presence.Watcher { return presence.Watcher{Truth: true} }

// sweepBubble runs a hub on a fake clock.
func sweepBubble(t *testing.T, test func(t *testing.T, h *notify.Hub)) {
	storeBubble(t, func(t *testing.T, st store.Store) {
		h := notify.NewHub(notify.Options{
			Store:     st,
			Known:     func(context.Context, store.User) error { return nil },
			Gone:      errGone,
			Valid:     func(_ context.Context, all []view.Viewer) []error { return make([]error, len(all)) },
			Forbidden: func(err error) bool { return errors.Is(err, errNobody) },
			Format:    bareFormat{},
			Clock:     time.Now,
			Log:       slog.New(slog.DiscardHandler),
		})
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		test(t, h)
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
}

// TestWhoOnlyReadsIsAskedForASignOfLife: a WebSocket that is sent something all the
// time is pinged like an idle one. Without that, a client that only reads would
// have nothing to answer, and be closed as silent.
func TestWhoOnlyReadsIsAskedForASignOfLife(t *testing.T) {
	sweepBubble(t, func(t *testing.T, h *notify.Hub) {
		sink := &quietSink{answers: true}
		s, err := h.Open(t.Context(), "a", "", nobody{}, sink)
		if err != nil {
			t.Fatal(err)
		}
		answered := 0
		for range 300 {
			s.Send(notify.Frame{Kind: "presence", Body: []byte("{")})
			time.Sleep(time.Second)
			synctest.Wait()
			if pings, _, _ := sink.state(); pings > answered { // as every WebSocket client does
				answered = pings
				s.Heard()
			}
		}
		pings, ended, why := sink.state()
		if ended {
			t.Fatalf("a client that answers every ping was closed: %d", why)
		}
		if pings < 10 || pings > 12 {
			t.Errorf("%d pings in 300 s, want one in %v", pings, notify.PingEvery)
		}
		s.End(notify.CloseGone, 0)
	})
}

// TestHalfOpenConnectionsEnd: who does not answer for three pings is closed as
// silent, however much it is sent; who cannot answer, over SSE, is not.
func TestHalfOpenConnectionsEnd(t *testing.T) {
	sweepBubble(t, func(t *testing.T, h *notify.Hub) {
		half, idle, events := &quietSink{answers: true}, &quietSink{answers: true}, &quietSink{}
		var streams []*notify.Stream
		for _, sink := range []*quietSink{half, idle, events} {
			s, err := h.Open(t.Context(), "a", "", nobody{}, sink)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		for range 74 {
			streams[0].Send(notify.Frame{Kind: "presence", Body: []byte("{")})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for _, sink := range []*quietSink{half, idle} {
			if pings, ended, _ := sink.state(); ended || pings != 2 {
				t.Errorf("after 74 s: %d pings, ended %v", pings, ended)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for _, sink := range []*quietSink{half, idle} {
			if _, ended, why := sink.state(); !ended || why != notify.CloseSilent {
				t.Errorf("after 77 s: ended %v, %d", ended, why)
			}
		}
		if pings, ended, _ := events.state(); ended || pings != 3 {
			t.Errorf("over SSE, after 77 s: %d pings, ended %v", pings, ended)
		}
		streams[2].End(notify.CloseGone, 0)
	})
}
