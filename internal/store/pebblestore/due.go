package pebblestore

import (
	"context"
	"math"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

const (
	// maxSleep bounds how late Due is after the clock was set forward.
	maxSleep = time.Second
	// dueBatchDelay batches entries that are due within a few milliseconds.
	dueBatchDelay = 5 * time.Millisecond
	// reofferDelay is when Due offers a user again whose record was not updated.
	reofferDelay = time.Second

	never presence.Instant = math.MaxInt64
)

// A dueSchedule notifies Due of new entries in the expiry index.
type dueSchedule struct {
	mu sync.Mutex // guards the fields below
	// low is a lower bound of the durable entries in the index.
	low presence.Instant
	// target is the instant that Due sleeps until.
	target  presence.Instant
	running bool

	wake chan struct{} // buffers one element: scan again
}

func newDueSchedule() *dueSchedule {
	return &dueSchedule{low: math.MinInt64, target: never, wake: make(chan struct{}, 1)}
}

// add notes a durable entry of the index.
func (a *dueSchedule) add(at presence.Instant) {
	a.mu.Lock()
	a.low = min(a.low, at)
	early := at < a.target
	a.mu.Unlock()
	if early {
		a.wakeUp()
	}
}

func (a *dueSchedule) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *dueSchedule) start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running {
		return store.ErrInUse
	}
	a.running = true
	return nil
}

func (a *dueSchedule) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = false
	a.low = math.MinInt64
}

// beginScan gives the instant to scan from. endScan accounts for entries that are
// added during the scan.
func (a *dueSchedule) beginScan() presence.Instant {
	a.mu.Lock()
	defer a.mu.Unlock()
	from := a.low
	a.low, a.target = never, math.MinInt64
	return from
}

// endScan notes the first entry that a scan left in the index. It gives the instant
// of the next scan, which is no later than wake.
func (a *dueSchedule) endScan(first, wake presence.Instant) presence.Instant {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = min(wake, a.low)
	a.low = min(a.low, first)
	return a.target
}

// An entry of the expiry index.
type expiry struct {
	at   presence.Instant
	user store.User
}

// Due implements store.Store.
func (s *Store) Due(ctx context.Context, fn func([]store.User) error) error {
	if err := s.schedule.start(); err != nil {
		return err
	}
	defer s.schedule.stop()
	d := &dueScan{s: s, offered: make(map[expiry]presence.Instant)}
	for {
		if err := d.scanOnce(ctx); err != nil {
			return err
		}
		if len(d.due) > 0 {
			if err := fn(d.users()); err != nil {
				return err
			}
			d.markOffered()
			continue
		}
		if err := s.sleepUntil(ctx, d.wake); err != nil {
			return err
		}
	}
}

// A dueScan is the state of one call of Due.
type dueScan struct {
	s *Store
	// offered maps entries that were passed to fn to when they may be passed again.
	offered map[expiry]presence.Instant
	due     []expiry
	wake    presence.Instant
}

func (d *dueScan) users() []store.User {
	us := make([]store.User, len(d.due))
	for i := range d.due {
		us[i] = d.due[i].user
	}
	return us
}

func (d *dueScan) markOffered() {
	now := d.s.now()
	for e, again := range d.offered {
		if again <= now {
			delete(d.offered, e)
		}
	}
	for _, e := range d.due {
		d.offered[e] = now.Add(reofferDelay)
	}
}

// scanOnce scans the index as of now. It finds the users to offer, or else the instant
// of the next scan. It reschedules entries that are too early.
func (d *dueScan) scanOnce(ctx context.Context) error {
	now := d.s.now()
	from := d.s.schedule.beginScan()
	first, early, err := d.scan(ctx, from, now)
	d.wake = d.s.schedule.endScan(first, d.wake)
	if err == nil && len(early) > 0 {
		err = d.s.submit(ctx, func(c *committer) error { return c.rescheduleEarly(early, now) })
		d.wake = min(d.wake, now)
	}
	return err
}

func (d *dueScan) scan(ctx context.Context, from, now presence.Instant) (first presence.Instant, early []expiry, err error) {
	d.due, d.wake = d.due[:0], never
	first = never
	passed, err := d.entries(from, now)
	if err != nil {
		return from, nil, err
	}
	for _, e := range passed {
		first = min(first, e.at)
		if e.at > now {
			d.wake = min(d.wake, e.at)
			break
		}
		it, err := d.s.lookup(ctx, e.user)
		if err != nil {
			return from, nil, err
		}
		again, wasOffered := d.offered[e]
		switch {
		case it == nil || it.armed != e.at || it.Next.IsZero() || it.Next > now:
			early = append(early, e)
		case wasOffered && again > now:
			d.wake = min(d.wake, again)
		case len(d.due) < store.MaxDueGroup:
			d.due = append(d.due, e)
		}
	}
	return first, early, nil
}

// entries reads the index from an instant to the first entry after now, up to as many
// as fill a call beside those that were offered already.
func (d *dueScan) entries(from, now presence.Instant) ([]expiry, error) {
	var found []expiry
	limit := store.MaxDueGroup + len(d.offered)
	start := appendInstantKey(nil, expiryPrefix, from)
	err := d.s.scan(start, upperBound([]byte{expiryPrefix}), func(key, _ []byte) (bool, error) {
		at, user, ok := cutExpiryKey(key)
		if !ok {
			return false, errValue
		}
		found = append(found, expiry{at, user})
		return at <= now && len(found) < limit, nil
	})
	return found, err
}

// sleepUntil returns at an instant, when an earlier entry is added, or after maxSleep,
// since the clock may be set forward.
func (s *Store) sleepUntil(ctx context.Context, at presence.Instant) error {
	sleep := maxSleep
	switch now := s.now(); {
	case at <= now.Add(dueBatchDelay):
		sleep = dueBatchDelay
	case at < now.Add(maxSleep):
		sleep = at.Sub(now)
	}
	timer := time.NewTimer(sleep)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.schedule.wake:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return s.haltedError()
	case <-s.halted:
		return s.haltedError()
	}
	return ctx.Err()
}

// rescheduleEarly rearms users, by their staged records, whose entry is due before
// their record.
func (c *committer) rescheduleEarly(early []expiry, now presence.Instant) error {
	for _, e := range early {
		was, _, err := c.newest(e.user, nil)
		if err != nil {
			return err
		}
		if was == nil || was.armed != e.at {
			c.key = appendExpiryKey(c.key[:0], e.at, e.user)
			c.delete(c.key)
			continue
		}
		if !was.Next.IsZero() && was.Next <= now {
			continue // it has become due meanwhile
		}
		c.seq++
		it := &item{user: was.user, Recorded: was.Recorded, at: was.at, armed: was.armed}
		c.rearm(it)
		c.stage(it)
	}
	return nil
}
