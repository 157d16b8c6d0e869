package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// MaxReplay is how many entries of the log a replay may cover.
const MaxReplay = 100_000

var (
	// ErrReplaying: a replay of the subscription has not ended yet.
	ErrReplaying = errors.New("another replay of the subscription has not ended yet")
	// ErrReplayTooLong: the replay would cover more than MaxReplay entries.
	ErrReplayTooLong = fmt.Errorf("a replay covers at most %d entries of the log", MaxReplay)
	// ErrEventType: the form has no events of this type.
	ErrEventType = errors.New("the form has no events of this type")
)

// Replay sends the events above a position again, up to the newest one, beside those
// that happen meanwhile. They have the same IDs as before and are marked as replayed. It
// returns the position of the last one. The node that delivers begins within a second or so.
// PositionAt of the store gives the position of a time.
func (d *Deliverer) Replay(ctx context.Context, s *Subscription, after store.Position) (to store.Position, err error) {
	switch {
	case s.URL == "":
		return 0, ErrNoEndpoint
	case !s.Health.Disabled.IsZero():
		return 0, ErrDisabled
	case s.Paused:
		return 0, ErrPaused
	}
	v, _, err := d.loadState(ctx, s)
	switch {
	case err != nil:
		return 0, err
	case v.Replay != nil || d.pendingReplay(s, v.Replays):
		return 0, ErrReplaying
	}
	to, err = d.newest(ctx)
	if err != nil {
		return 0, err
	}
	if oldest, err := d.Store.PositionAt(ctx, unixZero); err != nil {
		return 0, err
	} else if after = max(after, oldest); after < to && to-after > MaxReplay {
		return 0, ErrReplayTooLong
	}
	number := max(s.Replay.Number, v.Replays) + 1 // an older version drops the former
	return to, d.SetReplay(ctx, s, ReplayRequest{Number: number, Epoch: d.Store.Epoch(), After: min(after, to), To: to})
}

// A ReplayRequest is the newest replay of a subscription that was requested.
type ReplayRequest struct {
	Number uint64         `json:"number"` // 1 is the first; 0: none was requested
	Epoch  string         `json:"epoch"`  // of the positions
	After  store.Position `json:"after"`
	To     store.Position `json:"to"`
}

// pendingReplay reports whether the newest requested replay has not begun.
func (d *Deliverer) pendingReplay(s *Subscription, begun uint64) bool {
	return s.Replay.Number > begun && s.Replay.Epoch == d.Store.Epoch()
}

// beginReplay begins the replay that was requested, on any node.
func (w *worker) beginReplay() {
	if w.d.pendingReplay(w.sub, w.replays) {
		w.replay, w.dirty = newLane(w.sub.Replay.After, w.sub.Replay.To), true
	}
	w.replays = max(w.replays, w.sub.Replay.Number)
}

// Test sends a sample of an event once, and returns the attempt. who is the user in it.
func (d *Deliverer) Test(ctx context.Context, s *Subscription, eventType string, who *Person) (Attempt, error) {
	if s.URL == "" {
		return Attempt{}, ErrNoEndpoint
	}
	form, _, err := d.of(s)
	if err != nil {
		return Attempt{}, err
	}
	now := d.Clock()
	event, ok := form.Sample(s.Account, eventType, who, now)
	if !ok {
		return Attempt{}, ErrEventType
	}
	r := &Request{Subscription: s, Event: &event, ID: testID(s.Account, s.ID, now), Number: 1}
	a := d.attempt(ctx, r)
	d.logs.of(s).add(&a)
	return a, nil
}

func testID(account presence.AccountID, id string, now time.Time) string {
	return eventID("test", account, id, now.UnixNano())
}
