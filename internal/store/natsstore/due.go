package natsstore

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	// offerRetry is the delay before a user is offered again whose record was not
	// updated.
	offerRetry = time.Second
	// maxRedeliveryDelay limits the delay before a firing is redelivered.
	maxRedeliveryDelay = time.Hour
	// damagedRetry is the delay before a user is offered again whose record cannot be
	// decoded.
	damagedRetry = time.Minute
	// maxRearms limits the records that are rearmed concurrently.
	maxRearms = 16
)

// Due implements store.Store. Every node may run one: the servers deliver each firing to
// one of them, and redeliver it until it is acknowledged.
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
		d.s.requestVerify() // the monitor recreates the consumer if it is missing
	}
	return n > 0, err
}

// A firing is a message that the servers publish when a user's timer fires: the record
// may be due.
type firing struct {
	msg  jetstream.Msg
	user store.User
	at   presence.Instant // the instant that it was armed for
	rec  *record          // the record; nil: none
	// scheduled is the instant of the stored schedule. Zero: there is none, or it cannot
	// be decoded.
	scheduled presence.Instant
	damaged   bool // the record cannot be decoded
}

// due reports whether the record is due at now.
func (f *firing) due(now presence.Instant) bool {
	return f.rec != nil && !f.rec.Next.IsZero() && f.rec.Next <= now
}

// handleFirings fetches the pending firings, calls fn with the users who are due, and
// acknowledges the other firings. It returns the number of firings.
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

// fetchFirings fetches the firings that are pending now.
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

// decodeFiring decodes a firing. Its subject names the user; its body is a hint only. A
// firing without a valid user is discarded, so that it does not block the others.
func (s *Store) decodeFiring(ctx context.Context, m jetstream.Msg) (*firing, bool) {
	if meta, err := m.Metadata(); err == nil {
		s.advanceSeq(meta.Sequence.Stream) // the records that are read must not be older
	}
	user, ok := s.names.parseUser(m.Subject())
	if !ok {
		err := m.Term()
		s.log.ErrorContext(ctx, "damaged timer message discarded", slog.String("subject", m.Subject()), slog.Any("err", err))
		return nil, false
	}
	at, err := decodeInstant(m.Subject(), m.Data())
	if err != nil {
		s.log.ErrorContext(ctx, "damaged timer message; checking the record of its user", slog.String("subject", m.Subject()))
	}
	return &firing{msg: m, user: user, at: at}, true
}

// decodeInstant decodes the body of a schedule or of a firing.
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

// loadRecords loads the records and the schedules of the users of firings.
func (s *Store) loadRecords(ctx context.Context, fired []*firing) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	filters := make([]string, 0, 4*len(fired))
	for _, f := range fired {
		filters = append(append(filters, s.names.all(f.user)...), s.names.schedule(f.user))
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

// setRecord sets the record and the schedule of a firing's user. A damaged one does not
// block other users.
func (s *Store) setRecord(ctx context.Context, f *firing, present map[string]storedMsg) {
	f.rec, f.scheduled, f.damaged = nil, 0, false
	var err error
	if m, ok := s.names.newestOf(f.user, present); ok {
		if f.rec, err = decodeRecord(f.user, m); err != nil {
			f.rec, f.damaged = nil, true
			s.log.ErrorContext(ctx, "record unreadable; cannot evaluate its expiry", slog.String("user", string(f.user.ID)), slog.Any("err", err))
		}
	}
	if m, ok := present[s.names.schedule(f.user)]; ok {
		if f.scheduled, err = decodeInstant(s.names.firing(f.user), m.data); err != nil {
			s.log.ErrorContext(ctx, "damaged schedule; rewriting it", slog.String("subject", m.subject))
		}
	}
}

// redeliverAll makes the servers redeliver firings at once.
func (s *Store) redeliverAll(fired []*firing) {
	for _, f := range fired {
		s.redeliver(f, 0)
	}
}

func (s *Store) redeliver(f *firing, after time.Duration) {
	if err := f.msg.NakWithDelay(after); err != nil {
		s.log.Debug("nats: nak of a timer message failed; the servers redeliver it later", slog.Any("err", err))
	}
}

func (s *Store) ack(f *firing) {
	if err := f.msg.Ack(); err != nil {
		s.log.Debug("nats: ack of a timer message failed; the servers redeliver it", slog.Any("err", err))
	}
}

// acknowledge ensures that each user has a schedule for the next expiry, or that the
// firing is redelivered.
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
			s.ack(f) // a newer schedule is stored
		case f.rec.armed == f.scheduled:
			s.redeliver(f, offerRetry) // the servers have not dropped the fired schedule yet
		case f.rec.armed == f.at && f.at > now:
			// The servers' clock is ahead of this node's. No node rearms this user until
			// then, since the record has the instant as armed.
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

// rearm stores the next schedule, and the record with its instant, so that this firing
// counts as handled.
func (s *Store) rearm(ctx context.Context, f *firing) {
	err := s.rearmOnce(ctx, f.rec)
	switch {
	case err == nil:
		s.ack(f)
	case errors.Is(err, errSuperseded):
		s.redeliver(f, 0) // the record changed: evaluate it again
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
	rec.erased = false
	rec.armed = timerInstant(prev.Next, max(s.now(), prev.State.At))
	return s.replaceRecord(ctx, prev, &rec, s.recordMessages(prev, &rec, nil, !rec.armed.IsZero()))
}

// replaceRecord stores the message of a record again without a log entry. The state does
// not change.
func (s *Store) replaceRecord(ctx context.Context, prev, rec *record, msgs []*nats.Msg) error {
	leave, err := s.enterQueue(ctx, prev.user)
	if err != nil {
		return err
	}
	defer leave()
	seq, err := s.apply(ctx, write{msgs: msgs, outcome: s.replacedOutcome(s.names.both(prev.user), prev.seq)})
	if err != nil {
		return err
	}
	rec.seq, rec.layout1 = seq, false
	s.records.put(rec.user, rec)
	return nil
}
