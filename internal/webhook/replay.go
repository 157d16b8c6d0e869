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
// returns the position of the last one. PositionAt of the store gives the position of a
// time.
func (d *Deliverer) Replay(ctx context.Context, s *Subscription, after store.Position) (to store.Position, err error) {
	switch {
	case s.URL == "":
		return 0, ErrNoEndpoint
	case !s.Health.Disabled.IsZero():
		return 0, ErrDisabled
	case s.Paused:
		return 0, ErrPaused
	}
	w, err := d.worker(s)
	if err != nil {
		return 0, err
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
	return to, w.askReplay(&replayValue{At: min(after, to), To: to})
}

func (w *worker) askReplay(r *replayValue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked != nil || w.published.Replaying {
		return ErrReplaying
	}
	w.asked = r
	w.notify()
	return nil
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
