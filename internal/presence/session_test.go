package presence_test

import (
	"errors"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// TestManualAway: manual away ends at the first activity while no session is active.
func TestManualAway(t *testing.T) {
	idle := func(s *script) { s.must(Refresh{Session: "desk", Activity: ActivityIdle}) }
	for _, row := range []struct {
		name string
		play func(*script)
	}{
		{"a sign-in beside an active session does not end it", func(s *script) {
			s.must(manual(Away))
			s.must(signIn("second"))
			s.want(Away)
		}},
		{"a sign-in beside idle ones does", func(s *script) {
			s.must(manual(Away))
			idle(s)
			s.must(signIn("second"))
			s.want(Available)
		}},
		{"a refresh that does not say active never ends it", func(s *script) {
			s.must(signIn("second"))
			s.must(Refresh{Session: "second", Activity: ActivityIdle})
			idle(s)
			s.must(manual(Away, time.Hour))
			s.advance(time.Second)
			s.must(Refresh{Session: "desk"})
			s.must(Refresh{Session: "desk", Activity: ActivityIdle, Lease: MinLease})
			if len(s.state.Claims) != 1 {
				s.Error("manual away ended")
			}
		}},
		{"one that is yet to begin is not ended", func(s *script) {
			e := manual(Away)
			e.Since = s.now.Add(time.Hour)
			s.must(e)
			idle(s)
			s.must(Refresh{Session: "desk", Activity: ActivityActive})
			s.want(Available)
			s.activeFor(time.Hour)
			s.want(Away)
		}},
		// The change to idle under a claim is a commit. Otherwise a restart would lose
		// it, because sessions that are active on record get a new lease.
		{"it ends at the first activity after a restart, too", func(s *script) {
			s.must(manual(Away))
			s.advance(16 * time.Minute)
			s.policy.Ready = s.now
			s.must(Refresh{Session: "desk", Activity: ActivityActive})
			s.want(Available)
		}},
		{"idle under a calendar event, a restart, the event ends: away", func(s *script) {
			s.must(claim("event", Calendar, InCalendarEvent, 50*time.Minute))
			s.advance(20 * time.Minute)
			s.policy.Ready = s.now
			s.advance(30 * time.Minute)
			s.want(Away)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScript(t)
			s.signIn()
			row.play(s)
		})
	}
}

func TestSigningInAgainKeepsSince(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.advance(time.Minute)
	s.must(SignIn{Session: "desk", Client: Web})
	if got := s.state.Sessions; len(got) != 1 || got[0].Since != noon || got[0].Client != Web {
		t.Errorf("%+v", got)
	}
}

func TestRepeatedIdleKeepsIdleAt(t *testing.T) {
	s := newScript(t)
	s.signIn()
	for range 3 {
		s.must(Refresh{Session: "desk", Activity: ActivityIdle})
		if got := s.state.Sessions[0].IdleAt; got != noon {
			t.Fatalf("idle at %v", got.Time())
		}
		s.advance(time.Second)
	}
}

func TestIdleAfterZeroNeverIdles(t *testing.T) {
	s := newScript(t)
	s.policy.IdleAfter = 0
	s.signIn()
	s.advance(59 * time.Minute)
	s.want(Available)
	s.must(Refresh{Session: "desk", Activity: ActivityActive})
	s.advance(59 * time.Minute)
	s.want(Available)
}

// TestUserStateDropsFacts: what remains of a user who is deactivated and then deleted.
func TestUserStateDropsFacts(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(SetNote{Text: "own"})
	s.must(keyed(put(Busy), 1, 1))
	s.must(manual(Available))
	s.must(SetUserState{State: UserDeactivated})
	if len(s.state.Sessions) != 0 {
		t.Error("sessions remain after deactivation")
	}
	s.must(SetUserState{State: UserActive})
	if p := s.want(Offline); p.Note != "own" || len(s.state.Answers) != 1 {
		t.Errorf("deactivation dropped more than sessions: %+v", s.state)
	}
	s.must(SetUserState{State: UserDeleted})
	if s.state.Note != (Note{}) || len(s.state.Answers) != 0 || s.state.AvailableAt != 0 || s.state.UpdatedAt != 0 || s.state.DampedSince != 0 {
		t.Errorf("facts of a deleted user remain: %+v", s.state)
	}
}

// TestSignInIdle: a sign-in that reports idle is idle at once: one change, the user is
// never shown as available, and manual away stays.
func TestSignInIdle(t *testing.T) {
	idle := func(id SessionID) SignIn {
		return SignIn{Session: id, Client: Desktop, Lease: MaxLease, Activity: ActivityIdle}
	}
	s := newScript(t)
	s.must(idle("desk"))
	if p := s.want(Away); p.StatusRevision != s.state.Revision {
		t.Errorf("%+v is not of this commit", p)
	}
	s.must(manual(Away))
	s.advance(time.Second)
	s.must(idle("second"))
	s.want(Away)
	if len(s.state.Claims) != 1 {
		t.Error("manual away ended")
	}
	s.must(idle("desk")) // resumes the session
	if len(s.state.Claims) != 1 || s.state.Sessions[0].IdleAt != noon {
		t.Errorf("%+v", s.state)
	}
	s.must(SignIn{Session: "third", Client: Desktop, Activity: ActivityActive})
	s.want(Available)
	s.policy.IdleAfter = 0
	s.must(idle("fourth"))
	if x := s.state.Sessions[1]; x.ID != "fourth" || x.IdleAt != s.now {
		t.Errorf("%+v, although sessions never become idle by themselves", x)
	}
}

// TestSignInResumes: a sign-in resumes the client's session unchanged: a reconnect is
// no activity. A session of another app is not resumed.
func TestSignInResumes(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "a", Client: Desktop, Via: "x"})
	s.must(Refresh{Session: "a", Activity: ActivityIdle})
	s.must(manual(Away))
	s.advance(time.Minute)
	for _, e := range []SignIn{
		{Session: "b", Was: "a", Client: Desktop, Via: "x"},
		{Session: "a", Client: Desktop, Via: "x"},
		{Session: "a", Client: Desktop, Via: "x", Activity: ActivityIdle},
	} {
		s.must(e)
		if got := s.state.Sessions; len(got) != 1 || got[0].ID != "a" || got[0].Since != noon || got[0].IdleAt != noon || got[0].EndsAt != s.now.Add(DefaultLease) {
			t.Fatalf("%+v: %+v", e, got)
		}
		s.now++
	}
	s.want(Away)
	for i, e := range []SignIn{
		{Session: "c", Was: "a", Client: Desktop, Via: "y"},
		{Session: "d", Was: "a", Client: Desktop, App: "x"},
		{Session: "e", Was: "unknown", Client: Desktop, Via: "x"},
	} {
		s.must(e)
		if len(s.state.Sessions) != i+2 || !s.hasSession(e.Session) {
			t.Fatalf("%+v: %+v", e, s.state.Sessions)
		}
	}
	var field *FieldError
	if err := s.apply(SignIn{Session: "a", Client: Desktop, Via: "y"}); !errors.As(err, &field) || field.Field != "session" {
		t.Errorf("another app's id: %v", err)
	}
	s.now++
	s.must(SignIn{Session: "z", Was: "c", Client: Desktop, Via: "y", Activity: ActivityActive})
	s.want(Available)
}

// TestSignInResumesOlderRecord: a session that an earlier version recorded without the
// app of an own client is resumed after the upgrade: idle stays idle.
func TestSignInResumesOlderRecord(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "old", Client: Desktop, Activity: ActivityIdle}) // no app, as it was recorded
	s.must(manual(Away))
	s.advance(time.Second)
	s.must(SignIn{Session: "new", Was: "old", Client: Desktop, Via: "x"})
	if got := s.state.Sessions; len(got) != 1 || got[0].ID != "old" || got[0].Via != "x" || len(s.state.Claims) != 1 {
		t.Fatalf("%+v", s.state)
	}
	s.want(Away)
	s.must(SignIn{Session: "own", Client: Desktop})
	s.must(SignIn{Session: "bot", Was: "own", Client: Desktop, App: "x"}) // an app does not resume it
	if len(s.state.Sessions) != 3 {
		t.Errorf("%+v", s.state.Sessions)
	}
}
