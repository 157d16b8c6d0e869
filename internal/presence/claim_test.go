package presence_test

import (
	"errors"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// TestClaims: the rules of claims that the scenarios do not cover.
func TestClaims(t *testing.T) {
	for _, row := range []struct {
		name string
		play func(*script)
	}{
		{"out_of_office of another source is row 4: above a calendar event", func(s *script) {
			s.must(claim("holiday", App, OutOfOffice))
			s.advance(time.Second)
			s.must(claim("e", Calendar, InCalendarEvent))
			s.want(OutOfOffice)
		}},
		{"and not above row 4: a schedule that began later wins", func(s *script) {
			s.must(claim("holiday", App, OutOfOffice))
			s.advance(time.Second)
			s.must(claim("shift", Schedule, Busy))
			s.want(Busy)
		}},
		{"in_meeting of source schedule is row 2, not 4", func(s *script) {
			s.must(claim("shift", Schedule, InMeeting))
			s.must(manual(Busy))
			s.want(InMeeting)
			s.must(manual(Available))
			s.want(InMeeting)
		}},
		{"manual available remembers its instant with nothing to remove", func(s *script) {
			chosen := s.now
			s.must(manual(Available))
			s.advance(time.Minute)
			for _, e := range []struct {
				since Instant
				want  Status
			}{
				{chosen.Add(-time.Hour), Available},
				{chosen, Available}, // since ≤ its instant
				{chosen + 1, InCalendarEvent},
			} {
				event := claim("event", Calendar, InCalendarEvent)
				event.Since = e.since
				s.must(event)
				s.want(e.want)
			}
		}},
		{"until passes over a successor of the same status", func(s *script) {
			s.must(claim("first", App, Busy, time.Hour))
			s.must(claim("after", Calendar, Busy, 2*time.Hour))
			if p := s.want(Busy); p.Until != noon.Add(2*time.Hour) {
				s.Errorf("until %v", p.Until.Time())
			}
		}},
		{"until passes over a claim that ends while the devices show the same", func(s *script) {
			s.must(Refresh{Session: "desk", Activity: ActivityIdle})
			s.must(claim("lunch", App, Away, time.Hour))
			s.must(claim("event", Calendar, InCalendarEvent, time.Hour))
			s.must(EndClaim{ID: "event"})
			if p := s.want(Away); p.Until != 0 {
				s.Errorf("until %v", p.Until.Time())
			}
		}},
		{"until passes over a claim that begins while the devices show the same", func(s *script) {
			s.must(Refresh{Session: "desk", Activity: ActivityIdle})
			lunch := claim("lunch", App, Away)
			lunch.Since, lunch.Until = noon.Add(time.Hour), noon.Add(2*time.Hour)
			s.must(lunch)
			if p := s.want(Away); p.Until != 0 {
				s.Errorf("until %v, before the claim begins", p.Until.Time())
			}
			event := claim("event", Calendar, InCalendarEvent)
			event.Since = noon.Add(90 * time.Minute)
			s.must(event)
			if p := s.want(Away); p.Until != event.Since {
				s.Errorf("until %v, not the begin of the event", p.Until.Time())
			}
		}},
		{"until sees a claim end over devices that show something else", func(s *script) {
			s.must(claim("lunch", App, Away, time.Hour))
			if p := s.want(Away); p.Until != noon.Add(time.Hour) {
				s.Errorf("until %v", p.Until.Time())
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			s.signIn()
			row.play(s)
		})
	}
}

// TestDoNotDisturbIsBounded: do-not-disturb lasts from 1 to 1440 minutes, for every
// source and every way of stating the expiry. The error names the field that was used.
func TestDoNotDisturbIsBounded(t *testing.T) {
	const most = 1440 * time.Minute
	for _, row := range []struct {
		name  string
		since time.Duration
		until time.Duration // 0: by lasts
		lasts time.Duration
		field string // of the error; "": accepted
	}{
		{name: "30 s", lasts: 30 * time.Second, field: "duration_seconds"},
		{name: "59 s", lasts: 59 * time.Second, field: "duration_seconds"},
		{name: "a minute", lasts: time.Minute},
		{name: "a day", lasts: most},
		{name: "more than a day", lasts: most + time.Second, field: "duration_seconds"},
		{name: "until in 30 s", until: 30 * time.Second, field: "until"},
		{name: "until in a minute", until: time.Minute},
		{name: "until tomorrow", until: most},
		{name: "until after tomorrow", until: most + time.Second, field: "until"},
		{name: "30 s, an hour from now", since: time.Hour, until: time.Hour + 30*time.Second, field: "until"},
		{name: "30 s, an hour from now, as a duration", since: time.Hour, lasts: time.Hour + 30*time.Second, field: "duration_seconds"},
		{name: "a day, an hour from now", since: time.Hour, until: time.Hour + most},
		{name: "30 s more, of what began long ago", since: -time.Hour, until: 30 * time.Second, field: "until"},
	} {
		for _, e := range []SetClaim{manual(DoNotDisturb), claim("focus", App, DoNotDisturb)} {
			s := newScript(t)
			if row.since != 0 {
				e.Since = noon.Add(row.since)
			}
			if row.until != 0 {
				e.Until = noon.Add(row.until)
			}
			e.Lasts = row.lasts
			err := s.apply(e)
			field, _ := errors.AsType[*FieldError](err)
			if (err == nil) != (row.field == "") || (field != nil && field.Field != row.field) {
				t.Errorf("%s, source %s: %v, want an error of %q", row.name, e.Source, err, row.field)
			}
		}
	}
}

// TestOutOfOfficeWhileSignedOut: an out_of_office claim of any source shows for a
// signed-out user, and no other claim does. Manual available overrides it, as it does
// beside a session.
func TestOutOfOfficeWhileSignedOut(t *testing.T) {
	for _, row := range []struct {
		source   Source
		silenced bool // by manual available
	}{
		{App, true},
		{Schedule, true},
		{Calendar, true},
		{Meeting, true},
		{Manual, false}, // made after it
	} {
		id := ClaimID("away")
		if row.source == Manual {
			id = ManualClaim
		}
		s := newScript(t)
		s.must(claim(id, row.source, Busy))
		s.want(Offline)
		e := claim(id, row.source, OutOfOffice)
		e.Since = noon.Add(-time.Hour)
		s.must(e)
		if p := s.want(OutOfOffice); p.Handheld {
			t.Errorf("%v: handheld without a session", row.source)
		}
		s.must(manual(Available))
		if row.source == Manual {
			s.must(e) // rule 1 is never overridden
		}
		if p := RecordedOf(s.state).Shown; (p.Status == Offline) != row.silenced {
			t.Errorf("%v: %v after manual available", row.source, p.Status)
		}
	}
}

// TestDefaultExpiryCountsFromStart: a default expiry counts from since if since is in
// the future, otherwise from now.
func TestDefaultExpiryCountsFromStart(t *testing.T) {
	for _, row := range []struct {
		claim SetClaim
		since time.Duration
		until time.Duration
	}{
		{manual(DoNotDisturb), time.Hour, 80 * time.Minute},
		{manual(DoNotDisturb), -time.Hour, 20 * time.Minute},
		{claim("focus", App, DoNotDisturb), time.Hour, 80 * time.Minute},
		{claim("focus", App, DoNotDisturb), -time.Hour, 20 * time.Minute},
		{manual(Busy), time.Hour, 25 * time.Hour},
		{manual(Busy), -48 * time.Hour, 24 * time.Hour},
	} {
		s := newScript(t)
		row.claim.Since = noon.Add(row.since)
		s.must(row.claim)
		if got := s.state.Claims[0].Until; got != noon.Add(row.until) {
			t.Errorf("%v %v since %v: until %v", row.claim.Source, row.claim.Status, row.since, got.Time())
		}
	}
}

func TestFarthestUntil(t *testing.T) {
	year := 366 * 24 * time.Hour
	for _, row := range []struct {
		until Instant
		ok    bool
	}{
		{noon.Add(year), true},
		{noon.Add(year) + 1, false},
	} {
		busy := claim("x", App, Busy)
		busy.Until = row.until
		for _, e := range []Event{busy, SetNote{Text: "on leave", Until: row.until}} {
			s := newScript(t)
			var field *FieldError
			err := s.apply(e)
			if row.ok != (err == nil) || (!row.ok && (!errors.As(err, &field) || field.Field != "until")) {
				t.Errorf("%T until %v: %v", e, row.until.Time(), err)
			}
		}
	}
}

// TestExpiredNoteIsDropped: an expired note is removed from the record, so removing
// it is no change.
func TestExpiredNoteIsDropped(t *testing.T) {
	s := newScript(t)
	s.must(SetNote{Text: "lunch", Until: noon.Add(time.Hour)})
	s.advance(time.Hour)
	s.wantError(SetNote{}, ErrNoChange)
}

func TestNoNoteOfDeactivatedUser(t *testing.T) {
	s := newScript(t)
	holiday := manual(OutOfOffice)
	holiday.Note = "at the sea"
	s.must(holiday)
	s.must(SetNote{Text: "own"})
	s.must(SetUserState{State: UserDeactivated})
	if p := s.want(Offline); p.Note != "" {
		t.Errorf("note %q", p.Note)
	}
}

// TestMeetingsExpire: a meeting or a call of any source expires, even if its app never
// ends it, and repeating the claim renews it.
func TestMeetingsExpire(t *testing.T) {
	for _, status := range []Status{InMeeting, Presenting, OnCall} {
		for _, source := range []Source{Meeting, Call, Calendar, Schedule, App, "bot"} {
			s := newScript(t)
			s.signIn()
			s.must(claim("m", source, status))
			if p := s.want(status); p.Until != noon.Add(24*time.Hour) {
				t.Errorf("%s, source %s: until %v", status, source, p.Until.Time())
			}
			s.activeFor(23 * time.Hour)
			s.must(claim("m", source, status)) // repeats the claim
			if p := s.want(status); p.Since != noon || p.Until != s.now.Add(24*time.Hour) {
				t.Errorf("renewed: %+v", p)
			}
			x := Explain(&s.state, s.now)
			if want := "wins; expires at 2026-11-24T11:00:00.000Z unless it is renewed"; x.Claims[0].Why != want {
				t.Errorf("explained as %q, want %q", x.Claims[0].Why, want)
			}
			s.activeFor(24 * time.Hour)
			s.want(Available)
		}
	}
	s := newScript(t)
	s.policy.MeetingTimeout = time.Hour
	s.must(manual(OnCall))
	s.must(claim("own", Meeting, InMeeting, 30*time.Hour)) // a stated expiry stays
	s.must(claim("event", Calendar, InCalendarEvent))      // others have none
	for _, c := range s.state.Claims {
		if want := map[ClaimID]Instant{ManualClaim: noon.Add(time.Hour), "own": noon.Add(30 * time.Hour)}[c.ID]; c.Until != want {
			t.Errorf("%s: until %v", c.ID, c.Until.Time())
		}
	}
}

// TestMeetingsOnRecordGetAnExpiry: meetings that an earlier version recorded without an
// expiry get one with the next commit, and cause no commit.
func TestMeetingsOnRecordGetAnExpiry(t *testing.T) {
	s := newScript(t)
	s.policy.MeetingTimeout = 0
	s.signIn()
	s.must(claim("call", Call, OnCall))
	later := claim("later", Meeting, InMeeting)
	later.Since = noon.Add(100 * time.Hour)
	s.must(later)
	s.must(claim("event", Calendar, InCalendarEvent))
	s.activeFor(48 * time.Hour)
	shown := s.want(OnCall)

	s.policy.MeetingTimeout = 24 * time.Hour
	s.wantError(Tick{}, ErrNoChange)
	before := clone(s.state)
	s.must(put(Available))
	p := s.want(OnCall)
	if p.Until != s.now.Add(24*time.Hour) || p.Revision != s.state.Revision || p.Since != shown.Since {
		t.Errorf("%+v", p)
	}
	for _, c := range s.state.Claims {
		if want := map[ClaimID]Instant{"call": s.now.Add(24 * time.Hour), "later": noon.Add(124 * time.Hour)}[c.ID]; c.Until != want {
			t.Errorf("%s: until %v", c.ID, c.Until.Time())
		}
	}
	if before.Claims[0].Until != 0 {
		t.Error("the previous state was modified")
	}
	end := s.now.Add(24 * time.Hour)
	s.activeFor(24 * time.Hour)
	if got := s.want(Available); got.Since != end {
		t.Errorf("%+v", got)
	}
}
