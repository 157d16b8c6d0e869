package presence

import "slices"

// Apply is what s becomes when e happens at now. Ends that are due come first,
// each at its own instant, and a record's time never goes back: now is at least
// s.At. The result has the next revision, and s is untouched.
//
// An error is one of those in errors.go; nothing has changed then.
func Apply(s State, e Event, p Policy, now Instant) (State, error) {
	d := begin(&s, p, now)
	d.observe(e)
	d.settle()
	if err := d.take(e); err != nil {
		return s, err
	}
	return d.finish(s, sessionsAlone(e))
}

// ApplyEach is Apply for events that are committed together: nobody sees what
// lies between them. Each is accepted or refused by itself; errs has the reasons,
// one for each event. err is that of the whole: ErrNoChange or a *DampedError.
func ApplyEach(s State, events []Event, p Policy, now Instant) (next State, errs []error, err error) {
	d := begin(&s, p, now)
	for _, e := range events {
		d.observe(e)
	}
	d.settle()
	errs = make([]error, len(events))
	alone := true
	for i, e := range events {
		if errs[i] = d.take(e); errs[i] == nil {
			alone = alone && sessionsAlone(e)
			d.renumbered = d.renumbered || !isTick(e)
		}
	}
	next, err = d.finish(s, alone)
	return next, errs, err
}

func isTick(e Event) bool {
	_, ok := e.(Tick)
	return ok
}

// sessionsAlone reports whether e is about sessions only: the status changes that
// nothing else causes are damped. A tick's own ends are settled before, and are
// not held back.
func sessionsAlone(e Event) bool {
	switch e.(type) {
	case SignIn, Refresh, SignOut, Tick:
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

	was     Presence // what was shown at the last commit
	settled Status   // what was shown when the ends that were due had come
	changed bool     // a fact
	// renumbered says that an event of the same commit was accepted before.
	renumbered bool
	asked      *SetRules // nil: the rules of visibility stay

	ownSessions, ownClaims bool
}

func begin(s *State, p Policy, now Instant) draft {
	return draft{State: *s, policy: p, now: max(now, s.At), clock: now}
}

// observe records what was seen of sessions since the last commit and kept in
// memory: it comes before the ends that it puts off.
func (d *draft) observe(e Event) {
	tick, ok := e.(Tick)
	if !ok {
		return
	}
	for _, seen := range tick.Seen {
		i, found := d.findSession(seen.Session)
		if !found {
			continue
		}
		session := d.Sessions[i]
		session.see(seen, d.At)
		d.replaceSession(i, session)
	}
}

// settle brings the state from the instant of its last commit to now, stopping
// wherever what it shows changes by itself, so that since is exact.
func (d *draft) settle() {
	if d.Exists() {
		var v sight
		d.was, v = compose(&d.State, d.At)
		d.awake()
		// Most of the time nothing at all lies between, which is cheap to see.
		if t := nextEdge(&d.State, &v, d.At); t != 0 && t <= d.now {
			d.pass(d.was, v)
		}
	}
	d.settled = d.Shown.Status
	d.At = d.now
	d.bury()
	d.endMeetings()
}

// pass notes every change that came by itself since the last commit.
func (d *draft) pass(shown Presence, v sight) {
	for t := nextChange(&d.State, v, &shown, d.At); t != 0 && t <= d.now; t = nextChange(&d.State, v, &shown, t) {
		shown, v = compose(&d.State, t)
		d.show(&shown, t)
		d.changed = true
	}
}

// awake gives sessions that were live when the record was last written, before
// this node began to serve, the time to be refreshed.
func (d *draft) awake() {
	if d.At >= d.policy.Ready {
		return
	}
	for i, session := range d.Sessions {
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

// show notes that shown stands since t, if its status is another.
func (d *draft) show(shown *Presence, t Instant) {
	if shown.Status != d.Shown.Status {
		d.Shown.Status, d.Shown.Since = shown.Status, t
	}
}

// bury drops what has ended. It is no change of its own: nobody can see it.
func (d *draft) bury() {
	ended := func(s Session) bool { return !s.live(d.now) }
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

// take applies one event to a settled draft, or leaves it as it was.
func (d *draft) take(event Event) error {
	switch e := event.(type) {
	case SignIn:
		return d.request(&e.Request, event, Offline, func() error { return d.signIn(&e) })
	case Refresh:
		return d.request(&e.Request, event, Offline, func() error { return d.refresh(&e) })
	case SignOut:
		return d.request(&e.Request, event, Offline, func() error { return d.signOut(e.Session) })
	case SetClaim:
		return d.request(&e.Request, event, e.Status, func() error { return d.setClaim(&e) })
	case EndClaim:
		return d.request(&e.Request, event, Offline, func() error { return d.endClaim(e.ID) })
	case SetNote:
		return d.request(&e.Request, event, Offline, func() error { return d.setNote(&e) })
	case SetRules:
		return d.request(&e.Request, event, Offline, func() error { return d.setRules(&e) })
	case SetStanding:
		d.setStanding(e.Standing)
	}
	return nil
}

// finish numbers the commit and notes what it changed of what is seen. alone
// says that only sessions had a part in it.
func (d *draft) finish(before State, alone bool) (State, error) {
	if !d.changed {
		return before, ErrNoChange
	}
	d.Revision = max(before.Revision+1, Revision(d.now))
	if !before.Exists() {
		d.Shown.Since = d.now
	}
	p, _ := compose(&d.State, d.now)
	if alone && p.Status != d.settled {
		if err := d.stir(); err != nil {
			return before, err
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
	if d.asked != nil {
		p.Revision, p.StatusRevision = d.Shown.Revision, d.Shown.StatusRevision
		d.Rules = d.ruled(&p)
	}
	for i := range d.Answers {
		if d.Answers[i].Revision == 0 {
			d.Answers[i].Revision = d.Revision
		}
	}
	return d.State, nil
}

// stir is the damping rule: changes that sessions alone cause keep a distance.
func (d *draft) stir() error {
	free := d.StirredAt.Add(d.policy.Damping)
	if d.policy.Damping > 0 && d.StirredAt != 0 && d.now < free {
		return &DampedError{Until: free}
	}
	d.StirredAt = d.now
	return nil
}
