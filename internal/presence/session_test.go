package presence_test

import (
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// Manual away ends at the first activity that finds no active session.
func TestManualAway(t *testing.T) {
	idle := func(s *script) { s.must(Refresh{Session: "desk", Activity: IsIdle}) }
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
			s.must(Refresh{Session: "second", Activity: IsIdle})
			idle(s)
			s.must(manual(Away, time.Hour))
			s.pass(time.Second)
			s.must(Refresh{Session: "desk"})
			s.must(Refresh{Session: "desk", Activity: IsIdle, Lease: MinLease})
			if len(s.state.Claims) != 1 {
				s.Error("manual away has ended")
			}
		}},
		{"one that is yet to begin is not ended", func(s *script) {
			e := manual(Away)
			e.Since = s.now.Add(time.Hour)
			s.must(e)
			idle(s)
			s.must(Refresh{Session: "desk", Activity: IsActive})
			s.want(Available)
			s.activeFor(time.Hour)
			s.want(Away)
		}},
		// The idle edge under a claim is a commit, or a restart would forget it:
		// sessions that were active on record get their lease anew.
		{"it ends at the first activity after a restart, too", func(s *script) {
			s.must(manual(Away))
			s.pass(16 * time.Minute)
			s.policy.Ready = s.now
			s.must(Refresh{Session: "desk", Activity: IsActive})
			s.want(Available)
		}},
		{"idle under a calendar event, a restart, the event ends: away", func(s *script) {
			s.must(claim("event", Calendar, InCalendarEvent, 50*time.Minute))
			s.pass(20 * time.Minute)
			s.policy.Ready = s.now
			s.pass(30 * time.Minute)
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
	s.pass(time.Minute)
	s.must(SignIn{Session: "desk", Client: Web})
	if got := s.state.Sessions; len(got) != 1 || got[0].Since != noon || got[0].Client != Web {
		t.Errorf("%+v", got)
	}
}

func TestIdleAgainDoesNotMoveIdleAt(t *testing.T) {
	s := newScript(t)
	s.signIn()
	for range 3 {
		s.must(Refresh{Session: "desk", Activity: IsIdle})
		if got := s.state.Sessions[0].IdleAt; got != noon {
			t.Fatalf("idle at %v", got.Time())
		}
		s.pass(time.Second)
	}
}

func TestIdleAfterZeroNeverIdles(t *testing.T) {
	s := newScript(t)
	s.policy.IdleAfter = 0
	s.signIn()
	s.pass(59 * time.Minute)
	s.want(Available)
	s.must(Refresh{Session: "desk", Activity: IsActive})
	s.pass(59 * time.Minute)
	s.want(Available)
}

// What stays of a user who is deactivated, and then deleted.
func TestStandingEndsWhatItMust(t *testing.T) {
	s := newScript(t)
	s.signIn()
	s.must(SetNote{Text: "own"})
	s.must(keyed(put(Busy), 1, 1))
	s.must(manual(Available))
	s.must(SetStanding{Standing: Deactivated})
	if len(s.state.Sessions) != 0 {
		t.Error("sessions outlive deactivation")
	}
	s.must(SetStanding{Standing: Active})
	if p := s.want(Offline); p.Note != "own" || len(s.state.Answers) != 1 {
		t.Errorf("deactivation ends more than sessions: %+v", s.state)
	}
	s.must(SetStanding{Standing: Deleted})
	if s.state.Note != (Note{}) || len(s.state.Answers) != 0 || s.state.AvailableAt != 0 || s.state.UpdatedAt != 0 || s.state.StirredAt != 0 {
		t.Errorf("facts of a deleted user stay: %+v", s.state)
	}
}
