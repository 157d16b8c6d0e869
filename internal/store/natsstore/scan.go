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

// eachRecord calls each with every record, and the bytes of its message. It may give one
// again that is updated meanwhile.
//
// A consumer lists the last change of each user as of its creation, and then delivers new
// ones. It may run on a replica that is behind, so eachRecord reads up to what the leader
// has, and looks for newer changes of the users that are listed. A listed message may be
// dropped for newer ones before it is delivered: so, at the end of the list, eachRecord reads
// once more up to what the leader has by then.
func (s *Store) eachRecord(ctx context.Context, each func(rec *record, size int) error) error {
	return s.eachRecordOf(ctx, jetstream.DeliverLastPerSubjectPolicy, each)
}

func (s *Store) eachRecordOf(ctx context.Context, list jetstream.DeliverPolicy, each func(rec *record, size int) error) error {
	filters := s.names.listed()
	r, err := s.newStreamReader(ctx, s.names.stateStream(), list, filters...)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	l := recordList{s: s, given: make(map[store.User]uint64), each: each}
	for range 2 {
		last, err := s.lastOf(ctx, filters)
		if err != nil {
			return err
		}
		s.advanceSeq(last) // reads of the other subjects must not be older
		if err := r.readTo(ctx, last, func(msgs []storedMsg) error { return l.add(ctx, msgs) }); err != nil {
			return err
		}
	}
	return nil
}

// lastOf is the sequence of the last message that matches a filter; zero: there is none.
func (s *Store) lastOf(ctx context.Context, filters []string) (seq uint64, err error) {
	for _, filter := range filters {
		last, err := s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Last: filter})
		if err != nil {
			return 0, err
		}
		if last != nil {
			seq = max(seq, last.seq)
		}
	}
	return seq, nil
}

// A recordList finds the records of users whose changes are listed.
type recordList struct {
	s *Store
	// given has the changes that were given before they were listed, by their sequence.
	given map[store.User]uint64
	each  func(rec *record, size int) error
}

// add gives the records of users whose changes are listed, each once: there may be a newer
// change, which is listed too, and later.
func (l *recordList) add(ctx context.Context, msgs []storedMsg) error {
	subjects := make([]string, 0, 3*len(msgs))
	users := make([]store.User, len(msgs))
	for i := range msgs {
		u, ok := l.s.names.parseUser(msgs[i].subject)
		if !ok {
			return unreadable(l.s.names.stateStream(), &msgs[i], errDamaged)
		}
		users[i] = u
		// That of the message too: a response without messages does not tell how new it is.
		subjects = append(subjects, msgs[i].subject, l.s.names.change(u), l.s.names.refresh(u))
	}
	present, _, err := l.s.readLast(ctx, l.s.query, subjects)
	if err != nil {
		return err
	}
	for i := range msgs {
		if err := l.addUser(users[i], msgs[i], present); err != nil {
			return err
		}
	}
	return nil
}

func (l *recordList) addUser(u store.User, listed storedMsg, present map[string]storedMsg) error {
	if given, ok := l.given[u]; ok {
		if listed.seq >= given {
			delete(l.given, u)
		}
		if listed.seq <= given {
			return nil
		}
	}
	newest := listed
	if m, ok := present[l.s.names.change(u)]; ok && m.seq > listed.seq {
		newest = m
		l.given[u] = m.seq
	}
	if m, ok := present[l.s.names.refresh(u)]; ok && m.seq > newest.seq {
		newest = m
	}
	rec, err := decodeRecord(u, newest)
	if err != nil {
		return unreadable(l.s.names.stateStream(), &newest, err)
	}
	return l.each(rec, len(newest.subject)+len(newest.data))
}
