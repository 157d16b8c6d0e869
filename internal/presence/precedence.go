package presence

// Compose returns what s shows at now, and the first instant at which that changes by
// itself; a zero next means never. now must not be before s.At. The composed Since is
// exact if nothing changed by itself between s.At and now, as in states that Apply
// returns.
func Compose(s State, now Instant) (p Presence, next Instant) {
	p, v := compose(&s, now)
	return p, nextChange(&s, v, &p, now)
}

// Recorded is a state as it was committed, with what follows from it. The zero
// Recorded is a user about whom nothing is recorded.
type Recorded struct {
	State State
	Shown Presence // what State shows since its commit
	Next  Instant  // no change by itself comes before it, however long sessions are extended; zero: never
}

// RecordedOf composes s as of its commit, for stores that decode a state and for tests.
// What Apply returns is already composed.
func RecordedOf(s State) Recorded {
	shown, v := compose(&s, s.At)
	return Recorded{State: s, Shown: shown, Next: nextCommit(&s, v, &shown, s.At)}
}

// compose is Compose without next.
func compose(s *State, now Instant) (Presence, snapshot) {
	v := takeSnapshot(s, now)
	p := Presence{
		Status:         v.status,
		Note:           v.note(s, now),
		Since:          s.Shown.Since,
		Until:          until(s, &v, now),
		Handheld:       v.handheld,
		Active:         v.active,
		Revision:       s.Shown.Revision,
		StatusRevision: s.Shown.StatusRevision,
	}
	if p.Status != s.Shown.Status {
		p.Since = now
	}
	return p, v
}

// A snapshot is the first half of composing: which sessions are live and which claim
// wins.
type snapshot struct {
	status   Status
	winner   *Claim // nil: no claim, the devices speak
	live     bool   // a session is
	active   bool   // a session is
	handheld bool
}

func takeSnapshot(s *State, now Instant) snapshot {
	var v snapshot
	desk := false
	for i := range s.Sessions {
		session := &s.Sessions[i]
		if !session.Live(now) {
			continue
		}
		v.live = true
		v.active = v.active || session.ActiveAt(now)
		desk = desk || !session.Client.handheld()
	}
	if s.UserState != UserActive {
		return snapshot{status: Offline}
	}
	v.handheld = v.live && !desk
	v.winner = winner(s, now, v.live)
	v.status = v.statusUnder(v.winner)
	return v
}

// statusUnder is the status if w is the winning claim; nil: the devices decide.
func (v *snapshot) statusUnder(w *Claim) Status {
	switch {
	case w != nil:
		return w.Status
	case v.active:
		return Available
	case v.live:
		return Away
	default:
		return Offline
	}
}

// note is that of the winning claim, or else the user's own.
func (v *snapshot) note(s *State, now Instant) string {
	switch {
	case v.winner != nil && v.winner.Note != "":
		return v.winner.Note
	case s.UserState == UserActive && s.Note.live(now):
		return s.Note.Text
	default:
		return ""
	}
}

// A rank is the precedence of a claim: the lower rank wins.
type rank uint8

// The ranks follow the rules of the precedence table. Rule 2 has three ranks. Rule 6 is
// the devices, which are not claims.
const (
	rankManualOverride rank = iota + 1
	rankPresenting
	rankInMeeting
	rankOnCall
	rankManual
	rankSchedule
	rankOther
)

// row is the number of the rule in the documented precedence table, 1 to 5.
func (r rank) row() int {
	switch r {
	case rankManualOverride:
		return 1
	case rankPresenting, rankInMeeting, rankOnCall:
		return 2
	case rankManual:
		return 3
	case rankSchedule:
		return 4
	default:
		return 5
	}
}

func (c *Claim) rank() rank {
	override := c.Status == DoNotDisturb || c.Status == OutOfOffice
	switch {
	case c.Source == Manual && override:
		return rankManualOverride
	case c.Source == Manual:
		return rankManual
	case c.Status == Presenting:
		return rankPresenting
	case c.Status == InMeeting:
		return rankInMeeting
	case c.Status == OnCall:
		return rankOnCall
	case c.Source == Schedule || override:
		return rankSchedule
	default:
		return rankOther
	}
}

// counts reports whether a live claim competes. Manual available silences claims of
// rules 4 and 5 that had begun by then. Without a live session only out_of_office
// counts.
func (c *Claim) counts(r rank, s *State, live bool) bool {
	if !live && c.Status != OutOfOffice {
		return false
	}
	return r < rankSchedule || s.AvailableAt.IsZero() || c.Since > s.AvailableAt
}

// winner is the claim with the highest precedence at now, or nil.
func winner(s *State, now Instant, live bool) *Claim {
	var best *Claim
	var bestRank rank
	for i := range s.Claims {
		c := &s.Claims[i]
		if !c.live(now) {
			continue
		}
		r := c.rank()
		if !c.counts(r, s, live) {
			continue
		}
		if best == nil || beats(c, r, best, bestRank) {
			best, bestRank = c, r
		}
	}
	return best
}

// beats: the lower rank; in a rank the later since, then the greater id.
func beats(c *Claim, r rank, best *Claim, bestRank rank) bool {
	if r != bestRank {
		return r < bestRank
	}
	if c.Since != best.Since {
		return c.Since > best.Since
	}
	return c.ID > best.ID
}

// until is the first instant after now at which claims change the status. Sessions are
// taken as they are, because refreshes and activity extend them without a commit.
// Claims that begin or end without changing the status are skipped.
func until(s *State, v *snapshot, now Instant) Instant {
	if s.UserState != UserActive || len(s.Claims) == 0 {
		return 0
	}
	shown := v.winner
	for t := nextClaimEdge(s, shown, now); t != 0; {
		w := winner(s, t, v.live)
		if v.statusUnder(w) != v.status {
			return t
		}
		t = nextClaimEdge(s, w, t)
	}
	return 0
}

// nextChange is the first instant after now at which p is not what s shows.
func nextChange(s *State, v snapshot, p *Presence, now Instant) Instant {
	live := v.live
	for t := nextEdge(s, &v, now); t != 0; t = nextEdge(s, &v, t) {
		v = takeSnapshot(s, t)
		if v.status != p.Status || v.handheld != p.Handheld || v.active != p.Active || v.note(s, t) != p.Note {
			return t
		}
		// Until stays what it was while the same sessions are there and it has
		// not come, so it is seldom computed again.
		due := p.Until != 0 && t >= p.Until
		if due || v.live != live {
			if until(s, &v, t) != p.Until {
				return t
			}
			live = v.live
		}
	}
	return 0
}

// nextCommit is the first instant after now at which what s shows may change, whichever
// sessions memory has extended: the next change of s as it is, or the end of the last
// desktop client beside a handheld, which would be alone then if it were extended.
func nextCommit(s *State, v snapshot, p *Presence, now Instant) Instant {
	next := nextChange(s, v, p, now)
	if !v.live || v.handheld {
		return next
	}
	var last Instant
	beside := false
	for i := range s.Sessions {
		session := &s.Sessions[i]
		switch {
		case !session.Live(now):
		case session.Client.handheld():
			beside = true
		default:
			last = max(last, session.ends())
		}
	}
	if !beside || last == forever {
		return next
	}
	return earliest(next, last, now)
}

// earliest is the smaller of best and t, of those after now; zero is none.
func earliest(best, t, now Instant) Instant {
	if t > now && (best == 0 || t < best) {
		return t
	}
	return best
}

// nextClaimEdge is the first instant after now at which another claim may win: the end
// of the winner, or the beginning of any claim. The ends of other claims are not
// visible.
func nextClaimEdge(s *State, winner *Claim, now Instant) Instant {
	var first Instant
	for i := range s.Claims {
		first = earliest(first, s.Claims[i].Since, now)
	}
	if winner != nil {
		first = earliest(first, winner.Until, now)
	}
	return first
}

// nextEdge is the first instant after now at which the presence may change.
func nextEdge(s *State, v *snapshot, now Instant) Instant {
	first := nextClaimEdge(s, v.winner, now)
	for i := range s.Sessions {
		first = earliest(first, s.Sessions[i].EndsAt, now)
		if v.active { // idle edges under a claim count: activity after one is a first
			first = earliest(first, s.Sessions[i].IdleAt, now)
		}
	}
	return earliest(first, s.Note.Until, now)
}
