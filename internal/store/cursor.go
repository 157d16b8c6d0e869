package store

// Cursor is an opaque position in the changes of a store. The zero Cursor is before
// every change, in every epoch.
type Cursor struct {
	epoch string
	at    Position
}

// Freshness is how new a read must be where several processes share a store, each of which
// may lag behind the others. The zero Freshness requires nothing.
type Freshness struct {
	// AtLeast is a cursor: every change up to it must be visible. The read fails with
	// ErrEpoch if the store did not issue the cursor: the cursor has another epoch, or its
	// position is above the store's last one.
	AtLeast Cursor
	// Strong makes the read linearizable: every change must be visible that was
	// acknowledged, to any process, before the read began.
	Strong bool
	// ForUpdate is a hint that updates of these users follow, so that the store may cache their
	// records. It does not make the read fresher, and the updates do not depend on it.
	ForUpdate bool
}

// NewCursor is for backends: it gives the cursor of a position in their epoch.
func NewCursor(epoch string, at Position) Cursor { return Cursor{epoch, at} }

// Position is for backends: it gives the position of c in an epoch, or ErrEpoch.
func (c Cursor) Position(epoch string) (Position, error) {
	if c == (Cursor{}) {
		return 0, nil
	}
	if c.epoch != epoch {
		return 0, ErrEpoch
	}
	return c.at, nil
}
