package presence_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// clocksApart is how far the clocks of nodes may be apart.
const clocksApart = 2 * time.Second

// A refresher is a client of a store that several nodes share. Each of its refreshes is
// handled by a node whose clock differs from the last one's.
type refresher struct {
	*script
	random  *rand.Rand
	true    Instant // the time, which no node knows
	commits int
}

func newRefresher(t *testing.T, lease time.Duration, activity Activity) *refresher {
	s := newScript(t)
	s.policy.Ahead = true
	s.must(SignIn{Session: "s", Client: Desktop, Lease: lease, Activity: activity})
	return &refresher{script: s, random: rand.New(rand.NewPCG(1, 2)), true: s.now}
}

// refresh is a refresh after a time, on a node whose clock is up to a second wrong.
func (r *refresher) refresh(after time.Duration, activity Activity) {
	r.Helper()
	r.true = r.true.Add(after)
	r.now = r.true.Add(time.Duration(r.random.Int64N(int64(clocksApart))) - clocksApart/2)
	e := Refresh{Session: "s", Activity: activity}
	if OnRecord(&r.state, e, r.policy, r.now) {
		return
	}
	r.commits++
	r.must(e)
}

// session is the recorded session. Its absence is an early end.
func (r *refresher) session() Session {
	r.Helper()
	if len(r.state.Sessions) != 1 {
		r.Fatalf("after %v the session has ended", r.true.Sub(noon))
	}
	return r.state.Sessions[0]
}

// TestRecordedAheadOfAcknowledged: whatever the interval of refreshes, the record is ahead
// of what was acknowledged by the margin at least, and by two thirds of the lease and a
// tenth of the idle time at most. Refreshes cost a commit each 5/8 of a lease at most.
func TestRecordedAheadOfAcknowledged(t *testing.T) {
	for _, lease := range []time.Duration{MinLease, 48 * time.Second, DefaultLease, MaxLease} {
		for _, activity := range []Activity{ActivityActive, ActivityIdle} {
			for interval := time.Second; interval <= 2*time.Minute && interval*13/12+clocksApart < lease; interval += time.Second {
				t.Run(fmt.Sprintf("%v/%d/%v", lease, activity, interval), func(t *testing.T) {
					r := newRefresher(t, lease, activity)
					end := r.true.Add(time.Hour)
					for r.true < end {
						jitter := time.Duration(r.random.Int64N(int64(interval/6))) - interval/12
						r.refresh(interval+jitter, activity)
						checkAhead(t, r, lease, activity)
					}
					ahead := min(lease*5/8, lease*2/3-clocksApart) - clocksApart
					if activity == ActivityActive {
						ahead = min(ahead, r.policy.IdleAfter/10-2*clocksApart)
					}
					if most := int(time.Hour/max(ahead, interval*11/12)) + 1; r.commits > most {
						t.Errorf("%d commits an hour, want at most %d", r.commits, most)
					}
				})
			}
		}
	}
}

// checkAhead checks the record after a refresh. Clocks that differ by a second add as much.
func checkAhead(t *testing.T, r *refresher, lease time.Duration, activity Activity) {
	t.Helper()
	s, slack := r.session(), clocksApart/2
	if ahead := s.EndsAt.Sub(r.true.Add(lease)); ahead < clocksApart-slack || ahead > lease*2/3+slack {
		t.Fatalf("the recorded end is %v after the acknowledged one", ahead)
	}
	if activity != ActivityActive {
		return
	}
	if ahead := s.IdleAt.Sub(r.true.Add(r.policy.IdleAfter)); ahead < clocksApart-slack || ahead > r.policy.IdleAfter/10+slack {
		t.Fatalf("the recorded edge to idle is %v after the acknowledged one", ahead)
	}
}

// TestCommitsOfMinutelyRefreshes: a client that refreshes every minute, more or less, on
// the default lease costs at most 31 commits an hour, active or not.
func TestCommitsOfMinutelyRefreshes(t *testing.T) {
	for _, activity := range []Activity{ActivityActive, ActivityIdle, ActivityUnspecified} {
		r := newRefresher(t, DefaultLease, activity)
		const hours = 100
		for end := r.true.Add(hours * time.Hour); r.true < end; {
			r.refresh(55*time.Second+time.Duration(r.random.Int64N(int64(10*time.Second))), activity)
			if activity == ActivityUnspecified {
				r.session()
			}
		}
		if perHour := float64(r.commits) / hours; perHour > 31 {
			t.Errorf("activity %d: %.1f commits an hour", activity, perHour)
		}
	}
}

// TestNeverRefreshedEndsExactly: only ends that a refresh acknowledged are recorded ahead.
func TestNeverRefreshedEndsExactly(t *testing.T) {
	r := newRefresher(t, DefaultLease, ActivityActive)
	if s := r.session(); s.EndsAt != noon.Add(DefaultLease) || s.IdleAt != noon.Add(15*time.Minute+clocksApart) {
		t.Errorf("%+v", s)
	}
	r.advance(DefaultLease)
	if p := r.want(Offline); p.Since != noon.Add(DefaultLease) {
		t.Errorf("offline since %v", p.Since.Time())
	}
}

// TestOnRecord lists which refreshes the record answers.
func TestOnRecord(t *testing.T) {
	s := newScript(t)
	s.policy.Ahead = true
	s.must(SignIn{Session: "fresh", Client: Desktop})
	s.must(SignIn{Session: "long", Client: Desktop, Lease: MaxLease})
	s.must(Refresh{Session: "long", Activity: ActivityActive})
	s.must(SignIn{Session: "held", Client: Desktop, Holder: "run"})
	s.must(SignIn{Session: "heldidle", Client: Desktop, Holder: "run", Activity: ActivityIdle})
	for _, row := range []struct {
		name string
		e    Refresh
		want bool
	}{
		{"never refreshed", Refresh{Session: "fresh"}, false},
		{"far enough ahead", Refresh{Session: "long"}, true},
		{"with activity", Refresh{Session: "long", Activity: ActivityActive}, true},
		{"an edge to idle", Refresh{Session: "long", Activity: ActivityIdle}, false},
		{"another lease", Refresh{Session: "long", Lease: MinLease}, false},
		{"with a key", Refresh{Session: "long", Request: Request{Key: [16]byte{1}}}, false},
		{"held", Refresh{Session: "held"}, true},
		{"held and active", Refresh{Session: "held", Activity: ActivityActive, Holder: "run"}, true},
		{"held, to idle", Refresh{Session: "held", Activity: ActivityIdle}, false},
		{"held and idle", Refresh{Session: "heldidle", Activity: ActivityIdle}, true},
		{"held, to active", Refresh{Session: "heldidle", Activity: ActivityActive}, false},
		{"held by another run", Refresh{Session: "held", Holder: "other"}, false},
		{"unknown", Refresh{Session: "none"}, false},
	} {
		if got := OnRecord(&s.state, row.e, s.policy, s.now); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	s.policy.Ahead = false
	if OnRecord(&s.state, Refresh{Session: "long"}, s.policy, s.now) {
		t.Error("the record answers although ends are exact")
	}
}

// TestHeldSession: a held session has no end, and idles when its holder says so, at that
// instant.
func TestHeldSession(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "s", Client: Desktop, Holder: "run"})
	if x := s.state.Sessions[0]; x.EndsAt != 0 || x.IdleAt != 0 {
		t.Fatalf("%+v", x)
	}
	s.advance(100 * time.Hour)
	s.want(Available)
	edge := s.now.Add(-time.Minute)
	s.must(Tick{Idle: []HeldIdle{{Session: "s", Holder: "run", At: edge}}})
	if p := s.want(Away); p.Since != edge {
		t.Errorf("away since %v, want %v", p.Since.Time(), edge.Time())
	}
	s.advance(100 * time.Hour)
	s.want(Away)
	s.must(Refresh{Session: "s", Activity: ActivityActive, Holder: "run"})
	s.want(Available)
	s.must(Release{Session: "s", Holder: "run", Lease: MinLease, IdleAt: s.now.Add(10 * time.Second)})
	s.want(Available)
	s.advance(10 * time.Second)
	s.want(Away)
	s.advance(20 * time.Second)
	s.want(Offline)
}

// TestIdleOfAnotherHolder: what an earlier holder says changes nothing, and its refreshes
// are refused.
func TestIdleOfAnotherHolder(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "s", Client: Desktop, Holder: "old"})
	s.advance(time.Minute)
	s.must(SignIn{Session: "s", Client: Desktop, Holder: "new"})
	before := s.state
	s.advance(time.Minute)
	for _, e := range []Event{
		Tick{Idle: []HeldIdle{{Session: "s", Holder: "old", At: s.now}}},
		Release{Session: "s", Holder: "old", Lease: MinLease},
		HolderLost{Holder: "old"},
		HolderLost{},
	} {
		s.wantError(e, ErrNoChange)
	}
	s.wantError(Refresh{Session: "s", Activity: ActivityIdle, Holder: "old"}, ErrSessionReplaced)
	if s.state.Revision != before.Revision {
		t.Error("the record changed")
	}
}

// TestHolderLost: a lost holder's sessions end in one commit, whichever comes first of the
// loss and a connection to another node.
func TestHolderLost(t *testing.T) {
	begin := func(t *testing.T) *script {
		s := newScript(t)
		s.must(SignIn{Session: "a", Client: Desktop, Holder: "lost"})
		s.must(SignIn{Session: "b", Client: Mobile, Holder: "lost"})
		s.advance(time.Minute)
		return s
	}
	t.Run("all of them", func(t *testing.T) {
		s := begin(t)
		s.must(HolderLost{Holder: "lost"})
		if p := s.want(Offline); len(s.state.Sessions) != 0 || p.Since != s.now {
			t.Errorf("%+v", s.state)
		}
		s.wantError(HolderLost{Holder: "lost"}, ErrNoChange)
		s.must(SignIn{Session: "a", Client: Desktop, Holder: "next"})
		s.want(Available)
	})
	t.Run("after a reconnect", func(t *testing.T) {
		s := begin(t)
		s.must(SignIn{Session: "a", Client: Desktop, Holder: "next"})
		s.must(HolderLost{Holder: "lost"})
		if p := s.want(Available); len(s.state.Sessions) != 1 || p.Since != noon {
			t.Errorf("%+v", s.state)
		}
	})
	t.Run("beside a leased session", func(t *testing.T) {
		s := begin(t)
		s.must(SignIn{Session: "c", Client: Desktop, Lease: time.Hour})
		s.must(HolderLost{Holder: "lost"})
		s.want(Available)
		s.advance(time.Hour)
		s.want(Offline)
	})
}

// TestHeldAndLeasedBySignIn: a sign-in decides which of the two a resumed session is.
func TestHeldAndLeasedBySignIn(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "s", Client: Desktop, Lease: time.Hour})
	s.advance(time.Minute)
	s.must(SignIn{Session: "s", Client: Desktop, Holder: "run"})
	if x := s.state.Sessions[0]; x.EndsAt != 0 || x.IdleAt != 0 || x.Holder != "run" {
		t.Errorf("held: %+v", x)
	}
	s.must(SignIn{Session: "s", Client: Desktop, Lease: time.Hour})
	if x := s.state.Sessions[0]; x.EndsAt != s.now.Add(time.Hour) || x.IdleAt != s.now.Add(15*time.Minute) || x.Holder != "" {
		t.Errorf("leased: %+v", x)
	}
}

// TestHeldSessionPastALimit: past a limit a held session counts as one that was just renewed.
func TestHeldSessionPastALimit(t *testing.T) {
	for lease, replaced := range map[time.Duration]SessionID{MinLease: "leased0", MaxLease: "held"} {
		s := newScript(t)
		s.must(SignIn{Session: "held", Client: Desktop, Holder: "run", App: "app"})
		for i := range MaxSessionsPerApp {
			s.must(SignIn{Session: SessionID(fmt.Sprint("leased", i)), Client: Desktop, Lease: lease, App: "app"})
		}
		if err := s.apply(Refresh{Session: replaced}); !errors.Is(err, ErrSessionReplaced) {
			t.Errorf("lease %v: %s is not replaced: %v", lease, replaced, err)
		}
	}
}
