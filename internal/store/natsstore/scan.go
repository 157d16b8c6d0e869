package natsstore

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/store"
)

// scanBytes bounds the stored bytes of a group of Scan.
const scanBytes = 4 << 20

// Scan implements store.Store. The servers deliver the records in the order in which they
// were written.
func (s *Store) Scan(ctx context.Context, fn func([]store.Record) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.leave() // a scan may take long, and Close need not wait for it
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	var group []store.Record
	bytes := 0
	flush := func() error {
		full := group
		group, bytes = nil, 0
		return final(fn(full))
	}
	err := s.eachRecord(ctx, func(rec *record, size int) error {
		if group, bytes = append(group, rec.record()), bytes+size; len(group) < store.MaxScanGroup && bytes < scanBytes {
			return nil
		}
		return flush()
	})
	if err == nil && len(group) > 0 {
		err = flush()
	}
	return s.scanError(ctx, err)
}

// scanError is the error with which Scan returns.
func (s *Store) scanError(ctx context.Context, err error) error {
	switch stop := s.stopReason(ctx, err); {
	case stop != nil, err == nil:
		return stop
	case errors.Is(err, errDamaged), errors.Is(err, store.ErrFormat):
		return err
	}
	return s.unavailable(err)
}

// eachRecord calls each with every record, and the bytes of its message.
//
// A consumer lists the last message of each subject as of its creation, and then delivers
// new ones. It may run on a replica that is behind, so eachRecord reads up to what the leader
// has. A listed message may be dropped for newer ones before it is delivered: so, at the end
// of the list, eachRecord reads once more up to what the leader has by then.
func (s *Store) eachRecord(ctx context.Context, each func(rec *record, size int) error) error {
	stream := s.names.stateStream()
	r, err := s.newStreamReader(ctx, stream, s.names.records(), jetstream.DeliverLastPerSubjectPolicy)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	for range 2 {
		last, err := s.leaderGet(ctx, stream, leaderQuery{Last: s.names.records()})
		if err != nil || last == nil {
			return err
		}
		err = r.readTo(ctx, last.seq, func(m *storedMsg) error {
			u, ok := s.names.parseUser(m.subject)
			if !ok {
				return unreadable(stream, m, errDamaged)
			}
			rec, err := decodeRecord(u, *m)
			if err != nil {
				return unreadable(stream, m, err)
			}
			return each(rec, len(m.subject)+len(m.data))
		})
		if err != nil {
			return err
		}
	}
	return nil
}
