package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// formatVersion is the format of a directory's keys, values and files. A directory with
// a higher one is refused, one with a lower one is migrated. Numbers are append only.
//
//	1  the first
//	2  adds the watermark
//	3  adds log entries of format 2, with the origin of a change
//	4  adds log entries of format 3, with sessions and profiles
//	5  adds records of format 4, with the holders of sessions
const formatVersion = 5

// valueFormat is the first byte of each value of a record, a log entry and a
// document.
const valueFormat byte = 1

var errValue = errors.New("stored value is damaged or has an unknown format")

// An item is a user's record in memory. It is immutable.
type item struct {
	user store.User
	presence.Recorded
	at store.Position
	// armed is the instant of the user's entry in the expiry index, zero for
	// none. The entry is no later than Next, and may be earlier: an early one is
	// rescheduled when it is due, so most updates need not write the index.
	armed presence.Instant

	hot hotBit // the cache's
}

func (it *item) record() store.Record {
	return store.Record{User: it.user, State: &it.State, Shown: it.Shown, At: it.at}
}

func appendItem(dst []byte, it *item) []byte {
	dst = append(dst, valueFormat)
	dst = binary.AppendUvarint(dst, uint64(it.at))
	dst = binary.AppendVarint(dst, int64(it.armed))
	return store.AppendState(dst, &it.State)
}

func decodeItem(u store.User, value []byte) (*item, error) {
	at, rest, err := cutHead(value)
	if err != nil {
		return nil, fmt.Errorf("record of user %q: %w", u.ID, err)
	}
	armed, n := binary.Varint(rest)
	if n <= 0 {
		return nil, fmt.Errorf("record of user %q: %w", u.ID, errValue)
	}
	state, err := store.DecodeState(rest[n:])
	if err != nil {
		return nil, fmt.Errorf("record of user %q: %w", u.ID, err)
	}
	return &item{user: u, Recorded: presence.RecordedOf(state), at: store.Position(at), armed: presence.Instant(armed)}, nil
}

// cutHead reads the common header of values: the format and a number.
func cutHead(value []byte) (number uint64, rest []byte, err error) {
	if len(value) == 0 || value[0] != valueFormat {
		return 0, nil, errValue
	}
	number, n := binary.Uvarint(value[1:])
	if n <= 0 {
		return 0, nil, errValue
	}
	return number, value[1+n:], nil
}

// appendEntry appends a log entry. previous is the position of the same user's previous
// entry: it links the entries, and shows whether one was dropped.
func appendEntry(dst []byte, e *store.Entry, previous store.Position) []byte {
	dst = append(dst, valueFormat)
	dst = binary.AppendUvarint(dst, uint64(previous))
	return store.AppendEntry(dst, e)
}

func decodeEntry(at store.Position, value []byte) (e store.Entry, previous store.Position, err error) {
	number, rest, err := cutHead(value)
	if err == nil {
		e, err = store.DecodeEntry(rest)
	}
	if err != nil {
		return store.Entry{}, 0, fmt.Errorf("log entry at %d: %w", at, err)
	}
	e.At = at
	return e, store.Position(number), nil
}

// readEntry is decodeEntry for readers of the log: damage is reported in the entry.
func readEntry(at store.Position, value []byte) chainedEntry {
	e, previous, err := decodeEntry(at, value)
	if err != nil {
		e = store.Entry{At: at, Damaged: err}
	}
	e.Gap = isDropped(&e)
	return chainedEntry{Entry: e, previous: previous}
}

// docHead is the header of a document's value.
type docHead struct {
	seq   store.Position // of the write, which is its version
	until presence.Instant
}

func (h docHead) liveAt(now presence.Instant) bool { return h.until.IsZero() || now < h.until }

func appendDoc(dst []byte, h docHead, value []byte) []byte {
	dst = append(dst, valueFormat)
	dst = binary.AppendUvarint(dst, uint64(h.seq))
	dst = binary.AppendVarint(dst, int64(h.until))
	return append(dst, value...)
}

func decodeDoc(stored []byte) (h docHead, value []byte, err error) {
	number, rest, err := cutHead(stored)
	if err != nil {
		return docHead{}, nil, fmt.Errorf("document: %w", err)
	}
	until, n := binary.Varint(rest)
	if n <= 0 {
		return docHead{}, nil, fmt.Errorf("document: %w", errValue)
	}
	return docHead{seq: store.Position(number), until: presence.Instant(until)}, rest[n:], nil
}

func appendNumber(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(dst, n) }

func cutNumber(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, errValue
	}
	return binary.BigEndian.Uint64(value), nil
}
