package publish

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// soft is the soft state of sessions: refreshes and continuing activity since the last
// commit. It has at most one entry for each live recorded session. A restart loses it;
// sessions then get a new lease.
type soft struct {
	seed   maphash.Seed
	shards [64]softShard
}

type softShard struct {
	mu   sync.Mutex
	seen map[store.User][]presence.SoftState // slices are never modified
}

func (s *soft) shard(u store.User) *softShard {
	return &s.shards[maphash.Comparable(s.seed, u)%uint64(len(s.shards))]
}

// of is the soft state of u's sessions.
func (s *soft) of(u store.User) []presence.SoftState {
	shard := s.shard(u)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	return shard.seen[u]
}

// remember replaces the soft state of one session.
func (s *soft) remember(u store.User, seen presence.SoftState) {
	shard := s.shard(u)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.seen == nil {
		shard.seen = make(map[store.User][]presence.SoftState)
	}
	kept := slices.DeleteFunc(slices.Clone(shard.seen[u]), func(old presence.SoftState) bool { return old.Session == seen.Session })
	shard.seen[u] = append(kept, seen)
}

// drop removes the soft state that is now part of the record, unless it has been
// replaced meanwhile, and that of sessions that the record no longer has.
func (s *soft) drop(u store.User, recorded []presence.SoftState, state *presence.State) {
	shard := s.shard(u)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	known, ok := shard.seen[u]
	if !ok {
		return
	}
	left := slices.DeleteFunc(slices.Clone(known), func(seen presence.SoftState) bool {
		return slices.Contains(recorded, seen) || !hasSession(state, seen.Session)
	})
	if len(left) == 0 {
		delete(shard.seen, u)
		return
	}
	shard.seen[u] = left
}

func hasSession(state *presence.State, id presence.SessionID) bool {
	return slices.ContainsFunc(state.Sessions, func(s presence.Session) bool { return s.ID == id })
}

// refreshUnrecorded answers a refresh from the record or keeps it in memory if the rules
// allow it. The returned record includes the soft state.
func (p *Publisher) refreshUnrecorded(ctx context.Context, u store.User, e presence.Refresh) (store.Record, bool, error) {
	records, _, err := p.store.Read(ctx, []store.User{u}, store.Freshness{ForUpdate: true})
	if err != nil || len(records) == 0 {
		return store.Record{}, false, err
	}
	if presence.OnRecord(records[0].State, e, p.policy, p.now()) {
		return records[0], true, nil
	}
	if p.policy.Ahead {
		return store.Record{}, false, nil
	}
	var already presence.SoftState
	for _, seen := range p.soft.of(u) {
		if seen.Session == e.Session {
			already = seen
		}
	}
	record := records[0]
	seen, ok := presence.SoftRefresh(record.State, e, already, p.policy, p.now())
	if ok {
		p.soft.remember(u, seen)
		// The session may have ended since the record was read. The commit that ended it
		// dropped the soft state of that time; what was added later is dropped here.
		if records, _, err = p.store.Read(ctx, []store.User{u}, store.Freshness{}); err != nil || len(records) == 0 {
			return store.Record{}, false, err
		}
		p.soft.drop(u, nil, records[0].State)
		record.State = p.WithSoftState(u, record.State)
	}
	return record, ok, nil
}

// WithSoftState is s, u's recorded state, with what this node's memory holds of its
// sessions: when they really idle and expire, for listings of sessions.
func (p *Publisher) WithSoftState(u store.User, s *presence.State) *presence.State {
	seen := slices.Concat(p.soft.of(u), p.bound.soft(u))
	if len(seen) == 0 {
		return s
	}
	observed := presence.WithSoftState(*s, seen)
	return &observed
}

// soft is when the active sessions of u that connections of this node hold become idle.
func (s *bindings) soft(u store.User) (soft []presence.SoftState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held[u] {
		if at := h.edge(); at != 0 && len(h.bindings) > 0 {
			soft = append(soft, presence.SoftState{Session: h.id, IdleAt: at})
		}
	}
	return soft
}
