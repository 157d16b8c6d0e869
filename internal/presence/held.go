package presence

import (
	"math"
	"time"
)

// ClockMargin is how far the clocks of nodes that share a store may be apart without any
// of them ending a session before an instant that another one has acknowledged.
const ClockMargin = 2 * time.Second

// forever is when a session ends that is held, or always renewed.
const forever = Instant(math.MaxInt64)

// leaseAhead is by how much later than acknowledged an end is recorded under
// Policy.Ahead: 5/8 of the lease and the margin, so that a client that refreshes at half
// of its lease, more or less, needs a commit for every second refresh. Never more than two
// thirds of the lease.
func leaseAhead(lease time.Duration) time.Duration {
	return min(lease*5/8+ClockMargin, lease*2/3)
}

// idleAhead is the same for the instant at which a session becomes idle: a tenth.
func idleAhead(after time.Duration) time.Duration {
	return max(after/10, ClockMargin)
}

// Held reports whether a connection holds the session.
func (s *Session) Held() bool { return s.Holder != "" }

// ends is when the session ends by itself.
func (s *Session) ends() Instant {
	if s.Held() {
		return forever
	}
	return s.EndsAt
}

// OnRecord reports whether the recorded state answers a refresh as it is, so that no
// commit is needed: the session is held and the refresh changes nothing, or, under
// Policy.Ahead, its instants are recorded far enough ahead. A record that is not the newest
// only understates them.
func OnRecord(s *State, e Refresh, p Policy, now Instant) bool {
	d := draft{State: *s}
	i, found := d.findSession(e.Session)
	if !found || s.UserState != UserActive || e.needsRecord() {
		return false
	}
	session := &s.Sessions[i]
	now = max(now, s.At)
	active := session.ActiveAt(now)
	switch {
	case !session.Live(now), e.Lease != 0 && e.Lease != session.Lease, e.Holder != "" && e.Holder != session.Holder:
		return false
	case e.Activity == ActivityActive && !active, e.Activity == ActivityIdle && active:
		return false // an edge
	case session.Held():
		return !active || session.IdleAt.IsZero()
	default:
		return p.Ahead && session.aheadOf(e.Activity, p, now)
	}
}

// aheadOf reports whether the recorded instants exceed those that a refresh acknowledges
// by the margin at least.
func (s *Session) aheadOf(activity Activity, p Policy, now Instant) bool {
	if s.EndsAt < now.Add(s.Lease+ClockMargin) {
		return false
	}
	return activity != ActivityActive || p.IdleAfter <= 0 || s.IdleAt.IsZero() || s.IdleAt >= now.Add(p.IdleAfter+ClockMargin)
}

// Acknowledged is a recorded session as a refresh at now acknowledges it: the record may be
// behind, because memory holds the refresh, or ahead.
func Acknowledged(s Session, e Refresh, p Policy, now Instant) Session {
	if s.Held() {
		return s
	}
	ends, idle := now.Add(s.Lease), now.Add(p.IdleAfter)
	if !p.Ahead {
		ends, idle = max(s.EndsAt, ends), max(s.IdleAt, idle)
	}
	s.EndsAt = ends
	if e.Activity == ActivityActive && p.IdleAfter > 0 {
		s.IdleAt = idle
	}
	return s
}

// renew gives a session that is refreshed its next end. It has none while it is held.
func (d *draft) renew(s *Session, lease time.Duration) {
	sameLease := s.Lease == lease
	s.Lease = lease
	switch {
	case s.Held():
	case !d.policy.Ahead:
		s.EndsAt = d.now.Add(lease)
	case sameLease:
		s.EndsAt = max(s.EndsAt, d.now.Add(lease+leaseAhead(lease)))
	default:
		s.EndsAt = d.now.Add(lease + leaseAhead(lease))
	}
}

// nextIdle is when a session becomes idle after a refresh with activity. A held session
// becomes idle when its holder says so.
func (d *draft) nextIdle(s *Session) Instant {
	switch {
	case s.Held():
		return 0
	case d.policy.Ahead && d.policy.IdleAfter > 0:
		return max(s.IdleAt, d.now.Add(d.policy.IdleAfter+idleAhead(d.policy.IdleAfter)))
	default:
		return d.idleAt()
	}
}

// applyIdle records at which instants held sessions became idle. It runs before the
// expiries, as one of them.
func (d *draft) applyIdle(tick *Tick) {
	for _, idle := range tick.Idle {
		i, found := d.findSession(idle.Session)
		if !found || d.Sessions[i].Holder != idle.Holder || !d.Sessions[i].IdleAt.IsZero() {
			continue
		}
		session := d.Sessions[i]
		session.IdleAt = max(idle.At, d.At+1)
		if session.IdleAt > d.now {
			continue // the holder asks again
		}
		d.replaceSession(i, session)
		d.idled = true
	}
}

// release makes a held session a leased one: its connection is lost.
func (d *draft) release(e *Release) error {
	i, err := d.existing(e.Session)
	if err != nil {
		return err
	}
	if d.Sessions[i].Holder != e.Holder {
		return nil // another connection has resumed it
	}
	session := d.Sessions[i]
	session.Holder, session.Lease, session.EndsAt = "", e.Lease, d.now.Add(e.Lease)
	if session.IdleAt.IsZero() {
		session.IdleAt = e.IdleAt
	}
	d.replaceSession(i, session)
	d.causedBy(&session)
	return nil
}

// loseHolder ends the sessions that a holder still has.
func (d *draft) loseHolder(holder string) {
	for i := len(d.Sessions) - 1; i >= 0; i-- {
		if holder == "" || d.Sessions[i].Holder != holder {
			continue
		}
		d.causedBy(&d.Sessions[i])
		sessions := d.sessions()
		d.Sessions = append(sessions[:i], sessions[i+1:]...)
		d.changed = true
	}
}
