package pebblestore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/store"
)

const maxShards = 64

// A cache holds recent durable records. It is sharded, and bounded by a clock:
// what was used since the hand last came by stays.
type cache struct {
	seed   maphash.Seed
	shards []cacheShard
	hits   atomic.Uint64
	misses atomic.Uint64
}

type cacheShard struct {
	mu sync.RWMutex // guards the fields below
	m  map[store.User]int
	// ring holds what m points into; hand goes round it.
	ring []*item
	hand int
	max  int
	// installs counts installed records. A record that was read from the
	// database may be kept only if none was installed meanwhile: a newer one
	// could have come and gone.
	installs uint64
}

// hotBit is set by use and cleared by the hand.
type hotBit = atomic.Bool

func newCache(records int) *cache {
	c := &cache{seed: maphash.MakeSeed(), shards: make([]cacheShard, min(maxShards, records))}
	for i := range c.shards {
		c.shards[i].m = make(map[store.User]int)
		c.shards[i].max = records / len(c.shards)
	}
	return c
}

func (c *cache) shard(u store.User) *cacheShard {
	return &c.shards[maphash.String(c.seed, string(u.ID))%uint64(len(c.shards))]
}

// get gives the durable record of u, or nil and the number of installs so far:
// while that stays, what the database shows for u stays the newest.
func (c *cache) get(u store.User) (*item, uint64) {
	s := c.shard(u)
	s.mu.RLock()
	if i, ok := s.m[u]; ok {
		it := s.ring[i]
		s.mu.RUnlock()
		if !it.hot.Load() {
			it.hot.Store(true)
		}
		return it, 0
	}
	installs := s.installs
	s.mu.RUnlock()
	return nil, installs
}

// install keeps the newest durable record of a user.
func (c *cache) install(it *item) {
	s := c.shard(it.user)
	s.mu.Lock()
	s.installs++
	s.put(it)
	s.mu.Unlock()
}

// offer keeps a durable record that was read after get gave installs.
func (c *cache) offer(it *item, installs uint64) {
	s := c.shard(it.user)
	s.mu.Lock()
	if s.installs == installs {
		s.put(it)
	}
	s.mu.Unlock()
}

func (s *cacheShard) put(it *item) {
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
	delete(s.m, s.ring[s.hand].user)
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
