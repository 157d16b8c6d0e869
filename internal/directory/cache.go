package directory

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// An emailCache remembers which user has an e-mail, for MaxStale. It is a table
// of cacheSlots places, cacheWays of which can take an entry, so it is bounded
// and needs no lock; an entry that finds no free place takes one.
type emailCache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[located]
	// turns count the changes to the e-mails of a group of places. An entry from
	// before the last change is not used: one that was read before a change
	// cannot come in after it.
	turns [cacheTurns]atomic.Uint64
}

const (
	cacheSlots = 1 << 16
	cacheWays  = 4
	cacheTurns = 1 << 8
)

// located is an entry; nobody writes into one.
type located struct {
	account presence.AccountID
	email   string // its form
	user    presence.UserID
	read    time.Time
	turn    uint64
}

func newEmailCache() *emailCache { return &emailCache{seed: maphash.MakeSeed()} }

// A place is where an e-mail's entry can be.
type place struct {
	first int
	turn  *atomic.Uint64
}

func (c *emailCache) place(account presence.AccountID, email string) place {
	h := maphash.String(c.seed, email) ^ maphash.String(c.seed, string(account))*0x9e3779b97f4a7c15
	return place{int(h % (cacheSlots / cacheWays) * cacheWays), &c.turns[h>>32%cacheTurns]}
}

// get finds the user with an e-mail, if that was read within MaxStale.
func (c *emailCache) get(account presence.AccountID, email string, now time.Time) (presence.UserID, bool) {
	at := c.place(account, email)
	for i := range cacheWays {
		e := c.slots[at.first+i].Load()
		if e != nil && e.email == email && e.account == account {
			return e.user, e.fresh(at, now)
		}
	}
	return "", false
}

// turn is to be taken before the read that put brings in.
func (c *emailCache) turn(account presence.AccountID, email string) uint64 {
	return c.place(account, email).turn.Load()
}

// put brings in what was read at e.read.
func (c *emailCache) put(e *located) {
	at := c.place(e.account, e.email)
	c.slots[at.first+at.room(c, e)].Store(e)
}

// forget makes what was read of an e-mail before now unusable.
func (c *emailCache) forget(account presence.AccountID, email string) {
	c.place(account, email).turn.Add(1)
}

// room is the place of the set to use for e: its own, a stale one, or the oldest.
func (at place) room(c *emailCache, e *located) int {
	oldest, found := 0, e
	for i := range cacheWays {
		other := c.slots[at.first+i].Load()
		if other == nil || other.email == e.email && other.account == e.account {
			return i
		}
		if other.read.Before(found.read) {
			oldest, found = i, other
		}
	}
	return oldest
}

func (e *located) fresh(at place, now time.Time) bool {
	age := now.Sub(e.read)
	return age >= 0 && age < MaxStale && e.turn == at.turn.Load()
}
