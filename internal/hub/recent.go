package hub

import (
	"hash/maphash"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// recent remembers at which position the hub delivered which revision of a user.
//
// A watcher with a restricted view sees a revision older than the record's. Whether a
// cursor covers that revision must not be derived from the record's position, which
// also moves with hidden changes: recent has the position at which the revision was
// delivered.
type recent struct {
	seed maphash.Seed

	mu      sync.Mutex // guards the fields below
	commits []delivered
	next    uint64            // the number of the next one; it lies at next % maxRecent
	newest  map[uint64]uint64 // by user, the number of the newest
	floor   store.Position    // commits at or below it are not here
	floorAt presence.Revision // its time, as revisions have it, or an earlier one
}

// A delivered commit. User is a digest.
type delivered struct {
	user     uint64
	previous uint64 // number of the same user's commit before, plus one; zero: none
	revision presence.Revision
	at       store.Position
}

// maxRecent bounds the memory to some 8 MiB.
const maxRecent = 1 << 17

func newRecent() *recent {
	return &recent{seed: maphash.MakeSeed(), newest: make(map[uint64]uint64)}
}

// begin notes that nothing up to at was delivered here.
func (r *recent) begin(at store.Position, now presence.Instant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.newest)
	r.commits, r.next, r.floor, r.floorAt = nil, 0, at, presence.Revision(now)
}

func (r *recent) add(records []store.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == 0 {
		// The clock of this node may be ahead of those who commit.
		for i := range records {
			r.floorAt = min(r.floorAt, presence.Revision(records[i].State.At))
		}
	}
	for i := range records {
		c := delivered{user: maphash.Comparable(r.seed, records[i].User), revision: records[i].State.Revision, at: records[i].At}
		if number, ok := r.newest[c.user]; ok {
			c.previous = number + 1
		}
		if len(r.commits) < maxRecent {
			r.commits = append(r.commits, c)
		} else {
			r.replace(c)
		}
		r.newest[c.user] = r.next
		r.next++
	}
}

// replace overwrites the oldest commit with c; the caller holds r.mu.
func (r *recent) replace(c delivered) {
	oldest := &r.commits[r.next%maxRecent]
	if r.newest[oldest.user] == r.next-maxRecent {
		delete(r.newest, oldest.user)
	}
	r.floor, r.floorAt = oldest.at, max(r.floorAt, oldest.revision)
	*oldest = c
}

// has reports whether the newest commit of a record's user was delivered, or is older than
// what is remembered: updates without a log entry are not delivered. The caller holds r.mu.
func (r *recent) has(record *store.Record) bool {
	number, ok := r.newest[maphash.Comparable(r.seed, record.User)]
	return record.At <= r.floor || ok && r.commits[number%maxRecent].at >= record.At
}

// since reports whether a revision that a record shows was delivered after a
// position. It is not known for positions before the oldest that is remembered.
func (r *recent) since(record *store.Record, revision presence.Revision, position store.Position) (after, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if position < r.floor || !r.has(record) {
		return false, false
	}
	number, ok := r.newest[maphash.Comparable(r.seed, record.User)]
	var first *delivered // the oldest that shows the revision
	whole := false       // nothing before first can have shown it
	for ok && number+maxRecent >= r.next {
		c := &r.commits[number%maxRecent]
		if c.revision < revision {
			whole = true
			break
		}
		first = c
		number, ok = c.previous-1, c.previous != 0
	}
	switch {
	case first == nil:
		return false, true
	case whole || first.revision == revision || revision+margin*1e6 >= r.floorAt:
		return first.at > position, true
	default:
		return false, true // it was delivered before all that is remembered
	}
}
