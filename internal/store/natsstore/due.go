package natsstore

import (
	"context"
	"errors"
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
	// longestPause is until a firing comes up again at the latest.
	longestPause = time.Hour
	// damagedPause is when a user comes up again whose record cannot be read.
	damagedPause = time.Minute
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
	d := &dueRun{s: s, fn: fn}
	return s.poll(ctx, "what is due", d.step)
}

// A dueRun is one call of Due.
type dueRun struct {
	s     *Store
	fn    func([]store.User) error
	sweep sweep
	last  news // of its errors
}

func (d *dueRun) step(ctx context.Context) (bool, error) {
	n, err := d.once(ctx)
	if err == nil {
		err = d.sweep.some(ctx, d.s)
	}
	if d.last.new(err) {
		d.s.rouse() // the consumer may be missing, which the watcher sees to
	}
	return n > 0, err
}

// A firing is a message that says: look at this user.
type firing struct {
	msg  jetstream.Msg
	user store.User
	at   presence.Instant // what it was armed for
	it   *item            // the record; nil: none
	// scheduled is the instant of the schedule that is stored; zero: none, or one
	// that cannot be read.
	scheduled presence.Instant
	damaged   bool // the record cannot be read
}

// due reports whether the record asks to be looked at by now.
func (f *firing) due(now presence.Instant) bool {
	return f.it != nil && !f.it.Next.IsZero() && f.it.Next <= now
}

// once takes what has fired, gives fn those who are due, and deals with the
// others. It gives how many fired.
func (d *dueRun) once(ctx context.Context) (int, error) {
	s := d.s
	fired, err := s.fired(ctx)
	if err != nil || len(fired) == 0 {
		return 0, err
	}
	if err := s.lookAt(ctx, fired); err != nil {
		s.giveBack(fired)
		return 0, err
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
		if err := d.fn(users); err != nil {
			s.giveBack(fired)
			return 0, final(err)
		}
		if err := s.lookAt(ctx, offered); err != nil {
			s.giveBack(fired)
			return 0, err
		}
	}
	s.settle(ctx, fired)
	return len(fired), nil
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
		if f, ok := s.firingIn(ctx, m); ok {
			all = append(all, f)
		}
	}
	if err := batch.Error(); err != nil && len(all) == 0 {
		return nil, err
	}
	return all, nil
}

// firingIn reads a firing. Its subject says whom to look at; what its body says is
// only a hint. One that names nobody is put away, since others wait behind it.
func (s *Store) firingIn(ctx context.Context, m jetstream.Msg) (*firing, bool) {
	if meta, err := m.Metadata(); err == nil {
		s.saw(meta.Sequence.Stream) // so that the records are read no older than it
	}
	user, ok := s.names.cutUser(m.Subject())
	if !ok {
		err := m.Term()
		s.log.ErrorContext(ctx, "a firing that is damaged was put away", slog.String("subject", m.Subject()), slog.Any("err", err))
		return nil, false
	}
	at, err := instantIn(m.Subject(), m.Data())
	if err != nil {
		s.log.ErrorContext(ctx, "a firing is damaged: its user is looked at", slog.String("subject", m.Subject()))
	}
	return &firing{msg: m, user: user, at: at}, true
}

// instantIn is what the body of a schedule says, and of its firing.
func instantIn(subject string, data []byte) (presence.Instant, error) {
	rest, err := unseal(subject, data)
	if err != nil {
		return 0, err
	}
	at, err := strconv.ParseInt(string(rest), 10, 64)
	if err != nil {
		return 0, errDamaged
	}
	return presence.Instant(at), nil
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
	present, _, err := s.found(ctx, s.look, filters)
	if err != nil {
		return err
	}
	for _, f := range fired {
		s.fill(ctx, f, present)
	}
	return nil
}

// fill sets what was read of who fired. What is damaged holds up nobody else.
func (s *Store) fill(ctx context.Context, f *firing, present map[string]found) {
	f.it, f.scheduled, f.damaged = nil, 0, false
	var err error
	if m, ok := present[s.names.state(f.user)]; ok {
		if f.it, err = decodeItem(f.user, m); err != nil {
			f.it, f.damaged = nil, true
			s.log.ErrorContext(ctx, "whether a user is due cannot be told", slog.Any("err", err))
		}
	}
	if m, ok := present[s.names.schedule(f.user)]; ok {
		if f.scheduled, err = instantIn(s.names.firing(f.user), m.data); err != nil {
			s.log.ErrorContext(ctx, "a schedule is damaged, and is made again", slog.String("subject", m.subject))
		}
	}
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
		case f.damaged:
			s.again(f, damagedPause)
		case f.it == nil, f.it.armed.IsZero() && f.it.Next.IsZero():
			s.done(f)
		case f.it.armed == f.scheduled && f.at != f.scheduled:
			s.done(f) // there is another schedule for it
		case f.it.armed == f.scheduled:
			s.again(f, offerAgain) // the servers have yet to drop the one that fired
		case f.it.armed == f.at && f.at > now:
			// The servers' clock is ahead of this node's. Until then, nobody
			// arms this user anew, since the record says that it is armed.
			s.again(f, min(f.at, now.Add(longestPause)).Sub(now))
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
	it := *was
	it.armed = within(was.Next, max(s.now(), was.State.At))
	return s.replaceMessage(ctx, was, &it, !it.armed.IsZero())
}

// replaceMessage stores a record anew, without an entry of the log: its state stays.
func (s *Store) replaceMessage(ctx context.Context, was, it *item, schedule bool) error {
	leave, err := s.queues.enter(ctx, was.user)
	if err != nil {
		return err
	}
	defer leave()
	w := write{
		msgs: s.recordMessages(was, it, nil, schedule),
		base: s.unlessReplaced(s.names.state(was.user), was.seq),
	}
	if it.seq, err = s.apply(ctx, w); err != nil {
		return err
	}
	s.acked()
	s.records.put(it.user, it)
	return nil
}
