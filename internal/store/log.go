package store

import (
	"context"
	"time"
)

// Log is the part of the contract that reads the log of all changes, by position,
// by time and by user, and redacts it. Nothing that it gives is ahead of what is
// durable.
//
// An entry that cannot be decoded comes with Damaged and At alone, and ends nothing.
// Entries stay readable for the retention, whoever has read them; where some of a
// user were dropped before an entry, its Gap says so.
type Log interface {
	// Feed calls fn with the entries above after, in order, in groups of at
	// most MaxFeedGroup, and waits for more. It keeps nothing: the caller
	// remembers how far it came. It returns when ctx ends, fn fails, or the store
	// closes or fails, with that error. Any number may run at once.
	Feed(ctx context.Context, after Position, fn func([]Entry) error) error

	// Log gives at most limit entries above after, in order; none: there are no
	// more by now. A limit above MaxFeedGroup counts as that.
	Log(ctx context.Context, after Position, limit int) ([]Entry, error)

	// PositionAt is the position of the last entry committed before t, or one
	// before the oldest entry kept: the entries above it are from t or later.
	// Positions follow the clock, but for its steps: where it was set back, t
	// may lie between several pairs of neighbours, and PositionAt gives one.
	PositionAt(ctx context.Context, t time.Time) (Position, error)

	// History gives at most limit entries of u below before (zero: from the
	// newest), newest first. A limit above MaxFeedGroup counts as that. Gap on
	// the last says that older ones were dropped.
	History(ctx context.Context, u User, before Position, limit int) ([]Entry, error)

	// Erase redacts what the log holds of u up to now, as Redact does: positions
	// and order stay, and no other user's entry changes. An engine that cannot
	// rewrite an entry drops it instead. From its return on nobody reads the old
	// entries here; files and backups: docs/durability.md. The record stays: what
	// it holds is removed by updates, such as the deletion of the user.
	//
	// Erase may be repeated, and is to be after an error. The caller sees to it
	// that every consumer of the log has passed the entries.
	Erase(ctx context.Context, u User) error
}
