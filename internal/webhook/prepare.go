package webhook

import (
	"context"
	"errors"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// maxUnread is how long an entry is sent from memory. Its user may be erased meanwhile, so
// it is read again then.
const maxUnread = 10 * time.Second

// Errors of events that are never sent.
var (
	// errUnwritable: a form cannot write an entry, now and later.
	errUnwritable = errors.New("the events of an entry cannot be written")
	// errDropped: the retention of the log passed an entry, or it is damaged.
	errDropped = errors.New("the log dropped an entry")
)

// lossReason is the reason of the gap that an error makes; empty: it makes none.
func lossReason(err error) string {
	switch {
	case errors.Is(err, errUnwritable):
		return reasonDamaged
	case errors.Is(err, errDropped):
		return reasonRetention
	default:
		return ""
	}
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

// dropped is errDropped if the retention passed an entry that the log does not have. If not
// it was erased: some engines leave nothing of what they erase.
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
