package check

import "time"

// An Ack is an answer that promised that a session lives until then.
type Ack struct{ At, Until time.Time }

// A Session is what clients know of one session, and when the log says that it ended.
type Session struct {
	User, ID string
	Acks     []Ack         // in the order of their answers
	Lease    time.Duration // of a session without connection
	Bound    []Span        // when a connection to a node that lived was open
	Lost     time.Time     // when the last connection was lost with its node, or by a cut; zero: never
	SignedOut,
	Ended time.Time // in the log; zero: not yet
}

// Limits are how far from the promised instant a session may end.
type Limits struct {
	Early     time.Duration // because of clocks that differ
	Late      time.Duration // beside two thirds of the lease: the delay of expiries, and slow machines
	AfterLoss time.Duration // the time until a lost node's sessions have ended, and the clocks
	Seen      time.Time     // until when the log was read
}

// Sessions checks when each session ended: not before an instant that was acknowledged, not
// while a connection to a live node held it, and not much later.
func Sessions(all []Session, l Limits) (found []string) {
	var p problems
	for i := range all {
		s := &all[i]
		if !s.SignedOut.IsZero() {
			continue
		}
		p.early(s, l)
		p.late(s, l)
	}
	return p
}

func (p *problems) early(s *Session, l Limits) {
	if s.Ended.IsZero() {
		return
	}
	for _, a := range s.Acks {
		if a.At.Before(s.Ended) && s.Ended.Before(a.Until.Add(-l.Early)) {
			p.add("%s: session %s ended %v before the end that was acknowledged", s.User, s.ID, a.Until.Sub(s.Ended))
			return
		}
	}
	for _, b := range s.Bound {
		if s.Ended.After(b.From.Add(l.Early)) && s.Ended.Before(b.To.Add(-l.Early)) {
			p.add("%s: session %s ended while a connection held it, %v before that was lost", s.User, s.ID, b.To.Sub(s.Ended))
			return
		}
	}
}

func (p *problems) late(s *Session, l Limits) {
	var due time.Time
	if n := len(s.Acks); n > 0 {
		due = s.Acks[n-1].Until.Add(s.Lease*2/3 + l.Late)
	}
	if !s.Lost.IsZero() {
		due = s.Lost.Add(l.AfterLoss)
	}
	ended := s.Ended
	if ended.IsZero() {
		ended = l.Seen
	}
	if !due.IsZero() && ended.After(due) {
		p.add("%s: session %s lived on for %v after its latest end", s.User, s.ID, ended.Sub(due))
	}
}

// A Loss is how often all sessions of a user were lost, so that the user must have been
// shown offline.
type Loss struct {
	User  string
	Times int
}

// Offlines checks that the log shows each user offline once for each loss, and no other
// time.
func Offlines(entries []Entry, losses []Loss) (found []string) {
	var p problems
	_, groups := byUser(entries, func(e *Entry) string { return e.User })
	for _, loss := range losses {
		times := 0
		before := ""
		for _, e := range groups[loss.User] {
			if e.Status == Offline && before != "" && before != Offline {
				times++
			}
			before = e.Status
		}
		if times != loss.Times {
			p.add("%s: %d times offline, want %d", loss.User, times, loss.Times)
		}
	}
	return p
}
