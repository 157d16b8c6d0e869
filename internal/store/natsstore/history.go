package natsstore

import (
	"context"

	"porchlight.dev/porchlight/internal/store"
)

// History implements store.Store. The servers read forwards only, so it requests one
// entry at a time: the last one before the entry that it has.
func (s *Store) History(ctx context.Context, u store.User, before store.Position, limit int) ([]store.Entry, error) {
	if err := store.CheckUser(u); err != nil {
		return nil, err
	}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if limit <= 0 {
		return nil, nil
	}
	limit = min(limit, store.MaxFeedGroup)
	from, err := s.awaitHistory(ctx)
	if err == nil && before > 0 && before <= from.at {
		from, err = s.locate(ctx, before-1)
	}
	if err != nil {
		return nil, err
	}
	h := userHistory{s: s, subjects: s.names.logged(u), upTo: from.seq}
	for len(h.entries) <= limit && !h.done { // one more decides whether the last one has a Gap
		if err := h.step(ctx); err != nil {
			return nil, err
		}
	}
	return h.entries[:min(limit, len(h.entries))], nil
}

// A userHistory reads the entries of one user backwards.
type userHistory struct {
	s        *Store
	subjects []string
	upTo     uint64 // messages up to this sequence were not read yet
	entries  []store.Entry
	// previous is the position of the entry before the one that was read last. Zero:
	// unknown.
	previous store.Position
	done     bool
}

func (h *userHistory) step(ctx context.Context) error {
	m, err := h.older(ctx)
	if err != nil {
		return err
	}
	if m == nil {
		h.done = true
		h.markGap(0)
		return nil
	}
	h.upTo = m.seq - 1
	head, e, err := decodeEntry(m)
	switch {
	case err != nil:
		h.entries = append(h.entries, damagedEntry(m, err))
		h.previous = 0
		return nil
	case head.kind == kindEntry:
		h.markGap(e.At)
		h.entries = append(h.entries, e)
		h.done = head.previous == 0
	}
	h.previous = head.previous
	return nil
}

// markGap sets Gap on the last entry unless the entry at found is its predecessor.
func (h *userHistory) markGap(found store.Position) {
	if n := len(h.entries); n > 0 && h.previous != 0 {
		h.entries[n-1].Gap = h.previous != found
	}
}

// older reads the next older message of the user; nil: there is none. Any replica may
// answer: the message is the expected one, or the leader confirms that there is no later
// one.
func (h *userHistory) older(ctx context.Context) (m *storedMsg, err error) {
	if h.upTo == 0 {
		return nil, nil //nolint:nilnil // none is an answer
	}
	err = h.s.retryRead(ctx, func(ctx context.Context) error {
		m = nil
		snap, err := h.s.queryLast(ctx, h.s.names.historyStream(), lastQuery{Filters: h.subjects, UpTo: h.upTo})
		if err != nil {
			return err
		}
		from := uint64(1)
		for i := range snap.msgs {
			if found := &snap.msgs[i]; found.seq >= from {
				m, from = found, found.seq+1
			}
		}
		if m != nil && store.Position(m.source) == h.previous {
			return nil
		}
		return h.confirm(ctx, from)
	})
	return m, err
}

// confirm asks the leader whether it has no message of the user from a sequence on that was
// not read yet.
func (h *userHistory) confirm(ctx context.Context, from uint64) error {
	for _, subject := range h.subjects {
		next, err := h.s.leaderGetOnce(ctx, h.s.names.historyStream(), leaderQuery{Next: subject, Seq: from})
		if err != nil {
			return err
		}
		if next != nil && next.seq <= h.upTo {
			return errBehind
		}
	}
	return nil
}
