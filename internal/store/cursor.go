package store

// Cursor is an opaque position in the changes of a store. The zero Cursor is before
// every change, in every epoch.
type Cursor struct {
	epoch string
	at    Position
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
