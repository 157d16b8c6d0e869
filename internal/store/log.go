package store

import (
	"context"
	"time"
)

// Log is the part of the contract that reads the log of all changes, by position, by
// time and by user, and redacts it. It returns durable entries only.
//
// An entry that cannot be decoded has only Damaged and At set, and does not end a read.
// Entries stay readable for the retention, read or not. Gap marks an entry before which
// entries of its user were dropped.
type Log interface {
	// Feed calls fn with the entries above after, in order, in groups of at
	// most MaxFeedGroup, and waits for more. It stores no position: that is up to
	// the caller. It returns when ctx ends, fn fails, or the store closes or
	// fails, with that error. Any number of calls may run at once.
	Feed(ctx context.Context, after Position, fn func([]Entry) error) error

	// Log gives at most limit entries above after, in order. None means that there
	// are no more yet. A limit above MaxFeedGroup counts as MaxFeedGroup.
	Log(ctx context.Context, after Position, limit int) ([]Entry, error)

	// PositionAt gives the position of the last entry committed before t, or a
	// position before the oldest entry: the entries above it are from t or later.
	// That position is 0 if no entry was dropped yet.
	// If the clock was set back, t may lie between several pairs of neighbouring
	// entries, and PositionAt gives the position of one of them.
	PositionAt(ctx context.Context, t time.Time) (Position, error)

	// History gives at most limit entries of u below before (zero: from the
	// newest), newest first. A limit above MaxFeedGroup counts as MaxFeedGroup.
	// Gap on the last one means that older ones were dropped.
	History(ctx context.Context, u User, before Position, limit int) ([]Entry, error)

	// Erase redacts the existing log entries of u, as Anonymize does: positions and
	// order stay, and no other user's entry changes. An engine that cannot rewrite
	// an entry drops it instead. After Erase returns, the store no longer gives
	// the old entries; files and backups: docs/durability.md. The record stays:
	// updates, such as the deletion of the user, remove its content.
	//
	// The caller repeats Erase after an error, and ensures that every consumer of
	// the log has passed the entries.
	Erase(ctx context.Context, u User) error
}
