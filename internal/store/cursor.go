package store

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// Cursor is an opaque place in the changes of a store. The zero Cursor is
// before everything, in every epoch.
type Cursor struct {
	epoch string
	at    Position
}

// NewCursor is for backends: the cursor of a position in their epoch.
func NewCursor(epoch string, at Position) Cursor { return Cursor{epoch, at} }

// Position is for backends: where c is in the given epoch, or ErrEpoch.
func (c Cursor) Position(epoch string) (Position, error) {
	if c == (Cursor{}) {
		return 0, nil
	}
	if c.epoch != epoch {
		return 0, ErrEpoch
	}
	return c.at, nil
}

// ErrCursor: the text is not a cursor.
var ErrCursor = errors.New("not a cursor")

const maxEpochBytes = 64

// String is the text that goes to a client and comes back to ParseCursor.
func (c Cursor) String() string {
	if c == (Cursor{}) {
		return ""
	}
	raw := binary.AppendUvarint(make([]byte, 0, len(c.epoch)+10), uint64(c.at))
	return base64.RawURLEncoding.EncodeToString(append(raw, c.epoch...))
}

// ParseCursor reads the text of a cursor, or returns ErrCursor.
func ParseCursor(text string) (Cursor, error) {
	if text == "" {
		return Cursor{}, nil
	}
	if len(text) > 2*maxEpochBytes {
		return Cursor{}, ErrCursor
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Cursor{}, ErrCursor
	}
	at, n := binary.Uvarint(raw)
	if n <= 0 || n == len(raw) || len(raw)-n > maxEpochBytes {
		return Cursor{}, ErrCursor
	}
	return Cursor{epoch: string(raw[n:]), at: Position(at)}, nil
}
