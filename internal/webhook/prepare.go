package webhook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// maxUnread is how long an entry is sent from memory. Its user may be erased meanwhile, so
// it is read again then.
const maxUnread = 10 * time.Second

const (
	// maxUnreadable is how long an entry waits for people that cannot be read, while the
	// store answers otherwise. A damaged record must not stop a subscription for ever.
	maxUnreadable = 10 * time.Minute
	// unreadableGap is the longest time between two failures of the same cause.
	unreadableGap = 2 * time.Minute
)

// Errors of events that are never sent.
var (
	// errUnwritable: a form cannot write an entry, now and later.
	errUnwritable = errors.New("the events of an entry cannot be written")
	// errDropped: the retention of the log passed an entry, or it is damaged.
	errDropped = errors.New("the log dropped an entry")
	// errGivenUp: the people of an entry could not be read for maxUnreadable.
	errGivenUp = errors.New("the people of an entry could not be read for too long")
)

// errPeople: the people of an entry cannot be read now.
var errPeople = errors.New("the people of an entry cannot be read")

const reasonUnreadable = "the directory's record of a user cannot be read"

// lossReason is the reason of the gap that an error makes; empty: it makes none.
func lossReason(err error) string {
	switch {
	case errors.Is(err, errUnwritable):
		return reasonDamaged
	case errors.Is(err, errDropped):
		return reasonRetention
	case errors.Is(err, errGivenUp):
		return reasonUnreadable
	default:
		return ""
	}
}

// unreadable are the users of entries whose people cannot be read.
type unreadable struct {
	mu    sync.Mutex
	users map[presence.UserID]failing
}

// A failing user cannot be read since a time.
type failing struct {
	at          store.Position // of the entry that failed first
	since, last time.Time
}

// failed notes a failure, and returns for how long there have been some.
func (u *unreadable) failed(e *store.Entry, now time.Time) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users == nil {
		u.users = make(map[presence.UserID]failing)
	}
	maps.DeleteFunc(u.users, func(_ presence.UserID, f failing) bool { return now.Sub(f.last) > unreadableGap })
	f, ok := u.users[e.User.ID]
	if !ok {
		f.at, f.since = e.At, now
	}
	f.last = now
	u.users[e.User.ID] = f
	return now.Sub(f.since)
}

// succeeded ends the failures of a user. An older entry may have other people.
func (u *unreadable) succeeded(e *store.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f, ok := u.users[e.User.ID]; ok && e.At >= f.at {
		delete(u.users, e.User.ID)
	}
}

// prepare gives the events of an entry. It gives up an entry whose people cannot be read
// for long, and the user's next ones at once, until one succeeds.
func (w *worker) prepare(ctx context.Context, s *Subscription, form Form, e *store.Entry) ([]Event, error) {
	events, err := w.d.encode(ctx, s, form, e)
	if !errors.Is(err, errPeople) {
		w.unreadable.succeeded(e)
		return events, err
	}
	if w.unreadable.failed(e, w.d.Clock()) < maxUnreadable {
		return nil, err
	}
	if _, unavailable := w.d.stateVersion(ctx, s); unavailable != nil {
		return nil, err // it is the store
	}
	return nil, fmt.Errorf("%w: %w", errGivenUp, err)
}

// entry reads an entry of a user again. It is nil if the user was erased.
func (d *Deliverer) entry(ctx context.Context, at store.Position, u store.User) (*store.Entry, error) {
	entries, err := d.Store.Log(ctx, at-1, 1)
	switch {
	case err != nil:
		return nil, err
	case len(entries) == 0 || entries[0].At != at:
		return nil, d.dropped(ctx, at)
	case entries[0].Damaged != nil:
		return nil, errDropped
	case entries[0].Erased || entries[0].User != u:
		return nil, nil //nolint:nilnil // it is not an error
	default:
		return &entries[0], nil
	}
}

// dropped is errDropped if the retention passed an entry that the log does not have.
// Otherwise the entry was erased: some engines keep no trace of erased entries.
func (d *Deliverer) dropped(ctx context.Context, at store.Position) error {
	oldest, err := d.Store.PositionAt(ctx, unixZero)
	if err == nil && oldest >= at {
		return errDropped
	}
	return err
}

// remains reports whether the events of an entry may still be sent. It costs nothing soon
// after the entry was read. With an error other than of a loss nothing is known.
func (d *Deliverer) remains(ctx context.Context, e *readEntry) (bool, error) {
	now := d.Clock()
	if now.Sub(e.read) <= maxUnread {
		return true, nil
	}
	again, err := d.entry(ctx, e.At, e.User)
	if err != nil {
		return lossReason(err) == "", err
	}
	e.read = now
	return again != nil, nil
}
