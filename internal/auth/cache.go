package auth

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"
)

// MaxStale is how long another node may go on accepting a token that was
// revoked, or whose user or app is gone. This node's own changes to apps and
// tokens hold at once.
const MaxStale = 5 * time.Second

const (
	// renewAfter is the age at which one request reads an answer anew, while
	// others go on with it: a busy token is not read by all of them at once.
	renewAfter = MaxStale - time.Second
	// recheckAfter is the age at which those who last read an answer anew: they look
	// every three seconds, and what they would find then must be known within MaxStale.
	recheckAfter = MaxStale - 4*time.Second
	// refusedFor is how long a refusal is remembered.
	refusedFor = time.Second

	knownSlots       = 1 << 16
	refusedSlots     = 1 << 12
	cacheWays        = 4
	cacheGenerations = 1 << 8
)

// A tokenCache remembers what was found for the digests of tokens. Principals
// and refusals have a table each, so that no flood of guesses can evict a
// token in use. A table has a fixed number of places, cacheWays of which can
// take an entry; an entry that finds none free takes the oldest. No locks.
type tokenCache struct {
	// alone: nobody but this node changes anything, so that a principal holds until
	// it is invalidated.
	alone bool

	known   [knownSlots]atomic.Pointer[answer]
	refused [refusedSlots]atomic.Pointer[answer]
	// generations count the changes to a group of digests. An answer from before the
	// last change is not used: one that was read before a change cannot come in
	// after it.
	generations [cacheGenerations]atomic.Uint64
}

// An answer is what was found at an instant: a principal, or why there is none.
type answer struct {
	digest     digest
	principal  *Principal
	err        error
	read       time.Time
	generation uint64
	renewing   atomic.Bool
}

func (c *tokenCache) generation(d *digest) *atomic.Uint64 { return &c.generations[d[8]] }

// set is the places where an answer for d can be.
func set(table []atomic.Pointer[answer], d *digest) []atomic.Pointer[answer] {
	first := binary.LittleEndian.Uint64(d[:8]) % uint64(len(table)/cacheWays) * cacheWays
	return table[first : first+cacheWays]
}

// get finds an answer that still holds, or nil.
func (c *tokenCache) get(d *digest, now time.Time) *answer {
	generation := c.generation(d).Load()
	if a := find(set(c.known[:], d), d); a != nil && a.holds(generation, now, c.limit(MaxStale)) {
		if now.Sub(a.read) >= c.limit(renewAfter) && a.renewing.CompareAndSwap(false, true) {
			return nil
		}
		return a
	}
	if a := find(set(c.refused[:], d), d); a != nil && a.holds(generation, now, refusedFor) {
		return a
	}
	return nil
}

// recent is get for those who last.
func (c *tokenCache) recent(d *digest, now time.Time) *answer {
	if a := find(set(c.known[:], d), d); a != nil && a.holds(c.generation(d).Load(), now, c.limit(recheckAfter)) {
		return a
	}
	return nil
}

// limit is how old a principal may be that is read again at an age.
func (c *tokenCache) limit(age time.Duration) time.Duration {
	if c.alone {
		return math.MaxInt64
	}
	return age
}

// standing is nil for a token that is valid, or else why it is not.
func (a *answer) standing(now time.Time) error {
	if a.err != nil {
		return a.err
	}
	if expires := a.principal.Expires; !expires.IsZero() && !now.Before(expires) {
		return ErrExpiredToken
	}
	return nil
}

func find(places []atomic.Pointer[answer], d *digest) *answer {
	for i := range places {
		if a := places[i].Load(); a != nil && a.digest == *d {
			return a
		}
	}
	return nil
}

func (a *answer) holds(generation uint64, now time.Time, limit time.Duration) bool {
	age := now.Sub(a.read)
	return a.generation == generation && age >= 0 && age < limit
}

// put brings in an answer whose generation was taken before it was read. A refusal
// takes the place of the principal that there was.
func (c *tokenCache) put(a *answer) {
	places := set(c.known[:], &a.digest)
	if a.principal == nil {
		for i := range places {
			if was := places[i].Load(); was != nil && was.digest == a.digest {
				places[i].CompareAndSwap(was, nil)
			}
		}
		places = set(c.refused[:], &a.digest)
	}
	slot, oldest := 0, a
	for i := range places {
		other := places[i].Load()
		if other == nil || other.digest == a.digest {
			slot = i
			break
		}
		if other.read.Before(oldest.read) {
			slot, oldest = i, other
		}
	}
	places[slot].Store(a)
}

// invalidate makes what was read of a token before now unusable; invalidateAll does so
// for every token.
func (c *tokenCache) invalidate(d *digest) { c.generation(d).Add(1) }

func (c *tokenCache) invalidateAll() {
	for i := range c.generations {
		c.generations[i].Add(1)
	}
}
