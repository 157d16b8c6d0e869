package pebblestore

import (
	"encoding/binary"

	"porchlight.dev/porchlight/internal/store"
)

// packed caches records in their stored form, a quarter of their decoded size and
// without pointers for the garbage collector to follow. A hit here costs a twentieth
// of a read from the database.
//
// Slots are grouped in classes by size, and pages hold slots of one class. When no
// page may be added any more, a class reuses its own slots, the oldest first.
//
// A packed belongs to a cache shard, whose lock guards it.
type packed struct {
	index   map[uint64]slotRef // by the hash of a user
	classes [slotClasses]slotClass
	free    int    // bytes that may still become pages
	scratch []byte // for put
}

const (
	slotUnit    = 32
	slotClasses = 32 // the largest slot has slotClasses*slotUnit bytes
	slotPage    = 4096
	slotHead    = 10 // the hash, and the length of what follows
)

// A slotRef is a slot's number in its class, and the class.
type slotRef uint32

func (r slotRef) class() int  { return int(r % slotClasses) }
func (r slotRef) number() int { return int(r / slotClasses) }

type slotClass struct {
	pages [][]byte
	used  int       // the slots below it were used at least once
	empty []slotRef // of these, the free ones
	hand  int       // the next to be reused
}

func newPacked(size int) packed {
	return packed{index: make(map[uint64]slotRef), free: size}
}

func (p *packed) slot(r slotRef) []byte {
	size := (r.class() + 1) * slotUnit
	perPage := slotPage / size
	page := p.classes[r.class()].pages[r.number()/perPage]
	at := r.number() % perPage * size
	return page[at : at+size : at+size]
}

// get appends the stored form of u's record, if it is there.
func (p *packed) get(dst []byte, hash uint64, u store.User) ([]byte, bool) {
	r, ok := p.index[hash]
	if !ok {
		return dst, false
	}
	_, payload := cutSlot(p.slot(r))
	account, rest := cutPayload(payload)
	id, value := cutPayload(rest)
	if string(account) != string(u.Account) || string(id) != string(u.ID) {
		return dst, false
	}
	return append(dst, value...), true
}

// encode is put for a record whose stored form is not at hand.
func (p *packed) encode(hash uint64, it *item) bool {
	p.scratch = appendItem(appendID(appendID(p.scratch[:0], it.user.Account), it.user.ID), it)
	return p.putScratch(hash)
}

// put stores the stored form of u's record, and replaces the older one. It reports whether
// there was a slot.
func (p *packed) put(hash uint64, u store.User, value []byte) bool {
	p.scratch = append(appendID(appendID(p.scratch[:0], u.Account), u.ID), value...)
	return p.putScratch(hash)
}

// putIfFree is put for a user without a stored form, unless that would evict another;
// hasSpace is then false.
func (p *packed) putIfFree(hash uint64, u store.User, value []byte) (hasSpace bool) {
	if _, ok := p.index[hash]; ok {
		return true
	}
	if p.free < slotPage {
		return false
	}
	p.put(hash, u, value)
	return true
}

// putScratch stores the content of scratch, if there is a slot for it.
func (p *packed) putScratch(hash uint64) bool {
	class := (slotHead + len(p.scratch) - 1) / slotUnit
	r, ok := p.index[hash]
	if ok && r.class() != class {
		p.drop(hash, r)
		ok = false
	}
	if !ok {
		if class >= slotClasses {
			return false
		}
		if r, ok = p.allocSlot(class); !ok {
			return false
		}
		p.index[hash] = r
	}
	fillSlot(p.slot(r), hash, p.scratch)
	return true
}

func (p *packed) drop(hash uint64, r slotRef) {
	delete(p.index, hash)
	c := &p.classes[r.class()]
	c.empty = append(c.empty, r)
}

// allocSlot finds a slot: a free one, one of a new page, or a used one to evict.
func (p *packed) allocSlot(class int) (slotRef, bool) {
	c := &p.classes[class]
	if n := len(c.empty); n > 0 {
		r := c.empty[n-1]
		c.empty = c.empty[:n-1]
		return r, true
	}
	perPage := slotPage / ((class + 1) * slotUnit)
	if c.used == len(c.pages)*perPage && p.free >= slotPage {
		c.pages = append(c.pages, make([]byte, slotPage))
		p.free -= slotPage
	}
	if c.used < len(c.pages)*perPage {
		c.used++
		return slotRef((c.used-1)*slotClasses + class), true
	}
	if c.used == 0 {
		return 0, false
	}
	r := slotRef(c.hand*slotClasses + class)
	c.hand = (c.hand + 1) % c.used
	hash, _ := cutSlot(p.slot(r))
	delete(p.index, hash)
	return r, true
}

func fillSlot(slot []byte, hash uint64, payload []byte) {
	binary.LittleEndian.PutUint64(slot, hash)
	binary.LittleEndian.PutUint16(slot[8:], uint16(len(payload)))
	copy(slot[slotHead:], payload)
}

func cutSlot(slot []byte) (hash uint64, payload []byte) {
	n := binary.LittleEndian.Uint16(slot[8:])
	return binary.LittleEndian.Uint64(slot), slot[slotHead : slotHead+int(n)]
}

// cutPayload is cutID for payloads that put wrote, without allocating a string.
func cutPayload(payload []byte) (id, rest []byte) {
	n, size := binary.Uvarint(payload)
	return payload[size : size+int(n)], payload[size+int(n):]
}
