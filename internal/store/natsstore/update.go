package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Update implements store.Store.
func (s *Store) Update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	if err := store.CheckUser(u); err != nil {
		return store.Record{}, err
	}
	s.stats.waiting.Add(1)
	defer s.stats.waiting.Add(-1)
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	leave, err := s.enterQueue(ctx, u)
	if err != nil {
		return store.Record{}, err
	}
	defer leave()
	return s.update(ctx, u, fn)
}

// update runs while the caller has u's queue on this node. Another node may still write
// concurrently.
func (s *Store) update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	// The record may be stale. A write that is based on it is then refused.
	prev := s.cached(u)
	for confirmed := false; ; {
		if prev == nil {
			var err error
			if prev, err = s.newest(ctx, u); err != nil {
				return store.Record{}, err
			}
		}
		change, err := decide(fn, prev.Recorded)
		if err != nil && !confirmed {
			// No write confirms that this is the newest record: another node may have changed
			// it, and a leader may have been replaced without knowing it.
			if prev, err = s.confirmed(ctx, u); err != nil {
				return store.Record{}, err
			}
			confirmed = true
			continue
		}
		if p, ok := errors.AsType[*store.PanicError](err); ok {
			s.log.ErrorContext(ctx, "panic", slog.Any("value", p.Value), slog.String("stack", string(p.Stack)))
		}
		if err != nil {
			s.advanceSeq(prev.seq)
			return prev.record(), err
		}
		if err := ctx.Err(); err != nil {
			return store.Record{}, err
		}
		rec, err := s.storeChange(ctx, prev, &change)
		if err == nil {
			return rec.record(), nil
		}
		s.records.evict(u)
		if !errors.Is(err, errSuperseded) {
			return store.Record{}, err
		}
		prev, confirmed = nil, false
	}
}

// cached is the record as this node read or wrote it last, or nil.
func (s *Store) cached(u store.User) *record {
	rec, ok := s.records.get(u)
	if ok {
		s.stats.hits.Add(1)
	} else {
		s.stats.misses.Add(1)
	}
	return rec
}

// confirmed reads the record as it is at the call, or later, and caches it.
func (s *Store) confirmed(ctx context.Context, u store.User) (*record, error) {
	present, _, err := s.readLast(ctx, s.queryFresh, s.names.all(u))
	if err != nil {
		return nil, err
	}
	m, ok := s.names.newestOf(u, present)
	if !ok {
		return &record{user: u}, nil
	}
	rec, err := decodeRecord(u, m)
	if err != nil {
		return nil, err
	}
	s.records.put(u, rec)
	return rec, nil
}

// newest reads the record from the leader, and caches it. The leader may have been replaced
// without knowing it.
func (s *Store) newest(ctx context.Context, u store.User) (*record, error) {
	last, err := s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Last: s.names.both(u)})
	if err == nil && last == nil && s.names.hasLayout1 {
		last, err = s.leaderGet(ctx, s.names.stateStream(), leaderQuery{Last: s.names.base(u)})
	}
	if err != nil {
		return nil, err
	}
	if last == nil {
		return &record{user: u}, nil
	}
	rec, err := decodeRecord(u, *last)
	if err != nil {
		return nil, err
	}
	s.records.put(u, rec)
	return rec, nil
}

// decide runs fn, and converts a panic to an error. It refuses a revision that does not
// rise.
func decide(fn store.Decide, prev presence.Recorded) (next store.Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &store.PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	next, err = fn(prev)
	if err == nil && next.State.Revision <= prev.State.Revision {
		err = fmt.Errorf("update function returned revision %d for revision %d; it must return a higher one", next.State.Revision, prev.State.Revision)
	}
	return next, err
}

// storeChange replaces prev by the result of change.
func (s *Store) storeChange(ctx context.Context, prev *record, change *store.Change) (*record, error) {
	op := rand.Uint64()
	rec := &record{user: prev.user, Recorded: change.Recorded, at: prev.at, armed: prev.armed, ops: prev.ops.after(op)}
	schedule := rec.armTimer()
	entry := logEntry(prev, change)
	w := write{msgs: s.recordMessages(prev, rec, entry, schedule), outcome: func(ctx context.Context) (outcome, uint64, error) {
		return s.updateOutcome(ctx, prev, op)
	}}
	seq, err := s.apply(ctx, w)
	if err != nil {
		return nil, err
	}
	rec.seq = seq
	rec.ops.setNewest(store.Position(seq))
	if entry != nil {
		rec.at = store.Position(seq)
	}
	s.records.put(rec.user, rec)
	s.stats.updates.Add(1)
	return rec, nil
}

// logEntry is the log entry for a change of prev, or nil if it gets none.
func logEntry(prev *record, change *store.Change) *store.Entry {
	if change.Unlogged && prev.at != 0 {
		return nil
	}
	e := change.Entry(prev.user, &prev.Recorded)
	return &e
}

// armTimer ensures that a schedule is stored for Next or an earlier instant, and reports
// whether one must be stored. An earlier one is kept while it fires in the second half of the
// time: then Due moves it, unless an update comes first, as it does for a session that is
// refreshed in time.
func (rec *record) armTimer() bool {
	ahead := rec.armed > rec.State.At
	if ahead && (rec.Next.IsZero() || rec.armed <= rec.Next && rec.firesLate()) {
		return false
	}
	if rec.Next.IsZero() && rec.armed.IsZero() {
		return false
	}
	rec.armed = timerInstant(rec.Next, rec.State.At)
	return !rec.Next.IsZero()
}

// firesLate reports whether the schedule fires in the second half of the time until Next.
func (rec *record) firesLate() bool {
	return 2*rec.armed.Sub(rec.State.At) > rec.Next.Sub(rec.State.At)
}

// maxTimerAhead is how far ahead a schedule is stored at most: the servers represent
// instants as nanoseconds, which end in 2262. A schedule that fires before its user is
// due is moved.
const maxTimerAhead = 365 * 24 * time.Hour

func timerInstant(next, now presence.Instant) presence.Instant {
	return min(next, now.Add(maxTimerAhead))
}

// recordMessages are the messages that replace prev by rec. The record is the last one.
func (s *Store) recordMessages(prev, rec *record, e *store.Entry, schedule bool) []*nats.Msg {
	subject := s.names.change(rec.user)
	if e == nil {
		subject = s.names.refresh(rec.user)
	}
	recordMsg := s.recordMessage(subject, prev, rec, e)
	if e == nil {
		recordMsg.Header.Set(rollupHeader, rollupSubject)
	}
	if !schedule {
		return []*nats.Msg{recordMsg}
	}
	return []*nats.Msg{s.scheduleMessage(rec), recordMsg}
}

// recordMessage is the message at a subject that replaces prev by rec.
func (s *Store) recordMessage(subject string, prev, rec *record, e *store.Entry) *nats.Msg {
	m := s.newMsg(subject, seal(subject, appendRecord(newBody(512), rec, e, prev.at)))
	s.expectNewest(m, prev)
	return m
}

// scheduleMessage makes the servers publish a firing at rec.armed. It replaces the
// previous schedule.
func (s *Store) scheduleMessage(rec *record) *nats.Msg {
	subject, target := s.names.schedule(rec.user), s.names.firing(rec.user)
	// The servers copy the body to the firing, so it is sealed for the firing's subject.
	m := s.newMsg(subject, seal(target, strconv.AppendInt(newBody(32), int64(rec.armed), 10)))
	m.Header.Set(scheduleHeader, "@at "+rec.armed.Time().UTC().Format(time.RFC3339Nano))
	m.Header.Set(targetHeader, target)
	// Roll up: only the newest firing of a user is kept.
	m.Header.Set(targetRollupHeader, rollupSubject)
	return m
}
