package pebblestore

import (
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// counters are updated by the committer and maintenance.
type counters struct {
	groups    atomic.Uint64
	updates   atomic.Uint64
	syncNanos atomic.Uint64
	stalls    atomic.Uint64
	free      atomic.Uint64
}

// Stats are counters since the store was opened, and its current state.
type Stats struct {
	Updates     uint64         // committed
	Groups      uint64         // in which they were committed
	SyncTime    time.Duration  // total time spent waiting for the disk
	Stalls      uint64         // times that Pebble stalled writes
	Queued      int            // requests waiting for the committer
	CacheHits   uint64         // decoded records found in memory
	Unpacked    uint64         // records found there in packed form
	CacheMisses uint64         // records read from the database
	Cached      int            // records
	Last        store.Position // the newest durable
	Trimmed     store.Position // log entries up to here were dropped
	DiskBytes   uint64         // used by the store
	FreeBytes   uint64         // on its disk; zero: not known
	Flushes     uint64         // of memtables to tables
	Compactions uint64         // of tables
}

// Stats gives the store's statistics, for metrics.
func (s *Store) Stats() Stats {
	st := Stats{
		Updates:     s.stats.updates.Load(),
		Groups:      s.stats.groups.Load(),
		SyncTime:    time.Duration(s.stats.syncNanos.Load()),
		Stalls:      s.stats.stalls.Load(),
		Queued:      len(s.queue),
		CacheHits:   s.cache.hits.Load(),
		Unpacked:    s.cache.unpacked.Load(),
		CacheMisses: s.cache.misses.Load(),
		Cached:      s.cache.len(),
		Last:        s.progress.durableAt(),
		Trimmed:     s.trimmedTo(),
		FreeBytes:   s.stats.free.Load(),
	}
	// A failed database may hold a lock that this needs.
	if !s.isHalted() && s.acquireDB() == nil {
		m := s.db.Metrics()
		st.DiskBytes = m.DiskSpaceUsage()
		st.Flushes, st.Compactions = uint64(m.Flush.Count), uint64(m.Compact.Count)
		s.releaseDB()
	}
	return st
}
