package presence

import (
	"fmt"
	"slices"
	"strings"
)

// An Explanation says why a state shows what it shows, and what follows.
type Explanation struct {
	At       Instant // of the explanation: Presence is what is composed then
	Presence Presence
	Because  string // one sentence
	Sessions []ExplainedSession
	Claims   []ExplainedClaim // those that could win first
	Note     Note             // the user's own, if live
	Next     []Step           // at most MaxSteps, in order
}

// An ExplainedSession is a session and its part.
type ExplainedSession struct {
	Session
	Active bool
	Why    string
}

// An ExplainedClaim is a claim and its part.
type ExplainedClaim struct {
	Claim
	Row     int // of the table of precedence, 1 to 5
	Live    bool
	Counts  bool // live, and not silenced
	Decides bool // it is the one that wins
	Why     string
}

// A Step is a change that comes by itself if nothing else happens.
type Step struct {
	At     Instant
	Status Status
	Note   string
	Why    string
}

// MaxSteps bounds how far an explanation looks ahead.
const MaxSteps = 8

// Explain says why s shows what it shows at now.
func Explain(s *State, now Instant) Explanation {
	p, v := compose(s, now)
	x := Explanation{At: now, Presence: p, Because: because(s, &v)}
	if s.Note.live(now) {
		x.Note = s.Note
	}
	for i := range s.Sessions {
		if s.Sessions[i].Live(now) {
			x.Sessions = append(x.Sessions, explainSession(&s.Sessions[i], now))
		}
	}
	x.Claims = explainClaims(s, &v, now)
	x.Next = steps(s, v, p, now)
	return x
}

func clock(i Instant) string { return i.Time().Format("2006-01-02T15:04:05.000Z") }

func because(s *State, v *snapshot) string {
	switch {
	case s.UserState == UserDeactivated:
		return "The user is deactivated, so no claim applies."
	case s.UserState == UserDeleted:
		return "The user is deleted."
	case v.winner != nil && !v.live:
		return fmt.Sprintf("The user is not signed in, so only out_of_office claims apply: %s wins.", v.winner.named())
	case v.winner != nil:
		return fmt.Sprintf("%s wins by rule %d of the precedence table.",
			upperFirst(v.winner.named()), v.winner.rank().row())
	case !v.live:
		return "The user is not signed in, and there is no out_of_office claim."
	case v.active:
		return "No claim applies, and a session is active."
	default:
		return "No claim applies, and every session is idle."
	}
}

func (c *Claim) named() string {
	if c.Source == Manual {
		return fmt.Sprintf("the manual claim %s", c.Status)
	}
	return fmt.Sprintf("the claim %q (%s from %s)", c.ID, c.Status, c.Source)
}

func upperFirst(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func explainSession(session *Session, now Instant) ExplainedSession {
	x := ExplainedSession{Session: *session, Active: session.ActiveAt(now)}
	switch {
	case session.Held() && x.Active:
		x.Why = "active; lasts as long as its connection"
	case session.Held():
		x.Why = fmt.Sprintf("idle since %s; lasts as long as its connection", clock(session.IdleAt))
	case !x.Active:
		x.Why = fmt.Sprintf("idle since %s; expires at %s unless it is renewed", clock(session.IdleAt), clock(session.EndsAt))
	case session.IdleAt == 0:
		x.Why = fmt.Sprintf("active; expires at %s unless it is renewed", clock(session.EndsAt))
	default:
		x.Why = fmt.Sprintf("active; becomes idle at %s unless there is activity; expires at %s unless it is renewed", clock(session.IdleAt), clock(session.EndsAt))
	}
	return x
}

func explainClaims(s *State, v *snapshot, now Instant) []ExplainedClaim {
	var all []ExplainedClaim
	for i := range s.Claims {
		c := &s.Claims[i]
		if c.ended(now) {
			continue
		}
		r := c.rank()
		x := ExplainedClaim{Claim: *c, Row: r.row(), Live: c.live(now), Decides: c == v.winner}
		x.Counts = s.UserState == UserActive && x.Live && c.counts(r, s, v.live)
		x.Why = whyClaim(s, v, c, &x)
		all = append(all, x)
	}
	sortClaims(all)
	return all
}

func whyClaim(s *State, v *snapshot, c *Claim, x *ExplainedClaim) string {
	switch {
	case x.Decides && c.Status.meeting() && !c.Until.IsZero():
		return fmt.Sprintf("wins; expires at %s unless it is renewed", clock(c.Until))
	case x.Decides:
		return "wins"
	case s.UserState != UserActive:
		return "does not apply: the user is not active"
	case !x.Live:
		return "begins at " + clock(c.Since)
	case !v.live && c.Status != OutOfOffice:
		return "does not apply while the user is signed out"
	case !x.Counts:
		return fmt.Sprintf("does not apply: the user set available at %s, after the claim began", clock(s.AvailableAt))
	case c.rank() == v.winner.rank() && c.Since == v.winner.Since:
		return fmt.Sprintf("loses to %q: same rule and since; the greater id wins", v.winner.ID)
	case c.rank() == v.winner.rank():
		return fmt.Sprintf("loses to %q: same rule; the later since wins", v.winner.ID)
	case c.rank().row() == v.winner.rank().row():
		return fmt.Sprintf("loses to %q: rule 2 ranks presenting before in_meeting, and in_meeting before on_call", v.winner.ID)
	default:
		return fmt.Sprintf("loses to %q by rule %d", v.winner.ID, v.winner.rank().row())
	}
}

// sortClaims puts those that count first, then by precedence.
func sortClaims(all []ExplainedClaim) {
	before := func(a, b *ExplainedClaim) bool {
		if a.Counts != b.Counts {
			return a.Counts
		}
		return beats(&a.Claim, a.Claim.rank(), &b.Claim, b.Claim.rank())
	}
	slices.SortStableFunc(all, func(a, b ExplainedClaim) int {
		switch {
		case before(&a, &b):
			return -1
		case before(&b, &a):
			return 1
		default:
			return 0
		}
	})
}

// StepsWhileConnected are the steps that follow if the clients of all live sessions stay
// connected and renew them.
func StepsWhileConnected(s *State, now Instant) []Step {
	kept := *s
	kept.Sessions = slices.Clone(s.Sessions)
	for i := range kept.Sessions {
		if kept.Sessions[i].Live(now) {
			kept.Sessions[i].EndsAt = forever
		}
	}
	p, v := compose(&kept, now)
	return steps(&kept, v, p, now)
}

// steps are the changes of status or note that come by themselves.
func steps(s *State, v snapshot, p Presence, now Instant) []Step {
	var all []Step
	for t := nextChange(s, v, &p, now); t != 0 && t != forever && len(all) < MaxSteps; t = nextChange(s, v, &p, t) {
		before, wasLive, winner := p, v.live, v.winner
		p, v = compose(s, t)
		if p.Status == before.Status && p.Note == before.Note {
			continue
		}
		all = append(all, Step{At: t, Status: p.Status, Note: p.Note, Why: whyStep(s, &v, winner, wasLive, t)})
	}
	return all
}

func whyStep(s *State, v *snapshot, before *Claim, wasLive bool, t Instant) string {
	switch {
	case wasLive && !v.live:
		return "the last session expires unless it is renewed"
	case before != nil && before.ended(t):
		return before.named() + " expires"
	case v.winner != before:
		return v.winner.named() + " begins"
	case s.Note.Until == t:
		return "the note expires"
	default:
		return "the sessions become idle unless there is activity"
	}
}
