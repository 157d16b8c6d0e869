package hub_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"porchlight.dev/porchlight/internal/hub"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// A countingSink accepts everything and counts pings and bytes.
type countingSink struct {
	answers bool

	mu    sync.Mutex // guards the fields below
	pings int
	bytes int
	ended bool
	why   hub.Close
}

func (q *countingSink) Append(b []byte, d hub.Delivery) []byte {
	if d.Event == (hub.Ping{}) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.pings++
	}
	return append(b, '\n')
}

func (q *countingSink) TryWrite(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes += len(b)
	return len(b), nil
}

func (q *countingSink) Write(b []byte, _ *hub.Pace) error {
	_, err := q.TryWrite(b)
	return err
}

func (q *countingSink) AnswersPings() bool { return q.answers }

func (q *countingSink) TakesBroadcasts() bool { return true }

func (q *countingSink) Finish(_ bool, done func()) { done() }

func (q *countingSink) End(why hub.Close, _ time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.why = true, why
}

func (q *countingSink) state() (pings int, ended bool, why hub.Close) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pings, q.ended, q.why
}

// A sizedEvent is an event of that many bytes.
type sizedEvent int

func (f sizedEvent) Size() int { return int(f) }

// allUsers is a directory with every user and without contacts, and grants everybody
// access.
type allUsers struct{}

func (allUsers) Exists(context.Context, store.User) (bool, error) { return true, nil }
func (allUsers) ContactLists(context.Context, presence.AccountID, []presence.UserID) (map[presence.UserID]hub.ContactList, error) {
	return nil, nil //nolint:nilnil // no contacts
}

func (allUsers) Members(context.Context, presence.AccountID, presence.UserID, int) ([]hub.Member, error) {
	return nil, nil
}

func (allUsers) UnloggedMembers(context.Context, presence.AccountID, time.Time) ([]hub.MemberChange, error) {
	return nil, nil
}

func (allUsers) GroupKey(name string) string { return name }

func (allUsers) MembersByID(context.Context, presence.AccountID, []presence.UserID) ([]hub.Member, error) {
	return nil, nil
}

func (allUsers) ContactVersions(context.Context, presence.AccountID, []presence.UserID) (map[presence.UserID]string, error) {
	return nil, nil //nolint:nilnil // no contacts
}

func (allUsers) Revoked(_ context.Context, all []view.Viewer) []hub.Close {
	return make([]hub.Close, len(all))
}

type trustedViewer struct{}

func (trustedViewer) Watcher(presence.UserID) presence.Watcher { return presence.Watcher{Truth: true} }

// sweepBubble runs a hub in fake time.
func sweepBubble(t *testing.T, test func(t *testing.T, h *hub.Hub)) {
	storeBubble(t, func(t *testing.T, st store.Store) {
		h := hub.New(hub.Options{
			Store: st, Directory: allUsers{}, Access: allUsers{}, Clock: time.Now, Log: slog.New(slog.DiscardHandler),
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

// TestClientsThatOnlyReadArePinged: a busy WebSocket is pinged like an idle one.
// Otherwise a client that only reads would have nothing to answer and be disconnected
// as silent.
func TestClientsThatOnlyReadArePinged(t *testing.T) {
	sweepBubble(t, func(t *testing.T, h *hub.Hub) {
		sink := &countingSink{answers: true}
		s, err := h.Open(t.Context(), "a", "", trustedViewer{}, sink)
		if err != nil {
			t.Fatal(err)
		}
		answered := 0
		for range 300 {
			s.Send(hub.Message{Event: sizedEvent(1)})
			time.Sleep(time.Second)
			synctest.Wait()
			if pings, _, _ := sink.state(); pings > answered { // like every WebSocket client
				answered = pings
				s.NoteReceived()
			}
		}
		pings, ended, why := sink.state()
		if ended {
			t.Fatalf("a client that answers every ping was disconnected: %d", why)
		}
		if pings < 10 || pings > 12 {
			t.Errorf("%d pings in 300 s, want one in %v", pings, hub.PingEvery)
		}
		s.End(hub.CloseGone, 0)
	})
}

// TestHalfOpenConnectionsEnd: a client that does not answer three pings is disconnected
// as silent, even while data is sent; a client that cannot answer, over SSE, is not.
func TestHalfOpenConnectionsEnd(t *testing.T) {
	sweepBubble(t, func(t *testing.T, h *hub.Hub) {
		half, idle, events := &countingSink{answers: true}, &countingSink{answers: true}, &countingSink{}
		var streams []*hub.Stream
		for _, sink := range []*countingSink{half, idle, events} {
			s, err := h.Open(t.Context(), "a", "", trustedViewer{}, sink)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
		}
		for range 74 {
			streams[0].Send(hub.Message{Event: sizedEvent(1)})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		for _, sink := range []*countingSink{half, idle} {
			if pings, ended, _ := sink.state(); ended || pings != 2 {
				t.Errorf("after 74 s: %d pings, ended %v", pings, ended)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for _, sink := range []*countingSink{half, idle} {
			if _, ended, why := sink.state(); !ended || why != hub.CloseSilent {
				t.Errorf("after 77 s: ended %v, %d", ended, why)
			}
		}
		if pings, ended, _ := events.state(); ended || pings != 3 {
			t.Errorf("over SSE, after 77 s: %d pings, ended %v", pings, ended)
		}
		streams[2].End(hub.CloseGone, 0)
	})
}
