package presence

import "slices"

// A Change is what an event, or several together, made of a recorded state.
type Change struct {
	Recorded
	Origin
	Profiles // of the last accepted event that has them
}

// An Origin is the claim or the client that a change comes from. Of events that are
// committed together it is that of the first accepted.
type Origin struct {
	// Claim and Source are of the claim that was set or ended, or that won or ended by
	// the passing of time; empty: none.
	Claim  ClaimID
	Source Source
	// Client is of the session that was begun, refreshed or ended, also by the
	// passing of time; zero: none was.
	Client Client
}

// A Client is what is known of a session's, and its own status: what that one
// client says of the person after the change, offline once its session has ended.
type Client struct {
	Type    ClientType
	Version string
	Status  Status
}

// Apply returns the change that e makes to was at now. Expiries that are due come
// first, each at its own instant. A record's time never goes back: now is raised to
// the time of the last commit. The result has the next revision and is already
// composed; was is not modified.
//
// The errors are those in errors.go; after one, nothing has changed.
func Apply(was Recorded, e Event, p Policy, now Instant) (Change, error) {
	d := begin(&was, p, now)
	d.applySoftState(e)
	d.advance(was.Next)
	if err := d.take(e); err != nil {
		return Change{Recorded: was}, err
	}
	return d.finish(was, sessionsAlone(e))
}

// ApplyEach is Apply for events that are committed together, so that no watcher sees
// the states between them. Each event is accepted or refused on its own: errs has one
// reason per event. err is about the whole commit: ErrNoChange or a *DampedError.
func ApplyEach(was Recorded, events []Event, p Policy, now Instant) (next Change, errs []error, err error) {
	d := begin(&was, p, now)
	for _, e := range events {
		d.applySoftState(e)
	}
	d.advance(was.Next)
	errs = make([]error, len(events))
	alone := true
	for i, e := range events {
		if errs[i] = d.take(e); errs[i] == nil {
			alone = alone && sessionsAlone(e)
			d.renumbered = d.renumbered || !isTick(e)
		}
	}
	next, err = d.finish(was, alone)
	return next, errs, err
}

func isTick(e Event) bool {
	_, ok := e.(Tick)
	return ok
}

// sessionsAlone reports whether e is about sessions only: status changes with no other
// cause are damped. Expiries come before and are not delayed.
func sessionsAlone(e Event) bool {
	switch e.(type) {
	case SignIn, Refresh, SignOut, Release, Tick:
		return true
	default:
		return false
	}
}

// A draft is a state in the making. It copies what it shares with the state it
// began from before it writes.
type draft struct {
	State
	policy Policy
	now    Instant // never before the record's
	clock  Instant // as it was given

	was      Presence // shown at the last commit
	advanced Status   // shown after the expiries that were due
	changed  bool     // a fact changed
	idled    bool     // a holder said that a session became idle
	// renumbered says that an event of the same commit was accepted before.
	renumbered bool
	asked      *SetVisibility // nil: the rules of visibility stay

	origin     Origin
	profiles   Profiles
	session    Session // that caused the change, in its last state; no id: none did
	attributed bool    // an event was accepted: later ones are not the origin

	ownSessions, ownClaims bool
}

func begin(was *Recorded, p Policy, now Instant) draft {
	return draft{State: was.State, policy: p, was: was.Shown, now: max(now, was.State.At), clock: now}
}

// applySoftState records what memory held of sessions since the last commit, and when held
// sessions became idle. It runs
// before the expiries that it postpones.
func (d *draft) applySoftState(e Event) {
	tick, ok := e.(Tick)
	if !ok {
		return
	}
	for _, seen := range tick.Soft {
		i, found := d.findSession(seen.Session)
		if !found {
			continue
		}
		session := d.Sessions[i]
		session.extend(seen, d.At)
		d.replaceSession(i, session)
	}
	d.applyIdle(&tick)
}

// advance brings the state from its last commit to now. What it showed then does not
// change by itself before next, so usually there is nothing to do. From then on the commit
// has another next, even if nothing changed.
func (d *draft) advance(next Instant) {
	if d.Exists() {
		d.extendForRestart()
		if d.idled || next != 0 && next <= d.now {
			d.advanceShown()
			d.changed = true
		}
	}
	d.advanced = d.Shown.Status
	d.At = d.now
	d.dropExpired()
	d.endMeetings()
}

// advanceShown applies each change that happened by itself since the last commit at its
// own instant, so that since is exact.
func (d *draft) advanceShown() {
	shown, v := d.was, takeSnapshot(&d.State, d.At)
	for t := nextChange(&d.State, v, &shown, d.At); t != 0 && t <= d.now; t = nextChange(&d.State, v, &shown, t) {
		d.session = sessionThatChanged(d.Sessions, t)
		last := v.winner
		shown, v = compose(&d.State, t)
		d.origin = claimThatChanged(last, v.winner, t)
		d.show(&shown, t)
	}
}

// extendForRestart gives sessions that were recorded before this node began to serve
// a full lease to refresh.
func (d *draft) extendForRestart() {
	if d.At >= d.policy.Ready {
		return
	}
	for i, session := range d.Sessions {
		if session.Held() {
			continue
		}
		grace := d.policy.Ready.Add(session.Lease)
		if session.EndsAt < grace {
			session.EndsAt = grace
		}
		if session.IdleAt > d.At && session.IdleAt < grace {
			session.IdleAt = grace
		}
		d.replaceSession(i, session)
	}
}

// sessionThatChanged is the first that ends or idles at t, or none.
func sessionThatChanged(sessions []Session, t Instant) Session {
	i := slices.IndexFunc(sessions, func(s Session) bool { return s.EndsAt == t || s.IdleAt == t })
	if i < 0 {
		return Session{}
	}
	return sessions[i]
}

// claimThatChanged is the winning claim that ends at t, or else the one that begins
// then, or none.
func claimThatChanged(last, winner *Claim, t Instant) Origin {
	switch {
	case last != nil && last.Until == t:
		return Origin{Claim: last.ID, Source: last.Source}
	case winner != nil && winner.Since == t:
		return Origin{Claim: winner.ID, Source: winner.Source}
	default:
		return Origin{}
	}
}

// causedBy records the session of an event, unless an earlier event was accepted.
func (d *draft) causedBy(s *Session) {
	if !d.attributed {
		d.session = *s
	}
}

// client is the client of the session that caused the change.
func (d *draft) client() Client {
	s := &d.session
	if s.ID == "" {
		return Client{}
	}
	i, found := d.findSession(s.ID)
	if found {
		s = &d.Sessions[i]
	}
	c := Client{Type: s.Client, Version: s.Version}
	switch {
	case !found: // Offline
	case s.ActiveAt(d.now):
		c.Status = Available
	default:
		c.Status = Away
	}
	return c
}

// show records t as since if the status of shown differs.
func (d *draft) show(shown *Presence, t Instant) {
	if shown.Status != d.Shown.Status {
		d.Shown.Status, d.Shown.Since = shown.Status, t
	}
}

// dropExpired drops expired facts. That alone is no change, because it is not visible.
func (d *draft) dropExpired() {
	ended := func(s Session) bool { return !s.Live(d.now) }
	if slices.ContainsFunc(d.Sessions, ended) {
		d.Sessions = slices.DeleteFunc(d.sessions(), ended)
	}
	over := func(c Claim) bool { return c.ended(d.now) }
	if slices.ContainsFunc(d.Claims, over) {
		d.Claims = slices.DeleteFunc(d.claims(), over)
	}
	forgotten := func(r Replaced) bool { return d.now >= r.EndsAt }
	if slices.ContainsFunc(d.Replaced, forgotten) {
		d.Replaced = slices.DeleteFunc(slices.Clone(d.Replaced), forgotten)
	}
	if d.Note.Text != "" && !d.Note.live(d.now) {
		d.Note = Note{}
	}
}

// take applies one event to a draft that was advanced; on an error the draft is as before.
func (d *draft) take(event Event) error {
	if isTick(event) {
		return nil
	}
	session, origin := d.session, d.origin
	if !d.attributed {
		d.session, d.origin = Session{}, Origin{} // the passing of time is not what this change comes from
	}
	err := d.takeEvent(event)
	if err != nil {
		d.session, d.origin = session, origin
		return err
	}
	d.attributed = true
	return nil
}

func (d *draft) takeEvent(event Event) error {
	switch e := event.(type) {
	case SignIn:
		return d.request(&e.Request, event, Offline, func() error { return d.signIn(&e) })
	case Refresh:
		return d.request(&e.Request, event, Offline, func() error { return d.refresh(&e) })
	case SignOut:
		return d.request(&e.Request, event, Offline, func() error { return d.signOut(e.Session) })
	case Release:
		return d.release(&e)
	case HolderLost:
		d.loseHolder(e.Holder)
	case SetClaim:
		return d.request(&e.Request, event, e.Status, func() error { return d.setClaim(&e) })
	case EndClaim:
		return d.request(&e.Request, event, Offline, func() error { return d.endClaim(e.ID) })
	case SetNote:
		return d.request(&e.Request, event, Offline, func() error { return d.setNote(&e) })
	case SetVisibility:
		return d.request(&e.Request, event, Offline, func() error { return d.setRules(&e) })
	case SetUserState:
		d.setUserState(e.State)
		d.profiles = e.Profiles
	case ProfileChanged:
		d.changed = d.changed || d.Exists() && d.UserState != UserDeleted
		d.profiles = e.Profiles
	}
	return nil
}

// finish numbers the commit and records which visible fields it changed. alone is set
// if all of its events are about sessions.
func (d *draft) finish(was Recorded, alone bool) (Change, error) {
	if !d.changed {
		return Change{Recorded: was}, ErrNoChange
	}
	before := &was.State
	d.Revision = max(before.Revision+1, Revision(d.now))
	if !before.Exists() {
		d.Shown.Since = d.now
	}
	p, v := compose(&d.State, d.now)
	if alone && p.Status != d.advanced {
		if err := d.checkDamping(); err != nil {
			return Change{Recorded: was}, err
		}
	}
	d.show(&p, d.now)
	p.Since = d.Shown.Since
	if p.Status != d.was.Status || !before.Exists() {
		d.Shown.StatusRevision = d.Revision
	}
	if !p.SameFor(&d.was) || !before.Exists() {
		d.Shown.Revision = d.Revision
	}
	p.Revision, p.StatusRevision = d.Shown.Revision, d.Shown.StatusRevision
	if d.asked != nil {
		d.Rules = d.ruled(&p)
	}
	for i := range d.Answers {
		if d.Answers[i].Revision == 0 {
			d.Answers[i].Revision = d.Revision
		}
	}
	d.origin.Client = d.client()
	recorded := Recorded{State: d.State, Shown: p, Next: nextCommit(&d.State, v, &p, d.now)}
	return Change{Recorded: recorded, Origin: d.origin, Profiles: d.profiles}, nil
}

// checkDamping enforces the minimum interval between changes that only sessions cause.
func (d *draft) checkDamping() error {
	free := d.DampedSince.Add(d.policy.Damping)
	if d.policy.Damping > 0 && d.DampedSince != 0 && d.now < free {
		return &DampedError{Until: free}
	}
	d.DampedSince = d.now
	return nil
}
