package pebblestore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/store"
)

const (
	maxShards   = 256
	decodeOneIn = 8
)

// A cache holds durable records: recent ones decoded, evicted by the CLOCK algorithm,
// and many more in packed form. It is sharded.
//
// The decoded record of a user is the newest. The packed one may be older as long as there
// is a decoded one, which replaces it when it is evicted.
type cache struct {
	seed     maphash.Seed
	shards   []cacheShard
	hits     atomic.Uint64 // decoded
	unpacked atomic.Uint64
	misses   atomic.Uint64
}

type cacheShard struct {
	mu sync.RWMutex // guards the fields below
	m  map[store.User]int
	// ring holds the records that m points to; hand is the CLOCK's.
	ring []*item
	hand int
	max  int
	packed
	// installs counts installed records. A record that was read from the
	// database may be cached only if none was installed meanwhile: a newer one
	// could have been installed and evicted.
	installs uint64
}

// hotBit is set by use and cleared by the hand.
type hotBit = atomic.Bool

func newCache(records int, size int64) *cache {
	c := &cache{seed: maphash.MakeSeed(), shards: make([]cacheShard, min(maxShards, records))}
	for i := range c.shards {
		s := &c.shards[i]
		s.m = make(map[store.User]int)
		s.max = records / len(c.shards)
		s.packed = newPacked(int(size) / len(c.shards))
	}
	return c
}

func (c *cache) shard(u store.User) (*cacheShard, uint64) {
	hash := c.hash(u)
	return &c.shards[hash%uint64(len(c.shards))], hash
}

func (c *cache) hash(u store.User) uint64 {
	return maphash.String(c.seed, string(u.ID)) + 31*maphash.String(c.seed, string(u.Account))
}

// get gives the durable record of u, or nil if it is not in memory, and the number
// of installs so far. While that number stays the same, the record, or for nil the
// one in the database, is still the newest.
func (c *cache) get(u store.User) (*item, uint64) {
	s, hash := c.shard(u)
	var buf [512]byte
	s.mu.RLock()
	if i, ok := s.m[u]; ok {
		it, installs := s.ring[i], s.installs
		s.mu.RUnlock()
		c.hits.Add(1)
		if !it.hot.Load() {
			it.hot.Store(true)
		}
		return it, installs
	}
	installs, hasFreeSlot := s.installs, s.hasFreeSlot()
	value, ok := s.packed.get(buf[:0], hash, u)
	s.mu.RUnlock()
	if !ok {
		return nil, installs
	}
	it, err := decodeItem(u, value)
	if err != nil {
		return nil, installs // reading the database will report it
	}
	if c.unpacked.Add(1)%decodeOneIn == 0 || hasFreeSlot {
		s.mu.Lock()
		if s.installs == installs {
			c.putDecoded(s, it)
		}
		s.mu.Unlock()
	}
	return it, installs
}

// unchanged reports whether nothing was installed since get gave installs, so that
// the record that was read then is still the newest.
func (c *cache) unchanged(u store.User, installs uint64) bool {
	s, _ := c.shard(u)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.installs == installs
}

// install caches the newest durable record of a user, whose stored form is value.
func (c *cache) install(it *item, value []byte) {
	s, hash := c.shard(it.user)
	s.mu.Lock()
	s.installs++
	_, isDecoded := s.m[it.user]
	if isDecoded || s.installs%decodeOneIn == 0 || s.hasFreeSlot() || !s.packed.put(hash, it.user, value) {
		c.putDecoded(s, it)
	}
	s.mu.Unlock()
}

// offer caches a durable record that was read from the database after get gave
// installs, unless one was installed meanwhile.
func (c *cache) offer(it *item, installs uint64) {
	s, hash := c.shard(it.user)
	s.mu.Lock()
	if s.installs == installs {
		if s.hasFreeSlot() || !s.packed.encode(hash, it) {
			c.putDecoded(s, it)
		}
	}
	s.mu.Unlock()
}

// installed gives the number of installs of every shard.
func (c *cache) installed() []uint64 {
	all := make([]uint64, len(c.shards))
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		all[i] = s.installs
		s.mu.RUnlock()
	}
	return all
}

// pack caches the stored form of a durable record that was read from the database
// after installed gave installs. It returns false when the cache is full.
func (c *cache) pack(u store.User, value []byte, installs []uint64) bool {
	s, hash := c.shard(u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installs != installs[hash%uint64(len(c.shards))] {
		return true // it may be old by now
	}
	return s.packed.putIfFree(hash, u, value)
}

// hasFreeSlot reports whether a record may be kept decoded without giving another up.
// If not, one in decodeOneIn is kept: it is who is asked for often that counts, and
// keeping each would cost more than unpacking it.
func (s *cacheShard) hasFreeSlot() bool { return len(s.ring) < s.max }

// putDecoded caches a decoded record, and packs another if the ring is full.
func (c *cache) putDecoded(s *cacheShard, it *item) {
	if i, ok := s.m[it.user]; ok {
		s.ring[i] = it
		return
	}
	if len(s.ring) < s.max {
		s.m[it.user] = len(s.ring)
		s.ring = append(s.ring, it)
		return
	}
	for s.ring[s.hand].hot.Swap(false) {
		s.hand = (s.hand + 1) % len(s.ring)
	}
	evicted := s.ring[s.hand]
	s.packed.encode(c.hash(evicted.user), evicted)
	delete(s.m, evicted.user)
	s.m[it.user] = s.hand
	s.ring[s.hand] = it
	s.hand = (s.hand + 1) % len(s.ring)
}

func (c *cache) len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.ring)
		s.mu.RUnlock()
	}
	return n
}
