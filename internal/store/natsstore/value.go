package natsstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// formatVersion is the version of the layout: subjects, streams and messages. A store with
// a higher one is refused, and one with a lower one is upgraded by the node that opens it.
//
//	1  the first
//	2  log entries of format 2, with the origin of a change
//	3  log entries of format 3, with sessions and profiles
//	4  layout 2: a record has a subject for changes and one for updates without a log entry;
//	   records of format 4, with the holders of sessions
const formatVersion = 4

// splitFormat is the first format of layout 2.
const splitFormat = 4

// messageFormat is the first byte of every message. It is followed by a four-byte
// checksum of the subject and the rest: JetStream does not detect all damage on disk.
const (
	messageFormat byte = 1
	headBytes     int  = 5
)

var errDamaged = errors.New("stored message is damaged or has an unknown format")

// newBody starts the body of a message, and seal completes it.
func newBody(capacity int) []byte {
	return append(make([]byte, 0, capacity), messageFormat, 0, 0, 0, 0)
}

func seal(subject string, data []byte) []byte {
	binary.LittleEndian.PutUint32(data[1:headBytes], checksum(subject, data[headBytes:]))
	return data
}

// unseal verifies the checksum, and returns the bytes after the head.
func unseal(subject string, data []byte) ([]byte, error) {
	if len(data) < headBytes || data[0] != messageFormat {
		return nil, errDamaged
	}
	if binary.LittleEndian.Uint32(data[1:headBytes]) != checksum(subject, data[headBytes:]) {
		return nil, errDamaged
	}
	return data[headBytes:], nil
}

func checksum(subject string, rest []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(subject), table), table, rest)
}

func appendOps(dst []byte, ops writeOps) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ops)))
	for _, op := range ops {
		dst = binary.LittleEndian.AppendUint64(dst, op.id)
		dst = binary.AppendUvarint(dst, uint64(op.at))
	}
	return dst
}

// A record is a user's record as stored. It is immutable once it is cached.
type record struct {
	user store.User
	presence.Recorded
	at  store.Position // of its newest log entry
	seq uint64         // of its message
	// layout1: its message is at the subject of layout 1, which ends with the user. Encoded
	// ids have other lengths than the last tokens of layout 2.
	layout1 bool
	// erased: its message is a change without a log entry, so the history copied or will
	// copy it.
	erased bool
	// armed is the instant of the schedule that was stored with this version or an
	// earlier one, and whose firing was not handled yet. Zero: none. It is never after
	// Next, but may be long before.
	armed presence.Instant
	ops   writeOps
}

func (rec *record) record() store.Record {
	return store.Record{User: rec.user, State: &rec.State, Shown: rec.Shown, At: rec.at}
}

// The kinds of messages of records.
const (
	kindEntry byte = iota // with a log entry
	kindState             // without one: the update is unlogged, only the schedule changed, or the entry was erased
)

// appendRecord appends the body of rec's message: with a log entry, that entry and the
// position of the user's previous one.
func appendRecord(dst []byte, rec *record, e *store.Entry, previous store.Position) []byte {
	if e != nil {
		dst = append(dst, kindEntry)
		dst = binary.AppendUvarint(dst, uint64(previous))
	} else {
		dst = append(dst, kindState)
		dst = binary.AppendUvarint(dst, uint64(rec.at))
	}
	dst = binary.AppendVarint(dst, int64(rec.armed))
	dst = appendOps(dst, rec.ops)
	if e != nil {
		entry := store.AppendEntry(nil, e)
		dst = binary.AppendUvarint(dst, uint64(len(entry)))
		dst = append(dst, entry...)
	}
	return store.AppendState(dst, &rec.State)
}

// A recordHead precedes the state in a record's message.
type recordHead struct {
	kind     byte
	previous store.Position // with an entry: of the one before it; without: of the record's own
	armed    presence.Instant
	ops      writeOps
	entry    []byte
	state    []byte
}

func parseRecord(subject string, data []byte) (recordHead, error) {
	rest, err := unseal(subject, data)
	if err != nil {
		return recordHead{}, err
	}
	c := fieldReader{rest: rest}
	var h recordHead
	h.kind = c.byte()
	h.previous = store.Position(c.uvarint())
	h.armed = presence.Instant(c.varint())
	h.ops = c.ops()
	if h.kind == kindEntry {
		h.entry = c.bytes()
	}
	h.state = c.rest
	if c.failed || h.kind > kindState {
		return recordHead{}, errDamaged
	}
	return h, nil
}

// decodeRecord decodes the record of u.
func decodeRecord(u store.User, m storedMsg) (*record, error) {
	h, err := parseRecord(m.subject, m.data)
	if err != nil {
		return nil, fmt.Errorf("record of user %q: %w", u.ID, err)
	}
	state, err := store.DecodeState(h.state)
	if err != nil {
		return nil, fmt.Errorf("record of user %q: %w", u.ID, err)
	}
	rec := &record{user: u, Recorded: presence.RecordedOf(state), seq: m.seq, armed: h.armed, ops: h.ops, at: store.Position(m.seq)}
	rec.layout1 = strings.HasSuffix(m.subject, "."+encode(u.ID))
	if h.kind == kindState {
		rec.at = h.previous
		rec.erased = !strings.HasSuffix(m.subject, ".r")
	}
	rec.ops.setNewest(store.Position(m.seq))
	return rec, nil
}

// A fieldReader reads the fields of a message in order. After an invalid field failed is
// set, and all further fields are zero.
type fieldReader struct {
	rest   []byte
	failed bool
}

func (c *fieldReader) fail() {
	c.failed = true
	c.rest = nil
}

func (c *fieldReader) byte() byte {
	if len(c.rest) == 0 {
		c.fail()
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

func (c *fieldReader) uvarint() uint64 {
	u, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.rest = c.rest[n:]
	return u
}

func (c *fieldReader) varint() int64 {
	v, n := binary.Varint(c.rest)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *fieldReader) fixed() uint64 {
	if len(c.rest) < 8 {
		c.fail()
		return 0
	}
	u := binary.LittleEndian.Uint64(c.rest)
	c.rest = c.rest[8:]
	return u
}

func (c *fieldReader) ops() writeOps {
	n := c.uvarint()
	if n > maxOps {
		c.fail()
		return nil
	}
	ops := make(writeOps, n)
	for i := range ops {
		ops[i] = writeOp{id: c.fixed(), at: store.Position(c.uvarint())}
	}
	return ops
}

// bytes reads a length and as many bytes.
func (c *fieldReader) bytes() []byte {
	n := c.uvarint()
	if n > uint64(len(c.rest)) {
		c.fail()
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}
