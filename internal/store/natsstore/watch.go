package natsstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"porchlight.dev/porchlight/internal/store"
)

// Watch implements store.Store. It reads the state stream, as Feed does the
// history: what is lost with a connection is asked for again. A replica that is
// behind has a beginning of the leader's messages, so none is skipped.
func (s *Store) Watch(ctx context.Context, fn func([]store.Record, store.Cursor)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.haltedError(); err != nil {
		return err
	}
	// Where this node has come, since asking the leader would be waiting.
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

// A watching is one call of Watch.
type watchRun struct {
	s  *Store
	at uint64 // everything up to here was given
}

func (w *watchRun) cursor() store.Cursor { return store.NewCursor(w.s.epoch, store.Position(w.at)) }

// next reads the messages that come next, and gives the newest record of each
// user among them, and where they end; zero: there are none.
func (w *watchRun) next(ctx context.Context) (group []store.Record, last uint64, err error) {
	if err := w.s.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer w.s.leave()
	q := rangeQuery{From: w.at + 1, Filter: w.s.names.records(), Batch: store.MaxFeedGroup}
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
			return nil, 0, fmt.Errorf("the message at %d of the state: %w", m.seq, errDamaged)
		}
		rec, err := decodeRecord(u, m)
		if err != nil {
			return nil, 0, err
		}
		// One whose schedule alone was moved has the position that it had. It is
		// given if that is new: its entry may have been dropped meanwhile.
		if rec.at > store.Position(w.at) {
			group = append(group, rec.record())
		}
	}
	slices.SortFunc(group, func(a, b store.Record) int { return cmp.Compare(a.At, b.At) })
	last = msgs[len(msgs)-1].seq
	w.s.advanceSeq(last) // so that a read after it is no older
	return group, last, nil
}
