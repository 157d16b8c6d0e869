package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// formatVersion is of the directory: its keys, values and files together. A
// higher one found in a directory is refused, a lower one migrates.
//
//	1  the first
//	2  there is a watermark
//	3  log entries of format 2, with where a change comes from
const formatVersion = 3

// valueFormat is the first byte of each value of a record, a log entry and a
// document.
const valueFormat byte = 1

var errValue = errors.New("a stored value is damaged, or of a format that this porchlight does not know")

// An item is a user's record as it is kept in memory. Nobody writes into one.
type item struct {
	user store.User
	presence.Recorded
	at store.Position
	// armed is the instant of the user's entry in the expiry index, zero for
	// none. There is an entry no later than Next, so most updates need not touch
	// the index: one that comes too early is moved when it comes up.
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
		return nil, fmt.Errorf("the record of user %q: %w", u.ID, err)
	}
	armed, n := binary.Varint(rest)
	if n <= 0 {
		return nil, fmt.Errorf("the record of user %q: %w", u.ID, errValue)
	}
	state, err := store.DecodeState(rest[n:])
	if err != nil {
		return nil, fmt.Errorf("the record of user %q: %w", u.ID, err)
	}
	return &item{user: u, Recorded: presence.RecordedOf(state), at: store.Position(at), armed: presence.Instant(armed)}, nil
}

// cutHead reads what every value begins with: the format and a number.
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

// appendEntry writes a log entry. previous is the position of the same user's
// entry before it, which tells whether one was dropped.
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
		return store.Entry{}, 0, fmt.Errorf("the log entry at %d: %w", at, err)
	}
	e.At = at
	return e, store.Position(number), nil
}

// readEntry is decodeEntry for readers of the log: damage is a mark on the entry.
func readEntry(at store.Position, value []byte) tailEntry {
	e, previous, err := decodeEntry(at, value)
	if err != nil {
		e = store.Entry{At: at, Damaged: err}
	}
	return tailEntry{Entry: e, previous: previous}
}

// docHead is what a document's value begins with.
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
		return docHead{}, nil, fmt.Errorf("a document: %w", err)
	}
	until, n := binary.Varint(rest)
	if n <= 0 {
		return docHead{}, nil, fmt.Errorf("a document: %w", errValue)
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
