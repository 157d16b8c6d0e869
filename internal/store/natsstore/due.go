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
	// offerAgain is after what time a user is offered again whose record was not updated.
	offerRetry = time.Second
	// longestPause is the longest time until a firing is redelivered.
	maxRedeliveryDelay = time.Hour
	// damagedPause is after what time a user is offered again whose record cannot be read.
	damagedRetry = time.Minute
	// rearmers bounds the records that are rearmed at once.
	maxRearms = 16
)

// Due implements store.Store. Every node may run one: each firing goes to one of
// them, and the servers redeliver it until it is acknowledged.
func (s *Store) Due(ctx context.Context, fn func([]store.User) error) error {
	if !s.dueRunning.CompareAndSwap(false, true) {
		return store.ErrInUse
	}
	defer s.dueRunning.Store(false)
	d := &dueRun{s: s, fn: fn}
	return s.poll(ctx, "expiry timers", d.step)
}

// A dueRun is one call of Due.
type dueRun struct {
	s     *Store
	fn    func([]store.User) error
	sweep sweep
	last  logOnce // of its errors
}

func (d *dueRun) step(ctx context.Context) (bool, error) {
	n, err := d.handleFirings(ctx)
	if err == nil {
		err = d.sweep.step(ctx, d.s)
	}
	if d.last.isNew(err) {
		d.s.requestVerify() // the consumer may be missing, which the watcher repairs
	}
	return n > 0, err
}

// A firing is the message of a timer: the user's record may be due.
type firing struct {
	msg  jetstream.Msg
	user store.User
	at   presence.Instant // what it was armed for
	rec  *record          // the record; nil: none
	// scheduled is the instant of the schedule that is stored; zero: none, or one
	// that cannot be read.
	scheduled presence.Instant
	damaged   bool // the record cannot be read
}

// due reports whether the record expires by now.
func (f *firing) due(now presence.Instant) bool {
	return f.rec != nil && !f.rec.Next.IsZero() && f.rec.Next <= now
}

// once takes the firings that wait, offers fn the users who are due, and acknowledges
// the others. It returns how many fired.
func (d *dueRun) handleFirings(ctx context.Context) (int, error) {
	s := d.s
	fired, err := s.fetchFirings(ctx)
	if err != nil || len(fired) == 0 {
		return 0, err
	}
	if err := s.loadRecords(ctx, fired); err != nil {
		s.redeliverAll(fired)
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
			s.redeliverAll(fired)
			return 0, final(err)
		}
		if err := s.loadRecords(ctx, offered); err != nil {
			s.redeliverAll(fired)
			return 0, err
		}
	}
	s.acknowledge(ctx, fired)
	return len(fired), nil
}

// fired takes the firings that wait.
func (s *Store) fetchFirings(ctx context.Context) ([]*firing, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	batch, err := s.dueConsumer.FetchNoWait(store.MaxDueGroup)
	if err != nil {
		return nil, err
	}
	var all []*firing
	for m := range batch.Messages() {
		if f, ok := s.decodeFiring(ctx, m); ok {
			all = append(all, f)
		}
	}
	if err := batch.Error(); err != nil && len(all) == 0 {
		return nil, err
	}
	return all, nil
}

// decodeFiring reads a firing. Its subject names the user; its body is only a hint.
// One that names nobody is discarded, since others wait behind it.
func (s *Store) decodeFiring(ctx context.Context, m jetstream.Msg) (*firing, bool) {
	if meta, err := m.Metadata(); err == nil {
		s.advanceSeq(meta.Sequence.Stream) // so that the records are read no older than it
	}
	user, ok := s.names.parseUser(m.Subject())
	if !ok {
		err := m.Term()
		s.log.ErrorContext(ctx, "damaged timer message discarded", slog.String("subject", m.Subject()), slog.Any("err", err))
		return nil, false
	}
	at, err := decodeInstant(m.Subject(), m.Data())
	if err != nil {
		s.log.ErrorContext(ctx, "damaged timer message; the record of its user is checked", slog.String("subject", m.Subject()))
	}
	return &firing{msg: m, user: user, at: at}, true
}

// decodeInstant is what the body of a schedule says, and of its firing.
func decodeInstant(subject string, data []byte) (presence.Instant, error) {
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

// loadRecords reads the records and the schedules of the users of firings.
func (s *Store) loadRecords(ctx context.Context, fired []*firing) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	filters := make([]string, 0, 2*len(fired))
	for _, f := range fired {
		filters = append(filters, s.names.state(f.user), s.names.schedule(f.user))
	}
	present, _, err := s.readLast(ctx, s.query, filters)
	if err != nil {
		return err
	}
	for _, f := range fired {
		s.setRecord(ctx, f, present)
	}
	return nil
}

// fill sets what was read of a firing's user. Damage holds up nobody else.
func (s *Store) setRecord(ctx context.Context, f *firing, present map[string]storedMsg) {
	f.rec, f.scheduled, f.damaged = nil, 0, false
	var err error
	if m, ok := present[s.names.state(f.user)]; ok {
		if f.rec, err = decodeRecord(f.user, m); err != nil {
			f.rec, f.damaged = nil, true
			s.log.ErrorContext(ctx, "cannot read the record; cannot evaluate its expiry", slog.String("user", string(f.user.ID)), slog.Any("err", err))
		}
	}
	if m, ok := present[s.names.schedule(f.user)]; ok {
		if f.scheduled, err = decodeInstant(s.names.firing(f.user), m.data); err != nil {
			s.log.ErrorContext(ctx, "damaged schedule; rewriting it", slog.String("subject", m.subject))
		}
	}
}

// nakAll makes the servers redeliver firings soon.
func (s *Store) redeliverAll(fired []*firing) {
	for _, f := range fired {
		s.redeliver(f, 0)
	}
}

func (s *Store) redeliver(f *firing, after time.Duration) {
	if err := f.msg.NakWithDelay(after); err != nil {
		s.log.Debug("negative acknowledgement of a timer message failed; it is redelivered later", slog.Any("err", err))
	}
}

func (s *Store) ack(f *firing) {
	if err := f.msg.Ack(); err != nil {
		s.log.Debug("acknowledgement of a timer message failed; it is redelivered", slog.Any("err", err))
	}
}

// acknowledge makes sure that each user of a firing has a schedule for what comes
// next, or that the firing is redelivered.
func (s *Store) acknowledge(ctx context.Context, fired []*firing) {
	now := s.now()
	var group sync.WaitGroup
	slots := make(chan struct{}, maxRearms)
	for _, f := range fired {
		switch {
		case f.due(now):
			s.redeliver(f, offerRetry)
		case f.damaged:
			s.redeliver(f, damagedRetry)
		case f.rec == nil, f.rec.armed.IsZero() && f.rec.Next.IsZero():
			s.ack(f)
		case f.rec.armed == f.scheduled && f.at != f.scheduled:
			s.ack(f) // there is another schedule for it
		case f.rec.armed == f.scheduled:
			s.redeliver(f, offerRetry) // the servers have yet to drop the one that fired
		case f.rec.armed == f.at && f.at > now:
			// The servers' clock is ahead of this node's. Until then, nobody
			// arms this user again, since the record says that it is armed.
			s.redeliver(f, min(f.at, now.Add(maxRedeliveryDelay)).Sub(now))
		default:
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				s.rearm(ctx, f)
			})
		}
	}
	group.Wait()
}

// rearm stores in the record that its firing was handled, and the next schedule.
func (s *Store) rearm(ctx context.Context, f *firing) {
	err := s.rearmOnce(ctx, f.rec)
	switch {
	case err == nil:
		s.ack(f)
	case errors.Is(err, errSuperseded):
		s.redeliver(f, 0) // the record changed: read it again
	default:
		s.redeliver(f, offerRetry)
	}
}

func (s *Store) rearmOnce(ctx context.Context, prev *record) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	rec := *prev
	rec.armed = timerInstant(prev.Next, max(s.now(), prev.State.At))
	return s.replaceMessage(ctx, prev, &rec, !rec.armed.IsZero())
}

// replaceMessage stores a record anew, without an entry of the log: its state stays.
func (s *Store) replaceMessage(ctx context.Context, prev, rec *record, schedule bool) error {
	leave, err := s.queues.enter(ctx, prev.user)
	if err != nil {
		return err
	}
	defer leave()
	w := write{
		msgs:    s.recordMessages(prev, rec, nil, schedule),
		outcome: s.replacedOutcome(s.names.state(prev.user), prev.seq),
	}
	if rec.seq, err = s.apply(ctx, w); err != nil {
		return err
	}
	s.acked()
	s.records.put(rec.user, rec)
	return nil
}
