package pebblestore

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"porchlight.dev/porchlight/internal/store"
)

// maxPending is how many records may wait for a slow watcher before they are coalesced
// to the newest of each user.
const maxPending = 16 << 10

// watchers are the running calls of Watch.
type watchers struct {
	running atomic.Int64 // their number; at zero the committer locks nothing

	mu sync.Mutex // guards m, and fields of each watcher
	m  map[*watcher]struct{}
}

// A watcher is one call of Watch.
type watcher struct {
	wake chan struct{} // buffers one element: something is pending

	// watchers.mu guards the fields below.
	pending []*item        // in the order of positions
	last    store.Position // of the last item that was ever pending, or where Watch began
	upTo    store.Position
	limit   int // of pending, before it is coalesced again
}

// start adds a watcher, and gives the position where it begins.
func (ws *watchers) start(p *progress) (*watcher, store.Position) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	// The order matters: a group that the committer published before it saw this
	// watcher is included in the position.
	ws.running.Add(1)
	at := p.durableAt()
	w := &watcher{wake: make(chan struct{}, 1), last: at, upTo: at, limit: maxPending}
	if ws.m == nil {
		ws.m = make(map[*watcher]struct{})
	}
	ws.m[w] = struct{}{}
	return w, at
}

func (ws *watchers) stop(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.m, w)
	ws.running.Add(-1)
}

// add passes a group to all watchers. Only the committer calls it, in the order of groups,
// after their records have become visible.
func (ws *watchers) add(g *group) {
	if ws.running.Load() == 0 {
		return
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.m {
		w.add(g)
	}
}

func (w *watcher) add(g *group) {
	more := false
	for _, it := range g.items {
		// A record that was only rescheduled still has its old position.
		if it.at > w.last {
			w.pending, w.last, more = append(w.pending, it), it.at, true
		}
	}
	w.upTo = g.last
	if len(w.pending) > w.limit {
		w.pending = newestOnly(w.pending)
		// So the amortized cost of coalescing is constant for each item, however
		// many users there are.
		w.limit = max(maxPending, 2*len(w.pending))
	}
	if more {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// newestOnly drops items that a later one of the same user supersedes.
func newestOnly(items []*item) []*item {
	seen := make(map[store.User]struct{}, len(items))
	at := len(items)
	for _, it := range slices.Backward(items) {
		if _, ok := seen[it.user]; ok {
			continue
		}
		seen[it.user] = struct{}{}
		at--
		items[at] = it
	}
	return slices.Delete(items, 0, at)
}

// takePending gives the pending items, and reuses spare for the next ones.
func (ws *watchers) takePending(w *watcher, spare []*item) ([]*item, store.Position) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	items := w.pending
	w.pending, w.limit = spare[:0], maxPending
	return items, w.upTo
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, fn func([]store.Record, store.Cursor)) error {
	if err := s.checkReadable(ctx); err != nil {
		return err
	}
	w, at := s.watchers.start(&s.progress)
	defer s.watchers.stop(w)
	fn(nil, store.NewCursor(s.epoch, at))
	var spare []*item
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
		case <-s.closing:
		case <-s.halted:
		}
		if err := s.checkReadable(ctx); err != nil {
			return err
		}
		items, at := s.watchers.takePending(w, spare)
		if len(items) > 0 {
			records := make([]store.Record, len(items))
			for i, it := range items {
				records[i] = it.record()
			}
			fn(records, store.NewCursor(s.epoch, at))
		}
		clear(items)
		if spare = items; cap(spare) > maxPending {
			spare = nil // do not retain the memory of a burst
		}
	}
}

// checkReadable gives the reason why a read must end, or nil.
func (s *Store) checkReadable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
	case <-s.halted:
	default:
		return nil
	}
	return s.haltedError()
}
