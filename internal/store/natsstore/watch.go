package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/store"
)

// Watch implements store.Store. It polls the state stream, as Feed polls the history, so
// messages that are lost with a connection are requested again. A stale replica has a
// prefix of the leader's messages, so none is skipped.
func (s *Store) Watch(ctx context.Context, fn func([]store.Record, store.Cursor)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.haltedError(); err != nil {
		return err
	}
	// The start is the highest sequence that this node knows: asking the leader would
	// block.
	w := &watchRun{s: s, at: s.lastSeq.Load()}
	fn(nil, w.cursor())
	return s.poll(ctx, "changes", func(ctx context.Context) (bool, error) {
		group, last, err := w.next(ctx)
		if errors.Is(err, errDamaged) || errors.Is(err, store.ErrFormat) {
			return false, final(err)
		}
		if last <= w.at {
			return false, err
		}
		w.at = last
		if len(group) > 0 {
			fn(group, w.cursor())
		}
		return true, nil
	})
}

// A watchRun is one call of Watch.
type watchRun struct {
	s  *Store
	at uint64 // everything up to this sequence was delivered
}

func (w *watchRun) cursor() store.Cursor { return store.NewCursor(w.s.epoch, store.Position(w.at)) }

// next reads the next messages. It returns the newest record of each user among them, and
// the last sequence. Zero: there are none.
func (w *watchRun) next(ctx context.Context) (group []store.Record, last uint64, err error) {
	if err := w.s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer w.s.leave()
	q := rangeQuery{From: w.at + 1, Filter: w.s.names.changes(), Batch: store.MaxFeedGroup}
	msgs, err := w.s.readRange(ctx, w.s.names.stateStream(), q)
	if err != nil || len(msgs) == 0 {
		return nil, 0, err
	}
	newest := make(map[string]uint64, len(msgs))
	for _, m := range msgs {
		newest[m.subject] = m.seq
	}
	group = make([]store.Record, 0, len(newest))
	for _, m := range msgs {
		if newest[m.subject] != m.seq {
			continue
		}
		u, ok := w.s.names.parseUser(m.subject)
		if !ok {
			return nil, 0, fmt.Errorf("message at %d of the state stream: %w", m.seq, errDamaged)
		}
		rec, err := decodeRecord(u, m)
		if err != nil {
			return nil, 0, err
		}
		// A message without an entry repeats the position of the record. It is delivered
		// if that position is new: the message with the entry may be gone.
		if rec.at > store.Position(w.at) {
			group = append(group, rec.record())
		}
	}
	slices.SortFunc(group, func(a, b store.Record) int { return cmp.Compare(a.At, b.At) })
	last = msgs[len(msgs)-1].seq
	w.s.advanceSeq(last) // later reads must not be older
	return group, last, nil
}
