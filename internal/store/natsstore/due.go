package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	// offerAgain is when a user comes up again whose record was not updated.
	offerAgain = time.Second
	// rearmers bounds the records that are rearmed at once.
	rearmers = 16
)

// Due implements store.Store. Every node may run one: each firing goes to one of
// them, and stays in the servers' care until it was dealt with.
func (s *Store) Due(ctx context.Context, fn func([]store.User) error) error {
	if !s.due.CompareAndSwap(false, true) {
		return store.ErrInUse
	}
	defer s.due.Store(false)
	ctx, cancel := s.untilClosed(ctx)
	defer cancel()
	err := s.runDue(ctx, fn)
	if ended := s.ended(ctx, err); ended != nil {
		return ended
	}
	return err
}

func (s *Store) runDue(ctx context.Context, fn func([]store.User) error) error {
	var idle backoff
	for {
		n, err := s.dueOnce(ctx, fn)
		if err != nil {
			return err
		}
		if n > 0 {
			idle = backoff{}
			continue
		}
		idle.pause = min(idle.pause, idlePause/2)
		if err := idle.wait(ctx); err != nil {
			return err
		}
	}
}

// A firing is a message that says: look at this user.
type firing struct {
	msg  jetstream.Msg
	user store.User
	at   presence.Instant // what it was armed for
	it   *item            // the record; nil: none
	// scheduled is the instant of the schedule that is stored; zero: none.
	scheduled presence.Instant
}

// due reports whether the record asks to be looked at by now.
func (f *firing) due(now presence.Instant) bool {
	return f.it != nil && !f.it.next.IsZero() && f.it.next <= now
}

// dueOnce takes what has fired, gives fn those who are due, and deals with the
// others. It gives how many fired.
func (s *Store) dueOnce(ctx context.Context, fn func([]store.User) error) (int, error) {
	fired, err := s.fired(ctx)
	if err != nil || len(fired) == 0 {
		return 0, s.lasting(ctx, err)
	}
	if err := s.lookAt(ctx, fired); err != nil {
		s.giveBack(fired)
		return 0, s.lasting(ctx, err)
	}
	now := s.now()
	var offered []*firing
	var users []store.User
	for _, f := range fired {
		if f.due(now) {
			offered = append(offered, f)
			users = append(users, f.user)
		}
	}
	if len(users) > 0 {
		if err := fn(users); err != nil {
			s.giveBack(fired)
			return 0, err
		}
		if err := s.lookAt(ctx, offered); err != nil {
			s.giveBack(fired)
			return 0, s.lasting(ctx, err)
		}
	}
	s.settle(ctx, fired)
	return len(fired), nil
}

// lasting is err if Due must end with it: what the servers do not answer now,
// they will.
func (s *Store) lasting(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if halted := s.haltedError(); halted != nil {
		return halted
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errDamaged) || errors.Is(err, store.ErrFormat) {
		return err
	}
	s.log.WarnContext(ctx, "what is due cannot be looked at now", slog.Any("err", err))
	return nil
}

// fired takes the messages that are there.
func (s *Store) fired(ctx context.Context) ([]*firing, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	batch, err := s.firings.FetchNoWait(store.MaxDueGroup)
	if err != nil {
		return nil, err
	}
	var all []*firing
	for m := range batch.Messages() {
		f, err := s.firingIn(m)
		if err != nil {
			return all, err
		}
		all = append(all, f)
	}
	if err := batch.Error(); err != nil && len(all) == 0 {
		return nil, err
	}
	return all, nil
}

func (s *Store) firingIn(m jetstream.Msg) (*firing, error) {
	user, ok := s.names.cutUser(m.Subject())
	rest, err := unseal(m.Subject(), m.Data())
	if err != nil || !ok {
		return nil, fmt.Errorf("a firing: %w", errDamaged)
	}
	at, err := strconv.ParseInt(string(rest), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("a firing: %w", errDamaged)
	}
	if meta, err := m.Metadata(); err == nil {
		s.saw(meta.Sequence.Stream) // so that the records are read no older than it
	}
	return &firing{msg: m, user: user, at: presence.Instant(at)}, nil
}

// lookAt reads the records and the schedules of who fired.
func (s *Store) lookAt(ctx context.Context, fired []*firing) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	filters := make([]string, 0, 2*len(fired))
	for _, f := range fired {
		filters = append(filters, s.names.state(f.user), s.names.schedule(f.user))
	}
	present, err := s.found(ctx, s.look, filters)
	if err != nil {
		return err
	}
	for _, f := range fired {
		f.it, f.scheduled = nil, 0
		if m, ok := present[s.names.state(f.user)]; ok {
			if f.it, err = decodeItem(f.user, m); err != nil {
				return err
			}
		}
		if m, ok := present[s.names.schedule(f.user)]; ok {
			rest, err := unseal(s.names.firing(f.user), m.data)
			if err != nil {
				return fmt.Errorf("a schedule: %w", err)
			}
			at, err := strconv.ParseInt(string(rest), 10, 64)
			if err != nil {
				return fmt.Errorf("a schedule: %w", errDamaged)
			}
			f.scheduled = presence.Instant(at)
		}
	}
	return nil
}

// giveBack makes firings come again soon.
func (s *Store) giveBack(fired []*firing) {
	for _, f := range fired {
		s.again(f, 0)
	}
}

func (s *Store) again(f *firing, after time.Duration) {
	if err := f.msg.NakWithDelay(after); err != nil {
		s.log.Debug("a firing comes again only later", slog.Any("err", err))
	}
}

func (s *Store) done(f *firing) {
	if err := f.msg.Ack(); err != nil {
		s.log.Debug("a firing comes again", slog.Any("err", err))
	}
}

// settle makes sure that each user who fired has a schedule for what comes next,
// or comes again.
func (s *Store) settle(ctx context.Context, fired []*firing) {
	now := s.now()
	var group sync.WaitGroup
	places := make(chan struct{}, rearmers)
	for _, f := range fired {
		switch {
		case f.due(now):
			s.again(f, offerAgain)
		case f.it == nil, f.it.armed.IsZero() && f.it.next.IsZero():
			s.done(f)
		case f.it.armed == f.scheduled && f.at != f.scheduled:
			s.done(f) // there is another schedule for it
		case f.it.armed == f.scheduled:
			s.again(f, offerAgain) // the servers have yet to drop the one that fired
		case f.it.armed == f.at && f.at > now:
			// The servers' clock is ahead of this node's. Until then, nobody
			// arms this user anew, since the record says that it is armed.
			s.again(f, f.it.armed.Sub(now))
		default:
			places <- struct{}{}
			group.Go(func() {
				defer func() { <-places }()
				s.rearm(ctx, f)
			})
		}
	}
	group.Wait()
}

// rearm stores in the record that its firing was dealt with, and the next
// schedule.
func (s *Store) rearm(ctx context.Context, f *firing) {
	err := s.rearmOnce(ctx, f.it)
	switch {
	case err == nil:
		s.done(f)
	case errors.Is(err, errOvertaken):
		s.again(f, 0) // the record changed: look again
	default:
		s.again(f, offerAgain)
	}
}

func (s *Store) rearmOnce(ctx context.Context, was *item) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	leave, err := s.queues.enter(ctx, was.user)
	if err != nil {
		return err
	}
	defer leave()
	it := &item{user: was.user, state: was.state, at: was.at, armed: was.next, ops: was.ops, shown: was.shown, next: was.next}
	w := write{
		msgs: s.recordMessages(was, it, nil, !it.armed.IsZero()),
		base: func(ctx context.Context) (standing, uint64, error) {
			last, err := s.leaderLastOnce(ctx, s.names.state(was.user))
			if err != nil || last == nil || last.seq == was.seq {
				return unchanged, 0, err
			}
			return changed, 0, nil
		},
	}
	if it.seq, err = s.apply(ctx, w); err != nil {
		return err
	}
	s.acked()
	s.records.put(it.user, it)
	return nil
}
