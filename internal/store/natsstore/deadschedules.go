package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"porchlight.dev/porchlight/internal/store"
)

const (
	// sweepPage is how many schedules one read returns, and sweepPause the time between
	// two reads. A sweep of a million schedules takes a minute.
	sweepPage  = 1000
	sweepPause = 50 * time.Millisecond
	// overdue is how long after its instant a schedule counts as missed.
	overdue = 5 * time.Second
)

// A sweep searches for schedules that the servers will not fire any more. The servers try
// each schedule once: if its firing cannot be stored for lack of space, they retry only
// after a restart, after a change of the leader, or when the schedule is stored again.
type sweep struct {
	next uint64    // first sequence of the next page; zero: the beginning
	at   time.Time // when to read it
}

// step reads a page of schedules, if it is time for the next one.
func (w *sweep) step(ctx context.Context, s *Store) error {
	if time.Now().Before(w.at) {
		return nil
	}
	page, next, err := s.overdueFrom(ctx, w.next)
	w.next = next
	if err == nil {
		err = s.rearmOverdue(ctx, page)
	}
	w.at = time.Now().Add(sweepPause)
	if next == 0 {
		w.at = time.Now().Add(s.opts.sweepEvery)
	}
	return err
}

// overdueFrom returns the users with overdue schedules in the page that begins at from,
// and where the next page begins. Zero: this was the last page.
func (s *Store) overdueFrom(ctx context.Context, from uint64) (late []*firing, next uint64, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, from, err
	}
	defer s.leave()
	q := rangeQuery{From: max(from, 1), Filter: s.names.subject("x.>"), Batch: sweepPage}
	msgs, err := s.readRange(ctx, s.names.stateStream(), q)
	if err != nil {
		return nil, from, err
	}
	before := s.now().Add(-overdue)
	for _, m := range msgs {
		user, ok := s.names.parseUser(m.subject)
		if !ok {
			continue
		}
		// A damaged schedule is rewritten as well.
		if at, err := decodeInstant(s.names.firing(user), m.data); err != nil || at < before {
			late = append(late, &firing{user: user})
		}
	}
	if len(msgs) == sweepPage {
		next = msgs[len(msgs)-1].seq + 1
	}
	return late, next, nil
}

// rearmOverdue stores new schedules for the users that are still overdue.
func (s *Store) rearmOverdue(ctx context.Context, late []*firing) error {
	if len(late) == 0 {
		return nil
	}
	if err := s.loadRecords(ctx, late); err != nil {
		return err
	}
	before := s.now().Add(-overdue)
	var failed []error
	for _, f := range late {
		// A record that does not expire needs no timer.
		if f.rec == nil || f.rec.Next.IsZero() || f.rec.armed.IsZero() || f.scheduled >= before {
			continue
		}
		err := s.rearmOnce(ctx, f.rec)
		switch {
		case err == nil:
			s.log.InfoContext(ctx, "expiry timer did not fire; rescheduled", slog.String("user", string(f.user.ID)))
		case errors.Is(err, errSuperseded):
		case ctx.Err() != nil, s.haltedError() != nil, errors.Is(err, store.ErrFull):
			return err
		default:
			failed = append(failed, fmt.Errorf("user %q: %w", f.user.ID, err))
		}
	}
	return errors.Join(failed...)
}
