package pebblestore

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"porchlight.dev/porchlight/internal/store"
)

// counters are updated by the committer and maintenance.
type counters struct {
	commits    *store.Histogram // nanoseconds until a group was durable
	groupSizes *store.Histogram // updates in a group
	stalls     atomic.Uint64
	free       atomic.Uint64
}

func newCounters() counters {
	return counters{commits: store.NewCommitHistogram(), groupSizes: store.NewHistogram(1, 2, 4, 8, 16, 32, 64, 128, 256, maxGroup)}
}

// Stats are counters since the store was opened, and its current state.
type Stats struct {
	store.Stats

	GroupSizes store.HistogramCounts // updates in a group, which is one commit
	Unpacked   uint64                // records found in memory in packed form
	Stalls     uint64                // times that Pebble stalled writes
	Trimmed    store.Position        // log entries up to here were dropped
	FreeBytes  uint64                // on the store's disk; zero: not known
	LowBytes   uint64                // free bytes below which updates are refused; zero: never
	Pebble     PebbleStats
}

// PebbleStats are those of the database.
type PebbleStats struct {
	Flushes           uint64 // of memtables to tables
	Compactions       uint64 // of tables
	CompactedBytes    uint64 // written by compactions
	DebtBytes         uint64 // estimated to be compacted until the levels have their sizes
	WALBytes          uint64 // live in write-ahead logs
	WALWrittenBytes   uint64
	MemTableBytes     uint64
	BlockHits         uint64 // blocks of tables found in memory
	BlockMisses       uint64 // blocks read from the disk
	ReadAmplification int    // tables that a read may have to look at
	Levels            []LevelStats
}

// LevelStats are those of a level of tables, from 0.
type LevelStats struct {
	Tables uint64
	Bytes  uint64
}

// Stats gives the store's statistics, for metrics.
func (s *Store) Stats() Stats {
	sizes := s.stats.groupSizes.Counts()
	st := Stats{
		Stats: store.Stats{
			Updates:     sizes.Sum,
			Commits:     s.stats.commits.Counts(),
			Queued:      len(s.queue),
			CacheHits:   s.cache.hits.Load(),
			CacheMisses: s.cache.misses.Load(),
			Cached:      s.cache.len(),
			Last:        s.progress.durableAt(),
		},
		GroupSizes: sizes,
		Unpacked:   s.cache.unpacked.Load(),
		Stalls:     s.stats.stalls.Load(),
		Trimmed:    s.trimmedTo(),
		FreeBytes:  s.stats.free.Load(),
		LowBytes:   uint64(max(0, s.opts.MinFreeBytes)),
	}
	// A failed database may hold a lock that this needs.
	if !s.isHalted() && s.acquireDB() == nil {
		m := s.db.Metrics()
		st.DiskBytes, st.Pebble = m.DiskSpaceUsage(), pebbleStats(m)
		s.releaseDB()
	}
	return st
}

func pebbleStats(m *pebble.Metrics) PebbleStats {
	total := m.Total()
	p := PebbleStats{
		Flushes:           uint64(m.Flush.Count),
		Compactions:       uint64(m.Compact.Count),
		CompactedBytes:    total.TableBytesCompacted,
		DebtBytes:         m.Compact.EstimatedDebt,
		WALBytes:          m.WAL.Size,
		WALWrittenBytes:   m.WAL.BytesWritten,
		MemTableBytes:     m.MemTable.Size,
		BlockHits:         uint64(m.BlockCache.Hits),
		BlockMisses:       uint64(m.BlockCache.Misses),
		ReadAmplification: m.ReadAmp(),
	}
	for i := range m.Levels {
		p.Levels = append(p.Levels, LevelStats{Tables: uint64(m.Levels[i].TablesCount), Bytes: uint64(m.Levels[i].TablesSize)})
	}
	return p
}
