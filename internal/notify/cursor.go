package notify

import (
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// A Cursor is a place on a stream as its text has it: a place in the store, when
// that was, and how far the owner's contacts were known.
//
// When is for those who are not to see all: whether what such a watcher sees
// changed after a place is told from its revision, which is a time, and never from
// the record's place, which would show that there was something to hide.
type Cursor struct {
	At       store.Cursor
	Second   int64  // since 1970; zero: not known
	Contacts uint64 // the generation of the contacts; zero: none
}

const cursorMark = "."

// CursorText is the text of a place, as all streams share it: with the time at which
// it was.
func CursorText(at store.Cursor, then time.Time) string { return cursorAt(at, then.Unix()) }

func cursorAt(at store.Cursor, second int64) string {
	return at.String() + cursorMark + strconv.FormatInt(second, 36)
}

// ParseCursor reads the text of a cursor; store.ErrCursor for anything else.
func ParseCursor(text string) (Cursor, error) {
	parts := strings.Split(text, cursorMark)
	at, err := store.ParseCursor(parts[0])
	if err != nil || parts[0] == "" || len(parts) > 3 {
		return Cursor{}, store.ErrCursor
	}
	c := Cursor{At: at}
	if len(parts) > 1 {
		if c.Second, err = strconv.ParseInt(parts[1], 36, 64); err != nil || c.Second < 0 {
			return Cursor{}, store.ErrCursor
		}
	}
	if len(parts) > 2 {
		if c.Contacts, err = strconv.ParseUint(parts[2], 36, 64); err != nil {
			return Cursor{}, store.ErrCursor
		}
	}
	return c, nil
}

// withContacts adds how far the stream was told of its owner's contacts; s.mu is
// held.
func (s *Stream) withContacts(cursor string) string {
	if s.told == nil || cursor == "" {
		return cursor
	}
	return cursor + cursorMark + strconv.FormatUint(s.told.Gen, 36)
}

// Cursor is the low-water mark of what has been put into the queue, for a frame
// that is queued after it was asked for.
func (s *Stream) Cursor() string { return s.hub.Cursor() }

// Cursor is the low-water mark of what has been put into the queues.
func (h *Hub) Cursor() string { return h.cursorAt(store.Position(h.at.Load())) }

// cursorAt is the text of a place that is no later than what has been delivered.
func (h *Hub) cursorAt(at store.Position) string {
	return cursorAt(store.NewCursor(h.epoch, at), h.fresh.Load())
}
