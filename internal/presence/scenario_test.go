package presence_test

import (
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// TestScenarios plays the documented scenarios.
func TestScenarios(t *testing.T) {
	for _, row := range []struct {
		name string
		play func(*script)
	}{
		{"PUT Available, calendar event running, idle: away; the event stays hidden until one with a later since", func(s *script) {
			s.signIn()
			s.must(claim("event", Calendar, InCalendarEvent, 3*time.Hour))
			s.advance(20 * time.Minute)
			s.want(InCalendarEvent)
			s.must(put(Available))
			s.want(Away)
			s.advance(time.Minute)
			s.must(claim("event", Calendar, InCalendarEvent, 3*time.Hour)) // a repeat
			s.want(Away)
			s.must(claim("next", Calendar, InCalendarEvent, time.Hour))
			s.want(InCalendarEvent)
		}},
		{"PUT Available in a meeting: accepted, still in_meeting", func(s *script) {
			s.signIn()
			s.must(claim("zoom-1", Meeting, InMeeting))
			s.must(put(Available))
			s.want(InMeeting)
		}},
		{"DND 20, after 2 min DND 60, sign-out, restart, sign-in at minute 30: offline, then DND with 32 min left", func(s *script) {
			s.signIn()
			s.must(put(DoNotDisturb, 20*time.Minute))
			s.advance(2 * time.Minute)
			s.must(put(DoNotDisturb, 60*time.Minute))
			s.advance(3 * time.Minute)
			s.must(SignOut{Session: "desk"})
			s.want(Offline)
			s.advance(10 * time.Minute)
			s.policy.Ready = s.now // a restart
			s.advance(15 * time.Minute)
			s.want(Offline)
			s.must(signIn("desk-2"))
			p := s.want(DoNotDisturb)
			if left := p.Until.Sub(s.now); left != 32*time.Minute {
				s.Errorf("%v left, want 32m", left)
			}
		}},
		{"Busy, then DND 20 ends: what the devices say", func(s *script) {
			s.signIn()
			s.must(put(Busy))
			s.advance(time.Minute)
			s.must(put(DoNotDisturb))
			s.activeFor(20 * time.Minute)
			s.want(Available)
		}},
		{"PUT Away while typing; later idle, then typing: away, then available", func(s *script) {
			s.signIn()
			s.must(put(Away))
			s.activeFor(30 * time.Minute)
			s.want(Away)
			s.advance(16 * time.Minute) // idle
			s.want(Away)
			s.must(Refresh{Session: "desk", Activity: ActivityActive})
			s.want(Available)
		}},
		{"a sign-out and sign-in ends a manual away", func(s *script) {
			s.signIn()
			s.must(put(Away))
			s.must(SignOut{Session: "desk"})
			s.must(signIn("desk"))
			s.want(Available)
		}},
		{"PUT In_A_Zoom_Meeting: in_meeting of row 3, 24 h", func(s *script) {
			s.signIn()
			s.must(put(InMeeting))
			p := s.want(InMeeting)
			if p.Until != s.now.Add(24*time.Hour) {
				s.Errorf("until %v", p.Until.Time())
			}
			s.must(claim("call", Call, OnCall)) // rule 2 takes precedence
			s.want(OnCall)
		}},
		{"manual Busy, a meeting begins and ends: in_meeting, then busy", func(s *script) {
			s.signIn()
			s.must(put(Busy))
			s.must(claim("zoom-1", Meeting, InMeeting))
			s.want(InMeeting)
			s.must(EndClaim{ID: "zoom-1"})
			s.want(Busy)
		}},
		{"a meeting ends under DND: nothing to tell", func(s *script) {
			s.signIn()
			s.must(claim("zoom-1", Meeting, InMeeting))
			s.must(put(DoNotDisturb))
			before := s.want(DoNotDisturb)
			s.advance(time.Minute)
			s.must(EndClaim{ID: "zoom-1"})
			if after := s.want(DoNotDisturb); after != before {
				s.Errorf("%+v became %+v", before, after)
			}
		}},
		{"DND ends while offline: nothing to tell", func(s *script) {
			s.signIn()
			s.must(put(DoNotDisturb))
			s.must(SignOut{Session: "desk"})
			before := s.want(Offline)
			ticks := s.expiries
			s.advance(time.Hour)
			if s.expiries != ticks || s.want(Offline) != before {
				s.Errorf("%d expiries were published", s.expiries-ticks)
			}
			s.must(signIn("desk"))
			s.want(Available)
		}},
		{"out_of_office while signed out, PUT Available: refused; the native end of the claim works", func(s *script) {
			s.must(manual(OutOfOffice))
			s.want(OutOfOffice)
			s.wantError(put(Available), ErrSignedOut)
			s.must(EndClaim{ID: ManualClaim})
			s.want(Offline)
		}},
		{"manual Busy and calendar out_of_office, signed out: out_of_office", func(s *script) {
			s.must(manual(Busy))
			s.want(Offline)
			s.must(claim("holiday", Calendar, OutOfOffice))
			s.want(OutOfOffice)
		}},
		{"an old and a new Zoom client: the new one's rule", func(s *script) {
			s.must(SignIn{Session: "old", Client: Mobile, Version: "5.2.9", Lease: MaxLease})
			s.wantError(put(Busy), ErrTransition)
			s.must(SignIn{Session: "new", Client: Desktop, Version: "5.17.11 (34827)", Lease: MaxLease})
			s.must(put(Busy))
		}},
		{"DND 1 min, PUT at exactly 60 s: DND is over, the minute is free", func(s *script) {
			s.signIn()
			s.must(put(DoNotDisturb, time.Minute))
			s.now = s.now.Add(time.Minute) // the expiry is not published yet
			s.must(put(Away))
			p := s.want(Away)
			if p.Since != s.now {
				s.Errorf("since %v", p.Since.Time())
			}
		}},
		{"an invisible user, an administrator's PUT: real sessions count", func(s *script) {
			s.signIn()
			s.must(put(Busy))
			rules := &VisibilityRules{Everyone: VisibilityRule{Visibility: VisibilityOffline, Since: noon, Revision: 1}}
			if seen := View(RecordedOf(s.state).Shown, rules, Watcher{User: "w"}); seen.Status != Offline {
				s.Errorf("a watcher sees %v", seen.Status)
			}
		}},
		{"only mobile or pad sessions live, status available: handheld", func(s *script) {
			s.must(SignIn{Session: "m", Client: Mobile, Lease: MaxLease})
			s.must(SignIn{Session: "p", Client: Pad, Lease: MaxLease})
			if p := s.want(Available); !p.Handheld {
				s.Error("not handheld")
			}
			s.signIn()
			if p := s.want(Available); p.Handheld {
				s.Error("handheld beside a desktop")
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) { row.play(newScript(t)) })
	}
}

// TestPrecedence checks every pair of rules of the precedence table, and the order
// within a rule.
func TestPrecedence(t *testing.T) {
	// In descending precedence.
	order := []SetClaim{
		manual(DoNotDisturb, time.Hour),
		claim("p", App, Presenting),
		claim("m", Meeting, InMeeting),
		claim("c", Call, OnCall),
		manual(Busy),
		claim("s", Schedule, Away),
		claim("e", Calendar, InCalendarEvent),
	}
	for i, strong := range order {
		for _, weak := range order[i+1:] {
			if strong.ID == weak.ID {
				continue
			}
			for _, pair := range [][2]SetClaim{{strong, weak}, {weak, strong}} {
				s := newScript(t)
				s.signIn()
				s.must(pair[0])
				s.advance(time.Second)
				s.must(pair[1])
				s.want(strong.Status)
			}
		}
	}
}

func TestPrecedenceWithinRule(t *testing.T) {
	for _, row := range []struct {
		name string
		play func(*script)
	}{
		{"manual in_meeting is row 3, not 2", func(s *script) {
			s.must(claim("c", Call, OnCall))
			s.must(manual(InMeeting))
			s.want(OnCall)
		}},
		{"row 1 has out_of_office too", func(s *script) {
			s.must(claim("p", App, Presenting))
			s.must(manual(OutOfOffice))
			s.want(OutOfOffice)
		}},
		{"do_not_disturb of another source is row 4: below manual, above a calendar event", func(s *script) {
			s.must(claim("focus", App, DoNotDisturb))
			s.advance(time.Second)
			s.must(claim("e", Calendar, InCalendarEvent))
			s.want(DoNotDisturb)
			s.must(manual(Away))
			s.want(Away)
		}},
		{"in a row the later since wins", func(s *script) {
			s.must(claim("b", Calendar, InCalendarEvent))
			s.advance(time.Second)
			s.must(claim("a", App, Busy))
			s.want(Busy)
		}},
		{"with one since the greater id wins", func(s *script) {
			s.must(claim("b", Calendar, InCalendarEvent))
			s.must(claim("a", App, Busy))
			s.want(InCalendarEvent)
		}},
		{"repeating an id with the same status keeps since, so it does not jump ahead", func(s *script) {
			s.must(claim("a", App, Busy))
			s.advance(time.Second)
			s.must(claim("b", Calendar, InCalendarEvent))
			s.advance(time.Second)
			s.must(claim("a", App, Busy))
			s.want(InCalendarEvent)
			s.must(claim("a", App, Away))
			s.want(Away)
		}},
		{"manual available does not lift a call, nor an event that begins later", func(s *script) {
			e := claim("later", Calendar, InCalendarEvent)
			e.Since, e.Until = s.now.Add(time.Hour), s.now.Add(2*time.Hour)
			s.must(e)
			s.must(claim("c", Call, OnCall))
			s.must(manual(Available))
			s.want(OnCall)
			s.must(EndClaim{ID: "c"})
			if p := s.want(Available); p.Until != e.Since {
				s.Errorf("until %v, want the start of the event", p.Until.Time())
			}
			s.activeFor(time.Hour)
			s.want(InCalendarEvent)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			s.signIn()
			row.play(s)
		})
	}
}

func TestDefaultExpiries(t *testing.T) {
	day := 24 * time.Hour
	for _, row := range []struct {
		claim SetClaim
		lasts time.Duration // 0: no expiry
	}{
		{manual(DoNotDisturb), 20 * time.Minute},
		{manual(DoNotDisturb, time.Minute), time.Minute},
		{manual(DoNotDisturb, day), day},
		{manual(Busy), day},
		{manual(InMeeting), day},
		{manual(Presenting), day},
		{manual(OnCall), day},
		{manual(InCalendarEvent), day},
		{manual(Busy, 48*time.Hour), 48 * time.Hour},
		{manual(Away), 0},
		{manual(OutOfOffice), 0},
		{manual(OutOfOffice, time.Hour), time.Hour},
		{claim("x", App, DoNotDisturb), 20 * time.Minute},
		{claim("x", Meeting, InMeeting), day},
		{claim("x", Meeting, InMeeting, 48*time.Hour), 48 * time.Hour},
		{claim("x", App, Busy), 0},
	} {
		s := newScript(t)
		s.signIn()
		s.must(row.claim)
		var want Instant
		if row.lasts != 0 {
			want = s.now.Add(row.lasts)
		}
		if p := s.want(row.claim.Status); p.Until != want {
			t.Errorf("%v %v: until %v, want %v", row.claim.Source, row.claim.Status, p.Until.Time(), want.Time())
		}
	}
}

func TestSessions(t *testing.T) {
	s := newScript(t)
	s.want(Offline)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: MinLease})
	s.want(Available)
	s.advance(29 * time.Second)
	s.must(Refresh{Session: "a"})
	s.advance(29 * time.Second)
	s.want(Available)
	s.advance(time.Second)
	if p := s.want(Offline); p.Since != s.now {
		t.Errorf("offline since %v, want the expiry of the lease", p.Since.Time())
	}
	s.wantError(Refresh{Session: "a"}, ErrUnknownSession)
	s.wantError(SignOut{Session: "a"}, ErrUnknownSession)

	s.signIn()
	s.advance(15 * time.Minute)
	s.want(Away)
	s.must(Refresh{Session: "desk"}) // no activity
	s.want(Away)
	s.must(Refresh{Session: "desk", Activity: ActivityActive})
	s.want(Available)
	s.must(Refresh{Session: "desk", Activity: ActivityIdle})
	s.want(Away)
	s.must(signIn("second"))
	s.want(Available) // one active session is enough
}

// TestRestartGivesSessionsTheirLease: after a restart no session becomes idle or
// expires before the server has been up for the session's lease, and then it does.
func TestRestartGivesSessionsTheirLease(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Lease: 2 * time.Minute})
	s.now = s.now.Add(24 * time.Hour) // the server was down
	s.policy.Ready = s.now
	s.must(Tick{}) // evaluates what is overdue
	s.want(Available)
	s.advance(2*time.Minute - time.Microsecond)
	s.want(Available)
	s.advance(time.Microsecond)
	s.want(Offline)

	s.signIn()
	s.must(Refresh{Session: "desk", Activity: ActivityIdle})
	s.now = s.now.Add(time.Hour)
	s.policy.Ready = s.now
	s.must(Tick{})
	s.want(Away) // recorded as idle: stays idle
}

func TestDamping(t *testing.T) {
	s := newScript(t)
	s.policy.Damping = time.Second
	s.signIn() // a first change is immediate
	s.now = s.now.Add(300 * time.Millisecond)
	var damped *DampedError
	err := s.apply(Refresh{Session: "desk", Activity: ActivityIdle})
	if !isDamped(err, &damped) || damped.Until != noon.Add(time.Second) {
		t.Fatalf("got %v", err)
	}
	s.must(put(Busy)) // not a session event
	s.want(Busy)
	s.must(Refresh{Session: "desk", Activity: ActivityIdle}) // not visible under busy
	s.must(put2(s, Available))
	s.want(Away)
	s.now = noon.Add(time.Second)
	s.must(Refresh{Session: "desk", Activity: ActivityActive})
	s.want(Available)
}

// TestDampingOfEventsTogether: a change is damped if only session events cause it,
// alone or in one commit with others.
func TestDampingOfEventsTogether(t *testing.T) {
	idle, active := Refresh{Session: "desk", Activity: ActivityIdle}, Refresh{Session: "desk", Activity: ActivityActive}
	for _, row := range []struct {
		name   string
		events []Event
		damped bool
	}{
		{"sessions", []Event{Tick{}, idle}, true},
		{"sessions that end where they began", []Event{idle, active}, false},
		{"a claim with sessions", []Event{Tick{}, idle, manual(Busy)}, false},
		{"the other way round", []Event{manual(Busy), idle}, false},
		{"a refused claim with sessions", []Event{EndClaim{ID: "none"}, idle}, true},
		{"a note with sessions", []Event{idle, SetNote{Text: "n"}}, false},
	} {
		s := newScript(t)
		s.policy.Damping = time.Second
		s.signIn()
		s.now = s.now.Add(300 * time.Millisecond)
		_, _, err := applyEach(s.state, row.events, s.policy, s.now)
		var damped *DampedError
		if isDamped(err, &damped) != row.damped || (!row.damped && err != nil) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func put2(s *script, status Status) SetClaim {
	s.state.UpdatedAt = 0
	return put(status)
}
