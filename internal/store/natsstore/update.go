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
	was, _ := s.records.get(u)
	for fresh := false; ; {
		if was == nil {
			var err error
			if was, err = s.newest(ctx, u); err != nil {
				return store.Record{}, err
			}
			fresh = true
		}
		change, err := decide(fn, was.Recorded)
		if err != nil && !fresh {
			// Another node may have changed what that was decided on.
			was = nil
			continue
		}
		if err != nil {
			s.noteSeq(was.seq)
			return was.record(), err
		}
		if err := ctx.Err(); err != nil {
			return store.Record{}, err
		}
		it, err := s.put(ctx, was, &change)
		if err == nil {
			return it.record(), nil
		}
		s.records.drop(u)
		if !errors.Is(err, errOvertaken) {
			return store.Record{}, err
		}
		was = nil
	}
}

// newest is the record as the leader has it.
func (s *Store) newest(ctx context.Context, u store.User) (*item, error) {
	last, err := s.leaderLast(ctx, s.names.state(u))
	if err != nil {
		return nil, err
	}
	return s.itemIn(u, last)
}

func (s *Store) itemIn(u store.User, last *storedMsg) (*item, error) {
	if last == nil {
		return &item{user: u}, nil
	}
	it, err := decodeItem(u, *last)
	if err != nil {
		return nil, err
	}
	s.records.put(u, it)
	return it, nil
}

// errPanic: a function given to Update panicked. Nothing was stored.
var errPanic = errors.New("the update function panicked")

// decide runs fn, and makes a panic of it, or a revision that does not rise, the
// caller's error.
func decide(fn store.Decide, was presence.Recorded) (next store.Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, p, debug.Stack())
		}
	}()
	next, err = fn(was)
	if err == nil && next.State.Revision <= was.State.Revision {
		err = fmt.Errorf("the update function made revision %d from %d; it must be higher", next.State.Revision, was.State.Revision)
	}
	return next, err
}

// put stores what change makes of was.
func (s *Store) put(ctx context.Context, was *item, change *store.Change) (*item, error) {
	op := rand.Uint64()
	it := &item{user: was.user, Recorded: change.Recorded, armed: was.armed, ops: was.ops.after(op)}
	rearm := it.arm()
	e := change.Entry(it.user, &was.Recorded)
	w := write{msgs: s.recordMessages(was, it, &e, rearm), outcome: func(ctx context.Context) (outcome, uint64, error) {
		return s.outcomeOf(ctx, was, op)
	}}
	seq, err := s.apply(ctx, w)
	if err != nil {
		return nil, err
	}
	s.acked()
	it.seq, it.at = seq, store.Position(seq)
	it.ops.setNewest(it.at)
	s.records.put(it.user, it)
	return it, nil
}

// outcomeOf checks whether operation op was made on was.
func (s *Store) outcomeOf(ctx context.Context, was *item, op uint64) (outcome, uint64, error) {
	last, err := s.leaderLastOnce(ctx, s.names.state(was.user))
	if err != nil {
		return 0, 0, err
	}
	if last == nil || last.seq == was.seq {
		return unchanged, 0, nil
	}
	now, err := decodeItem(was.user, *last)
	if err != nil {
		return 0, 0, err
	}
	return outcomeAmong(now.ops, op, was.at)
}

// outcomeAmong searches for a writer among those that came after a position.
func outcomeAmong(ops opMarks, id uint64, after store.Position) (outcome, uint64, error) {
	if at, ok := ops.at(id); ok {
		return made, uint64(at), nil
	}
	if !ops.cover(after) {
		return 0, 0, errWritersEvicted
	}
	return changed, 0, nil
}

// errWritersEvicted: so many wrote since that the record does not list the writer.
var errWritersEvicted = errors.New("the record was changed too often since to know")

// arm keeps a schedule no later than Next. One that is early enough and still
// ahead is left alone: when it fires, Due moves it on.
func (it *item) arm() (moved bool) {
	ahead := it.armed > it.State.At
	if ahead && (it.Next.IsZero() || it.armed <= it.Next) {
		return false
	}
	if it.Next.IsZero() && it.armed.IsZero() {
		return false
	}
	it.armed = within(it.Next, it.State.At)
	return !it.Next.IsZero()
}

// farthest is how far ahead a schedule is stored: the servers count nanoseconds,
// which end in 2262. One that fires before its user is due is moved on.
const farthest = 365 * 24 * time.Hour

func within(next, now presence.Instant) presence.Instant { return min(next, now.Add(farthest)) }

// recordMessages are those that store it in place of was: the record comes last.
func (s *Store) recordMessages(was, it *item, e *store.Entry, rearm bool) []*nats.Msg {
	subject := s.names.state(it.user)
	record := s.message(subject, seal(subject, appendItem(begin(512), it, e, was.at)))
	expect(record, was.seq)
	if !rearm {
		return msgs(record)
	}
	return msgs(s.scheduleMessage(it), record)
}

// scheduleMessage makes the servers publish a firing at it's armed instant. It
// replaces the schedule before.
func (s *Store) scheduleMessage(it *item) *nats.Msg {
	subject, target := s.names.schedule(it.user), s.names.firing(it.user)
	// The body is copied to the firing, so that is what it is sealed for.
	m := s.message(subject, seal(target, strconv.AppendInt(begin(32), int64(it.armed), 10)))
	m.Header.Set(scheduleHeader, "@at "+it.armed.Time().UTC().Format(time.RFC3339Nano))
	m.Header.Set(targetHeader, target)
	// Only the newest firing of a user is kept.
	m.Header.Set(targetRollupHeader, rollupSubject)
	return m
}
