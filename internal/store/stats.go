package store

// Stats are what every engine counts since it was opened, and its current state.
type Stats struct {
	Updates     uint64          // committed
	Commits     HistogramCounts // nanoseconds until a write was durable
	Queued      int             // updates that were not decided yet
	CacheHits   uint64          // decoded records found in memory
	CacheMisses uint64          // records read from the engine
	Cached      int             // records
	Last        Position        // the newest durable
	DiskBytes   uint64          // used by the store
}
