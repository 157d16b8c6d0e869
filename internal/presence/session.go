package presence

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// SoftState is what memory holds of a session between commits: instants later than
// those in its record.
type SoftState struct {
	Session SessionID
	IdleAt  Instant // zero: nothing newer, or it never idles
	EndsAt  Instant
	Lease   time.Duration // by which it ends then
}

// extend moves the session's instants forward. A session that was idle at the last
// commit, at at, stays idle, because the activity that ends idleness is always
// recorded. Soft state under another lease is older than the record. Of a held session it
// is for display, and has no lease.
func (s *Session) extend(seen SoftState, at Instant) {
	if s.Held() {
		if s.IdleAt.IsZero() && seen.Lease == 0 {
			s.IdleAt = seen.IdleAt
		}
		return
	}
	if seen.Lease != s.Lease {
		return
	}
	if seen.EndsAt > s.EndsAt {
		s.EndsAt = seen.EndsAt
	}
	if s.IdleAt > at && seen.IdleAt > s.IdleAt {
		s.IdleAt = seen.IdleAt
	}
}

// WithSoftState is s with what memory holds of its sessions since the last commit. It
// is for displaying sessions: watchers see what was committed.
func WithSoftState(s State, seen []SoftState) State {
	d := draft{State: s}
	d.applySoftState(Tick{Soft: seen})
	return d.State
}

// SoftRefresh reports whether a refresh may stay in memory: it changes nothing visible,
// and at least half of the recorded time remains. already is the session's soft state
// so far; the result replaces it.
func SoftRefresh(s *State, e Refresh, already SoftState, p Policy, now Instant) (SoftState, bool) {
	d := draft{State: *s, policy: p, now: now}
	i, found := d.findSession(e.Session)
	if !found || s.UserState != UserActive || s.At < p.Ready || now < s.At || e.needsRecord() {
		return SoftState{}, false
	}
	recorded := s.Sessions[i]
	current := recorded
	current.extend(already, s.At)
	if current.Held() || !current.Live(now) || (e.Lease != 0 && e.Lease != current.Lease) {
		return SoftState{}, false
	}
	seen := SoftState{Session: e.Session, IdleAt: current.IdleAt, EndsAt: now.Add(current.Lease), Lease: current.Lease}
	switch e.Activity {
	case ActivityActive:
		if !current.ActiveAt(now) || recorded.lacksIdle(p.IdleAfter, now) {
			return SoftState{}, false
		}
		seen.IdleAt = d.idleAt()
	case ActivityIdle:
		if current.ActiveAt(now) {
			return SoftState{}, false
		}
	}
	return seen, recorded.EndsAt.Sub(now) >= recorded.Lease/2
}

// needsRecord reports whether the request has a condition or an idempotency key.
func (e *Refresh) needsRecord() bool {
	return e.Key != ([16]byte{}) || len(e.IfMatch)+len(e.IfNoneMatch) > 0
}

// lacksIdle reports whether less than half of the idle time remains on record.
func (s *Session) lacksIdle(after time.Duration, now Instant) bool {
	return after > 0 && !s.IdleAt.IsZero() && s.IdleAt.Sub(now) < after/2
}

func (d *draft) signIn(e *SignIn) error {
	if err := checkSignIn(e); err != nil {
		return err
	}
	lease := e.Lease
	if lease == 0 {
		lease = DefaultLease
	}
	session := Session{
		ID: e.Session, Client: e.Client, Version: e.Version, App: e.App, Via: e.Via, Lease: lease,
		Since: d.now, Holder: e.Holder,
	}
	if !session.Held() {
		session.EndsAt = d.now.Add(lease)
	}
	if i, found := d.resumed(e); found {
		was := &d.Sessions[i]
		session.ID, session.Since, session.IdleAt = was.ID, was.Since, d.resumedIdle(was, &session)
		d.reportActivity(&session, e.Activity, d.beginIdle(&session))
		d.replaceSession(i, session)
		d.causedBy(&session)
		return nil
	}
	if err := d.checkNew(e); err != nil {
		return err
	}
	d.reportActivity(&session, cmp.Or(e.Activity, ActivityActive), d.beginIdle(&session))
	d.replaceSurplus(&session)
	i, _ := d.findSession(e.Session)
	d.Sessions = slices.Insert(d.sessions(), i, session)
	d.changed = true
	d.causedBy(&session)
	return nil
}

// beginIdle is when a session becomes idle that a sign-in begins or finds active. A held
// session becomes idle when its holder says so.
func (d *draft) beginIdle(s *Session) Instant {
	if s.Held() {
		return 0
	}
	return d.idleSafely()
}

// resumedIdle is the IdleAt of a resumed session, which stays active or idle.
func (d *draft) resumedIdle(was, now *Session) Instant {
	switch {
	case !was.ActiveAt(d.now):
		return was.IdleAt
	case now.Held():
		return 0
	case was.Held():
		return d.idleSafely()
	default:
		return was.IdleAt
	}
}

// checkNew refuses ids that cannot begin a session: a replaced session does not return
// under the same id, and no two sessions share one.
func (d *draft) checkNew(e *SignIn) error {
	if d.isReplaced(e.Session) || d.isReplaced(e.Was) {
		return ErrSessionReplaced
	}
	if _, found := d.findSession(e.Session); found {
		return &FieldError{Field: "session", Reason: "is the id of another app's session"}
	}
	return nil
}

// resumed is the live session that a sign-in resumes. Knowing an id grants nothing: a
// sign-in resumes sessions of its own app only.
func (d *draft) resumed(e *SignIn) (int, bool) {
	for _, id := range []SessionID{e.Was, e.Session} {
		if i, found := d.findSession(id); found && d.Sessions[i].of(e) {
			return i, true
		}
	}
	return 0, false
}

// of reports whether the session belongs to the client that signs in. Earlier versions did not record
// the app of the user's own client.
func (s *Session) of(e *SignIn) bool {
	return s.App == e.App && (s.Via == e.Via || s.App == "" && s.Via == "")
}

// SessionIn is the id of the session that e has in s, which it led to.
func (e *SignIn) SessionIn(s *State) SessionID {
	d := draft{State: *s}
	if i, found := d.resumed(e); found {
		return d.Sessions[i].ID
	}
	return e.Session
}

// reportActivity applies what the client reports of the person's activity. idleAt is when
// the session becomes idle if that is active.
func (d *draft) reportActivity(session *Session, activity Activity, idleAt Instant) {
	switch activity {
	case ActivityActive:
		d.endManualAway()
		session.IdleAt = idleAt
	case ActivityIdle:
		if session.IdleAt.IsZero() || session.IdleAt > d.now {
			session.IdleAt = d.now
		}
	}
}

// replaceSurplus ends an older session if a new one would exceed a limit.
func (d *draft) replaceSurplus(session *Session) {
	i := surplus(d.Sessions, session, (*Session).origin, MaxSessionsPerApp, MaxSessions, endsFirst(d.now))
	if i < 0 {
		return
	}
	was := d.Sessions[i]
	if len(d.Replaced) >= MaxReplaced {
		d.Replaced = d.Replaced[len(d.Replaced)-MaxReplaced+1:]
	}
	d.Replaced = append(slices.Clone(d.Replaced), Replaced{ID: was.ID, EndsAt: endsOf(&was, d.now)})
	d.Sessions = slices.Delete(d.sessions(), i, i+1)
}

func (d *draft) isReplaced(id SessionID) bool {
	return slices.ContainsFunc(d.Replaced, func(r Replaced) bool { return r.ID == id })
}

// existing finds a session, or says why there is none.
func (d *draft) existing(id SessionID) (int, error) {
	i, found := d.findSession(id)
	switch {
	case found:
		return i, nil
	case d.isReplaced(id):
		return 0, ErrSessionReplaced
	default:
		return 0, ErrUnknownSession
	}
}

func (d *draft) refresh(e *Refresh) error {
	i, err := d.existing(e.Session)
	if err != nil {
		return err
	}
	session := d.Sessions[i]
	lease, err := leaseOf(e.Lease, session.Lease)
	if err != nil {
		return err
	}
	if e.Holder != "" && e.Holder != session.Holder {
		return ErrSessionReplaced // another node's connection has resumed it
	}
	d.renew(&session, lease)
	d.reportActivity(&session, e.Activity, d.nextIdle(&session))
	d.replaceSession(i, session)
	d.causedBy(&session)
	return nil
}

func (d *draft) signOut(id SessionID) error {
	i, found := d.findSession(id)
	if !found {
		return ErrUnknownSession
	}
	d.causedBy(&d.Sessions[i])
	d.Sessions = slices.Delete(d.sessions(), i, i+1)
	d.changed = true
	return nil
}

// endManualAway ends a manual away at the first activity that finds no active session:
// it stays while the person goes on typing.
func (d *draft) endManualAway() {
	active := func(s Session) bool { return s.ActiveAt(d.now) }
	if slices.ContainsFunc(d.Sessions, active) {
		return
	}
	if i, found := d.findClaim(ManualClaim); found && d.Claims[i].Status == Away && d.Claims[i].live(d.now) {
		d.removeClaim(i)
	}
}

// idleAt is when a session becomes idle after activity at now.
func (d *draft) idleAt() Instant {
	if d.policy.IdleAfter <= 0 {
		return 0
	}
	return d.now.Add(d.policy.IdleAfter)
}

// idleSafely is idleAt, later by the margin if the clock of another node may decide.
func (d *draft) idleSafely() Instant {
	at := d.idleAt()
	if at != 0 && d.policy.Ahead {
		at = at.Add(ClockMargin)
	}
	return at
}

func (d *draft) findSession(id SessionID) (int, bool) {
	return slices.BinarySearchFunc(d.Sessions, id, func(s Session, id SessionID) int {
		return strings.Compare(string(s.ID), string(id))
	})
}

func (d *draft) replaceSession(i int, session Session) {
	if d.Sessions[i] != session {
		d.sessions()[i] = session
		d.changed = true
	}
}

// sessions is the draft's own copy.
func (d *draft) sessions() []Session {
	if !d.ownSessions {
		d.Sessions = append(make([]Session, 0, len(d.Sessions)+1), d.Sessions...)
		d.ownSessions = true
	}
	return d.Sessions
}
