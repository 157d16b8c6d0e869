package presence_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// claimOfApp is a claim of an app.
func claimOfApp(app AppID, id string) SetClaim {
	e := claim(ClaimID(string(app)+id), App, Busy)
	e.App = app
	return e
}

// wantLimit checks that a limit refuses an event.
func (s *script) wantLimit(e Event, limit int, words string) {
	s.Helper()
	var reached *LimitError
	if err := s.apply(e); !errors.As(err, &reached) || reached.Limit != limit || reached.Error() != words {
		s.Errorf("%+v: %v, want %q", e, err, words)
	}
}

// TestLimitsOfClaims: an app's claims count against the app's own limit and no other;
// the user's manual claim never counts.
func TestLimitsOfClaims(t *testing.T) {
	const own, all = "a user has at most 64 claims made by one app", "a user has at most 256 claims"
	s := newScript(t)
	s.signIn()
	for app := range MaxClaims / MaxClaimsPerApp {
		name := AppID(fmt.Sprint("app-", app))
		for i := range MaxClaimsPerApp {
			s.must(claimOfApp(name, fmt.Sprint(i)))
		}
		s.wantLimit(claimOfApp(name, "one-more"), MaxClaimsPerApp, own)
		s.must(manual(Busy))
		s.must(EndClaim{ID: ManualClaim})
	}
	s.wantLimit(claimOfApp("another", "1"), MaxClaims, all)
	s.wantLimit(claim("mine", App, Busy), MaxClaims, all)
	s.must(put(DoNotDisturb))
	s.want(DoNotDisturb)
	s.must(claimOfApp("app-0", "7")) // a replacement does not count
	taken := claimOfApp("app-0", "x")
	taken.ID = "app-17"
	s.wantLimit(taken, MaxClaimsPerApp, own) // but another app's claim counts
	s.must(EndClaim{ID: "app-00"})
	s.must(taken)
	s.must(EndClaim{ID: "app-18"})
	s.must(claim("mine", App, Busy))
}

// TestLimitsOfOwnClientsAreByApp: the own clients of two apps do not count against each
// other's limit.
func TestLimitsOfOwnClientsAreByApp(t *testing.T) {
	s := newScript(t)
	for i := range MaxClaimsPerApp {
		e := claim(ClaimID(fmt.Sprint("c", i)), App, Busy)
		e.Via = "sync"
		s.must(e)
	}
	s.must(claim("mine", App, Busy))
	for i := range 2 * MaxSessionsPerApp {
		e := signIn(SessionID(fmt.Sprint("s", i)))
		e.Via = "sync"
		s.must(e)
		if i == 0 {
			s.must(SignIn{Session: "phone", Client: Mobile, Via: "phone", Lease: MinLease})
		}
	}
	if !s.hasSession("phone") || len(s.state.Sessions) != MaxSessionsPerApp+1 {
		t.Errorf("%d sessions, the phone among them: %v", len(s.state.Sessions), s.hasSession("phone"))
	}
}

func (s *script) hasSession(id SessionID) bool {
	return slices.ContainsFunc(s.state.Sessions, func(x Session) bool { return x.ID == id })
}

// TestNewSessionReplacesOldestOfApp: when an app signs in too often, its own session
// that expires first is replaced, and no other. The replaced client is notified and
// cannot return with the same id.
func TestNewSessionReplacesOldestOfApp(t *testing.T) {
	s := newScript(t)
	cron := func(i int, lease time.Duration) SignIn {
		return SignIn{Session: SessionID(fmt.Sprint("cron-", i)), Client: Web, App: "cron", Lease: lease}
	}
	s.must(SignIn{Session: "phone", Client: Mobile, Lease: MinLease})
	for i := range MaxSessionsPerApp {
		s.must(cron(i, MaxLease-time.Duration(i)*time.Second))
	}
	ends := s.state.Sessions[0].EndsAt
	s.must(cron(100, MinLease))
	if s.hasSession("cron-31") || !s.hasSession("phone") || !s.hasSession("cron-100") {
		t.Fatal("not the one that would end first was replaced")
	}
	for _, e := range []Event{
		Refresh{Session: "cron-31"},
		Refresh{Session: "cron-31", Activity: ActivityActive},
		cron(31, MaxLease),
		SignIn{Session: "new", Was: "cron-31", Client: Web, App: "cron"},
	} {
		s.wantError(e, ErrSessionReplaced)
	}
	s.must(cron(101, MaxLease)) // replaces the one of the short lease
	if s.hasSession("cron-100") || len(s.state.Sessions) != MaxSessionsPerApp+1 {
		t.Fatalf("%d sessions", len(s.state.Sessions))
	}
	s.must(SignIn{Session: "cron-5", Client: Web, App: "cron", Lease: MaxLease}) // a known session replaces none
	s.must(SignIn{Session: "tablet", Client: Pad})
	if !s.hasSession("phone") || len(s.state.Sessions) != MaxSessionsPerApp+2 {
		t.Fatal("the person's next session has no place")
	}
	// The replacement is remembered until the session would have expired.
	s.now = ends
	s.must(Tick{})
	s.wantError(Refresh{Session: "cron-31"}, ErrUnknownSession)
	if len(s.state.Replaced) != 0 {
		t.Errorf("still remembered: %+v", s.state.Replaced)
	}
}

func TestReplacedSessionsAreBounded(t *testing.T) {
	s := newScript(t)
	for i := range MaxSessionsPerApp + 2*MaxReplaced {
		s.must(SignIn{Session: SessionID(fmt.Sprint("s", i)), Client: Web})
		s.now++
	}
	if got := s.state.Replaced; len(got) != MaxReplaced || got[MaxReplaced-1].ID != SessionID(fmt.Sprint("s", 2*MaxReplaced-1)) {
		t.Errorf("%+v", got)
	}
}

// TestSessionLimit: at the limit, the app with the most sessions loses one. Neither the
// user nor an app with few sessions is refused or loses one.
func TestSessionLimit(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "phone", Client: Mobile, Lease: MinLease})
	s.must(SignIn{Session: "small", Client: Web, App: "small", Lease: MinLease})
	for app := range 3 {
		for i := range MaxSessionsPerApp {
			s.must(SignIn{Session: SessionID(fmt.Sprint("a", app, "-", i)), Client: Web, App: AppID(fmt.Sprint("app-", app)), Lease: MaxLease - time.Duration(i)*time.Second})
		}
	}
	for i := range MaxSessions - len(s.state.Sessions) {
		s.must(SignIn{Session: SessionID(fmt.Sprint("b-", i)), Client: Web, App: "big", Lease: MinLease})
	}
	for i := range 100 {
		s.must(SignIn{Session: SessionID(fmt.Sprint("n-", i)), Client: Web, App: AppID(fmt.Sprint("new-", i%20)), Lease: MinLease})
		if len(s.state.Sessions) != MaxSessions || !s.hasSession("phone") || !s.hasSession("small") {
			t.Fatalf("after %d: %d sessions, phone %v, small %v", i, len(s.state.Sessions), s.hasSession("phone"), s.hasSession("small"))
		}
	}
	s.must(SignIn{Session: "tablet", Client: Pad, Lease: MinLease})
	if !s.hasSession("phone") || !s.hasSession("tablet") {
		t.Error("the user's session was refused")
	}
}

// TestUserSessionIsNotReplaced: with as many apps as sessions are allowed, the next
// sign-in replaces another app's session, and not the user's.
func TestUserSessionIsNotReplaced(t *testing.T) {
	s := newScript(t)
	s.must(SignIn{Session: "phone", Client: Mobile, Lease: MinLease})
	for i := range 2 * MaxSessions {
		s.must(SignIn{Session: SessionID(fmt.Sprint("s", i)), Client: Web, App: AppID(fmt.Sprint("app-", i)), Lease: MaxLease})
	}
	if !s.hasSession("phone") || len(s.state.Sessions) != MaxSessions {
		t.Errorf("%d sessions, the phone among them: %v", len(s.state.Sessions), s.hasSession("phone"))
	}
}

// TestAnswersAreKeptForEachApp: the last eight answers are kept for each app, and
// sixty-four in total.
func TestAnswersAreKeptForEachApp(t *testing.T) {
	s := newScript(t)
	ask := func(app, key int) SetClaim {
		e := keyed(manual(Busy), byte(key+1), 1)
		e.Key[1] = byte(app)
		e.Request.App = AppID(fmt.Sprint("app-", app))
		return e
	}
	kept := func(app, key int) bool {
		var repeat *RepeatError
		next, err := apply(s.state, ask(app, key), s.policy, s.now)
		_ = next
		return errors.As(err, &repeat)
	}
	for key := range MaxAnswersPerApp {
		s.must(ask(0, key))
	}
	for app := 1; app < MaxAnswers/MaxAnswersPerApp; app++ {
		for key := range 2 * MaxAnswersPerApp {
			s.must(ask(app, key))
		}
	}
	if len(s.state.Answers) != MaxAnswers {
		t.Errorf("%d answers", len(s.state.Answers))
	}
	for key := range MaxAnswersPerApp {
		if !kept(0, key) {
			t.Errorf("another app's keys evicted key %d", key)
		}
	}
	s.must(ask(0, 8)) // the ninth
	if kept(0, 0) || !kept(0, 1) || !kept(0, 8) || !kept(1, 15) {
		t.Error("the ninth key of an app did not replace its first")
	}
	s.must(ask(99, 0)) // one app above the limit
	if len(s.state.Answers) != MaxAnswers || !kept(99, 0) || !kept(0, 8) {
		t.Errorf("%d answers after one of another app", len(s.state.Answers))
	}
	s.now = noon.Add(AnswersKeptFor)
	if kept(99, 0) {
		t.Error("an answer is kept for longer than a day")
	}
}
