package presence_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

func isDamped(err error, to **DampedError) bool { return errors.As(err, to) }

func TestUpdateInterval(t *testing.T) {
	s := newScript(t)
	s.wantError(put(Busy), ErrSignedOut) // a refused update does not count
	s.signIn()
	s.must(put(Busy))
	for _, after := range []time.Duration{0, time.Microsecond, 59*time.Second + 999*time.Millisecond} {
		s.now = noon.Add(after)
		var soon *RateLimitedError
		if err := s.apply(put(Away)); !errors.As(err, &soon) || soon.RetryAfter != time.Minute-after {
			t.Errorf("after %v: %v", after, err)
		}
	}
	s.must(manual(Away)) // the native API has no interval
	s.now = noon.Add(time.Minute)
	s.must(put(Busy))

	// A clock that is set back neither blocks updates nor allows extra ones.
	var soon *RateLimitedError
	s.now = noon.Add(30 * time.Second)
	if err := s.apply(put(Away)); !errors.As(err, &soon) || soon.RetryAfter != time.Minute {
		t.Errorf("set back by half a minute: %v", err)
	}
	s.now = noon.Add(-time.Hour)
	s.must(put(Away))
	s.now = s.now.Add(59 * time.Second)
	if err := s.apply(put(Busy)); !errors.As(err, &soon) || soon.RetryAfter != time.Second {
		t.Errorf("within a minute of an update after the clock was set back: %v", err)
	}
	s.now = s.now.Add(time.Second)
	s.must(put(Busy))
	s.policy.MinInterval = 0
	s.must(put(Away))
}

func TestSignedInRuleOff(t *testing.T) {
	s := newScript(t)
	s.policy.SignedInRule = false
	s.must(put(OutOfOffice))
	s.want(OutOfOffice)
}

// oldClients allows clients older than 5.3.0 only the changes from away and available
// to do_not_disturb.
var oldClients = ClientVersionRule{Since: Version{5, 3, 0}, Allowed: []Transition{{Away, DoNotDisturb}, {Available, DoNotDisturb}}}

func TestClientVersionRule(t *testing.T) {
	for _, row := range []struct {
		version  string
		from, to Status
		ok       bool
	}{
		{"5.2.9", Available, DoNotDisturb, true},
		{"5.2.9", Away, DoNotDisturb, true},
		{"5.2", Available, Away, false},
		{"4.6.12 (20615.1020)", Available, Busy, false},
		{"5.2.9", Busy, DoNotDisturb, false},
		{"5.2.9", DoNotDisturb, DoNotDisturb, false},
		{"5.3.0", DoNotDisturb, Away, true},
		{"5.3.0", DoNotDisturb, Available, true},
		{"5.3.0", Available, Away, true},
		{"5.3.0", Away, Available, true},
		{"5.3", Available, DoNotDisturb, true},
		{"6.1.0", Available, Busy, true},
		{"10.0.0", Available, Busy, true},
		{"", Available, Busy, true},
		{"porch 1", Available, Busy, true},
	} {
		s := newScript(t)
		s.must(SignIn{Session: "z", Client: Desktop, Version: row.version, Lease: MaxLease})
		if row.from != Available {
			s.must(manual(row.from))
		}
		s.want(row.from)
		err := s.apply(put(row.to))
		if row.ok != (err == nil) || (!row.ok && !errors.Is(err, ErrTransition)) {
			t.Errorf("%q from %v to %v: %v", row.version, row.from, row.to, err)
		}
	}
	s := newScript(t)
	s.policy.ClientVersions = ClientVersionRule{}
	s.must(SignIn{Session: "z", Client: Desktop, Version: "5.2.9", Lease: MaxLease})
	s.must(put(Busy))
}

func keyed(e SetClaim, key, body byte) SetClaim {
	e.Key, e.Body = [16]byte{key}, [16]byte{body}
	return e
}

func TestIdempotencyKey(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(keyed(put(Busy), 1, 1))
	first := s.state.Revision
	s.advance(time.Second)
	s.must(manual(Away))
	var repeat *RepeatError
	if err := s.apply(keyed(put(Busy), 1, 1)); !errors.As(err, &repeat) || repeat.Answer.Revision != first {
		t.Fatalf("a repeat within the minute and after another change: %v", err)
	}
	s.wantError(keyed(put(Busy), 1, 2), ErrKeyReused)
	stale := keyed(put(Busy), 1, 1)
	stale.IfMatch = []Revision{7}
	if err := s.apply(stale); !errors.As(err, &repeat) {
		t.Errorf("a repeat takes precedence over If-Match: %v", err)
	}
	var soon *RateLimitedError
	if err := s.apply(keyed(put(Busy), 2, 1)); !errors.As(err, &soon) {
		t.Fatalf("%v", err)
	}
	s.advance(time.Minute)
	s.must(keyed(put(Busy), 2, 1)) // a refusal is not kept
	for key := byte(3); key < 3+MaxAnswersPerApp; key++ {
		s.must(keyed(manual(Busy), key, 1))
	}
	if len(s.state.Answers) != MaxAnswersPerApp {
		t.Errorf("%d answers kept", len(s.state.Answers))
	}
	s.must(keyed(manual(Busy), 1, 2)) // the oldest answers are evicted
	s.activeFor(24 * time.Hour)
	s.must(keyed(manual(Busy), 10, 9)) // yesterday's answers are expired
}

// TestExpiredAnswersDoNotCount: expired answers do not count against the limit, and a
// key has one answer.
func TestExpiredAnswersDoNotCount(t *testing.T) {
	s := newScript(t)
	for key := range byte(MaxAnswersPerApp) {
		s.must(keyed(manual(Busy), key+1, 1))
	}
	s.now = noon.Add(AnswersKeptFor)
	s.must(keyed(manual(Busy), 1, 2))
	if got := s.state.Answers; len(got) != 1 || got[0].Body != ([16]byte{2}) {
		t.Errorf("%+v", got)
	}
}

func TestIfMatch(t *testing.T) {
	s := newScript(t)
	s.signIn()
	e := put(Busy)
	e.IfMatch = []Revision{s.state.Revision - 1}
	s.wantError(e, ErrPrecondition)
	e.IfMatch = append(e.IfMatch, s.state.Revision+1)
	s.wantError(e, ErrPrecondition) // no revision of the list matches
	e.IfMatch = append(e.IfMatch, s.state.Revision)
	s.must(e)
}

// TestConditions: "*" refers to the event's target, and revisions are those of the
// record. An event that fails because its target does not exist fails under any "*".
func TestConditions(t *testing.T) {
	claim := func(id ClaimID) Event { return SetClaim{ID: id, Source: "app", Status: Busy} }
	is, isNot := []Revision{AnyRevision}, []Revision{1}
	for _, row := range []struct {
		name     string
		event    Event
		matched  error // If-Match: *
		noneThen error // If-None-Match: *
	}{
		{"claim that is there", claim("x"), nil, ErrPrecondition},
		{"claim to be made", claim("y"), ErrPrecondition, nil},
		{"claim that has ended", claim("over"), ErrPrecondition, nil},
		{"end of a claim", EndClaim{ID: "x"}, nil, ErrPrecondition},
		{"end of no claim", EndClaim{ID: "y"}, ErrUnknownClaim, ErrUnknownClaim},
		{"note", SetNote{Text: "other"}, nil, ErrPrecondition},
		{"session", SignOut{Session: "s"}, nil, ErrPrecondition},
		{"no session", SignOut{Session: "t"}, ErrUnknownSession, ErrUnknownSession},
		{"refresh", Refresh{Session: "s", Activity: ActivityIdle}, nil, ErrPrecondition},
		{"refresh of no session", Refresh{Session: "t"}, ErrUnknownSession, ErrUnknownSession},
		{"sign-in", SignIn{Session: "u", Client: Desktop}, nil, ErrPrecondition},
		{"update of the presence", put(Away), nil, ErrPrecondition},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			s.policy.MinInterval, s.policy.Damping = 0, 0
			s.must(SignIn{Session: "s", Client: Desktop})
			s.must(claim("x"))
			s.must(SetClaim{ID: "over", Source: "app", Status: Busy, Lasts: time.Minute})
			s.must(SetNote{Text: "note"})
			s.now = s.now.Add(time.Minute)
			now := []Revision{s.state.Revision}
			for _, c := range []struct {
				match, none []Revision
				want        error
			}{
				{is, nil, row.matched},
				{nil, is, row.noneThen},
				{isNot, nil, ErrPrecondition},
				{nil, now, ErrPrecondition},
				{now, is, row.noneThen}, // both are evaluated
				{isNot, isNot, ErrPrecondition},
			} {
				before := s.state
				err := s.apply(withConditions(row.event, c.match, c.none))
				if !errors.Is(err, c.want) {
					t.Errorf("If-Match %v, If-None-Match %v: %v, want %v", c.match, c.none, err, c.want)
				}
				s.state = before
			}
		})
	}
	s := newScript(t)
	s.wantError(withConditions(SetNote{Text: "note"}, is, nil), ErrPrecondition)
	s.must(withConditions(SetNote{Text: "note"}, nil, is))
	s.wantError(withConditions(SetNote{}, nil, is), ErrPrecondition)
	s.must(withConditions(SetNote{}, is, isNot))
}

// withConditions adds conditions to e.
func withConditions(e Event, match, none []Revision) Event {
	r := Request{IfMatch: match, IfNoneMatch: none}
	switch e := e.(type) {
	case SetClaim:
		r.Update = e.Update
		e.Request = r
		return e
	case EndClaim:
		e.Request = r
		return e
	case SetNote:
		e.Request = r
		return e
	case SignIn:
		e.Request = r
		return e
	case SignOut:
		e.Request = r
		return e
	case Refresh:
		e.Request = r
		return e
	default:
		panic(e)
	}
}

// TestOrderOfChecks: the documented order is repeat, If-Match, signed in, transition,
// update interval.
func TestOrderOfChecks(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "z", Client: Desktop, Version: "5.2.9", Lease: MaxLease})
	s.must(keyed(put(DoNotDisturb), 1, 1))
	all := keyed(put(Busy), 1, 2)
	all.IfMatch = []Revision{1}
	s.wantError(all, ErrKeyReused)
	all.Key = [16]byte{}
	s.wantError(all, ErrPrecondition)
	all.IfMatch = nil
	s.wantError(all, ErrTransition)
	s.must(SignOut{Session: "z"})
	all.IfMatch = []Revision{1}
	s.wantError(all, ErrPrecondition)
	all.IfMatch = nil
	s.wantError(all, ErrSignedOut)
}

func TestRefusedFields(t *testing.T) {
	long := strings.Repeat("x", 281)
	for _, row := range []struct {
		event Event
		field string
	}{
		{claim("x", App, Offline), "status"},
		{manual(Offline), "status"},
		{claim("x", App, Available), "status"},
		{claim("x", App, Status(99)), "status"},
		{claim("x", Manual, Busy), "source"},
		{claim(ManualClaim, App, Busy), "source"},
		{claim("x", "Upper", Busy), "source"},
		{claim("x", "", Busy), "source"},
		{claim("", App, Busy), "id"},
		{claim("a\nb", App, Busy), "id"},
		{claim(ClaimID(long), App, Busy), "id"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Note: long}, "note"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Note: "a\u2028b"}, "note"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Note: "\xff"}, "note"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Until: noon}, "until"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Since: noon.Add(2 * time.Hour), Until: noon.Add(time.Hour)}, "until"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Until: noon.Add(time.Hour), Lasts: time.Hour}, "until"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Until: noon.Add(367 * 24 * time.Hour)}, "until"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Since: -5}, "since"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Lasts: -1}, "duration_seconds"},
		{SetClaim{ID: "x", Source: App, Status: Busy, Lasts: 367 * 24 * time.Hour}, "duration_seconds"},
		{manual(DoNotDisturb, 1441*time.Minute), "duration_seconds"},
		{SignIn{Session: "s", Client: "Desk Top"}, "client_type"},
		{SignIn{Session: "s", Client: Desktop, Lease: time.Second}, "lease_seconds"},
		{SignIn{Session: "s", Client: Desktop, Lease: 2 * time.Hour}, "lease_seconds"},
		{SignIn{Session: "", Client: Desktop}, "session"},
		{SignIn{Session: "s", Client: Desktop, Version: "a\tb"}, "client_version"},
		{SetNote{Text: long}, "text"},
		{SetNote{Text: "x", Until: noon}, "until"},
	} {
		s := newScript(t)
		before := s.state.Revision
		var field *FieldError
		if err := s.apply(row.event); !errors.As(err, &field) || field.Field != row.field {
			t.Errorf("%+v: %v, want a FieldError of %s", row.event, err, row.field)
		}
		if s.state.Revision != before {
			t.Errorf("%+v changed the state", row.event)
		}
	}
}

func TestUserState(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(manual(OutOfOffice))
	s.must(SetUserState{State: UserDeactivated})
	s.want(Offline)
	s.wantError(signIn("x"), ErrDeactivated)
	s.wantError(SetUserState{State: UserDeactivated}, ErrNoChange)
	s.must(SetUserState{State: UserActive})
	s.want(OutOfOffice) // the claims apply again
	s.must(SetUserState{State: UserDeleted})
	s.want(Offline)
	s.wantError(signIn("x"), ErrDeleted)
	if err := s.apply(SetUserState{State: UserActive}); !errors.Is(err, ErrNoChange) {
		t.Errorf("a deleted user was reactivated: %v", err)
	}
	if len(s.state.Claims)+len(s.state.Sessions) != 0 {
		t.Error("facts of a deleted user remain")
	}
}

func TestNotes(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(SetNote{Text: "own", Until: s.now.Add(time.Hour)})
	note := func(want string) {
		t.Helper()
		if p := RecordedOf(s.state).Shown; p.Note != want {
			t.Errorf("note %q, want %q", p.Note, want)
		}
	}
	note("own")
	e := manual(Busy, 10*time.Minute)
	e.Note = "claim's"
	s.must(e)
	note("claim's")
	s.activeFor(10 * time.Minute)
	note("own")
	s.activeFor(50 * time.Minute)
	note("")
	s.must(SetNote{Text: "again"})
	s.must(SetNote{})
	note("")
	s.wantError(SetNote{}, ErrNoChange)
}
