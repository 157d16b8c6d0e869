package pebblestore

import (
	"fmt"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

// syncAll makes groups durable in their order, then publishes and answers them. It ends
// after the committer.
func (s *Store) syncAll() {
	defer close(s.syncerDone)
	for {
		select {
		case g, ok := <-s.groups:
			if !ok {
				return
			}
			s.finish(g)
		case <-s.abandoned:
			return // the committer may be parked inside Pebble
		}
	}
}

func (s *Store) finish(g *group) {
	if !s.isFailed() && g.batch != nil {
		s.awaitSync(g)
	}
	if s.isFailed() {
		s.refuse(g)
		return
	}
	s.publish(g)
}

func (s *Store) awaitSync(g *group) {
	start := time.Now()
	if err := g.batch.SyncWait(); err != nil {
		s.fail(fmt.Errorf("sync: %w", err))
		return
	}
	s.stats.syncNanos.Add(uint64(time.Since(start)))
	s.stats.groups.Add(1)
	s.stats.updates.Add(uint64(len(g.entries)))
	s.batchDone(g)
}

func (s *Store) batchDone(g *group) {
	if err := g.batch.Close(); err != nil {
		s.log.Error("closing a batch failed", slog.Any("err", err))
	}
	g.batch = nil
}

// publish makes a durable group visible. Records come before the position, so that a
// reader of the position finds them. The position comes before the log, so that it
// covers every visible entry. Watchers are notified last.
func (s *Store) publish(g *group) {
	for _, it := range g.items {
		s.cache.install(it)
	}
	s.progress.durable.Store(uint64(g.last))
	s.logCache.add(g.entries)
	s.logCache.replace(g.redacted)
	s.progress.wake()
	s.watchers.add(g)
	if !g.earliest.IsZero() {
		s.schedule.add(g.earliest)
	}
	s.answer(g.answers...)
}

// refuse answers a group that may or may not have been stored.
func (s *Store) refuse(g *group) {
	for _, o := range g.answers {
		if o.err != nil {
			o.fail(s.haltedError())
		} else {
			o.fail(store.ErrUnknown)
		}
	}
	s.answer(g.answers...)
}
