package server

import (
	"strconv"
	"time"

	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// A statistician is a store with counters.
type statistician[S any] interface{ Stats() S }

const (
	storePrefix = "porchlight_store_"
	seconds     = float64(time.Second) // of what is counted in nanoseconds
)

// addCommon adds the metrics that mean the same on every engine.
func addCommon[S any](c *collector[S], common func(*S) *store.Stats) {
	c.counter("updates_total", "Updates committed.", func(s *S) float64 { return float64(common(s).Updates) })
	c.histogram("commit_seconds", "Time until a write was durable: of a group of updates with its sync to disk on the embedded engine, and from a publish to its acknowledgement on NATS.", seconds, func(s *S) *store.HistogramCounts { return &common(s).Commits })
	c.gauge("queued", "Updates waiting to be committed.", func(s *S) float64 { return float64(common(s).Queued) })
	c.counter("cache_hits_total", "Records found in memory, decoded.", func(s *S) float64 { return float64(common(s).CacheHits) })
	c.counter("cache_misses_total", "Records read from the database or the servers.", func(s *S) float64 { return float64(common(s).CacheMisses) })
	c.gauge("cached_records", "Records in memory.", func(s *S) float64 { return float64(common(s).Cached) })
	c.gauge("last_position", "The newest durable position in the log that the node knows.", func(s *S) float64 { return float64(common(s).Last) })
	c.gauge("disk_bytes", "Disk space that the store takes; on NATS, on each replica.", func(s *S) float64 { return float64(common(s).DiskBytes) })
}

func newPebbleCollector(from func() pebblestore.Stats) *collector[pebblestore.Stats] {
	c := collect(storePrefix, from)
	addCommon(c, func(s *pebblestore.Stats) *store.Stats { return &s.Stats })
	c.histogram("group_updates", "Updates in a group, which is committed with one sync.", 1, func(s *pebblestore.Stats) *store.HistogramCounts { return &s.GroupSizes })
	c.counter("stalls_total", "Times that writes waited until the disk caught up.", func(s *pebblestore.Stats) float64 { return float64(s.Stalls) })
	c.gauge("trimmed_position", "Log entries up to this position were dropped, by age.", func(s *pebblestore.Stats) float64 { return float64(s.Trimmed) })
	c.gauge("free_bytes", "Free space on the store's disk.", func(s *pebblestore.Stats) float64 { return float64(s.FreeBytes) })
	c.counter("cache_packed_hits_total", "Records found in memory in packed form, which is a quarter of the size.", func(s *pebblestore.Stats) float64 { return float64(s.Unpacked) })
	addPebble(c)
	return c
}

// addPebble adds the metrics of the database under the embedded engine.
func addPebble(c *collector[pebblestore.Stats]) {
	counter := func(name, help string, value func(*pebblestore.PebbleStats) uint64) {
		c.counter(name, help, func(s *pebblestore.Stats) float64 { return float64(value(&s.Pebble)) })
	}
	gauge := func(name, help string, value func(*pebblestore.PebbleStats) uint64) {
		c.gauge(name, help, func(s *pebblestore.Stats) float64 { return float64(value(&s.Pebble)) })
	}
	counter("flushes_total", "Times that updates in memory were written into a table.", func(p *pebblestore.PebbleStats) uint64 { return p.Flushes })
	counter("compactions_total", "Times that tables were merged.", func(p *pebblestore.PebbleStats) uint64 { return p.Compactions })
	counter("compacted_bytes_total", "Bytes written by compactions.", func(p *pebblestore.PebbleStats) uint64 { return p.CompactedBytes })
	gauge("compaction_debt_bytes", "Estimated bytes that are waiting to be compacted.", func(p *pebblestore.PebbleStats) uint64 { return p.DebtBytes })
	counter("wal_written_bytes_total", "Bytes written to the write-ahead log.", func(p *pebblestore.PebbleStats) uint64 { return p.WALWrittenBytes })
	gauge("wal_bytes", "Bytes in the write-ahead log that are in no table yet.", func(p *pebblestore.PebbleStats) uint64 { return p.WALBytes })
	gauge("memtable_bytes", "Memory of updates that are not yet in a table.", func(p *pebblestore.PebbleStats) uint64 { return p.MemTableBytes })
	counter("block_cache_hits_total", "Blocks of tables found in memory.", func(p *pebblestore.PebbleStats) uint64 { return p.BlockHits })
	counter("block_cache_misses_total", "Blocks of tables read from the disk.", func(p *pebblestore.PebbleStats) uint64 { return p.BlockMisses })
	gauge("read_amplification", "Tables that the read of a record may have to search.", func(p *pebblestore.PebbleStats) uint64 { return uint64(p.ReadAmplification) })
	level := func(name, help string, value func(*pebblestore.LevelStats) uint64) {
		c.gaugeBy(name, "level", help, func(s *pebblestore.Stats) map[string]float64 {
			values := make(map[string]float64)
			for i := range s.Pebble.Levels {
				values[strconv.Itoa(i)] = float64(value(&s.Pebble.Levels[i]))
			}
			return values
		})
	}
	level("level_tables", "Tables in a level of the database.", func(l *pebblestore.LevelStats) uint64 { return l.Tables })
	level("level_bytes", "Size of the tables in a level of the database.", func(l *pebblestore.LevelStats) uint64 { return l.Bytes })
}

func newNATSCollector(from func() natsstore.Stats) *collector[natsstore.Stats] {
	c := collect(storePrefix, from)
	addCommon(c, func(s *natsstore.Stats) *store.Stats { return &s.Stats })
	c.gauge("connected", "1 while the node is connected to a NATS server.", func(s *natsstore.Stats) float64 {
		if s.Connected {
			return 1
		}
		return 0
	})
	c.counter("reconnects_total", "Times that the node connected to NATS again after it lost the connection.", func(s *natsstore.Stats) float64 { return float64(s.Reconnects) })
	c.counterBy("retries_total", "reason", "Writes published again. The reason is unsent (there was no connection, or nobody received it), unanswered (no acknowledgement arrived in time), busy (another write to the same record was in flight) or refused (the servers could not store it at the moment).", func(s *natsstore.Stats) map[string]float64 {
		r := &s.Retries
		return map[string]float64{"unsent": float64(r.Unsent), "unanswered": float64(r.Unanswered), "busy": float64(r.Busy), "refused": float64(r.Refused)}
	})
	c.counter("conflicts_total", "Writes that conflicted with a write of another node, and were retried.", func(s *natsstore.Stats) float64 { return float64(s.Conflicts) })
	c.counter("unknown_total", "Writes whose outcome the node could not determine in time.", func(s *natsstore.Stats) float64 { return float64(s.Unknown) })
	addStreams(c)
	return c
}

// addStreams adds the metrics of the streams of NATS.
func addStreams(c *collector[natsstore.Stats]) {
	values := func(value func(*natsstore.StreamStats) uint64) func(*natsstore.Stats) map[string]float64 {
		return func(s *natsstore.Stats) map[string]float64 {
			return map[string]float64{"state": float64(value(&s.State)), "history": float64(value(&s.History))}
		}
	}
	c.gaugeBy("stream_bytes", "stream", "Size of a stream of the store on each replica. This and the other metrics of streams are those of the last check, which the node makes every 30 s and after it has connected again.", values(func(s *natsstore.StreamStats) uint64 { return s.Bytes }))
	c.gaugeBy("stream_messages", "stream", "Messages in a stream.", values(func(s *natsstore.StreamStats) uint64 { return s.Messages }))
	c.gaugeBy("stream_replicas", "stream", "Replicas that a stream is configured to have.", values(func(s *natsstore.StreamStats) uint64 { return uint64(s.Replicas) }))
	c.gaugeBy("stream_replicas_current", "stream", "Replicas of a stream that are up to date, with the leader if there is one.", values(func(s *natsstore.StreamStats) uint64 { return uint64(s.Current) }))
	c.gaugeBy("stream_lag_messages", "stream", "Messages that the slowest replica of a stream is behind, or that the history has not copied from the state.", values(func(s *natsstore.StreamStats) uint64 { return s.Lag }))
	c.counterBy("stream_leader_changes_total", "stream", "Changes of the leader of a stream that checks found.", values(func(s *natsstore.StreamStats) uint64 { return s.LeaderChanges }))
}
