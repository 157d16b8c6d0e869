package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/backup"
)

// A contentCheck checks the keys and values of a whole store, in order, in constant
// memory: where two lists must hold the same elements, it compares sums of hashes.
type contentCheck struct {
	counts backup.Counts
	seed   maphash.Seed

	seq, trimmed   uint64
	format         string
	lastLogged     store.Position
	firstLogged    store.Position
	newestDropped  store.Position // the newest dropped entry that something refers to
	newestRecord   store.Position
	newestDocument store.Position

	docExpiries pairing // of documents against their expiry index
	armed       pairing // of records against the expiry index
	chain       pairing // of log entries against their successors: the user's next entry or record
}

// A pairing compares two lists that must have the same elements, each once.
type pairing struct {
	one, other           uint64 // sums of hashes
	oneCount, otherCount int64
}

func (p *pairing) addOne(h uint64)   { p.one, p.oneCount = p.one+h, p.oneCount+1 }
func (p *pairing) addOther(h uint64) { p.other, p.otherCount = p.other+h, p.otherCount+1 }

func (p *pairing) check(one, other string) error {
	if p.one == p.other && p.oneCount == p.otherCount {
		return nil
	}
	return fmt.Errorf("the %d %s do not match the %d %s", p.oneCount, one, p.otherCount, other)
}

func newContentCheck() *contentCheck { return &contentCheck{seed: maphash.MakeSeed()} }

func (c *contentCheck) hash(b []byte) uint64 { return maphash.Bytes(c.seed, b) }

// positionHash is the hash of a user and a position.
func (c *contentCheck) positionHash(u store.User, at store.Position) uint64 {
	return c.hash(binary.BigEndian.AppendUint64(appendUser(nil, u), uint64(at)))
}

func (c *contentCheck) addPair(key, value []byte) error {
	if len(key) == 0 {
		return errors.New("a key is empty")
	}
	var err error
	switch key[0] {
	case documentPrefix:
		err = c.document(key, value)
	case docExpiryPrefix:
		err = c.documentExpiry(key, value)
	case readerPrefix:
		// Of an older version: dropped when the store is opened.
	case logPrefix:
		err = c.entry(key, value)
	case metaPrefix:
		err = c.meta(key, value)
	case recordPrefix:
		err = c.record(key, value)
	case expiryPrefix:
		err = c.expiry(key, value)
	default:
		err = errors.New("unknown kind of key")
	}
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	return nil
}

func (c *contentCheck) document(key, value []byte) error {
	head, body, err := decodeDoc(value)
	if err != nil {
		return err
	}
	if !isDocKey(key) || len(body) > store.MaxDocBytes {
		return errValue
	}
	c.newestDocument = max(c.newestDocument, head.seq)
	if !head.until.IsZero() {
		c.docExpiries.addOne(c.hash(appendDocExpiryKey(nil, head.until, key)))
	}
	return nil
}

func isDocKey(key []byte) bool {
	_, rest, ok := cutID(key[1:])
	if !ok {
		return false
	}
	_, rest, ok = cutID(rest)
	return ok && len(rest) > 0
}

func (c *contentCheck) documentExpiry(key, value []byte) error {
	_, doc, ok := cutDocExpiryKey(key)
	if !ok || !isDocKey(doc) || len(value) != 0 {
		return errValue
	}
	c.docExpiries.addOther(c.hash(key))
	return nil
}

func (c *contentCheck) entry(key, value []byte) error {
	at, ok := cutLogKey(key)
	if !ok {
		return errValue
	}
	e, previous, err := decodeEntry(at, value)
	if err != nil {
		return err
	}
	if previous >= at {
		return fmt.Errorf("its predecessor is at %d, which is not before it", previous)
	}
	if c.firstLogged == 0 {
		c.firstLogged = at
	}
	c.lastLogged = at
	c.chain.addOne(c.positionHash(e.User, at))
	c.addPredecessor(e.User, previous)
	return nil
}

// addPredecessor counts at as the predecessor of an entry or record of u. Positions
// before the first entry were dropped.
func (c *contentCheck) addPredecessor(u store.User, at store.Position) {
	if at >= c.firstLogged && c.firstLogged > 0 {
		c.chain.addOther(c.positionHash(u, at))
	} else {
		c.newestDropped = max(c.newestDropped, at)
	}
}

func (c *contentCheck) meta(key, value []byte) (err error) {
	switch string(key) {
	case metaFormat:
		c.format = string(value)
	case metaSeq:
		c.seq, err = cutNumber(value)
	case metaTrim:
		c.trimmed, err = cutNumber(value)
	}
	return err
}

func (c *contentCheck) record(key, value []byte) error {
	u, ok := cutUser(key[1:])
	if !ok {
		return errValue
	}
	it, err := decodeItem(u, value)
	if err != nil {
		return err
	}
	if !it.Next.IsZero() && (it.armed.IsZero() || it.armed > it.Next) {
		return errors.New("the record expires and is not in the expiry index")
	}
	c.newestRecord = max(c.newestRecord, it.at)
	c.addPredecessor(u, it.at)
	if !it.armed.IsZero() {
		c.armed.addOne(c.hash(appendExpiryKey(nil, it.armed, u)))
	}
	return nil
}

func (c *contentCheck) expiry(key, value []byte) error {
	at, _, ok := cutExpiryKey(key)
	if !ok || at.IsZero() || len(value) != 0 {
		return errValue
	}
	c.armed.addOther(c.hash(key))
	return nil
}

// finish compares the lists and numbers with each other and with the header.
func (c *contentCheck) finish(h backup.Header) error {
	newest := max(uint64(c.lastLogged), uint64(c.newestRecord), uint64(c.newestDocument), c.trimmed)
	switch {
	case c.format != strconv.Itoa(h.Format):
		return fmt.Errorf("the data say that they have format %q, and the header %d", c.format, h.Format)
	case c.seq != h.Position:
		return fmt.Errorf("the last change is %d, and the header says %d", c.seq, h.Position)
	case newest > c.seq:
		return fmt.Errorf("there is a change %d after the last, %d", newest, c.seq)
	case c.newestDropped > store.Position(c.trimmed):
		return fmt.Errorf("the log entry %d is missing: entries up to %d were dropped", c.newestDropped, c.trimmed)
	case c.firstLogged != 0 && uint64(c.firstLogged) <= c.trimmed:
		return fmt.Errorf("the log entry %d is there, and those up to %d were dropped", c.firstLogged, c.trimmed)
	}
	return errors.Join(
		c.docExpiries.check("documents that expire", "entries of their expiry index"),
		c.armed.check("records that expire", "entries of the expiry index"),
		c.chain.check("log entries", "entries and records that follow them"),
	)
}
