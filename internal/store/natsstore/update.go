package natsstore

import (
	"context"
	"errors"
	"fmt"
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
	if err := s.enter(ctx); err != nil {
		return store.Record{}, err
	}
	defer s.leave()
	leave, err := s.queues.enter(ctx, u)
	if err != nil {
		return store.Record{}, err
	}
	defer leave()
	return s.update(ctx, u, fn)
}

// update has the user's turn on this node. Another node may still come between.
func (s *Store) update(ctx context.Context, u store.User, fn store.Decide) (store.Record, error) {
	// What this node knows may be old, which a write that is made on it finds out.
	prev, _ := s.records.get(u)
	for fresh := false; ; {
		if prev == nil {
			var err error
			if prev, err = s.newest(ctx, u); err != nil {
				return store.Record{}, err
			}
			fresh = true
		}
		change, err := decide(fn, prev.Recorded)
		if err != nil && !fresh {
			// Another node may have changed what that was decided on.
			prev = nil
			continue
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
		prev = nil
	}
}

// newest is the record as the leader has it.
func (s *Store) newest(ctx context.Context, u store.User) (*record, error) {
	last, err := s.leaderLast(ctx, s.names.state(u))
	if err != nil {
		return nil, err
	}
	return s.itemIn(u, last)
}

func (s *Store) itemIn(u store.User, last *storedMsg) (*record, error) {
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

// errPanic: a function given to Update panicked. Nothing was stored.
var errPanic = errors.New("the update function panicked")

// decide runs fn, and makes a panic of it, or a revision that does not rise, the
// caller's error.
func decide(fn store.Decide, prev presence.Recorded) (next store.Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	next, err = fn(prev)
	if err == nil && next.State.Revision <= prev.State.Revision {
		err = fmt.Errorf("the update function made revision %d from %d; it must be higher", next.State.Revision, prev.State.Revision)
	}
	return next, err
}

// put stores what change makes of was.
func (s *Store) storeChange(ctx context.Context, prev *record, change *store.Change) (*record, error) {
	op := rand.Uint64()
	rec := &record{user: prev.user, Recorded: change.Recorded, armed: prev.armed, ops: prev.ops.after(op)}
	rearm := rec.armTimer()
	e := change.Entry(rec.user, &prev.Recorded)
	w := write{msgs: s.recordMessages(prev, rec, &e, rearm), outcome: func(ctx context.Context) (outcome, uint64, error) {
		return s.updateOutcome(ctx, prev, op)
	}}
	seq, err := s.apply(ctx, w)
	if err != nil {
		return nil, err
	}
	s.acked()
	rec.seq, rec.at = seq, store.Position(seq)
	rec.ops.setNewest(rec.at)
	s.records.put(rec.user, rec)
	return rec, nil
}

// outcomeOf checks whether operation op was made on was.
func (s *Store) updateOutcome(ctx context.Context, prev *record, op uint64) (outcome, uint64, error) {
	last, err := s.leaderLastOnce(ctx, s.names.state(prev.user))
	if err != nil {
		return 0, 0, err
	}
	if last == nil || last.seq == prev.seq {
		return unchanged, 0, nil
	}
	now, err := decodeRecord(prev.user, *last)
	if err != nil {
		return 0, 0, err
	}
	return outcomeFromOps(now.ops, op, prev.at)
}

// outcomeAmong searches for a writer among those that came after a position.
func outcomeFromOps(ops writeOps, id uint64, after store.Position) (outcome, uint64, error) {
	if at, ok := ops.at(id); ok {
		return stored, uint64(at), nil
	}
	if !ops.cover(after) {
		return 0, 0, errWritersEvicted
	}
	return superseded, 0, nil
}

// errWritersEvicted: so many wrote since that the record does not list the writer.
var errWritersEvicted = errors.New("the record was changed too often since to know")

// arm keeps a schedule no later than Next. One that is early enough and still
// ahead is left alone: when it fires, Due moves it on.
func (rec *record) armTimer() (moved bool) {
	ahead := rec.armed > rec.State.At
	if ahead && (rec.Next.IsZero() || rec.armed <= rec.Next) {
		return false
	}
	if rec.Next.IsZero() && rec.armed.IsZero() {
		return false
	}
	rec.armed = timerInstant(rec.Next, rec.State.At)
	return !rec.Next.IsZero()
}

// farthest is how far ahead a schedule is stored: the servers count nanoseconds,
// which end in 2262. One that fires before its user is due is moved on.
const maxTimerAhead = 365 * 24 * time.Hour

func timerInstant(next, now presence.Instant) presence.Instant {
	return min(next, now.Add(maxTimerAhead))
}

// recordMessages are those that store it in place of was: the record comes last.
func (s *Store) recordMessages(prev, rec *record, e *store.Entry, rearm bool) []*nats.Msg {
	subject := s.names.state(rec.user)
	recordMsg := s.newMsg(subject, seal(subject, appendRecord(newBody(512), rec, e, prev.at)))
	expectLast(recordMsg, prev.seq)
	if !rearm {
		return msgs(recordMsg)
	}
	return msgs(s.scheduleMessage(rec), recordMsg)
}

// scheduleMessage makes the servers publish a firing at it's armed instant. It
// replaces the schedule before.
func (s *Store) scheduleMessage(rec *record) *nats.Msg {
	subject, target := s.names.schedule(rec.user), s.names.firing(rec.user)
	// The body is copied to the firing, so that is what it is sealed for.
	m := s.newMsg(subject, seal(target, strconv.AppendInt(newBody(32), int64(rec.armed), 10)))
	m.Header.Set(scheduleHeader, "@at "+rec.armed.Time().UTC().Format(time.RFC3339Nano))
	m.Header.Set(targetHeader, target)
	// Only the newest firing of a user is kept.
	m.Header.Set(targetRollupHeader, rollupSubject)
	return m
}
