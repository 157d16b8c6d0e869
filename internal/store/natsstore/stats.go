package natsstore

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/store"
)

// counters are updated by operations.
type counters struct {
	commits      *store.Histogram // nanoseconds from a publish to its acknowledgement
	updates      atomic.Uint64
	waiting      atomic.Int64 // calls of Update in progress
	hits, misses atomic.Uint64
	conflicts    atomic.Uint64
	unknown      atomic.Uint64
	retries      [retryReasons]atomic.Uint64
}

// A retryReason is why a write is published again.
type retryReason int

const (
	retryUnsent retryReason = iota
	retryUnanswered
	retryBusy
	retryRefused
	retryReasons
)

// retryReasonOf classifies the error of an attempt.
func retryReasonOf(err error) retryReason {
	if _, refused := errors.AsType[*apiError](err); refused {
		if hasCode(err, codeWrongLast, codeWrongLastBusy) {
			return retryBusy
		}
		return retryRefused
	}
	if errors.Is(err, errNotSent) || errors.Is(err, nats.ErrNoResponders) {
		return retryUnsent
	}
	return retryUnanswered
}

// Retries counts writes that were published again, by reason.
type Retries struct {
	Unsent     uint64 // there was no connection, or nobody received it
	Unanswered uint64 // no acknowledgement arrived in time
	Busy       uint64 // another write to the same subject was in flight
	Refused    uint64 // the servers could not store it at the moment
}

// Stats are counters since the store was opened, and its current state.
type Stats struct {
	store.Stats

	Connected  bool
	Reconnects uint64
	Retries    Retries
	Conflicts  uint64 // writes refused because another one came first
	Unknown    uint64 // writes whose outcome could not be found out in time
	// State and History are the streams as of the last check of the store, which follows
	// each reconnection and the interval of checks.
	State, History StreamStats
}

// StreamStats are those of a stream.
type StreamStats struct {
	Bytes, Messages uint64
	Replicas        int    // that the stream is configured to have
	Current         int    // that are up to date, with the leader
	Lag             uint64 // messages that the slowest replica, or the copy of another stream, is behind
	LeaderChanges   uint64 // that checks found
}

// Stats gives the store's statistics, for metrics. It asks the servers nothing.
func (s *Store) Stats() Stats {
	c := &s.stats
	st := Stats{
		Stats: store.Stats{
			Updates:     c.updates.Load(),
			Commits:     c.commits.Counts(),
			Queued:      int(c.waiting.Load()) + s.begins.queued(),
			CacheHits:   c.hits.Load(),
			CacheMisses: c.misses.Load(),
			Cached:      s.records.len(),
			Last:        store.Position(s.lastSeq.Load()),
		},
		Connected:  s.conn.IsConnected(),
		Reconnects: s.conn.Stats().Reconnects,
		Retries: Retries{
			Unsent: c.retries[retryUnsent].Load(), Unanswered: c.retries[retryUnanswered].Load(),
			Busy: c.retries[retryBusy].Load(), Refused: c.retries[retryRefused].Load(),
		},
		Conflicts: c.conflicts.Load(),
		Unknown:   c.unknown.Load(),
	}
	st.State, st.History = s.streams.last()
	st.DiskBytes = st.State.Bytes + st.History.Bytes
	return st
}

// observedStreams are the streams as of the last check.
type observedStreams struct {
	mu             sync.Mutex // guards the fields below
	state, history observedStream
}

type observedStream struct {
	StreamStats

	leader string // "": the stream had none, or its servers are no cluster
}

func (o *observedStreams) observe(state, history *jetstream.StreamInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state.observe(state)
	o.history.observe(history)
}

func (o *observedStreams) last() (state, history StreamStats) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state.StreamStats, o.history.StreamStats
}

func (o *observedStream) observe(info *jetstream.StreamInfo) {
	if info == nil {
		return
	}
	o.Bytes, o.Messages, o.Replicas, o.Current, o.Lag = info.State.Bytes, info.State.Msgs, info.Config.Replicas, 1, 0
	for _, source := range info.Sources {
		o.Lag = max(o.Lag, source.Lag)
	}
	if info.Cluster == nil {
		return // there is one server
	}
	for _, replica := range info.Cluster.Replicas {
		o.Lag = max(o.Lag, replica.Lag)
		if replica.Current && !replica.Offline {
			o.Current++
		}
	}
	leader := info.Cluster.Leader
	if leader == "" {
		o.Current-- // there is none to count
		return
	}
	if o.leader != "" && o.leader != leader {
		o.LeaderChanges++
	}
	o.leader = leader
}
